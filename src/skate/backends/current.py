"""The backend of this process: started by `init` or by the first call that needs one; given by the engine in a worker.

`active` and `of_refs` stand on the path of every call: after the first they are one global read.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from skate.backends.base import InitOptions
from skate.backends.ray_connect import is_ray_address

if TYPE_CHECKING:
    from types import TracebackType

    from skate.backends.base import Backend

_backend: Backend | None = None
# Reentrant: making a session runs code (signal handlers, imports) that may ask for the backend.
_lock = threading.RLock()


def active() -> Backend:
    """The backend; started with the defaults when there is none."""
    return _backend if _backend is not None else start(InitOptions(), reuse=True)


def of_refs() -> Backend:
    """The backend that made the refs somebody holds. Without a session their own has ended: none is started for them.

    Raises:
        ValueError: There is no session.
    """
    if _backend is None:
        raise ValueError(
            "this ObjectRef belongs to a session that has ended: get what you need before skate.shutdown(), or make the value again"
        )
    return _backend


def peek() -> Backend | None:
    """The backend, if there is one."""
    return _backend


def start(options: InitOptions, *, reuse: bool = False) -> Backend:
    """Make this process's backend.

    Args:
        options: Checked by `api.init`.
        reuse: Take the one that another thread has made meanwhile.

    Raises:
        RuntimeError: There is one already; this machine is not supported; or the engine did not start.
        ConnectionError: There is no session at the address.
    """
    global _backend
    with _lock:
        if _backend is not None:
            if reuse:
                return _backend
            raise RuntimeError("a session is running in this process: call skate.shutdown() first")
        _backend = _make(options)
        _show_errors()
        return _backend


def stop() -> None:
    """End the session. Harmless when there is none."""
    global _backend
    with _lock:
        backend, _backend = _backend, None
        if backend is not None:
            backend.shutdown()


def attach(backend: Backend | None) -> None:
    """Use this backend from now on: in a worker; None in a forked child, where the parent's engine must not be used."""
    global _backend, _lock
    if backend is None:
        _lock = threading.RLock()  # The parent's other threads may have held it.
    _backend = backend


def _show_errors() -> None:
    """Errors that nobody catches, in a form that is read at once. The renderer is imported when it is needed."""
    previous = sys.excepthook
    if getattr(previous, "is_of_skate", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        try:
            from skate.engine.client.error_display import show
        except Exception:  # The interpreter ends.
            previous(kind, error, trace)
        else:
            show(kind, error, trace, previous)

    hook.is_of_skate = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _make(options: InitOptions) -> Backend:
    address = options.address
    if address is None:
        import os

        address = os.environ.get("SKATE_ADDRESS") or os.environ.get("RAY_ADDRESS") or "local"
    if address == "inline":
        from skate.backends.inline import InlineBackend

        return InlineBackend(options)
    if is_ray_address(address):
        from skate.backends.ray_cluster import RayBackend

        return RayBackend.start(options._replace(address=address))  # It may be from the environment.
    from skate.engine.driver import launch, session

    launch.check_platform()
    node = session.start_node(options) if address == "local" else None
    try:
        from skate.backends.local import LocalBackend  # Takes a while: the node starts meanwhile.
    except BaseException:
        if node is not None:
            node.sock.close()
            node.end(0.5)
        raise
    return LocalBackend.start(options, node, address)
