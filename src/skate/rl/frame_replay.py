"""Replay of stacked images that stores each frame once, and stacks them when they are read.

A stack of four 84×84 frames is 28 kB, and a transition holds two: 57 kB. But an observation adds only one frame, 7 kB, to what the one before it had.

    FrameCoder    beside the environments:   observations (T + 1, E, K, H, W)  →  new frames (F, H, W), and the numbers of each one's K frames
    FrameReplay   takes the frames, and transitions whose observations are numbers;  gives transitions whose observations are stacks

What two observations share is compared, not assumed: whatever an environment does at the start of an episode, what is read is what was written.
Frames lie in one circle for each stream (each runner). A transition whose frames have been written over is not drawn any more.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from skate.rl.replay import Replay, Transitions
from skate.rl.rollout import Rollout
from skate.rl.spaces import Array, ObservationShape

_PROBE = SimpleNamespace(room=np.empty(1))
_UNSHARED = sys.getrefcount(_PROBE.room)  # Of an array that one attribute names: Pythons count the call itself differently.
_SLACK = 1.25  # Frames kept for each transition: the starts of episodes bring K at once.


def is_stack(observations: ObservationShape) -> bool:
    """Whether observations look like stacked frames: bytes, and the short axis is the first."""
    return (
        observations.is_image and observations.dtype == "uint8" and 1 < observations.shape[0] <= min(8, *observations.shape[1:])
    )


class FrameCoder:
    """Replaces the stacks of a stream of rollouts by numbers of frames, counted from the stream's start."""

    def __init__(self) -> None:
        self._written = 0
        self._last: tuple[Array, Array] | None = None  # The last rollout's last observations, and their numbers.

    def encode(self, rollout: Rollout) -> tuple[Array, Rollout]:
        """The new frames, and the rollout with (T + 1, E, K) numbers for observations."""
        rows, envs, stack = rollout.obs.shape[:3]
        numbers = np.empty((rows, envs, stack), np.int64)
        parts: list[Array] = []
        for t in range(rows):
            now = rollout.obs[t]
            before, known = (rollout.obs[t - 1], numbers[t - 1]) if t else self._last or (None, None)
            if t == 0 and before is not None and known is not None and np.array_equal(before, now):
                numbers[0] = known  # A rollout begins with what the last one ended in.
                continue
            follows = np.zeros(envs, bool) if before is None else (before[:, 1:] == now[:, :-1]).reshape(envs, -1).all(1)
            for e in range(envs):
                new = 1 if follows[e] else stack
                parts.append(now[e, stack - new :])
                if follows[e] and known is not None:
                    numbers[t, e, :-1] = known[e, 1:]
                numbers[t, e, stack - new :] = np.arange(self._written, self._written + new)
                self._written += new
        self._last = (rollout.obs[-1].copy(), numbers[-1])
        frames = np.concatenate(parts) if parts else np.empty((0, *rollout.obs.shape[3:]), rollout.obs.dtype)
        return frames, replace(rollout, obs=numbers)


class FrameReplay(Replay):
    """
    Args:
        streams: How many coders write here; each has a circle of its own.
    """

    def __init__(self, capacity: int, seed: int, *, streams: int = 1, prioritised: bool = False, alpha: float = 0.6) -> None:
        super().__init__(capacity, seed, prioritised=prioritised, alpha=alpha)
        self._circle = int(capacity * _SLACK) // streams + 64
        self._streams = streams
        self._written = np.zeros(streams, np.int64)
        self._frames: Array | None = None
        self._room: Array | None = None

    def add_frames(self, frames: Array, stream: int = 0) -> None:
        """Before the transitions that name them."""
        if self._frames is None:
            self._frames = np.zeros((self._streams * self._circle, *frames.shape[1:]), frames.dtype)
        numbers = self._written[stream] + np.arange(len(frames))[-self._circle :]
        self._frames[stream * self._circle + numbers % self._circle] = frames[-self._circle :]
        self._written[stream] += len(frames)

    def add_rows(self, rows: Transitions, priorities: Array | None = None, stream: int = 0) -> int:
        """As `add`, of rows whose observations are numbers of this stream's frames."""
        # The stream travels in the high bits: one column says all.
        tagged = replace(rows, obs=rows.obs + (stream << 48), next_obs=rows.next_obs + (stream << 48))
        return self.add(tagged, priorities)

    def _draw(self, batch: int) -> Array:
        places = super()._draw(batch)
        assert self._columns is not None
        for _ in range(100):
            oldest = self._columns.obs[places].min(1)
            stale = (oldest & ((1 << 48) - 1)) < self._written[oldest >> 48] - self._circle
            if not stale.any():
                return places
            self._forget(places[stale])
            if self._tree is not None and self._tree.total <= 0.0:
                break
            places[stale] = super()._draw(int(stale.sum()))
        raise RuntimeError(
            f"frames of most of the {self.size:,} transitions have been written over: these observations share no frames; "
            "set frames_once=False"
        )

    def _read(self, places: Array) -> Transitions:
        rows = super()._read(places)
        stacks = self._stacked(np.concatenate([rows.obs, rows.next_obs]))
        return replace(rows, obs=stacks[: len(places)], next_obs=stacks[len(places) :])

    def _stacked(self, numbers: Array) -> Array:
        """(N, K) numbers of frames as (N, K, H, W) stacks."""
        assert self._frames is not None
        slots = ((numbers >> 48) * self._circle + (numbers & ((1 << 48) - 1)) % self._circle).ravel()
        stacks = self._room_for(len(slots))
        torch = sys.modules.get("torch")  # Not where nobody learns: a shard of Ape-X need not wait for it.
        if torch is not None and torch.get_num_threads() > 1:
            torch.index_select(torch.from_numpy(self._frames), 0, torch.from_numpy(slots), out=torch.from_numpy(stacks))
        else:
            self._frames.take(slots, axis=0, out=stacks, mode="clip")  # No slot is out of range: "raise" would copy once more.
        return stacks.reshape(*numbers.shape, *self._frames.shape[1:])

    def _room_for(self, count: int) -> Array:
        """An array of so many frames: the last one again, if nobody has any of it any more. A batch of 512 transitions is 29 MB, and memory that
        comes fresh from the system takes longer than the frames (190 batches a second)."""
        assert self._frames is not None
        if self._room is None or len(self._room) != count or sys.getrefcount(self._room) > _UNSHARED:
            self._room = np.empty((count, *self._frames.shape[1:]), self._frames.dtype)
        return self._room[:]


def make_replay(
    observations: ObservationShape,
    capacity: int,
    seed: int,
    *,
    frames_once: bool,
    streams: int = 1,
    prioritised: bool,
    alpha: float,
) -> Replay:
    """A memory that suits the observations."""
    if frames_once and is_stack(observations):
        return FrameReplay(capacity, seed, streams=streams, prioritised=prioritised, alpha=alpha)
    return Replay(capacity, seed, prioritised=prioritised, alpha=alpha)
