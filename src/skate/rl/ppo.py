"""PPO: proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), with GAE (Schulman et al. 2016).

    repeat:  N·E environments play T steps with π_old                              algorithm 1
             advantages by GAE, truncated episodes bootstrapped
             K epochs of minibatches on  L = L_clip − c1 · L_VF + c2 · entropy      equation 9

Deviations: advantages are normalised per minibatch; Adam's ε is 1e-5; gradients are clipped; networks start orthogonal, the policy's last
layer small (all from the implementations, Huang et al. 2022). Workers play on while the last epochs run (`overlap`): the
ratio is to the policy that acted, so the objective stays right; `lag` says by how many updates it was older. The learning rate may fall linearly to 0. The value loss is not clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skate.rl.actor_critic import ActorCritic, ActorCriticSettings
from skate.rl.advantages import gae
from skate.rl.rollout import Rollout
from skate.rl.spaces import Array


@dataclass(frozen=True, kw_only=True)
class PPOSettings(ActorCriticSettings):
    """
    Args:
        epochs: K passes over the T steps (`horizon`) of each environment.
        minibatches: Parts each pass is cut into.
        clip: ε of the clipped objective.
        gae_lambda: λ.
        target_kl: Stop the epochs when the policy has moved further; 0 for never.
        lr_steps: The learning rate falls linearly to 0 over as many environment steps; 0: it stays.
        recurrent: Units of a GRU between the body and the heads; 0 for none.
        overlap: Share of the epochs that are left when workers start on the next rollout, with the weights of that moment. 0: they wait
            for the newest, as without workers.
    """

    horizon: int = 32
    epochs: int = 20
    minibatches: int = 1
    clip: float = 0.2
    gae_lambda: float = 0.95
    entropy_coefficient: float = 0.0
    target_kl: float = 0.0
    lr_steps: int = 0
    recurrent: int = 0
    overlap: float = 0.5


@dataclass(frozen=True)
class Batch:
    """Rows to learn from; the reset steps are gone."""

    obs: Array
    actions: Array
    logp: Array
    advantages: Array
    returns: Array

    def part(self, rows: Array) -> Batch:
        return Batch(*(getattr(self, name)[rows] for name in ("obs", "actions", "logp", "advantages", "returns")))


def ppo_loss(outputs: dict[str, Any], batch: Any, policy: Any, s: PPOSettings) -> tuple[Any, dict[str, Any]]:
    """Equation 9, to be minimised; and what is worth a curve."""
    logp, entropy = policy.log_prob_and_entropy(outputs, batch.actions)
    log_ratio = logp - batch.logp
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - s.clip, 1.0 + s.clip)
    policy_loss = -(ratio * batch.advantages).minimum(clipped * batch.advantages).mean()
    value_loss = (outputs["value"].sum(-1) - batch.returns).square().mean()
    loss = policy_loss + value_loss * s.value_coefficient
    mean_entropy = entropy.mean()
    if s.entropy_coefficient:
        loss = loss - mean_entropy * s.entropy_coefficient
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": mean_entropy, "log_ratio": log_ratio}


class PPO(ActorCritic[PPOSettings]):
    """`PPO("CartPole-v1", seed=0).train(50_000)`."""

    Settings = PPOSettings
    name = "PPO"
    families: ClassVar = {
        "vector": {"gamma": 0.98, "gae_lambda": 0.8},
        "image": {
            "num_envs": 16, "horizon": 64, "epochs": 3, "minibatches": 4, "lr": 1e-3, "entropy_coefficient": 0.01, "shared": True,
            "clip": 0.1, "activation": "relu", "hidden": (128,),
        },
        "continuous": {
            "num_envs": 16, "horizon": 128, "epochs": 10, "minibatches": 16, "lr": 1e-3, "gamma": 0.95, "reward_scale": 0.1,
        },
    }  # fmt: skip

    def iterate(self) -> dict[str, float]:
        s = self.settings
        rollout = self.runners.take(self.model.flat, self.version, s.horizon)
        self.note(rollout)
        lag = self.version - rollout.version
        if s.lr_steps:
            self.optimizer.lr = s.lr * max(0.0, 1.0 - self.steps / s.lr_steps)
        metrics = self.learn_recurrent(rollout) if s.recurrent else self.learn(self.batch(rollout))
        return {**metrics, "lag": float(lag)}

    def batch(self, rollout: Rollout) -> Batch:
        """Advantages and returns, and the steps that count in one row each."""
        s = self.settings
        steps, envs = rollout.rewards.shape
        obs = rollout.obs.reshape(-1, *self.observations.shape)
        values = self.model.infer(obs, ("value",))["value"].reshape(steps + 1, envs)
        advantages, returns = gae(
            rollout.rewards * np.float32(s.reward_scale), values, rollout.terminated, rollout.ended, s.gamma, s.gae_lambda
        )
        everything = Batch(
            obs[: steps * envs],
            rollout.actions.reshape(steps * envs, -1),
            rollout.extras["logp"].reshape(-1),
            advantages.reshape(-1),
            returns.reshape(-1),
        )
        return everything if rollout.valid.all() else everything.part(np.flatnonzero(rollout.valid.reshape(-1)))

    def learn(self, batch: Batch) -> dict[str, float]:
        """K epochs over the rows."""
        s = self.settings
        rows = len(batch.returns)
        for epochs in range(1, s.epochs + 1):
            if s.epochs - epochs + 1 == round(s.overlap * s.epochs) > 0:
                self.runners.start_resting(self.model.flat, self.version, s.horizon)
            parts = np.array_split(self.rng.permutation(rows), s.minibatches) if s.minibatches > 1 else [None]
            for part in parts:
                loss, notes = self.update(batch if part is None else batch.part(part))
            log_ratio = notes["log_ratio"].detach()
            kl = _kl(np.asarray(log_ratio.cpu() if hasattr(log_ratio, "cpu") else log_ratio))
            if s.target_kl and kl > s.target_kl:
                break
        return {
            "loss": loss,
            "kl": kl,
            "epochs": float(epochs),
            **{name: float(notes[name].item()) for name in ("policy_loss", "value_loss", "entropy")},
        }

    def update(self, batch: Batch) -> tuple[float, dict[str, Any]]:
        """One step of the optimiser."""
        advantages = batch.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        tensor = self.model.tensor
        rows = Batch(tensor(batch.obs), tensor(batch.actions), tensor(batch.logp), tensor(advantages), tensor(batch.returns))
        loss, notes = ppo_loss(self.model(rows.obs), rows, self.policy, self.settings)
        self.optimizer.minimise(loss)
        self.version += 1
        return float(loss.item()), notes

    def learn_recurrent(self, rollout: Rollout) -> dict[str, float]:
        """K epochs over whole sequences: the state of each environment is carried from the rollout's first step on."""
        s, model = self.settings, self.model
        steps, envs = rollout.rewards.shape
        begins = np.zeros((steps + 1, envs), bool)
        begins[1:] = rollout.terminated | rollout.truncated
        assert rollout.hidden is not None
        everything = (rollout.obs, rollout.hidden, begins)
        values = model.unroll(*map(model.tensor, everything))["value"].detach().cpu().numpy().reshape(steps + 1, envs)  # type: ignore[attr-defined]
        advantages, returns = gae(
            rollout.rewards * np.float32(s.reward_scale), values, rollout.terminated, rollout.ended, s.gamma, s.gae_lambda
        )
        for _ in range(s.epochs):
            for part in np.array_split(self.rng.permutation(envs), min(s.minibatches, envs)):
                valid = np.flatnonzero(rollout.valid[:, part].reshape(-1))
                chosen = (
                    rollout.actions[:, part].reshape(steps * len(part), -1),
                    rollout.extras["logp"][:, part].reshape(-1),
                    advantages[:, part].reshape(-1),
                    returns[:, part].reshape(-1),
                )
                actions, logp, advantage, target = (model.tensor(array[valid]) for array in chosen)
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                outputs = model.unroll(*map(model.tensor, (rollout.obs[:-1, part], rollout.hidden[part], begins[:-1, part])))  # type: ignore[attr-defined]
                rows = {name: value if name == "log_std" else value[valid] for name, value in outputs.items()}
                loss, notes = ppo_loss(rows, Batch(actions, actions, logp, advantage, target), self.policy, s)
                self.optimizer.minimise(loss)
                self.version += 1
        return {
            "loss": float(loss.item()),
            **{name: float(notes[name].item()) for name in ("policy_loss", "value_loss", "entropy")},
        }


def _kl(log_ratio: Array) -> float:
    """The estimator k3 of Schulman 2020: mean of r − 1 − log r."""
    return float(np.mean(np.exp(log_ratio) - 1.0 - log_ratio))
