"""Tasks: a function runs on every core. Prints an estimate of pi and what it took."""

import random
import time

import skate


@skate.remote
def count_hits(samples: int, seed: int) -> int:
    """How many of `samples` random points of the unit square lie in the quarter circle."""
    dice = random.Random(seed)
    return sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(samples))


samples_per_task, tasks = 200_000, 16
started_s = time.perf_counter()
hits = sum(skate.get([count_hits.remote(samples_per_task, seed) for seed in range(tasks)]))
print(f"pi is about {4 * hits / (samples_per_task * tasks):.3f} ({time.perf_counter() - started_s:.2f} s)")
