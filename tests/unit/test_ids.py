"""Ids cannot be mixed up."""

from __future__ import annotations

import pickle

import pytest

import skate
from skate._ids import ActorID, JobID, NodeID, TaskID


def test_round_trips() -> None:
    task = TaskID(b"\1\2\3\4" + b"\0\0\0\7" + bytes(8))
    assert TaskID.from_hex(task.hex()) == TaskID.from_binary(task.binary()) == task
    assert pickle.loads(pickle.dumps(task)) == task
    assert task.job_id() == JobID.from_int(7)
    assert JobID.from_int(7).int() == 7
    assert repr(task) == f"TaskID({task.hex()})"


def test_ids_of_two_kinds_are_never_equal() -> None:
    assert TaskID(b"x" * 16) != ActorID(b"x" * 16)
    assert len({TaskID(b"x" * 16), ActorID(b"x" * 16), TaskID(b"x" * 16)}) == 2


def test_nil() -> None:
    assert NodeID.nil().is_nil()
    assert NodeID(b"\xff" * 16).is_nil()
    assert not NodeID.from_random().is_nil()


def test_an_id_is_made_of_bytes() -> None:
    with pytest.raises(TypeError, match="from_hex"):
        NodeID("ab")  # type: ignore[arg-type]


def test_object_ids_are_refs() -> None:
    assert skate.ObjectID is skate.ObjectRef
