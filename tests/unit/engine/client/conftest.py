"""A client with a fake node at the other end of its socket: what it tells the node can be read, and the node's answers be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from skate.engine.client import current
from skate.engine.client.client import Client
from skate.engine.client.tasks import FunctionToken
from skate.engine.object_store.arena import Arena
from skate.engine.spec import messages as m
from skate.engine.transport import tokens
from skate.engine.transport.channel import Channel, channel_pair
from skate.object_ref import ObjectRef

_encode = msgspec.msgpack.Encoder().encode
_decode_from_client = msgspec.msgpack.Decoder(m.CLIENT_TO_NODE).decode
_decode_from_caller = msgspec.msgpack.Decoder(m.CALLER_TO_WORKER).decode


class FakeWorker:
    """The worker's end of a lease."""

    def __init__(self, channel: Channel, token_read: int) -> None:
        self.channel = channel
        self.token_read = token_read

    def calls(self) -> list[m.Call]:
        """Claim and return every call that has come."""
        received: list[m.Call] = []
        while (data := self.channel.receive()) is not None:
            message = _decode_from_caller(data)
            if isinstance(message, m.Calls):
                received.extend(message.calls)
        claimed: set[int] = set()
        while (seq := tokens.claim(self.token_read)) >= 0:
            claimed.add(seq)
        return [call for call in received if call.seq in claimed]

    def answer(self, call: m.Call, value: Any, **more: Any) -> None:
        import pickle

        self.channel.send(_encode(m.Done([m.Outcome(call.seq, 0, 0, pickle.dumps(value), 10, **more)])))


class Rig:
    def __init__(self) -> None:
        near, far = channel_pair()
        self.node = Channel(far)
        welcome = m.Welcome(7, b"test", "test", b"node", 1 << 20, {"CPU": 20_000}, "", 7)
        self.client = Client(Channel(near), welcome, Arena.create(1 << 20), ObjectRef, is_worker=False)
        current.set_client(self.client)
        self.client.start()
        request = m.RequestLease(0, {"CPU": 10_000})
        template = m.Template(0, "f", m.Value(0, b""), b"f", "", 1, False, 0, False, "", -1)
        self.token = FunctionToken(None, template, self.client.submission.queue_for(request, 2), 3, retries_errors=False)
        self._descriptors: list[int] = []
        self._workers: list[FakeWorker] = []

    def heard(self) -> list[m.Message]:
        """What the client has told the node since the last call."""
        messages: list[m.Message] = []
        while (data := self.node.receive()) is not None:
            messages.append(_decode_from_client(data))
        return messages

    def say(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        if descriptors:
            self.node.send_with_descriptors(_encode(message), descriptors)
        else:
            self.node.send(_encode(message))
        self.client.pump.poll_now()

    def grant(self, request: m.RequestLease, lease: int, worker: int) -> FakeWorker:
        import os

        near, far = channel_pair()
        token_read, token_write = tokens.token_pipe()
        self.say(m.LeaseGranted(request.request, lease, worker, 4000 + worker), (near.fileno(), token_write, token_read))
        near.close()
        os.close(token_write)
        self._descriptors.append(token_read)
        worker = FakeWorker(Channel(far), token_read)
        self._workers.append(worker)
        return worker

    def submit(self, *args: Any) -> Any:
        return self.client.submit_task(self.token, args, {})

    def close(self) -> None:
        import os

        self.client.close(ends_session=True)
        current.set_client(None)
        self.node.close()
        for worker in self._workers:
            worker.channel.close()
        for fd in self._descriptors:
            os.close(fd)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()
