"""PPO and DQN against the plain Torch programs in `examples/`, which share no code with the library: the same weights and the same
rollout give the same loss, and the same weights after the first update."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from skate.rl import DQN, PPO
from skate.rl.ppo import Batch
from skate.rl.replay import n_step_transitions

EXAMPLES = Path(__file__).parents[3] / "examples"


def copy_linears(flat: Any, layers: list[nn.Linear], *, is_numpy: bool) -> None:
    """Our flat vector, weights of (inputs, outputs) or Torch's (outputs, inputs), into these layers, in order."""
    offset = 0
    with torch.no_grad():
        for layer in layers:
            inputs, outputs = layer.in_features, layer.out_features
            matrix = torch.from_numpy(flat[offset : offset + inputs * outputs].copy())
            layer.weight.copy_(matrix.reshape(inputs, outputs).T if is_numpy else matrix.reshape(outputs, inputs))
            offset += inputs * outputs
            layer.bias.copy_(torch.from_numpy(flat[offset : offset + outputs].copy()))
            offset += outputs
    assert offset == len(flat)


def linears(*modules: nn.Module) -> list[nn.Linear]:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, nn.Linear)]


def flat_of(layers: list[nn.Linear]) -> Any:
    return np.concatenate(
        [part for layer in layers for part in (layer.weight.T.detach().numpy().ravel(), layer.bias.detach().numpy())]
    )


def test_ppo_loss_and_first_update_equal_the_plain_program() -> None:
    plain = runpy.run_path(str(EXAMPLES / "40_ppo_plain.py"))
    with PPO("CartPole-v1", seed=3, framework="numpy") as ppo:
        ppo.train(600)  # Past the start: ratios are not 1 only because the rollout below is older than the weights.
        rollout = ppo.runners.sample(ppo.model.flat.copy(), ppo.version, 32)
        ppo.learn(ppo.batch(rollout))
        assert (~rollout.valid).any()  # Episodes end in it.
        policy, value = plain["network"](4, 2), plain["network"](4, 1)
        layers = linears(policy, value)
        copy_linears(ppo.model.flat, layers, is_numpy=True)
        tensors = {
            name: torch.from_numpy(getattr(rollout, name)) for name in ("obs", "rewards", "terminated", "truncated", "valid")
        }
        with torch.no_grad():
            values = value(tensors["obs"]).squeeze(-1)
        cut = tensors["truncated"] | ~tensors["valid"]
        advantages = plain["advantages_of"](tensors["rewards"], values, tensors["terminated"], cut)
        keep = tensors["valid"]
        rows = (
            tensors["obs"][:-1][keep],
            torch.from_numpy(rollout.actions[:, :, 0])[keep],
            torch.from_numpy(rollout.extras["logp"])[keep],
            advantages[keep],
            (advantages + values[:-1])[keep],
        )
        batch = ppo.batch(rollout)
        np.testing.assert_allclose(batch.advantages, rows[3].numpy(), rtol=1e-4, atol=1e-4)
        ppo.optimizer = type(ppo.optimizer)(ppo.model, 1e-3, max_grad_norm=0.5)
        before = ppo.model.flat.copy()
        loss, _ = ppo.update(batch)
        optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()], lr=1e-3, eps=1e-5)
        expected = plain["loss_of"](policy, value, *rows)
        expected.backward()
        nn.utils.clip_grad_norm_([p for layer in layers for p in layer.parameters()], 0.5)
        optimiser.step()
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        assert np.abs(ppo.model.flat - before).max() > 5e-4
        # Adam's first step is lr · g/(|g| + ε): where g is of the size of ε, rounding shows.
        np.testing.assert_allclose(ppo.model.flat, flat_of(layers), atol=3e-5)
        assert isinstance(batch, Batch)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_dqn_loss_and_first_update_equal_the_plain_program(framework: str) -> None:
    plain = runpy.run_path(str(EXAMPLES / "41_dqn_plain.py"))
    with DQN("CartPole-v1", seed=4, framework=framework, max_grad_norm=10.0, lr=1e-3) as dqn:
        dqn.target.flat = dqn.model.flat * np.float32(0.9)
        rollout = dqn.runners.sample(dqn.model.flat, 0, 40, {"epsilon": 0.5})
        rows, _ = n_step_transitions(rollout, 3, 0.99)
        weights = np.random.default_rng(0).random(len(rows)).astype(np.float32)
        online, target = plain["Dueling"](4, 2), plain["Dueling"](4, 2)
        for module, model in ((online, dqn.model), (target, dqn.target)):
            copy_linears(model.flat, linears(module), is_numpy=framework == "numpy")
        tensors = [
            torch.from_numpy(x) for x in (rows.obs, rows.actions[:, 0], rows.rewards, rows.next_obs, rows.discounts, weights)
        ]
        optimiser = torch.optim.Adam(online.parameters(), lr=1e-3, eps=1e-5)
        expected = plain["loss_of"](online, target, *tensors)
        expected.backward()
        nn.utils.clip_grad_norm_(online.parameters(), 10.0)
        optimiser.step()
        before = dqn.model.flat.copy()
        loss, errors = dqn.update(rows, weights)
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        assert len(errors) == len(rows)
        assert np.abs(dqn.model.flat - before).max() > 5e-4
        layers = linears(online)
        ours = online
        if framework == "torch":
            ours = plain["Dueling"](4, 2)
            copy_linears(dqn.model.flat, linears(ours), is_numpy=False)
            np.testing.assert_allclose(flat_of(linears(ours)), flat_of(layers), atol=3e-5)
        else:
            np.testing.assert_allclose(dqn.model.flat, flat_of(layers), atol=3e-5)
