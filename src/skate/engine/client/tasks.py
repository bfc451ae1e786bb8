"""What this process remembers of the calls it has made: tokens, tasks, leases, queues. Data only; `submission` and `actor_calls` move them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from skate.engine.client.streams import StreamState
    from skate.engine.spec.messages import RequestLease, Template
    from skate.engine.transport.channel import Channel

STREAMING, DYNAMIC = -1, -2


class FunctionToken:
    """A remote function as this session knows it: its pickled definition and settled options."""

    __slots__ = (
        "definition",
        "duration_s",
        "function",
        "max_retries",
        "name",
        "num_returns",
        "queue",
        "retries_errors",
        "template",
    )

    def __init__(self, function: Any, template: Template, queue: TaskQueue, max_retries: int, *, retries_errors: bool) -> None:
        self.function = function
        self.template = template
        self.name = template.name
        self.num_returns = template.num_returns
        self.queue = queue
        self.max_retries = max_retries
        self.retries_errors = retries_errors
        self.duration_s = -1.0  # Moving average of a call; -1: not known yet.
        self.definition: Any = None  # Keeps the definition's object alive when it lies in the arena.

    def learn_duration(self, mean_s: float) -> None:
        """What the calls of one batch took on average. A longer mean counts at once; shorter ones have to come several times."""
        old_s = self.duration_s
        self.duration_s = mean_s if old_s < 0 or mean_s > old_s else 0.7 * old_s + 0.3 * mean_s


class MethodToken:
    """A method of one actor as this process calls it."""

    __slots__ = ("actor", "max_task_retries", "name", "num_returns", "retries_errors", "template")

    def __init__(self, actor: Any, template: Template, max_task_retries: int, *, retries_errors: bool) -> None:
        self.actor = actor
        self.template = template
        self.name = template.name
        self.num_returns = template.num_returns
        self.max_task_retries = max_task_retries
        self.retries_errors = retries_errors


class Task(msgspec.Struct, gc=False, eq=False):  # Not tracked by the collector, as `objects.Entry`.
    """One call, from submission until its last return is known (and longer, as lineage, while a return lies in the arena)."""

    task_id: bytes
    token: Any
    args: bytes
    retries_left: int  # -1: endless
    args_id: bytes = b""  # Object that holds the packed arguments, when they are big.
    deps: list[bytes] | None = None  # Top-level references, in placeholder order.
    borrowed: list[bytes] | None = None  # References inside the arguments.
    unresolved: int = 0  # Dependencies that are still PENDING.
    attempt: int = 0
    seq: int = -1
    lease: Any = None  # Lease or actor connection it was sent on.
    stream: StreamState | None = None  # Until it has ended: the two refer to each other.
    shared: list[bytes] | None = None  # What was counted for the worker it was sent to.
    is_cancelled: bool = False
    is_done: bool = False
    parent: bytes = b""  # The task that submitted it.
    lineage_returns: int = 0  # Returns in the arena that this task could make again; it keeps its arguments for them.


class Lease:
    """A worker that is ours for a while."""

    __slots__ = (
        "channel", "idle_since_s", "in_flight", "is_blocked", "is_lost", "is_retiring", "is_revoked", "lease_id", "next_seq",
        "pid", "progress_at_s", "queue", "templates", "token_read", "token_write", "worker",
    )  # fmt: skip

    def __init__(
        self, lease_id: int, worker: int, pid: int, queue: TaskQueue, channel: Channel, token_write: int, token_read: int
    ) -> None:
        self.lease_id = lease_id
        self.worker = worker
        self.pid = pid
        self.queue = queue
        self.channel = channel
        self.token_write = token_write
        self.token_read = token_read
        self.in_flight: dict[int, Task] = {}  # By sequence number, in order.
        self.next_seq = 0
        self.templates: dict[FunctionToken, int] = {}  # Index on this channel. Keeps the token: its id must not become another's.
        self.is_blocked = False  # Its task waits in get: nothing is put behind it.
        self.is_revoked = False  # To be returned when it is idle.
        self.is_lost = False
        self.is_retiring = False  # Its worker has reached max_calls and ends.
        self.idle_since_s = 0.0
        self.progress_at_s = 0.0


class TaskQueue:
    """Tasks of one shape (resources, environment, strategy), and the leases that run them."""

    __slots__ = ("leases", "need", "outstanding", "ready", "request", "requests", "slots_max")

    def __init__(self, request: RequestLease, slots_max: int) -> None:
        self.request = request  # The form of a request; `request` number is filled in.
        self.ready: deque[Task] = deque()
        self.leases: dict[int, Lease] = {}
        self.requests: set[int] = set()  # Lease requests not answered yet.
        self.outstanding = 0  # ready + in flight
        self.slots_max = slots_max  # More leases than this can't be granted at once.


class Slot:
    """Stands in packed arguments for a top-level reference; the worker puts the value there."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return Slot, (self.index,)
