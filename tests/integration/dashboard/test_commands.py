"""The commands that read runs: after a real program, within 80 columns, and for scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import skate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKATE_RUNS_DIR", str(folder))
        skate.init(num_cpus=2, log_to_driver=False)

        @skate.remote
        def prep(path: str) -> str:
            return {"a": "x"}[path]

        @skate.remote
        def train(data: str) -> str:
            skate.report({"loss": 0.5}, step=1)
            return data

        @skate.remote
        class Model:
            def fit(self) -> int:
                return 1

        assert skate.get([train.remote(prep.remote("a")), Model.remote().fit.remote()]) == ["x", 1]
        with pytest.raises(KeyError):
            skate.get(train.remote(prep.remote("b")))
        skate.shutdown()
        yield folder


def command(folder: Path, *words: str) -> str:
    environ = {**os.environ, "SKATE_RUNS_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "skate.cli.main", *words], env=environ, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tasks_and_queries(folder: Path) -> None:
    text = command(folder, "tasks")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Model.fit-" in text
    failed = json.loads(command(folder, "tasks", "fn:prep", "state:failed", "--json"))
    assert [row["name"] for row in failed] == ["prep"]


def test_why_and_explain(folder: Path) -> None:
    label = json.loads(command(folder, "tasks", "fn:prep", "state:failed", "--json"))[0]["task"]
    assert f"{label} failed (attempt 1)" in command(folder, "why", label)
    assert "train-" in command(folder, "why", "train")
    summary = json.loads(command(folder, "explain", "--json"))
    assert {function["name"] for function in summary["functions"]} >= {"prep", "train", "Model.fit"}
    assert "parallel efficiency" in command(folder, "explain")


def test_errors_are_grouped_with_their_traceback(folder: Path) -> None:
    text = command(folder, "errors")
    assert "1 × prep · KeyError" in text
    assert "in prep" in text


def test_top_runs_and_trace(folder: Path, tmp_path: Path) -> None:
    top = command(folder, "top")
    assert "prep" in top
    assert all(len(line) <= 80 for line in top.splitlines())
    assert json.loads(command(folder, "top", "--json"))["reports"] == {"loss": 0.5}
    (run,) = json.loads(command(folder, "runs", "--json"))
    assert not run["is_live"]
    command(folder, "trace", "-o", str(tmp_path / "trace.json"))
    assert any(event["name"] == "prep" for event in json.loads((tmp_path / "trace.json").read_text()))


def test_an_unknown_task_says_what_there_is(folder: Path) -> None:
    environ = {**os.environ, "SKATE_RUNS_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "skate.cli.main", "why", "nothing"], env=environ, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "functions that ran: Model.__init__, Model.fit, prep, train" in done.stderr


def test_prometheus_scrapes_a_running_session_from_loopback_only() -> None:
    skate.init(num_cpus=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "skate.cli.main", "metrics", "--serve", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        assert 'skate_resources_total{resource="CPU"} 1' in text
        request = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=10)
    finally:
        process.kill()
        process.communicate()
        skate.shutdown()
