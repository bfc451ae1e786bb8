"""`.loc`: reads by a mask or by labels of columns become part of the plan; everything else is pandas' own indexer."""

from __future__ import annotations

from typing import Any

from skate.pandas import ops
from skate.pandas.plain import PlainFrame
from skate.pandas.warning_lines import counts_as_pandas

_Loc = type(PlainFrame().loc)


class Loc(_Loc):  # type: ignore[misc, valid-type]
    def __getitem__(self, key: Any) -> Any:
        made = ops.locate(self.obj, key) if self.axis is None else NotImplemented
        return super().__getitem__(key) if made is NotImplemented else made


counts_as_pandas(Loc)
