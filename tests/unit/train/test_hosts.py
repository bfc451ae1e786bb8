"""Where workers meet."""

from __future__ import annotations

import pytest

from skate.train import hosts


def test_workers_of_one_node_meet_on_the_loopback() -> None:
    places = [{"node": "a", "address": "10.0.0.1"}, {"node": "a", "address": "10.0.0.1"}]
    assert hosts.meeting_addresses(places) == ["127.0.0.1", "127.0.0.1"]


def test_workers_of_several_nodes_meet_at_the_addresses_of_their_machines() -> None:
    places = [{"node": "a", "address": "10.0.0.1"}, {"node": "b", "address": "10.0.0.2"}]
    assert hosts.meeting_addresses(places) == ["10.0.0.1", "10.0.0.2"]


def test_a_machine_without_a_network_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"the machine of worker 1 has no network address \(only 127.0.0.1\)"):
        hosts.meeting_addresses([{"node": "a", "address": "10.0.0.1"}, {"node": "b", "address": "127.0.0.1"}])


def test_a_listener_is_open_at_its_address_only() -> None:
    with hosts.listen_on("127.0.0.1") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_the_interface_of_an_address_is_found() -> None:
    assert hosts.interface_of("127.0.0.1") == "lo"
    assert hosts.interface_of("203.0.113.9") is None
