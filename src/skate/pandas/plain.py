"""pandas' own classes. `install()` puts ours in their place in pandas' namespace, so nothing here may say `pd.DataFrame` while it runs."""

from __future__ import annotations

from pandas import DataFrame as PlainFrame, Series as PlainSeries

__all__ = ["PlainFrame", "PlainSeries"]
