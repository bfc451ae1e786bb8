"""skate.pandas: change one import line, and pandas is faster.

    import skate.pandas as pd        # was: import pandas as pd

Everything pandas has is here, with the same results. DataFrame and Series are subclasses of pandas' own; operations on large data are
planned and run on all cores by Polars, and whatever is not planned is done by pandas itself. `pd.explain(df)` shows a plan,
`pd.report()` what each line of a program cost and why. Docs: docs/pandas/.
"""

from __future__ import annotations

from typing import Any

from skate.pandas.versions import check_versions

check_versions()

from skate.pandas import namespace  # noqa: E402
from skate.pandas.exceptions import CheckError, FallbackError, SourceChangedError  # noqa: E402
from skate.pandas.extras import explain, from_pandas, from_polars, report  # noqa: E402
from skate.pandas.frame import DataFrame  # noqa: E402
from skate.pandas.install import install, load_ipython_extension, uninstall, unload_ipython_extension  # noqa: E402
from skate.pandas.series import Series  # noqa: E402
from skate.pandas.settings import settings  # noqa: E402

namespace.add_submodule_finder()
namespace.REPLACED.update(explain=explain, report=report)

__all__ = [
    "CheckError", "DataFrame", "FallbackError", "Series", "SourceChangedError", "explain", "from_pandas", "from_polars", "install",
    "load_ipython_extension", "report", "settings", "uninstall", "unload_ipython_extension",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    value = namespace.get(name)
    if not name.startswith("__"):
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    import pandas

    return sorted({*dir(pandas), *__all__})
