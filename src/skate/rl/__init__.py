"""Reinforcement learning: one file per algorithm, parallel by actors.

    from skate.rl import PPO
    ppo = PPO("CartPole-v1", seed=0, num_workers=2)
    ppo.train(total_steps=50_000)
    print(ppo.evaluate(100))

Algorithms are imported when they are asked for: a runner's start-up counts. Needs `pip install 'skate[rl]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skate.rl.a2c import A2C as A2C
    from skate.rl.a3c import A3C as A3C
    from skate.rl.algorithm import Algorithm as Algorithm, TrainResult as TrainResult
    from skate.rl.apex import ApeX as ApeX
    from skate.rl.callbacks import Callback as Callback, Progress as Progress, TensorBoard as TensorBoard
    from skate.rl.dqn import DQN as DQN
    from skate.rl.environments import EnvironmentFailedError as EnvironmentFailedError
    from skate.rl.es import ES as ES
    from skate.rl.evaluation import Evaluation as Evaluation
    from skate.rl.impala import IMPALA as IMPALA
    from skate.rl.loading import load as load
    from skate.rl.ppo import PPO as PPO, PPOSettings as PPOSettings
    from skate.rl.sac import SAC as SAC
    from skate.rl.td3 import TD3 as TD3

_WHERE = {
    "A2C": "a2c",
    "A3C": "a3c",
    "ApeX": "apex",
    "DQN": "dqn",
    "ES": "es",
    "IMPALA": "impala",
    "Algorithm": "algorithm",
    "Callback": "callbacks",
    "EnvironmentFailedError": "environments",
    "Evaluation": "evaluation",
    "PPO": "ppo",
    "PPOSettings": "ppo",
    "Progress": "callbacks",
    "SAC": "sac",
    "TD3": "td3",
    "TensorBoard": "callbacks",
    "TrainResult": "algorithm",
    "load": "loading",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'skate.rl' has no attribute {name!r}")
    try:
        module = import_module(f"skate.rl.{_WHERE[name]}")
    except ModuleNotFoundError as error:
        if error.name in ("numpy", "gymnasium", "threadpoolctl", "torch"):
            raise ImportError(f"skate.rl needs {error.name}: pip install 'skate[rl]'") from error
        raise
    return getattr(module, name)
