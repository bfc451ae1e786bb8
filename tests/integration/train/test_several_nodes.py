"""Workers on several nodes: they meet at the address of their machine, not on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skate import train
from skate.cluster_utils import Cluster
from skate.train import FunctionTrainer, RunConfig, ScalingConfig, TorchTrainer
from skate.util import get_node_ip_address


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.connect(_preload=["torch", "torch.distributed"])
    yield
    cluster.shutdown()


SCALING = ScalingConfig(num_workers=2, placement_strategy="SPREAD")


def test_torch_meets_at_the_machines_address(tmp_path: Path) -> None:
    if get_node_ip_address().startswith("127."):
        pytest.skip("this machine has no network address")

    def loop() -> tuple[str, float, set[str], list[int]]:
        import os

        import psutil
        import torch

        total = torch.ones(3)
        torch.distributed.all_reduce(total)
        listening = {one.laddr.ip for one in psutil.Process().net_connections() if one.status == "LISTEN"}
        context = train.get_context()
        train.report({"node_rank": context.get_node_rank()})
        ranks = [context.get_node_rank(), context.get_local_rank(), context.get_local_world_size()]
        return os.environ["MASTER_ADDR"], float(total[0]), listening, ranks

    result = TorchTrainer(loop, scaling_config=SCALING, run_config=RunConfig(storage_path=tmp_path, verbose=0)).fit()
    address, total, listening, ranks = result.returned
    assert total == 2
    assert address == get_node_ip_address()
    assert listening == {address}, "nothing is open on all interfaces"
    assert ranks == [0, 0, 1]


def test_shared_memory_of_several_nodes_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    def loop() -> Any:
        from skate.train import collective

        collective.barrier()

    with pytest.raises(train.TrainingFailedError, match="the workers are on several machines"):
        FunctionTrainer(loop, scaling_config=SCALING, run_config=RunConfig(storage_path=tmp_path, verbose=0)).fit()
