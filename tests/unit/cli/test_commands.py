"""What commands print, given what the node answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skate.cli.main import COMMANDS, main


def test_status_shows_resources_and_what_can_never_start(run: Any) -> None:
    status, out, _err = run("status")
    assert status == 0
    assert f"{'CPU':<20} 2.5 of 4 in use" in out
    assert "1 idle, 2 leased" in out
    assert "2 × task big needs GPU=4  (more than this session has: it can never start)" in out
    assert "1 spilled to disk, 5.0 MB" in out


def test_status_as_json_is_one_object(run: Any) -> None:
    _status, out, _err = run("status", "--json")
    assert json.loads(out)["resources"]["total"]["CPU"] == 4.0


def test_list_shows_a_line_for_each(run: Any) -> None:
    _status, out, _err = run("list", "tasks")
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["TASK_ID", "NAME", "TYPE", "STATE"]
    assert len(lines) == 4


def test_list_filters(run: Any) -> None:
    assert [row["name"] for row in json.loads(run("list", "tasks", "-f", "state=failed", "--json")[1])] == ["train"]
    assert len(json.loads(run("list", "tasks", "-f", "state!=FAILED", "-f", "name=train", "--json")[1])) == 1
    assert run("list", "tasks", "-f", "state=LOST")[1] == "no tasks\n"


@pytest.mark.parametrize(("text", "complaint"), [("state", "COLUMN=VALUE"), ("colour=red", "no column 'colour'")])
def test_a_wrong_filter_is_refused(run: Any, text: str, complaint: str) -> None:
    status, _out, err = run("list", "tasks", "-f", text)
    assert status == 2
    assert complaint in err


def test_the_limit_is_asked_of_the_node_and_said(run: Any, link: Any) -> None:
    _status, out, _err = run("list", "tasks", "--limit", "2")
    assert link.asked == [("tasks", {"limit": 2})]
    assert "--limit 0 shows all" in out


def test_get_finds_by_the_beginning_of_an_id_and_by_name(run: Any) -> None:
    assert json.loads(run("get", "task", "01", "--json")[1])[0]["name"] == "train"
    assert "class_name" in run("get", "actors", "model")[1]


def test_get_says_what_is_ambiguous_or_unknown(run: Any) -> None:
    assert "write more of it" in run("get", "tasks", "0")[2]
    assert "there is no task ff" in run("get", "tasks", "ff")[2]


def test_summary_counts_by_name_and_state(run: Any) -> None:
    groups = json.loads(run("summary", "tasks", "--json")[1])
    assert groups[0] == {"name": "train", "count": 2, "failed": 1, "total_ms": 4.0, "running": 1}


def test_logs_name_the_worker_unless_there_is_one(run: Any) -> None:
    assert run("logs")[1] == "(pid=100) hello\n(pid=100) world\n"
    assert run("logs", "100")[1] == "hello\nworld\n"
    assert "nothing is known of a worker 7" in run("logs", "7")[2]


def test_stack_and_metrics(run: Any) -> None:
    assert "worker pid 100" in run("stack")[1]
    assert 'hits_total{page="a"} 3' in run("metrics")[1] or 'hits{page="a"} 3' in run("metrics")[1]


def test_kill_actor_finds_one_that_lives(run: Any, link: Any) -> None:
    assert run("kill-actor", "model")[0] == 0
    assert link.killed == [(b"\xaa" * 16, True)]
    assert "no living actor" in run("kill-actor", "abab")[2]


def test_timeline_writes_a_file(run: Any, tmp_path: Path) -> None:
    _status, out, _err = run("timeline", "-o", str(tmp_path / "trace.json"))
    assert "0 attempts" in out
    assert isinstance(json.loads((tmp_path / "trace.json").read_text()), list)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out = capsys.readouterr().out
    assert [command for command in COMMANDS if command not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"skate {command}" in capsys.readouterr().out
