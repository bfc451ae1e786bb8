"""One row on one peer, in this process: prints one line of JSON. `python -m benchmarks.engine.measure ROW PEER [--quick]`.

Imports nothing but the standard library and the peer: it runs in Ray's virtual environment too.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

from benchmarks.engine import limits, pools
from benchmarks.engine.actor_model import Rows
from benchmarks.engine.timing import FULL, QUICK, Effort, Result

_PACKAGES = {"skate": "skate", "ray": "ray", "joblib": "joblib"}


def main() -> None:
    row, peer = sys.argv[1:3]
    effort = QUICK if "--quick" in sys.argv else FULL
    result = _measure(row, peer, effort)
    print(
        json.dumps({
            "value": result.value, "spread": result.spread, "answer": result.answer, "note": result.note, "version": _version(peer),
        }),
        flush=True,
    )  # fmt: skip


def _measure(row: str, peer: str, effort: Effort) -> Result:
    if peer in ("skate", "ray"):
        rows = Rows(import_module(peer), peer)
        function = getattr(rows, row)
        if row in Rows.WITHOUT_ENGINE:
            return _result(function(effort))
        rows.start()
        try:
            return _result(function(effort))
        finally:
            rows.stop()
    with {**pools.PEERS, **limits.PEERS}[peer]() as one:
        return _result(getattr(one, row)(effort))


def _result(value: Any) -> Result:
    assert isinstance(value, Result)
    return value


def _version(peer: str) -> str:
    if peer in _PACKAGES:
        try:
            return version(_PACKAGES[peer])
        except Exception:
            return str(getattr(import_module(peer), "__version__", ""))
    return platform.python_version()


if __name__ == "__main__":
    main()
