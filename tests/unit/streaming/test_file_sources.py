"""Files are read whole and once, wherever splits begin and wherever a run goes on."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings, strategies as st

from skate.streaming import RecordError, Stream, TextSink
from skate.streaming.sources import text_files
from skate.streaming.sources.csv_files import CsvFiles, row_of
from skate.streaming.sources.parquet_files import ParquetFiles
from skate.streaming.sources.splits import SplitReader
from skate.streaming.sources.text_files import TextFiles
from tests.unit.streaming.reading import read_all

LINES = [f"line {i} " + "x" * (i % 37) for i in range(500)]


@settings(deadline=None, max_examples=60)  # The machine may be busy.
@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12), max_size=30),
    split_bytes=st.integers(1, 60),
    batch_bytes=st.integers(1, 40),
    parallelism=st.integers(1, 3),
    interrupt_after=st.one_of(st.none(), st.integers(1, 3)),
    has_last_end=st.booleans(),
    line_bytes=st.integers(1, 20),
)
def test_every_line_is_read_once_wherever_splits_and_recoveries_fall(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str], split_bytes: int, batch_bytes: int, parallelism: int, interrupt_after: int | None, has_last_end: bool,
    line_bytes: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("text") / "a.txt"
    text = "\n".join(lines) + ("\n" if has_last_end and lines else "")
    path.write_bytes(text.encode())
    expected = text.split("\n")
    if not expected[-1]:
        expected.pop()
    source = TextFiles(path, split_bytes=split_bytes, batch_bytes=batch_bytes)
    with mock.patch.object(text_files, "LINE_BYTES", line_bytes):
        assert sorted(read_all(source, parallelism, interrupt_after=interrupt_after)) == sorted(expected)


def test_a_split_is_read_little_beyond_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a line of text\n" * 20_000)
    source = TextFiles(path, blocks=True, split_bytes=20_000, batch_bytes=1 << 18)
    reader = source.open(source.splits()[1], None)
    batch = reader.read()
    assert batch is not None
    assert reader.is_done
    assert 19_900 < len(batch.values[0]) < 20_100
    assert reader.file.tell() < 2 * 20_000 + text_files.LINE_BYTES + 1  # type: ignore[attr-defined]
    reader.close()


def test_a_split_without_lines_does_not_end_the_reading(tmp_path: Path) -> None:
    # One long line spans whole splits, whose readers are done at once: the splits behind them were never read.
    path = tmp_path / "a.txt"
    path.write_text("x" * 1000 + "\n" + "last\n")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "c.txt").write_text("more\n")
    assert read_all(TextFiles(tmp_path, split_bytes=100)) == ["x" * 1000, "last", "more"]


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("interrupt_after", [None, 1])
def test_compressed_files(tmp_path: Path, ending: str, interrupt_after: int | None) -> None:
    data = ("\n".join(LINES) + "\n").encode()
    path = tmp_path / f"a.txt{ending}"
    if ending == ".zst":
        import pyarrow as pa

        with pa.output_stream(path, compression="zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes({"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[ending](data))
    assert read_all(TextFiles(path, batch_bytes=1000), interrupt_after=interrupt_after) == LINES


def test_blocks_are_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(LINES) + "\n")
    blocks = read_all(TextFiles(tmp_path / "a.txt", blocks=True, split_bytes=777, batch_bytes=200))
    assert all(block.endswith(b"\n") for block in blocks)
    assert b"".join(blocks).decode().splitlines() == LINES


def test_lines_end_as_on_windows_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    assert read_all(TextFiles(tmp_path / "a.txt")) == ["one", "two"]


def test_a_pattern_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file, directory or pattern: .*missing"):
        Stream.from_text(tmp_path / "missing*").to_list().run(in_process=True)


def test_a_growing_directory_is_read_on(tmp_path: Path) -> None:
    source = TextFiles(tmp_path, watch=True)
    reader = SplitReader(source, source.splits(), 0, 1, {})
    assert reader.read() is None
    (tmp_path / "a.log").write_text("one\ntw")
    assert reader.read().values == ["one"]  # type: ignore[union-attr]
    assert reader.read() is None  # The last line may go on.
    with (tmp_path / "a.log").open("a") as file:
        file.write("o\nthree\n")
    (tmp_path / "b.log").write_text("four\n")
    (tmp_path / ".hidden").write_text("not yet\n")
    values = [value for _ in range(4) if (batch := reader.read()) for value in batch.values]
    assert sorted(values) == ["four", "three", "two"]
    positions = dict(reader.positions)
    reader.close()
    with (tmp_path / "b.log").open("a") as file:
        file.write("five\n")
    again = SplitReader(source, source.splits(), 0, 1, positions)
    values = [value for _ in range(4) if (batch := again.read()) for value in batch.values]
    assert values == ["five"]
    assert not again.has_ended
    again.close()


def test_growing_files_belong_to_one_subtask_each(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.log").write_text(f"{i}\n")
    source = TextFiles(tmp_path, watch=True)
    values = []
    for index in range(3):
        reader = SplitReader(source, source.splits(), index, 3, {})
        values += [value for _ in range(25) if (batch := reader.read()) for value in batch.values]
        reader.close()
    assert sorted(map(int, values)) == list(range(20))


@pytest.mark.parametrize("interrupt_after", [None, 1])
def test_csv_rows_may_span_lines(tmp_path: Path, interrupt_after: int | None) -> None:
    path = tmp_path / "a.csv"
    path.write_text('name,note\nann,"two\nlines, and a comma"\n\nbob,plain\n')
    rows = [row_of(raw) for raw in read_all(CsvFiles(path), interrupt_after=interrupt_after)]
    assert rows == [{"name": "ann", "note": "two\nlines, and a comma"}, {"name": "bob", "note": "plain"}]


def test_csv_of_many_batches_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(("n;m\n" + "".join(f"{i};{-i}\n" for i in range(10_000))).encode()))
    rows = [row_of(raw) for raw in read_all(CsvFiles(path, delimiter=";"), interrupt_after=1)]
    assert [int(row["n"]) for row in rows] == list(range(10_000))


def test_a_csv_row_of_another_length_is_a_bad_record(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n4,5\n")
    with pytest.raises(RecordError, match=r"row 2 has 1 fields, the header has 2") as caught:
        Stream.from_csv(tmp_path / "a.csv").to_list().run(in_process=True)
    assert "a.csv" in caught.value.position
    rows = Stream.from_csv(tmp_path / "a.csv", on_error="skip").to_list().run(in_process=True)
    assert rows == [{"a": "1", "b": "2"}, {"a": "4", "b": "5"}]


def test_malformed_json_lines_become_dead_letters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n\n{"n": \n{"n": 3}\n')
    letters = TextSink(tmp_path / "letters")
    records = Stream.from_json_lines(tmp_path / "a.jsonl", on_error=letters).to_list().run(in_process=True)
    assert records == [{"n": 1}, {"n": 3}]
    (letter,) = map(json.loads, (tmp_path / "letters" / "part-00000").read_text().splitlines())
    assert letter["record"] == repr('{"n": ')
    assert "JSONDecodeError" in letter["error"]
    assert "a.jsonl, bytes 0 to" in letter["position"]


@pytest.mark.parametrize("interrupt_after", [None, 1])
def test_parquet_rows_columns_and_tables(tmp_path: Path, interrupt_after: int | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"n": list(range(10_000)), "s": [str(i) for i in range(10_000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=6000)
    rows = read_all(ParquetFiles(tmp_path / "a.parquet"), 2, interrupt_after=interrupt_after)
    assert sorted(rows, key=lambda row: row["n"]) == table.to_pylist()
    some = read_all(ParquetFiles(tmp_path / "a.parquet", columns=["s"]), interrupt_after=interrupt_after)
    assert some[0] == {"s": "0"}
    tables = read_all(ParquetFiles(tmp_path / "a.parquet", frames=True), interrupt_after=interrupt_after)
    assert pa.concat_tables(tables).equals(table)


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    # Both would have had the same position: part of it was lost or read again after a recovery.
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(ValueError, match=r"a\.txt is named twice; name it once"):
        TextFiles([tmp_path / "a.txt", tmp_path]).splits()
