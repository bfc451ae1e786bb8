"""The same small Torch training, as a script for `torchrun`, alone, and as a loop for trainers. Prints when the first step was done, and steps/s.

python -m benchmarks.train.torch_steps single|skate|ray          torchrun --nproc-per-node 2 benchmarks/train/torch_steps.py torchrun
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

STARTED_S = float(os.environ.get("BENCH_STARTED_S", time.time()))
WARM, STEPS, BATCH = 20, 400, 256


def train_steps(rank: int, world: int, wrap: object) -> dict[str, float]:
    """A net of 1.3 MB on random rows: BATCH rows for each worker. When the first step was done, steps/s, and CPU time per step of this worker."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    )
    model = wrap(net)  # type: ignore[operator]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = torch.randn(BATCH, 256), torch.randint(0, 10, (BATCH,))
    first_s = begun = begun_cpu = 0.0
    for step in range(WARM + STEPS):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 0:
            first_s = time.time() - STARTED_S
        if step == WARM - 1:
            begun, begun_cpu = time.perf_counter(), time.process_time()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    # All threads of this worker: says more than steps/s on a machine that has other work.
    return {"first_step_s": first_s, "steps_per_s": STEPS / seconds, "cpu_ms_per_step": 1000 * cpu / STEPS}


def main() -> None:
    kind = sys.argv[1]
    if kind == "single":
        print("RESULT", json.dumps(train_steps(0, 1, lambda net: net)))
    elif kind == "torchrun":
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel

        dist.init_process_group("gloo")
        result = train_steps(dist.get_rank(), dist.get_world_size(), DistributedDataParallel)
        if dist.get_rank() == 0:
            print("RESULT", json.dumps(result))
        dist.destroy_process_group()
    elif kind == "skate":
        import torch

        from skate import train

        def loop(config: dict[str, float]) -> None:
            global STARTED_S
            STARTED_S = config["started_s"]
            context = train.get_context()
            train.report(train_steps(context.get_world_rank(), context.get_world_size(), train.torch.prepare_model))

        run = train.RunConfig(storage_path="/tmp/skate-bench", verbose=0)
        scaling = train.ScalingConfig(num_workers=2)
        result = train.TorchTrainer(
            loop, train_loop_config={"started_s": STARTED_S}, scaling_config=scaling, run_config=run
        ).fit()
        print("RESULT", json.dumps({name: result.metrics[name] for name in ("first_step_s", "steps_per_s", "cpu_ms_per_step")}))
    elif kind == "ray":
        import tempfile

        import ray.train
        import torch  # noqa: F401
        from ray.train.torch import TorchTrainer, prepare_model

        def ray_loop(config: dict[str, float]) -> None:
            global STARTED_S
            STARTED_S = config["started_s"]
            context = ray.train.get_context()
            figures = train_steps(context.get_world_rank(), context.get_world_size(), prepare_model)
            if context.get_world_rank() == 0:  # Its result has no metrics unless there is a checkpoint.
                Path(told).write_text(json.dumps(figures))
            ray.train.report(figures)

        told = os.path.join(tempfile.mkdtemp(), "figures")
        TorchTrainer(
            ray_loop,
            train_loop_config={"started_s": STARTED_S},
            scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
            run_config=ray.train.RunConfig(storage_path="/tmp/ray-bench"),
        ).fit()
        print("RESULT", Path(told).read_text())


if __name__ == "__main__":
    main()
