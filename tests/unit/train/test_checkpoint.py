"""Checkpoints on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from skate.train import checkpoint as module
from skate.train.checkpoint import Checkpoint, CheckpointStore, add_files
from skate.train.config import CheckpointConfig
from skate.train.errors import CheckpointError


def _give(store: CheckpointStore, directory: Path, index: int, files: dict[str, str]) -> None:
    source = directory / f"source-{index}-{len(files)}"
    source.mkdir(exist_ok=True)
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    add_files(str(source), store.partial(index))


def test_the_files_of_several_workers_make_one_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "run", CheckpointConfig())
    store.open()
    _give(store, tmp_path, 0, {"model-0.bin": "a", "deep/x": "1"})
    _give(store, tmp_path, 0, {"model-1.bin": "b"})
    stored = store.commit(0, 7, {"loss": 0.5})
    assert sorted(path.name for path in stored.path.iterdir()) == [".skate.json", "deep", "model-0.bin", "model-1.bin"]
    assert (stored.path / "deep" / "x").read_text() == "1"


def test_what_was_not_completed_is_not_there_after_a_crash(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CheckpointConfig())
    store.open()
    _give(store, tmp_path, 0, {"a": "1"})
    store.commit(0, 1, {})
    _give(store, tmp_path, 1, {"a": "2"})

    again = CheckpointStore(tmp_path, CheckpointConfig())
    again.open()

    assert [one.index for one in again.stored] == [0]
    assert again.latest is not None
    assert again.latest.iteration == 1
    assert not again.partial(1).exists()


def test_only_the_best_and_the_latest_stay_on_disk(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="acc"))
    store.open()
    for index, accuracy in enumerate((0.5, 0.9, 0.2)):
        _give(store, tmp_path, index, {"a": "x"})
        store.commit(index, index + 1, {"acc": accuracy})
    assert sorted(path.name for path in tmp_path.glob("checkpoint_*")) == ["checkpoint_000001", "checkpoint_000002"]


def test_a_full_disk_is_told_with_the_numbers_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path / "run", CheckpointConfig())
    store.open()

    def no_room(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.shutil, "copyfile", no_room)
    with pytest.raises(CheckpointError, match=r"the disk is full.*it needs 3 bytes.*num_to_keep"):
        _give(store, tmp_path, 0, {"a": "abc"})
    assert not store.partial(0).exists()


def test_a_directory_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(CheckpointError, match="is not a directory"):
        Checkpoint.from_directory("/nowhere/at/all")


def test_metadata_stays_with_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = Checkpoint.from_directory(tmp_path)
    checkpoint.set_metadata({"epoch": 3})
    checkpoint.update_metadata({"kind": "best"})
    assert Checkpoint(tmp_path).get_metadata() == {"epoch": 3, "kind": "best"}


@pytest.mark.parametrize("refusals", [3, None])
def test_the_note_waits_for_workers_to_give_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int | None
) -> None:
    """Workers fill the disk with the next checkpoint while this one is being completed."""
    store = CheckpointStore(tmp_path / "run", CheckpointConfig())
    store.open()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "weights").write_text("x")
    add_files(str(tmp_path / "made"), store.partial(0))
    asked = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal asked
        asked += 1
        if refusals is None or asked <= refusals:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("skate.train.checkpoint._GIVES_BACK_S", 5.0 if refusals else 0.05)
    if refusals:
        assert store.commit(0, 1, {"loss": 1.0}).path.is_dir()
    else:
        with pytest.raises(CheckpointError, match="the disk is full"):
            store.commit(0, 1, {"loss": 1.0})
    assert asked > 1
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.name != ".skate.json"], "half-written files"
