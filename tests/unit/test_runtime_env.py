"""RuntimeEnv checks its keys."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from skate.runtime_env import RuntimeEnv, RuntimeEnvConfig


def test_it_is_a_dict(tmp_path: Path) -> None:
    env = RuntimeEnv(
        env_vars={"A": "1"}, working_dir=tmp_path, py_modules=[json], config=RuntimeEnvConfig(setup_timeout_seconds=5)
    )
    assert env["working_dir"] == str(tmp_path)
    assert env["py_modules"] == [str(Path(json.__file__).parent)]
    assert env["config"]["setup_timeout_seconds"] == 5
    assert RuntimeEnv(**env) == env == dict(env)
    assert pickle.loads(pickle.dumps(env)) == env
    json.dumps(env)


def test_requirements_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("numpy>=1 # fast\n\n# comment\nhttpx\n")
    assert RuntimeEnv(pip=str(file))["pip"] == ["numpy>=1", "httpx"]
    assert RuntimeEnv(pip=["a"])["pip"] == ["a"]
    assert RuntimeEnv(pip={"packages": ["a"], "pip_check": False})["pip"]["packages"] == ["a"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"env_var": {}}, ValueError, "did you mean 'env_vars'"),
        ({"env_vars": {"A": 1}}, TypeError, r"write \{'A': '1'\}"),
        ({"env_vars": []}, TypeError, "a dict"),
        ({"working_dir": "/does/not/exist"}, ValueError, "not a directory"),
        ({"py_modules": "/tmp"}, TypeError, "a list"),
        ({"py_modules": ["/does/not/exist"]}, ValueError, "does not exist"),
        ({"pip": 3}, TypeError, "a list of requirements"),
        ({"pip": "/no/file"}, ValueError, "not a file"),
        ({"pip": ["a"], "uv": ["b"]}, ValueError, "can't be combined"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "above 0"),
    ],
)
def test_mistakes(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RuntimeEnv(**settings)
