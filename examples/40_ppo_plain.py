"""PPO in plain Torch, from the paper, without anything of skate.rl: what the library is checked against, and a way to read it.

One rollout of one vector of environments → advantages (GAE) → one update of equation 9 (Schulman et al. 2017).
`tests/unit/rl/test_against_plain.py` gives both the same weights and the same rollout: losses and the first update are equal.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import nn


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def advantages_of(rewards: torch.Tensor, values: torch.Tensor, terminated: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """GAE, γ = 0.98, λ = 0.8. (T, E); values (T + 1, E). What is terminated has no future; what is cut off has one that is not seen."""
    result, following = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + 0.98 * values[t + 1] * (~terminated[t]) - values[t]
        following = delta + 0.98 * 0.8 * following * (~(terminated[t] | cut[t]))
        result[t] = following
    return result


def loss_of(
    policy: nn.Module, value: nn.Module, obs: torch.Tensor, actions: torch.Tensor, old_logp: torch.Tensor,
    advantages: torch.Tensor, returns: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    advantages = (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-8)
    ratio = (torch.distributions.Categorical(logits=policy(obs)).log_prob(actions) - old_logp).exp()
    gain = torch.min(ratio * advantages, torch.clamp(ratio, 0.8, 1.2) * advantages).mean()
    return -gain + 0.5 * (value(obs).squeeze(-1) - returns).square().mean()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    envs = gym.make_vec("CartPole-v1", num_envs=8, vectorization_mode="vector_entry_point")
    policy, value = network(4, 2), network(4, 1)
    parameters = [*policy.parameters(), *value.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3, eps=1e-5)
    obs = torch.from_numpy(envs.reset(seed=0)[0])
    was_over = np.zeros(8, bool)
    playing, returns_seen = np.zeros(8), [0.0]
    for _ in range(40):
        seen, taken, logps, rewards, ends, cuts, valid = [obs], [], [], [], [], [], []
        for _ in range(32):
            with torch.no_grad():
                choice = torch.distributions.Categorical(logits=policy(obs))
                action = choice.sample()
                logps.append(choice.log_prob(action))
            following, reward, terminated, truncated, _ = envs.step(action.numpy())
            valid.append(~was_over)  # The step after an episode's end only resets.
            playing += reward * ~was_over
            was_over = terminated | truncated
            returns_seen += playing[was_over].tolist()
            playing[was_over] = 0
            obs = torch.from_numpy(following)
            seen.append(obs)
            taken.append(action)
            rewards.append(torch.from_numpy(reward * valid[-1]).float())
            ends.append(torch.from_numpy(terminated))
            cuts.append(torch.from_numpy(truncated | ~valid[-1]))
        with torch.no_grad():
            values = value(torch.stack(seen)).squeeze(-1)
        advantages = advantages_of(torch.stack(rewards), values, torch.stack(ends), torch.stack(cuts))
        keep = torch.from_numpy(np.stack(valid))
        rows = [
            x[keep]
            for x in (torch.stack(seen[:-1]), torch.stack(taken), torch.stack(logps), advantages, advantages + values[:-1])
        ]
        for _ in range(20):
            optimiser.zero_grad()
            loss_of(policy, value, *rows).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimiser.step()
    print(f"the last 20 episodes last above 60 steps: {np.mean(returns_seen[-20:]) > 60}")


if __name__ == "__main__":
    main()
