"""Series: pandas' own class with a plan in the place of its block until somebody looks at it."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
from pandas.core.generic import NDFrame

from skate.pandas import accessors, expressions as ex, lazy, ops, udf, warning_lines
from skate.pandas.accessors import AccessorProperty
from skate.pandas.locating import Loc
from skate.pandas.metaclass import DropIn
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.warning_lines import counts_as_pandas


class Series(PlainSeries, metaclass=DropIn):
    _sk_stands_for = PlainSeries

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
        return lazy.classes[PlainFrame]

    def _constructor_expanddim_from_mgr(self, mgr: Any, axes: Any) -> Any:
        frame: Any = object.__new__(lazy.classes[PlainFrame])
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

    # ------------------------------------------------------------- what is known without executing

    @property
    def dtype(self) -> Any:
        manager = self.__dict__.get("_mgr")
        if manager is not None:
            return manager.blocks[0].dtype
        plan = lazy.planned(self)
        return PlainSeries.dtype.fget(self) if plan is None else ops.the_column(plan).dtype

    ndim = 1  # type: ignore[assignment]

    @property
    def dtypes(self) -> Any:
        return self.dtype

    def __len__(self) -> int:
        manager = self.__dict__.get("_mgr")
        if manager is not None:
            return len(manager.axes[0])
        plan = lazy.planned(self)
        if plan is not None:
            rows = ops.length(plan)
            if rows is not None:
                return rows
        return super().__len__()

    # ------------------------------------------------------------- planned operations

    def _arith_method(self, other: Any, op: Any) -> Any:
        name = op.__name__
        if lazy.is_large(self, "values"):
            reflected = name.startswith("r") and name[1:] in ex.ARITHMETIC
            made: Any = NotImplemented
            if reflected:
                made = ops.binary("arithmetic", name[1:], other, self)
            elif name in ex.ARITHMETIC:
                made = ops.binary("arithmetic", name, self, other)
            if made is not NotImplemented:
                return made
            ops.leave(self, name)
        return super()._arith_method(other, op)

    def _cmp_method(self, other: Any, op: Any) -> Any:
        if lazy.is_large(self, "element"):
            made = ops.binary("comparison", op.__name__, self, other)
            if made is not NotImplemented:
                return made
            ops.leave(self, op.__name__)
        return super()._cmp_method(other, op)

    def _logical_method(self, other: Any, op: Any) -> Any:
        if lazy.is_large(self, "element") and op.__name__ in ex.LOGICAL:
            made = ops.binary("logical", op.__name__, self, other)
            if made is not NotImplemented:
                return made
            ops.leave(self, op.__name__)
        return super()._logical_method(other, op)

    def __invert__(self) -> Any:
        made = ops.invert(self)
        return super().__invert__() if made is NotImplemented else made

    def __neg__(self) -> Any:
        made = ops.elementwise(self, ex.negative, "-", lambda plain: -plain, "values")
        return super().__neg__() if made is NotImplemented else made

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, PlainSeries):
            plan = ops.plan_of(self, "rows")
            made = NotImplemented if plan is None else ops.filter_rows(plan, key)
            if made is not NotImplemented:
                return made
        return super().__getitem__(key)

    @property
    def loc(self) -> Any:
        return Loc("loc", self)

    def isin(self, values: Any) -> Any:
        made = ops.is_in(self, values)
        return super().isin(values) if made is NotImplemented else made

    def between(self, left: Any, right: Any, inclusive: Any = "both") -> Any:
        if inclusive in ("both", "neither", "left", "right") and lazy.planned(self) is not None:
            low = self >= left if inclusive in ("both", "left") else self > left
            return low & (self <= right if inclusive in ("both", "right") else self < right)
        return super().between(left, right, inclusive=inclusive)

    def where(self, cond: Any, other: Any = ex.MISSING, **kwargs: Any) -> Any:
        if (
            kwargs.get("inplace") is True
            and sys.getrefcount(self) <= warning_lines.CHAINED_METHOD
            and not warning_lines.is_local_in_caller_frame(self)
        ):
            warning_lines.warn_of_chained_method()
        return self._replaced("where", cond, other, kwargs)

    def mask(self, cond: Any, other: Any = ex.MISSING, **kwargs: Any) -> Any:
        if (
            kwargs.get("inplace") is True
            and sys.getrefcount(self) <= warning_lines.CHAINED_METHOD
            and not warning_lines.is_local_in_caller_frame(self)
        ):
            warning_lines.warn_of_chained_method()
        return self._replaced("mask", cond, other, kwargs)

    def _replaced(self, name: builtins.str, cond: Any, other: Any, kwargs: Any) -> Any:
        if not kwargs and lazy.is_large(self, "values"):
            made = ops.where(self, cond, other, negate=name == "mask")
            if made is not NotImplemented:
                return made
            ops.leave(self, name)
        more = () if other is ex.MISSING else (other,)
        return getattr(super(), name)(cond, *more, **kwargs)

    def unique(self) -> Any:
        made = ops.unique(self)
        return super().unique() if made is NotImplemented else made

    def isna(self) -> Any:
        made = ops.elementwise(self, ex.is_missing, "isna", lambda plain: plain.isna(), "values")
        return super().isna() if made is NotImplemented else made

    isnull = isna

    def notna(self) -> Any:
        made = ops.elementwise(
            self, lambda column: ex.is_missing(column, negate=True), "notna", lambda plain: plain.notna(), "values"
        )
        return super().notna() if made is NotImplemented else made

    notnull = notna

    def fillna(self, value: Any, **kwargs: Any) -> Any:
        if (
            kwargs.get("inplace") is True
            and sys.getrefcount(self) <= warning_lines.CHAINED_METHOD
            and not warning_lines.is_local_in_caller_frame(self)
        ):
            warning_lines.warn_of_chained_method()
        if not kwargs and isinstance(value, (int, float, builtins.str, pd.Timestamp)):
            made = ops.elementwise(
                self, lambda column: ex.fill_missing(column, value), "fillna", lambda plain: plain.fillna(value), "values"
            )
            if made is not NotImplemented:
                return made
        return super().fillna(value, **kwargs)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs and not isinstance(dtype, dict):
            made = ops.elementwise(
                self, lambda column: ex.cast(column, dtype), "astype", lambda plain: plain.astype(dtype), "values"
            )
            if made is not NotImplemented:
                return made
        return super().astype(dtype, *args, **kwargs)

    def copy(self, deep: bool = True) -> Any:
        if lazy.planned(self) is not None and not self.__dict__["_attrs"]:
            return lazy.share(self)
        return super().copy(deep=deep)

    def head(self, n: int = 5) -> Any:
        made = ops.head(self, n)
        return super().head(n) if made is NotImplemented else made

    def reset_index(self, level: Any = None, **kwargs: Any) -> Any:
        if level is None and kwargs.keys() <= {"drop", "name"} and lazy.planned(self) is not None:
            drop, name = kwargs.get("drop", False) is True, kwargs.get("name")
            if name is None or (isinstance(name, builtins.str) and not drop):
                made = ops.reset_index(self if name is None else self.rename(name), drop)
                if made is not NotImplemented:
                    return made
        return super().reset_index(level, **kwargs)

    def rename(self, index: Any = None, **kwargs: Any) -> Any:
        plan = lazy.planned(self)
        if plan is not None and isinstance(index, builtins.str) and not kwargs:
            return ops.series_result(plan, ops.the_column(plan), index, "rename", lambda: ops.result(plan).rename(index))
        return super().rename(index, **kwargs)

    def _reduced(self, name: str, args: Any, kwargs: Any) -> Any:
        if not args and not kwargs and lazy.planned(self) is not None:
            made = ops.reduce(self, name)
            if made is not NotImplemented:
                return made
        return getattr(super(), name)(*args, **kwargs)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("sum", args, kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("mean", args, kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("min", args, kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("max", args, kwargs)

    def count(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("count", args, kwargs)

    def nunique(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("nunique", args, kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("std", args, kwargs)

    def var(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("var", args, kwargs)

    def median(self, *args: Any, **kwargs: Any) -> Any:
        return self._reduced("median", args, kwargs)

    str = AccessorProperty(accessors.PlannedStr, PlainSeries.str)
    dt = AccessorProperty(accessors.PlannedDt, PlainSeries.dt)

    # ------------------------------------------------------------- Python functions

    def map(self, func: Any = None, na_action: Any = None, engine: Any = None, **kwargs: Any) -> Any:
        if callable(func) and type(self) is Series and engine is None and (lazy.is_large(self) or udf.is_worth(len(self), func)):
            result = udf.series_map(self, func, na_action=na_action, **kwargs)
            if result is not NotImplemented:
                return result
        return super().map(func, na_action=na_action, engine=engine, **kwargs)

    def apply(self, func: Any, args: Any = (), *, by_row: Any = "compat", **kwargs: Any) -> Any:
        is_long = lazy.is_large(self) or udf.is_worth(len(self), func)
        if callable(func) and type(self) is Series and not args and by_row == "compat" and is_long:
            result = udf.series_map(self, func, na_action=None, what="apply", **kwargs)
            if result is not NotImplemented:
                return result
        return super().apply(func, args=args, by_row=by_row, **kwargs)

    # ------------------------------------------------------------- ways out

    def to_pandas(self) -> PlainSeries:
        """This series as pandas' own class, sharing its memory (copy-on-write keeps the two apart)."""
        return lazy.to_pandas(self)


for _name in ("sum", "mean", "min", "max", "count", "nunique", "std", "var", "median"):
    # What inspect.signature and editors show.
    getattr(Series, _name).__signature__ = inspect.signature(getattr(PlainSeries, _name))

Series.__module__ = "pandas"
counts_as_pandas(Series)
Series.__doc__ = PlainSeries.__doc__
lazy.classes[PlainSeries] = Series
lazy.ours.add(Series)
