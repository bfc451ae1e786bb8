"""DQN (Mnih et al. 2015) with the parts of Rainbow (Hessel et al. 2018, arXiv:1710.02298), each a setting:

    double       van Hasselt et al. 2016: the online network chooses, the target network judges      dueling      Wang et al. 2016: Q = V + A − mean A
    n_step       Sutton 1988                       prioritised   Schaul et al. 2016                  atoms > 1    distributional, C51 (Bellemare et al. 2017)

    repeat:  environments play `horizon` steps, ε-greedily;  keep the n-step transitions
             `updates` times:  y = R + γ^n · Q_target(s′, argmax_a Q(s′, a));   minimise Huber(Q(s, a) − y) · w

Deviations: several environments at once, hence several updates in a row; Adam; no noisy nets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skate.rl.algorithm import Algorithm
from skate.rl.frame_replay import FrameCoder, FrameReplay, make_replay
from skate.rl.learner import Adam
from skate.rl.networks import Model, ModelSpec, make_model
from skate.rl.replay import Assembler, Transitions
from skate.rl.rollout import Rollout
from skate.rl.settings import Settings
from skate.rl.spaces import ActionShape, Array


@dataclass(frozen=True, kw_only=True)
class DQNSettings(Settings):
    """
    Args:
        horizon: Steps of each environment between rounds of updates.
        updates_per_step: Updates for each environment step; 0.25 in the 2015 paper.
        batch: Transitions in an update.
        replay_capacity, learning_starts: N, and how many transitions must be there first.
        target_every: Updates between copies to the target network.
        epsilon_start, epsilon_end, epsilon_steps: ε falls linearly over as many environment steps.
        n_step, double, dueling, prioritised: See above.
        alpha, beta: Exponents of the priorities and of the importance weights; β rises to 1 over `epsilon_steps` × 10.
        frames_once: Of stacked frames, keep each one once (`skate.rl.frame_replay`): a fifth of the memory.
        atoms, v_min, v_max: Of the distribution of returns; 1 atom: just the mean.
    """

    num_envs: int = 8
    horizon: int = 8
    updates_per_step: float = 0.5
    batch: int = 64
    replay_capacity: int = 100_000
    learning_starts: int = 1000
    target_every: int = 100
    epsilon_start: float = 1.0
    epsilon_end: float = 0.04
    epsilon_steps: int = 4000
    n_step: int = 3
    double: bool = True
    dueling: bool = True
    prioritised: bool = False
    alpha: float = 0.6
    beta: float = 0.4
    frames_once: bool = True
    atoms: int = 1
    v_min: float = -10.0
    v_max: float = 10.0
    max_grad_norm: float = 10.0
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    lr: float = 2e-3


def q_logits(outputs: dict[str, Any], actions: int, atoms: int) -> Any:
    """(batch, actions, atoms) from the heads: the dueling combination (Wang et al. 2016, equation 9), per atom."""
    rows = len(outputs["advantage"].shape) and outputs["advantage"].shape[0]
    advantage = outputs["advantage"].reshape(rows, actions, atoms)
    if "value" not in outputs:
        return advantage
    mean = (advantage.sum(1) / actions).reshape(rows, 1, atoms)
    return advantage - mean + outputs["value"].reshape(rows, 1, atoms)


@dataclass
class EpsilonGreedy:
    """
    Args:
        epsilon: A number, or one for each environment.
    """

    actions: ActionShape
    atoms: int = 1
    v_min: float = -10.0
    v_max: float = 10.0
    epsilon: Any = 0.0

    def q(self, model: Model, obs: Array) -> Array:
        """(batch, actions)."""
        logits = q_logits(model.infer(obs), self.actions.categories[0], self.atoms)
        if self.atoms == 1:
            values: Array = logits[:, :, 0]
            return values
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        means: Array = p @ np.linspace(self.v_min, self.v_max, self.atoms, dtype=np.float32)
        return means

    def act(self, model: Model, obs: Array, rng: np.random.Generator, *, greedy: bool = False) -> tuple[Array, dict[str, Array]]:
        q = self.q(model, obs)
        chosen = q.argmax(1)
        if not greedy:
            explores = rng.random(len(q)) < self.epsilon
            chosen = np.where(explores, rng.integers(q.shape[1], size=len(q)), chosen)
        return chosen[:, None], {"q": np.take_along_axis(q, chosen[:, None], 1)[:, 0], "q_max": q.max(1)}


def project(next_p: Array, rewards: Array, discounts: Array, support: Array) -> Array:
    """The distribution of R + γ Z, put back on the support (Bellemare et al. 2017, algorithm 1); (batch, atoms)."""
    low, high, atoms = support[0], support[-1], len(support)
    step = (high - low) / (atoms - 1)
    at = (np.clip(rewards[:, None] + discounts[:, None] * support, low, high) - low) / step
    # Each atom's share goes to its neighbours by a hat function: no loop, and whole numbers need no special case.
    hat = np.clip(1.0 - np.abs(at[:, None, :] - np.arange(atoms)[None, :, None]), 0.0, 1.0)
    result: Array = (hat * next_p[:, None, :]).sum(-1)
    return result.astype(np.float32)


def dqn_loss(
    model: Model, target: Model, rows: Transitions, weights: Array, policy: EpsilonGreedy, *, double: bool
) -> tuple[Any, Array]:
    """The weighted loss, to be minimised, and each row's error, for its priority."""
    n, atoms, count = policy.actions.categories[0], policy.atoms, len(rows)
    best = policy.q(model if double else target, rows.next_obs).argmax(1)
    taken = np.zeros((count, n, 1), np.float32)
    taken[np.arange(count), rows.actions[:, 0]] = 1.0
    logits = q_logits(model(model.tensor(rows.obs)), n, atoms)
    chosen = (logits * model.tensor(taken)).sum(1)  # (batch, atoms)
    next_logits = q_logits(target.infer(rows.next_obs), n, atoms)[np.arange(count), best]
    if atoms == 1:
        y = rows.rewards + rows.discounts * next_logits[:, 0]
        error = chosen.sum(-1) - model.tensor(y)
        size = error.abs()
        small = size.clamp(max=1.0)
        huber = small * (size - small * 0.5)
        return (huber * model.tensor(weights)).mean(), np.asarray(size.detach())
    support = np.linspace(policy.v_min, policy.v_max, atoms, dtype=np.float32)
    p = np.exp(next_logits - next_logits.max(-1, keepdims=True))
    goal = project(p / p.sum(-1, keepdims=True), rows.rewards, rows.discounts, support)
    cross = -(chosen.log_softmax(-1) * model.tensor(goal)).sum(-1)
    return (cross * model.tensor(weights)).mean(), np.asarray(cross.detach())


class DQN(Algorithm[DQNSettings]):
    """`DQN("CartPole-v1", prioritised=True).train(100_000)`."""

    Settings = DQNSettings
    name = "DQN"
    families: ClassVar = {
        "image": {
            "hidden": (128,), "lr": 3e-4, "epsilon_end": 0.05, "epsilon_steps": 50_000, "learning_starts": 5000, "target_every": 500,
            "updates_per_step": 0.125, "batch": 64,
        },
    }  # fmt: skip

    def build(self) -> None:
        s = self.settings
        self.model, self.target = (make_model(self.model_spec(), self.seed, s.framework, s.device) for _ in range(2))
        self.policy = EpsilonGreedy(self.actions, s.atoms, s.v_min, s.v_max, s.epsilon_start)
        self.optimizer = Adam(self.model, s.lr, max_grad_norm=s.max_grad_norm)
        self.updates = 0
        self._debt = 0.0  # Updates that are due.
        self.start()

    def start(self) -> None:
        """Runners and memory."""
        s = self.settings
        options: dict[str, Any] = {"frames_once": s.frames_once, "prioritised": s.prioritised, "alpha": s.alpha}
        self.replay = make_replay(self.observations, s.replay_capacity, self.seed, **options)
        self.coder = FrameCoder() if isinstance(self.replay, FrameReplay) else None
        self.assembler = Assembler(s.n_step, s.gamma)
        self.runners = self.make_runners()

    def model_spec(self) -> ModelSpec:
        s = self.settings
        if len(self.actions.categories) != 1:
            raise ValueError(f"{self.name} needs a Discrete action space; for others take PPO, or SAC and TD3 for real numbers")
        heads = {"advantage": self.actions.categories[0] * s.atoms, **({"value": s.atoms} if s.dueling else {})}
        return ModelSpec(self.observations.shape, heads, s.hidden, s.activation, shared=True, network=s.network)

    @property
    def epsilon(self) -> float:
        s = self.settings
        share = min(1.0, self.steps / max(1, s.epsilon_steps))
        return s.epsilon_start + share * (s.epsilon_end - s.epsilon_start)

    def iterate(self) -> dict[str, float]:
        s = self.settings
        rollout = self.runners.sample_ahead(self.model.flat, self.version, s.horizon, {"epsilon": self.epsilon})
        self.note(rollout)
        self.remember(rollout)
        metrics = {"epsilon": self.epsilon, "replay": float(self.replay.size)}
        if self.replay.size < s.learning_starts:
            return metrics
        self._debt += rollout.steps * s.updates_per_step
        beta = min(1.0, s.beta + (1.0 - s.beta) * self.steps / (10 * max(1, s.epsilon_steps)))
        while self._debt >= 1.0:
            self._debt -= 1.0
            rows, weights, places = self.replay.sample(s.batch, beta)
            loss, errors = self.update(rows, weights)
            self.replay.update(places, errors)
            metrics.update(loss=loss, error=float(errors.mean()), replay_age=self.replay.age(places))
        return metrics

    def remember(self, rollout: Rollout) -> None:
        if self.coder is not None and isinstance(self.replay, FrameReplay):
            frames, rollout = self.coder.encode(rollout)
            self.replay.add_frames(frames)
        made = self.assembler.add(rollout)
        if made is not None:
            self.replay.add(made[0])

    def update(self, rows: Transitions, weights: Array) -> tuple[float, Array]:
        """One step of the optimiser; the loss and the rows' errors."""
        loss, errors = dqn_loss(self.model, self.target, rows, weights, self.policy_for_learning(), double=self.settings.double)
        self.optimizer.minimise(loss)
        self.updates += 1
        self.version += 1
        if self.updates % self.settings.target_every == 0:
            self.target.flat = self.model.flat
        return float(loss.item()), errors

    def policy_for_learning(self) -> EpsilonGreedy:
        assert isinstance(self.policy, EpsilonGreedy)
        return self.policy

    def extra_state(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in ("updates", "_debt", "replay", "assembler", "coder")}
        return {**state, "target": self.target.flat.copy()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.target.flat = state["target"]
        for name in ("updates", "_debt", "replay", "assembler", "coder"):
            setattr(self, name, state[name])
