"""`TorchModel`: the same interface as `NumpyModel`, for images, recurrent and own networks, and GPUs. Imports Torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from skate.rl.networks import ModelSpec, threads
from skate.rl.spaces import Array


class TorchModel:
    """A body (shared, or one per head) with a linear layer per head; a GRU between them when `spec.recurrent`."""

    def __init__(self, spec: ModelSpec, seed: int, device: str = "auto") -> None:
        self.spec = spec
        torch.set_num_threads(threads())
        self._device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = self._make()
        self.module.to(self._device)
        self._parameters = list(self.module.parameters())
        # All parameters become views of one vector, so that broadcasting and the optimiser see one array.
        with torch.no_grad():
            self._flat = torch.cat([p.reshape(-1) for p in self._parameters]).contiguous()
            offset = 0
            for p in self._parameters:
                p.data = self._flat[offset : offset + p.numel()].view(p.shape)
                offset += p.numel()
        self._hidden: torch.Tensor | None = None

    def _make(self) -> nn.ModuleDict:
        spec = self.spec
        module = nn.ModuleDict()
        bodies = nn.ModuleDict({name: _body(spec) for name in (["body"] if spec.shared else spec.heads)})
        with torch.no_grad():
            sample = torch.zeros(1, *spec.inputs)
            width = next(iter(bodies.values()))(_as_channels(sample, spec)).shape[-1]
        if spec.recurrent:
            if not spec.shared:
                raise ValueError("a recurrent network has one body for all its heads: shared=True")
            module["gru"] = nn.GRUCell(width, spec.recurrent)
            width = spec.recurrent
        heads = nn.ModuleDict({name: _linear(width, outputs, spec.gains.get(name, 1.0)) for name, outputs in spec.heads.items()})
        module["bodies"], module["heads"] = bodies, heads
        for name, start in spec.free.items():
            module.register_parameter(name, nn.Parameter(torch.tensor(list(start), dtype=torch.float32)))
        return module

    @property
    def flat(self) -> Array:
        values: Array = self._flat.detach().cpu().numpy()
        return values

    @flat.setter
    def flat(self, values: Array) -> None:
        # A copy: arrays from shared memory are read-only, and Torch warns of those.
        self._flat.copy_(torch.from_numpy(np.array(values, np.float32)))

    def __call__(self, obs: Any) -> dict[str, Any]:
        return self._heads(self._bodies(self.tensor(obs)))

    def _bodies(self, obs: Any) -> dict[str, Any]:
        x = _as_channels(obs, self.spec)
        bodies: Any = self.module["bodies"]
        return {name: body(x) for name, body in bodies.items()}

    def _heads(self, features: dict[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
        shared = features.get("body") if self.spec.shared else None
        heads: Any = self.module["heads"]
        outputs = {name: heads[name](features[name] if shared is None else shared) for name in names or self.spec.heads}
        for name in self.spec.free:
            outputs[name] = getattr(self.module, name)
        return outputs

    def infer(self, obs: Array, heads: Sequence[str] = ()) -> dict[str, Array]:
        with torch.no_grad():
            if self.spec.recurrent:
                features = self._bodies(self.tensor(obs))["body"]
                hidden = self._hidden
                if hidden is None or len(hidden) != len(features):
                    hidden = features.new_zeros(len(features), self.spec.recurrent)
                self._hidden = self.module["gru"](features, hidden)
                outputs = self._heads({"body": self._hidden}, heads)
            else:
                wanted = heads or list(self.spec.heads)
                x = _as_channels(self.tensor(obs), self.spec)
                bodies: Any = self.module["bodies"]
                outputs = self._heads({name: bodies[name](x) for name in (["body"] if self.spec.shared else wanted)}, heads)
            return {name: value.cpu().numpy() for name, value in outputs.items()}

    # ---- recurrent policies

    def hidden_state(self, rows: int) -> Array:
        if self._hidden is None or len(self._hidden) != rows:
            self._hidden = torch.zeros(rows, self.spec.recurrent, device=self._device)
        values: Array = self._hidden.cpu().numpy().copy()
        return values

    def forget(self, ended: Array) -> None:
        """Start anew in environments whose episode has ended."""
        if self._hidden is not None and ended.any():
            self._hidden = self._hidden * torch.from_numpy(~ended).to(self._device)[:, None]

    def unroll(self, obs: Any, hidden: Any, begins: Any) -> dict[str, Any]:
        """Outputs of (T, E, …) observations, one row for each step; `begins[t]`: an episode starts at t, and the state is forgotten."""
        steps, envs = obs.shape[:2]
        features = self._bodies(obs.reshape(steps * envs, *obs.shape[2:]))["body"].reshape(steps, envs, -1)
        states = []
        for t in range(steps):
            hidden = self.module["gru"](features[t], hidden * (~begins[t])[:, None])
            states.append(hidden)
        return self._heads({"body": torch.stack(states).reshape(steps * envs, -1)})

    def tensor(self, values: Any) -> Any:
        if isinstance(values, torch.Tensor):
            return values.to(self._device)
        values = np.ascontiguousarray(values)
        return torch.from_numpy(values if values.flags.writeable else values.copy()).to(self._device)

    def concatenate(self, parts: Sequence[Any]) -> Any:
        return torch.cat(list(parts), -1)

    def gradient(self, loss: Any) -> Array:
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        with torch.no_grad():
            flat = torch.cat(
                [
                    torch.zeros(p.numel(), device=self._device) if g is None else g.reshape(-1)
                    for p, g in zip(self._parameters, gradients, strict=True)
                ]
            )
        result: Array = flat.cpu().numpy()
        return result

    def __getstate__(self) -> dict[str, Any]:
        hidden = None if self._hidden is None else self._hidden.cpu().numpy()
        return {"spec": self.spec, "flat": self.flat.copy(), "device": self._device.type, "hidden": hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["spec"], 0, state["device"])  # type: ignore[misc]
        self.flat = state["flat"]
        self._hidden = None if state["hidden"] is None else torch.from_numpy(state["hidden"]).to(self._device)


def _body(spec: ModelSpec) -> nn.Module:
    if spec.network is not None:
        body: nn.Module = spec.network(spec.inputs)
        return body
    activation = nn.Tanh if spec.activation == "tanh" else nn.ReLU
    layers: list[nn.Module] = []
    if len(spec.inputs) == 3:
        channels, height, width = _channels_first(spec.inputs)
        if min(height, width) >= 36:  # Mnih et al. 2015, "Methods".
            convolutions = [(channels, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3, 1)]
        else:  # Young & Tian 2019 (MinAtar): one small convolution.
            convolutions = [(channels, 16, 3, 1)]
        for inputs, outputs, size, stride in convolutions:
            layers += [_orthogonal(nn.Conv2d(inputs, outputs, size, stride), math.sqrt(2)), nn.ReLU()]
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
        layers.append(nn.Flatten())
        units = convolutions[-1][1] * height * width
    else:
        units = math.prod(spec.inputs)
        layers.append(nn.Flatten())
    for hidden in spec.hidden:
        layers += [_linear(units, hidden, math.sqrt(2)), activation()]
        units = hidden
    return nn.Sequential(*layers)


def _linear(inputs: int, outputs: int, gain: float) -> nn.Module:
    return _orthogonal(nn.Linear(inputs, outputs), gain)


def _orthogonal(layer: Any, gain: float) -> nn.Module:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    module: nn.Module = layer
    return module


def _channels_first(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of an image that may have its channels last: the short side is the channels."""
    if shape[0] <= shape[2]:
        return shape[0], shape[1], shape[2]
    return shape[2], shape[0], shape[1]


def _as_channels(obs: Any, spec: ModelSpec) -> Any:
    if len(spec.inputs) != 3:
        return obs.float()
    x = obs.float() / 255.0 if obs.dtype == torch.uint8 else obs.float()
    return x if spec.inputs[0] <= spec.inputs[2] else x.permute(0, 3, 1, 2)
