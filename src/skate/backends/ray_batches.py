"""Short calls travel together: a thousand `.remote()` of a function that takes microseconds become a few Ray tasks.

    submit ─► waiting ─► (how long does one take? the first calls tell) ─► Chunk: one Ray task ─► each element's value, error, ref

Each element keeps its own ref and its own error. A chunk is as large as takes CHUNK_S, and never more than its share of what waits, so that no element
waits long behind others and every CPU has work. When a chunk's worker dies its elements are sent again, one by one. Functions with max_retries=0,
with resources of their own, a strategy, a runtime environment or refs among their arguments are never batched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skate.backends.base import TaskSpec
from skate.backends.ray_objects import Entry, Objects
from skate.object_ref import ObjectRef

if TYPE_CHECKING:
    from skate.backends.ray_cluster import TaskToken

CHUNK_S = 0.01  # What the elements of one chunk take together, at most.
CHUNK_CALLS_MAX = 1000
GATHER_S = 0.001  # How long a call waits for others.
# A function whose first calls have not come back by then (a worker may have to start first) is sent call by call until they have.
LONG_S = 5.0


def may_batch(spec: TaskSpec) -> bool:
    place = spec.placement
    return (
        spec.num_returns == 1 and spec.max_retries != 0 and not spec.retry_exceptions and not spec.max_calls
        and dict(place.resources) == {"CPU": 1.0} and place.strategy == "DEFAULT"
        and not (place.placement_group or place.node or place.labels or place.runtime_env)
    )  # fmt: skip


_SCALARS = frozenset({int, float, complex, bool, str, bytes, type(None)})


def may_gather(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether these arguments may be pickled later: nobody can change them, and no ref is in them."""
    return all(map(_is_fixed, args)) and (not kwargs or all(map(_is_fixed, kwargs.values())))


def _is_fixed(value: Any) -> bool:
    kind = type(value)
    return kind in _SCALARS or (kind is tuple and all(map(_is_fixed, value)))


class Chunk:
    """Calls that travel as one Ray task."""

    def __init__(self, batcher: Batcher, calls: list[Any], entries: list[Entry]) -> None:
        self.batcher = batcher
        self.calls = calls
        self.entries = entries
        self.their_ref: Any = None  # None: not sent yet.
        self.outcomes: list[Any] | None = None
        self.singles: list[Any] | None = None  # Ray's refs of the elements, sent again one by one.
        self._picked: dict[int, Any] = {}

    def ray_ref(self, index: int) -> Any:
        """What to wait for."""
        return self.their_ref if self.singles is None else self.singles[index]

    def pick(self, index: int) -> Any:
        """A Ray ref of one element, for where a plain one is needed."""
        if self.singles is not None:
            return self.singles[index]
        if index not in self._picked:
            self._picked[index] = self.batcher.picker.remote(self.their_ref, index)
        return self._picked[index]

    def value(self, index: int, timeout_s: float | None) -> Any:
        """Raises what the call raised, or Ray's errors."""
        import ray

        from skate.backends.ray_worker import Failure

        if self.singles is None and self.outcomes is None:
            try:
                seconds, self.outcomes = ray.get(self.their_ref, timeout=timeout_s)
                self.batcher.learn(seconds, len(self.calls))
                self.calls = []
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError):
                self.send_singly()
        if self.singles is not None:
            return ray.get(self.singles[index], timeout=timeout_s)
        assert self.outcomes is not None
        outcome = self.outcomes[index]
        if type(outcome) is Failure:
            raise outcome.exception()
        return outcome

    def send_singly(self) -> None:
        """Its worker has died: which element's fault it was shows when each runs alone."""
        if self.singles is None:
            self.singles = [self.batcher.token.function.remote(*args, **kwargs) for args, kwargs in self.calls]


class Batcher:
    """The waiting calls of one function."""

    def __init__(self, token: TaskToken, objects: Objects, new_id: Callable[[], bytes], num_cpus: Callable[[], float]) -> None:
        import ray

        from skate.backends import ray_worker

        self.token = token
        self._objects = objects
        self._new_id = new_id
        self._num_cpus = num_cpus
        self._function = ray.put(token.body)
        name = token.spec.name
        self._runner = ray.remote(ray_worker.run_chunk).options(name=name, max_retries=0, num_cpus=1)
        self.picker = ray.remote(ray_worker.pick).options(name=f"{name} (result)", num_cpus=0)
        self._lock = threading.Lock()
        self._waiting: Chunk | None = None
        self._first_s = 0.0
        self._probes: list[Chunk] = []
        self._probed_s = 0.0
        self._call_s: float | None = None  # What one call takes: a moving average.
        self._wake = threading.Event()
        self._closed = False
        threading.Thread(target=self._run, name="skate-ray-batches", daemon=True).start()

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ObjectRef[Any]:
        object_id = self._new_id()
        entry = Entry(None)
        with self._lock:
            self._objects.table[object_id] = entry
            # One alone for every CPU, until one has told how long the function takes: more could not run at once.
            if self._call_s is None and len(self._probes) < max(1, int(self._num_cpus())):
                self._send([(args, kwargs)], [entry], is_probe=True)
                return ObjectRef(object_id, self._objects)
            chunk = self._waiting
            if chunk is None:
                chunk = self._waiting = Chunk(self, [], [])
                self._first_s = time.monotonic()
                self._wake.set()
            entry.chunk = chunk
            entry.index = len(chunk.calls)
            chunk.calls.append((args, kwargs))
            chunk.entries.append(entry)
            if self._call_s is not None and len(chunk.calls) >= self._size(CHUNK_CALLS_MAX):
                self._send_waiting()
        return ObjectRef(object_id, self._objects)

    def flush(self) -> None:
        """Send what waits, in shares for every CPU."""
        with self._lock:
            self._send_waiting()

    def learn(self, seconds: float, calls: int) -> None:
        each = seconds / max(1, calls)
        self._call_s = each if self._call_s is None else 0.7 * self._call_s + 0.3 * each

    def _size(self, most: int) -> int:
        if self._call_s is None:
            return 1
        return max(1, min(most, CHUNK_CALLS_MAX, int(CHUNK_S / max(self._call_s, 1e-7))))

    def _send_waiting(self) -> None:
        """Lock held."""
        chunk, self._waiting = self._waiting, None
        if chunk is None:
            return
        if self._call_s is None:
            self._learn_from_probes(max(0.0, LONG_S - (time.monotonic() - self._probed_s)))
        share = -(-len(chunk.calls) // max(1, int(self._num_cpus())))
        size = self._size(max(1, share))
        for start in range(0, len(chunk.calls), size):
            self._send(chunk.calls[start : start + size], chunk.entries[start : start + size], is_probe=False)

    def _send(self, calls: list[Any], entries: list[Entry], *, is_probe: bool) -> None:
        """Lock held."""
        chunk = Chunk(self, calls, entries)
        for index, entry in enumerate(entries):
            entry.chunk, entry.index = chunk, index
        chunk.their_ref = self._runner.remote(self._function, self.token.spec.name, calls)
        if is_probe:
            if not self._probes:
                self._probed_s = time.monotonic()
            self._probes.append(chunk)

    def _learn_from_probes(self, timeout_s: float) -> None:
        import ray

        if not self._probes:
            return
        ready, _ = ray.wait([chunk.their_ref for chunk in self._probes], num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready:
            try:
                seconds, outcomes = ray.get(ready[0])
                self.learn(seconds, len(outcomes))
            except Exception:
                pass  # Its worker died: one by one, until something is learnt.

    def _run(self) -> None:
        """Sends what has waited long enough."""
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            while self._waiting is not None and not self._closed:
                left_s = GATHER_S - (time.monotonic() - self._first_s)
                if left_s > 0:
                    time.sleep(left_s)  # Gathers what comes in the meantime.
                self.flush()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
