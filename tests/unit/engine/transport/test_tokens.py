"""Claim tokens: each is read once, in order, by the worker or by the caller who takes it back."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from skate.config import WINDOW_CALLS_MAX
from skate.engine.transport.tokens import claim, offer, take_back, token_pipe

_F_SETPIPE_SZ = 1031


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = token_pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def test_tokens_are_claimed_in_order(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    offer(write_fd, [7])
    offer(write_fd, [8, 9])
    assert [claim(read_fd) for _ in range(4)] == [7, 8, 9, -1]


def test_the_oldest_are_taken_back_first(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    offer(write_fd, list(range(5000)))
    assert take_back(read_fd, 3) == [0, 1, 2]
    assert claim(read_fd) == 3
    assert take_back(read_fd) == list(range(4, 5000))
    assert take_back(read_fd) == [] and claim(read_fd) == -1


def test_numbers_wrap_at_32_bits(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    offer(write_fd, [2**32 - 1])
    offer(write_fd, [2**32, 2**32 + 1])
    assert [claim(read_fd) for _ in range(3)] == [2**32 - 1, 0, 1]


def test_a_caller_that_ended_leaves_its_tokens_and_then_none(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = token_pipe()
    offer(write_fd, [1])
    os.close(write_fd)
    assert claim(read_fd) == 1
    assert claim(read_fd) == -1
    assert take_back(read_fd) == []
    os.close(read_fd)


def test_a_window_of_calls_fits_into_the_smallest_pipe(pipe: tuple[int, int]) -> None:
    """The kernel gives a user with a thousand pipes two pages for each further one. `offer` does not expect a full pipe."""
    read_fd, write_fd = pipe
    assert fcntl.fcntl(write_fd, _F_SETPIPE_SZ, 8192) == 8192
    seqs = iter(range(1_000_000))
    offer(write_fd, [next(seqs) for _ in range(WINDOW_CALLS_MAX)])
    expected = 0
    for step in range(3000):  # The window moves over the borders of pages.
        count = step % 7 + 1
        assert [claim(read_fd) for _ in range(count)] == list(range(expected, expected + count))
        expected += count
        offer(write_fd, [next(seqs) for _ in range(count)])
    assert len(take_back(read_fd)) == WINDOW_CALLS_MAX


def test_two_readers_never_get_the_same_token_nor_half_of_one(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    duplicate = os.dup(read_fd)
    total = 20_000
    claimed: list[int] = []
    taken: list[int] = []

    def work() -> None:
        while len(claimed) + len(taken) < total:
            seq = claim(read_fd)
            if seq >= 0:
                claimed.append(seq)

    worker = threading.Thread(target=work)
    worker.start()
    for start in range(0, total, 100):
        offer(write_fd, list(range(start, start + 100)))
        taken += take_back(duplicate, 30)
    worker.join(timeout=30)
    os.close(duplicate)
    assert sorted(claimed + taken) == list(range(total))
    assert claimed == sorted(claimed)


def test_a_token_is_four_bytes_little_endian(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    offer(write_fd, [0x01020304])
    assert os.read(read_fd, 8) == struct.pack("<I", 0x01020304)
