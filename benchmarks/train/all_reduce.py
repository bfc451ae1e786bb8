"""All-reduce of float32 buffers between two workers: skate's shared memory beside gloo, in ms (median)."""

from __future__ import annotations

import json
import statistics
import time

SIZES_MB = (0.004, 1, 4, 16, 64, 100)


def measure(reduce: object, make: object) -> dict[str, float]:
    found = {}
    for size in SIZES_MB:
        buffer = make(int(size * 1e6 / 4))  # type: ignore[operator]
        reduce(buffer)  # type: ignore[operator]
        times = []
        for _ in range(200 if size < 1 else max(7, int(60 / size))):
            begun = time.perf_counter()
            reduce(buffer)  # type: ignore[operator]
            times.append(time.perf_counter() - begun)
        found[f"{size:g} MB"] = round(statistics.median(times) * 1e3, 3)
    return found


def main() -> None:
    from skate import train

    def own() -> dict[str, float]:
        import numpy as np

        from skate.train import collective

        return measure(lambda buffer: collective.all_reduce(buffer, "max"), lambda n: np.ones(n, np.float32))

    def gloo() -> dict[str, float]:
        import torch
        import torch.distributed as dist

        return measure(lambda buffer: dist.all_reduce(buffer, dist.ReduceOp.MAX), lambda n: torch.ones(n))

    run = train.RunConfig(storage_path="/tmp/skate-bench", verbose=0)
    scaling = train.ScalingConfig(num_workers=2)
    result = {
        "skate_ms": train.FunctionTrainer(own, scaling_config=scaling, run_config=run).fit().returned,
        "gloo_ms": train.TorchTrainer(gloo, scaling_config=scaling, run_config=run).fit().returned,
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
