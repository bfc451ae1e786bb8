"""From a cold `python -m` to an evaluation ≥ 475 over 100 episodes of CartPole-v1.

    python -m benchmarks.rl.to_goal PPO --seeds 0 1 2 [--sb3 /path/to/python/with/stable-baselines3] [--workers 2]

Each seed is a process of its own, timed from its start to its end; every seed is written down, also one that does not get there. SB3 runs with the settings of its zoo
for CartPole-v1, one Torch thread, an evaluation every 2,000 steps as soon as its training return is near.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SKATE = """
import json, sys, time
from skate import rl
name, seed, workers = sys.argv[1], int(sys.argv[2]), sys.argv[3]
changes = {} if workers == "" else {"num_workers": int(workers)}
with getattr(rl, name)("CartPole-v1", seed=seed, **changes) as algorithm:
    result = algorithm.train(1_000_000, until_return=475, seconds_max=90)
score = result.evaluation.mean if result.evaluation else None
print(json.dumps({"steps": result.steps, "training_s": result.seconds, "score": score}))
"""

SB3 = """
import json, sys, time
import torch; torch.set_num_threads(1)
import numpy as np
import stable_baselines3 as sb3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
name, seed = sys.argv[1], int(sys.argv[2])
linear = lambda start: (lambda left: left * start)
settings = {
    "PPO": (8, dict(n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20, ent_coef=0.0, learning_rate=linear(1e-3), clip_range=linear(0.2)), 100_000),
    "A2C": (8, dict(ent_coef=0.0), 500_000),
    "DQN": (1, dict(learning_rate=2.3e-3, batch_size=64, buffer_size=100_000, learning_starts=1000, gamma=0.99, target_update_interval=10, train_freq=256,
            gradient_steps=128, exploration_fraction=0.16, exploration_final_eps=0.04, policy_kwargs=dict(net_arch=[256, 256])), 50_000),
}[name]
env, test = make_vec_env("CartPole-v1", settings[0], seed=seed), make_vec_env("CartPole-v1", 8, seed=seed + 10_000)
class Stop(BaseCallback):
    score, looked = None, 0
    def _on_step(self):
        if self.num_timesteps - self.looked >= 2000:
            self.looked = self.num_timesteps
            last = [e["r"] for e in self.model.ep_info_buffer][-10:]
            if len(last) == 10 and np.mean(last) >= 356:
                score = evaluate_policy(self.model, test, 100)[0]
                if score >= 475:
                    self.score = float(score); return False
        return time.perf_counter() - started < 150
stop, started = Stop(), time.perf_counter()
model = getattr(sb3, name)("MlpPolicy", env, seed=seed, device="cpu", **settings[1])
model.learn(settings[2], callback=stop)
print(json.dumps({"steps": model.num_timesteps, "training_s": time.perf_counter() - started, "score": stop.score}))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("algorithm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", default="")
    parser.add_argument("--sb3", metavar="PYTHON")
    parser.add_argument("--only-sb3", action="store_true")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    write = writer(arguments.algorithm, rows)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for seed in arguments.seeds:  # In turn, so that a change of load meets both.
        if not arguments.only_sb3:
            command = [sys.executable, "-c", SKATE, arguments.algorithm, str(seed), arguments.workers]
            rows.append(measure("skate", seed, command, environment))
            write()
        if arguments.sb3:
            rows.append(measure("sb3", seed, [arguments.sb3, "-c", SB3, arguments.algorithm, str(seed)], environment))
            write()


def writer(algorithm: str, rows: list[dict[str, Any]]) -> Callable[[], None]:
    """Writes the record anew after each row: a run that is cut off leaves what it has."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    path = Path("benchmarks/results") / f"rl-to-goal-{algorithm.lower()}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "")
    record = {
        "command": " ".join(["python -m benchmarks.rl.to_goal", *(word for word in sys.argv[1:] if not word.startswith("/"))]),
        "commit": commit,
        "machine": {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]},
        "rows": rows,
    }

    def write() -> None:
        path.write_text(json.dumps(record, indent=1) + "\n")

    return write


def measure(who: str, seed: int, command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    cold_s = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{who} failed:\n{done.stderr[-2000:]}")
    load = round(os.getloadavg()[0], 1)
    row = {"who": who, "seed": seed, "cold_s": round(cold_s, 2), "load": load, **json.loads(done.stdout.splitlines()[-1])}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
