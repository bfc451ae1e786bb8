"""When a run counts as live: it decides when a UI that a program has started ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from skate.dashboard.server import Ui


class Source:
    alive = True

    def is_alive(self) -> bool:
        return self.alive


def test_a_run_is_live_as_long_as_its_session(tmp_path: Path) -> None:
    source = Source()
    ui = Ui(str(tmp_path / "run"), source, "")  # No task has run: there is no run file yet.
    assert ui.is_live(ui.run_directory)
    source.alive = False
    assert not ui.is_live(ui.run_directory)


def test_a_run_that_tells_its_end_is_not_live(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"ended_s": 5}))
    assert not Ui(str(tmp_path), Source(), "").is_live(str(tmp_path))


def test_a_past_run_is_not_live(tmp_path: Path) -> None:
    assert not Ui(str(tmp_path), None, "").is_live(str(tmp_path))
