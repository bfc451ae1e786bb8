"""Series: pandas' own class with a plan in the place of its block until somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from pandas.core.generic import NDFrame

from skate.pandas import lazy, udf
from skate.pandas.metaclass import DropIn


class Series(pd.Series, metaclass=DropIn):
    _sk_stands_for = pd.Series

    # ------------------------------------------------------------- the seam

    @property
    def _constructor(self) -> Callable[..., Series]:
        return Series

    def _constructor_from_mgr(self, mgr: Any, axes: Any) -> Any:
        series = object.__new__(Series)
        NDFrame.__init__(series, mgr)
        series.__dict__["_name"] = None
        return series if type(self) is Series else self._constructor(series)

    @property
    def _constructor_expanddim(self) -> Callable[..., Any]:
        return lazy.classes[pd.DataFrame]

    def _constructor_expanddim_from_mgr(self, mgr: Any, axes: Any) -> Any:
        frame: Any = object.__new__(lazy.classes[pd.DataFrame])
        NDFrame.__init__(frame, mgr)
        return frame if type(self) is Series else self._constructor_expanddim(frame)

    def __getattr__(self, name: str) -> Any:
        if name == "_mgr":
            return lazy.manager_of(self)
        return super().__getattr__(name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if type(self) is Series:
            return lazy.reduce_as_pandas(self)
        return super().__reduce_ex__(protocol)

    # ------------------------------------------------------------- Python functions

    def map(self, func: Any = None, na_action: Any = None, engine: Any = None, **kwargs: Any) -> Any:
        if callable(func) and type(self) is Series and engine is None and lazy.is_large(self):
            result = udf.series_map(self, func, na_action=na_action, **kwargs)
            if result is not NotImplemented:
                return result
        return super().map(func, na_action=na_action, engine=engine, **kwargs)

    def apply(self, func: Any, args: Any = (), *, by_row: Any = "compat", **kwargs: Any) -> Any:
        if callable(func) and type(self) is Series and not args and by_row == "compat" and lazy.is_large(self):
            result = udf.series_map(self, func, na_action=None, **kwargs)
            if result is not NotImplemented:
                return result
        return super().apply(func, args=args, by_row=by_row, **kwargs)

    # ------------------------------------------------------------- ways out

    def to_pandas(self) -> pd.Series:
        """This series as pandas' own class, sharing its memory (copy-on-write keeps the two apart)."""
        return lazy.to_pandas(self)


Series.__module__ = "pandas"
Series.__doc__ = pd.Series.__doc__
lazy.classes[pd.Series] = Series
