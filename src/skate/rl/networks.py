"""Networks: described by a `ModelSpec`, made by `make_model`, on one of two engines with one interface.

    NumpyModel   small perceptrons over vectors: `skate.rl.tape`. No Torch is imported, neither in the driver nor in a runner.
    TorchModel   images, recurrent and the user's own networks, GPUs: `skate.rl.torch_networks`.

A model has named *heads* ("policy", "value", "q", …): `model(obs)` gives what can be differentiated, `model.infer(obs)` plain arrays.
All its parameters are one flat float32 vector, `model.flat`: what is broadcast to runners, saved, averaged, or mutated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from skate.rl.spaces import Array
from skate.rl.tape import Tensor, apply_dense, concatenate, dense


@dataclass(frozen=True)
class ModelSpec:
    """What a network takes and answers.

    Args:
        heads: Name → number of outputs; an entry of `free` is a vector of parameters that depends on no input (a policy's log σ).
        shared: One body for all heads, with a linear layer each; else a network for each head.
        gains: Head → scale of its last layer at the start (orthogonal initialisation; 1 unless given).
        network: `(observation_shape) -> torch.nn.Module`, a body of the user's own; its output is flat.
        recurrent: Units of a GRU after the body; 0 for none.
    """

    inputs: tuple[int, ...]
    heads: Mapping[str, int]
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    shared: bool = False
    gains: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, Sequence[float]] = field(default_factory=dict)
    network: Callable[[tuple[int, ...]], Any] | None = None
    recurrent: int = 0


class Model(Protocol):
    spec: ModelSpec

    @property
    def flat(self) -> Array:
        """All parameters; assigning copies."""
        ...

    @flat.setter
    def flat(self, values: Array) -> None: ...
    def __call__(self, obs: Any) -> dict[str, Any]: ...
    def infer(self, obs: Array, heads: Sequence[str] = ()) -> dict[str, Array]: ...
    def tensor(self, values: Array) -> Any:
        """A constant for a loss."""
        ...

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Along the last dimension."""
        ...

    def gradient(self, loss: Any) -> Array:
        """Of a loss by all parameters, flat."""
        ...


def make_model(spec: ModelSpec, seed: int, framework: str = "auto", device: str = "auto") -> Model:
    """
    Args:
        framework: "numpy", "torch", or "auto": NumPy where it can do it and is faster (up to 256 units a layer).
    """
    if framework not in ("auto", "numpy", "torch"):
        raise ValueError(f"framework={framework!r} must be 'auto', 'numpy' or 'torch'")
    needs_torch = len(spec.inputs) != 1 or spec.network is not None or spec.recurrent > 0
    if framework == "numpy" and needs_torch:
        raise ValueError("framework='numpy' has perceptrons over vectors only: images, recurrent and own networks need 'torch'")
    if needs_torch or framework == "torch" or (framework == "auto" and max(spec.hidden, default=0) > 256):
        from skate.rl.torch_networks import TorchModel

        return TorchModel(spec, seed, device)
    return NumpyModel(spec, seed)


class NumpyModel:
    """Perceptrons whose weights are views of one vector."""

    def __init__(self, spec: ModelSpec, seed: int) -> None:
        self.spec = spec
        rng = np.random.default_rng(seed)
        arrays: list[Array] = []
        names: list[tuple[str, int, str]] = []  # (network, index of its weight, activation)

        def add_layer(network: str, inputs: int, outputs: int, activation: str, gain: float) -> None:
            names.append((network, len(arrays), activation))
            arrays.extend([orthogonal(rng, inputs, outputs, gain), np.zeros(outputs, np.float32)])

        body_gain = math.sqrt(2)
        width = int(np.prod(spec.inputs))
        bodies = ["body"] if spec.shared else list(spec.heads)
        for body in bodies:
            width = int(np.prod(spec.inputs))
            for units in spec.hidden:
                add_layer(body, width, units, spec.activation, body_gain)
                width = units
            if not spec.shared:
                add_layer(body, width, spec.heads[body], "", spec.gains.get(body, 1.0))
        if spec.shared:
            for head, outputs in spec.heads.items():
                add_layer(head, width, outputs, "", spec.gains.get(head, 1.0))
        self._free = {name: len(arrays) + index for index, name in enumerate(spec.free)}
        arrays.extend(np.asarray(start, np.float32) for start in spec.free.values())
        self._layers = names
        self._adopt(arrays)

    def _adopt(self, arrays: list[Array]) -> None:
        self._flat = np.concatenate([array.reshape(-1) for array in arrays])
        self._shapes = [array.shape for array in arrays]
        self._parameters = [Tensor(view) for view in views(self._flat, self._shapes)]
        self._networks: dict[str, list[tuple[Tensor, Tensor, str]]] = {}
        for network, index, activation in self._layers:
            layer = (self._parameters[index], self._parameters[index + 1], activation)
            self._networks.setdefault(network, []).append(layer)

    @property
    def flat(self) -> Array:
        return self._flat

    @flat.setter
    def flat(self, values: Array) -> None:
        self._flat[:] = values

    def __call__(self, obs: Any) -> dict[str, Any]:
        def run(x: Any, network: str) -> Any:
            for weight, bias, activation in self._networks[network]:
                x = dense(x, weight, bias, activation)
            return x

        body = run(obs, "body") if self.spec.shared else obs
        outputs = {head: run(body, head) for head in self.spec.heads}
        for name, index in self._free.items():
            outputs[name] = self._parameters[index]
        return outputs

    def infer(self, obs: Array, heads: Sequence[str] = ()) -> dict[str, Array]:
        def run(x: Array, network: str) -> Array:
            for weight, bias, activation in self._networks[network]:
                x = apply_dense(x, weight.data, bias.data, activation)
            return x

        body = run(obs, "body") if self.spec.shared else obs
        outputs = {head: run(body, head) for head in heads or self.spec.heads}
        for name, index in self._free.items():
            outputs[name] = self._parameters[index].data
        return outputs

    def infer_each(self, flats: Array, obs: Array, head: str) -> Array:
        """Row i with the parameters `flats[i]`: a population in one batched product."""
        offsets = np.cumsum([0, *(math.prod(shape) for shape in self._shapes)])
        x = obs[:, None, :]
        for network, index, activation in self._layers:
            if network not in ("body", head):
                continue
            weight = flats[:, offsets[index] : offsets[index + 1]].reshape(len(flats), *self._shapes[index])
            x = x @ weight + flats[:, None, offsets[index + 1] : offsets[index + 2]]
            x = np.tanh(x) if activation == "tanh" else np.maximum(x, 0.0) if activation == "relu" else x
        return x[:, 0]

    def tensor(self, values: Array) -> Any:
        return values

    def concatenate(self, parts: Sequence[Any]) -> Any:
        return concatenate(parts)

    def gradient(self, loss: Any) -> Array:
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        return np.concatenate(
            [
                np.zeros(parameter.data.size, np.float32) if parameter.grad is None else parameter.grad.reshape(-1)
                for parameter in self._parameters
            ],
            dtype=np.float32,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "flat": self._flat.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["spec"], 0)  # type: ignore[misc]
        self.flat = state["flat"]


def orthogonal(rng: np.random.Generator, inputs: int, outputs: int, gain: float) -> Array:
    """An (inputs, outputs) matrix with orthogonal rows or columns (Saxe et al. 2014)."""
    tall = rng.standard_normal((max(inputs, outputs), min(inputs, outputs)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    matrix = q if inputs >= outputs else q.T
    return np.ascontiguousarray(gain * matrix, np.float32)


def views(flat: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Arrays of these shapes that share the memory of a vector."""
    result, offset = [], 0
    for shape in shapes:
        size = math.prod(shape)
        result.append(flat[offset : offset + size].reshape(shape))
        offset += size
    return result


def set_threads(threads: int) -> None:
    """How many threads a matrix product uses here. Small ones are fastest on one, and several processes must not each take all cores."""
    import sys

    from threadpoolctl import threadpool_limits

    global _threads
    _threads = max(1, threads)
    threadpool_limits(limits=_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(_threads)


_threads = 1


def threads() -> int:
    """What `set_threads` said."""
    return _threads
