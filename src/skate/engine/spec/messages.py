"""Every message that travels between the engine's processes, one class each.

Encoding is MessagePack by msgspec: typed, validated, and nothing in it is ever unpickled by the node process.
`data` and `payload` fields are opaque user bytes (see `object_store/serialization.py`).

Three kinds of links:

    client ⇄ node      a driver, worker or CLI asks; the node process decides          CLIENT_TO_NODE, NODE_TO_CLIENT
    node → worker      orders to a worker process (`control`), read by a thread        NODE_TO_WORKER
    caller ⇄ worker    the direct channel of a lease or of an actor                    CALLER_TO_WORKER, WORKER_TO_CALLER

Reference counts: the node keeps, for each id, a signed count per *holder*. A holder is a client id (int), or the id of an
object or actor (bytes) that contains the reference. An id lives while any holder's count is above zero. Whoever hands
a reference to someone adds one to the receiver's count first (`AddRef`), while holding it; the receiver gives all its
counts back when its last local handle goes (`DropRefs`). Counts are signed because the two travel on different sockets.
Actor ids are counted the same way.
"""

from typing import Any

import msgspec

from skate.engine.spec.resources import Resources


class Message(msgspec.Struct, array_like=True, gc=False, tag_field="t"):
    """Base of all messages: encoded as an array whose first element is the class's tag."""


Holder = int | bytes

# ---------------------------------------------------------------- values


class Value(Message, tag=1):
    """A sealed value small enough to travel: `data` in format `kind` (0 value, 1 value with buffers, 2 error)."""

    kind: int
    data: bytes


class Stored(Message, tag=2):
    """A value in the arena. `size` in bytes. The place is told by the node only, with a pin: see `Fetched`."""

    size: int


# ---------------------------------------------------------------- client → node: life


class Hello(Message, tag=10):
    """First message of a driver or CLI that joins (workers are known to the node already)."""

    kind: str  # "driver" | "observer"
    pid: int
    namespace: str
    job_name: str
    python: str  # "3.11.7"
    version: str  # of skate
    wants_logs: bool
    main_path: str = ""
    sys_path: list[str] = []
    cwd: str = ""
    env: str = ""  # job-level runtime_env, as canonical JSON
    environ: dict[str, str] = {}
    log_config: str = ""  # how workers write log records: see `backends/log_records.py`


class Welcome(Message, tag=11):
    """Answer to `Hello`, with the arena's descriptor attached."""

    client: int
    session_tag: bytes
    session_name: str
    node_id: bytes
    arena_bytes: int
    total: Resources
    namespace: str
    job: int
    error: str = ""


class Goodbye(Message, tag=12):
    """The client leaves on purpose. `shutdown`: the last driver of an embedded session ends the session."""

    shutdown: bool = True


# ---------------------------------------------------------------- client → node: leases


class RequestLease(Message, tag=20):
    """Ask for a worker with these resources. Answered by LeaseGranted (later) or LeaseRejected."""

    request: int
    resources: Resources
    env: str = ""  # runtime environment as canonical JSON; "" is the plain one
    strategy: str = "DEFAULT"  # "DEFAULT" | "SPREAD"
    placement_group: bytes = b""
    bundle: int = -1  # -1: any bundle
    node: bytes = b""  # node affinity
    soft: bool = False
    labels: dict[str, str] = {}  # label selector, all must match
    name: str = ""  # of the function, for messages to the user and for the dashboard
    capture_child_tasks: bool = False  # What its tasks start goes into the same placement group.
    is_retriable: bool = True  # Its tasks run again when their worker dies.


class CancelLeaseRequest(Message, tag=21):
    request: int


class ReturnLease(Message, tag=22):
    """Give a worker back. `retire`: the worker must not be used again (max_calls)."""

    lease: int
    retire: bool = False


class Blocked(Message, tag=23):
    """This worker waits in get or wait: its CPUs (not its GPUs or custom resources) are free until `Unblocked`."""


class Unblocked(Message, tag=24):
    pass


class KillLease(Message, tag=25):
    """Kill the worker of a lease at once (`cancel(force=True)`)."""

    lease: int


class CancelTask(Message, tag=26):
    """Interrupt a task or actor call that runs or waits in a worker. `worker` is its client id; relayed as `Interrupt`."""

    worker: int
    task: bytes
    recursive: bool


# ---------------------------------------------------------------- client → node: actors


class ActorSpec(msgspec.Struct, array_like=True, gc=False):
    """All that is needed to start an actor, again and again."""

    actor: bytes
    class_name: str
    definition: Value | Stored  # pickled class; Stored: held as object id actor + b"\xff\xff\xff\xff"
    args: Value | Stored  # pickled (args, kwargs); Stored: held as object id actor + b"\xff\xff\xff\xfe"
    arg_refs: list[bytes]  # object ids of top-level arguments, to be fetched by the worker, in placeholder order
    name: str
    namespace: str
    detached: bool
    max_restarts: int  # -1: endless
    max_task_retries: int
    max_concurrency: int
    concurrency_groups: dict[str, int]
    is_async: bool
    max_pending_calls: int
    placement_resources: Resources  # needed free to place it
    running_resources: Resources  # held while it lives
    env: str
    strategy: str
    placement_group: bytes
    bundle: int
    node: bytes
    soft: bool
    labels: dict[str, str]
    handle_meta: bytes  # opaque: what get_actor needs to rebuild a handle (method table)
    capture_child_tasks: bool = False


class CreateActor(Message, tag=30):
    """Register and start an actor. Answered by CreateActorReply when the name is settled; it starts when it can."""

    request: int
    spec: ActorSpec
    get_if_exists: bool = False


class ActorReady(Message, tag=31):
    """From the actor's worker: the constructor returned."""

    actor: bytes


class ActorCreationFailed(Message, tag=32):
    """From the actor's worker: the constructor raised; `error` is a serialized error (kind 2)."""

    actor: bytes
    error: bytes


class ActorExiting(Message, tag=33):
    """From the actor's worker: `exit_actor` or `__ray_terminate__` was called; its death is intended, no restart."""

    actor: bytes
    reason: str


class KillActor(Message, tag=34):
    actor: bytes
    no_restart: bool


class ConnectActor(Message, tag=35):
    """Ask for a direct channel to an actor. Answered by ActorChannel once it is alive, and again after each restart;
    and by ActorUpdate on every change of state."""

    actor: bytes


class GetNamedActor(Message, tag=36):
    request: int
    name: str
    namespace: str


class ListNamedActors(Message, tag=37):
    request: int
    namespace: str
    all_namespaces: bool


class TerminateActor(Message, tag=38):
    """Ask an actor to end after the calls it has already received (`__ray_terminate__`)."""

    actor: bytes


# ---------------------------------------------------------------- client → node: placement groups


class CreatePlacementGroup(Message, tag=40):
    """Answered by PlacementGroupUpdate: "CREATED" when reserved."""

    group: bytes
    bundles: list[Resources]
    strategy: str  # PACK SPREAD STRICT_PACK STRICT_SPREAD
    name: str
    namespace: str
    detached: bool


class RemovePlacementGroup(Message, tag=41):
    group: bytes


class GetPlacementGroup(Message, tag=42):
    """By name. Answered by PlacementGroupReply."""

    request: int
    name: str
    namespace: str


# ---------------------------------------------------------------- client → node: objects


class AddRef(Message, tag=50):
    """Add one to `holder`'s count of `id`. Sent by somebody who holds it."""

    id: bytes
    holder: Holder


class DropRefs(Message, tag=51):
    """Take (id, n) from the sender's own counts."""

    refs: list[tuple[bytes, int]]


class Unshare(Message, tag=52):
    """Take one from another client's count: what was meant for it was never delivered."""

    id: bytes
    holder: Holder


class Resolve(Message, tag=53):
    """The owner tells the value of an object that others refer to. `contains`: ids of refs inside the value;
    the node adds one for holder=`id` to each. A second Resolve replaces nothing and is ignored, unless the object is lost."""

    id: bytes
    value: Value
    contains: list[bytes] = []


class Create(Message, tag=54):
    """Ask for room in the arena. Answered by Created. Until Seal, only the sender may touch the range."""

    request: int
    id: bytes
    size: int


class Seal(Message, tag=55):
    """The range is written. `holder` gets one count (the owner). `contains` as in Resolve."""

    id: bytes
    holder: Holder
    contains: list[bytes] = []


class Abort(Message, tag=56):
    """Give a created range back without sealing it."""

    id: bytes


class Fetch(Message, tag=57):
    """Ask for a value; answered by Fetched, maybe much later. In the arena it comes with a pin of the sender.
    `holds_contents`: the sender has references to all that the value contains: no more counts are needed."""

    id: bytes
    holds_contents: bool = False


class Unpin(Message, tag=58):
    """Give back one pin of the sender."""

    ids: list[bytes]


class CancelFetch(Message, tag=59):
    id: bytes


class Free(Message, tag=60):
    """`internal.free`: drop the value although references exist; later fetches fail as lost."""

    ids: list[bytes]


# ---------------------------------------------------------------- client → node: the rest


class KvPut(Message, tag=70):
    request: int
    key: bytes
    value: bytes
    overwrite: bool


class KvGet(Message, tag=71):
    request: int
    key: bytes


class KvDel(Message, tag=72):
    request: int
    key: bytes


class KvList(Message, tag=73):
    request: int
    prefix: bytes


class Query(Message, tag=74):
    """State for `skate.state`, the CLI and the dashboard. Answered by Reply with MessagePack data."""

    request: int
    what: str
    params: dict[str, Any] = {}


class Events(Message, tag=75):
    """What this process records: packed rows (see `skate.run_format`), first `count` attempts of tasks, then others.

    The node appends them to the run file as they are.
    """

    data: bytes
    count: int
    strings: list[tuple[int, str]] = []  # New texts that the rows name.
    errors: list[tuple[bytes, int, str, str, bytes]] = []  # (task, attempt, its name, "Type: message", JSON or b"")


class FailedTask(Message, tag=81):
    """A failed task's function and arguments, pickled: the node keeps the bytes with the run, bounded, and never unpickles them."""

    task: bytes
    attempt: int
    data: bytes


class SubscribeLogs(Message, tag=76):
    on: bool


class MetricRows(Message, tag=77):
    rows: list[Any]


class StopSession(Message, tag=78):
    """End the whole session (`skate stop`)."""


# ---------------------------------------------------------------- node → client


class LeaseGranted(Message, tag=100):
    """Three descriptors attached: channel, token write end, token read end (a duplicate, to take unread work back)."""

    request: int
    lease: int
    worker: int
    pid: int
    node: bytes = b""


class LeaseRejected(Message, tag=101):
    """`kind`: "unschedulable" | "env" | "placement_group_removed" | "closed"."""

    request: int
    kind: str
    error: str


class LeaseRevoked(Message, tag=102):
    """Somebody else needs the resources: return the lease as soon as no task is in flight on it."""

    lease: int


class LeaseLost(Message, tag=103):
    """The worker of a lease died. `kind`: "exit" | "signal" | "oom" | "killed" | "placement_group_removed" | "node_removed"."""

    lease: int
    kind: str
    detail: str


class CreateActorReply(Message, tag=110):
    """`existing`: the id of the actor that has the name already (get_if_exists), else b"". `error`: the name is taken."""

    request: int
    existing: bytes
    handle_meta: bytes
    error: str


class ActorChannel(Message, tag=111):
    """One descriptor attached: the direct channel to incarnation number `incarnation` (from 0)."""

    actor: bytes
    incarnation: int
    worker: int
    pid: int


class ActorUpdate(Message, tag=112):
    """`state`: PENDING | ALIVE | RESTARTING | DEAD. `cause`: readable. `error`: serialized constructor error or b"".
    `kind` of death: "" | "exit" (on purpose) | "killed" | "died" | "creation" | "owner" | "unschedulable" | "out_of_scope" | "env"
    | "placement_group_removed" | "oom" | "node_removed"."""

    actor: bytes
    state: str
    incarnation: int
    kind: str
    cause: str
    error: bytes


class NamedActor(Message, tag=113):
    """`actor` is b"" when there is none. One count for the asking client has been added."""

    request: int
    actor: bytes
    handle_meta: bytes
    class_name: str = ""


class NamedActors(Message, tag=114):
    request: int
    names: list[tuple[str, str]]  # (namespace, name)


class PlacementGroupUpdate(Message, tag=120):
    """`state`: CREATED | REMOVED | INFEASIBLE (stays pending)."""

    group: bytes
    state: str
    detail: str


class PlacementGroupReply(Message, tag=121):
    request: int
    group: bytes  # b"": none
    bundles: list[Resources]
    strategy: str


class Created(Message, tag=130):
    """`offset` in the arena; -1 with `error` when it can never fit."""

    request: int
    offset: int
    error: str


class Fetched(Message, tag=131):
    """`value` small; or `offset` ≥ 0 and `size`, pinned for the receiver; or `lost`: why it can't be had.
    `kind` of loss: "" | "lost" | "owner_died" | "freed" | "spill_failed"."""

    id: bytes
    value: Value | None
    offset: int
    size: int
    lost_kind: str
    lost: str
    contains: list[bytes] = []


class ObjectLost(Message, tag=132):
    """To the owner: the value is gone and somebody wants it. Make it again (then Seal or Resolve) or Resolve an error."""

    id: bytes


class Reply(Message, tag=140):
    request: int
    data: bytes
    error: str = ""


class LogLines(Message, tag=141):
    """Lines a worker printed. `label`: name of the task, actor class or "". `stream`: 1 stdout, 2 stderr."""

    pid: int
    worker: int
    label: str
    stream: int
    lines: list[str]


class Notice(Message, tag=142):
    """Something the user should read. `level`: "info" | "warning" | "error"."""

    level: str
    text: str


class SessionEnding(Message, tag=143):
    reason: str


# ---------------------------------------------------------------- node → worker (control)


class AttachLease(Message, tag=160):
    """A caller got a lease of this worker. Descriptors: channel, token read end."""

    lease: int
    client: int
    job: int
    gpu_ids: list[int]
    resources: Resources
    placement_group: bytes
    capture_child_tasks: bool
    namespace: str


class AttachCaller(Message, tag=161):
    """A caller of this actor. Descriptor: channel."""

    client: int


class BecomeActor(Message, tag=162):
    spec: ActorSpec
    incarnation: int
    gpu_ids: list[int]
    resources: Resources
    job: int
    owner: int


class Interrupt(Message, tag=163):
    task: bytes
    recursive: bool


class DumpStack(Message, tag=164):
    """Answer with the Python stacks of all threads: `StackDump`."""

    request: int


class Exit(Message, tag=165):
    """End: `graceful` runs exit handlers after the calls already received; else at once."""

    graceful: bool
    reason: str


class FlushTrail(Message, tag=167):
    """The session is about to end: send what is recorded, then `TrailFlushed`."""


class TrailFlushed(Message, tag=80):
    """worker → node, behind its last `Events`."""


class StackDump(Message, tag=166):
    """worker → node, on the control socket."""

    request: int
    text: str


# ---------------------------------------------------------------- caller → worker


class Template(Message, tag=180):
    """What the calls of one function or method have in common; sent once per channel before its first call."""

    index: int
    name: str
    definition: Value | Stored | None  # pickled function; None for a method
    definition_id: bytes  # of the object that holds it, when Stored; else a digest, for the worker's cache
    method: str
    num_returns: int  # -1: streaming generator, -2: dynamic
    retry_exceptions: bool
    max_calls: int
    flush_each: bool
    concurrency_group: str
    backpressure: int  # items a generator may run ahead; -1: no limit
    code_digest: bytes = b""  # of a function that is pickled by name: tells a worker that its module is older than the driver's
    retry_types: bytes = b""  # pickled tuple of exception types to retry; b"": all, when `retry_exceptions`
    is_recorded: bool = True  # Calls that do not fail have rows of task events.


class Call(msgspec.Struct, array_like=True, gc=False):
    """One call. `refs`: what the placeholders of `args` stand for: a value, or b"id" to fetch."""

    seq: int
    template: int
    task: bytes
    args: bytes
    refs: list[Value | bytes] | None = None
    args_id: bytes = b""  # set when the packed arguments were too big and lie in the store
    borrowed: list[bytes] | None = None  # refs inside args: one count for the worker was added for each
    attempt: int = 0


class Calls(Message, tag=181):
    calls: list[Call]


class GeneratorAck(Message, tag=182):
    """`consumed` items of this generator have been taken; -1: nobody wants more."""

    task: bytes
    consumed: int


class CancelQueued(Message, tag=183):
    """Drop this call if it has not started; interrupt it if it is an async call (answered in Done as cancelled)."""

    task: bytes
    recursive: bool = True


# ---------------------------------------------------------------- worker → caller


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """How one call ended. `status`: 0 ok, 1 application error, 2 cancelled, 3 exited on purpose.
    One inline return travels in (kind, data); otherwise `returns` has one entry per return."""

    seq: int
    status: int
    kind: int
    data: bytes
    duration_us: int
    returns: list[Value | Stored] | None = None
    contains: list[list[bytes]] | None = None  # per return: refs inside; one count for the caller was added for each
    retryable: bool = False


class Done(Message, tag=190):
    outcomes: list[Outcome]


class GeneratorItem(Message, tag=191):
    task: bytes
    index: int
    value: Value | Stored
    contains: list[bytes]


class LeaseBlocked(Message, tag=192):
    """The running task waits in get: take back what it has not started, and put nothing behind it."""

    blocked: bool


class Retiring(Message, tag=193):
    """max_calls was reached: this worker ends and takes no more calls."""


CLIENT_TO_NODE = (
    Hello | Goodbye | RequestLease | CancelLeaseRequest | ReturnLease | Blocked | Unblocked | KillLease | CancelTask
    | CreateActor | ActorReady | ActorCreationFailed | ActorExiting | KillActor | ConnectActor | GetNamedActor
    | ListNamedActors | TerminateActor | CreatePlacementGroup | RemovePlacementGroup | GetPlacementGroup
    | AddRef | DropRefs | Unshare | Resolve | Create | Seal | Abort | Fetch | Unpin | CancelFetch | Free
    | KvPut | KvGet | KvDel | KvList | Query | Events | SubscribeLogs | MetricRows | StopSession | StackDump | TrailFlushed | FailedTask
)  # fmt: skip
NODE_TO_CLIENT = (
    Welcome | LeaseGranted | LeaseRejected | LeaseRevoked | LeaseLost | CreateActorReply | ActorChannel | ActorUpdate
    | NamedActor | NamedActors | PlacementGroupUpdate | PlacementGroupReply | Created | Fetched | ObjectLost | Reply
    | LogLines | Notice | SessionEnding
)  # fmt: skip
NODE_TO_WORKER = AttachLease | AttachCaller | BecomeActor | Interrupt | DumpStack | FlushTrail | Exit
CALLER_TO_WORKER = Template | Calls | GeneratorAck | CancelQueued
WORKER_TO_CALLER = Done | GeneratorItem | LeaseBlocked | Retiring
