"""The address of this machine."""

from __future__ import annotations


def get_node_ip_address(address: str = "8.8.8.8:53") -> str:
    """The address by which this machine reaches `address` ("host:port"); 127.0.0.1 without a network. Nothing is sent."""
    import socket

    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
