"""A real worker process between a fake node and fake callers: real sockets, tokens and arena, no scheduler.

The node's part is played by the test: `Node` answers what a worker must have answered at once (Create, Fetch) and remembers the
rest.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import cloudpickle
import msgspec

from skate.engine.client import errors
from skate.engine.client.tasks import Slot
from skate.engine.node.state import TaskEvents
from skate.engine.object_store.serialization import ERROR, pack, unpack, unpack_stored
from skate.engine.spec import messages as m
from skate.engine.spec.boot import JobInfo, WorkerBoot
from skate.engine.spec.ids import return_id
from skate.engine.transport import tokens
from skate.engine.transport.channel import Channel, ChannelClosedError, channel_pair
from skate.object_ref import ObjectRef

PATIENCE_S = 20.0
ARENA_BYTES = 64 << 20
TAG = b"test"
WORKER, CALLER = 7, 3
_encode = msgspec.msgpack.Encoder().encode
_decode_node = msgspec.msgpack.Decoder(m.CLIENT_TO_NODE).decode
_decode_caller = msgspec.msgpack.Decoder(m.WORKER_TO_CALLER).decode
_task_numbers = count(1)

runtime: Any = None  # Of the worker, in the worker.
client: Any = None


class Hooks:
    """What the backend would give a worker."""

    ref_class = ObjectRef

    def dynamic_class(self, refs: list[Any]) -> list[Any]:
        return refs

    def attach(self, the_client: Any, the_runtime: Any) -> None:
        global runtime, client
        runtime, client = the_runtime, the_client


def wait_until(is_true: Callable[[], bool]) -> None:
    """For what happens to nobody's descriptor."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def new_task(caller: int = CALLER) -> bytes:
    return TAG + caller.to_bytes(4, "big") + next(_task_numbers).to_bytes(8, "big")


class Node:
    """The node's end of one worker."""

    def __init__(self, *, env: str = "", job_info: JobInfo | None = None, is_exec: bool = False) -> None:
        self.messages: list[Any] = []
        self.values: dict[bytes, m.Value] = {}  # What Fetch is answered with.
        self.stored: dict[bytes, tuple[int, int]] = {}  # Created: id → (offset, size)
        self.sealed: dict[bytes, m.Seal] = {}
        self._next_offset = 0
        self.is_full = False
        self.output = b""
        self.exit_status: int | None = None
        self.session_dir = tempfile.mkdtemp(prefix="skate-test-")
        self._arena_fd = os.memfd_create("arena")
        os.ftruncate(self._arena_fd, ARENA_BYTES)
        self.arena = mmap.mmap(self._arena_fd, ARENA_BYTES)
        client_here, client_there = channel_pair()
        control_here, control_there = channel_pair()
        output_read, output_write = os.pipe()
        welcome = m.Welcome(WORKER, TAG, "test", b"node", ARENA_BYTES, {"CPU": 20_000}, "ns", 1)
        boot = WorkerBoot(
            WORKER, welcome, self.session_dir, f"{__name__}:Hooks", job_info or JobInfo(job=1, namespace="ns"), env, b"node"
        )
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                os.dup2(output_write, 1)
                os.dup2(output_write, 2)
                keep = {0, 1, 2, client_there.fileno(), control_there.fileno(), self._arena_fd}
                for name in os.listdir("/proc/self/fd"):
                    if int(name) not in keep:
                        try:
                            os.close(int(name))
                        except OSError:
                            pass
                if is_exec:
                    fds = (client_there.fileno(), control_there.fileno(), self._arena_fd)
                    for fd in fds:
                        os.set_inheritable(fd, True)
                    here = os.path.dirname(os.path.abspath(__file__))
                    code = f"import sys; sys.path[:0] = {[here, *sys.path]!r}; from skate.engine.worker.main import main; main()"
                    boot_json = msgspec.json.encode(boot).decode()
                    os.execv(sys.executable, [sys.executable, "-c", code, *map(str, fds), boot_json])
                from skate.engine.worker.main import run_worker

                run_worker(boot, client_there.detach(), control_there.detach(), self._arena_fd)
            finally:
                os._exit(99)
        client_there.close()
        control_there.close()
        os.close(output_write)
        os.set_blocking(output_read, False)
        self._output_fd = output_read
        self.client = Channel(client_here)
        self.control = Channel(control_here)
        self.is_over = False
        self.is_leaving = False
        self._callers: list[Caller] = []

    # ------------------------------------------------------------ orders

    def order(self, message: m.Message, *descriptors: int) -> None:
        self.control.send_with_descriptors(_encode(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def lease(self, *, caller: int = CALLER, gpu_ids: list[int] | None = None) -> Caller:
        here, there = channel_pair()
        read, write = tokens.token_pipe()
        self.order(m.AttachLease(1, caller, 1, gpu_ids or [], {"CPU": 10_000}, b"", False, "ns"), there.detach(), os.dup(read))
        return Caller(self, Channel(here), read, write, caller)

    def actor(self, cls: type, *args: Any, **options: Any) -> bytes:
        """Make the worker an actor; returns the actor's id."""
        actor = new_task()
        fields: dict[str, Any] = {
            "arg_refs": [], "max_concurrency": 1, "concurrency_groups": {}, "is_async": False, "name": "", "namespace": "ns",
            "detached": False, "max_restarts": 0, "max_task_retries": 0, "max_pending_calls": -1, "placement_resources": {},
            "running_resources": {}, "env": "", "strategy": "DEFAULT", "placement_group": b"", "bundle": -1, "node": b"",
            "soft": False, "labels": {}, "handle_meta": b"",
        }  # fmt: skip
        definition, arguments = m.Value(0, cloudpickle.dumps(cls)), m.Value(0, pickle.dumps((args, {})))
        spec = m.ActorSpec(actor=actor, class_name=cls.__name__, definition=definition, args=arguments, **(fields | options))
        self.order(m.BecomeActor(spec, 0, [], {}, 1, CALLER))
        return actor

    def caller(self, caller: int = CALLER) -> Caller:
        here, there = channel_pair()
        self.order(m.AttachCaller(caller), there.detach())
        return Caller(self, Channel(here), -1, -1, caller)

    # ------------------------------------------------------------ news

    def until(self, is_true: Callable[[], Any], *channels: Caller) -> Any:
        """Play the node until something is true."""
        deadline_s = time.monotonic() + PATIENCE_S
        poller = select.poll()
        fds = [self.client.fd, self.control.fd, self._output_fd, *[caller.channel.fd for caller in channels if caller.is_open]]
        for fd in fds:
            poller.register(fd, select.POLLIN)
        while True:
            if not self.is_over:
                self._hear()
            self._hear_control()
            self._hear_output(poller)
            for caller in channels:
                caller.hear(poller)
            for fd, has_ended in ((self.client.fd, self.is_over), (self.control.fd, self.is_leaving)):
                if has_ended:
                    try:
                        poller.unregister(fd)
                    except (KeyError, ValueError):
                        pass
            if result := is_true():
                return result
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise AssertionError(
                    f"it did not come true; messages {self.messages[-5:]}; output {self.output[-3000:].decode()}"
                )
            poller.poll(min(left_s, 0.5) * 1000)

    def got(self, kind: type) -> list[Any]:
        return [message for message in self.messages if type(message) is kind]

    def wait_message(self, kind: type, *channels: Caller) -> Any:
        return self.until(lambda: self.got(kind), *channels)[-1]

    def wait_exit(self, *channels: Caller) -> int:
        """The worker's wait status, as `os.waitstatus_to_exitcode` gives it."""

        def has_ended() -> bool:
            if self.exit_status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.exit_status = os.waitstatus_to_exitcode(status)
            return self.exit_status is not None

        self.until(has_ended, *channels)
        self._hear_output(None)
        if not self.is_over:
            self._hear()
        assert self.exit_status is not None
        return self.exit_status

    def rows(self) -> list[Any]:
        """Task events that have come."""
        kept = TaskEvents(tag=TAG)
        for message in self.got(m.Events):
            kept.add(message)
        return kept.rows(kept.count)

    def counts(self) -> dict[tuple[bytes, Any], int]:
        """What the worker's AddRefs and DropRefs come to, by (id, holder)."""
        total: dict[tuple[bytes, Any], int] = {}
        for message in self.messages:
            if type(message) is m.AddRef:
                total[message.id, message.holder] = total.get((message.id, message.holder), 0) + 1
            elif type(message) is m.DropRefs:
                for object_id, number in message.refs:
                    total[object_id, WORKER] = total.get((object_id, WORKER), 0) - number
        return total

    def stored_value(self, object_id: bytes) -> Any:
        offset, size = self.stored[object_id]
        return unpack_stored(memoryview(bytes(self.arena[offset : offset + size])))

    def store(self, value: Any) -> bytes:
        """Put a value into the arena, as somebody else's object."""
        object_id = return_id(new_task(), 0)
        packed = pack(value)
        offset, size = self._allocate(packed.stored_size())
        position = offset
        for part in packed.stored_parts():
            data = bytes(part)
            self.arena[position : position + len(data)] = data
            position += len(data)
        self.stored[object_id] = (offset, size)
        return object_id

    def _allocate(self, size: int) -> tuple[int, int]:
        offset = self._next_offset
        self._next_offset += -(-size // 4096) * 4096
        return offset, size

    def _hear(self) -> None:
        try:
            while (data := self.client.receive()) is not None:
                message = _decode_node(data)
                self.messages.append(message)
                if type(message) is m.Create:
                    if self.is_full:
                        self.client.send(_encode(m.Created(message.request, -1, "the store is full")))
                    else:
                        self.stored[message.id] = self._allocate(message.size)
                        self.client.send(_encode(m.Created(message.request, self.stored[message.id][0], "")))
                elif type(message) is m.Seal:
                    self.sealed[message.id] = message
                elif type(message) is m.Fetch:
                    if message.id in self.values:
                        self.client.send(_encode(m.Fetched(message.id, self.values[message.id], -1, 0, "", "")))
                    elif message.id in self.stored:
                        offset, size = self.stored[message.id]
                        self.client.send(_encode(m.Fetched(message.id, None, offset, size, "", "")))
        except ChannelClosedError:
            self.is_over = True

    def _hear_control(self) -> None:
        try:
            while not self.is_leaving and (data := self.control.receive()) is not None:
                self.messages.append(msgspec.msgpack.decode(data, type=m.StackDump))
        except ChannelClosedError:
            self.is_leaving = True

    def _hear_output(self, poller: Any) -> None:
        while True:
            try:
                data = os.read(self._output_fd, 65536)
            except BlockingIOError:
                return
            if not data:
                if poller is not None:
                    try:
                        poller.unregister(self._output_fd)
                    except (KeyError, ValueError):
                        pass
                return
            self.output += data

    def publish(self, object_id: bytes, value: Any) -> None:
        """Answer a Fetch that waits, and later ones."""
        packed = pack(value)
        self.values[object_id] = m.Value(packed.kind, packed.data())
        self.client.send(_encode(m.Fetched(object_id, self.values[object_id], -1, 0, "", "")))

    def close(self) -> None:
        if self.exit_status is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for caller in self._callers:
            caller.close()
        self.client.close()
        self.control.close()
        os.close(self._output_fd)
        self.arena.close()
        os.close(self._arena_fd)
        if os.path.isdir(self.session_dir):
            os.rmdir(self.session_dir)


class Caller:
    """One caller of the worker: a lease's (with tokens) or an actor's."""

    def __init__(self, node: Node, channel: Channel, token_read: int, token_write: int, client_id: int) -> None:
        self.node = node
        node._callers.append(self)
        self.channel = channel
        self.token_read, self.token_write = token_read, token_write
        self.client_id = client_id
        self.is_open = True
        self.messages: list[Any] = []
        self.outcomes: dict[int, m.Outcome] = {}
        self.order: list[int] = []  # seqs, as answered
        self.tasks: dict[int, bytes] = {}
        self._templates: dict[Any, int] = {}
        self._seqs = count(0)

    def template(self, function: Any, **options: Any) -> int:
        """Introduce a function (or a method, by its name)."""
        key = (function, repr(sorted(options.items())))
        if key not in self._templates:
            index = self._templates[key] = len(self._templates)
            is_method = isinstance(function, str)
            data = b"" if is_method else cloudpickle.dumps(function)
            fields: dict[str, Any] = {
                "index": index, "name": function if is_method else function.__qualname__.rpartition(".")[2],
                "definition": None if is_method else m.Value(0, data), "method": function if is_method else "",
                "definition_id": b"" if is_method else hashlib.sha256(data).digest(), "num_returns": 1,
                "retry_exceptions": False, "max_calls": 0, "flush_each": False, "concurrency_group": "", "backpressure": -1,
            }  # fmt: skip
            self.channel.send(_encode(m.Template(**(fields | options))))
        return self._templates[key]

    def make(
        self, function: Any, *args: Any, refs: list[Any] | None = None, borrowed: list[bytes] | None = None, **options: Any
    ) -> m.Call:
        """A call that is not sent yet. `refs`: bytes or values; `Slot(i)` among `args` stands for them."""
        index = self.template(function, **options)
        seq = next(self._seqs)
        task = self.tasks[seq] = new_task(self.client_id)
        packed = pack((args, {}))
        values = None
        if refs is not None:
            values = [ref if type(ref) is bytes else m.Value(pack(ref).kind, pack(ref).data()) for ref in refs]
        return m.Call(seq, index, task, packed.data(), values, b"", borrowed)

    def send(self, *calls: m.Call) -> None:
        if self.token_write >= 0:
            tokens.offer(self.token_write, [call.seq for call in calls])
        self.channel.send(_encode(m.Calls(list(calls))))

    def call(self, function: Any, *args: Any, **options: Any) -> int:
        """Send one call; returns its seq."""
        call = self.make(function, *args, **options)
        self.send(call)
        return call.seq

    def ack(self, seq: int, consumed: int) -> None:
        self.channel.send(_encode(m.GeneratorAck(self.tasks[seq], consumed)))

    def hear(self, poller: Any = None) -> None:
        try:
            while self.is_open and (data := self.channel.receive()) is not None:
                message = _decode_caller(data)
                self.messages.append(message)
                if type(message) is m.Done:
                    for outcome in message.outcomes:
                        self.outcomes[outcome.seq] = outcome
                        self.order.append(outcome.seq)
        except ChannelClosedError:
            self.is_open = False
            if poller is not None:
                try:
                    poller.unregister(self.channel.fd)
                except (KeyError, ValueError):
                    pass

    def wait(self, seq: int) -> m.Outcome:
        self.node.until(lambda: seq in self.outcomes or self.node.is_over, self)
        self.hear()
        return self.outcomes[seq]

    def result(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call, wait, and give the value (small) back."""
        return self.value(self.call(function, *args, **options))

    def value(self, seq: int) -> Any:
        outcome = self.wait(seq)
        assert outcome.status == 0, errors.unpack_error(outcome.data)
        if outcome.returns is not None:
            return [unpack(item.kind, item.data) if type(item) is m.Value else item for item in outcome.returns]
        return unpack(outcome.kind, outcome.data)

    def error(self, seq: int) -> BaseException:
        outcome = self.wait(seq)
        assert outcome.status != 0
        assert outcome.kind == ERROR
        return errors.unpack_error(outcome.data)

    def items(self) -> list[Any]:
        return [message for message in self.messages if type(message) is m.GeneratorItem]

    def values(self) -> list[Any]:
        return [unpack(item.value.kind, item.value.data) for item in self.items()]

    def wait_until(self, is_true: Callable[[], Any]) -> Any:
        return self.node.until(is_true, self)

    def close(self) -> None:
        self.is_open = False
        self.channel.close()
        for fd in (self.token_read, self.token_write):
            if fd >= 0:
                os.close(fd)
        self.token_read = self.token_write = -1


__all__ = ["CALLER", "WORKER", "Caller", "Iterator", "Node", "Slot", "socket"]
