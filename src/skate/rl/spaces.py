"""Spaces as arrays: how any Gymnasium observation becomes a row of numbers, and what a policy has to answer.

Images (three dimensions) stay as they are; everything else becomes a flat float32 vector: Box is flattened, Discrete is one-hot, Dict and
Tuple are their parts side by side in Gymnasium's order. Actions are categories (Discrete, MultiDiscrete, MultiBinary) or real
vectors (Box). Needs no Torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ObservationShape:
    """What networks get: rows of `shape` and `dtype`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3


@dataclass(frozen=True)
class ActionShape:
    """What a policy answers: `categories` has the number of choices of each part, or `low`/`high` bound a real vector."""

    categories: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: int = 0  # The first action of a Discrete space.
    is_scalar: bool = False  # Discrete: an action is a number, not a row of numbers.
    shape: tuple[int, ...] = ()  # Of a Box: its own shape, since policies answer flat vectors.

    @property
    def is_discrete(self) -> bool:
        return bool(self.categories)

    @property
    def dimensions(self) -> int:
        """Numbers in an action as a policy sees it."""
        return len(self.categories) or len(self.low)

    @property
    def policy_outputs(self) -> int:
        """Logits, or means."""
        return sum(self.categories) or len(self.low)


def observation_shape(space: spaces.Space[Any]) -> ObservationShape:
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return ObservationShape(space.shape, str(space.dtype))
    return ObservationShape((_width(space),), "float32")


def action_shape(space: spaces.Space[Any]) -> ActionShape:
    """
    Raises:
        ValueError: A space no algorithm here acts in.
    """
    match space:
        case spaces.Discrete():
            return ActionShape((int(space.n),), start=int(space.start), is_scalar=True)
        case spaces.MultiDiscrete():
            return ActionShape(tuple(int(n) for n in space.nvec.reshape(-1)), shape=space.shape)
        case spaces.MultiBinary():
            return ActionShape((2,) * int(np.prod(space.shape)), shape=space.shape)
        case spaces.Box():
            low, high = (tuple(float(x) for x in bound.reshape(-1)) for bound in (space.low, space.high))
            return ActionShape(low=low, high=high, shape=space.shape)
    raise ValueError(
        f"actions of {space} are not supported: use Discrete, MultiDiscrete, MultiBinary or Box, or wrap the environment so that it has one of them"
    )


def encoder(space: spaces.Space[Any]) -> Callable[[Any, Array], None]:
    """A function `(observation, row)` that writes one observation into its row."""
    match space:
        case spaces.Box() if len(space.shape) == 3 or len(space.shape) == 1:
            return _copy
        case spaces.Box() | spaces.MultiBinary():
            return _copy_flat
        case spaces.Discrete():
            return _one_hot(int(space.start))
        case spaces.MultiDiscrete():
            offsets = np.concatenate([[0], np.cumsum(space.nvec.reshape(-1))[:-1]]).astype(np.int64)

            def multi(observation: Any, row: Array) -> None:
                row[:] = 0
                row[offsets + np.asarray(observation).reshape(-1)] = 1

            return multi
        case spaces.Dict():
            return _parts([(key, part) for key, part in space.spaces.items()])
        case spaces.Tuple():
            return _parts(list(enumerate(space.spaces)))
    raise ValueError(
        f"observations of {space} are not supported: wrap the environment so that they are Box, Discrete, Dict or Tuple"
    )


def _width(space: spaces.Space[Any]) -> int:
    match space:
        case spaces.Box() | spaces.MultiBinary():
            return int(np.prod(space.shape))
        case spaces.Discrete():
            return int(space.n)
        case spaces.MultiDiscrete():
            return int(space.nvec.sum())
        case spaces.Dict():
            return sum(_width(part) for part in space.spaces.values())
        case spaces.Tuple():
            return sum(_width(part) for part in space.spaces)
    raise ValueError(
        f"observations of {space} are not supported: wrap the environment so that they are Box, Discrete, Dict or Tuple"
    )


def _copy(observation: Any, row: Array) -> None:
    row[...] = observation


def _copy_flat(observation: Any, row: Array) -> None:
    row[:] = np.asarray(observation).reshape(-1)


def _one_hot(start: int) -> Callable[[Any, Array], None]:
    def write(observation: Any, row: Array) -> None:
        row[:] = 0
        row[int(observation) - start] = 1

    return write


def _parts(parts: list[tuple[Any, spaces.Space[Any]]]) -> Callable[[Any, Array], None]:
    writers = []
    offset = 0
    for key, space in parts:
        width = _width(space)
        # A nested image is flattened like any other part: only an observation that is nothing but an image keeps its shape.
        writers.append((key, slice(offset, offset + width), _copy_flat if isinstance(space, spaces.Box) else encoder(space)))
        offset += width

    def write(observation: Any, row: Array) -> None:
        for key, place, writer in writers:
            writer(observation[key], row[place])

    return write
