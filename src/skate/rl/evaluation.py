"""How good a policy is: whole episodes, in environments of its own, with seeds that training has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from skate.rl.env_runner import RunnerSpec, play, seeds_unseen
from skate.rl.spaces import Array


@dataclass(frozen=True)
class Evaluation:
    """Every episode's return and length; nothing is left out."""

    returns: list[float]
    lengths: list[int]
    seed: int

    @property
    def mean(self) -> float:
        return fmean(self.returns)

    @property
    def std(self) -> float:
        return pstdev(self.returns)

    def __str__(self) -> str:
        low, high = min(self.returns), max(self.returns)
        return f"return {self.mean:.2f} ± {self.std:.2f} over {len(self.returns)} episodes (from {low:.1f} to {high:.1f}; seed {self.seed})"


def evaluate(spec: RunnerSpec, weights: Array, episodes: int, seed: int | None, *, greedy: bool = True) -> Evaluation:
    """
    Args:
        spec: Of the training's runners; the number of environments and the seed are chosen here.
        seed: None: one that follows from the training's and that no runner has.
    """
    seed = seeds_unseen(spec.seed) if seed is None else seed
    own = replace(spec, num_envs=min(episodes, 100), seed=seed)
    returns, lengths = play(own, weights, episodes, greedy=greedy)
    return Evaluation(returns, lengths, seed)
