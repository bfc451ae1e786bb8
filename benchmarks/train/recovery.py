"""Seconds from a worker's death (SIGKILL) to the next report of the restarted group, 2 Torch workers; and the cost of `report()`."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    import torch

    from skate import train

    def loop() -> float:
        context, checkpoint = train.get_context(), train.get_checkpoint()
        step = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
        model = train.torch.prepare_model(torch.nn.Linear(64, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while step < 600:  # Counted in steps, not in seconds: all ranks have to make the same number.
            model(torch.ones(8, 64)).sum().backward()
            optimizer.step()
            step += 1
            kept = None
            with tempfile.TemporaryDirectory() as directory:
                if step % 50 == 0 and context.get_world_rank() == 0:
                    Path(directory, "step").write_text(str(step))
                    kept = train.Checkpoint.from_directory(directory)
                train.report({"attempt": context.get_attempt(), "at": time.time()}, checkpoint=kept)
            time.sleep(0.02)
            if context.get_attempt() == 0 and context.get_world_rank() == 1 and step == 400:
                with open("/tmp/skate-bench-killed", "w") as file:
                    file.write(repr(time.time()))
                os.kill(os.getpid(), 9)
        begun = time.perf_counter()
        for _ in range(1000):
            train.report({"loss": 0.5, "attempt": 1, "at": time.time()})
        return (time.perf_counter() - begun) / 1000

    run = train.RunConfig(storage_path="/tmp/skate-bench", verbose=0, failure_config=train.FailureConfig(max_failures=1))
    result = train.TorchTrainer(loop, scaling_config=train.ScalingConfig(num_workers=2), run_config=run).fit()
    killed = float(Path("/tmp/skate-bench-killed").read_text())
    first = min(row["at"] for row in result.metrics_history if row["attempt"] == 1)
    print("RESULT", json.dumps({"kill_to_next_report_s": round(first - killed, 3), "report_us": round(result.returned * 1e6, 1)}))


if __name__ == "__main__":
    main()
