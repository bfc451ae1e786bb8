"""What workers print: cutting, labels, and what is kept."""

from __future__ import annotations

from hypothesis import given, strategies as st

from skate.config import LOG_BYTES_KEPT_PER_WORKER, LOG_LINES_KEPT_PER_WORKER
from skate.engine.node.logs import STDERR, STDOUT, KeptLines, LogStream
from skate.engine.spec.boot import LOG_MARK


def lines_of(blocks: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(label, line) for label, block in blocks for line in block.split(b"\n")]


def test_whole_lines_are_handed_on_and_the_rest_waits() -> None:
    stream = LogStream()

    assert stream.feed(b"one\ntwo\nthr") == [("", b"one\ntwo")]
    assert stream.feed(b"ee\n") == [("", b"three")]
    assert stream.finish() == []


def test_the_last_line_needs_no_newline() -> None:
    stream = LogStream()
    stream.feed(b"done\nbye")

    assert stream.finish() == [("", b"bye")]


def test_a_mark_labels_what_follows_and_is_taken_out() -> None:
    stream = LogStream()

    blocks = stream.feed(b"a\n" + LOG_MARK + b"square\nb\nc\n" + LOG_MARK + b"cube\nd\n")

    assert lines_of(blocks) == [("", b"a"), ("square", b"b"), ("square", b"c"), ("cube", b"d")]
    assert stream.feed(b"e\n") == [("cube", b"e")]


def test_a_mark_behind_an_unfinished_line_ends_that_line() -> None:
    stream = LogStream()

    assert lines_of(stream.feed(b"no newline" + LOG_MARK + b"next\nx\n")) == [("", b"no newline"), ("next", b"x")]


def test_empty_lines_are_kept() -> None:
    assert LogStream().feed(b"\n\na\n") == [("", b"\n\na")]


def test_an_endless_line_is_cut_rather_than_gathered() -> None:
    stream = LogStream()
    received = b""
    for _ in range(100):
        for _, block in stream.feed(b"x" * 10_000):
            received += block
    for _, block in stream.finish():
        received += block

    assert received == b"x" * 1_000_000


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(1, 7)))
def test_how_the_bytes_arrive_does_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    text = b"".join(line.replace(b"\n", b" ").replace(b"\x01", b"") + b"\n" for line in lines)
    whole = lines_of(LogStream().feed(text)) if text else []

    stream = LogStream()
    pieces: list[tuple[str, bytes]] = []
    start = 0
    for cut in [*cuts, len(text)]:
        if start < len(text):
            pieces += lines_of(stream.feed(text[start : start + cut]))
            start += cut
    assert pieces + lines_of(stream.finish()) == whole


def test_the_last_lines_are_kept_in_order() -> None:
    kept = KeptLines()
    for number in range(3 * LOG_LINES_KEPT_PER_WORKER):
        kept.keep(STDOUT, "square", b"line %d" % number)

    last = kept.last(LOG_LINES_KEPT_PER_WORKER)

    assert len(last) == LOG_LINES_KEPT_PER_WORKER
    assert last[-1] == (STDOUT, "square", f"line {3 * LOG_LINES_KEPT_PER_WORKER - 1}")
    assert kept.last(2) == last[-2:]


def test_what_is_kept_has_a_limit_in_bytes() -> None:
    kept = KeptLines()
    for _ in range(100):
        kept.keep(STDOUT, "", b"y" * 60_000)

    assert sum(len(line) for _, _, line in kept.last(10**6)) <= LOG_BYTES_KEPT_PER_WORKER


def test_tail_is_of_one_stream() -> None:
    kept = KeptLines()
    kept.keep(STDOUT, "", b"out")
    kept.keep(STDERR, "", b"err 1\nerr 2\nerr 3")

    assert kept.tail(STDERR, 2) == ["err 2", "err 3"]
