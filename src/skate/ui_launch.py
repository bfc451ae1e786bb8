"""Starts the web UI of a session: a process of its own, which outlives a slow browser and ends when nobody needs it any more.

Used by `skate.init(include_dashboard=True)` and `skate.dashboard.open()`. The program serves nothing itself: it reads one line, the address.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys

_READY_WITHIN_S = 20.0
_started: dict[str, tuple[subprocess.Popen[bytes], str]] = {}


def open_ui(session: str, port: int = 0, *, browser: bool = False) -> str:
    """The address of the session's UI, which is started when it does not run yet.

    Raises:
        ImportError: The packages of the extra `dashboard` are missing.
        RuntimeError: The process did not start.
    """
    from importlib.util import find_spec

    missing = [name for name in ("starlette", "uvicorn", "websockets") if find_spec(name) is None]
    if missing:
        raise ImportError(f"the web UI needs {', '.join(missing)}: pip install 'skate[dashboard]'")
    known = _started.get(session)
    if known is not None and known[0].poll() is None:
        url = known[1]
    else:
        url = _start(session, port)
    if browser:
        import webbrowser

        webbrowser.open(url)
    return url


def _start(session: str, port: int) -> str:
    command = [sys.executable, "-m", "skate.cli.main", "ui", "--session", session, "--port", str(port), "--announce"]
    # A session of its own: Ctrl-C is for the program, and the UI stays to show how it ended.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], _READY_WITHIN_S)
    line = process.stdout.readline() if ready else b""
    try:
        url = str(json.loads(line)["url"])
    except (ValueError, KeyError, TypeError):
        process.kill()
        _, errors = process.communicate()
        raise RuntimeError(f"the web UI did not start: {errors.decode(errors='replace').strip()[-500:] or 'no answer'}") from None
    process.stdout.close()
    process.stderr.close()
    _started[session] = (process, url)
    return url
