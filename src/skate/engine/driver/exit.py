"""The end of a driver: what happens at its exit, and in children it forks."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any

_on_exit: Callable[[], None] | None = None
_on_fork: Callable[[], None] | None = None
_is_watching = False


def watch(on_exit: Callable[[], None], on_fork: Callable[[], None]) -> None:
    """Call `on_exit` at the end of the program, and `on_fork` in every forked child, until `forget`."""
    global _on_exit, _on_fork, _is_watching
    _on_exit, _on_fork = on_exit, on_fork
    if not _is_watching:  # Registered once: neither can be taken back at will.
        _is_watching = True
        atexit.register(_run_on_exit)
        os.register_at_fork(after_in_child=_run_on_fork)


def forget() -> None:
    global _on_exit, _on_fork
    _on_exit = _on_fork = None


def _run_on_exit() -> None:
    if _on_exit is not None:
        _on_exit()


def _run_on_fork() -> None:
    call = _on_fork
    forget()
    if call is not None:
        call()


def close_in_fork(client: Any) -> None:
    """In a forked child: the sockets are the parent's. Nothing is sent, no lock is taken; other threads do not exist here."""
    client.death = "this process was forked from a driver: the session is its parent's; call skate.init() here for one of its own"
    client.is_closed = True
    sockets = [client.node.sock]
    sockets += [lease.channel.sock for lease in client.submission.leases()]
    sockets += [connection.channel.sock for connection in client.actors.connections.values() if connection.channel is not None]
    for sock in sockets:
        sock.close()  # The child's copies: else the workers would not notice the end of the parent.
    # Refs that go in the child must not be counted: nobody empties the list any more.
    client.dropped.clear()
