from __future__ import annotations

from skate.timeline import chrome_events

ROWS = [
    (b"\x01" * 16, 0, "parent", 0, 1, 5, b"", b"", 1_000, 9_000, "", 1),
    (b"\x02" * 16, 0, "child", 0, 2, 6, b"", b"\x01" * 16, 3_000, 4_000, "ValueError: no", 5),
    (b"\x03" * 16, 1, "Actor.run", 2, 0, 7, b"\xaa" * 16, b"", 5_000, 0, "", 1),
]


def test_each_attempt_is_a_box_on_its_workers_row() -> None:
    events = list(chrome_events(ROWS, [{"worker_id": "00000005", "pid": 4211}]))
    boxes = {event["name"]: event for event in events if event["ph"] in "XB"}

    assert boxes["parent"]["tid"] == 5 and boxes["parent"]["dur"] == 8_000
    assert boxes["child"]["args"]["error"] == "ValueError: no" and boxes["child"]["cname"] == "terrible"
    assert boxes["Actor.run"]["ph"] == "B" and boxes["Actor.run"]["args"]["actor_id"] == "aa" * 16
    names = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert names == ["worker 5 (pid 4211)", "worker 6", "worker 7"]


def test_an_arrow_goes_from_parent_to_child() -> None:
    start, end = (event for event in chrome_events(ROWS) if event["ph"] in "sf")

    assert (start["tid"], end["tid"]) == (5, 6)
    assert start["ts"] <= end["ts"] == 3_000
    assert start["id"] == end["id"]


def test_rows_may_be_dicts() -> None:
    row = {"task_id": "ab", "name": "f", "kind": "task", "status": "FINISHED", "worker": 3, "start_time_ms": 1, "end_time_ms": 2}
    (box,) = (event for event in chrome_events([row]) if event["ph"] == "X")

    assert (box["ts"], box["dur"], box["args"]["state"]) == (1_000, 1_000, "finished")


def test_an_attempt_that_ended_is_shown_once() -> None:
    running = (*ROWS[0][:4], 0, *ROWS[0][5:9], 0, *ROWS[0][10:])
    boxes = [event for event in chrome_events([running, ROWS[0]]) if event["ph"] in "XB"]

    assert [box["ph"] for box in boxes] == ["X"]
