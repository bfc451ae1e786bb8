"""DataFrame: pandas' own class with a plan in the place of its blocks until somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from pandas.core.generic import NDFrame

from skate.pandas import lazy, udf
from skate.pandas.metaclass import DropIn

_COLUMNS = pd.DataFrame.columns
_INDEX = pd.DataFrame.index


class DataFrame(pd.DataFrame, metaclass=DropIn):
    _sk_stands_for = pd.DataFrame

    # ------------------------------------------------------------- the seam

    @property
    def _constructor(self) -> Callable[..., DataFrame]:
        return DataFrame

    def _constructor_from_mgr(self, mgr: Any, axes: Any) -> Any:
        frame = object.__new__(DataFrame)
        NDFrame.__init__(frame, mgr)
        return frame if type(self) is DataFrame else self._constructor(frame)

    @property
    def _constructor_sliced(self) -> Callable[..., Any]:
        from skate.pandas.series import Series

        return Series

    def _constructor_sliced_from_mgr(self, mgr: Any, axes: Any) -> Any:
        series: Any = object.__new__(lazy.classes[pd.Series])
        NDFrame.__init__(series, mgr)
        series.__dict__["_name"] = None
        return series if type(self) is DataFrame else self._constructor_sliced(series)

    def __getattr__(self, name: str) -> Any:
        if name == "_mgr":
            return lazy.manager_of(self)
        return super().__getattr__(name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # As plain pandas: whoever reads the pickle needs no Skate.
        if type(self) is DataFrame:
            return lazy.reduce_as_pandas(self)
        return super().__reduce_ex__(protocol)

    # ------------------------------------------------------------- Python functions

    def apply(
        self, func: Any, axis: Any = 0, raw: Any = False, result_type: Any = None, args: Any = (), by_row: Any = "compat",
        engine: Any = None, engine_kwargs: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        usual = raw is False and result_type is None and by_row == "compat" and engine is None and engine_kwargs is None
        if usual and callable(func) and type(self) is DataFrame and lazy.is_large(self):
            result = udf.frame_apply(self, func, axis, args, kwargs)
            if result is not NotImplemented:
                return result
        return super().apply(
            func,
            axis=axis,
            raw=raw,
            result_type=result_type,
            args=args,
            by_row=by_row,
            engine=engine,
            engine_kwargs=engine_kwargs,
            **kwargs,
        )

    # ------------------------------------------------------------- ways out

    def to_pandas(self) -> pd.DataFrame:
        """This frame as pandas' own class, sharing its memory (copy-on-write keeps the two apart)."""
        return lazy.to_pandas(self)


DataFrame.__module__ = "pandas"
DataFrame.__doc__ = pd.DataFrame.__doc__
lazy.classes[pd.DataFrame] = DataFrame
