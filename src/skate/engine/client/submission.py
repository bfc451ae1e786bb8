"""Tasks: from the queue of their shape to a leased worker and back.

    submit ─► (waits for its dependencies) ─► queue.ready ─► lease.in_flight ─► Done
                                                  ▲                 │ worker died, or the call was taken back
                                                  └─────────────────┘

Each `TaskQueue` keeps as many leases as it has tasks, up to what the machine could run at once. A lease with nothing in flight gets
its next call at once; one that is busy gets further calls in batches, ahead of need, sized so that a batch takes about a millisecond
(`window`). What a worker has not started can be taken back through the lease's token pipe: `rebalance` does so when a worker has been silent for
STUCK_AFTER_S, and when its task blocks in get. So prefetching never delays a task for long.

Everything here runs under the client's lock.
"""

from __future__ import annotations

import os
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from skate.config import (
    BATCH_BUDGET_S,
    LEASE_LINGER_S,
    PACKET_BYTES_MAX,
    PREFETCH_DURATION_MAX_S,
    STUCK_AFTER_S,
    WINDOW_CALLS_MAX,
)
from skate.engine.client import errors
from skate.engine.client.tasks import FunctionToken, Lease, Task, TaskQueue
from skate.engine.spec import messages as m
from skate.engine.transport import tokens
from skate.engine.transport.channel import Channel, ChannelClosedError

if TYPE_CHECKING:
    from skate.engine.client.client import Client

_monotonic = time.monotonic
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(m.WORKER_TO_CALLER).decode
_DISPATCH_EVERY = 32  # Submissions between two looks at busy workers: amortises a poll over a batch.


class Submission:
    """All task queues and leases of one client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queues: dict[bytes, TaskQueue] = {}
        self._requests: dict[int, TaskQueue] = {}
        self._leases: dict[int, Lease] = {}
        self._request_numbers = count(1)
        self._receive_buffer = client.receive_buffer
        self.tick_at_s = 0.0

    def queue_for(self, request: m.RequestLease, slots_max: int) -> TaskQueue:
        # Not by name: a worker leased for one function serves every other one that needs the same.
        key = _encode(msgspec.structs.replace(request, name=""))
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = TaskQueue(request, slots_max)
        return queue

    # ------------------------------------------------------------ in

    def enqueue(self, task: Task) -> bool:
        """A task whose dependencies are there. True when the caller should look at the sockets (`pump.poll_now`)."""
        queue: TaskQueue = task.token.queue
        queue.outstanding += 1
        ready = queue.ready
        ready.append(task)
        leases = queue.leases
        held = len(leases) + len(queue.requests)
        if held < queue.slots_max and held < queue.outstanding:
            self._request_leases(queue)
        if len(ready) > 1 and len(ready) % _DISPATCH_EVERY:
            return False  # The first one that had to wait found no lease idle; whoever becomes idle dispatches by itself.
        for lease in leases.values():
            if not lease.in_flight and not lease.is_revoked and not lease.is_blocked and not lease.is_lost:
                self.dispatch(queue)
                return False
        return len(ready) % _DISPATCH_EVERY == 0

    def requeue(self, task: Task, *, first: bool = False) -> None:
        """Run a task (again)."""
        queue: TaskQueue = task.token.queue
        task.lease = None
        queue.outstanding += 1
        if first:
            queue.ready.appendleft(task)
        else:
            queue.ready.append(task)
        self._request_leases(queue)

    def dispatch_all(self) -> None:
        for queue in self._queues.values():
            if queue.ready:
                self.dispatch(queue)

    def dispatch(self, queue: TaskQueue) -> None:
        """Hand ready tasks to leases: first one to each idle lease, then batches to the busy ones."""
        ready = queue.ready
        if not ready:
            return
        now = _monotonic()
        window = _window(ready[0].token)
        idle = [lease for lease in queue.leases.values() if not lease.in_flight and _takes_calls(lease)]
        if len(idle) > 1 or window == 1:
            for lease in idle:
                if ready:
                    share = -(-len(ready) // len(queue.leases)) if window > 1 else 1
                    self._send(lease, min(share, window), now)
        else:
            for lease in idle:
                if ready:
                    self._send(lease, window, now)
        if window > 1:
            for lease in queue.leases.values():
                if not ready:
                    return
                in_flight = len(lease.in_flight)
                # Refill when half of the window is used up, so that packets carry half a window each.
                if in_flight <= window // 2 and _takes_calls(lease) and now - lease.progress_at_s < STUCK_AFTER_S:
                    self._send(lease, window - in_flight, now)

    def _send(self, lease: Lease, room: int, now_s: float) -> None:
        client = self._client
        ready = lease.queue.ready
        calls: list[m.Call] = []
        seqs: list[int] = []
        size = 0
        half = max(1, room if room < 8 else WINDOW_CALLS_MAX // 2)
        quick = ready[0].token
        while ready and room > 0:
            if ready[0].token is not quick:
                quick = ready[0].token
                if calls and _window(quick) == 1:
                    break  # Long, or of unknown length: not behind others.
            task = ready.popleft()
            if task.is_done:  # Cancelled while it waited.
                lease.queue.outstanding -= 1
                continue
            room -= 1
            token: FunctionToken = task.token
            template = lease.templates.get(token)
            if template is None:
                template = self._introduce(lease, token)
            seq = lease.next_seq
            lease.next_seq = (seq + 1) & 0xFFFFFFFF
            task.seq = seq
            task.lease = lease
            lease.in_flight[seq] = task
            call = m.Call(seq, template, task.task_id, task.args)
            if task.deps is not None or task.borrowed is not None or task.args_id:
                client.calls.attach_references(call, task, lease.worker)
            call.attempt = task.attempt
            calls.append(call)
            seqs.append(seq)
            size += len(task.args) + (sum(len(ref.data) for ref in call.refs if type(ref) is m.Value) if call.refs else 0)
            if size > PACKET_BYTES_MAX // 2 or len(calls) >= half:
                self._send_packet(lease, calls, seqs)
                calls, seqs, size = [], [], 0
        if calls:
            self._send_packet(lease, calls, seqs)
        client.trail.submitted()
        lease.progress_at_s = now_s
        if len(lease.in_flight) > 1:
            client.pump.tick_by(now_s + STUCK_AFTER_S)

    def _send_packet(self, lease: Lease, calls: list[m.Call], seqs: list[int]) -> None:
        tokens.offer(lease.token_write, seqs)
        try:
            if not lease.channel.send(_encode(m.Calls(calls))):
                self._client.pump.watch_writable(lease.channel.fd, True)
        except ChannelClosedError:
            lease.is_lost = True  # LeaseLost follows from the node with the reason, and requeues what was in flight.

    def _introduce(self, lease: Lease, token: FunctionToken) -> int:
        index = len(lease.templates)
        lease.templates[token] = index
        template = msgspec.structs.replace(token.template, index=index)
        if isinstance(template.definition, m.Stored):
            self._client.references.share(template.definition_id, lease.worker)
        try:
            if not lease.channel.send(_encode(template)):
                self._client.pump.watch_writable(lease.channel.fd, True)
        except ChannelClosedError:
            lease.is_lost = True
        return index

    # ------------------------------------------------------------ leases

    def _request_leases(self, queue: TaskQueue) -> None:
        usable, needed = 0, queue.outstanding
        for lease in queue.leases.values():
            if lease.is_blocked or lease.is_revoked:
                needed -= len(lease.in_flight)  # These end where they are: a lease for them would lie idle while others wait.
            else:
                usable += 1
        wanted = min(needed, queue.slots_max) - usable - len(queue.requests)
        for _ in range(wanted):
            number = next(self._request_numbers)
            queue.requests.add(number)
            self._requests[number] = queue
            self._client.tell_node(msgspec.structs.replace(queue.request, request=number))

    def on_granted(self, message: m.LeaseGranted, descriptors: list[int]) -> None:
        channel_fd, token_write, token_read = descriptors
        import socket

        queue = self._requests.pop(message.request, None)
        channel = Channel(socket.socket(fileno=channel_fd), self._receive_buffer)
        if queue is None:  # Cancelled in between.
            channel.close()
            os.close(token_write)
            os.close(token_read)
            self._client.tell_node(m.ReturnLease(message.lease))
            return
        queue.requests.discard(message.request)
        lease = Lease(message.lease, message.worker, message.pid, queue, channel, token_write, token_read)
        lease.idle_since_s = lease.progress_at_s = _monotonic()
        queue.leases[lease.lease_id] = self._leases[lease.lease_id] = lease
        self._client.pump.add(channel.fd, lambda events: self._on_lease(lease, events))
        if not queue.ready:
            self._take_back_for_idle(queue)
        self.dispatch(queue)
        self._client.pump.tick_by(lease.idle_since_s + LEASE_LINGER_S)

    def on_rejected(self, message: m.LeaseRejected) -> None:
        queue = self._requests.pop(message.request, None)
        if queue is None:
            return
        queue.requests.discard(message.request)
        while queue.ready:
            task = queue.ready.popleft()
            queue.outstanding -= 1
            if not task.is_done:
                self._client.calls.fail_task(task, errors.lease_rejected(message, task))

    def on_revoked(self, message: m.LeaseRevoked) -> None:
        lease = self._leases.get(message.lease)
        if lease is not None and not lease.is_lost:
            lease.is_revoked = True
            if not lease.in_flight:
                self._give_back(lease)

    def on_lost(self, message: m.LeaseLost) -> None:
        """The worker died: hear its last words, take back what it never started, retry or fail the rest."""
        lease = self._leases.get(message.lease)
        if lease is None:
            return
        lease.is_lost = True
        self._drain(lease)
        queue = lease.queue
        unread = set(tokens.take_back(lease.token_read))
        started = [task for seq, task in lease.in_flight.items() if seq not in unread]
        untouched = [task for seq, task in lease.in_flight.items() if seq in unread]
        lease.in_flight.clear()
        self._forget(lease)
        queue.outstanding -= len(started) + len(untouched)
        for task in reversed(untouched):
            task.shared = None  # The node has dropped all that the dead worker held.
            if not task.is_done:
                self.requeue(task, first=True)
        # Claims are in order: the last one started is the one that was running; the others had ended, their results were lost with the worker.
        for position, task in enumerate(started):
            if not task.is_done:
                self._after_crash(task, message, lease, was_running=position == len(started) - 1)
        self.dispatch(queue)

    def _after_crash(self, task: Task, message: m.LeaseLost, lease: Lease, *, was_running: bool) -> None:
        if task.is_cancelled:
            self._client.calls.fail_task(task, errors.cancelled(task))
        elif not was_running and task.token.max_retries != 0:
            self.requeue(task, first=True)
        elif task.retries_left != 0:
            if task.retries_left > 0:
                task.retries_left -= 1
            task.attempt += 1
            self.requeue(task, first=True)
        else:
            self._client.calls.fail_task(task, errors.worker_crashed(message, task, lease))

    def _give_back(self, lease: Lease) -> None:
        self._forget(lease)
        self._client.tell_node(m.ReturnLease(lease.lease_id, lease.is_retiring))
        if lease.queue.outstanding:
            self._request_leases(lease.queue)

    def _forget(self, lease: Lease) -> None:
        self._leases.pop(lease.lease_id, None)
        lease.queue.leases.pop(lease.lease_id, None)
        self._client.pump.remove(lease.channel.fd)
        lease.channel.close()
        os.close(lease.token_write)
        os.close(lease.token_read)

    def return_idle_leases(self) -> None:
        """Give back what is not in use, now."""
        for lease in list(self._leases.values()):
            if not lease.in_flight and not lease.is_lost:
                self._give_back(lease)

    # ------------------------------------------------------------ answers

    def _on_lease(self, lease: Lease, _events: int) -> None:
        if lease.lease_id not in self._leases:
            return
        if lease.channel.outbox:
            try:
                if lease.channel.flush():
                    self._client.pump.watch_writable(lease.channel.fd, False)
            except ChannelClosedError:
                lease.is_lost = True
        self._drain(lease)
        queue = lease.queue
        if lease.is_lost:
            return
        if queue.ready:
            self.dispatch(queue)
        if not lease.in_flight:
            if lease.is_revoked:
                self._give_back(lease)
            else:
                lease.idle_since_s = lease.progress_at_s
                self._client.pump.tick_by(lease.idle_since_s + LEASE_LINGER_S)

    def _drain(self, lease: Lease) -> None:
        """Handle every message that has come on a lease's channel."""
        client = self._client
        queue = lease.queue
        receive = lease.channel.receive
        try:
            while (data := receive()) is not None:
                message = _decode(data)
                if type(message) is m.Done:
                    token: FunctionToken | None = None
                    total_us = ended = 0
                    for outcome in message.outcomes:
                        task = lease.in_flight.pop(outcome.seq, None)
                        if task is None:
                            continue
                        queue.outstanding -= 1
                        if task.token is not token:
                            if token is not None:
                                token.learn_duration(total_us * 1e-6 / ended)
                            token = task.token
                            total_us = ended = 0
                        total_us += outcome.duration_us
                        ended += 1
                        client.calls.finish_task(task, outcome)
                    if token is not None:
                        token.learn_duration(total_us * 1e-6 / ended)
                    lease.progress_at_s = _monotonic()
                    if not lease.in_flight:
                        return  # Nothing else can be on its way: save the extra system call of a last look.
                elif type(message) is m.GeneratorItem:
                    lease.progress_at_s = _monotonic()
                    client.streams.add_item(message)
                elif type(message) is m.LeaseBlocked:
                    lease.is_blocked = message.blocked
                    if message.blocked:
                        self._take_back(lease)
                        self._request_leases(queue)
                elif type(message) is m.Retiring:
                    self._take_back(lease)
                    lease.is_revoked = lease.is_retiring = True
        except ChannelClosedError:
            lease.is_lost = True
            client.pump.remove(lease.channel.fd)  # LeaseLost follows from the node, with the reason.

    # ------------------------------------------------------------ taking back

    def _take_back(self, lease: Lease, count_max: int = 1 << 20) -> None:
        """Put the calls the worker has not started back to the front of the queue."""
        queue = lease.queue
        seqs = tokens.take_back(lease.token_read, count_max)
        for seq in reversed(seqs):
            task = lease.in_flight.pop(seq, None)
            if task is not None:
                queue.outstanding -= 1
                self._client.calls.unshare_task(task, lease.worker)
                if not task.is_done:
                    self.requeue(task, first=True)

    def _take_back_for_idle(self, queue: TaskQueue) -> None:
        """A new lease has nothing to do: give it half of the longest queue behind a slow worker."""
        busiest = max(queue.leases.values(), key=lambda lease: len(lease.in_flight), default=None)
        if busiest is not None and len(busiest.in_flight) > 1:
            duration_s = next(reversed(busiest.in_flight.values())).token.duration_s
            if not 0 <= duration_s * 4 < BATCH_BUDGET_S:  # Quick tasks are done before they have moved.
                self._take_back(busiest, len(busiest.in_flight) // 2)

    def tick(self, now_s: float) -> float:
        """Rebalance behind silent workers, give idle leases back; returns when to look again."""
        next_s = now_s + 3600.0
        for queue in list(self._queues.values()):
            moved = False
            for lease in list(queue.leases.values()):
                if lease.is_lost:
                    continue
                if len(lease.in_flight) > 1:
                    if now_s - lease.progress_at_s >= STUCK_AFTER_S:
                        self._take_back(lease)
                        moved = True
                    if len(lease.in_flight) > 1:
                        next_s = min(next_s, max(lease.progress_at_s + STUCK_AFTER_S, now_s + 0.001))
                elif not lease.in_flight and not queue.ready:
                    if now_s - lease.idle_since_s >= LEASE_LINGER_S:
                        self._give_back(lease)
                    else:
                        next_s = min(next_s, lease.idle_since_s + LEASE_LINGER_S)
            if moved or queue.ready:
                self.dispatch(queue)
            if queue.requests and not queue.outstanding:
                for number in queue.requests:
                    self._requests.pop(number, None)
                    self._client.tell_node(m.CancelLeaseRequest(number))
                queue.requests.clear()
        return next_s

    def cancel_queued(self, task: Task) -> bool:
        """True when the task waits here and will not be sent."""
        return task.lease is None

    def kill_worker_of(self, task: Task) -> None:
        if task.lease is not None and not task.lease.is_lost:
            self._client.tell_node(m.KillLease(task.lease.lease_id))

    def leases(self) -> list[Any]:
        return list(self._leases.values())

    def close(self) -> None:
        for lease in list(self._leases.values()):
            self._forget(lease)
        self._queues.clear()


def _window(token: FunctionToken) -> int:
    """How many calls of a function may be with one worker: more than one only when they are known to be quick."""
    duration_s = token.duration_s
    if duration_s < 0 or duration_s > PREFETCH_DURATION_MAX_S:
        return 1
    return max(2, min(WINDOW_CALLS_MAX, int(BATCH_BUDGET_S / (duration_s + 5e-6))))


def _takes_calls(lease: Lease) -> bool:
    return not (lease.is_revoked or lease.is_blocked or lease.is_lost)
