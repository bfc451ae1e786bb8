"""1,000 trials of one millisecond: `python -m benchmarks.train.trials skate|ray [N]`. Seconds of `fit()` with a running engine."""

from __future__ import annotations

import json
import sys
import time


def trial(config: dict[str, float]) -> dict[str, float]:
    time.sleep(0.001)
    return {"loss": (config["x"] - 3) ** 2}


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    if kind == "skate":
        import skate
        from skate import tune

        skate.init()
        options = {"storage_path": "/tmp/skate-bench", "verbose": 0}
    else:
        import ray
        from ray import tune  # type: ignore[no-redef]

        ray.init(log_to_driver=False, include_dashboard=False)
        options = {"storage_path": "/tmp/ray-bench", "verbose": 0}
    started = time.perf_counter()
    results = tune.Tuner(
        trial,
        param_space={"x": tune.uniform(0, 10)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=count),
        run_config=tune.RunConfig(**options),
    ).fit()
    assert len(results) == count
    print("RESULT", json.dumps({"trials": count, "seconds": round(time.perf_counter() - started, 2)}))


if __name__ == "__main__":
    main()
