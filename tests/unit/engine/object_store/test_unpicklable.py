"""Errors of values that can't be pickled name the part."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from skate.engine.object_store import serialization
from skate.engine.object_store.unpicklable import explain_arguments, find_culprit


def test_the_part_is_found_in_containers_and_attributes() -> None:
    lock = threading.Lock()
    path, part = find_culprit({"model": [1, SimpleNamespace(size=3, lock=lock)]})
    assert path == "['model'][1].lock"
    assert part is lock


def test_the_argument_and_the_function_are_named() -> None:
    trouble = TypeError("cannot pickle '_thread.lock' object")
    text = explain_arguments((1, threading.Lock()), {}, "train", trouble)
    assert text.startswith("argument 1 of train.remote() is a _thread.lock that can't be pickled: cannot pickle")
    text = explain_arguments((), {"model": {"lock": threading.Lock()}}, "", trouble)
    assert text.startswith("argument 'model' of the call holds at ['lock'] a _thread.lock that can't be pickled")


def test_the_last_error_is_told_alone() -> None:
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        serialization.pack(threading.Lock())
    assert caught.value.__context__ is None
