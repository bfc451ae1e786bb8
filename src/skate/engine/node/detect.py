"""What this machine offers: CPUs, memory, GPUs, as far as this process may use them. Reads /proc and /sys, and NVML when it is
installed.

A container's limits count, not the machine's size: cgroup v2 (cpu.max, memory.max, of every level up to the root) and v1
(cfs_quota, limit_in_bytes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from skate.config import OBJECT_STORE_FRACTION
from skate.engine.spec.boot import NodeConfig

_CGROUP_ROOT = "/sys/fs/cgroup"
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" by a huge number.
_PAGE = 4096


class Cgroup:
    """The control group of this process. `root` and `proc` are replaced in tests."""

    def __init__(self, root: str = _CGROUP_ROOT, proc: str = "/proc") -> None:
        self._proc = proc
        self.is_v2 = os.path.exists(f"{root}/cgroup.controllers")
        self._root = root
        self._paths = self._read_paths()

    def _read_paths(self) -> dict[str, str]:
        """Controller → path; v2 has the key ""."""
        paths: dict[str, str] = {}
        for line in (_read(f"{self._proc}/self/cgroup") or "").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for controller in controllers.split(","):
                paths[controller] = path
        return paths

    def levels(self, controller: str) -> Iterator[str]:
        """The directories that limit us, from our own up to the root."""
        path = self._paths.get("" if self.is_v2 else controller, "/")
        base = self._root if self.is_v2 else f"{self._root}/{controller}"
        while True:
            directory = base + path.rstrip("/")
            if os.path.isdir(directory):  # In a container our path may be one of the host's, which is not there.
                yield directory
            if path in ("/", ""):
                return
            path = os.path.dirname(path)

    def cpu_quota(self) -> float | None:
        """CPUs' worth of time; None: no limit."""
        quotas = []
        for directory in self.levels("cpu"):
            if self.is_v2:
                quota, _, period = (_read(f"{directory}/cpu.max") or "max").partition(" ")
            else:
                quota = _read(f"{directory}/cpu.cfs_quota_us") or "-1"
                period = _read(f"{directory}/cpu.cfs_period_us") or "100000"
            if quota not in ("max", "-1") and quota.isdigit():
                quotas.append(int(quota) / int(period or 100_000))
        return min(quotas, default=None)

    def memory_limit_bytes(self) -> int | None:
        limits = [limit for _, limit in self.memory_limits()]
        return min(limits, default=None)

    def memory_limits(self) -> Iterator[tuple[str, int]]:
        """(directory, limit) of the levels that have one."""
        name = "memory.max" if self.is_v2 else "memory.limit_in_bytes"
        for directory in self.levels("memory"):
            text = _read(f"{directory}/{name}") or "max"
            if text.isdigit() and int(text) < _UNLIMITED_BYTES:
                yield directory, int(text)


def count_cpus(cgroup: Cgroup | None = None) -> int:
    """CPUs this process may run on, and has the time of; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = (cgroup or Cgroup()).cpu_quota()
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def memory_bytes(cgroup: Cgroup | None = None) -> int:
    """Memory this process may use: the machine's, or what its cgroup allows."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = (cgroup or Cgroup()).memory_limit_bytes()
    return machine if limit is None else min(machine, limit)


def list_gpus(environ: Mapping[str, str] | None = None) -> list[str]:
    """The names of the NVIDIA GPUs we may use, [] without any. CUDA_VISIBLE_DEVICES restricts them."""
    environ = os.environ if environ is None else environ
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return []
    names = _gpus_by_nvml()
    if names is None:
        names = _gpus_by_proc()
    if visible is None:
        return names
    chosen: list[str] = []
    for entry in visible.split(","):
        entry = entry.strip()
        if entry.isdigit():
            if int(entry) >= len(names):
                break  # As CUDA does: what comes after an invalid entry is invisible.
            chosen.append(names[int(entry)])
        elif entry.startswith(("GPU-", "MIG-")) and names:
            chosen.append(names[0])
        else:
            break
    return chosen


def _gpus_by_nvml() -> list[str] | None:
    if not os.path.exists("/dev/nvidiactl"):
        return []  # No driver: spare the import.
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            names = []
            for index in range(pynvml.nvmlDeviceGetCount()):
                name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index))
                names.append(name.decode() if isinstance(name, bytes) else str(name))
            return names
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # Whatever a broken driver raises: we ask /proc instead.
        return None


def _gpus_by_proc(directory: str = "/proc/driver/nvidia/gpus") -> list[str]:
    try:
        cards = sorted(os.listdir(directory))
    except OSError:
        return []
    names = []
    for card in cards:
        lines = (_read(f"{directory}/{card}/information") or "").splitlines()
        names.append(next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "GPU"))
    return names


def accelerator_type(name: str) -> str:
    """Ray's short name of a GPU: "NVIDIA A100-SXM4-40GB" → "A100"."""
    words = [
        word for word in name.replace("-", " ").split() if word not in ("NVIDIA", "Tesla", "GeForce", "Quadro", "Graphics", "RTX")
    ]
    return words[0] if words else "GPU"


def amounts(config: NodeConfig) -> tuple[dict[str, float], int, dict[str, str]]:
    """(resource amounts, bytes of the object store, labels) of this node: what the user said, and what we find for the rest."""
    cgroup = Cgroup()
    memory = memory_bytes(cgroup)
    store = config.object_store_bytes
    if store is None:
        store = int(memory * OBJECT_STORE_FRACTION)
    store = max(_PAGE, -(-store // _PAGE) * _PAGE)
    gpus = list_gpus() if config.num_gpus is None or config.num_gpus > 0 else []
    cpus: float = count_cpus(cgroup) if config.num_cpus is None else config.num_cpus
    found: dict[str, float] = {
        "CPU": cpus,
        "GPU": len(gpus) if config.num_gpus is None else config.num_gpus,
        "memory": float(max(0, memory - store)),
        "object_store_memory": float(store),
        "node:127.0.0.1": 1.0,
        "node:__internal_head__": 1.0,
    }
    labels = {}
    if gpus:
        kind = accelerator_type(gpus[0])
        found[f"accelerator_type:{kind}"] = 1.0
        labels["ray.io/accelerator-type"] = kind
    found.update(config.resources)
    labels.update(config.labels)
    return {name: amount for name, amount in found.items() if amount > 0}, store, labels


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None
