"""`RuntimeEnv`: what the processes that run a task, an actor or a whole program have to find around them.

A dict with checked keys; the engine merges a task's over its program's. Keys that only make sense on a cluster (containers, conda, profilers) are
kept, and refused by backends that can't do them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from skate._signature import near

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]

_KEYS = (
    "env_vars", "working_dir", "py_modules", "pip", "uv", "config", "py_executable", "worker_process_setup_hook", "excludes",
    "conda", "image_uri", "container", "nsight", "rocprof_sys", "java_jars", "mpi", "_ray_release", "_ray_commit", "_inject_current_ray",
)  # fmt: skip


class RuntimeEnvConfig(dict[str, Any]):
    """Settings of the set-up itself."""

    def __init__(self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None) -> None:
        if isinstance(setup_timeout_seconds, bool) or not isinstance(setup_timeout_seconds, int):
            raise TypeError(f"setup_timeout_seconds must be an int, not {setup_timeout_seconds!r}")
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(f"setup_timeout_seconds must be above 0, or -1 for no limit, not {setup_timeout_seconds}")
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be True or False, not {eager_install!r}")
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=list(log_files or [])
        )


class RuntimeEnv(dict[str, Any]):
    """A runtime environment; equal to the plain dict with the same keys.

    ```python
    RuntimeEnv(env_vars={"OMP_NUM_THREADS": "1"}, working_dir=".", pip=["httpx"])
    ```
    """

    def __init__(self, **settings: Any) -> None:
        """
        Args:
            env_vars: Environment variables, name → string. The program's and the task's are merged.
            working_dir: A directory; processes run in it, and import from it.
            py_modules: Directories, or modules, that can be imported.
            pip: Requirements, or the path of a requirements file; installed into a virtual environment that is kept for the next time.
            uv: As pip, installed by uv.
            config: `RuntimeEnvConfig` or the same as a dict.
        """
        checked: dict[str, Any] = {}
        for key, value in settings.items():
            if key not in _KEYS:
                raise ValueError(f"{key!r} is not a key of a runtime_env{near(key, _KEYS)} (keys: {', '.join(_KEYS[:11])})")
            if value is not None:
                checked[key] = _CHECKS.get(key, _keep)(value)
        if "pip" in checked and ("conda" in checked or "uv" in checked):
            raise ValueError("runtime_env: 'pip' can't be combined with 'conda' or 'uv': give one of them")
        super().__init__(checked)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        return dict(self)

    def env_vars(self) -> dict[str, str]:
        return dict(self.get("env_vars", {}))

    def working_dir(self) -> str | None:
        return self.get("working_dir")

    def py_modules(self) -> list[Any]:
        return list(self.get("py_modules", ()))

    def __reduce__(self) -> tuple[Any, ...]:
        return RuntimeEnv.from_dict, (dict(self),)


def _keep(value: Any) -> Any:
    return value


def _env_vars(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env: env_vars must be a dict of name → string, not {value!r}")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(
                f"runtime_env: env_vars names and values are strings: write {{{str(name)!r}: {str(text)!r}}}, not {name!r}: {text!r}"
            )
    return dict(value)


def _working_dir(value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"runtime_env: working_dir must be the path of a directory, not {value!r}")
    path = os.fspath(value)
    if "://" in path:
        return path
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(path) and not path.endswith(".zip"):
        raise ValueError(f"runtime_env: working_dir {path!r} is not a directory")
    return path


def _py_modules(value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise TypeError(f"runtime_env: py_modules must be a list of directories or modules, not {value!r}")
    paths = []
    for module in value:
        if isinstance(module, str | os.PathLike):
            path = os.fspath(module)
        else:
            file = getattr(module, "__file__", None)
            places = list(getattr(module, "__path__", ())) or ([file] if file else [])
            if not places:
                raise TypeError(f"runtime_env: py_modules takes paths and modules, not {module!r}")
            path = places[0]
        if "://" not in path:
            path = os.path.abspath(os.path.expanduser(path))
            if not os.path.exists(path):
                raise ValueError(f"runtime_env: py_modules: {path!r} does not exist")
        paths.append(path)
    return paths


def _requirements(key: str) -> Any:
    def check(value: Any) -> Any:
        if isinstance(value, str):
            path = os.path.abspath(os.path.expanduser(value))
            try:
                with open(path, encoding="utf-8") as file:
                    lines = [line.split(" #")[0].strip() for line in file]
            except OSError as error:
                raise ValueError(f"runtime_env: {key}={value!r} is not a file that can be read: {error}") from error
            return [line for line in lines if line and not line.startswith("#")]
        if isinstance(value, Mapping):
            if not isinstance(value.get("packages", []), str | list):
                raise TypeError(f"runtime_env: {key}['packages'] must be a list of requirements")
            settings = dict(value)
            if isinstance(settings.get("packages"), str):
                settings["packages"] = check(settings["packages"])
            return settings
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise TypeError(
                f"runtime_env: {key} must be a list of requirements or the path of a requirements file, not {value!r}"
            )
        return list(value)

    return check


def _config(value: Any) -> dict[str, Any]:
    if isinstance(value, RuntimeEnvConfig):
        return dict(value)
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env: config must be a dict, not {value!r}")
    return dict(RuntimeEnvConfig(**value))


def _path_or_text(key: str) -> Any:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"runtime_env: {key} must be a string, not {value!r}")
        return value

    return check


_CHECKS: dict[str, Any] = {
    "env_vars": _env_vars,
    "working_dir": _working_dir,
    "py_modules": _py_modules,
    "pip": _requirements("pip"),
    "uv": _requirements("uv"),
    "config": _config,
    "py_executable": _path_or_text("py_executable"),
}
