"""Task events and metrics, as the node keeps them."""

from __future__ import annotations

from skate.engine.node.state import Metrics, TaskEvents
from skate.engine.spec import messages as m, task_events as t


def batch(first: int, count: int) -> m.Events:
    rows: list[t.Row] = [
        (b"\0\0\0\0\0\0\0\1" + number.to_bytes(8, "big"), 0, "square", t.TASK, t.FINISHED, 2, b"", b"", 1, 2, "", 1)
        for number in range(first, first + count)
    ]
    return m.Events(t.pack_attempts(rows, {"square": 7}), count, [(7, "square")])


def numbers(rows: list[t.Row]) -> list[int]:
    return [int.from_bytes(row[0][8:], "big") for row in rows]


def test_the_newest_rows_come_oldest_first() -> None:
    events = TaskEvents()
    for start in range(0, 100, 10):
        events.add(batch(start, 10))

    assert numbers(events.rows(25)) == list(range(75, 100))
    assert numbers(events.rows(1000)) == list(range(100))


def test_old_batches_are_dropped_and_counted() -> None:
    events = TaskEvents(rows_max=25)
    for start in range(0, 100, 10):
        events.add(batch(start, 10))

    assert events.count == 20
    assert events.dropped == 80
    assert numbers(events.rows(1000)) == list(range(80, 100))


def test_a_row_comes_back_with_its_name_times_and_error() -> None:
    events = TaskEvents(tag=b"tag!")
    task = b"tag!" + (3).to_bytes(4, "big") + (9).to_bytes(8, "big")
    long_us = 3 * 3600 * 1_000_000  # Longer than fits into a row in microseconds.
    row: t.Row = (task, 2, "square", t.ACTOR_CALL, t.FAILED, 5, b"actor", b"", 1_000, 1_000 + long_us, "ValueError: no", 3)
    events.actors[5] = b"actor"
    events.add(m.Events(t.pack_attempts([row], {"square": 7}), 1, [(7, "square")], [(task, 2, "square", "ValueError: no", b"")]))

    assert events.rows(1) == [row]


def test_what_is_no_row_is_left_out() -> None:
    events = TaskEvents()
    events.add(batch(0, 2))
    events.add(m.Events(b"\xa3abc", 1))
    events.add(batch(2, 2))

    assert numbers(events.rows(10)) == [0, 1, 2, 3]


def test_metrics_of_several_processes_add_up() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.add(
            [
                ["counter", "calls", "", {"a": "x"}, 2.0],
                ["gauge", "depth", "", {}, 7.0],
                ["histogram", "time", "", {}, [1.5, [1.0, 2.0], [1, 0, 2]]],
            ]
        )
    metrics.add([["counter", "calls", "", {"a": "y"}, 1.0], ["gauge", "depth", "", {}, 3.0]])

    assert metrics.rows() == [
        ["counter", "calls", "", {"a": "x"}, 4.0],
        ["gauge", "depth", "", {}, 3.0],
        ["histogram", "time", "", {}, [3.0, [1.0, 2.0], [2, 0, 4]]],
        ["counter", "calls", "", {"a": "y"}, 1.0],
    ]
