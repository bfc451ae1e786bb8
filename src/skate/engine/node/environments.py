"""Runtime environments that need another interpreter: pip or uv packages in a virtual environment of their own, or
`py_executable`.

    <cache>/skate/envs/<hash>/           the virtual environment; the hash is of the requirements and this Python
    <cache>/skate/envs/<hash>/ready      exists once it is complete: what lacks it is rubbish of a build that was cut off
    <cache>/skate/envs/<hash>.lock       held by the one who builds

It is built where it stays, since a virtual environment cannot be moved; `ready` is what makes it appear whole. A child process
builds it, so that the node goes on meanwhile. It also sees the packages of this interpreter, after its own, by a .pth file:
skate's own needs are met by them. Everything else in a runtime environment (env_vars, working_dir, py_modules) is the worker's
business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from skate.engine.node.loop import Loop
from skate.engine.node.worker_processes import flush_standard_streams, fork_child, kill_group
from skate.engine.spec.boot import JobInfo

_TAIL_BYTES = 4000
_READY = "ready"
_SETUP_TIMEOUT_S = 600.0  # As in Ray.
_ROOT = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
)  # What `import skate` needs on sys.path.


class Requirements(msgspec.Struct, frozen=True):
    """What to install, and by which tool."""

    tool: str  # "pip" | "uv"
    lines: tuple[str, ...]
    options: tuple[str, ...] = ()
    tool_version: str = ""  # "==24.0"
    is_checked: bool = False  # Run `pip check` afterwards.

    def key(self) -> str:
        from hashlib import sha256  # OpenSSL takes 5 ms to load: not on the way of every start.

        text = repr((self, sys.version, sys.executable, _ROOT))
        return sha256(text.encode()).hexdigest()[:24]


class Environments:
    def __init__(
        self, loop: Loop, watch_child: Callable[[int, Callable[[int], None]], None], on_ready: Callable[[str, str], None]
    ) -> None:
        """`on_ready(env, error)`: "" when it can be used."""
        self._loop = loop
        self._watch_child = watch_child
        self._on_ready = on_ready
        self._waiting: dict[str, list[str]] = {}  # key of what is being built → the environments that wait for it

    def prepare(self, env: str) -> None:
        """Make sure workers of this environment can start; `on_ready` says when. Never from within this call."""
        try:
            interpreter = interpreter_of(env)
            requirements = requirements_of(env)
            if requirements is not None:
                self._build(env, requirements)
                return
            error = "" if interpreter is None else check_interpreter(interpreter)
        except (ValueError, OSError) as problem:
            error = str(problem)
        self._loop.soon.append(lambda: self._on_ready(env, error))

    def program(self, env: str, job: JobInfo) -> tuple[list[str], dict[str, str]] | None:
        """(argv, environ) that starts a worker of this environment; None: a fork will do."""
        interpreter = interpreter_of(env)
        if interpreter is None:
            return None
        environ = dict(job.environ or os.environ)
        # Some of them (LD_LIBRARY_PATH) count only from the start. The worker sees to the rest, and to ${NAME}.
        variables = _fields(env).get("env_vars") or {}
        environ.update((name, value) for name, value in variables.items() if "${" not in value)
        return [interpreter, "-c", _start_code()], environ

    def _build(self, env: str, requirements: Requirements) -> None:
        key = requirements.key()
        directory = os.path.join(cache_directory(), key)
        if os.path.exists(os.path.join(directory, _READY)):
            self._loop.soon.append(lambda: self._on_ready(env, ""))
            return
        waiting = self._waiting.setdefault(key, [])
        waiting.append(env)
        if len(waiting) > 1:
            return
        output = os.memfd_create("skate-env", os.MFD_CLOEXEC)
        try:
            flush_standard_streams()
            pid = fork_child(lambda: build(requirements, directory), stdout=output, stderr=output, keep=())
        except OSError:
            os.close(output)
            del self._waiting[key]
            raise

        limit_s = setup_timeout_s(env)
        timer = None if limit_s is None else self._loop.set_timer_after(limit_s, lambda: kill_group(pid))

        def on_exit(status: int) -> None:
            if timer is not None:
                timer.cancel()
            size = os.fstat(output).st_size
            tail = os.pread(output, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace").strip()
            os.close(output)
            error = ""
            if status:
                what = ", ".join(requirements.lines)
                error = f"the runtime environment with {requirements.tool} packages {what} could not be built:\n{tail}"
                if os.WIFSIGNALED(status) and limit_s is not None:
                    error += f"\n(ended after {limit_s:g} s: set runtime_env config setup_timeout_seconds for more time)"
            for one in self._waiting.pop(key):
                self._on_ready(one, error)

        self._watch_child(pid, on_exit)


# ---------------------------------------------------------------- what an environment asks for


def interpreter_of(env: str) -> str | None:
    """The Python that runs this environment's workers; None: our own, by a fork.

    Raises:
        ValueError: The environment cannot be read.
    """
    fields = _fields(env)
    requirements = requirements_of(env)
    if requirements is not None:
        return os.path.join(cache_directory(), requirements.key(), "bin", "python")
    if fields.get("py_executable"):
        import shutil

        name = os.path.expanduser(str(fields["py_executable"]))
        return shutil.which(name) or name
    return None


def requirements_of(env: str) -> Requirements | None:
    """What has to be installed for it; None: nothing.

    Raises:
        ValueError: The environment cannot be read.
    """
    fields = _fields(env)
    for tool in ("pip", "uv"):
        asked: Any = fields.get(tool)
        if not asked:
            continue
        settings = asked if isinstance(asked, dict) else {}
        packages = settings.get("packages", []) if isinstance(asked, dict) else asked
        if isinstance(packages, str):
            try:
                with open(os.path.expanduser(packages)) as file:
                    packages = file.read().splitlines()
            except OSError as error:
                raise ValueError(f"runtime_env: the requirements file {packages!r} cannot be read: {error.strerror}") from error
        lines = tuple(line for line in (str(one).strip() for one in packages) if line and not line.startswith("#"))
        if lines:
            options = settings.get("pip_install_options") or settings.get("uv_pip_install_options") or ()
            return Requirements(
                tool,
                lines,
                tuple(map(str, options)),
                str(settings.get(f"{tool}_version") or ""),
                bool(settings.get(f"{tool}_check")),
            )
    return None


def setup_timeout_s(env: str) -> float | None:
    """How long its set-up may take; None: as long as it takes."""
    settings = _fields(env).get("config") or {}
    seconds = float(settings.get("setup_timeout_seconds", _SETUP_TIMEOUT_S))
    return None if seconds <= 0 else seconds


def check_interpreter(path: str) -> str:
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return ""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"runtime_env: py_executable {path!r} is not a program that can be run; give the path of a Python {version}"


_known_fields: dict[str, Mapping[str, Any]] = {}


def _fields(env: str) -> Mapping[str, Any]:
    if not env:
        return {}
    fields = _known_fields.get(env)
    if fields is None:
        decoded = msgspec.json.decode(env)
        if not isinstance(decoded, dict):
            raise ValueError("a runtime_env must be a dict")
        if len(_known_fields) > 1000:
            _known_fields.clear()
        fields = _known_fields[env] = decoded
    return fields


def cache_directory() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "skate", "envs")


def _start_code() -> str:
    version = (sys.version_info[0], sys.version_info[1])
    return (
        f"import sys; sys.path[:1] = []; sys.path.append({_ROOT!r})\n"
        f"if sys.version_info[:2] == {version!r}: import site; [site.addsitedir(one) for one in {_site_directories()!r}]\n"
        "from skate.engine.worker.main import main; main()"
    )


def _site_directories() -> list[str]:
    import site

    directories = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return [one for one in directories if os.path.isdir(one)]


# ---------------------------------------------------------------- in the child


def build(requirements: Requirements, directory: str) -> None:
    """Make the virtual environment, unless somebody else has meanwhile.

    What goes wrong is printed, and ends the process with status 1.
    """
    import fcntl
    import subprocess

    os.makedirs(os.path.dirname(directory), mode=0o700, exist_ok=True)
    with open(f"{directory}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(os.path.join(directory, _READY)):
            return
        try:
            _install(requirements, directory)
        except subprocess.CalledProcessError as error:
            raise SystemExit(1) from error
        draft = os.path.join(directory, f".{_READY}")
        with open(draft, "w") as file:
            file.write("\n".join(requirements.lines) + "\n")
        os.rename(draft, os.path.join(directory, _READY))


def _install(requirements: Requirements, directory: str) -> None:
    import shutil
    import subprocess
    from importlib.util import find_spec

    def run(*argv: str) -> None:
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

    shutil.rmtree(directory, ignore_errors=True)
    python = os.path.join(directory, "bin", "python")
    uv = shutil.which("uv")
    if requirements.tool == "uv" and uv is None:
        sys.stderr.write("runtime_env asks for uv, which is not installed here: pip is used\n")
    with_uv = uv is not None and (requirements.tool == "uv" or find_spec("pip") is None)
    with_own_pip = not with_uv and (bool(requirements.tool_version) or find_spec("pip") is None)
    run(sys.executable, "-m", "venv", *([] if with_own_pip else ["--without-pip"]), directory)
    packages = os.path.join(directory, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    with open(os.path.join(packages, "skate-parent.pth"), "w") as file:
        file.writelines(f"import site; site.addsitedir({one!r})\n" for one in _site_directories())
    lines = os.path.join(directory, "requirements.txt")
    with open(lines, "w") as file:
        file.write("\n".join(requirements.lines) + "\n")
    if with_uv:
        assert uv is not None
        run(uv, "pip", "install", "--python", python, *requirements.options, "-r", lines)
        check = [uv, "pip", "check", "--python", python]
    else:
        pip = [python, "-m", "pip"] if with_own_pip else [sys.executable, "-m", "pip", "--python", python]
        quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        if requirements.tool_version and requirements.tool == "pip":
            run(*pip, "install", *quiet, f"pip{requirements.tool_version}")
        run(*pip, "install", *quiet, *requirements.options, "-r", lines)
        check = [*pip, "check"]
    if requirements.is_checked:
        run(*check)
