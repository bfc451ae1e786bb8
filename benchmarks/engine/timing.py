"""How long and how often, and the rows of Ray's microbenchmark: those of `skate microbenchmark`.

The file is loaded by its path: it has to run in Ray's virtual environment, where Skate cannot be imported.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[2] / "src" / "skate" / "cli" / "microbenchmark_rows.py"
_spec = importlib.util.spec_from_file_location("microbenchmark_rows", _PATH)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)

CPUS = _module.CPUS
FULL, QUICK = _module.FULL, _module.QUICK
Effort, Result = _module.Effort, _module.Result
MicrobenchmarkRows = _module.MicrobenchmarkRows
rate, seconds = _module.rate, _module.seconds
