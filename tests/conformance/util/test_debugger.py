from __future__ import annotations

import io
import threading
import time

import skate
from skate.util import rpdb


@skate.remote
def stops() -> int:
    number = 42
    rpdb.set_trace()
    return number


def test_a_terminal_attaches_to_a_task_that_stopped(process_session: str) -> None:
    result = stops.remote()
    directory = skate.get_runtime_context().get_temp_dir()
    deadline_s = time.monotonic() + 20
    while not (sockets := rpdb.waiting(directory)):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    shown = io.StringIO()
    terminal = threading.Thread(
        target=rpdb.attach, args=(sockets[0], io.StringIO("p number\nnumber = 7\nc\n"), shown), daemon=True
    )
    terminal.start()

    assert skate.get(result, timeout=60) in (42, 7)
    terminal.join(10)
    assert "42" in shown.getvalue() and not rpdb.waiting(directory)
