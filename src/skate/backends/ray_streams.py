"""The consumer's end of a streaming generator on a Ray cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from skate import exceptions as x
from skate.backends.ray_errors import translated
from skate.backends.ray_objects import Objects
from skate.object_ref import ObjectRef


class RayStream:
    """Implements `base.StreamHandle` by Ray's ObjectRefGenerator."""

    def __init__(self, objects: Objects, generator: Any) -> None:
        self._objects = objects
        self._generator = generator
        self._completed: ObjectRef[Any] = objects.adopt(generator.completed())
        objects.find(self._completed).stream = generator
        self.task_id: bytes = generator.completed().task_id().binary()

    def next_ref(self, timeout_s: float | None) -> ObjectRef[Any] | None:
        import ray

        with translated():
            if timeout_s is not None and not ray.wait([self._generator], num_returns=1, timeout=timeout_s, fetch_local=False)[0]:
                raise x.GetTimeoutError(f"the generator's next item was not there within {timeout_s:g} s")
            try:
                return self._objects.adopt(next(self._generator))
            except StopIteration:
                return None

    def add_next_callback(self, callback: Callable[[], None]) -> None:
        import ray

        if ray.wait([self._generator], num_returns=1, timeout=0, fetch_local=False)[0]:
            callback()
            return

        def wait() -> None:
            try:
                ray.wait([self._generator], num_returns=1, fetch_local=False)
            finally:
                callback()

        threading.Thread(target=wait, name="skate-ray-stream", daemon=True).start()

    def is_finished(self) -> bool:
        return bool(self._generator.is_finished())

    def completed_ref(self) -> ObjectRef[Any]:
        return self._completed

    def close(self) -> None:
        import ray

        try:
            ray.cancel(self._generator)
        except Exception:  # It has ended by itself.
            pass
