"""The journal of a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from skate.train.errors import CheckpointError
from skate.tune.journal import Journal


def test_what_is_written_is_read_back_also_what_json_does_not_know(tmp_path: Path) -> None:
    entries = [{"kind": "new", "id": "a", "config": {"lr": 0.1, "layers": (1, 2), "by number": {3: 4}}}]
    journal = Journal(tmp_path)
    journal.write(entries)
    journal.close()
    assert list(Journal(tmp_path).read()) == entries


def test_a_line_that_a_crash_cut_off_is_ignored_and_the_next_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"kind": "end", "id": "a"}\n{"kind": "en')
    journal = Journal(tmp_path)
    journal.write([{"kind": "end", "id": "b"}])
    journal.close()
    assert [entry["id"] for entry in Journal(tmp_path).read()] == ["a", "b"]


def test_a_full_disk_is_told_and_the_journal_goes_on_when_there_is_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal._file = open("/dev/full", "w")
    with pytest.raises(CheckpointError, match="the disk is full"):
        journal.write([{"kind": "end", "id": "a"}])
    journal.write([{"kind": "end", "id": "b"}])
    journal.close()
    assert [entry["id"] for entry in Journal(tmp_path).read()] == ["b"]
