"""A cluster of three nodes: work is placed across them, one is lost, one is cut off and comes back."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.programs import start_program
from tests.ray_cluster import IMPATIENT, Cluster, running_cluster

pytestmark = pytest.mark.timeout(240)  # A Ray node takes up to 20 s to start, and as long to be missed.


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs of its own, and two nodes, started one after the other."""
    with running_cluster("--num-cpus=1", '--resources={"head": 1}') as cluster:
        cluster.add_node("one", "--num-cpus=2", '--resources={"one": 2, "both": 1}')
        cluster.add_node("two", "--num-cpus=2", '--resources={"two": 2, "both": 1}')
        yield cluster


def converse(cluster: Cluster, tmp_path: Path, text: str, *, when_ready: object = None) -> list[str]:
    """Run a program; as soon as the file `ready` exists, call `when_ready`. Returns its lines."""
    program = start_program(text.replace("<address>", repr(cluster.address)), tmp_path, **IMPATIENT)
    try:
        if callable(when_ready):
            deadline_s = time.monotonic() + 120
            while not (tmp_path / "ready").exists():
                assert program.poll() is None, program.communicate()
                assert time.monotonic() < deadline_s, "the program did not get ready"
                time.sleep(0.02)
            when_ready()
        out, err = program.communicate(timeout=150)
    finally:
        program.kill()
    assert program.returncode == 0, err
    return [line for line in out.splitlines() if line.startswith("> ")]


def test_work_is_placed_across_nodes(nodes: Cluster, tmp_path: Path) -> None:
    lines = converse(
        nodes,
        tmp_path,
        """
        import skate
        from skate.util.placement_group import placement_group
        from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy
        skate.init(address=<address>)

        @skate.remote
        def where(): return skate.get_runtime_context().get_node_id()

        named = {name: skate.get(where.options(resources={name: 1}).remote()) for name in ("head", "one", "two")}
        print(">", len(set(named.values())))
        affine = where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(named["two"], soft=False))
        print(">", skate.get(affine.remote()) == named["two"])
        group = placement_group([{"CPU": 1, "both": 1}] * 2, strategy="STRICT_SPREAD")
        assert group.wait(30)
        spread = [where.options(num_cpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(group, i)).remote() for i in range(2)]
        print(">", set(skate.get(spread)) == {named["one"], named["two"]})

        @skate.remote(num_cpus=1)
        class Actor:
            def where(self): return skate.get_runtime_context().get_node_id()

        actor = Actor.options(num_cpus=0, resources={"one": 1}).remote()
        print(">", skate.get(actor.where.remote()) == named["one"], len(skate.nodes()), skate.cluster_resources()["CPU"])
        import numpy as np

        @skate.remote
        def make(): return np.arange(1_000_000)
        @skate.remote
        def total(values): return int(values.sum())
        there = make.options(num_cpus=0, resources={"one": 1}).remote()
        print(">", skate.get(total.options(num_cpus=0, resources={"two": 1}).remote(there)))
        """,
    )
    assert lines == ["> 3", "> True", "> True", "> True 3 5.0", "> 499999500000"]


def test_a_lost_node_costs_nothing_but_time(nodes: Cluster, tmp_path: Path) -> None:
    """Tasks that ran there run again elsewhere, also those of a chunk; an actor starts again; nothing hangs."""
    nodes.add_node("three", "--num-cpus=2", '--resources={"three": 1, "spare": 1}')

    def replace() -> None:
        nodes.kill_node("three")
        nodes.add_node("four", "--num-cpus=2", '--resources={"spare": 1}')

    lines = converse(
        nodes,
        tmp_path,
        """
        import time, skate
        from pathlib import Path
        skate.init(address=<address>)

        @skate.remote(max_retries=5)
        def slow(i):
            time.sleep(0.5)
            return i

        @skate.remote
        def short(i): return i * i

        @skate.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)
        class Counter:
            def __init__(self): self.n = 0
            def add(self): self.n += 1; return self.n
            def where(self): return skate.get_runtime_context().get_node_id()

        three = next(n["NodeID"] for n in skate.nodes() if "three" in n["Resources"])
        counter = Counter.options(resources={"spare": 1}).remote()
        assert skate.get(counter.where.remote()) == three
        assert skate.get([short.remote(i) for i in range(100)]) == [i * i for i in range(100)]
        refs = [slow.remote(i) for i in range(40)]
        many = [short.remote(i) for i in range(20000)]
        Path("ready").touch()
        print(">", skate.get(refs, timeout=100) == list(range(40)))
        print(">", skate.get(many, timeout=100) == [i * i for i in range(20000)])
        print(">", skate.get(counter.add.remote(), timeout=100) >= 1, skate.get(counter.where.remote(), timeout=60) != three)
        print(">", sum(not n["Alive"] for n in skate.nodes()) >= 1)
        """,
        when_ready=replace,
    )
    nodes.kill_node("four")
    assert lines == ["> True", "> True", "> True True", "> True"]


# ---------------------------------------------------------------- nodes in network namespaces


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def network(names: dict[str, str], bridge: str, bridge_ip: str) -> Iterator[None]:
    """A namespace for each name, with its address, on one bridge."""
    made: list[list[str]] = []
    try:
        try:
            ip("link", "add", bridge, "type", "bridge")
            made.append(["link", "del", bridge])
            ip("addr", "add", f"{bridge_ip}/24", "dev", bridge)
            ip("link", "set", bridge, "up")
            for number, (name, address) in enumerate(names.items()):
                ip("netns", "add", name)
                made.append(["netns", "del", name])
                outer, inner = f"{bridge}o{number}", f"{bridge}i{number}"
                ip("link", "add", outer, "type", "veth", "peer", "name", inner)
                ip("link", "set", inner, "netns", name)
                ip("link", "set", outer, "master", bridge, "up")
                ip("-n", name, "addr", "add", f"{address}/24", "dev", inner)
                ip("-n", name, "link", "set", inner, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces can't be made here: {getattr(error, 'stderr', None) or error}")
        yield
    finally:
        for arguments in reversed(made):
            subprocess.run(["ip", *arguments], check=False, capture_output=True)


def test_a_node_is_cut_off_and_heals(tmp_path: Path) -> None:
    tag = f"{os.getpid() % 10000}"
    bridge, subnet = f"sk{tag}", f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
    name = f"skate-{tag}"
    with network({name: f"{subnet}.2"}, bridge, f"{subnet}.1"), running_cluster("--num-cpus=1", ip=f"{subnet}.1") as cluster:
        inside = ("ip", "netns", "exec", name)
        cluster.add_node("far", f"--node-ip-address={subnet}.2", "--num-cpus=2", '--resources={"far": 4}', inside=inside)
        text = """
            import time, skate
            from pathlib import Path
            skate.init(address=<address>)

            @skate.remote(max_retries=3)
            def slow(i):
                time.sleep(0.5)
                return i

            @skate.remote(num_cpus=0, resources={"far": 1})
            def far(): return skate.get_runtime_context().get_node_id()

            skate.get(far.remote())
            refs = [slow.remote(i) for i in range(12)]
            Path("ready").touch()
            print(">", skate.get(refs, timeout=120) == list(range(12)))
            """
        lines = converse(
            cluster,
            tmp_path,
            text,
            when_ready=lambda: ip("link", "set", f"{bridge}o0", "down"),
        )
        assert lines == ["> True"]
        # Ray ends a node that it has taken for dead; where the network is there again, a new one joins.
        ip("link", "set", f"{bridge}o0", "up")
        cluster.kill_node("far")
        cluster.add_node("again", f"--node-ip-address={subnet}.2", "--num-cpus=2", '--resources={"far": 4}', inside=inside)
        (tmp_path / "ready").unlink()
        assert converse(cluster, tmp_path, text, when_ready=lambda: None) == ["> True"]
