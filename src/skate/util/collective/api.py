"""The functions that programs call. A process may be in several groups, told apart by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import skate
from skate.util.collective.group import Group
from skate.util.collective.meeting import Meeting
from skate.util.collective.types import Backend, ReduceOp

TIMEOUT_MS = 30_000

_groups: dict[str, Group] = {}


def nccl_available() -> bool:
    return False


def gloo_available() -> bool:
    return True


# ---------------------------------------------------------------- groups


def init_collective_group(
    world_size: int, rank: int, backend: str = "gloo", group_name: str = "default", gloo_timeout: int = TIMEOUT_MS
) -> None:
    """Join a group. Every member calls it, each with its own rank.

    Args:
        gloo_timeout: Milliseconds that an operation waits for the other ranks.

    Raises:
        RuntimeError: This process is in a group of that name already.
    """
    Backend(backend)
    if not group_name:
        raise ValueError("group_name must not be empty")
    if group_name in _groups:
        raise RuntimeError(f"this process is already in a collective group {group_name!r}: destroy_collective_group() it first")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be from 0 to world_size - 1 = {world_size - 1}, got {rank}")
    meeting = _meeting_class().options(name=_actor_name(group_name), get_if_exists=True, lifetime="detached").remote(world_size)
    size, _ = skate.get(meeting.describe.remote())
    if size != world_size:
        raise RuntimeError(f"collective group {group_name!r} exists with world_size {size}, not {world_size}")
    _groups[group_name] = Group(group_name, meeting, world_size, rank, gloo_timeout / 1000)


def create_collective_group(
    actors: Sequence[Any],
    world_size: int,
    ranks: Sequence[int],
    backend: str = "gloo",
    group_name: str = "default",
    gloo_timeout: int = TIMEOUT_MS,
) -> None:
    """Declare actors as a group, from outside: they need not call `init_collective_group`.

    Raises:
        RuntimeError: A group of that name exists, or actors and ranks do not fit.
    """
    Backend(backend)
    if len(actors) != len(ranks) or len(ranks) != world_size:
        raise RuntimeError(
            f"got {len(actors)} actors and {len(ranks)} ranks for a world of {world_size}: the three must be equal"
        )
    if set(ranks) != set(range(world_size)):
        raise RuntimeError(f"ranks must be each of 0 to {world_size - 1} once, got {list(ranks)}")
    try:
        skate.get_actor(_actor_name(group_name))
    except ValueError:
        pass
    else:
        raise RuntimeError(f"a collective group {group_name!r} exists already")
    members = {_actor_id(actor): rank for actor, rank in zip(actors, ranks, strict=True)}
    meeting = _meeting_class().options(name=_actor_name(group_name), lifetime="detached").remote(world_size, members)
    skate.get(meeting.describe.remote())


def destroy_collective_group(group_name: str = "default") -> None:
    """Leave the group. The last one to leave ends it."""
    group = _groups.pop(group_name, None)
    if group is not None:
        group.leave()
        return
    try:  # From outside, of a declared group.
        skate.kill(skate.get_actor(_actor_name(group_name)))
    except ValueError:
        pass


def is_group_initialized(group_name: str = "default") -> bool:
    return group_name in _groups


def get_rank(group_name: str = "default") -> int:
    """This process's rank; -1 when it is not in the group."""
    group = _find(group_name)
    return -1 if group is None else group.rank


def get_collective_group_size(group_name: str = "default") -> int:
    """How many ranks the group has; -1 when this process is not in it."""
    group = _find(group_name)
    return -1 if group is None else group.world_size


def get_group_handle(group_name: str = "default") -> Group:
    """This process's side of the group.

    Raises:
        RuntimeError: It is in no such group.
    """
    group = _find(group_name)
    if group is None:
        raise RuntimeError(
            f"this process is not in a collective group {group_name!r}: call init_collective_group() in it, or "
            "create_collective_group() in the driver with its actor handle"
        )
    return group


# ---------------------------------------------------------------- operations: results are written into the tensors


def allreduce(tensor: Any, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Reduce over all ranks; every rank gets the result in `tensor`."""
    get_group_handle(group_name).allreduce(tensor, op)


def reduce(tensor: Any, dst_rank: int = 0, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Reduce over all ranks; `dst_rank` gets the result."""
    group = get_group_handle(group_name)
    group.reduce(tensor, _checked(group, dst_rank), op)


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Every rank's `tensor` becomes that of `src_rank`."""
    group = get_group_handle(group_name)
    group.broadcast(tensor, _checked(group, src_rank))


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
    """`tensor_list[i]` becomes the `tensor` of rank i."""
    group = get_group_handle(group_name)
    _check_list(group, tensor_list)
    group.allgather(tensor_list, tensor)


def reducescatter(tensor: Any, tensor_list: list[Any], group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """`tensor` becomes the reduction of `tensor_list[own rank]` over all ranks."""
    group = get_group_handle(group_name)
    _check_list(group, tensor_list)
    group.reducescatter(tensor, tensor_list, op)


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Send to one rank; returns when it is on its way."""
    group = get_group_handle(group_name)
    if _checked(group, dst_rank) == group.rank:
        raise RuntimeError(f"rank {dst_rank} cannot send to itself")
    group.send(tensor, dst_rank)


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """Receive into `tensor` what `src_rank` sends."""
    group = get_group_handle(group_name)
    if _checked(group, src_rank) == group.rank:
        raise RuntimeError(f"rank {src_rank} cannot receive from itself")
    group.recv(tensor, src_rank)


def barrier(group_name: str = "default") -> None:
    """Wait until every rank is here."""
    get_group_handle(group_name).barrier()


# ---------------------------------------------------------------- parts


def _find(group_name: str) -> Group | None:
    """The group, joined now if it was declared with this actor as a member."""
    group = _groups.get(group_name)
    if group is not None:
        return group
    own_id = skate.get_runtime_context().get_actor_id()
    if own_id is None:
        return None
    try:
        meeting = skate.get_actor(_actor_name(group_name))
    except ValueError:
        return None
    size, members = skate.get(meeting.describe.remote())
    rank = members.get(own_id)
    if rank is None:
        return None
    group = _groups[group_name] = Group(group_name, meeting, size, rank, TIMEOUT_MS / 1000)
    return group


def _meeting_class() -> Any:
    return skate.remote(Meeting).options(num_cpus=0, max_concurrency=10_000)


def _actor_name(group_name: str) -> str:
    return f"skate.collective.{group_name}"


def _actor_id(actor: Any) -> str:
    try:
        return str(actor._actor_id.hex())
    except AttributeError:
        raise TypeError(f"expected an actor handle, got {type(actor).__name__}") from None


def _checked(group: Group, rank: int) -> int:
    if not 0 <= rank < group.world_size:
        raise ValueError(f"rank {rank} is not in group {group.name!r} of {group.world_size}")
    return rank


def _check_list(group: Group, tensors: Any) -> None:
    if not isinstance(tensors, list) or len(tensors) != group.world_size:
        raise RuntimeError(f"tensor_list must be a list of one tensor for each of the {group.world_size} ranks")
