"""Hello and Welcome, with a node that the test plays."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from skate.engine.driver import connect
from skate.engine.driver.sessions import Session
from skate.engine.spec import messages as m
from skate.engine.transport.channel import Channel, ChannelClosedError, channel_pair

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(m.CLIENT_TO_NODE).decode


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(end) for end in channel_pair())
    yield ours, theirs
    ours.close()
    theirs.close()


def welcome(error: str = "") -> m.Welcome:
    return m.Welcome(7, b"abcd", "session", b"node", 4096, {"CPU": 20_000}, "ns", 7, error)


def answer(node: Channel, message: m.Message) -> None:
    fd = os.memfd_create("arena")
    node.send_with_descriptors(encode(message), [fd])
    os.close(fd)


def test_hello_is_answered_by_welcome_and_the_arena(ends: tuple[Channel, Channel]) -> None:
    ours, node = ends
    answer(node, welcome())
    got, arena = connect.greet(ours, connect.make_hello("driver", namespace="mine"), 5, lambda: "")
    assert got.client == 7
    assert os.fstat(arena).st_size == 0
    os.close(arena)
    data = node.receive()
    assert data is not None
    hello = decode(data)
    assert (hello.kind, hello.namespace, hello.pid, hello.cwd) == ("driver", "mine", os.getpid(), os.getcwd())
    assert hello.python == "{}.{}.{}".format(*sys.version_info[:3])


def test_a_refusal_is_told(ends: tuple[Channel, Channel]) -> None:
    ours, node = ends
    answer(node, welcome("this session runs Python 3.12"))
    with pytest.raises(ConnectionError, match=r"Python 3\.12"):
        connect.greet(ours, connect.make_hello("driver"), 5, lambda: "")


def test_a_node_that_dies_while_it_starts(ends: tuple[Channel, Channel]) -> None:
    ours, node = ends
    node.close()
    with pytest.raises(RuntimeError, match=r"ended before it answered: ImportError in its log"):
        connect.greet(ours, connect.make_hello("driver"), 5, lambda: "ImportError in its log")


def test_a_node_that_says_nothing(ends: tuple[Channel, Channel]) -> None:
    ours, _node = ends
    with pytest.raises(RuntimeError, match=r"did not answer within 0\.01 s: it hangs"):
        connect.greet(ours, connect.make_hello("driver"), 0.01, lambda: "it hangs")


def test_a_node_that_answers_something_else(ends: tuple[Channel, Channel]) -> None:
    ours, node = ends
    node.send(encode(m.Notice("info", "hi")))
    with pytest.raises(RuntimeError, match="Notice"):
        connect.greet(ours, connect.make_hello("driver"), 5, lambda: "")


class FakeNode(threading.Thread):
    """Answers queries by what was asked, after a notice."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(daemon=True)
        self.channel = channel
        self.heard: list[Any] = []

    def run(self) -> None:
        self.channel.sock.setblocking(True)
        try:
            while True:
                data = self.channel.receive()
                assert data is not None
                message = decode(data)
                self.heard.append(message)
                if isinstance(message, m.Query):
                    self.channel.send(encode(m.Notice("info", "in between")))
                    error = "nothing is known about it" if message.what == "unknown" else ""
                    self.channel.send(encode(m.Reply(message.request, encode([message.what, message.params]), error)))
                elif isinstance(message, m.StopSession):
                    return
        except (ChannelClosedError, OSError):
            pass
        finally:
            self.channel.close()


def test_an_observer_asks_and_looks_on(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    node = FakeNode(theirs)
    node.start()
    with connect.Observer(ours, Session("s", "/dir", {}), welcome()) as observer:
        assert observer.query("tasks", {"limit": 5}) == ["tasks", {"limit": 5}]
        notice = observer.next_message(0)
        assert notice.text == "in between"
        with pytest.raises(ValueError, match="nothing is known"):
            observer.query("unknown")
        observer.stop_session()
        assert observer.wait_until_gone(5)
        with pytest.raises(ConnectionError, match="'s' has ended"):
            observer.query("tasks")
    node.join(5)
    assert not node.is_alive()


def test_a_session_that_does_not_listen_any_more(tmp_path: Any) -> None:
    with pytest.raises(ConnectionError, match="skate status"):
        connect.open_socket(Session("gone", str(tmp_path), {}))
    assert socket  # No descriptor is left: the leak fixture looks.
