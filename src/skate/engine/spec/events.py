"""What the scheduler is told besides the clients' messages, and what it answers. Plain values, no I/O.

Scheduler.handle(client, event, now_s) → list of commands       event: one of messages.CLIENT_TO_NODE or an event below
Directory.handle(client, event, now_s) → list of commands       (objects; same form)
"""

from __future__ import annotations

import msgspec

from skate.engine.spec.messages import ActorSpec, Message
from skate.engine.spec.resources import Resources


class Event(msgspec.Struct, frozen=True):
    pass


class Command(msgspec.Struct, frozen=True):
    pass


# ---------------------------------------------------------------- events (client argument is NODE_CLIENT unless said)


class ClientJoined(Event, frozen=True):
    """A driver or observer. Workers are created by StartWorker and are clients from then on."""

    client: int
    kind: str
    job: int
    namespace: str
    env: str


class ClientGone(Event, frozen=True):
    """A driver or observer left or died; the shell sends WorkerExited for workers instead. `crashed`: without Goodbye."""

    client: int
    crashed: bool


class WorkerExited(Event, frozen=True):
    """`kind`: "exit" (status 0), "exit_code", "signal", "oom", "killed" (we did it)."""

    worker: int
    kind: str
    detail: str


class EnvReady(Event, frozen=True):
    env: str


class EnvFailed(Event, frozen=True):
    env: str
    error: str


class Unreferenced(Event, frozen=True):
    """The last reference to an actor went."""

    actor: bytes


class NodeAdded(Event, frozen=True):
    node: bytes
    total: Resources
    labels: dict[str, str]


class NodeRemoved(Event, frozen=True):
    node: bytes


class Tick(Event, frozen=True):
    """Time passed: see `Scheduler.next_deadline_s`."""


class MemoryPressure(Event, frozen=True):
    """The machine is short of memory: end the newest retriable task (the last granted lease that is busy).

    `largest_worker`, `largest_bytes`: who has most memory of its own; -1 when nobody is known.
    """

    used_bytes: int
    limit_bytes: int
    largest_worker: int = -1
    largest_bytes: int = 0


class SpillDone(Event, frozen=True):
    id: bytes
    error: str = ""


class RestoreDone(Event, frozen=True):
    id: bytes
    error: str = ""


# ---------------------------------------------------------------- commands


class Send(Command, frozen=True):
    """Send `message` to a client. A client that is gone is skipped."""

    client: int
    message: Message


class Grant(Command, frozen=True):
    """Make the channel and the token pipe; send LeaseGranted to `client` and AttachLease to `worker`."""

    lease: int
    request: int
    client: int
    worker: int
    job: int
    node: bytes
    gpu_ids: tuple[int, ...]
    resources: Resources
    placement_group: bytes = b""
    capture_child_tasks: bool = False
    namespace: str = ""


class StartWorker(Command, frozen=True):
    """Fork (or spawn) worker process number `worker`. It can be granted at once: its sockets exist before it runs."""

    worker: int
    node: bytes
    job: int  # 0: any job
    env: str


class StopWorker(Command, frozen=True):
    """`how`: "graceful" (Exit, then kill when it overstays), "kill" (SIGKILL to its process group)."""

    worker: int
    how: str
    reason: str


class PrepareEnv(Command, frozen=True):
    """Build a runtime environment (pip); answered by EnvReady or EnvFailed."""

    env: str


class StartActor(Command, frozen=True):
    """Send BecomeActor to `worker`."""

    worker: int
    spec: ActorSpec
    incarnation: int
    gpu_ids: tuple[int, ...]
    resources: Resources
    job: int
    owner: int


class OpenActorChannel(Command, frozen=True):
    """Make a channel; send ActorChannel to `client` and AttachCaller to `worker`."""

    actor: bytes
    incarnation: int
    client: int
    worker: int


class CloseLease(Command, frozen=True):
    """The lease ended for the node's part (returned or lost); forget its bookkeeping."""

    lease: int


class InterruptTask(Command, frozen=True):
    worker: int
    task: bytes
    recursive: bool


class DropHolder(Command, frozen=True):
    """An actor is dead for good: drop every reference held in its name (to the directory)."""

    holder: bytes


class AddHolder(Command, frozen=True):
    """To the directory: add one count of `id` for `holder`."""

    id: bytes
    holder: int | bytes


class ActorUnreferenced(Command, frozen=True):
    """From the directory to the scheduler: nobody holds this actor any more."""

    actor: bytes


class SpillObject(Command, frozen=True):
    """Copy [offset, offset+size) of the arena to a spill file; answered by SpillDone."""

    id: bytes
    offset: int
    size: int


class RestoreObject(Command, frozen=True):
    """Copy a spill file back to `offset`; answered by RestoreDone."""

    id: bytes
    offset: int
    size: int


class DeleteSpill(Command, frozen=True):
    id: bytes


class DiscardRange(Command, frozen=True):
    """Give memory of a freed range back to the machine (punch a hole)."""

    offset: int
    size: int
