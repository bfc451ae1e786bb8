"""Frames stored once, stacked on reading: what is read is what was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skate.rl.frame_replay import FrameCoder, FrameReplay, is_stack
from skate.rl.replay import Assembler, Replay, Transitions
from skate.rl.rollout import Rollout
from skate.rl.spaces import ObservationShape

E, K, SIZE = 3, 4, 6


class Stream:
    """Rollouts of environments that stack random frames; a new episode begins with K equal frames, or with K new ones."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.obs = np.stack([self._start() for _ in range(E)])
        self.was_over = np.zeros(E, bool)

    def _start(self) -> Any:
        frames = self.rng.integers(0, 256, (K, SIZE, SIZE), np.uint8)
        return frames if self.rng.random() < 0.5 else np.repeat(frames[:1], K, 0)

    def rollout(self, steps: int) -> Rollout:
        obs = [self.obs]
        terminated = np.zeros((steps, E), bool)
        valid = np.ones((steps, E), bool)
        for t in range(steps):
            now = np.concatenate([obs[-1][:, 1:], self.rng.integers(0, 256, (E, 1, SIZE, SIZE), np.uint8)], 1)
            for e in np.flatnonzero(self.was_over):
                now[e] = self._start()
            valid[t] = ~self.was_over
            terminated[t] = valid[t] & (self.rng.random(E) < 0.15)
            self.was_over = terminated[t]
            obs.append(now)
        self.obs = obs[-1]
        actions = self.rng.integers(0, 3, (steps, E, 1))
        rewards = (self.rng.random((steps, E)) * valid).astype(np.float32)
        return Rollout(np.stack(obs), actions, rewards, terminated, np.zeros((steps, E), bool), valid)


@pytest.mark.parametrize("capacity", [120, 5000])
@pytest.mark.parametrize("prioritised", [False, True])
def test_the_same_rows_are_read_as_from_a_plain_memory(capacity: int, prioritised: bool) -> None:
    """Rewards are unique, so they name the row; streams wrap around the memory several times."""
    streams = [Stream(1), Stream(2)]
    coders = [FrameCoder(), FrameCoder()]
    plain, coded = ([Assembler(3, 0.9), Assembler(3, 0.9)] for _ in range(2))
    replay = FrameReplay(capacity, 0, streams=2, prioritised=prioritised)
    known: dict[float, tuple[Any, Any]] = {}
    for _ in range(40):
        for index, stream in enumerate(streams):
            rollout = stream.rollout(5)
            made = plain[index].add(rollout)
            assert made is not None
            known.update({float(r): (o, n) for r, o, n in zip(made[0].rewards, made[0].obs, made[0].next_obs, strict=True)})
            frames, numbered = coders[index].encode(rollout)
            replay.add_frames(frames, index)
            rows = coded[index].add(numbered)
            assert rows is not None
            replay.add_rows(rows[0], stream=index)
        rows_read, _, places = replay.sample(64)
        for reward, obs, next_obs in zip(rows_read.rewards, rows_read.obs, rows_read.next_obs, strict=True):
            expected = known[float(reward)]
            np.testing.assert_array_equal(obs, expected[0])
            np.testing.assert_array_equal(next_obs, expected[1])
        replay.update(places, np.ones(64))


def test_a_step_costs_one_frame() -> None:
    stream, coder = Stream(3), FrameCoder()
    rollouts = [stream.rollout(20) for _ in range(10)]
    count = sum(len(coder.encode(rollout)[0]) for rollout in rollouts)
    starts = sum(int((~rollout.valid).sum()) for rollout in rollouts)
    # The first K of each environment; one a step; K at a new start.
    assert count == E * K + (200 * E - starts) + starts * K


def test_rows_whose_frames_are_gone_are_not_drawn() -> None:
    """Each observation brings K new frames here: only a part of the rows has its frames still."""
    rng = np.random.default_rng(0)
    coder, assembler, replay = FrameCoder(), Assembler(1, 0.9), FrameReplay(400, 0, prioritised=True)
    for turn in range(40):
        obs = rng.integers(0, 256, (11, 1, K, SIZE, SIZE), np.uint8)
        over = np.zeros((10, 1), bool)
        rewards = np.arange(turn * 10, turn * 10 + 10, dtype=np.float32)[:, None]
        rollout = Rollout(obs, np.zeros((10, 1, 1), np.int64), rewards, over, over, ~over)
        frames, numbered = coder.encode(rollout)
        replay.add_frames(frames)
        made = assembler.add(numbered)
        assert made is not None
        replay.add_rows(made[0])
    rows, _, _ = replay.sample(256)
    kept = (400 * 1.25 + 64) / K
    assert rows.rewards.min() >= 400 - kept - 10
    with pytest.raises(RuntimeError, match="frames_once=False"):
        replay.add_frames(np.zeros((564, SIZE, SIZE), np.uint8))
        replay.sample(8)


def test_which_observations_are_stacks() -> None:
    assert is_stack(ObservationShape((4, 84, 84), "uint8"))
    for shape, dtype in (((84, 84, 3), "uint8"), ((1, 84, 84), "uint8"), ((4, 84, 84), "float32"), ((4,), "uint8")):
        assert not is_stack(ObservationShape(shape, dtype))


def test_a_plain_memory_gives_what_it_was_given() -> None:
    rollout = Stream(5).rollout(30)
    made = Assembler(1, 0.9).add(replace(rollout))
    assert made is not None
    replay = Replay(1000, 0)
    replay.add(made[0])
    rows, _, places = replay.sample(32)
    np.testing.assert_array_equal(rows.obs, made[0].obs[places])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_stays_what_it_is_while_others_are_drawn(threads: int) -> None:
    """Room is used again only when nobody has any of it, be it by one of its arrays, a slice or a tensor."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        frames = np.random.default_rng(0).integers(0, 256, (300, 6, 5), np.uint8)
        numbers = np.arange(256)[:, None] + np.arange(4)
        column = np.ones(256, np.float32)
        replay = FrameReplay(256, 0)
        replay.add_frames(frames)
        replay.add_rows(Transitions(numbers, np.arange(256)[:, None], column, numbers + 1, column))
        kept = []
        for turn in range(12):
            rows, _, _ = replay.sample(16)
            first = rows.actions[:, 0]
            expected = frames[first[:, None] + np.arange(4)], frames[first[:, None] + 1 + np.arange(4)]
            np.testing.assert_array_equal(rows.obs, expected[0])
            np.testing.assert_array_equal(rows.next_obs, expected[1])
            held = (rows.obs, rows.next_obs[3:5], torch.from_numpy(rows.obs))[turn % 3]
            wanted = (expected[0], expected[1][3:5], expected[0])[turn % 3]
            kept.append((held, wanted.copy()))
            del rows, held
            if turn == 0:
                assert (
                    len({replay.sample(16)[0].obs.__array_interface__["data"][0] for _ in range(3)}) == 1
                )  # Nobody keeps these.
            if turn % 4 == 3:
                for one, what in kept:
                    np.testing.assert_array_equal(np.asarray(one), what)
                del one, what
                kept.clear()
    finally:
        torch.set_num_threads(before)
