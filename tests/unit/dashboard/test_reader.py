"""`Tail`: a reader that goes on where it stopped, across segments that come and go."""

from __future__ import annotations

from pathlib import Path

from skate import run_format as f
from skate.dashboard.reader import BLOBS, ROWS, STRINGS, Tail, list_runs, read_blob


def row(number: int) -> bytes:
    return f.pack_row(f.TASK, f.FINISHED, 0, 2, 1e6 * number, 1, 1, number, 10)


def append(directory: Path, name: str, data: bytes) -> None:
    directory.mkdir(exist_ok=True)
    with (directory / name).open("ab") as file:
        file.write(data)


def numbers(tail: Tail) -> list[int]:
    data = b"".join(piece.data for piece in steps(tail) if piece.kind == ROWS)
    return [int(f.unpack_row(data, offset).number) for offset in range(0, len(data), f.ROW_BYTES)]


def steps(tail: Tail) -> list[object]:
    found = []
    while pieces := tail.step():
        found += pieces
    return found


def test_a_run_that_does_not_exist_yet_is_read_when_it_comes(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path / "run"))
    assert tail.step() == []
    append(tmp_path / "run", f.rows_name(0), row(1))
    assert numbers(tail) == [1]


def test_half_a_row_is_left_for_the_next_time(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path))
    append(tmp_path, f.rows_name(0), row(1) + row(2)[:20])
    assert numbers(tail) == [1]
    append(tmp_path, f.rows_name(0), row(2)[20:])
    assert numbers(tail) == [2]


def test_strings_and_blobs_come_before_the_rows_that_name_them(tmp_path: Path) -> None:
    append(tmp_path, f.STRINGS_NAME, b"text")
    append(tmp_path, f.blobs_name(0), b"blob")
    append(tmp_path, f.rows_name(0), row(1))
    assert [piece.kind for piece in Tail(str(tmp_path)).step()] == [STRINGS, BLOBS, ROWS]


def test_segments_follow_each_other(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path))
    append(tmp_path, f.rows_name(0), row(1))
    assert numbers(tail) == [1]
    append(tmp_path, f.rows_name(0), row(2))
    append(tmp_path, f.rows_name(1), row(3))
    append(tmp_path, f.rows_name(2), row(4))
    assert numbers(tail) == [2, 3, 4]


def test_segments_that_were_rotated_away_are_passed_over(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path))
    append(tmp_path, f.rows_name(0), row(1))
    assert numbers(tail) == [1]
    (tmp_path / f.rows_name(0)).unlink()
    append(tmp_path, f.rows_name(5), row(6))
    assert numbers(tail) == [6]


def test_a_late_reader_starts_at_the_oldest_that_is_left(tmp_path: Path) -> None:
    append(tmp_path, f.rows_name(3), row(4))
    append(tmp_path, f.rows_name(4), row(5))
    assert numbers(Tail(str(tmp_path))) == [4, 5]


def test_of_old_blobs_only_so_much_is_sent(tmp_path: Path) -> None:
    append(tmp_path, f.blobs_name(0), b"a" * 1000)
    append(tmp_path, f.blobs_name(1), b"b" * 100)
    pieces = Tail(str(tmp_path), blob_history_bytes=150).step()
    assert [(piece.segment, piece.offset, piece.data[:1]) for piece in pieces] == [(0, 950, b"a"), (1, 0, b"b")]
    assert read_blob(str(tmp_path), 0, 10, 5) == b"aaaaa"
    assert read_blob(str(tmp_path), 9, 0, 5) == b""


def test_runs_are_listed_newest_first_and_broken_ones_left_out(tmp_path: Path) -> None:
    for name, text in (
        ("old", '{"format": 1, "started_s": 1}'),
        ("new", '{"format": 1, "started_s": 2}'),
        ("broken", "{"),
        ("foreign", '{"format": 99}'),
    ):
        append(tmp_path / name, f.RECORD_NAME, text.encode())
    assert [run["id"] for run in list_runs(str(tmp_path))] == ["new", "old"]
    assert list_runs(str(tmp_path / "missing")) == []
