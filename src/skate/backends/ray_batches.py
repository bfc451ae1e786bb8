"""Short calls travel together: a thousand `.remote()` of a function that takes microseconds become a few Ray tasks.

    submit ─► waiting ─► (how long does one take? the first calls tell) ─► Chunk: one Ray task ─► each element's value, error, ref
                 ▲                                                            │
                 └──────────── what a chunk leaves undone ◄──── it takes too long · its worker dies · an element is cancelled

Each element keeps its own ref and its own error. A chunk is as large as takes CHUNK_S, and never more than its share of what waits. A chunk that takes
longer than `ray_worker.GIVE_UP_S`, because one element is long or waits for another, hands back what it has not begun: nothing waits behind it.
When a chunk's worker dies its elements are sent again, one by one. Functions with max_retries=0, with resources of their own, a strategy or a runtime
environment, and calls with refs or changeable arguments, are never batched.

`Sender` is the one thread that looks after all of this; who calls `get` or `wait` only waits for Ray's refs, and never for a lock that is held long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skate.backends.base import TaskSpec
from skate.backends.ray_errors import translate
from skate.backends.ray_objects import Callback, Entry, Objects
from skate.exceptions import TaskCancelledError
from skate.object_ref import ObjectRef

if TYPE_CHECKING:
    from skate.backends.ray_cluster import TaskToken

CHUNK_S = 0.01  # What the elements of one chunk take together, at most.
CHUNK_CALLS_MAX = 1000
GATHER_S = 0.001  # How long a call waits for others.
# When a function's first calls have not come back by then (a worker may have to start first), the others are sent in small chunks: if it is a long
# function, these hand back all but their first call.
LONG_S = 5.0
UNKNOWN_CALLS = 32
CANCEL_S = 0.05  # A chunk with a cancelled element is left alone that long: most are done by then.
BYTES_MAX = 4096  # Of a text among the arguments of a call that travels with others.
_LOOK_S = 0.1  # How often what chunks have handed back is looked for.


def may_batch(spec: TaskSpec) -> bool:
    place = spec.placement
    return (
        spec.num_returns == 1 and spec.max_retries != 0 and not spec.retry_exceptions and not spec.max_calls
        and dict(place.resources) == {"CPU": 1.0} and place.strategy == "DEFAULT"
        and not (place.placement_group or place.node or place.labels or place.runtime_env)
    )  # fmt: skip


_NUMBERS = frozenset({int, float, complex, bool, type(None)})


def may_gather(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether these arguments may be pickled later: nobody can change them, no ref is in them, and they are small."""
    return all(map(_is_fixed, args)) and (not kwargs or all(map(_is_fixed, kwargs.values())))


def _is_fixed(value: Any) -> bool:
    kind = type(value)
    if kind in _NUMBERS:
        return True
    if kind is str or kind is bytes:
        return len(value) <= BYTES_MAX
    return kind is tuple and len(value) <= 64 and all(map(_is_fixed, value))


class Chunk:
    """Calls that travel as one Ray task."""

    __slots__ = ("__weakref__", "batcher", "calls", "cancel", "entries", "key", "lock", "outcomes", "sent_s", "their_ref")

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.calls: list[Any] = []
        self.entries: list[Entry] = []  # Empty when the chunk is settled.
        self.key = b""  # Under which it hands back what it has not begun.
        self.their_ref: Any = None  # None: not sent yet.
        self.sent_s = 0.0
        self.cancel: tuple[float, bool] | None = None  # (when, by force): an element is not wanted any more.
        self.outcomes: list[Any] = []  # Of its first elements; all of them when the chunk is settled.
        self.lock = threading.Lock()

    def add(self, call: Any, entry: Entry) -> None:
        entry.chunk, entry.index = self, len(self.calls)
        self.calls.append(call)
        self.entries.append(entry)

    def is_done(self, index: int) -> bool:
        return index < len(self.outcomes)

    def value(self, index: int) -> Any:
        """Raises what the call raised."""
        from skate.backends.ray_worker import Failure, Frozen

        outcome = self.outcomes[index]
        if type(outcome) is Failure:
            raise outcome.exception()
        return outcome.thaw() if type(outcome) is Frozen else outcome

    def settle(self, timeout_s: float | None = None) -> bool:
        """Its Ray task has ended: take the outcomes, and send again what was not done. False: it has not ended in time.

        Raises Ray's errors, when they are every element's.
        """
        import ray

        if not self.entries:
            return True
        x = ray.exceptions
        told: Any = None
        lost: Exception | None = None
        try:  # Without the lock: meanwhile it may hand back what it has not begun.
            told = ray.get(self.their_ref, timeout=timeout_s)
        except x.GetTimeoutError:
            return False
        except Exception as error:
            lost = error
        with self.lock:
            if not self.entries:  # Another thread was faster.
                return True
            if isinstance(
                lost, (x.WorkerCrashedError, x.NodeDiedError, x.OutOfMemoryError, x.TaskCancelledError, x.ObjectLostError)
            ):
                self._again(len(self.outcomes), singly=True)
                return True
            if lost is not None:
                for entry in self.entries:
                    entry.answer(None, translate(lost))
                raise lost
            seconds, outcomes, is_full = told
            self.batcher.learn(seconds, len(outcomes), is_full=is_full)
            done = self._take(outcomes)
            self._again(len(self.outcomes), singly=False)
        self._tell(done)
        return True

    def take_back(self, outcomes: list[Any] | None, first: int) -> None:
        """It runs on with the element before `first`, and has handed back the rest."""
        with self.lock:
            if not self.entries or first >= len(self.calls):
                return
            done = [] if outcomes is None else self._take(outcomes)
            self.batcher.learn(CHUNK_S * 5, 1)
            rest = list(zip(self.calls[first:], self.entries[first:], strict=True))
            del self.calls[first:], self.entries[first:]
            self.batcher.send_again(rest, singly=False)
        self._tell(done)

    def on_done(self, entry: Entry, callback: Callback) -> bool:
        """False: it has moved meanwhile."""
        with self.lock:
            if entry.chunk is not self:
                return False
            if self.entries and not self.is_done(entry.index):
                entry.callbacks = [*(entry.callbacks or ()), callback]
                return True
        self._tell([entry], callback)
        return True

    def _take(self, outcomes: list[Any]) -> list[Entry]:
        """Lock held. Returns the elements that somebody wants to be told of."""
        if len(outcomes) > len(self.outcomes):
            self.outcomes = outcomes
        return [entry for entry in self.entries[: len(self.outcomes)] if entry.callbacks]

    def _tell(self, done: list[Entry], callback: Callback | None = None) -> None:
        for entry in done:
            value = error = None
            try:
                value = self.value(entry.index)
            except Exception as raised:
                error = raised
            if callback is not None:
                callback(value, error)
            else:
                entry.answer(value, error)

    def _again(self, first: int, *, singly: bool) -> None:
        """Lock held."""
        rest = list(zip(self.calls[first:], self.entries[first:], strict=True))
        self.entries, self.calls = [], []
        self.batcher.send_again(rest, singly=singly)


class Batcher:
    """The waiting calls of one function."""

    def __init__(self, token: TaskToken, sender: Sender) -> None:
        from skate.backends import ray_worker

        self.token = token
        self._sender = sender
        # Once more with all its elements (a node may have gone), then one by one.
        self._chunked = token.function.options(max_retries=1)
        self._calls = ray_worker.Calls
        self._picker: Any = None
        self._lock = threading.Lock()
        self.waiting: Chunk | None = None
        self.first_s = 0.0
        self._probes = 0
        self.probed_s = 0.0
        self.call_s: float | None = None  # What one call takes: a moving average.
        self._most = CHUNK_CALLS_MAX  # Fewer where the values are large.

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ObjectRef[Any]:
        sender = self._sender
        object_id = sender.new_id()
        entry = Entry(None)
        with self._lock:
            sender.objects.table[object_id] = entry
            chunk = self.waiting
            # One alone for every CPU, until one has told how long the function takes: more could not run at once.
            if self.call_s is None and self._probes < max(1, int(sender.num_cpus())):
                if not self._probes:
                    self.probed_s = time.monotonic()
                self._probes += 1
                self._send([((args, kwargs), entry)])
                return ObjectRef(object_id, sender.objects)
            if chunk is None:
                chunk = self.waiting = Chunk(self)
                self.first_s = time.monotonic()
                sender.wake(self)
            entry.chunk = chunk
            entry.index = len(chunk.calls)
            chunk.calls.append((args, kwargs))
            chunk.entries.append(entry)
            if self.call_s is not None and len(chunk.calls) >= self._size(CHUNK_CALLS_MAX):
                self._send_waiting()
        return ObjectRef(object_id, sender.objects)

    def on_sent(self, entry: Entry, callback: Callback) -> bool:
        """For an element that waits to be sent; False: it has been meanwhile."""
        with self._lock:
            if entry.chunk is None or entry.chunk.their_ref is not None:
                return False
            entry.callbacks = [*(entry.callbacks or ()), callback]
            return True

    def flush(self) -> None:
        """Send what waits, in shares for every CPU; unless it is not known yet how long the function takes: then the sender does it, soon."""
        if self.waiting is None:
            return
        with self._lock:
            if self.call_s is not None or time.monotonic() - self.probed_s > LONG_S:
                self._send_waiting()

    def learn(self, seconds: float, calls: int, *, is_full: bool = False) -> None:
        each = seconds / max(1, calls)
        self.call_s = each if self.call_s is None else 0.7 * self.call_s + 0.3 * each
        if is_full:
            self._most = max(1, min(self._most, calls))

    def send_again(self, rest: list[tuple[Any, Entry]], *, singly: bool) -> None:
        """Elements that a chunk has left; one by one when it is not known whose fault that was."""
        with self._lock:
            wanted = []
            for call, entry in rest:
                if entry.cancelled:
                    continue
                if entry.their_ref is not None:  # Ray has its ref already, and runs it there: see `ray_worker.pick`.
                    entry.chunk = None
                    self._sender.objects.hand_over_callbacks(entry)
                elif singly:
                    entry.their_ref = self.token.function.remote(*call[0], **call[1])
                    entry.chunk = None
                    self._sender.objects.hand_over_callbacks(entry)
                else:
                    wanted.append((call, entry))
            size = self._size(CHUNK_CALLS_MAX)
            for start in range(0, len(wanted), size):
                self._send(wanted[start : start + size])

    def pick(self, entry: Entry) -> Any:
        """A Ray ref of one element, for where a plain one is needed."""
        import ray

        from skate.backends import ray_worker

        with self._lock:
            if entry.chunk is not None and entry.chunk.their_ref is None:
                self._send_waiting()
            if self._picker is None:
                name = f"{self.token.spec.name} (result)"
                self._picker = ray.remote(ray_worker.pick).options(name=name, num_cpus=0, max_retries=self.token.spec.max_retries)
        chunk = entry.chunk
        if chunk is None:
            return entry.their_ref
        with chunk.lock:  # Nothing of it is sent again meanwhile.
            if entry.chunk is not chunk:
                return entry.their_ref if entry.chunk is None else self._picked(entry.chunk, entry)
            return self._picked(chunk, entry)

    def _picked(self, chunk: Chunk, entry: Entry) -> Any:
        if entry.their_ref is None:
            if chunk.calls:
                call, body = chunk.calls[entry.index], self.token.body
                entry.their_ref = self._picker.remote(chunk.their_ref, entry.index, self._body_ref(body), call)
            else:
                entry.their_ref = self._picker.remote(chunk.their_ref, entry.index, None, None)
        return entry.their_ref

    def _body_ref(self, body: Any) -> Any:
        import ray

        if self.token.body_ref is None:
            self.token.body_ref = ray.put(body)
        return [self.token.body_ref]  # In a list: fetched only where it is needed.

    def _size(self, most: int) -> int:
        if self.call_s is None:
            return min(most, UNKNOWN_CALLS)
        return max(1, min(most, self._most, int(CHUNK_S / max(self.call_s, 1e-7))))

    def _send_waiting(self) -> None:
        """Lock held."""
        chunk, self.waiting = self.waiting, None
        if chunk is None:
            return
        rest = [(call, entry) for call, entry in zip(chunk.calls, chunk.entries, strict=True) if not entry.cancelled]
        size = self._size(max(1, -(-len(rest) // max(1, int(self._sender.num_cpus())))))
        for start in range(0, len(rest), size):
            self._send(rest[start : start + size])
        chunk.entries, chunk.calls = [], []

    def _send(self, rest: list[tuple[Any, Entry]]) -> None:
        """Lock held."""
        chunk = Chunk(self)
        for call, entry in rest:
            chunk.add(call, entry)
        chunk.key = self._sender.new_key() if len(rest) > 1 else b""
        # Kept by Ray as an object: pickled once, and not searched for refs, of which there are none.
        chunk.their_ref = self._chunked.remote(self._calls(self.token.spec.name, chunk.key, chunk.calls))
        chunk.sent_s = time.monotonic()
        self._sender.watch(chunk)


class Sender:
    """The thread that sends what has waited long enough, and looks after the chunks that are under way."""

    def __init__(
        self, objects: Objects, new_id: Callable[[], bytes], num_cpus: Callable[[], float], handed_back: HandedBack
    ) -> None:
        self.objects = objects
        self.new_id = new_id
        self.num_cpus = num_cpus
        self._handed_back = handed_back
        self._waiting: set[Batcher] = set()
        self._chunks: dict[Any, Chunk] = {}  # Ray's ref → chunk under way.
        self._event = threading.Event()
        self._sent = threading.Condition()
        self._waiters = 0
        self._closing = threading.Event()
        self._looked_s = 0.0
        self._thread: threading.Thread | None = None

    def new_key(self) -> bytes:
        return self._handed_back.prefix + self.new_id()

    def wake(self, batcher: Batcher) -> None:
        self._waiting.add(batcher)
        self._start()

    def watch(self, chunk: Chunk) -> None:
        self._chunks[chunk.their_ref] = chunk
        self._start()
        if self._waiters:
            with self._sent:
                self._sent.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="skate-ray-batches", daemon=True)
            self._thread.start()
        if not self._event.is_set():
            self._event.set()

    def flush(self) -> None:
        if self._waiting:
            for batcher in list(self._waiting):
                batcher.flush()

    def wait_until_sent(self, timeout_s: float) -> None:
        """Until a chunk is sent, whichever, or the time is over."""
        with self._sent:
            self._waiters += 1
            self._sent.wait(max(0.0, timeout_s))
            self._waiters -= 1

    def wait(self, chunk: Chunk, timeout_s: float) -> bool:
        """Until it has ended, or moved on, or the time is over (False). Raises what is every element's error."""
        if chunk.their_ref is None:
            chunk.batcher.flush()
            if chunk.their_ref is None and chunk.entries:
                self.wait_until_sent(timeout_s)
            return False
        return chunk.settle(max(0.0, timeout_s))

    def cancel(self, entry: Entry, *, force: bool) -> None:
        """An element is not wanted: it never runs if it has not begun; its neighbours do."""
        chunk = entry.chunk
        if chunk is None or chunk.is_done(entry.index):
            return
        entry.cancelled = True
        entry.answer(None, TaskCancelledError())
        if chunk.their_ref is not None:
            is_alone = all(one.cancelled for one in chunk.entries)
            chunk.cancel = (time.monotonic() + (0 if is_alone else CANCEL_S), force)
            self._start()

    def close(self) -> None:
        self._closing.set()
        self._event.set()
        if self._thread is not None:
            self._thread.join(2.0)
        self._chunks.clear()
        self._waiting.clear()

    def _run(self) -> None:
        while not self._closing.is_set():
            if not self._waiting and not self._chunks:
                self._event.wait()
                self._event.clear()
                continue
            try:
                self._step()
            except Exception:  # The cluster is gone: who waits for a value is told by Ray.
                if self._closing.is_set():
                    return
                self._closing.wait(_LOOK_S)

    def _step(self) -> None:
        import ray

        now = time.monotonic()
        for batcher in list(self._waiting):
            self._waiting.discard(batcher)
            if now - batcher.first_s >= GATHER_S:
                batcher.flush()
            if batcher.waiting is not None:  # Still, or again.
                self._waiting.add(batcher)
        refs = list(self._chunks)
        if not refs:
            time.sleep(GATHER_S)
            return
        ready, _ = ray.wait(refs, num_returns=1, timeout=0.005 if self._waiting else 0.05, fetch_local=False)
        if ready and len(refs) > 1:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in ready:
            try:
                self._chunks[ref].settle()
            except Exception:
                pass  # Every element's: raised where one of them is asked for.
            del self._chunks[ref]
        now = time.monotonic()
        for chunk in list(self._chunks.values()):
            if chunk.cancel is not None and now >= chunk.cancel[0]:
                force, chunk.cancel = chunk.cancel[1], None
                ray.cancel(chunk.their_ref, force=force)
        if now - self._looked_s >= _LOOK_S:
            self._looked_s = now
            late = {chunk.key: chunk for chunk in list(self._chunks.values()) if chunk.key and now - chunk.sent_s >= _LOOK_S}
            if late:
                for key, outcomes, first in self._handed_back.take(late):
                    late[key].take_back(outcomes, first)


class HandedBack:
    """What chunks that take long have not begun: they say so in the cluster's key-value store, for their task has not ended."""

    def __init__(self, prefix: bytes, kv_list: Callable[[bytes], list[bytes]], kv_take: Callable[[bytes], bytes | None]) -> None:
        self.prefix = prefix
        self._list = kv_list
        self._take = kv_take

    def take(self, wanted: dict[bytes, Chunk]) -> list[tuple[bytes, list[Any] | None, int]]:
        """(key, outcomes of the elements that are done, number of the first that was not begun)"""
        import pickle

        found = []
        for key in self._list(self.prefix):
            data = self._take(key) if key in wanted else None
            if data is not None:
                found.append((key, *pickle.loads(data)))
        return found
