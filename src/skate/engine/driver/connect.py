"""Join a node process: say Hello on a socket, get Welcome and the arena.

greet             on a socket that is connected already: the one the node was spawned with, or one of node.sock
open_socket       connect to a session's node.sock
connect_observer  a light client for the CLI and the dashboard: asks questions, runs nothing
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from skate.engine.driver.sessions import SOCKET_NAME, Session, connect_to
from skate.engine.spec import messages as m
from skate.engine.transport.channel import Channel, ChannelClosedError, tune

START_WITHIN_S = 60.0  # A machine under heavy load takes its time; one that is dead is noticed at once.
_ANSWER_WITHIN_S = 30.0
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(m.NODE_TO_CLIENT).decode


def greet(channel: Channel, hello: m.Hello, timeout_s: float, on_death: Callable[[], str]) -> tuple[m.Welcome, int]:
    """Say Hello; returns the answer and the arena's descriptor.

    Args:
        on_death: Says how the node process died, when it did.

    Raises:
        ConnectionError: The node refused us.
        RuntimeError: It died, or did not answer in time.
    """
    poller = select.poll()
    poller.register(channel.fd, select.POLLIN)
    deadline_s = time.monotonic() + timeout_s
    try:
        channel.send(_encode(hello))
        while (received := channel.receive_with_descriptors()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise RuntimeError(f"the engine's process did not answer within {timeout_s:g} s: {on_death()}")
            if channel.outbox:
                channel.flush()
            poller.poll(min(left_s, 1.0) * 1000)
    except ChannelClosedError:
        raise RuntimeError(f"the engine's process ended before it answered: {on_death()}") from None
    data, descriptors = received
    welcome = _decode(data)
    if not isinstance(welcome, m.Welcome):
        raise RuntimeError(f"the engine's process answered Hello with {type(welcome).__name__}: a bug in skate")
    if welcome.error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ConnectionError(welcome.error)
    return welcome, descriptors[0]


def make_hello(
    kind: str,
    *,
    namespace: str = "",
    wants_logs: bool = False,
    env: str = "",
    sys_path: list[str] | None = None,
    environ: Mapping[str, str] | None = None,
    log_config: str = "",
) -> m.Hello:
    """Hello of this process. `environ`: where the node's own environment is not ours."""
    main_path = sys.argv[0] if sys.argv else ""
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
    return m.Hello(
        kind, os.getpid(), namespace, os.path.basename(main_path), "{}.{}.{}".format(*sys.version_info[:3]),
        getattr(sys.modules.get("skate"), "__version__", ""), wants_logs, main_path, sys_path or [], cwd, env, dict(environ or {}),
        log_config,
    )  # fmt: skip


def open_socket(session: Session) -> socket.socket:
    """A connection to a session's node process.

    Raises:
        ConnectionError: It does not listen any more.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connect_to(sock, os.path.join(session.directory, SOCKET_NAME))
    except OSError as error:
        sock.close()
        raise ConnectionError(
            f"session {session.name!r} can't be joined: {error}; see `skate status` for those that run"
        ) from error
    tune(sock)
    return sock


class Observer:
    """Asks a session what goes on in it. One thread at a time; in `with` it closes itself."""

    def __init__(self, channel: Channel, session: Session, welcome: m.Welcome) -> None:
        self._channel = channel
        self.session = session
        self.welcome = welcome
        self._requests = 0
        self.pending: list[Any] = []  # Messages that came in between: log lines, notices.

    def query(self, what: str, params: Mapping[str, Any] | None = None) -> Any:
        """The node's answer, as plain data.

        Raises:
            ConnectionError: The session has ended.
            ValueError: The node does not know such a thing.
        """
        self._requests += 1
        self._send(m.Query(self._requests, what, dict(params or {})))
        reply = self._receive_reply(self._requests)
        if reply.error:
            raise ValueError(reply.error)
        return msgspec.msgpack.decode(reply.data, strict=False)

    def kill_actor(self, actor: bytes, *, no_restart: bool = True) -> None:
        self._send(m.KillActor(actor, no_restart))

    def cancel_task(self, worker: int, task: bytes) -> None:
        self._send(m.CancelTask(worker, task, True))

    def stop_session(self) -> None:
        """End the whole session."""
        self._send(m.StopSession())

    def follow_logs(self) -> None:
        """From now on `next_message` gives log lines too."""
        self._send(m.SubscribeLogs(True))

    def next_message(self, timeout_s: float | None) -> Any:
        """The next message that is no answer (LogLines, Notice, SessionEnding); None in case of timeout.

        Raises:
            ConnectionError: The session has ended.
        """
        if self.pending:
            return self.pending.pop(0)
        return self._receive(timeout_s)

    def wait_until_gone(self, timeout_s: float) -> bool:
        """Wait for the end of the session."""
        deadline_s = time.monotonic() + timeout_s
        try:
            while (left_s := deadline_s - time.monotonic()) > 0:
                self._receive(left_s)
        except ConnectionError:
            return True
        return False

    def _send(self, message: m.Message) -> None:
        try:
            self._channel.send(_encode(message))
            while self._channel.outbox:
                select.select([], [self._channel.fd], [])
                self._channel.flush()
        except ChannelClosedError as error:
            raise ConnectionError(f"session {self.session.name!r} has ended ({error})") from None

    def _receive_reply(self, request: int) -> m.Reply:
        deadline_s = time.monotonic() + _ANSWER_WITHIN_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            message = self._receive(left_s)
            if isinstance(message, m.Reply) and message.request == request:
                return message
            if message is not None:
                self.pending.append(message)
        raise ConnectionError(f"session {self.session.name!r} did not answer within {_ANSWER_WITHIN_S:g} s")

    def _receive(self, timeout_s: float | None) -> Any:
        try:
            received = self._channel.receive_with_descriptors()
            if received is None:
                poller = select.poll()
                poller.register(self._channel.fd, select.POLLIN)
                poller.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)
                received = self._channel.receive_with_descriptors()
        except ChannelClosedError as error:
            raise ConnectionError(f"session {self.session.name!r} has ended ({error})") from None
        if received is None:
            return None
        data, descriptors = received
        for descriptor in descriptors:
            os.close(descriptor)
        return _decode(data)

    def close(self) -> None:
        try:
            self._channel.send(_encode(m.Goodbye(False)))
        except ChannelClosedError:
            pass
        self._channel.close()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect_observer(session: Session) -> Observer:
    """Look at a session from outside.

    Raises:
        ConnectionError, RuntimeError: It can't be joined.
    """
    channel = Channel(open_socket(session))
    welcome, arena = greet(channel, make_hello("observer"), _ANSWER_WITHIN_S, lambda: "see `skate status`")
    os.close(arena)
    return Observer(channel, session, welcome)
