"""Signatures: does a call fit a function? Asked at `.remote(…)`, so that a wrong call fails where it is written.

`inspect.Signature.bind` takes 3 µs; the hot path compares two numbers instead (`Signature.least`, `most`) and calls `check` only when they do not
settle it. Read from the code object: a decorated function counts as its wrapper, which is what will be called.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

_VARARGS, _VARKEYWORDS, _GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x04, 0x08, 0x20, 0x80, 0x200
_UNBOUNDED = 1 << 60


class Signature:
    """What a function accepts. A call without keywords fits exactly when `least` ≤ number of arguments ≤ `most`."""

    __slots__ = ("keywords", "least", "most", "names", "positional_only", "required", "required_keywords", "takes_any_keyword")

    def __init__(
        self,
        names: tuple[str, ...] = (),
        required: int = 0,
        positional_only: int = 0,
        keywords: tuple[str, ...] = (),
        required_keywords: tuple[str, ...] = (),
        *,
        takes_more: bool = False,
        takes_any_keyword: bool = False,
    ) -> None:
        self.names = names  # Positional parameters, without self.
        self.required = required  # The first so many of them have no default.
        self.positional_only = positional_only
        self.keywords = keywords  # Keyword-only parameters.
        self.required_keywords = required_keywords
        self.takes_any_keyword = takes_any_keyword
        # With a required keyword no call without keywords fits.
        self.least = required if not required_keywords else _UNBOUNDED + 1
        self.most = _UNBOUNDED if takes_more else len(names)

    def check(self, call: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError unless the arguments fit.

        Args:
            call: How the call is written, for the message: "square.remote".
        """
        names, given = self.names, len(args)
        if given > self.most:
            raise TypeError(f"{call}(): too many positional arguments: {given} for at most {self.most} {self._shown()}")
        if kwargs:
            self._check_keywords(call, given, kwargs)
        by_keyword = kwargs.keys() - set(names[: self.positional_only])
        missing = [name for name in names[given : self.required] if name not in by_keyword]
        missing += [name for name in self.required_keywords if name not in kwargs]
        if missing:
            shown = ", ".join(map(repr, missing))
            raise TypeError(f"{call}(): missing a required argument: {shown} {self._shown()}")

    def _check_keywords(self, call: str, given: int, kwargs: dict[str, Any]) -> None:
        named = self.names[self.positional_only :]
        for name in kwargs:
            if name in named:
                if named.index(name) + self.positional_only < given:
                    raise TypeError(f"{call}(): multiple values for argument {name!r} {self._shown()}")
            elif name not in self.keywords and not self.takes_any_keyword:
                if name in self.names:
                    raise TypeError(f"{call}(): {name!r} is positional only: it can't be given by keyword {self._shown()}")
                hint = near(name, [*named, *self.keywords])
                raise TypeError(f"{call}(): got an unexpected keyword argument {name!r}{hint} {self._shown()}")

    def _shown(self) -> str:
        return f"(parameters: {', '.join([*self.names, *self.keywords]) or 'none'})"


ANYTHING = Signature(takes_more=True, takes_any_keyword=True)


def signature_of(function: Any, *, skip_first: bool = False) -> Signature:
    """The signature of a function; of a method without its first parameter. Of what can't be read: ANYTHING."""
    if isinstance(function, types.MethodType):
        function, skip_first = function.__func__, True
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        return ANYTHING
    count = code.co_argcount
    names = code.co_varnames[:count]
    keywords = code.co_varnames[count : count + code.co_kwonlyargcount]
    required = count - len(function.__defaults__ or ())
    positional_only = code.co_posonlyargcount
    if skip_first and names:
        names, required, positional_only = names[1:], max(0, required - 1), max(0, positional_only - 1)
    keyword_defaults = function.__kwdefaults__ or {}
    return Signature(
        names,
        required,
        positional_only,
        keywords,
        tuple(name for name in keywords if name not in keyword_defaults),
        takes_more=bool(code.co_flags & _VARARGS),
        takes_any_keyword=bool(code.co_flags & _VARKEYWORDS),
    )


def _flags(function: Any) -> int:
    while isinstance(function, types.MethodType):
        function = function.__func__
    while type(function).__name__ == "partial" and hasattr(function, "func"):
        function = function.func
    code = getattr(function, "__code__", None)
    return code.co_flags if isinstance(code, types.CodeType) else 0


def is_generator(function: Any) -> bool:
    """Written with `yield`, in `def` or in `async def`."""
    return bool(_flags(function) & (_GENERATOR | _ASYNC_GENERATOR))


def is_coroutine(function: Any) -> bool:
    """Written as `async def` without `yield`."""
    return bool(_flags(function) & _COROUTINE)


def is_async(function: Any) -> bool:
    """Written as `async def`, with or without `yield`."""
    return bool(_flags(function) & (_COROUTINE | _ASYNC_GENERATOR))


def near(name: str, known: Iterable[str]) -> str:
    """ "The end of a message: "; did you mean 'num_cpus'?", or nothing."""
    from difflib import get_close_matches  # Only for errors: it takes 10 ms.

    matches = get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""
