"""Plain `tqdm` in a worker: its bars are drawn by the driver, beside those of the other workers.

A bar that redraws itself by carriage returns comes through a pipe as one endless line. So when user code imports tqdm, its class is taught to tell
its state instead (`skate.experimental.tqdm_ray.take_over`). Nothing is imported before that, and bars that write elsewhere are left alone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MODULE = "tqdm.std"
_DRAWS = "skate.experimental.tqdm_ray"  # It stands above the engine: found by name.


def watch_for_tqdm() -> None:
    """Call once in a worker."""
    if _MODULE in sys.modules:
        _take_over(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _Finder())


def _take_over(module: ModuleType) -> None:
    try:
        importlib.import_module(_DRAWS).take_over(module)
    except Exception:  # A tqdm that we do not know prints as it likes.
        pass


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenTakeOver(spec.loader)
        return spec


class _ThenTakeOver(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _take_over(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
