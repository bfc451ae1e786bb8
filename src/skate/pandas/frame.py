"""DataFrame: pandas' own class with a plan in the place of its blocks until somebody looks at them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pandas.core.generic import NDFrame

from skate.pandas import execute, groupby, lazy, ops, query, sinks, udf, warning_lines
from skate.pandas.locating import Loc
from skate.pandas.metaclass import DropIn
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.warning_lines import counts_as_pandas

_COLUMNS: Any = PlainFrame.__dict__["columns"]


def _is_planned(value: Any) -> bool:
    return type(value) in lazy.ours and lazy.planned(value) is not None


class DataFrame(PlainFrame, metaclass=DropIn):
    _sk_stands_for = PlainFrame

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
        series: Any = object.__new__(lazy.classes[PlainSeries])
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

    # ------------------------------------------------------------- what is known without executing

    @property
    def columns(self) -> Any:
        # pandas asks for it dozens of times in one operation: this way it costs a tenth of a microsecond more than pandas' own.
        if "_mgr" in self.__dict__:
            return _COLUMNS.__get__(self)
        plan = lazy.planned(self)
        return _COLUMNS.__get__(self) if plan is None else execute.labels_of(plan)

    @columns.setter
    def columns(self, labels: Any) -> None:
        _COLUMNS.__set__(self, labels)

    @property
    def dtypes(self) -> Any:
        plan = lazy.planned(self)
        if plan is None or not execute.is_proved(plan):
            return PlainFrame.dtypes.fget(self)
        return lazy.adopt(PlainSeries([column.dtype for column in plan.columns.values()], index=self.columns, dtype=object))

    @property
    def shape(self) -> tuple[int, int]:
        plan = lazy.planned(self)
        return PlainFrame.shape.fget(self) if plan is None else (len(self), len(plan.columns))

    ndim = 2  # type: ignore[assignment]

    def __len__(self) -> int:
        manager = self.__dict__.get("_mgr")
        if manager is not None:
            return len(manager.axes[1])
        plan = lazy.planned(self)
        if plan is not None:
            rows = ops.length(plan)
            if rows is not None:
                return rows
        return super().__len__()

    # ------------------------------------------------------------- planned operations

    def __getitem__(self, key: Any) -> Any:
        manager = self.__dict__.get("_mgr")
        if manager is not None and type(key) is str:
            found = super().__getitem__(key)
            return ops.remember_frame(found, self, key) if lazy.is_large(self, "text") else found
        made = ops.getitem(self, key)
        return super().__getitem__(key) if made is NotImplemented else made

    def __setitem__(self, key: Any, value: Any) -> None:
        if (
            sys.getrefcount(self) <= warning_lines.CHAINED_ITEM
            and not warning_lines.is_local_in_caller_frame(self)
            and warning_lines.is_setitem_syntax_in_caller_frame()
        ):
            warning_lines.warn_of_chained_item()
        # A frame in memory takes what pandas computes; what is only planned makes it a plan.
        if "_mgr" in self.__dict__ and not _is_planned(value):
            super().__setitem__(key, value)
            return
        plan = ops.plan_of(self)
        if plan is not None:
            made = ops.assign(plan, key, value)
            if made is not None:
                self.__dict__.pop("_mgr", None)
                self.__dict__.pop("_sk_resident", None)
                self.__dict__["_sk_plan"] = made
                return
            ops.leave(self, f"[{key!r}] =")
        super().__setitem__(key, value)

    @property
    def loc(self) -> Any:
        return Loc("loc", self)

    def assign(self, **kwargs: Any) -> Any:
        if not lazy.is_large(self, "element"):
            return super().assign(**kwargs)
        frame = self.copy(deep=False)
        for label, value in kwargs.items():
            frame[label] = value(frame) if callable(value) else value
        return frame

    def copy(self, deep: bool = True) -> Any:
        if lazy.planned(self) is not None and not self.__dict__["_attrs"]:
            return lazy.share(self)
        return super().copy(deep=deep)

    def query(self, expr: Any, **kwargs: Any) -> Any:
        if isinstance(expr, str) and not kwargs and ops.plan_of(self, "element") is not None:
            mask = query.evaluate(self, expr, sys._getframe(1))
            if mask is not NotImplemented:
                made = ops.getitem(self, mask)
                if made is not NotImplemented:
                    return made
            ops.leave(self, "query")
        kwargs["level"] = kwargs.pop("level", 0) + 1
        return super().query(expr, **kwargs)

    def head(self, n: int = 5) -> Any:
        made = ops.head(self, n)
        return super().head(n) if made is NotImplemented else made

    def rename(self, mapper: Any = None, *, index: Any = None, columns: Any = None, axis: Any = None, **kwargs: Any) -> Any:
        if mapper is None and index is None and axis is None and columns is not None and not kwargs:
            made = ops.rename(self, columns)
            if made is not NotImplemented:
                return made
        return super().rename(mapper, index=index, columns=columns, axis=axis, **kwargs)

    def drop(self, labels: Any = None, *, axis: Any = 0, index: Any = None, columns: Any = None, **kwargs: Any) -> Any:
        gone = columns if labels is None and index is None else labels if axis in (1, "columns") and columns is None else None
        if gone is not None and not kwargs:
            made = ops.drop(self, gone)
            if made is not NotImplemented:
                return made
        return super().drop(labels, axis=axis, index=index, columns=columns, **kwargs)

    # `inplace` has a default that pandas doesn't tell: what was not given is not handed on.

    def sort_values(self, by: Any, **kwargs: Any) -> Any:
        if lazy.is_large(self, "heavy") and kwargs.keys() <= {"ascending", "kind", "na_position", "ignore_index"}:
            made = ops.sort_values(
                self, by, kwargs.get("ascending", True), kwargs.get("kind", "quicksort"), kwargs.get("na_position", "last"),
                kwargs.get("ignore_index", False),
            )  # fmt: skip
            if made is not NotImplemented:
                return made
        return super().sort_values(by, **kwargs)

    def drop_duplicates(self, subset: Any = None, **kwargs: Any) -> Any:
        if lazy.is_large(self, "heavy") and kwargs.keys() <= {"keep", "ignore_index"}:
            made = ops.drop_duplicates(self, subset, kwargs.get("keep", "first"), kwargs.get("ignore_index", False))
            if made is not NotImplemented:
                return made
        return super().drop_duplicates(subset, **kwargs)

    def dropna(self, **kwargs: Any) -> Any:
        if lazy.is_large(self, "heavy") and kwargs.keys() <= {"how", "subset"}:
            made = ops.dropna(self, kwargs.get("subset"), kwargs.get("how", "any"))
            if made is not NotImplemented:
                return made
        return super().dropna(**kwargs)

    def reset_index(self, level: Any = None, **kwargs: Any) -> Any:
        if level is None and kwargs.keys() <= {"drop"} and lazy.planned(self) is not None:
            made = ops.reset_index(self, kwargs.get("drop", False) is True)
            if made is not NotImplemented:
                return made
        return super().reset_index(level, **kwargs)

    def set_index(self, keys: Any, **kwargs: Any) -> Any:
        if not kwargs and lazy.planned(self) is not None:
            made = ops.set_index(self, keys)
            if made is not NotImplemented:
                return made
        return super().set_index(keys, **kwargs)

    def merge(
        self, right: Any, how: Any = "inner", on: Any = None, left_on: Any = None, right_on: Any = None, left_index: Any = False,
        right_index: Any = False, sort: Any = False, suffixes: Any = ("_x", "_y"), **kwargs: Any,
    ) -> Any:  # fmt: skip
        is_usual = not (left_index or right_index or sort or kwargs) and isinstance(right, PlainFrame)
        if is_usual and (lazy.is_large(self) or (type(right) in lazy.ours and lazy.is_large(right))):
            if on is None and left_on is None and right_on is None:
                on = [label for label in self.columns if label in right.columns] or None
                made = NotImplemented if on is None else ops.merge(self, right, how, on, on, suffixes)
                on = None
            elif on is not None:
                made = (
                    NotImplemented
                    if left_on is not None or right_on is not None
                    else ops.merge(self, right, how, on, on, suffixes)
                )
            else:
                made = ops.merge(self, right, how, left_on, right_on, suffixes)
            if made is not NotImplemented:
                return made
            ops.leave(self, f"merge how={how!r}")
        return super().merge(
            right, how=how, on=on, left_on=left_on, right_on=right_on, left_index=left_index, right_index=right_index, sort=sort,
            suffixes=suffixes, **kwargs,
        )  # fmt: skip

    def groupby(
        self, by: Any = None, level: Any = None, *, as_index: Any = True, sort: Any = True, group_keys: Any = True, observed: Any = True,
        dropna: Any = True,
    ) -> Any:  # fmt: skip
        if not lazy.is_large(self, "groups"):
            return super().groupby(
                by=by, level=level, as_index=as_index, sort=sort, group_keys=group_keys, observed=observed, dropna=dropna
            )
        options = {"as_index": as_index, "sort": sort, "group_keys": group_keys, "observed": observed, "dropna": dropna}
        if level is None and all(isinstance(option, bool) for option in options.values()):
            made = groupby.group(self, by, options)
            if made is not NotImplemented:
                return made
        return super().groupby(by=by, level=level, **options)

    # ------------------------------------------------------------- Python functions

    def apply(
        self, func: Any, axis: Any = 0, raw: Any = False, result_type: Any = None, args: Any = (), by_row: Any = "compat",
        engine: Any = None, engine_kwargs: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        usual = raw is False and result_type is None and by_row == "compat" and engine is None and engine_kwargs is None
        is_long = lazy.is_large(self) or (axis in (1, "columns") and len(self) >= udf.ROWS_MIN)
        if usual and callable(func) and type(self) is DataFrame and is_long:
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

    def map(self, func: Any, na_action: Any = None, **kwargs: Any) -> Any:
        if callable(func) and type(self) is DataFrame and lazy.is_large(self):
            result = udf.frame_map(self, func, na_action, kwargs)
            if result is not NotImplemented:
                return result
        return super().map(func, na_action=na_action, **kwargs)

    # ------------------------------------------------------------- ways out

    def to_csv(self, path_or_buf: Any = None, **kwargs: Any) -> Any:
        if lazy.planned(self) is not None and type(self) is DataFrame and sinks.to_csv(self, path_or_buf, kwargs):
            return None
        return super().to_csv(path_or_buf, **kwargs)

    def to_parquet(self, path: Any = None, **kwargs: Any) -> Any:
        if lazy.planned(self) is not None and type(self) is DataFrame and sinks.to_parquet(self, path, kwargs):
            return None
        return super().to_parquet(path, **kwargs)

    def to_pandas(self) -> PlainFrame:
        """This frame as pandas' own class, sharing its memory (copy-on-write keeps the two apart)."""
        return lazy.to_pandas(self)


DataFrame.__module__ = "pandas"
counts_as_pandas(DataFrame)
DataFrame.__doc__ = PlainFrame.__doc__
lazy.classes[PlainFrame] = DataFrame
lazy.ours.add(DataFrame)
