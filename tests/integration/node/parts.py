"""A node process with scripted parts, and a driver that speaks to it frame by frame.

The scripted scheduler starts a worker for every RequestLease and grants it; the request's name says how the worker behaves
(`BEHAVIOURS`). The scripted directory spills at a Seal, restores at a Fetch and deletes at a Free.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from skate.engine.spec import events as e, messages as m
from skate.engine.spec.boot import NodeConfig, WorkerBoot
from skate.engine.transport.channel import Channel, ChannelClosedError, channel_pair

REPOSITORY = Path(__file__).resolve().parents[3]
ARENA_BYTES = 1 << 24
SPILLED_BYTES = 1_000_000
RESTORED_AT = 2_000_000

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(m.NODE_TO_CLIENT).decode
_decode_order = msgspec.msgpack.Decoder(m.NODE_TO_WORKER).decode
M = TypeVar("M", bound=m.Message)

# ---------------------------------------------------------------- in the node process


class ScriptedArena:
    def __init__(self) -> None:
        self.fd = os.memfd_create("arena")
        os.ftruncate(self.fd, ARENA_BYTES)

    def discard(self, offset: int, size: int) -> None: ...


class ScriptedScheduler:
    def __init__(self) -> None:
        self._clients = count(1)
        self._leases = count(1)
        self._workers: list[int] = []

    def next_client_id(self) -> int:
        return next(self._clients)

    def next_deadline_s(self) -> float | None:
        return None

    def describe(self, what: str) -> Any:
        if what == "resources":
            return {"total": {"CPU": 20_000}, "available": {"CPU": 10_000}}
        if what == "workers":
            return [{"worker_id": worker, "state": "leased", "job_id": 1} for worker in self._workers]
        return []

    def handle(self, client: int, event: Any, now_s: float) -> list[Any]:
        match event:
            case m.RequestLease(name="bug"):
                raise RuntimeError("this is the bug")
            case m.RequestLease():
                worker, lease = self.next_client_id(), next(self._leases)
                self._workers.append(worker)
                grant = e.Grant(lease, event.request, client, worker, 1, b"n", (), {}, namespace=event.name)
                return [e.StartWorker(worker, b"n", 1, event.env), grant]
            case m.KillLease():
                return [e.StopWorker(self._workers[-1], "kill", "somebody wanted it dead")]
            case m.ReturnLease():
                return [e.StopWorker(self._workers[-1], "graceful", "not needed")]
            case e.WorkerExited():
                self._workers.remove(event.worker)
                return [e.Send(1, m.LeaseLost(event.worker, event.kind, event.detail))]
            case e.ClientGone(client=gone):
                return [e.Send(1, m.Notice("info", f"client {gone} gone, crashed={event.crashed}"))]
            case m.GetNamedActor():
                return [e.Send(1, m.Notice("info", f"client {client} asks for {event.name}"))]
            case e.EnvReady():
                return [e.Send(1, m.Notice("EnvReady", event.env))]
            case e.EnvFailed():
                return [e.Send(1, m.Notice("EnvFailed", event.error))]
            case m.ListNamedActors():
                return [e.PrepareEnv(event.namespace)]
        return []


class ScriptedDirectory:
    def next_deadline_s(self) -> float | None:
        return None

    def describe(self, what: str) -> Any:
        return []

    def handle(self, client: int, event: Any, now_s: float) -> list[Any]:
        match event:
            case m.Seal():
                return [e.SpillObject(event.id, 0, SPILLED_BYTES)]
            case m.Fetch():
                return [e.RestoreObject(event.id, RESTORED_AT, SPILLED_BYTES)]
            case m.Free():
                return [e.DeleteSpill(one) for one in event.ids]
            case e.SpillDone() | e.RestoreDone():
                return [e.Send(1, m.Notice(type(event).__name__, event.error))]
        return []


def main() -> NoReturn:
    from skate.engine.node.shell import Shell
    from skate.engine.node.surroundings import set_up_process

    descriptor, config = int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=NodeConfig)
    set_up_process()
    shell = Shell(
        config,
        ScriptedScheduler(),
        ScriptedDirectory(),
        ScriptedArena(),
        arena_bytes=ARENA_BYTES,
        session_tag=b"test",
        nodes=[(b"n" * 16, {"CPU": 20_000}, {})],
        run_worker=run_worker,
        warm_up=lambda: None,
    )
    shell.open(socket.socket(fileno=descriptor))
    shell.run()
    os._exit(0)


# ---------------------------------------------------------------- in the workers


arena = -1  # In a worker: its descriptor.


def run_worker(boot: WorkerBoot, client_fd: int, control_fd: int, arena_fd: int) -> NoReturn:
    global arena
    arena = arena_fd
    node, control = (Channel(socket.socket(fileno=fd)) for fd in (client_fd, control_fd))
    behaviour = ""
    while True:
        select.select([control.fd], [], [])
        try:
            received = control.receive_with_descriptors()
        except ChannelClosedError:
            os._exit(1)
        if received is None:
            continue
        match _decode_order(received[0]):
            case m.AttachLease(namespace=behaviour):
                BEHAVIOURS[behaviour](node)
            case m.DumpStack(request=request):
                if behaviour != "deaf":
                    control.send(_encode(m.StackDump(request, "in run_worker")))
            case m.Exit(graceful=graceful):
                if behaviour != "deaf":
                    os._exit(0 if graceful else 1)


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def print_and_mark(_node: Channel) -> None:
    say("printed")
    os.pwrite(arena, b"!", 0)


def print_much(_node: Channel) -> None:
    line = b"x" * 99 + b"\n"
    for _ in range(1000):
        os.write(1, line * 1000)
    say("last")


def have_child(_node: Channel) -> None:
    say(f"child {subprocess.Popen(['sleep', '1000']).pid}")


def have_daemon(_node: Channel) -> None:
    say(f"child {subprocess.Popen(['sleep', '1000'], start_new_session=True).pid}")


def die_after_sending(node: Channel) -> None:
    for number in range(50):
        node.send(_encode(m.GetNamedActor(number, f"actor {number}", "")))
    os.kill(os.getpid(), signal.SIGKILL)


def send_rubbish(node: Channel) -> None:
    node.send(b"\xc0 is not a message")


def complain(_node: Channel) -> None:
    os.write(2, b"something is missing")
    os._exit(3)


def show_surroundings(_node: Channel) -> None:
    descriptors = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    signals = [number.name for number in (signal.SIGTERM, signal.SIGCHLD) if signal.getsignal(number) is not signal.SIG_DFL]
    blocked = len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    say(f"{len(descriptors)} {os.getsid(0) == os.getpid()} {signals} {blocked} {os.readlink('/proc/self/fd/0')}")


BEHAVIOURS: dict[str, Callable[[Channel], None]] = {
    "": lambda node: None,
    "deaf": lambda node: say("deaf"),
    "print": print_much,
    "print and mark": print_and_mark,
    "child": have_child,
    "daemon": have_daemon,
    "die after sending": die_after_sending,
    "rubbish": send_rubbish,
    "complain": complain,
    "surroundings": show_surroundings,
}

# ---------------------------------------------------------------- in the test


def say_hello(kind: str = "driver", **fields: Any) -> m.Hello:
    python = "{}.{}.{}".format(*sys.version_info[:3])
    return m.Hello(**{"kind": kind, "pid": os.getpid(), "namespace": "", "job_name": "", "python": python, "version": "",
                      "wants_logs": True, **fields})  # fmt: skip


class Connection:
    """One client of the node, in this process."""

    def __init__(self, sock: socket.socket) -> None:
        self.channel = Channel(sock)

    def send(self, message: m.Message) -> None:
        self.channel.send(_encode(message))

    def receive(self, timeout_s: float = 10.0) -> m.Message | None:
        """The next message; None at the end. Fails when nothing comes."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            try:
                received = self.channel.receive_with_descriptors()
            except ChannelClosedError:
                return None
            if received is not None:
                for fd in received[1]:
                    os.close(fd)
                return _decode(received[0])  # type: ignore[no-any-return]
            select.select([self.channel.fd], [], [], 0.1)
        raise AssertionError(f"nothing came within {timeout_s} s")

    def expect(self, kind: type[M], **fields: Any) -> M:
        """The next message of this kind with these fields; others are passed over."""
        while True:
            message = self.receive()
            assert message is not None, f"the node ended; a {kind.__name__} was expected"
            if isinstance(message, kind) and all(getattr(message, name) == value for name, value in fields.items()):
                return message

    def ask(self, what: str, **params: Any) -> Any:
        self.send(m.Query(99, what, params))
        reply = self.expect(m.Reply, request=99)
        assert not reply.error, reply.error
        return msgspec.msgpack.decode(reply.data, strict=False)

    def read_to_the_end(self) -> list[m.Message]:
        messages = []
        while (message := self.receive()) is not None:
            messages.append(message)
        return messages


class NodeProcess(Connection):
    """A node process, and its driver: us."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.directory = directory / "session"
        self.directory.mkdir(mode=0o700)
        ours, theirs = channel_pair()
        fields: dict[str, Any] = {"driver_pid": os.getpid(), **config}
        self.log = directory / "node.log"
        with theirs, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-c", "from tests.integration.node.parts import main; main()", str(theirs.fileno()),
                    msgspec.json.encode(NodeConfig("test", str(self.directory), **fields)).decode(),
                ],
                pass_fds=[theirs.fileno()],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        super().__init__(ours)
        self._members: list[Connection] = []

    def greet(self) -> m.Welcome:
        self.send(say_hello())
        return self.expect(m.Welcome)

    def start_worker(self, behaviour: str = "", request: int = 1) -> m.LeaseGranted:
        self.send(m.RequestLease(request, {"CPU": 10_000}, name=behaviour))
        return self.expect(m.LeaseGranted, request=request)

    def join(self, hello: m.Hello | None = None) -> Connection:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(self.directory / "node.sock"))
        connection = Connection(sock)
        self._members.append(connection)
        if hello is not None:
            connection.send(hello)
        return connection

    def stop(self) -> None:
        for connection in (self, *self._members):
            connection.channel.close()
        if self.process.poll() is None:
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(claim: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.002)
