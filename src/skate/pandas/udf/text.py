"""Python's string operations over an Arrow array, where Arrow's mean the same; for the others text outside ASCII is left to Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skate.pandas.udf.values import Const, Untraceable, Value, Vec, type_name

_SPACE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"


def _bools(array: Any) -> Any:
    return array.to_numpy(zero_copy_only=False)


def lengths(value: Vec) -> Any:
    return pc.utf8_length(value.data).to_numpy(zero_copy_only=False).astype(np.int64)


def is_ascii(value: Vec) -> bool:
    array = value.data
    buffer = array.buffers()[2]
    if buffer is None or not len(array):
        return True
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
    return not len(data) or bool(data.max() < 128)


def _need_ascii(value: Vec) -> None:
    if not is_ascii(value):
        raise Untraceable("a text is not ASCII")


def _need_str(value: Any) -> Vec:
    if not isinstance(value, Vec) or value.kind != "str":
        raise Untraceable(f"it treats {type_name(value)} as text")
    return value


def compare(name: str, left: Any, right: Any) -> Value:
    function = {
        "eq": pc.equal, "ne": pc.not_equal, "lt": pc.less, "le": pc.less_equal, "gt": pc.greater, "ge": pc.greater_equal,
    }[name]  # fmt: skip
    return Vec("bool", _bools(function(_operand(left), _operand(right))))


def _operand(value: Any) -> Any:
    return pa.scalar(value.value, pa.large_string()) if isinstance(value, Const) else value.data


def contains(value: Vec, needle: str, *, negate: bool) -> Value:
    found = _bools(pc.match_substring(value.data, needle))
    return Vec("bool", ~found if negate else found)


def is_in(value: Vec, words: list[str]) -> Any:
    return _bools(pc.is_in(value.data, value_set=pa.array(words, pa.large_string())))


def concat(values: list[Any]) -> Value:
    if all(isinstance(value, Const) for value in values):
        return Const("".join(value.value for value in values))
    if not all(type_name(value) == "str" for value in values):
        raise Untraceable("it joins what is not text")
    return Vec("str", pc.binary_join_element_wise(*(_operand(value) for value in values), pa.scalar("", pa.large_string())))


def to_str(value: Any) -> Value:
    """`str(value)`."""
    if isinstance(value, Const):
        if type(value.value) not in (str, int, float, bool, type(None)):
            raise Untraceable("it formats something")
        return Const(str(value.value))
    if isinstance(value, Vec) and value.kind == "str":
        return value
    if isinstance(value, Vec) and value.kind in ("int", "npint"):
        return Vec("str", pa.array(value.data).cast(pa.large_string()))
    raise Untraceable("it formats a number")


def cut(value: Any, start: int | None, stop: int | None) -> Value:
    """`value[start:stop]`."""
    if isinstance(value, Const) and type(value.value) is str:
        return Const(value.value[start:stop])
    array = _need_str(value).data
    if (start or 0) < 0 and stop is not None:
        raise Untraceable("it slices from the end")
    return Vec("str", pc.utf8_slice_codeunits(array, start or 0, stop))


def character(value: Any, place: int) -> Value:
    """`value[place]`, where each text is long enough."""
    if isinstance(value, Const):
        try:
            return Const(value.value[place])
        except Exception as error:
            raise Untraceable(f"it raises {type(error).__name__}") from error
    text = _need_str(value)
    if bool((lengths(text) < (place + 1 if place >= 0 else -place)).any()):
        raise Untraceable("a text is too short")
    return Vec("str", pc.utf8_slice_codeunits(text.data, place, place + 1 if place != -1 else None))


def method(value: Any, name: str, arguments: list[Any]) -> Value:
    """`value.name(*arguments)` for the methods of str."""
    if isinstance(value, Const):
        if type(value.value) is not str or not all(isinstance(argument, Const) for argument in arguments):
            raise Untraceable(f"it calls {name}")
        try:
            return Const(getattr(value.value, name)(*(argument.value for argument in arguments)))
        except Exception as error:
            raise Untraceable(f"it raises {type(error).__name__}") from error
    text = _need_str(value)
    if not all(isinstance(argument, Const) for argument in arguments):
        raise Untraceable(f"the arguments of {name} are not constant")
    plain = [argument.value for argument in arguments]
    array = text.data
    if name in ("upper", "lower", "title", "capitalize", "swapcase") and not plain:
        _need_ascii(text)
        if name == "title":
            # Arrow and Python agree on what a word is only where letters are all that words have.
            raise Untraceable("title() is left to Python")
        return Vec("str", getattr(pc, f"ascii_{name}")(array))
    if name in ("strip", "lstrip", "rstrip") and len(plain) <= 1:
        side = {"strip": "", "lstrip": "l", "rstrip": "r"}[name]
        if not plain or plain[0] is None:
            _need_ascii(text)
            return Vec("str", getattr(pc, f"ascii_{side}trim")(array, characters=_SPACE))
        if type(plain[0]) is str and plain[0].isascii():
            _need_ascii(text)
            return Vec("str", getattr(pc, f"ascii_{side}trim")(array, characters=plain[0]))
    if name in ("startswith", "endswith") and len(plain) == 1:
        words = plain[0] if isinstance(plain[0], tuple) else (plain[0],)
        if words and all(type(word) is str for word in words):
            function = pc.starts_with if name == "startswith" else pc.ends_with
            found = _bools(function(array, words[0]))
            for word in words[1:]:
                found = found | _bools(function(array, word))
            return Vec("bool", found)
    if name == "replace" and len(plain) == 2 and all(type(word) is str for word in plain) and plain[0]:
        return Vec("str", pc.replace_substring(array, plain[0], plain[1]))
    if name == "find" and len(plain) == 1 and type(plain[0]) is str and plain[0]:
        _need_ascii(text)
        return Vec("int", pc.find_substring(array, plain[0]).to_numpy(zero_copy_only=False).astype(np.int64))
    if name == "count" and len(plain) == 1 and type(plain[0]) is str and plain[0]:
        return Vec("int", pc.count_substring(array, plain[0]).to_numpy(zero_copy_only=False).astype(np.int64))
    if name in ("isdigit", "isalpha", "isalnum", "isspace", "islower", "isupper") and not plain:
        _need_ascii(text)
        kernel = {"isdigit": "ascii_is_decimal", "isalpha": "ascii_is_alpha", "isalnum": "ascii_is_alnum", "isspace": "ascii_is_space"}.get(name)  # fmt: skip
        if kernel is not None and name != "isspace":
            return Vec("bool", _bools(getattr(pc, kernel)(array)))
    raise Untraceable(f"the method {name} is left to Python")
