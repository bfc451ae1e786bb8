"""What a runtime environment asks for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from skate.engine.node.environments import Environments, check_interpreter, interpreter_of, requirements_of, setup_timeout_s
from skate.engine.node.loop import Loop
from skate.engine.spec.boot import JobInfo


def test_plain_environments_need_no_interpreter() -> None:
    assert interpreter_of("") is None
    assert interpreter_of(json.dumps({"env_vars": {"A": "1"}, "working_dir": "/tmp"})) is None


def test_the_same_requirements_share_an_environment() -> None:
    plain = json.dumps({"pip": ["httpx", "rich==13"]})
    with_variables = json.dumps({"env_vars": {"A": "1"}, "pip": {"packages": ["httpx", "rich==13"]}})

    assert interpreter_of(plain) == interpreter_of(with_variables)
    assert interpreter_of(plain) != interpreter_of(json.dumps({"pip": ["httpx"]}))


def test_a_requirements_file_counts_by_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("# what we need\nhttpx\n\nrich==13\n")

    requirements = requirements_of(json.dumps({"pip": str(path)}))

    assert requirements is not None
    assert requirements.lines == ("httpx", "rich==13")


@pytest.mark.parametrize(
    ("config", "limit_s"), [(None, 600), ({"setup_timeout_seconds": 5}, 5), ({"setup_timeout_seconds": -1}, None)]
)
def test_the_time_for_setting_up_can_be_set(config: dict[str, int] | None, limit_s: float | None) -> None:
    assert setup_timeout_s(json.dumps({"pip": ["httpx"], "config": config})) == limit_s


def test_a_missing_requirements_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"'/nowhere/r\.txt' cannot be read"):
        requirements_of(json.dumps({"pip": "/nowhere/r.txt"}))


def test_an_interpreter_that_is_none_is_refused() -> None:
    assert check_interpreter(sys.executable) == ""
    assert "/nowhere/python" in check_interpreter("/nowhere/python")


def test_preparing_answers_later_and_says_what_is_wrong() -> None:
    loop = Loop()
    answers: list[tuple[str, str]] = []
    environments = Environments(loop, lambda pid, on_exit: None, lambda env, error: answers.append((env, error)))
    bad = json.dumps({"py_executable": "/nowhere/python"})

    environments.prepare("")
    environments.prepare(bad)
    assert answers == []
    loop.round(0)

    assert answers[0] == ("", "")
    assert answers[1][0] == bad
    assert "/nowhere/python" in answers[1][1]
    loop.close()


def test_another_interpreter_starts_with_the_jobs_environment() -> None:
    loop = Loop()
    environments = Environments(loop, lambda pid, on_exit: None, lambda env, error: None)
    env = json.dumps({"py_executable": sys.executable, "env_vars": {"A": "1", "PATH": "${PATH}:/x"}})

    program = environments.program(env, JobInfo(environ={"HOME": "/home/me", "PATH": "/bin"}))

    assert program is not None
    argv, environ = program
    assert argv[0] == sys.executable
    assert environ == {"HOME": "/home/me", "PATH": "/bin", "A": "1"}
    loop.close()
