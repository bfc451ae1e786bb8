"""`.str` and `.dt` of a planned series: what is known becomes an expression, everything else is pandas' own accessor."""

from __future__ import annotations

from typing import Any

from skate.pandas import expressions as ex, kinds, lazy, ops
from skate.pandas.warning_lines import counts_as_pandas


class AccessorProperty:
    """Gives the planned accessor for large series of the right dtype, and pandas' own otherwise (also on the class)."""

    def __init__(self, planned: Any, original: Any) -> None:
        self._planned = planned
        self._original_class = original

    def __get__(self, series: Any, owner: Any) -> Any:
        if series is None:
            return self._original_class
        if lazy.is_large(series, self._planned.work) and ops.plan_of(series) is not None and self._planned.fits(series.dtype):
            return self._planned(series, self._original_class)
        return self._original_class(series)


class _Planned:
    work = "element"

    def __init__(self, series: Any, original: Any) -> None:
        self._series = series
        self._original = original

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        ops.leave(self._series, f"accessor .{name}")
        return getattr(self._original(self._series), name)

    def __dir__(self) -> list[str]:
        return dir(self._original(self._series))


class PlannedStr(_Planned):
    work = "text"

    @staticmethod
    def fits(dtype: Any) -> bool:
        return kinds.is_str(dtype)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self.slice(key.start, key.stop, key.step)
        return self._original(self._series)[key]

    def __iter__(self) -> Any:
        return iter(self._original(self._series))

    def contains(self, pat: Any, case: Any = True, flags: Any = 0, na: Any = ..., regex: Any = True) -> Any:
        if case is True and flags == 0 and na is ... and isinstance(regex, bool):
            made = ops.elementwise(
                self._series,
                lambda column: ex.contains(column, pat, regex=regex),
                "str.contains",
                lambda plain: plain.str.contains(pat, regex=regex),
                "text",
            )
            if made is not NotImplemented:
                return made
        more = {} if na is ... else {"na": na}
        return self._original(self._series).contains(pat, case=case, flags=flags, regex=regex, **more)

    def startswith(self, pat: Any, na: Any = ...) -> Any:
        return self._ends("startswith", pat, na, at_end=False)

    def endswith(self, pat: Any, na: Any = ...) -> Any:
        return self._ends("endswith", pat, na, at_end=True)

    def _ends(self, name: str, pat: Any, na: Any, *, at_end: bool) -> Any:
        if na is ...:
            made = ops.elementwise(
                self._series,
                lambda column: ex.starts_or_ends(column, pat, at_end=at_end),
                f"str.{name}",
                lambda plain: getattr(plain.str, name)(pat),
            )
            return getattr(self._original(self._series), name)(pat) if made is NotImplemented else made
        return getattr(self._original(self._series), name)(pat, na=na)

    def slice(self, start: Any = None, stop: Any = None, step: Any = None) -> Any:
        made = ops.elementwise(
            self._series,
            lambda column: ex.slice_str(column, start, stop, step),
            "str.slice",
            lambda plain: plain.str.slice(start, stop, step),
        )
        return self._original(self._series).slice(start, stop, step) if made is NotImplemented else made


class PlannedDt(_Planned):
    work = "values"

    @staticmethod
    def fits(dtype: Any) -> bool:
        return kinds.is_time(dtype)

    def __getattr__(self, name: str) -> Any:
        made = ops.date_part(self._series, name)
        return super().__getattr__(name) if made is NotImplemented else made


for _cls in (AccessorProperty, _Planned, PlannedStr, PlannedDt):
    counts_as_pandas(_cls)
