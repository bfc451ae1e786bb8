"""`Signature` agrees with what Python itself says of a call."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, strategies as st

from skate._signature import is_coroutine, is_generator, near, signature_of


def no_arguments() -> str:
    return "called"


def positional(a: Any, b: Any, c: Any = 3) -> str:
    return "called"


def positional_only(a: Any, b: Any = 2, /, c: Any = 3) -> str:
    return "called"


def keyword_only(a: Any = 1, *, k: Any, m: Any = 2) -> str:
    return "called"


def anything(a: Any, *args: Any, b: Any = 1, **kwargs: Any) -> str:
    return "called"


def shadowed(a: Any, /, **kwargs: Any) -> str:
    return "called"


FUNCTIONS = [no_arguments, positional, positional_only, keyword_only, anything, shadowed]


@given(
    function=st.sampled_from(FUNCTIONS),
    count=st.integers(0, 5),
    keywords=st.sets(st.sampled_from(["a", "b", "c", "k", "m", "z"])),
)
def test_a_call_is_accepted_exactly_when_python_accepts_it(function: Any, count: int, keywords: set[str]) -> None:
    args, kwargs = (0,) * count, dict.fromkeys(keywords, 0)
    try:
        function(*args, **kwargs)
        fits = True
    except TypeError:
        fits = False

    signature = signature_of(function)
    try:
        if kwargs or not signature.least <= count <= signature.most:
            signature.check("f.remote", args, kwargs)
        accepted = True
    except TypeError:
        accepted = False

    assert accepted == fits


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        (positional, (1,), {}, r"f\.remote\(\): missing a required argument: 'b'"),
        (positional, (1, 2, 3, 4), {}, "too many positional arguments: 4 for at most 3"),
        (positional, (1, 2), {"a": 1}, "multiple values for argument 'a'"),
        (positional, (1, 2), {"cc": 1}, "unexpected keyword argument 'cc'"),
        (positional_only, (), {"a": 1}, "'a' is positional only"),
        (keyword_only, (), {}, "missing a required argument: 'k'"),
    ],
)
def test_the_message_names_the_argument(function: Any, args: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        signature_of(function).check("f.remote", args, kwargs)


def test_a_misspelt_keyword_brings_the_right_one() -> None:
    def train(learning_rate: float, epochs: int) -> None: ...

    with pytest.raises(TypeError, match="did you mean 'learning_rate'"):
        signature_of(train).check("train.remote", (), {"learning_rat": 1, "epochs": 2})


def test_what_cannot_be_read_accepts_everything() -> None:
    signature = signature_of(functools.partial(positional, 1))
    assert (signature.least, signature.most > 10**9) == (0, True)
    signature.check("f.remote", (1, 2), {"x": 1})


def test_a_method_loses_its_first_parameter() -> None:
    class Thing:
        def grow(self, by: int) -> None: ...

    assert signature_of(Thing.grow, skip_first=True).names == ("by",)
    assert signature_of(Thing().grow).names == ("by",)


def test_kinds_of_functions() -> None:
    def generator() -> Any:
        yield 1

    async def coroutine() -> None: ...

    async def async_generator() -> Any:
        yield 1

    assert [is_generator(f) for f in (positional, generator, coroutine, async_generator)] == [False, True, False, True]
    assert [is_coroutine(f) for f in (positional, generator, coroutine, async_generator)] == [False, False, True, False]
    assert is_generator(functools.partial(generator))


def test_near_is_quiet_when_nothing_is_near() -> None:
    assert near("zzz", ["num_cpus"]) == ""
    assert near("num_cpu", ["num_cpus"]) == "; did you mean 'num_cpus'?"
