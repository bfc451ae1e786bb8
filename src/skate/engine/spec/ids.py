"""Identifiers: who made a thing, and which one it is.

An id is plain `bytes`: it travels in messages and is a dict key on every hot path.

    task id, actor id, placement group id (16 bytes) = session tag (4) + client id (4, big endian) + counter (8, big endian)
    object id (20 bytes)                             = task id (16) + index (4, big endian)

Index 0 is a `put`; the returns of a task start at 1. So every process derives the ids of a task's returns by itself,
and the owner of an object (the client that made it) can be read from the id: see `owner_of`.
A `ClientId` is a small int given by the node process to every connected process: driver, worker, CLI. A worker's id is its client id.
"""

from typing import NewType

ClientId = NewType("ClientId", int)
WorkerId = ClientId
LeaseId = NewType("LeaseId", int)
TaskId = NewType("TaskId", bytes)
ActorId = NewType("ActorId", bytes)
PlacementGroupId = NewType("PlacementGroupId", bytes)
ObjectId = NewType("ObjectId", bytes)
NodeId = NewType("NodeId", bytes)

SESSION_TAG_BYTES = 4
TASK_ID_BYTES = 16
OBJECT_ID_BYTES = 20
PUT_INDEX = b"\0\0\0\0"
FIRST_RETURN_INDEX = b"\0\0\0\1"

NODE_CLIENT = ClientId(0)  # The node process itself, where a client id is asked for.


class IdFactory:
    """Makes the ids of one client. Not thread-safe on its own: `itertools.count` makes `next` atomic under the GIL."""

    def __init__(self, session_tag: bytes, client: ClientId) -> None:
        from itertools import count

        assert len(session_tag) == SESSION_TAG_BYTES
        self._prefix = session_tag + client.to_bytes(4, "big")
        self._counter = count(1)

    def next_task_id(self) -> TaskId:
        return TaskId(self._prefix + next(self._counter).to_bytes(8, "big"))


def return_id(task: bytes, index: int) -> ObjectId:
    """The id of return number `index` (from 0) of a task."""
    return ObjectId(task + (index + 1).to_bytes(4, "big"))


def owner_of(any_id: bytes) -> ClientId:
    """The client that made a task, actor, placement group or object."""
    return ClientId(int.from_bytes(any_id[4:8], "big"))


def task_of(object_id: ObjectId) -> TaskId:
    return TaskId(object_id[:TASK_ID_BYTES])
