"""Where workers meet: on the loopback when all are on one machine, else at the addresses of their machines.

Nothing listens on all interfaces: a port is bound to the one address that the peers connect to.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import skate
from skate.util import get_node_ip_address

LOOPBACK = "127.0.0.1"


def where_i_am() -> dict[str, str]:
    """In a worker: its node, and the address by which the others reach its machine."""
    return {"node": str(skate.get_runtime_context().get_node_id()), "address": get_node_ip_address()}


def meeting_addresses(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """The address of each worker, by rank, that its peers connect to.

    Args:
        places: What `where_i_am` said, by rank.

    Raises:
        RuntimeError: They are on several machines, and one of them has no address but the loopback's.
    """
    if len({place["node"] for place in places}) <= 1:
        return [LOOPBACK] * len(places)
    addresses = [str(place["address"]) for place in places]
    for rank, address in enumerate(addresses):
        if address.startswith("127."):
            raise RuntimeError(
                f"the workers are on several nodes, but the machine of worker {rank} has no network address (only {address}): the others can't reach it"
            )
    return addresses


def listen_on(address: str) -> socket.socket:
    """A listening TCP socket at a port that the kernel chooses."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen(1024)
    return listener


def interface_of(address: str) -> str | None:
    """The network interface that has this address: gloo wants its name, and would look the host name up otherwise. None: not found."""
    import psutil

    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    return None
