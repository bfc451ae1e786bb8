"""Functions and classes on their way to workers."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from skate.backends.definitions import Definition, Definitions

MODULE = "definitions_under_test"
SOURCE = """
import skate

FACTOR = 2

def double(x):
    return FACTOR * x

@skate.remote
def remote_double(x):
    return FACTOR * x

@skate.remote
class Counter:
    def add(self):
        return 1

class Outer:
    @staticmethod
    def inner(x):
        return x
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    return Definitions([str(tmp_path)])


def load(definition: Definition) -> object:
    return pickle.loads(definition.packed.data())


def test_what_can_be_imported_goes_by_name(module: ModuleType, definitions: Definitions) -> None:
    definition = definitions.of(module.double, "double")
    assert definition.packed.size < 300
    assert definition.code_digest
    assert load(definition) is module.double


def test_the_function_inside_a_remote_one_is_found_by_its_name(module: ModuleType, definitions: Definitions) -> None:
    function = module.remote_double.__wrapped__
    assert load(definitions.of(function, "remote_double")) is function
    cls = module.Counter.__wrapped__
    assert load(definitions.of(cls, "Counter")) is cls
    assert load(definitions.of(module.Outer.inner, "inner")) is module.Outer.inner


def test_an_edited_module_is_loaded_again(module: ModuleType, definitions: Definitions, tmp_path: Path) -> None:
    definition = definitions.of(module.double, "double")
    stale = module.double
    # What a worker has that imported the module before it was edited: other code under the same name.
    exec("def double(x):\n    return 'old'", module.__dict__)
    module.double.__module__ = MODULE
    assert load(definition)(4) == 8  # type: ignore[operator]
    assert stale(4) == 8


def test_another_code_is_another_definition(module: ModuleType, definitions: Definitions, tmp_path: Path) -> None:
    before = definitions.of(module.double, "double")
    file = tmp_path / f"{MODULE}.py"
    file.write_text(SOURCE.replace("return FACTOR * x", "return FACTOR * x + 1"))
    importlib.invalidate_caches()
    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    try:
        module = importlib.reload(module)
    finally:
        sys.dont_write_bytecode = kept
    after = definitions.of(module.double, "double")
    assert before.code_digest != after.code_digest
    assert before.digest != after.digest


def test_what_workers_cannot_import_goes_by_value(module: ModuleType) -> None:
    definition = Definitions(["/elsewhere"]).of(module.double, "double")
    del sys.modules[MODULE]
    assert load(definition)(4) == 8  # type: ignore[operator]


def test_lambdas_and_closures_go_by_value(definitions: Definitions) -> None:
    factor = 3
    assert load(definitions.of(lambda x: factor * x, "<lambda>"))(2) == 6  # type: ignore[operator]


def test_a_definition_is_pickled_once_unless_it_captures(module: ModuleType, definitions: Definitions) -> None:
    assert definitions.of(module.double, "double") is definitions.of(module.double, "double")
    captured = [1]

    def closure() -> int:
        return captured[0]

    first = definitions.of(closure, "closure")
    captured[0] = 2
    second = definitions.of(closure, "closure")
    assert (load(first)(), load(second)()) == (1, 2)  # type: ignore[operator]


def test_modules_registered_by_value_go_by_value(module: ModuleType, definitions: Definitions) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    try:
        assert not definitions.of(module.double, "double").code_digest
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_what_cannot_be_pickled_is_named(definitions: Definitions) -> None:
    lock = threading.Lock()

    def guarded() -> None:
        with lock:
            pass

    with pytest.raises(
        TypeError, match=r"function 'guarded' can't be pickled.*variable 'lock', a _thread\.lock.*inspect_serializability"
    ):
        definitions.of(guarded, "guarded")


def test_code_that_travels_knows_its_file(definitions: Definitions) -> None:
    def here() -> str:
        return here.__code__.co_filename

    function = load(definitions.of(here, "here"))
    assert function.__code__.co_filename == __file__  # type: ignore[attr-defined]
