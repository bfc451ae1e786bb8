"""The optimiser: Adam on one flat vector of parameters, gradients clipped by their norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from skate.rl.networks import Model
from skate.rl.spaces import Array


class Adam:
    """Kingma & Ba 2015, algorithm 1, in place on `model.flat`.

    Args:
        max_grad_norm: Longer gradients are scaled down to this norm; 0 for never.
    """

    def __init__(self, model: Model, lr: float, *, eps: float = 1e-5, max_grad_norm: float = 0.0) -> None:
        self.model = model
        self.lr = lr
        self.max_grad_norm = max_grad_norm
        self._eps = eps
        self._mean = np.zeros_like(model.flat)
        self._variance = np.zeros_like(model.flat)
        self._updates = 0

    def minimise(self, loss: Any) -> float:
        """One update; returns the gradient's norm before clipping."""
        return self.apply(self.model.gradient(loss))

    def apply(self, gradient: Array) -> float:
        norm = float(np.sqrt(np.dot(gradient, gradient)))
        if not np.isfinite(norm):
            raise FloatingPointError(
                "the gradient is not finite: lower the learning rate, or look for observations or rewards of a huge scale"
            )
        if self.max_grad_norm and norm > self.max_grad_norm:
            gradient = gradient * np.float32(self.max_grad_norm / (norm + 1e-6))
        self._updates += 1
        self._mean *= 0.9
        self._mean += 0.1 * gradient
        self._variance *= 0.999
        self._variance += 0.001 * (gradient * gradient)
        correction = np.sqrt(1.0 - 0.999**self._updates)
        denominator = np.sqrt(self._variance)
        denominator /= correction
        denominator += self._eps
        step = self._mean / denominator
        step *= self.lr / (1.0 - 0.9**self._updates)
        flat = self.model.flat
        flat -= step
        if self.model.flat is not flat:  # Torch on a GPU: `flat` was a copy.
            self.model.flat = flat
        return norm

    def state(self) -> dict[str, Any]:
        return {"mean": self._mean, "variance": self._variance, "updates": self._updates, "lr": self.lr}

    def load_state(self, state: dict[str, Any]) -> None:
        self._mean, self._variance = state["mean"].copy(), state["variance"].copy()
        self._updates, self.lr = state["updates"], state["lr"]
