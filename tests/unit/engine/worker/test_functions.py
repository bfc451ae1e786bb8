"""Definitions: digests of code, and modules that are older in the worker."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_harness import WORKER, Node, new_task

from skate.engine.spec import messages as m
from skate.engine.spec.ids import return_id
from skate.engine.worker.functions import code_digest


@pytest.fixture
def module_path(tmp_path: Path) -> Iterator[Path]:
    sys.path.insert(0, str(tmp_path))
    yield tmp_path / "edited_module.py"
    sys.path.remove(str(tmp_path))
    sys.modules.pop("edited_module", None)


def load(path: Path, text: str) -> Any:
    """What a driver does that edits a module and reloads it."""
    path.write_text(text)
    stamp = path.stat().st_mtime_ns + 2_000_000_000
    os.utime(path, ns=(stamp, stamp))  # Bytecode is reused when the second is the same.
    importlib.invalidate_caches()
    module = sys.modules.get("edited_module")
    return importlib.reload(module) if module is not None else importlib.import_module("edited_module")


def test_the_digest_follows_the_code(module_path: Path) -> None:
    first = code_digest(load(module_path, "def f(): return 1\n").f)
    same = code_digest(load(module_path, "# moved\n\ndef f(): return 1\n").f)
    other = code_digest(load(module_path, "def f(): return 2\n").f)
    assert first == same != other
    assert code_digest(len) == b""


def test_an_edited_module_is_loaded_again(make_node: Any, module_path: Path) -> None:
    first = load(module_path, "def f(): return 1\n")
    node: Node = make_node()  # Forked with the first version.
    lease = node.lease()
    assert lease.result(first.f, code_digest=code_digest(first.f)) == 1
    second = load(module_path, "def f(): return 2\n")
    assert lease.result(second.f, code_digest=code_digest(second.f)) == 2
    lease.close()


def test_a_module_that_is_new_since_the_worker_started_is_found(make_node: Any, module_path: Path) -> None:
    node: Node = make_node()
    lease = node.lease()
    assert lease.result(abs, -1) == 1
    module = load(module_path, "def f(): return 3\n")
    assert lease.result(module.f) == 3
    lease.close()


def test_a_large_definition_is_fetched_once_and_its_counts_come_back(node: Node) -> None:
    object_id = node.store(abs)
    definition = {"definition": m.Stored(100), "definition_id": object_id}
    for lease_number in range(2):
        lease = node.lease()
        assert lease.result(abs, -5, **definition) == 5
        # Each lease's caller has added one count for the worker.
        node.until(lambda n=lease_number: node.counts().get((object_id, WORKER)) == -1 - n, lease)
        lease.close()
    assert len([fetch for fetch in node.got(m.Fetch) if fetch.id == object_id]) == 1


def test_object_ids_of_returns_are_the_callers(node: Node) -> None:
    assert return_id(new_task(), 0)[4:8] == (3).to_bytes(4, "big")


@pytest.fixture(autouse=True)
def no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module edited twice in one second with the same size would be taken from its cached bytecode."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
