"""What the node process arranges for itself before anything else. What workers inherit of it is undone in `worker_processes`."""

from __future__ import annotations

import os
import resource
import signal

from skate.engine.node.worker_processes import become_subreaper


def set_up_process() -> None:
    """Signals, descriptors, orphans, working directory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # A thousand actors take four descriptors each.
    except (OSError, ValueError):
        pass
    become_subreaper()
    os.chdir("/")  # Workers go where their job is; the node must not keep a directory from being removed.
