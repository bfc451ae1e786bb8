"""Actor calls: ordered per caller, over a direct channel to the actor's worker.

    call ─► connection.queue ─► connection.in_flight ─► Done
                 ▲                    │ the actor died: with max_task_retries the call goes back to its place in the queue,
                 └────────────────────┘                 without it fails (ActorUnavailableError, or ActorDiedError for good)

For an actor that runs one call at a time the queue keeps the order of submission even when a call waits for its arguments. A concurrent
(async or threaded) actor promises no order: there a call enters the queue when its arguments are there.

Everything here runs under the client's lock.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from skate.config import ACTOR_IN_FLIGHT_MAX, PACKET_BYTES_MAX, WINDOW_CALLS_MAX
from skate.engine.client import errors
from skate.engine.client.tasks import MethodToken, Task
from skate.engine.spec import messages as m
from skate.engine.transport.channel import Channel, ChannelClosedError

if TYPE_CHECKING:
    from skate.engine.client.client import Client

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(m.WORKER_TO_CALLER).decode
_SEND_AT_ONCE = 4  # Calls in flight below which the next is sent alone: hides the round trip; above, batches are cheaper.
_SEND_EVERY = 32


class Connection:
    """One actor as this process sees it."""

    __slots__ = (
        "actor_id", "channel", "class_name", "death", "in_flight", "incarnation", "is_concurrent", "is_requested",
        "max_pending_calls", "max_task_retries", "next_seq", "pid", "queue", "state", "templates", "waiting", "worker",
    )  # fmt: skip

    def __init__(
        self, actor_id: bytes, class_name: str, max_task_retries: int, max_pending_calls: int, *, is_concurrent: bool
    ) -> None:
        self.actor_id = actor_id
        self.class_name = class_name
        self.max_task_retries = max_task_retries
        self.max_pending_calls = max_pending_calls
        self.is_concurrent = is_concurrent
        self.state = "PENDING"
        self.channel: Channel | None = None
        self.worker = 0
        self.pid = 0
        self.incarnation = -1
        self.is_requested = False
        self.queue: deque[Task] = deque()
        self.waiting = 0  # Calls of a concurrent actor that wait for arguments, outside the queue.
        self.in_flight: dict[int, Task] = {}
        self.next_seq = 0
        self.templates: dict[MethodToken, int] = {}  # Keeps the token: its id must not become another's.
        self.death: m.ActorUpdate | None = None


class ActorCalls:
    """All actor connections of one client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.connections: dict[bytes, Connection] = {}

    # ------------------------------------------------------------ in

    def submit(self, connection: Connection, task: Task) -> bool:
        """Queue a call. True when the caller should look at the sockets."""
        if connection.death is not None:
            self._client.calls.fail_task(task, errors.actor_died(connection, task))
            return False
        if task.unresolved and connection.is_concurrent:
            connection.waiting += 1
            return False
        connection.queue.append(task)
        if connection.channel is None:
            self.connect(connection)
            return False
        if connection.is_concurrent or len(connection.in_flight) < _SEND_AT_ONCE:
            self.send_ready(connection)
            return False
        return len(connection.queue) % _SEND_EVERY == 0

    def pending_calls(self, connection: Connection) -> int:
        return len(connection.queue) + len(connection.in_flight) + connection.waiting

    def on_arguments_ready(self, task: Task) -> None:
        connection: Connection = task.token.actor
        if connection.is_concurrent:
            connection.waiting -= 1
            self.submit(connection, task)
        else:
            self.send_ready(connection)

    def connect(self, connection: Connection) -> None:
        if not connection.is_requested:
            connection.is_requested = True
            self._client.tell_node(m.ConnectActor(connection.actor_id))

    def send_all(self) -> None:
        for connection in self.connections.values():
            if connection.queue and connection.channel is not None:
                self.send_ready(connection)

    def send_ready(self, connection: Connection) -> None:
        """Send what is ready, in order, in batches."""
        queue = connection.queue
        client = self._client
        while queue and connection.channel is not None:
            calls: list[m.Call] = []
            size = 0
            while queue and len(connection.in_flight) < ACTOR_IN_FLIGHT_MAX and len(calls) < WINDOW_CALLS_MAX // 2:
                task = queue[0]
                if task.is_done:
                    queue.popleft()
                    continue
                if task.unresolved:
                    break
                queue.popleft()
                token: MethodToken = task.token
                template = connection.templates.get(token)
                if template is None:
                    template = connection.templates[token] = len(connection.templates)
                    self._send(connection, _encode(msgspec.structs.replace(token.template, index=template)))
                seq = connection.next_seq
                connection.next_seq = seq + 1
                task.seq = seq
                task.lease = connection
                connection.in_flight[seq] = task
                call = m.Call(seq, template, task.task_id, task.args)
                if task.deps is not None or task.borrowed is not None or task.args_id:
                    client.calls.attach_references(call, task, connection.worker)
                call.attempt = task.attempt
                calls.append(call)
                size += len(task.args) + (sum(len(r.data) for r in call.refs if type(r) is m.Value) if call.refs else 0)
                if size > PACKET_BYTES_MAX // 2:
                    break
            if not calls:
                return
            self._send(connection, _encode(m.Calls(calls)))
            client.trail.submitted()

    def _send(self, connection: Connection, data: bytes) -> None:
        channel = connection.channel
        if channel is None:
            return
        try:
            if not channel.send(data):
                self._client.pump.watch_writable(channel.fd, True)
        except ChannelClosedError:
            self._close_channel(connection)  # ActorUpdate follows and settles what was in flight.

    # ------------------------------------------------------------ news from the node

    def on_channel(self, message: m.ActorChannel, descriptors: list[int]) -> None:
        channel = Channel(socket.socket(fileno=descriptors[0]), self._client.receive_buffer)
        connection = self.connections.get(message.actor)
        if connection is None or connection.death is not None:
            channel.close()
            return
        if connection.channel is not None:
            self._drain(connection)
            self._close_channel(connection)
        if connection.in_flight:
            self._settle(connection, None)
        connection.channel = channel
        connection.worker = message.worker
        connection.pid = message.pid
        connection.incarnation = message.incarnation
        connection.state = "ALIVE"
        connection.templates.clear()
        self._client.pump.add(channel.fd, lambda events: self._on_channel_ready(connection, channel))
        self.send_ready(connection)

    def on_update(self, message: m.ActorUpdate) -> None:
        connection = self.connections.get(message.actor)
        if connection is None or connection.death is not None or message.incarnation < connection.incarnation:
            return
        connection.state = message.state
        if message.state not in ("RESTARTING", "DEAD"):
            return
        if message.state == "RESTARTING" and message.incarnation > connection.incarnation >= 0 and connection.channel is None:
            pass  # The channel's end was seen first; what was in flight is settled below all the same.
        if connection.channel is not None:
            self._drain(connection)
            self._close_channel(connection)
        if message.state == "DEAD":
            connection.death = message
        self._settle(connection, message)

    def _settle(self, connection: Connection, update: m.ActorUpdate | None) -> None:
        """Decide about the calls that were in flight when the actor went away, and, when it is dead, about those still queued."""
        in_flight = list(connection.in_flight.values())
        connection.in_flight.clear()
        is_dead = connection.death is not None
        kept: list[Task] = []
        for task in in_flight:
            task.shared = None
            if task.is_done:
                continue
            if task.is_cancelled:
                self._client.calls.fail_task(task, errors.cancelled(task))
            elif is_dead:
                self._client.calls.fail_task(task, errors.actor_died(connection, task, was_sent=True))
            elif task.retries_left != 0:
                if task.retries_left > 0:
                    task.retries_left -= 1
                task.attempt += 1
                task.lease = None
                kept.append(task)
            else:
                self._client.calls.fail_task(task, errors.actor_unavailable(connection, task, update))
        if is_dead:
            queued = list(connection.queue)
            connection.queue.clear()
            for task in queued:
                if not task.is_done:
                    self._client.calls.fail_task(task, errors.actor_died(connection, task))
            self._client.on_actor_dead(connection)
        else:
            connection.queue.extendleft(reversed(kept))

    # ------------------------------------------------------------ answers

    def _on_channel_ready(self, connection: Connection, channel: Channel) -> None:
        if connection.channel is not channel:
            return
        try:
            if channel.outbox and channel.flush():
                self._client.pump.watch_writable(channel.fd, False)
        except ChannelClosedError:
            pass  # Read what it said before it went.
        if not self._drain(connection):
            self._close_channel(connection)
        elif connection.queue:
            self.send_ready(connection)

    def _drain(self, connection: Connection) -> bool:
        """Handle every message that has come. False at the end of the channel."""
        client = self._client
        channel = connection.channel
        assert channel is not None
        in_flight = connection.in_flight
        try:
            while (data := channel.receive()) is not None:
                message = _decode(data)
                if type(message) is m.Done:
                    for outcome in message.outcomes:
                        task = in_flight.pop(outcome.seq, None)
                        if task is not None:
                            client.calls.finish_task(task, outcome)
                    if not in_flight:
                        return True
                elif type(message) is m.GeneratorItem:
                    client.streams.add_item(message)
        except ChannelClosedError:
            return False
        return True

    def _close_channel(self, connection: Connection) -> None:
        if connection.channel is not None:
            self._client.pump.remove(connection.channel.fd)
            connection.channel.close()
            connection.channel = None

    # ------------------------------------------------------------ end

    def leave(self, actor_id: bytes) -> None:
        """Its kill has been asked for: later calls wait for what the node says (dead, or a new channel) and do not reach this incarnation."""
        connection = self.connections.get(actor_id)
        if connection is not None and connection.channel is not None:
            self._drain(connection)
            self._close_channel(connection)

    def forget(self, actor_id: bytes) -> None:
        """The last handle in this process has gone, and no call is pending."""
        connection = self.connections.pop(actor_id, None)
        if connection is not None:
            self._close_channel(connection)

    def requeue(self, task: Task) -> None:
        """Retry a call that raised an error its method asked to retry."""
        connection: Connection = task.token.actor
        task.lease = None
        if connection.death is not None:
            self._client.calls.fail_task(task, errors.actor_died(connection, task))
            return
        connection.queue.appendleft(task)
        self.send_ready(connection)

    def close(self) -> None:
        for connection in self.connections.values():
            self._close_channel(connection)
        self.connections.clear()
