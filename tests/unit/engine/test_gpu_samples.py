"""The load of GPUs, told by a library that stands in for NVIDIA's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from skate.dashboard.runfile import RunFile
from skate.engine.node.gpus import Gpus
from skate.engine.node.recorder import Recorder
from skate.engine.node.sampler import Load, Sampler


class FakeNvml:
    """Two GPUs; `breaks`: the driver has gone."""

    breaks = False

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if self.breaks:
            raise RuntimeError("NVMLError_GpuIsLost")
        return SimpleNamespace(gpu=30 + handle)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=1000 + handle, total=8000)


class OneStepLoop:
    def __init__(self) -> None:
        self.later: list[Any] = []

    def set_timer_after(self, _delay_s: float, callback: Any) -> None:
        self.later.append(callback)


def samples_of(folder: Path, gpus: Gpus) -> dict[str, float]:
    recorder = Recorder(str(folder / "run"), {"name": "run"}, lambda _delay_s, _callback: None)
    loop: Any = OneStepLoop()
    sampler = Sampler(loop, recorder, lambda: Load({}, {}, 1), gpus)
    sampler.rouse()
    loop.later.pop()()
    recorder.flush()
    run = RunFile(str(folder / "run"))
    rows = list(run.tail())
    return {run.names[row.name]: row.number for row in rows}


def test_each_gpu_has_its_curves(tmp_path: Path) -> None:
    found = samples_of(tmp_path, Gpus(FakeNvml()))
    assert (found["gpu0_percent"], found["gpu1_percent"]) == (30, 31)
    assert (found["gpu1_memory_bytes"], found["gpu1_memory_total_bytes"]) == (1001, 8000)
    assert "cpu_percent" in found


def test_a_lost_gpu_ends_its_curves_and_nothing_else(tmp_path: Path) -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    assert len(gpus.loads()) == 2
    nvml.breaks = True
    found = samples_of(tmp_path, gpus)
    assert not any(name.startswith("gpu") for name in found)
    assert "memory_bytes" in found
    nvml.breaks = False
    assert gpus.loads() == []  # Not asked again.
