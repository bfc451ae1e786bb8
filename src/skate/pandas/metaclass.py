"""`isinstance(x, skate.pandas.DataFrame)` holds for every frame, also for those that a library made with pandas itself."""

from __future__ import annotations

from typing import Any


class DropIn(type):
    """The class of our DataFrame and Series, which stand in for `pandas.DataFrame` and `pandas.Series` in a user's program."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if "_sk_stands_for" in cls.__dict__:
            return isinstance(instance, cls._sk_stands_for)  # type: ignore[attr-defined]
        return type.__instancecheck__(cls, instance)  # A user's own subclass.

    def __subclasscheck__(cls, subclass: type) -> bool:
        if "_sk_stands_for" in cls.__dict__:
            return issubclass(subclass, cls._sk_stands_for)  # type: ignore[attr-defined]
        return type.__subclasscheck__(cls, subclass)
