"""TD3: twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv:1802.09477), algorithm 1.

    y = R + γ · min_i Q'_i(s′, π'(s′) + clip(ε, −c, c));   both critics learn y;   every d updates: the actor ascends Q_1(s, π(s)), targets follow by τ

Deviations: several environments at once; actions are drawn uniformly until learning starts; Adam's ε is 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skate.rl.algorithm import Algorithm
from skate.rl.learner import Adam
from skate.rl.networks import Model, ModelSpec, make_model
from skate.rl.replay import Replay, Transitions, n_step_transitions
from skate.rl.settings import Settings
from skate.rl.spaces import ActionShape, Array


@dataclass(frozen=True, kw_only=True)
class ReplayControlSettings(Settings):
    """What TD3 and SAC share.

    Args:
        horizon: Steps of each environment between rounds of updates.
        updates_per_step: Updates for each environment step.
        batch: Transitions in an update.
        tau: τ, by which the target networks follow.
    """

    num_envs: int = 4
    horizon: int = 4
    updates_per_step: float = 1.0
    batch: int = 256
    replay_capacity: int = 200_000
    learning_starts: int = 1000
    tau: float = 0.005
    lr: float = 1e-3
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"


@dataclass(frozen=True, kw_only=True)
class TD3Settings(ReplayControlSettings):
    """
    Args:
        policy_delay: d.
        exploration_noise, target_noise, noise_clip: σ of the actions, σ̃ and c of the target policy; actions go from −1 to 1.
    """

    policy_delay: int = 2
    exploration_noise: float = 0.1
    target_noise: float = 0.2
    noise_clip: float = 0.5


def scale_to_space(squashed: Array, actions: ActionShape) -> Array:
    """From [−1, 1], in which networks think, to the bounds of the space."""
    low, high = np.asarray(actions.low, np.float32), np.asarray(actions.high, np.float32)
    scaled: Array = low + (squashed + 1.0) * 0.5 * (high - low)
    return scaled


def scale_from_space(chosen: Array, actions: ActionShape) -> Array:
    low, high = np.asarray(actions.low, np.float32), np.asarray(actions.high, np.float32)
    return ((chosen - low) / (high - low) * 2.0 - 1.0).astype(np.float32)


@dataclass
class Deterministic:
    """tanh of the network, with Gaussian noise while exploring."""

    actions: ActionShape
    noise: float = 0.1
    is_random: bool = True

    def act(self, model: Model, obs: Array, rng: np.random.Generator, *, greedy: bool = False) -> tuple[Array, dict[str, Array]]:
        if self.is_random and not greedy:
            chosen = rng.uniform(-1, 1, (len(obs), self.actions.dimensions)).astype(np.float32)
        else:
            chosen = np.tanh(model.infer(obs, ("policy",))["policy"])
            if not greedy:
                chosen = np.clip(chosen + self.noise * rng.standard_normal(chosen.shape, np.float32), -1.0, 1.0)
        return scale_to_space(chosen, self.actions), {}


class ReplayControl(Algorithm[Any]):
    """Playing, remembering and twin critics, for continuous actions; `learn` is the algorithm's."""

    def check_and_spec(self, policy_heads: dict[str, int]) -> tuple[ModelSpec, ModelSpec]:
        """Of the policy and of the twin critics."""
        s = self.settings
        if self.actions.is_discrete or not np.isfinite([*self.actions.low, *self.actions.high]).all():
            raise ValueError(f"{self.name} needs a Box action space with finite bounds; for discrete actions take DQN or PPO")
        if self.observations.is_image:
            raise ValueError(f"{self.name} learns from vectors; for images take PPO")
        policy = ModelSpec(self.observations.shape, policy_heads, s.hidden, s.activation, shared=True, network=s.network)
        inputs = (self.observations.shape[0] + self.actions.dimensions,)
        return policy, ModelSpec(inputs, {"q1": 1, "q2": 1}, s.hidden, s.activation)

    def build_critics(self, spec: ModelSpec) -> None:
        s = self.settings
        self.critic, self.critic_target = (make_model(spec, self.seed + 1, s.framework, s.device) for _ in range(2))
        self.critic_optimizer = Adam(self.critic, s.lr, eps=1e-8)
        self.optimizer = Adam(self.model, s.lr, eps=1e-8)
        self.replay = Replay(s.replay_capacity, self.seed)
        self.updates = 0
        self._debt = 0.0
        self.runners = self.make_runners()

    def iterate(self) -> dict[str, float]:
        s = self.settings
        is_random = self.replay.size < s.learning_starts
        rollout = self.runners.sample_ahead(self.model.flat, self.version, s.horizon, {"is_random": is_random})
        self.note(rollout)
        self.replay.add(n_step_transitions(rollout, 1, s.gamma)[0])
        metrics = {"replay": float(self.replay.size)}
        if not is_random:
            self._debt += rollout.steps * s.updates_per_step
        while self._debt >= 1.0:
            self._debt -= 1.0
            rows, _, _ = self.replay.sample(s.batch)
            metrics.update(self.learn(rows, scale_from_space(rows.actions, self.actions)))
            self.updates += 1
            self.version += 1
        return metrics

    def learn(self, rows: Transitions, actions: Array) -> dict[str, float]:
        raise NotImplementedError

    def learn_critics(self, obs: Array, actions: Array, y: Array) -> float:
        """Both critics towards y (batch,)."""
        model = self.critic
        q = model(model.tensor(np.concatenate([obs, actions], 1)))
        y = model.tensor(y.astype(np.float32))
        loss = (q["q1"].sum(-1) - y).square().mean() + (q["q2"].sum(-1) - y).square().mean()
        self.critic_optimizer.minimise(loss)
        return float(loss.item())

    def next_q(self, next_obs: Array, next_actions: Array) -> Array:
        """The smaller judgement of the target critics."""
        q = self.critic_target.infer(np.concatenate([next_obs, next_actions], 1))
        return np.minimum(q["q1"], q["q2"])[:, 0]

    def follow(self, target: Model, model: Model) -> None:
        flat = target.flat
        flat += self.settings.tau * (model.flat - flat)
        if target.flat is not flat:
            target.flat = flat

    def extra_state(self) -> dict[str, Any]:
        return {
            "critic_optimizer": self.critic_optimizer.state(),
            "critics": [self.critic.flat.copy(), self.critic_target.flat.copy()],
            **{name: getattr(self, name) for name in ("replay", "updates", "_debt")},
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.critic_optimizer.load_state(state["critic_optimizer"])
        self.critic.flat, self.critic_target.flat = state["critics"]
        self.replay, self.updates, self._debt = state["replay"], state["updates"], state["_debt"]


class TD3(ReplayControl):
    """`TD3("Pendulum-v1").train(10_000)`."""

    Settings = TD3Settings
    name = "TD3"
    families: ClassVar = {}

    def build(self) -> None:
        s = self.settings
        spec, critic_spec = self.check_and_spec({"policy": self.actions.dimensions})
        self.model, self.actor_target = (make_model(spec, self.seed, s.framework, s.device) for _ in range(2))
        self.policy = Deterministic(self.actions, s.exploration_noise)
        self.build_critics(critic_spec)

    def learn(self, rows: Transitions, actions: Array) -> dict[str, float]:
        s = self.settings
        noise = np.clip(s.target_noise * self.rng.standard_normal(actions.shape, np.float32), -s.noise_clip, s.noise_clip)
        next_actions = np.clip(np.tanh(self.actor_target.infer(rows.next_obs)["policy"]) + noise, -1.0, 1.0)
        y = rows.rewards + rows.discounts * self.next_q(rows.next_obs, next_actions)
        metrics = {"critic_loss": self.learn_critics(rows.obs, actions, y)}
        if self.updates % s.policy_delay == 0:
            obs = self.model.tensor(rows.obs)
            chosen = self.model(obs)["policy"].tanh()
            loss = -self.critic(self.model.concatenate([obs, chosen]))["q1"].mean()
            self.optimizer.minimise(loss)
            self.follow(self.actor_target, self.model)
            self.follow(self.critic_target, self.critic)
            metrics["loss"] = float(loss.item())
        return metrics

    def extra_state(self) -> dict[str, Any]:
        return {**super().extra_state(), "actor_target": self.actor_target.flat.copy()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.actor_target.flat = state["actor_target"]
