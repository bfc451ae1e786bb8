"""What a worker's process looks like to user code: import path, directory, environment variables, GPUs.

Applied once, before the first call; a worker belongs to one job and one runtime environment, so nothing is ever put back. A
task that changes the directory changes it for later tasks of the same worker, as in Ray; `restore_directory` undoes that
between leases.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from skate.engine.spec.boot import WorkerBoot


class Environment:
    """The runtime environment of this worker."""

    def __init__(self, boot: WorkerBoot) -> None:
        self._boot = boot
        self.fields: dict[str, Any] = json.loads(boot.env) if boot.env else {}
        self.error = ""  # Why it could not be set up: every call answers with it.
        self._directory = ""
        self._gpu_ids: list[int] | None = None

    def apply(self) -> None:
        """Set everything up. What fails is kept in `error`."""
        job = self._boot.job_info
        if job.environ:
            os.environ.clear()
            os.environ.update(job.environ)
        for name, value in self.fields.get("env_vars", {}).items():
            os.environ[name] = _expand(value)
        if job.sys_path:
            # An environment with its own packages (pip): they hide the driver's, but not the program's own directory.
            own = [entry for entry in sys.path if entry and entry not in job.sys_path] if self._has_own_packages() else []
            sys.path[:] = [job.sys_path[0], *own, *job.sys_path[1:]]
        sys.argv[:] = [job.main_path]
        self._directory = self.fields.get("working_dir") or job.cwd
        if self._directory:
            try:
                os.chdir(self._directory)
            except OSError as error:
                if self.fields.get("working_dir"):
                    self.error = f"the working_dir of the runtime environment can't be used: {error}"
                self._directory = ""  # A driver's directory that has been removed since is no reason to fail.
        if self.fields.get("working_dir"):
            sys.path.insert(0, self.fields["working_dir"])
        for module in reversed(self.fields.get("py_modules", [])):
            if not os.path.exists(module):
                self.error = f"the runtime environment's py_modules name {module!r}, which does not exist"
            sys.path.insert(0, _import_root(module))

    def run_setup_hook(self) -> None:
        """`worker_process_setup_hook`: "module.function", called once."""
        hook = self.fields.get("worker_process_setup_hook")
        if not hook or self.error:
            return
        try:
            import importlib

            module, _, function = hook.rpartition(".")
            getattr(importlib.import_module(module), function)()
        except Exception as error:
            self.error = f"worker_process_setup_hook {hook!r} failed: {type(error).__name__}: {error}"

    def restore_directory(self) -> None:
        """Between leases: back to where the job's tasks start."""
        if self._directory:
            try:
                if os.getcwd() == self._directory:
                    return
            except OSError:
                pass
            try:
                os.chdir(self._directory)
            except OSError:
                pass

    def show_gpus(self, gpu_ids: list[int]) -> None:
        """Let CUDA see these GPUs only; none unless the user's env_vars say otherwise."""
        if gpu_ids == self._gpu_ids or (not gpu_ids and "CUDA_VISIBLE_DEVICES" in self.fields.get("env_vars", {})):
            return
        self._gpu_ids = list(gpu_ids)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpu_ids))

    def _has_own_packages(self) -> bool:
        return bool(self.fields.get("pip") or self.fields.get("uv") or self.fields.get("py_executable"))


def _expand(value: str) -> str:
    """Replace ${NAME} by the variable's present value, as Ray does."""
    parts = value.split("${")
    text = parts[0]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        text += os.environ.get(name, "") + rest if closed else "${" + part
    return text


def _import_root(module: str) -> str:
    """What has to be on sys.path so that a module given as a file, a package directory or a folder of modules can be imported."""
    if os.path.isdir(module):
        return os.path.dirname(module.rstrip(os.sep)) if os.path.exists(os.path.join(module, "__init__.py")) else module
    return os.path.dirname(module) if module.endswith(".py") else module
