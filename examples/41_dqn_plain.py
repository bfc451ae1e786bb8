"""Double DQN with a dueling network in plain Torch, from the papers, without anything of skate.rl: what the library is checked against.

Mnih et al. 2015, van Hasselt et al. 2016, Wang et al. 2016. `tests/unit/rl/test_against_plain.py` gives both the same weights and the same rows: losses and
the first update are equal.
"""

from __future__ import annotations

import random
from collections import deque

import gymnasium as gym
import torch
from torch import nn


class Dueling(nn.Module):
    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.advantage, self.value = nn.Linear(64, actions), nn.Linear(64, 1)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        features = self.body(obs)
        advantage: torch.Tensor = self.advantage(features)
        q: torch.Tensor = self.value(features) + advantage - advantage.mean(1, keepdim=True)
        return q


def loss_of(
    online: nn.Module, target: nn.Module, obs: torch.Tensor, actions: torch.Tensor, rewards: torch.Tensor, next_obs: torch.Tensor,
    discounts: torch.Tensor, weights: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """`discounts`: γ^n, or 0 where the episode ended by itself."""
    with torch.no_grad():
        best = online(next_obs).argmax(1, keepdim=True)
        y = rewards + discounts * target(next_obs).gather(1, best).squeeze(1)
    q = online(obs).gather(1, actions[:, None]).squeeze(1)
    return (nn.functional.smooth_l1_loss(q, y, reduction="none") * weights).mean()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    env = gym.make("CartPole-v1")
    online, target = Dueling(4, 2), Dueling(4, 2)
    target.load_state_dict(online.state_dict())
    optimiser = torch.optim.Adam(online.parameters(), lr=1e-3, eps=1e-5)
    memory: deque[tuple[torch.Tensor, int, float, torch.Tensor, float]] = deque(maxlen=20_000)
    obs = torch.from_numpy(env.reset(seed=0)[0])
    playing, returns = 0.0, [0.0]
    for step in range(3000):
        if random.random() < max(0.05, 1 - step / 1500):
            action = random.randrange(2)
        else:
            with torch.no_grad():
                action = int(online(obs[None]).argmax())
        following, reward, terminated, truncated, _ = env.step(action)
        after = torch.from_numpy(following)
        memory.append((obs, action, float(reward), after, 0.0 if terminated else 0.99))
        playing += float(reward)
        obs = after
        if terminated or truncated:
            returns.append(playing)
            playing, obs = 0.0, torch.from_numpy(env.reset()[0])
        if step > 500 and step % 2 == 0:
            o, a, r, n, d = zip(*random.sample(memory, 64), strict=True)
            optimiser.zero_grad()
            rows = (torch.stack(o), torch.tensor(a), torch.tensor(r), torch.stack(n), torch.tensor(d))
            loss_of(online, target, *rows, torch.ones(64)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(online.parameters(), 10.0)
            optimiser.step()
            if step % 200 == 0:
                target.load_state_dict(online.state_dict())
    print(f"the last 10 episodes last above 40 steps: {sum(returns[-10:]) / len(returns[-10:]) > 40}")


if __name__ == "__main__":
    main()
