"""What the machine offers, with the limits of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from skate.engine.node import detect
from skate.engine.node.detect import Cgroup, accelerator_type, amounts, count_cpus, list_gpus, memory_bytes
from skate.engine.spec.boot import NodeConfig


def make_cgroup(tmp_path: Path, membership: str, files: dict[str, str]) -> Cgroup:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(membership)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Cgroup(str(root), str(proc))


def test_version_2_limits_count_at_every_level(tmp_path: Path) -> None:
    cgroup = make_cgroup(
        tmp_path,
        "0::/outer/inner\n",
        {
            "cgroup.controllers": "cpu memory",
            "outer/cpu.max": "150000 100000\n",
            "outer/memory.max": "1000000\n",
            "outer/inner/cpu.max": "max 100000\n",
            "outer/inner/memory.max": "max\n",
        },
    )

    assert cgroup.cpu_quota() == 1.5
    assert cgroup.memory_limit_bytes() == 1_000_000
    assert count_cpus(cgroup) == 1
    assert memory_bytes(cgroup) == 1_000_000


def test_version_1_limits_count(tmp_path: Path) -> None:
    cgroup = make_cgroup(
        tmp_path,
        "4:memory:/box\n3:cpu,cpuacct:/box\n",
        {
            "cpu/box/cpu.cfs_quota_us": "50000\n",
            "cpu/box/cpu.cfs_period_us": "100000\n",
            "memory/box/memory.limit_in_bytes": "2000000\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )

    assert cgroup.cpu_quota() == 0.5
    assert count_cpus(cgroup) == 1, "less than one CPU is still one"
    assert cgroup.memory_limit_bytes() == 2_000_000


def test_no_limit_means_the_machine(tmp_path: Path) -> None:
    cgroup = make_cgroup(tmp_path, "0::/\n", {"cgroup.controllers": ""})

    assert cgroup.cpu_quota() is None
    assert cgroup.memory_limit_bytes() is None
    assert count_cpus(cgroup) >= 1


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ["A", "B", "C"]), ("", []), ("-1", []), ("2,0", ["C", "A"]), ("0,7,1", ["A"]), ("GPU-1234", ["A"])],
)
def test_cuda_visible_devices_restricts_the_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr(detect, "_gpus_by_nvml", lambda: ["A", "B", "C"])

    assert list_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == expected


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 3090", "3090"),
    ],
)
def test_accelerator_types_have_rays_names(name: str, short: str) -> None:
    assert accelerator_type(name) == short


def test_what_the_user_says_wins_over_what_is_found() -> None:
    found, store_bytes, labels = amounts(
        NodeConfig(
            "s", "/tmp", num_cpus=3, num_gpus=2, resources={"special": 0.5}, labels={"zone": "x"}, object_store_bytes=10_000
        )
    )

    assert found["CPU"] == 3
    assert found["GPU"] == 2
    assert found["special"] == 0.5
    assert store_bytes == 12_288, "rounded up to whole pages"
    assert labels["zone"] == "x"


def test_resources_of_nothing_are_left_out() -> None:
    found, _, _ = amounts(NodeConfig("s", "/tmp", num_cpus=0, num_gpus=0))

    assert "CPU" not in found
    assert "GPU" not in found
