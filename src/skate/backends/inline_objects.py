"""Objects of the inline backend: values as they would travel, and who still needs them.

A value is pickled when it is put and unpickled by each `get`, so that programs meet the same copies, the same read-only arrays and the same
errors as with processes. What is inside a value (refs, actor handles) is held by it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from skate.engine.client import errors
from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import Packed, pack, unpack_stored
from skate.object_ref import ObjectRef

_ERROR = serialization.ERROR
ACTOR_ID_BYTES = 16


class Held:
    """One count of an object or actor; given back when this goes."""

    __slots__ = ("_drop", "_id")

    def __init__(self, any_id: bytes, drop: Callable[[bytes], None]) -> None:
        self._id = any_id
        self._drop = drop

    def __del__(self) -> None:
        self._drop(self._id)


class Stored:
    """One object. `data` is None until it has a value."""

    __slots__ = ("callbacks", "count", "data", "error", "inner", "make", "on_cancel")

    def __init__(self) -> None:
        self.count = 0
        self.data: bytes | None = None
        self.error: bytes | None = None
        self.inner: list[Held] = []
        self.callbacks: list[Callable[[], object]] = []
        self.make: Callable[[], None] | None = None  # Makes the value when somebody asks: the end of a generator.
        self.on_cancel: Callable[[], None] | None = None  # Of a call that still runs.

    @property
    def is_done(self) -> bool:
        return self.data is not None or self.error is not None


class Objects:
    """All objects of one session. Implements `object_ref.RefHost`."""

    def __init__(self, on_actor_unreferenced: Callable[[bytes], None]) -> None:
        self._lock = threading.RLock()
        self._done = threading.Condition(self._lock)
        self._table: dict[bytes, Stored] = {}
        self._actors: dict[bytes, int] = {}  # Counts of actor handles.
        self._dropped: deque[bytes] = deque()
        self._on_actor_unreferenced = on_actor_unreferenced
        self.drop: Callable[[bytes], None] = self._dropped.append
        self.is_closed = False

    # ------------------------------------------------------------ refs

    def make_ref(self, object_id: bytes) -> ObjectRef[Any]:
        with self._lock:
            stored = self._table.get(object_id)
            if stored is None:
                raise errors.foreign_ref()
            stored.count += 1
        return ObjectRef(object_id, self)

    def create(self, object_id: bytes) -> tuple[ObjectRef[Any], Stored]:
        """A new object without a value."""
        self.collect()
        stored = Stored()
        stored.count = 1
        with self._lock:
            self._table[object_id] = stored
        return ObjectRef(object_id, self), stored

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        self.note_travelling(ref._id)
        return rebuild_ref, (ref._id,)

    def note_travelling(self, any_id: bytes) -> None:
        """An id is being pickled. When nobody records it (the user pickles by hand) it is kept until the session ends."""
        captured = serialization.capture.ids
        if captured is not None:
            captured.append(any_id)
        else:
            self.retain(any_id)

    def retain(self, any_id: bytes) -> None:
        with self._lock:
            if len(any_id) == ACTOR_ID_BYTES:
                self._actors[any_id] = self._actors.get(any_id, 0) + 1
            elif any_id in self._table:
                self._table[any_id].count += 1

    def hold(self, ids: Sequence[bytes]) -> list[Held]:
        held = []
        for any_id in ids:
            self.retain(any_id)
            held.append(Held(any_id, self.drop))
        return held

    def collect(self) -> None:
        """Forget what nobody refers to. Called on every way in: refs may go inside the garbage collector, where nothing can be done."""
        while self._dropped:
            try:
                any_id = self._dropped.popleft()
            except IndexError:
                return
            gone: Any = None
            with self._lock:
                if len(any_id) == ACTOR_ID_BYTES:
                    count = self._actors.get(any_id, 0) - 1
                    self._actors[any_id] = count
                    if count == 0:
                        del self._actors[any_id]
                        gone = any_id
                else:
                    stored = self._table.get(any_id)
                    if stored is not None:
                        stored.count -= 1
                        if stored.count <= 0:
                            del self._table[any_id]  # What it holds is dropped with it.
            if gone is not None:
                self._on_actor_unreferenced(gone)

    def call_site(self, ref_id: bytes) -> str:
        return ""

    # ------------------------------------------------------------ values

    def settle(self, stored: Stored, value: Any) -> None:
        """Give an object its value.

        Raises:
            TypeError, pickle.PicklingError, …: It can't be pickled.
        """
        self.settle_packed(stored, pack(value))

    def settle_packed(self, stored: Stored, packed: Packed) -> None:
        self._finish(stored, b"".join(packed.stored_parts()), None, self.hold(packed.contains))

    def fail(self, stored: Stored, error: bytes) -> None:
        self._finish(stored, None, error, [])

    def _finish(self, stored: Stored, data: bytes | None, error: bytes | None, inner: list[Held]) -> None:
        with self._lock:
            if stored.is_done:
                return
            stored.data, stored.error, stored.inner = data, error, inner
            stored.make = stored.on_cancel = None
            callbacks, stored.callbacks = stored.callbacks, []
            self._done.notify_all()
        for callback in callbacks:
            callback()

    def find(self, object_id: bytes) -> Stored:
        """
        Raises:
            ValueError: It belongs to another session.
        """
        self.collect()
        stored = self._table.get(object_id)
        if stored is None:
            raise errors.foreign_ref()
        make = stored.make
        if make is not None:
            make()
        return stored

    def value_of(self, stored: Stored) -> Any:
        if stored.error is not None:
            raise errors.unpack_error(stored.error)
        assert stored.data is not None
        return unpack_stored(memoryview(stored.data))

    def wait_for(self, wanted: Sequence[Stored], count: int, timeout_s: float | None) -> bool:
        """Wait until `count` of the objects have values. False when the time is over, or the session."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._done:
            while sum(1 for stored in wanted if stored.is_done) < count:
                if self.is_closed:
                    return False
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return False
                self._done.wait(left_s)
        return True

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[Any, BaseException | None], None]) -> None:
        stored = self.find(ref._id)

        def deliver() -> None:
            try:
                value = self.value_of(stored)
            except BaseException as error:
                callback(None, error)
            else:
                callback(value, None)

        self.when_done(stored, deliver)

    def when_done(self, stored: Stored, call: Callable[[], object]) -> None:
        """Call now, or as soon as the object has a value, in the thread that gives it one."""
        with self._lock:
            if not stored.is_done:
                stored.callbacks.append(call)
                return
        call()

    def describe(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {
                    "object_id": object_id.hex(), "size_bytes": len(stored.data or b""), "state": "SEALED" if stored.is_done else "PENDING",
                    "owner": 1, "reference_count": stored.count, "holders": [], "pins": 0, "is_spilled": False,
                }
                for object_id, stored in self._table.items()
            ]  # fmt: skip

    def close(self) -> None:
        with self._done:
            self.is_closed = True
            self._table.clear()
            self._actors.clear()
            self._done.notify_all()
        self._dropped.clear()


def rebuild_ref(object_id: bytes) -> Any:
    """What a pickled ref calls where it is unpickled."""
    from skate.backends import current

    return current.active().objects.make_ref(object_id)  # type: ignore[attr-defined]
