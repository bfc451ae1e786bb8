"""What PPO, A2C, A3C and IMPALA share: a policy and a value function, learned by policy gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from skate.rl.algorithm import Algorithm
from skate.rl.env_runner import EnvRunner
from skate.rl.learner import Adam
from skate.rl.networks import ModelSpec, make_model
from skate.rl.policies import stochastic_policy
from skate.rl.settings import Settings
from skate.rl.spaces import ActionShape, Array, ObservationShape

S = TypeVar("S", bound="ActorCriticSettings")


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings(Settings):
    """
    Args:
        horizon: Steps of each environment between updates (t_max in the papers).
        value_coefficient: Weight of the value function's error.
        entropy_coefficient: β, weight of the entropy.
        shared: One body for policy and value, else two networks.
        reward_scale: Rewards are multiplied by it before learning.
    """

    horizon: int = 16
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.01
    max_grad_norm: float = 0.5
    shared: bool = False
    reward_scale: float = 1.0


class ActorCritic(Algorithm[S]):
    """A model with the heads "policy" and "value", Adam, and runners of the class `runner`."""

    runner: ClassVar[type[EnvRunner]] = EnvRunner
    families: ClassVar = {
        "vector": {"gamma": 0.98, "entropy_coefficient": 0.0},
        "image": {"shared": True, "activation": "relu", "hidden": (128,), "lr": 1e-3, "num_envs": 32},
        "continuous": {"reward_scale": 0.1, "gamma": 0.95, "entropy_coefficient": 0.0, "lr": 1e-3},
    }

    def build(self) -> None:
        s = self.settings
        self.model = make_model(actor_critic_spec(self.observations, self.actions, s), self.seed, s.framework, s.device)
        self.policy = stochastic_policy(self.actions)
        self.optimizer = Adam(self.model, s.lr, max_grad_norm=s.max_grad_norm)
        self.runners = self.make_runners(self.runner, settings=s)


def actor_critic_spec(observations: ObservationShape, actions: ActionShape, s: Any) -> ModelSpec:
    """Heads "policy" and "value", and a "log_std" where actions are real numbers."""
    free = {} if actions.is_discrete else {"log_std": [0.0] * actions.dimensions}
    heads = {"policy": actions.policy_outputs, "value": 1}
    recurrent = getattr(s, "recurrent", 0)
    return ModelSpec(
        observations.shape, heads, s.hidden, s.activation, s.shared or recurrent > 0, {"policy": 0.01}, free, s.network, recurrent
    )


def policy_gradient_loss(
    model: Any, policy: Any, obs: Array, actions: Array, advantages: Array, returns: Array, s: ActorCriticSettings
) -> tuple[Any, dict[str, Any]]:
    """−log π(a|s) A + c (V(s) − R)² − β H: the gradients of Mnih et al. 2016, section 4, for rows of steps."""
    outputs = model(model.tensor(obs))
    logp, entropy = policy.log_prob_and_entropy(outputs, model.tensor(actions))
    policy_loss = -(logp * model.tensor(advantages)).mean()
    value_loss = (outputs["value"].sum(-1) - model.tensor(returns)).square().mean()
    mean_entropy = entropy.mean()
    loss = policy_loss + value_loss * s.value_coefficient - mean_entropy * s.entropy_coefficient
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": mean_entropy}
