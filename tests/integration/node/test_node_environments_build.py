"""Runtime environments with packages: built once, in a child process, kept for the next time. The package is a local one."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skate.engine.node.environments import Environments
from skate.engine.node.loop import Loop
from skate.engine.spec.boot import JobInfo

OFFLINE = ["--no-index"]


class Builder:
    """`Environments` with a loop of its own, in this process."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.answers: list[tuple[str, str]] = []
        self._children: dict[int, Callable[[int], None]] = {}
        self.environments = Environments(
            self.loop, self._children.__setitem__, lambda env, error: self.answers.append((env, error))
        )

    def prepare(self, *envs: str) -> dict[str, str]:
        """env → error."""
        self.answers.clear()
        for env in envs:
            self.environments.prepare(env)
        self.builds = len(self._children)
        while len(self.answers) < len(envs):
            self.loop.round(time.monotonic())
            for pid in list(self._children):
                self._children.pop(pid)(os.waitpid(pid, 0)[1])
        return dict(self.answers)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheel = tmp_path / "tiny_package-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny_package.py", "ANSWER = 42\n")
        file.writestr("tiny_package-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1\n")
        file.writestr("tiny_package-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny_package-1.dist-info/RECORD", "")
    return str(wheel)


def test_packages_are_installed_once_and_found_by_the_worker(package: str) -> None:
    builder = Builder()
    env = json.dumps({"pip": {"packages": [package], "pip_install_options": OFFLINE}})
    same = json.dumps({"env_vars": {"A": "1"}, "pip": {"packages": [package], "pip_install_options": OFFLINE}})

    assert builder.prepare(env, same) == {env: "", same: ""}
    assert builder.builds == 1

    program = builder.environments.program(env, JobInfo())
    assert program is not None
    interpreter = program[0][0]
    # Its own packages, and those of ours that skate needs.
    code = "import tiny_package, msgspec, sys; print(tiny_package.ANSWER, sys.prefix)"
    answer = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert answer == ["42", str(Path(interpreter).parent.parent)]

    assert builder.prepare(env) == {env: ""}
    assert builder.builds == 0, "it is kept"


def test_a_build_that_fails_says_what_pip_said_and_leaves_nothing_to_be_used(package: str) -> None:
    builder = Builder()
    env = json.dumps({"pip": {"packages": ["no-such-package-of-ours"], "pip_install_options": OFFLINE}})

    for _ in range(2):
        (error,) = builder.prepare(env).values()
        assert "no-such-package-of-ours could not be built" in error
        assert "No matching distribution found" in error
        assert builder.builds == 1, "it is tried again"
