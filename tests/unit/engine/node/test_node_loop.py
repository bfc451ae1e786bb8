"""The loop, peers, the listener and small parts: in this process, over socket pairs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skate.engine.node import listener as listener_module, session
from skate.engine.node.kv import KeyValues
from skate.engine.node.listener import Listener
from skate.engine.node.loop import CHILDREN, OUTPUT, Loop
from skate.engine.node.memory_monitor import MemoryGauge, MemoryMonitor
from skate.engine.node.peers import Peer
from skate.engine.node.worker_pool import last_words
from skate.engine.node.worker_processes import describe_end
from skate.engine.spec import messages as m
from skate.engine.transport import channel as channel_module
from skate.engine.transport.channel import Channel, channel_pair, receive_buffer


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Recorder:
    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.messages: list[bytes] = []
        self.ends: list[tuple[str, bool]] = []
        self.peer = Peer(
            loop,
            sock,
            receive_buffer(),
            lambda data: self.messages.append(bytes(data)),
            lambda reason, is_overrun: self.ends.append((reason, is_overrun)),
        )


def test_timers_fire_in_order_and_not_when_cancelled(loop: Loop) -> None:
    fired: list[int] = []
    now_s = time.monotonic()
    loop.set_timer(now_s - 1, lambda: fired.append(2))
    loop.set_timer(now_s - 2, lambda: fired.append(1))
    loop.set_timer(now_s - 3, lambda: fired.append(0)).cancel()

    loop.round(None)

    assert fired == [1, 2]


def test_messages_come_before_deaths_and_output_last(loop: Loop) -> None:
    seen: list[str] = []
    ends = []
    for name, order in (("output", OUTPUT), ("death", CHILDREN), ("message", 0)):
        near, far = os.pipe()
        os.write(far, b"x")
        loop.add(near, lambda _events, name=name: seen.append(name), order)  # type: ignore[misc]
        ends += [near, far]

    loop.round(0)

    assert seen == ["message", "death", "output"]
    for fd in ends:
        os.close(fd)


def test_signals_are_delivered_by_the_loop(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    seen: list[str] = []
    loop.on_signal(signal.SIGUSR1, lambda: seen.append("usr1"))

    os.kill(os.getpid(), signal.SIGUSR1)
    assert seen == []
    loop.round(time.monotonic() + 5)

    assert seen == ["usr1"]
    signal.signal(signal.SIGUSR1, before)


def test_what_a_peer_sent_before_it_ended_is_handed_on_first(loop: Loop) -> None:
    near, far = channel_pair()
    recorder = Recorder(loop, near)
    recorder.peer.send(b"never read")  # Makes its end a reset, which the kernel reports before what it sent.
    far.send(b"one")
    far.send(b"two")
    far.close()

    loop.round(0)

    assert recorder.messages == [b"one", b"two"]
    assert recorder.ends == [("end of file", False)]


def test_a_failed_send_does_not_swallow_what_the_peer_sent(loop: Loop) -> None:
    near, far = channel_pair()
    recorder = Recorder(loop, near)
    far.send(b"one")
    far.close()

    recorder.peer.send(b"too late")
    assert recorder.ends == []
    loop.round(0)

    assert recorder.messages == [b"one"]
    assert len(recorder.ends) == 1
    assert not recorder.ends[0][1]


def test_a_slow_peer_gets_everything_in_order(loop: Loop) -> None:
    near, far = channel_pair()
    recorder = Recorder(loop, near)
    drained: list[bool] = []
    recorder.peer.on_drained = lambda: drained.append(True)
    sent = [b"%06d" % number + b"x" * 50_000 for number in range(100)]
    for data in sent:
        recorder.peer.send(data)
    assert recorder.peer.channel.outbox

    reader = Channel(far)
    received: list[bytes] = []
    while len(received) < len(sent):
        loop.round(0)
        while (data := reader.receive()) is not None:
            received.append(bytes(data))

    assert received == sent
    loop.round(0)
    assert drained == [True]
    recorder.peer.close()
    reader.close()


def test_a_peer_that_never_reads_is_taken_for_dead(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "OUTBOX_BYTES_MAX", 1_000_000)
    near, far = channel_pair()
    recorder = Recorder(loop, near)

    for _ in range(100):
        recorder.peer.send(b"x" * 100_000)
    loop.round(0)

    assert len(recorder.ends) == 1
    assert recorder.ends[0][1], "it was overrun"
    far.close()


def test_the_listener_hands_on_our_own_processes(loop: Loop, tmp_path: Path) -> None:
    joined: list[tuple[socket.socket, int]] = []
    path = str(tmp_path / "node.sock")
    listener = Listener(loop, path, lambda sock, pid: joined.append((sock, pid)), lambda text: None)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(path)

    loop.round(time.monotonic() + 5)

    assert [pid for _, pid in joined] == [os.getpid()]
    assert os.stat(path).st_mode & 0o777 == 0o600
    listener.close()
    client.close()
    joined[0][0].close()


def test_the_listener_reads_nothing_from_another_user(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "peer_of", lambda sock: (4321, os.geteuid() + 1))
    joined: list[int] = []
    logged: list[str] = []
    path = str(tmp_path / "node.sock")
    listener = Listener(loop, path, lambda sock, pid: joined.append(pid), logged.append)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(path)

    loop.round(time.monotonic() + 5)

    assert joined == []
    assert "4321" in logged[0]
    assert client.recv(10) == b"", "its connection was closed"
    listener.close()
    client.close()


def test_a_socket_path_may_be_too_long_for_an_address(loop: Loop, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    listener = Listener(loop, str(directory / "node.sock"), lambda sock, pid: None, lambda text: None)

    assert (directory / "node.sock").is_socket()
    listener.close()


def test_the_session_record_is_private_and_complete(tmp_path: Path) -> None:
    session.write_record(str(tmp_path), {"name": "a"})
    session.write_record(str(tmp_path), {"name": "b"})

    assert [entry.name for entry in tmp_path.iterdir()] == ["session.json"]
    assert (tmp_path / "session.json").read_text() == '{"name":"b"}'
    assert (tmp_path / "session.json").stat().st_mode & 0o777 == 0o600


def test_removing_a_session_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    directory = tmp_path / "session"
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "file").write_text("x")
    (directory / "link").symlink_to(outside)

    session.remove_tree(str(directory))

    assert not directory.exists()
    assert (outside / "precious").exists()


def test_key_values() -> None:
    kv = KeyValues()

    assert kv.answer(m.KvPut(1, b"a/1", b"x", False)) is True
    assert kv.answer(m.KvPut(1, b"a/1", b"y", False)) is False
    assert kv.answer(m.KvPut(1, b"b/1", b"y", True)) is True
    assert kv.answer(m.KvGet(1, b"a/1")) == b"x"
    assert kv.answer(m.KvGet(1, b"nothing")) is None
    assert kv.answer(m.KvList(1, b"a/")) == [b"a/1"]
    assert kv.answer(m.KvDel(1, b"a/1")) is True
    assert kv.answer(m.KvDel(1, b"a/1")) is False


@pytest.mark.parametrize(
    ("status", "kill_reason", "was_oom", "kind", "words"),
    [
        (0, "", False, "exit", "status 0"),
        (3 << 8, "", False, "exit_code", "status 3"),
        (11, "", False, "signal", "SIGSEGV"),
        (9, "", False, "signal", "SIGKILL"),
        (9, "", True, "oom", "out of memory"),
        (9, "cancelled", True, "killed", "cancelled"),
    ],
)
def test_how_a_worker_ended_in_words(status: int, kill_reason: str, was_oom: bool, kind: str, words: str) -> None:
    assert describe_end(status, kill_reason=kill_reason, was_oom=was_oom)[0] == kind
    assert words in describe_end(status, kill_reason=kill_reason, was_oom=was_oom)[1]


class FakeGauge:
    def __init__(self) -> None:
        self.used = 0
        self.reads = 0

    def read(self) -> tuple[int, int]:
        self.reads += 1
        return self.used, 100


def test_memory_is_watched_only_while_something_runs(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skate.engine.node.memory_monitor.MEMORY_CHECK_S", 0.001)
    gauge = FakeGauge()
    reports: list[tuple[int, int]] = []
    monitor = MemoryMonitor(loop, gauge, lambda used, limit: reports.append((used, limit)))  # type: ignore[arg-type]

    monitor.set_load(leases=1, actors=0)
    while not gauge.reads:
        loop.round(time.monotonic() + 5)
    assert reports == []
    gauge.used = 96
    while not reports:
        loop.round(time.monotonic() + 5)
    assert reports == [(96, 100)]

    monitor.set_load(leases=0, actors=0)
    while loop._timers:
        loop.round(None)
    assert len(reports) == 1


def test_the_gauge_counts_our_own_processes_against_a_limit_of_our_own() -> None:
    gauge = MemoryGauge(10**9, lambda: [os.getpid()])

    used, limit = gauge.read()

    assert limit == 10**9
    assert 10**6 < used < 10**10
    machine_used, machine_limit = MemoryGauge(None, list).read()
    assert 0 < machine_used <= machine_limit


def test_last_words_are_the_error_or_the_crash_report() -> None:
    assert last_words(["Traceback (most recent call last):", "  File x", "KeyError: 1", ""], "exit_code") == "KeyError: 1"
    crash = [
        "noise",
        "Fatal Python error: Segmentation fault",
        "",
        "Current thread 0x1 (most recent call first):",
        "  File a",
        "noise",
    ]
    assert last_words(crash, "signal").startswith("Fatal Python error: Segmentation fault | Current thread 0x1")
    assert last_words(["just noise"], "signal") == ""
    assert last_words([], "exit_code") == ""
