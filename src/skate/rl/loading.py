"""`load`: a checkpoint of whichever algorithm."""

from __future__ import annotations

import os
import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

from skate.rl.algorithm import Algorithm


def load(path: str | os.PathLike[str], **changes: Any) -> Algorithm[Any]:
    """The training that was saved there, ready to go on; `changes` are settings by name. Checkpoints are pickles: load only your own."""
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    name = pickle.loads(Path(path).read_bytes())["algorithm"]
    algorithm: Algorithm[Any] = getattr(import_module("skate.rl"), name).load(path, **changes)
    return algorithm
