"""The web UI: every task there was, live or afterwards, in a browser (docs/how-to/web-ui.md). It uses the public API only.

    skate.init(include_dashboard=True)     # or, at any time:
    skate.dashboard.open()                 # or, from a shell: skate ui

It runs in a process of its own that reads the run file (`runfile`, `reader`); the program that is looked at serves nothing and waits for nothing.
"""

from __future__ import annotations


def open(*, browser: bool = True, port: int = 0) -> str:  # noqa: A001  # skate.dashboard.open() reads well.
    """Show the running session; returns the address, which carries the token.

    Args:
        browser: Open a browser there.
        port: 0: any free one.

    Raises:
        RuntimeError: No session is running, or the UI's process did not start.
        ImportError: The extra is missing: pip install 'skate[dashboard]'.
    """
    import skate
    from skate.ui_launch import open_ui

    if not skate.is_initialized():
        raise RuntimeError("no session is running: call skate.init() first; for runs that have ended there is `skate ui`")
    return open_ui(skate.get_runtime_context().get_session_name(), port, browser=browser)
