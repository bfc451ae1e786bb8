"""Values to bytes and back: what travels by value, what is not copied, which references are seen."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import BUFFERS, BYTES, ERROR, VALUE, Packed, capture, pack, unpack, unpack_stored


def travel(value: Any) -> Any:
    packed = pack(value)
    return unpack(packed.kind, packed.data())


def store(value: Any) -> Any:
    return unpack_stored(stored(pack(value)))


def stored(packed: Packed) -> memoryview:
    data = b"".join(packed.stored_parts())
    assert len(data) == packed.stored_size()
    return memoryview(data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@given(plain)
def test_plain_values_come_back_equal(value: Any) -> None:
    assert travel(value) == value
    assert store(value) == value


@given(st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["u1", "i8", "f4", "c16"])), max_size=6))
def test_arrays_come_back_equal_aligned_and_read_only(shapes: list[tuple[int, str]]) -> None:
    arrays = [np.ones(size, dtype) for size, dtype in shapes]
    packed = pack(arrays)
    assert sum(len(part) if isinstance(part, bytes) else part.nbytes for part in packed.parts) == packed.size
    for back in (travel(arrays), store(arrays)):
        for array, original in zip(back, arrays, strict=True):
            assert array.dtype == original.dtype and (array == original).all()
            assert not array.flags.writeable and array.flags.aligned


@pytest.mark.parametrize(
    "value", [b"x" * 100_000, b"", b"short", bytearray(b"x" * 5000), "ä" * 10_000], ids=lambda v: type(v).__name__
)
def test_bytes_and_text_of_any_size(value: Any) -> None:
    for back in (travel(value), store(value)):
        assert back == value and type(back) is type(value)


def test_long_bytes_are_not_pickled() -> None:
    value = b"x" * 100_000
    packed = pack(value)
    assert packed.kind == BYTES and packed.parts[0] is value


def test_an_array_is_packed_and_unpacked_without_a_copy() -> None:
    array = np.arange(100_000)
    packed = pack([array])
    assert packed.kind == BUFFERS
    assert np.shares_memory(np.frombuffer(packed.parts[-1], np.int64), array)

    view = stored(packed)
    [back] = unpack_stored(view)
    assert np.shares_memory(back, np.frombuffer(view, np.uint8))
    with pytest.raises(ValueError, match="WRITEABLE"):
        back.flags.writeable = True


def test_arrays_in_other_orders() -> None:
    square = np.arange(12).reshape(3, 4)
    for array in (np.asfortranarray(square), square[:, ::2], square.T, square[:0], np.array(5)):
        assert (store({"a": array})["a"] == array).all()


def test_an_arrow_table_is_a_view() -> None:
    table = pa.table({"n": np.arange(10_000), "s": ["text"] * 10_000})
    view = stored(pack(table))
    back = unpack_stored(view)
    assert back.equals(table)
    first = np.frombuffer(view, np.uint8).ctypes.data
    assert first <= back["n"].chunk(0).buffers()[1].address < first + len(view)


def test_a_message_s_buffer_may_be_used_again() -> None:
    packed = pack([np.ones(1000)])
    received = bytearray(packed.data())
    [array] = unpack(BUFFERS, memoryview(received))
    received[:] = bytes(len(received))
    assert array.sum() == 1000


def test_an_error_is_told_from_a_value() -> None:
    view = stored(Packed(ERROR, [b"what happened"], 13, []))
    assert serialization.stored_kind(view) == ERROR
    assert serialization.stored_error(view) == b"what happened"
    assert serialization.stored_kind(stored(pack(1))) == VALUE


# ---------------------------------------------------------------- code that exists only here


def test_lambdas_closures_and_local_classes_travel_by_value() -> None:
    factor = 3

    class Local:
        def __init__(self, n: int) -> None:
            self.n = n * factor

    assert travel(lambda x: x * factor)(5) == 15
    assert travel(Local(2)).n == 6
    assert travel(functools.partial(lambda a, b: a - b, 10))(4) == 6
    values = list(range(1000))
    assert travel({"f": lambda: values, "a": np.ones(2000)})["f"]() == values


def test_classes_and_functions_of_main_can_be_read_by_a_process_that_has_another_main() -> None:
    program = """
        import sys
        import numpy as np
        from skate.engine.object_store.serialization import pack

        class Point:
            def __init__(self, x): self.x = x
            def double(self): return twice(self.x)

        def twice(x): return 2 * x

        packed = pack({"point": Point(4), "array": np.ones(1000)})
        sys.stdout.buffer.write(bytes((packed.kind,)) + packed.data())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    back = unpack(done.stdout[0], done.stdout[1:])
    assert back["point"].double() == 8 and back["array"].sum() == 1000


def test_what_cannot_be_pickled_raises_and_leaves_no_trace() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise RuntimeError("not me")

    with pytest.raises(RuntimeError, match="not me"):
        pack([Stubborn()])
    assert capture.ids is None


# ---------------------------------------------------------------- references


class Ref:
    """Behaves like ObjectRef where pickling is concerned."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        if capture.ids is not None:
            capture.ids.append(self.name)
        return Ref, (self.name,)


def test_references_inside_are_listed_in_order_and_as_often_as_they_occur() -> None:
    a, b = Ref(b"a"), Ref(b"b")
    assert pack([a, {"x": b}, Ref(b"a")]).contains == [b"a", b"b", b"a"]
    assert pack([a, a]).contains == [b"a"]  # One in the pickle, one in the counts.
    assert pack((a, lambda: b)).contains.count(b"a") == 1  # The quick pickler saw it too, before it gave up.


def test_references_in_closures_are_seen() -> None:
    ref = Ref(b"inside")
    assert pack(lambda: ref).contains == [b"inside"]


def test_a_value_pickled_inside_another_s_pickling_keeps_its_references_to_itself() -> None:
    inner: list[list[bytes]] = []

    class Nested:
        def __reduce__(self) -> Any:
            inner.append(pack([Ref(b"inner")]).contains)
            return int, (1,)

    assert pack([Nested(), Ref(b"outer")]).contains == [b"outer"]
    assert inner[-1] == [b"inner"]


# ---------------------------------------------------------------- the user's own serializers


class Socket:
    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a socket")


@pytest.fixture
def socket_serializer() -> Iterator[None]:
    serialization.custom_serializers[Socket] = (lambda socket: socket.name, Socket)
    yield
    del serialization.custom_serializers[Socket]


def test_a_custom_serializer_is_used_wherever_its_type_occurs(socket_serializer: None) -> None:
    back = travel({"deep": [Socket("one")], "array": np.ones(1000)})
    assert back["deep"][0].name == "one"


def test_without_it_the_type_refuses() -> None:
    with pytest.raises((TypeError, pickle.PicklingError)):
        pack([Socket("one")])
