"""Accelerate programs that say `import pandas`: its public names are replaced by ours, and can be put back."""

from __future__ import annotations

from typing import Any

_originals: dict[str, Any] = {}

# Functions whose results are frames or series, or that take plans. Others of pandas stay as they are.
_FUNCTIONS = (
    "concat", "crosstab", "cut", "from_dummies", "get_dummies", "json_normalize", "lreshape", "melt", "merge", "merge_asof", "merge_ordered",
    "pivot", "pivot_table", "qcut", "read_clipboard", "read_csv", "read_excel", "read_feather", "read_fwf", "read_hdf", "read_html",
    "read_json", "read_orc", "read_parquet", "read_pickle", "read_sas", "read_spss", "read_sql", "read_sql_query", "read_sql_table",
    "read_stata", "read_table", "read_xml", "to_datetime", "to_numeric", "to_timedelta", "wide_to_long",
)  # fmt: skip


def install() -> None:
    """Make `import pandas` mean this library in the whole process, also in libraries that are imported later."""
    import pandas

    from skate.pandas import namespace

    if _originals:
        return
    for name in ("DataFrame", "Series", *_FUNCTIONS):
        if hasattr(pandas, name):
            _originals[name] = getattr(pandas, name)
            # Made before the name is replaced: `get` looks at pandas.
            namespace.get(name)
    for name in _originals:
        setattr(pandas, name, namespace.REPLACED[name])
    for name in ("explain", "report"):
        setattr(pandas, name, namespace.get(name))


def uninstall() -> None:
    """Give pandas its own names back. Frames made meanwhile go on working."""
    import pandas

    for name, value in _originals.items():
        setattr(pandas, name, value)
    for name in ("explain", "report"):
        if _originals and hasattr(pandas, name):
            delattr(pandas, name)
    _originals.clear()


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext skate.pandas`."""
    install()


def unload_ipython_extension(ipython: Any) -> None:
    """`%unload_ext skate.pandas`."""
    uninstall()
