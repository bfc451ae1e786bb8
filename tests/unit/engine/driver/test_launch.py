"""What a node process is started with. (That it starts is an integration test.)"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from skate.engine.driver import launch


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -1.5, 'quote " and \\ and ünï \x00 \n', [1, [2]], {"a": {"b": [None, "c"]}}, {}, [], {1: 2}],
)
def test_settings_are_json(value: object) -> None:
    expected = {"1": 2} if value == {1: 2} else value
    assert json.loads(launch.to_json(value)) == expected


def test_settings_are_plain_values() -> None:
    with pytest.raises(TypeError, match="plain values"):
        launch.to_json(object())


def test_the_import_path_has_no_relative_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "src", "/abs", "/abs"])
    assert launch.import_path() == [os.path.join(tmp_path, ""), str(tmp_path / "src"), "/abs"]


def test_flags_of_this_interpreter_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["error::DeprecationWarning"])
    monkeypatch.setattr(sys, "_xoptions", {"dev": True, "importtime": "2"})
    flags = launch.interpreter_flags()
    assert "-Werror::DeprecationWarning" in flags
    assert flags[-4:] == ["-X", "dev", "-X", "importtime=2"]


def test_other_systems_are_told_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RuntimeError, match=r"Linux only.*darwin.*inline"):
        launch.check_platform()


def test_an_interpreter_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"sys\.executable"):
        launch.check_platform()


def test_an_interpreter_that_cannot_be_started_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(RuntimeError, match="/no/such/python"):
        launch.spawn_node({})
    assert list((tmp_path / "skate").iterdir()) == []
