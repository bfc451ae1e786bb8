"""The tape's gradients are those of Torch, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skate.rl.tape import Tensor, concatenate, dense

A = np.random.default_rng(0).normal(size=(6, 4))
B = np.random.default_rng(1).normal(size=(6, 4))
ROW = np.random.default_rng(2).normal(size=(1, 4))
INDEX = np.array([[0], [3], [1], [2], [2], [0]])

LOSSES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sums": lambda a, b, row: ((a + row) * b - row * 2.0).sum(),
    "quotients": lambda a, b, row: (a / (b.square() + 1.5) + 1.0 / 3.0).mean(),
    "reversed": lambda a, b, row: (1.0 - a * row + 2.0 * b).square().mean(),
    "exp_log": lambda a, b, row: ((a.exp() + b.square()).log() * row).mean(),
    "abs_clamp": lambda a, b, row: (a.abs().clamp(0.2, 0.9) * b + row.clamp(max=0.1)).sum(),
    "min_max": lambda a, b, row: a.minimum(b).square().sum() + a.maximum(b).exp().mean(),
    "softmax": lambda a, b, row: ((a * row).log_softmax(-1) * b.exp()).sum(-1).mean(),
    "slices": lambda a, b, row: (a[:, 1:3] * b[:, 0:2]).sum() + a[:, 0].square().mean(),
    "keepdim": lambda a, b, row: (a - a.mean(-1, keepdim=True)).square().sum(-1).mean() + b.sum() + row.sum(),
    "reshape": lambda a, b, row: (a.reshape(2, 12) * b.reshape(2, 12)).tanh().sum(-1).square().sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_torch(name: str) -> None:
    ours = [Tensor(x.copy()) for x in (A, B, ROW)]
    theirs = [torch.tensor(x, requires_grad=True) for x in (A, B, ROW)]
    loss, expected = LOSSES[name](*ours), LOSSES[name](*theirs)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    for mine, other in zip(ours, theirs, strict=True):
        if other.grad is not None:
            np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-7, atol=1e-12)


def test_gather_logaddexp_and_concatenate_equal_torch() -> None:
    a, b = Tensor(A.copy()), Tensor(B.copy())
    ta, tb = torch.tensor(A, requires_grad=True), torch.tensor(B, requires_grad=True)
    zero = np.zeros_like(A)
    loss = a.gather(-1, INDEX).square().sum() + (b * -2.0).logaddexp(zero).sum() + concatenate([a, b]).tanh().square().sum()
    expected = (
        ta.gather(-1, torch.from_numpy(INDEX)).square().sum()
        + torch.nn.functional.softplus(tb * -2.0).sum()
        + torch.cat([ta, tb], -1).tanh().square().sum()
    )
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item())
    np.testing.assert_allclose(a.grad, ta.grad.numpy(), rtol=1e-7)
    np.testing.assert_allclose(b.grad, tb.grad.numpy(), rtol=1e-7)


@pytest.mark.parametrize("activation", ["", "tanh", "relu"])
def test_dense_layers_equal_torch(activation: str) -> None:
    rng = np.random.default_rng(4)
    w1, w2, c1, c2 = rng.normal(size=(4, 8)), rng.normal(size=(8, 3)), rng.normal(size=8), rng.normal(size=3)
    ours = [Tensor(x.copy()) for x in (w1, c1, w2, c2)]
    dense(dense(A, ours[0], ours[1], activation), ours[2], ours[3]).square().mean().backward()
    theirs = [torch.tensor(x, requires_grad=True) for x in (w1, c1, w2, c2)]
    hidden = torch.from_numpy(A) @ theirs[0] + theirs[1]
    hidden = {"": hidden, "tanh": hidden.tanh(), "relu": hidden.relu()}[activation]
    (hidden @ theirs[2] + theirs[3]).square().mean().backward()
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-7)
