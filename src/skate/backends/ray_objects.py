"""Skate's refs of objects in a Ray cluster: each names an `Entry`, which holds Ray's own ref as long as one of ours lives in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from skate.backends.ray_errors import translate
from skate.exceptions import TaskCancelledError
from skate.object_ref import ObjectRef

if TYPE_CHECKING:
    from skate.backends.ray_batches import Chunk


Callback = Callable[[Any, BaseException | None], None]  # (value, error)


class Entry:
    """One object: Ray's ref, or its place in a chunk of calls that travels as one Ray task."""

    __slots__ = ("callbacks", "cancelled", "chunk", "convert", "count", "index", "site", "stream", "their_ref")

    def __init__(self, their_ref: Any, convert: Callable[[Any], Any] | None = None) -> None:
        self.their_ref = their_ref
        self.convert = convert  # Of a value that means something else here than in Ray.
        self.count = 1
        self.chunk: Chunk | None = None
        self.index = 0
        self.cancelled = False
        self.site = ""
        self.stream: Any = None  # Ray's generator, of the ref that is ready when it has ended.
        self.callbacks: list[Callback] | None = None  # While it is in a chunk.

    def answer(self, value: Any, error: BaseException | None) -> None:
        """Tell those who asked, once."""
        callbacks, self.callbacks = self.callbacks, None
        for callback in callbacks or ():
            callback(value, error)


class Objects:
    """The `RefHost` of all refs of this process. `drop` and `drop_actor` may be called from `__del__`: they only append to a queue."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.table: dict[bytes, Entry] = {}
        self.actors: dict[bytes, list[Any]] = {}  # actor id → [Ray's handle, count]
        self.drop_actor: Callable[[bytes], None] = self._drop_actor
        self.drop: Callable[[bytes], None] = self._drop
        self.reduced = 0  # How many refs have been pickled here.
        self._dropped: SimpleQueue[tuple[bytes, bool] | None] = SimpleQueue()
        threading.Thread(target=self._collect, name="skate-ray-refs", daemon=True).start()

    # ------------------------------------------------------------ refs

    def adopt(self, their_ref: Any, convert: Callable[[Any], Any] | None = None) -> ObjectRef[Any]:
        """Our ref for one of theirs."""
        object_id: bytes = their_ref.binary()
        with self.lock:
            entry = self.table.get(object_id)
            if entry is None:
                self.table[object_id] = Entry(their_ref, convert)
            else:
                entry.count += 1
        return ObjectRef(object_id, self)

    def find(self, ref: ObjectRef[Any]) -> Entry:
        """Raises ValueError for a ref of another session."""
        entry = self.table.get(ref._id)
        if entry is None or ref._host is not self:
            raise ValueError(f"{ref!r} belongs to another session: refs are valid until skate.shutdown()")
        return entry

    def their_ref(self, ref: ObjectRef[Any]) -> Any:
        """Ray's ref of the same object; an element of a chunk gets one of its own now."""
        entry = self.find(ref)
        if entry.their_ref is None:
            chunk = entry.chunk
            assert chunk is not None
            return chunk.batcher.pick(entry)
        return entry.their_ref

    def _drop(self, object_id: bytes) -> None:
        self._dropped.put((object_id, False))

    def _drop_actor(self, actor_id: bytes) -> None:
        self._dropped.put((actor_id, True))

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        from skate.backends.ray_worker import rebuild_ref

        self.reduced += 1
        return rebuild_ref, (self.their_ref(ref),)

    def call_site(self, ref_id: bytes) -> str:
        return ""

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callback) -> None:
        entry = self.find(ref)
        if entry.cancelled:
            callback(None, TaskCancelledError())
            return
        while (chunk := entry.chunk) is not None:
            if chunk.their_ref is not None and chunk.on_done(entry, callback):
                return
            if chunk.their_ref is None and chunk.batcher.on_sent(entry, callback):
                return
        self._call_when_ready(entry, callback)

    def hand_over_callbacks(self, entry: Entry) -> None:
        """It has a Ray ref of its own now."""
        callbacks, entry.callbacks = entry.callbacks, None
        for callback in callbacks or ():
            self._call_when_ready(entry, callback)

    def _call_when_ready(self, entry: Entry, callback: Callback) -> None:
        def deliver(future: Any) -> None:
            error = future.exception()
            if error is not None:
                callback(None, translate(error))
                return
            value = future.result()
            callback(entry.convert(value) if entry.convert is not None else value, None)

        entry.their_ref.future().add_done_callback(deliver)

    # ------------------------------------------------------------ actors

    def adopt_actor(self, handle: Any) -> bytes:
        actor_id: bytes = handle._actor_id.binary()
        with self.lock:
            self.actors.setdefault(actor_id, [handle, 0])[1] += 1
        return actor_id

    # ------------------------------------------------------------ the end of refs

    def _collect(self) -> None:
        while (dropped := self._dropped.get()) is not None:
            any_id, is_actor = dropped
            gone: Any = None
            with self.lock:
                if is_actor:
                    counted = self.actors.get(any_id)
                    if counted is not None:
                        counted[1] -= 1
                        if counted[1] <= 0:
                            gone = self.actors.pop(any_id)
                else:
                    entry = self.table.get(any_id)
                    if entry is not None:
                        entry.count -= 1
                        if entry.count <= 0:
                            gone = self.table.pop(any_id)
                            gone.chunk = None  # It may hold the entry in turn.
            del gone  # Ray's own finalizer runs without our lock.

    def close(self) -> None:
        self._dropped.put(None)
        with self.lock:
            for entry in self.table.values():
                entry.chunk = None
            self.table.clear()
            self.actors.clear()
