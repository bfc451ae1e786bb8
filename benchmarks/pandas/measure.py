"""Cases of one suite on one library, in this process: one line of JSON before and one after each case.

`python -m benchmarks.pandas.measure SUITE PEER DIRECTORY CASE…`. Runs in the libraries' own environments too: it imports nothing but the
standard library and the library under test. The caches of the operating system are warm; the first call of a case is kept apart (`first_s`).
"""

from __future__ import annotations

import gc
import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.pandas.suites import SUITES, Suite

_MODULES = {
    "pandas": "pandas", "skate": "skate.pandas", "modin": "modin.pandas", "fireducks": "fireducks.pandas", "bodo": "bodo.pandas",
}  # fmt: skip


def main() -> None:
    suite, peer, directory = SUITES[sys.argv[1]], sys.argv[2], Path(sys.argv[3])
    programs = import_module(f"benchmarks.pandas.{'limits' if peer == 'polars' else 'programs'}.{suite.program}")
    pd = import_library(peer)
    if suite.is_cold:
        _say(case="whole", answer=summary(programs.program(pd, str(directory))))
        return
    tables = {name: finish(table) for name, table in getattr(programs, suite.load)(pd, directory).items()}
    _say(version=str(getattr(pd, "__version__", "")))
    for name in sys.argv[4:]:
        _say(begin=name)
        if name not in programs.CASES:
            _say(case=name, error="not written for this library")
            continue
        try:
            _say(case=name, **_time(programs.CASES[name], pd, tables, suite))
        except Exception as error:
            _say(case=name, error=f"{type(error).__name__}: {str(error)[:300]}")


def import_library(peer: str) -> Any:
    """The module with pandas' API (Polars for the limit), with as many workers as this process may use processors."""
    if peer == "polars":
        return import_module("polars")
    if peer == "modin":
        import os

        os.environ.setdefault("MODIN_ENGINE", "ray")
        os.environ["MODIN_CPUS"] = str(len(os.sched_getaffinity(0)))
    return import_module(_MODULES[peer])


def finish(value: Any) -> Any:
    """Have a lazy library do the work that it put off: what a user waits for who looks at the result."""
    if isinstance(value, dict):
        return {name: finish(part) for name, part in value.items()}
    for name in ("_evaluate", "execute_plan", "collect"):  # FireDucks, Bodo, a Polars LazyFrame
        method = getattr(type(value), name, None)
        if method is not None:
            done = method(value)
            return value if done is None else done
    if type(value).__module__.startswith("modin."):
        from modin.utils import execute

        execute(value)
    elif hasattr(value, "_mgr"):
        _ = value._mgr  # pandas has it; skate.pandas makes it from the plan.
    return value


def _time(case: Callable[[Any, Any], Any], pd: Any, tables: dict[str, Any], suite: Suite) -> dict[str, Any]:
    gc.collect()
    _reset_peak()
    started = time.perf_counter()
    answer = finish(case(pd, tables))
    first_s = time.perf_counter() - started
    peak_bytes = _peak_bytes()
    described = summary(answer)
    del answer
    times: list[float] = []
    # A long case is not repeated as often: its spread is small beside it.
    for _ in range(1 if first_s > 20 else suite.repeats):
        gc.collect()
        started = time.perf_counter()
        for _ in range(suite.calls):
            result = finish(case(pd, tables))
        times.append((time.perf_counter() - started) / suite.calls)
        del result
    return {"value_s": min(times), "slowest_s": max(times), "first_s": first_s, "peak_bytes": peak_bytes, "answer": described}


# ---------------------------------------------------------------- what a result says, in a few numbers


def summary(value: Any) -> Any:
    """A description that two libraries can be compared by: of each column the count of values, their sum, and the sum weighted by place
    (which differs when the order of rows does)."""
    if isinstance(value, dict):
        return {str(name): summary(part) for name, part in value.items()}
    for name in ("to_pandas", "_to_pandas"):
        method = getattr(value, name, None)
        if method is not None:
            value = method()
            break
    if hasattr(value, "reset_index") and getattr(value, "ndim", 0) == 1:
        value = value.to_frame("value")
    if hasattr(value, "columns"):
        index = value.index
        if not (type(index).__name__ == "RangeIndex" or all(name is None for name in index.names)):
            value = value.reset_index(allow_duplicates=True)
        columns = [_column(value.iloc[:, place]) for place in range(value.shape[1])]
        return {"rows": len(value), "columns": [str(name) for name in value.columns], "values": columns}
    if hasattr(value, "tolist"):
        return summary(value.tolist())
    if isinstance(value, (list, tuple)):
        return {"length": len(value), "sum": sum(zlib.crc32(str(item).encode()) for item in value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _column(column: Any) -> dict[str, Any]:
    import numpy as np

    present = column.notna().to_numpy(dtype=bool)
    kind = str(column.dtype)
    values = column[present]
    if kind.startswith(("int", "uint", "float", "Int", "Float", "double", "bool")):
        numbers = values.to_numpy(dtype="float64")
    elif kind.startswith("datetime64"):
        numbers = values.astype("datetime64[us]").to_numpy().astype("int64") / 1e6 if "," not in kind else np.zeros(len(values))
    else:
        codes: dict[Any, int] = {}
        numbers = np.fromiter(
            (codes[v] if v in codes else codes.setdefault(v, zlib.crc32(str(v).encode()) % 65521) for v in values.tolist()),
            dtype="float64", count=len(values),
        )  # fmt: skip
    numbers = np.where(np.isfinite(numbers), numbers, -1.0)
    weights = np.arange(len(numbers), dtype="float64") % 1009 + 1
    return {"dtype": kind, "count": int(present.sum()), "sum": float(numbers.sum()), "in_order": float((numbers * weights).sum())}


def disagreement(reference: Any, other: Any, *, is_strict: bool) -> str:
    """How the other's answer differs; "" when it does not. Strict: order and dtypes count too, and names of columns."""
    if isinstance(reference, dict) and isinstance(other, dict) and "values" not in reference:
        for name in reference:
            if name not in other:
                return f"{name} is missing"
            if found := disagreement(reference[name], other[name], is_strict=is_strict):
                return f"{name}: {found}"
        return ""
    if isinstance(reference, dict) and isinstance(other, dict):
        if reference["rows"] != other["rows"]:
            return f"{other['rows']} rows, not {reference['rows']}"
        if is_strict and reference["columns"] != other["columns"]:
            return f"columns {other['columns']}, not {reference['columns']}"
        if len(reference["columns"]) != len(other["columns"]):
            return f"{len(other['columns'])} columns, not {len(reference['columns'])}"
        for name, one, two in zip(reference["columns"], reference["values"], other["values"], strict=True):
            for key in ("count", "sum", *(("in_order", "dtype") if is_strict else ())):
                if not _is_close(one[key], two[key]):
                    return f"{key} of {name} is {two[key]}, not {one[key]}"
        return ""
    return "" if _is_close(reference, other) else f"{str(other)[:80]}, not {str(reference)[:80]}"


def _is_close(one: Any, two: Any) -> bool:
    if isinstance(one, float) or isinstance(two, float):
        try:
            return math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-6) or (math.isnan(one) and math.isnan(two))
        except TypeError:
            return False
    return bool(one == two)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # Then the peak is that of the process until now.


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
