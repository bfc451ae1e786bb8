"""Streaming generators of the inline backend. A generator runs in its consumer's thread, one step for each item that is asked for; an async actor's
runs in that actor's loop, and pushes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from skate.backends.inline_objects import Objects
from skate.engine.spec.ids import return_id
from skate.exceptions import GetTimeoutError
from skate.object_ref import ObjectRef


class InlineStream:
    """Implements `base.StreamHandle`."""

    def __init__(self, objects: Objects, task: bytes) -> None:
        self.task_id = task
        self._objects = objects
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._items: list[ObjectRef[Any]] = []
        self._count = 0
        self._has_ended = False
        self._callbacks: list[Callable[[], None]] = []
        self._steps: Any = None
        self._pack_error: Callable[[BaseException], bytes] | None = None
        self._call: Any = None
        self.is_closed = False
        self._completed, self._completion = objects.create(return_id(task, -1))

    # ------------------------------------------------------------ the generator's side

    def pull_from(self, steps: Any, call: Any, pack_error: Callable[[BaseException], bytes]) -> None:
        """Take items from an iterator as they are asked for."""
        self._steps, self._call, self._pack_error = steps, call, pack_error
        self._completion.make = self._run_to_the_end

    def push(self, value: Any) -> None:
        with self._lock:
            ref, stored = self._objects.create(return_id(self.task_id, self._count))
            self._objects.settle(stored, value)
            self._count += 1
            self._items.append(ref)
        self._wake()

    def end(self, error: bytes | None) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            self._steps = None
            if error is not None:
                ref, stored = self._objects.create(return_id(self.task_id, self._count))
                self._objects.fail(stored, error)
                self._items.append(ref)
                self._objects.fail(self._completion, error)
            else:
                self._objects.settle(self._completion, None)
        self._wake()

    def _wake(self) -> None:
        with self._news:
            callbacks, self._callbacks = self._callbacks, []
            self._news.notify_all()
        for callback in callbacks:
            callback()

    def _step(self) -> None:
        """Run the generator up to its next item, or its end. Lock held: one step at a time."""
        from skate.backends.inline_calls import running

        token = running.set(self._call)
        try:
            item = next(self._steps)
        except StopIteration:
            self.end(None)
            return
        except Exception as error:
            assert self._pack_error is not None
            self.end(self._pack_error(error))
            return
        finally:
            running.reset(token)
        try:
            self.push(item)
        except Exception as error:  # It can't be pickled.
            assert self._pack_error is not None
            self.end(self._pack_error(error))

    def _run_to_the_end(self) -> None:
        with self._lock:
            while self._steps is not None and not self._has_ended:
                self._step()

    def _fetch(self) -> bool:
        """Whether an item, or the end, is there; runs the generator if that takes a step."""
        if not self._items and not self._has_ended and self._steps is not None:
            self._step()
        return bool(self._items) or self._has_ended

    # ------------------------------------------------------------ the consumer's side

    def next_ref(self, timeout_s: float | None) -> ObjectRef[Any] | None:
        with self._news:
            if not self._fetch() and not self._news.wait_for(lambda: self._items or self._has_ended, timeout_s):
                raise GetTimeoutError(f"the generator did not yield its next item within {timeout_s} s")
            return self._items.pop(0) if self._items else None

    def add_next_callback(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self._fetch():
                self._callbacks.append(callback)
                return
        callback()

    def is_finished(self) -> bool:
        return self._has_ended and not self._items

    def completed_ref(self) -> ObjectRef[Any]:
        return self._objects.make_ref(self._completed._id)

    def close(self) -> None:
        with self._lock:
            self.is_closed = True
            steps, self._steps = self._steps, None
            self._items.clear()
            if steps is not None and hasattr(steps, "close"):
                steps.close()
            if not self._has_ended:
                self.end(None)

    def __del__(self) -> None:
        self._steps = None  # The generator closes itself.
