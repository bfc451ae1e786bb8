"""A sum tree over NumPy: draws in proportion to priorities, many at a time.

Each node has 16 children, not two: a batch goes down a million leaves in two gathered steps and one search, since the level with at most 8,192 nodes
is searched as one cumulative sum. What changes is summed up from the leaves, never adjusted: rounding does not pile up.

    level 2 (top)   ▏▏▏▏ …            searchsorted on its cumulative sum
    level 1         16 each           gather, cumulate, compare
    level 0         the priorities    gather, cumulate, compare
"""

from __future__ import annotations

import numpy as np

from skate.rl.spaces import Array

_FAN = 16
_TOP_MAX = 8192


class SumTree:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        size = -(-capacity // _FAN) * _FAN
        self._levels = [np.zeros(size)]
        while size > _TOP_MAX:
            nodes = size // _FAN
            size = -(-nodes // _FAN) * _FAN
            self._levels.append(np.zeros(size))

    @property
    def total(self) -> float:
        return float(self._levels[-1].sum())

    @property
    def leaves(self) -> Array:
        return self._levels[0][: self.capacity]

    def set(self, indices: Array, values: Array) -> None:
        """Where an index comes twice, the last value counts."""
        self._levels[0][indices] = values
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            indices = indices // _FAN
            level[indices] = below.reshape(-1, _FAN)[indices].sum(1)

    def find(self, targets: Array) -> Array:
        """For each target from 0 up to `total`: the leaf in whose share it falls."""
        top = self._levels[-1]
        ends = top.cumsum()
        nodes = np.minimum(ends.searchsorted(targets, side="right"), len(top) - 1)
        rest = targets - (ends[nodes] - top[nodes])
        for level in self._levels[-2::-1]:
            shares = level.reshape(-1, _FAN)[nodes]
            ends = shares.cumsum(1)
            # Rounding may put a target at the very end: it then belongs to the last child that has a share.
            child = np.minimum((ends <= rest[:, None]).sum(1), _FAN - 1)
            rows = np.arange(len(nodes))
            rest = rest - (ends[rows, child] - shares[rows, child])
            nodes = nodes * _FAN + child
        empty = self._levels[0][nodes] <= 0
        if empty.any():
            self._step_back(nodes, empty)
        return nodes

    def _step_back(self, nodes: Array, empty: Array) -> None:
        filled = np.flatnonzero(self._levels[0] > 0)
        if len(filled) == 0:
            raise ValueError("nothing can be drawn: all priorities are 0")
        places = np.maximum(filled.searchsorted(nodes[empty]) - 1, 0)
        nodes[empty] = filled[places]

    def sample(self, batch: int, rng: np.random.Generator) -> Array:
        """One draw from each of `batch` equal strata (Schaul et al. 2016, appendix B.2.1)."""
        return self.find((np.arange(batch) + rng.random(batch)) * (self.total / batch))
