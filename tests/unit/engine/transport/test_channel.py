"""Channels: whole messages, in order, with their descriptors, until the end of the peer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from skate.config import OUTBOX_BYTES_MAX, PACKET_BYTES_MAX
from skate.engine.transport import channel as channel_module
from skate.engine.transport.channel import Channel, ChannelClosedError, channel_pair


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    near, far = (Channel(sock) for sock in channel_pair())
    yield near, far
    near.close()
    far.close()


def message(size: int) -> bytes:
    return b"\x93" + os.urandom(size - 1)  # As MessagePack begins an array.


def drain(sender: Channel, receiver: Channel) -> list[bytes]:
    """Everything that was sent, reading and flushing in turns."""
    received = []
    while True:
        while (data := receiver.receive()) is not None:
            received.append(bytes(data))
        if sender.flush():
            while (data := receiver.receive()) is not None:
                received.append(bytes(data))
            return received


def fill(sender: Channel) -> int:
    """Send until the kernel takes no more."""
    count = 0
    while sender.send(message(10_000)):
        count += 1
    return count + 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [1, 100, PACKET_BYTES_MAX - 2, PACKET_BYTES_MAX, PACKET_BYTES_MAX + 1, 2 * PACKET_BYTES_MAX - 4, 1_000_000]
        ),
        max_size=12,
    )
)
def test_messages_arrive_whole_and_in_order(sizes: list[int]) -> None:
    near, far = (Channel(sock) for sock in channel_pair())
    messages = [message(size) for size in sizes]
    for one in messages:
        near.send(one)
    assert drain(near, far) == messages
    near.close()
    far.close()


def test_send_never_blocks_and_says_when_something_waits(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    count = fill(near)
    assert near.outbox and not near.flush()
    assert not near.send(message(5))  # Behind the others, although it would fit.
    received = drain(near, far)
    assert len(received) == count + 1 and len(received[-1]) == 5


def test_nothing_there_is_not_the_end(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    assert far.receive() is None
    assert far.receive_with_descriptors() is None
    near.send(b"\x90")
    assert bytes(far.receive() or b"") == b"\x90"


def test_a_peer_that_ends_is_noticed_after_its_last_words(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    near.send(b"\x91last")
    near.close()
    assert bytes(far.receive() or b"") == b"\x91last"
    with pytest.raises(ChannelClosedError, match="end of file"):
        far.receive()


def test_last_words_are_heard_although_the_peer_did_not_read_ours(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    far.send(b"\x91never read")
    near.send(b"\x91last")
    near.close()
    assert bytes(far.receive() or b"") == b"\x91last"
    with pytest.raises(ChannelClosedError):
        far.receive_with_descriptors()


def test_sending_to_a_peer_that_is_gone_is_an_error(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    far.close()
    with pytest.raises(ChannelClosedError):
        near.send(b"\x90")
    with pytest.raises(ChannelClosedError):
        near.send(message(PACKET_BYTES_MAX + 1))


def test_a_closed_channel_refuses(ends: tuple[Channel, Channel]) -> None:
    near, _far = ends
    near.close()
    near.close()
    with pytest.raises(ChannelClosedError):
        near.send(b"\x90")
    with pytest.raises(ChannelClosedError):
        near.send_with_descriptors(b"\x90", [0])
    with pytest.raises(ChannelClosedError):
        near.receive()


def test_a_peer_that_never_reads_is_given_up(ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch) -> None:
    near, _far = ends
    assert OUTBOX_BYTES_MAX > 1 << 20
    monkeypatch.setattr(channel_module, "OUTBOX_BYTES_MAX", 1 << 20)
    with pytest.raises(ChannelClosedError, match="has not read for"):
        for _ in range(100):
            near.send(message(100_000))


def is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def same_file(one: int, other: int) -> bool:
    return os.fstat(one).st_ino == os.fstat(other).st_ino


def test_descriptors_arrive_with_their_message_and_are_not_inherited(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    read_end, write_end = os.pipe()
    near.send(b"\x91before")
    near.send_with_descriptors(b"\x91with", [read_end, write_end])
    near.send(b"\x91after")
    received = []
    while (one := far.receive_with_descriptors()) is not None:
        received.append((bytes(one[0]), one[1]))
    assert [data for data, _ in received] == [b"\x91before", b"\x91with", b"\x91after"]
    assert [len(descriptors) for _, descriptors in received] == [0, 2, 0]
    theirs = received[1][1]
    assert same_file(theirs[0], read_end) and same_file(theirs[1], write_end)
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in theirs)
    for fd in (read_end, write_end, *theirs):
        os.close(fd)


def test_descriptors_that_have_to_wait_may_be_closed_by_the_sender(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    fill(near)
    read_end, write_end = os.pipe()
    near.send_with_descriptors(b"\x91with", [read_end])
    os.close(read_end)
    received: list[int] = []
    while True:
        near.flush()
        one = far.receive_with_descriptors()
        if one is None:
            break
        received += one[1]
    os.write(write_end, b"x")
    assert os.read(received[0], 1) == b"x"
    os.close(write_end)
    os.close(received[0])


def test_descriptors_of_a_long_message_wait_for_its_end(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    read_end, write_end = os.pipe()
    fill(near)
    long = message(3 * PACKET_BYTES_MAX)
    near.send_with_descriptors(long, [read_end])
    descriptors: list[int] = []
    data = b""
    while not descriptors:
        one = far.receive_with_descriptors()
        if one is None:
            near.flush()
            continue
        data, descriptors = bytes(one[0]), one[1]
    assert data == long and same_file(descriptors[0], read_end)
    for fd in (read_end, write_end, *descriptors):
        os.close(fd)


def test_closing_lets_go_of_descriptors_that_were_never_sent_or_never_taken(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    read_end, write_end = os.pipe()
    fill(near)
    near.send_with_descriptors(message(10), [write_end])
    os.close(write_end)
    near.close()
    assert os.read(read_end, 1) == b""  # Nobody has the other end any more.
    os.close(read_end)
    assert far.receive() is not None


def test_sockets_are_not_inherited_by_programs() -> None:
    ends = channel_pair()
    assert not any(os.get_inheritable(end.fileno()) for end in ends)
    for end in ends:
        end.close()
