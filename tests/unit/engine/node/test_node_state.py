"""Task events and metrics, as the node keeps them."""

from __future__ import annotations

from skate.engine.node.state import Metrics, TaskEvents
from skate.engine.spec import messages as m, task_events as t


def batch(first: int, count: int) -> m.Events:
    rows: list[t.Row] = [
        (b"task%012d" % number, 0, "square", t.TASK, t.FINISHED, 2, b"", b"", 1, 2, "", 1)
        for number in range(first, first + count)
    ]
    return m.Events(t.encode_rows(rows), count)


def numbers(rows: list[t.Row]) -> list[int]:
    return [int(row[0][4:]) for row in rows]


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


def test_all_rows_become_one_list_without_decoding() -> None:
    events = TaskEvents()
    for start, count in ((0, 3), (3, 100), (103, 70_000)):  # One for each form of the header.
        events.add(batch(start, count))

    assert numbers(t.decode_rows(events.encoded())) == list(range(70_103))


def test_a_malformed_batch_hides_no_other() -> None:
    events = TaskEvents()
    events.add(batch(0, 2))
    events.add(m.Events(b"\xa3abc", 1))
    events.add(batch(2, 2))

    assert numbers(events.rows(10)) == [0, 1, 2, 3]
    assert numbers(t.decode_rows(events.encoded())) == [0, 1, 2, 3]


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
