"""`python -m benchmarks.rl.replay_rates`: prioritised replay, batches of 512: how many a second, with the priorities set anew, and transitions added.

Wall-clock and CPU seconds both: the second say what the code costs where the machine has other work.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import numpy as np

from skate.rl.frame_replay import FrameReplay
from skate.rl.replay import Replay, Transitions

BATCH, ADD = 512, 256


def rate(function: Callable[[], object], seconds: float = 2.0) -> dict[str, float]:
    """Calls a second and a CPU second."""
    function()
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        function()
        count += 1
    return {"per_s": round(count / (time.perf_counter() - wall)), "per_cpu_s": round(count / (time.process_time() - cpu))}


def vector_rows(count: int) -> Transitions:
    rng = np.random.default_rng(0)
    obs = rng.random((count, 4), np.float32)
    return Transitions(obs, np.zeros((count, 1), np.int64), obs[:, 0].copy(), obs, obs[:, 1].copy())


def vectors() -> dict[str, dict[str, float]]:
    replay = Replay(100_000, 0, prioritised=True)
    replay.add(vector_rows(100_000))
    errors, rows = np.random.default_rng(1).random(BATCH), vector_rows(ADD)

    def draw() -> None:
        _, _, places = replay.sample(BATCH)
        replay.update(places, errors)

    return {"batches": rate(draw), f"adds of {ADD}": rate(lambda: replay.add(rows))}


def frames(threads: int | None) -> dict[str, dict[str, float]]:
    """`threads`: Torch's, as in a learner; None: no Torch in this process yet, as in a shard."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    count = 20_000
    replay = FrameReplay(count, 0, prioritised=True)
    replay.add_frames(np.random.default_rng(0).integers(0, 256, (count + 10, 84, 84), np.uint8))
    numbers = np.arange(count)[:, None] + np.arange(4)
    column = np.ones(count, np.float32)
    replay.add_rows(Transitions(numbers, np.zeros((count, 1), np.int64), column, numbers + 1, column))
    errors = np.random.default_rng(1).random(BATCH)

    def draw() -> None:
        _, _, places = replay.sample(BATCH)
        replay.update(places, errors)

    return {"batches": rate(draw)}


def main() -> None:
    load = round(os.getloadavg()[0], 1)
    stacked = {"in a shard": frames(None), "in a learner, 1 thread": frames(1), "in a learner, 2 threads": frames(2)}
    print(json.dumps({"batch": BATCH, "load": load, "vectors": vectors(), "stacked frames, stored once": stacked}, indent=1))


if __name__ == "__main__":
    main()
