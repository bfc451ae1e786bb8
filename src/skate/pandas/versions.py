"""Is this a pandas we know? Looked at once, at import."""

from __future__ import annotations

PANDAS_MIN = (3, 1)
PANDAS_BELOW = (3, 2)
POLARS_MIN = (2, 0)


def check_versions() -> None:
    """Raise unless pandas, Polars and PyArrow are there, are known, and pandas has the one seam that skate.pandas needs.

    Raises:
        ImportError: Says what is missing or too old, and what to install.
    """
    try:
        import pandas
        import polars
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(f"skate.pandas needs {error.name}: pip install 'skate[pandas]'", name=error.name) from error
    found = version_of(pandas.__version__)
    if not PANDAS_MIN <= found < PANDAS_BELOW:
        raise ImportError(
            f"skate.pandas works with pandas >= 3.1 and < 3.2, and this is pandas {pandas.__version__}: copy-on-write and the `str` "
            "dtype of pandas 3 are what it stands on; pip install 'skate[pandas]'"
        )
    if version_of(polars.__version__) < POLARS_MIN:
        raise ImportError(f"skate.pandas needs polars >= 2.0, and this is {polars.__version__}: pip install 'skate[pandas]'")
    from pandas.core.generic import NDFrame

    probe = pandas.DataFrame({"a": [1]})
    if "_mgr" not in probe.__dict__ or not hasattr(NDFrame, "_from_mgr") or not hasattr(probe, "_constructor_from_mgr"):
        raise ImportError(f"pandas {pandas.__version__} keeps its blocks elsewhere than skate.pandas expects; use pandas 3.1")


def version_of(text: str) -> tuple[int, int]:
    parts = text.split(".")
    return int(parts[0]), int(parts[1])
