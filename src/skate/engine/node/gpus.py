"""How busy the GPUs are, by NVIDIA's management library, when its Python binding is there (`pip install 'skate[gpu]'`).

Loading it is put off until somebody asks, and asked only where a driver is; what fails once is not asked again.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

_DRIVER = "/proc/driver/nvidia/version"


class GpuLoad(NamedTuple):
    percent: float
    memory_bytes: float
    memory_total_bytes: float


class Gpus:
    """All GPUs of the machine. `nvml`: the module pynvml, or one like it; found by itself without."""

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml
        self._handles: list[Any] | None = None

    def loads(self) -> list[GpuLoad]:
        """By index; empty when there are none, or when they can't be asked."""
        try:
            handles = self._handles if self._handles is not None else self._open()
            return [self._load(handle) for handle in handles]
        except (
            Exception
        ):  # NVML raises classes of its own, and the driver may be reloaded under us: looking must not end the work.
            self._handles = []
            return []

    def _open(self) -> list[Any]:
        self._handles = []
        if self._nvml is None:
            if not os.path.exists(_DRIVER):
                return self._handles
            import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]

            self._nvml = pynvml
        self._nvml.nvmlInit()
        self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        return self._handles

    def _load(self, handle: Any) -> GpuLoad:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return GpuLoad(float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu), float(memory.used), float(memory.total))
