"""The shell: the thin part of the node process. It turns frames and deaths into events, asks the machines, and carries out their
commands.

    frame from a client ─► Scheduler.handle ─┐                       worker died ─► Scheduler.handle, then Directory.handle
                     └───► Directory.handle ─┴─► commands, in order: send, grant, start or stop a worker, spill, …

What it does not do: decide who runs where (scheduler), what lies where (object_store), or unpickle anything. One thread; nothing
blocks.

    loop           descriptors, timers, signals         worker_pool, worker_processes   fork, kill, reap
    peers          channels that never block            logs       what workers print
    clients        drivers and observers                state      answers to `skate.state`, CLI, dashboard
    listener       who may join                         environments, spill             work that takes long, in child processes
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from skate import run_format
from skate.config import NODE_EXIT_GRACE_S
from skate.engine.node import session
from skate.engine.node.clients import DRIVER, LOG_PACKETS_WAITING_MAX, OBSERVER, Client
from skate.engine.node.environments import Environments
from skate.engine.node.kv import KeyValues
from skate.engine.node.listener import HELLO_WITHIN_S, Listener
from skate.engine.node.loop import Loop
from skate.engine.node.memory_monitor import MemoryGauge, MemoryMonitor
from skate.engine.node.peers import Peer
from skate.engine.node.recorder import Recorder
from skate.engine.node.sampler import Load, Sampler
from skate.engine.node.spill import Spiller
from skate.engine.node.state import State
from skate.engine.node.worker_pool import RunWorker, WorkerPool
from skate.engine.node.worker_processes import WorkerProcess, kill_all_children
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.boot import JobInfo, NodeConfig, WorkerBoot
from skate.engine.spec.ids import NODE_CLIENT
from skate.engine.spec.resources import Resources
from skate.engine.transport.channel import channel_pair, receive_buffer, tune
from skate.engine.transport.tokens import token_pipe

_monotonic = time.monotonic
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(m.CLIENT_TO_NODE).decode

_LAST_WORDS_S = 0.1  # After the end: time for clients to take what was sent to them.
_LEFTOVERS_S = 0.5  # … and for killed processes to disappear.
_BUGS_WHILE_ENDING_MAX = 10
_SIZES_MAX = 10_000
_LAST_ROWS_S = 0.05
_ASKED_FOR_ROWS_MAX = 256

FOR_SCHEDULER = (
    m.RequestLease, m.CancelLeaseRequest, m.ReturnLease, m.Blocked, m.Unblocked, m.KillLease, m.CancelTask, m.CreateActor,
    m.ActorReady, m.ActorCreationFailed, m.ActorExiting, m.KillActor, m.ConnectActor, m.GetNamedActor, m.ListNamedActors,
    m.TerminateActor, m.CreatePlacementGroup, m.RemovePlacementGroup, m.GetPlacementGroup,
)  # fmt: skip
FOR_DIRECTORY = (
    m.AddRef, m.DropRefs, m.Unshare, m.Resolve, m.Create, m.Seal, m.Abort, m.Fetch, m.Unpin, m.CancelFetch, m.Free,
)  # fmt: skip


class Machine(Protocol):
    """The scheduler or the object directory: decides, does nothing."""

    def handle(self, client: int, event: Any, now_s: float, /) -> list[Any]: ...
    def next_deadline_s(self) -> float | None: ...
    def describe(self, what: str, /) -> Any: ...


class SchedulerMachine(Machine, Protocol):
    def next_client_id(self) -> int: ...


class Memory(Protocol):
    """The object store's arena, as far as the shell touches it."""

    @property
    def fd(self) -> int: ...
    def discard(self, offset: int, size: int, /) -> Any: ...


class Shell:
    def __init__(
        self,
        config: NodeConfig,
        scheduler: SchedulerMachine,
        directory: Machine,
        arena: Memory,
        *,
        arena_bytes: int,
        session_tag: bytes,
        nodes: list[tuple[bytes, Resources, dict[str, str]]],
        run_worker: RunWorker,
        warm_up: Callable[[], None],
    ) -> None:
        """`nodes`: this machine first. `warm_up`: import what workers need; called once, before the first fork."""
        self.config = config
        self.scheduler = scheduler
        self.directory = directory
        self._arena = arena
        self._arena_bytes = arena_bytes
        self.session_tag = session_tag
        self.node_id, self._total, _ = nodes[0]
        self.loop = Loop()
        self._buffer = receive_buffer()
        self.clients: dict[int, Client] = {}
        self._strangers: set[Client] = set()  # Have not said Hello yet.
        self.job_infos: dict[int, JobInfo] = {0: JobInfo(namespace="")}
        self.pool = WorkerPool(self.loop, self._buffer, arena.fd, self, run_worker)
        self._leases: dict[int, int] = {}  # lease → worker
        self.kv = KeyValues()
        self._gauge = MemoryGauge(config.memory_limit_bytes, self.pool.pids)
        self._memory_monitor = MemoryMonitor(self.loop, self._gauge, self._on_memory_pressure)
        self.environments = Environments(self.loop, self.pool.watch_child, self._on_environment)
        self._spiller = Spiller(
            self.loop, arena.fd, config.spill_dir, config.spill_bytes_max, self.pool.watch_child, self._to_directory
        )
        self.record = session.describe(config, self._total.get("CPU", 0) / 10_000)
        self.recorder = self._make_recorder()
        self._sizes: dict[bytes, int] = {}  # Of objects that are being written.
        self.state = State(self)
        self.sampler = Sampler(self.loop, self.recorder, self._load)
        self._listener: Listener | None = None
        self._warm_up: Callable[[], None] | None = warm_up
        self._is_ending = False
        self._is_over = False
        self._bugs_while_ending = 0
        self._end_reason = ""
        self._missing: set[int] = set()  # Workers whose last rows are waited for.
        self._end_when_flushed: Callable[[], None] = lambda: None
        self._routes = self._make_routes()
        self._actions = self._make_actions()
        for node_id, total, labels in nodes:
            self._to_scheduler(e.NodeAdded(node_id, total, labels))

    # ================================================================ life

    def open(self, driver: socket.socket | None) -> None:
        """Listen for clients. `driver`: the one that started us, when there is one."""
        self.loop.on_signal(signal.SIGTERM, lambda: self.end("the node process was asked to end (SIGTERM)"))
        self.loop.on_signal(signal.SIGCHLD, self.pool.reap)
        self._listener = Listener(self.loop, os.path.join(self.config.session_dir, session.SOCKET_NAME), self._on_join, self.log)
        session.write_record(self.config.session_dir, self.record)
        if driver is not None:
            tune(driver)
            client = self._add_stranger(driver, self.config.driver_pid, is_embedding=self.config.is_embedded)
            if client.pid == os.getppid():  # Else the number may be somebody else's by now.
                client.watch_process(self.loop, lambda: self._on_client_process_exit(client))
        # After the first round, which answers the driver that waits for us.
        self.loop.soon.append(self._ensure_warm)

    def _load(self) -> Load:
        store = self.directory.describe("summary")
        return Load(
            {worker.number: worker.pid for worker in self.pool.workers.values()},
            store if isinstance(store, dict) else {},
            len(self._leases) + self._actors,
        )

    def _make_recorder(self) -> Recorder:
        folder = ""
        if self.config.runs_dir or run_format.is_recording(os.environ):
            folder = self.config.runs_dir or run_format.runs_folder(os.environ)
        directory = os.path.join(folder, self.config.session_name) if folder else ""
        record = {**self.record, "session_dir": self.config.session_dir, "argv": list(self.config.argv)}
        return Recorder(directory, record, self.loop.set_timer_after)

    def run(self) -> None:
        """Until the session is over. Everything it started is gone when this returns."""
        while not self._is_over:
            try:
                self.loop.round(self._next_deadline_s())
                self._tick()
            except Exception as error:
                self._on_fatal_bug(error)
        self._clean_up()

    def _next_deadline_s(self) -> float | None:
        if self._is_ending:
            return None
        first, second = self.scheduler.next_deadline_s(), self.directory.next_deadline_s()
        return first if second is None else second if first is None else min(first, second)

    def _tick(self) -> None:
        if self._is_ending:
            return
        now_s = _monotonic()
        for machine in (self.scheduler, self.directory):
            deadline_s = machine.next_deadline_s()
            if deadline_s is not None and deadline_s <= now_s:
                self._carry_out(machine.handle(NODE_CLIENT, e.Tick(), now_s))

    def _ensure_warm(self) -> None:
        if self._warm_up is not None:
            warm_up, self._warm_up = self._warm_up, None
            warm_up()

    # ================================================================ clients

    def _on_join(self, sock: socket.socket, pid: int) -> None:
        client = self._add_stranger(sock, pid, is_embedding=False)
        client.greeting_timer = self.loop.set_timer_after(HELLO_WITHIN_S, lambda: self._drop_stranger(client))

    def _add_stranger(self, sock: socket.socket, pid: int, *, is_embedding: bool) -> Client:
        client = Client(pid, is_embedding=is_embedding)
        client.peer = Peer(
            self.loop, sock, self._buffer,
            lambda data: self._on_client_message(client, data),
            lambda reason, is_overrun: self._on_client_end(client, reason),
        )  # fmt: skip
        self._strangers.add(client)
        return client

    def _drop_stranger(self, client: Client) -> None:
        if client in self._strangers:
            self.log(f"process {client.pid} joined and said nothing for {HELLO_WITHIN_S:g} s: dropped")
            self._forget(client)

    def _on_client_message(self, client: Client, data: memoryview | bytes) -> None:
        try:
            message = _decode(data)
        except msgspec.MsgspecError as error:
            self.log(f"process {client.pid} (client {client.number}) sent a malformed frame: {error}; dropped")
            self._on_client_end(client, "it sent a malformed frame")
            return
        if self._is_ending:
            return
        if not client.number:
            if isinstance(message, m.Hello):
                self._guard(message, lambda: self._greet(client, message))
            else:
                self.log(f"process {client.pid} began with {type(message).__name__} instead of Hello: dropped")
                self._on_client_end(client, "it did not say Hello")
            return
        self._dispatch(client.number, message)

    def _greet(self, client: Client, hello: m.Hello) -> None:
        self._strangers.discard(client)
        if client.greeting_timer is not None:
            client.greeting_timer.cancel()
        error = _incompatibility(hello)
        if error:
            client.peer.send(_encode(m.Welcome(0, b"", "", b"", 0, {}, "", 0, error)))
            self._forget(client)
            return
        client.kind = hello.kind
        client.number = self.scheduler.next_client_id()
        client.started_s = time.time()
        client.wants_logs = hello.wants_logs
        # A program that names no namespace gets one of its own: its named actors are nobody else's business.
        client.namespace = hello.namespace or f"anonymous-{os.urandom(8).hex()}"
        if hello.kind == DRIVER:
            client.job = client.number  # A job is its driver.
            self.job_infos[client.job] = JobInfo(
                client.job,
                client.namespace,
                hello.job_name,
                hello.main_path,
                hello.sys_path,
                hello.cwd,
                hello.env,
                hello.environ,
                hello.log_config,
            )
        if client.pidfd < 0 and not client.is_embedding:
            client.watch_process(self.loop, lambda: self._on_client_process_exit(client))
        client.pid = client.pid or hello.pid
        client.peer.on_drained = client.release_logs
        self.clients[client.number] = client
        self.state.on_client_joined(client, hello)
        if hello.kind == DRIVER:
            self.recorder.lane(run_format.CAME, client.number, f"driver {hello.job_name}".strip(), client.pid, client.job)
        client.peer.send(_encode(self._welcome(client.number, client.namespace, client.job)), [self._arena.fd])
        self._to_scheduler(e.ClientJoined(client.number, hello.kind, client.job, client.namespace, hello.env))
        self._to_directory(e.ClientJoined(client.number, hello.kind, client.job, client.namespace, hello.env))

    def _welcome(self, client: int, namespace: str, job: int) -> m.Welcome:
        return m.Welcome(
            client, self.session_tag, self.config.session_name, self.node_id, self._arena_bytes, self._total, namespace, job
        )

    def _on_client_process_exit(self, client: Client) -> None:
        client.peer.read_all()
        self._on_client_end(client, "its process ended")

    def _on_client_end(self, client: Client, reason: str) -> None:
        """It left, or died; everything it had sent was handled."""
        is_known = self.clients.get(client.number) is client
        if not is_known and client not in self._strangers:
            return
        self._forget(client)
        if self._is_ending:
            return
        if is_known:
            crashed = not client.has_said_goodbye
            self.state.on_client_gone(client, crashed=crashed)
            if client.kind == DRIVER:
                self.recorder.lane(
                    run_format.WENT, client.number, "driver crashed" if crashed else "driver", client.pid, client.job
                )
            if not client.is_embedding:
                self._to_scheduler(e.ClientGone(client.number, crashed))
                self._to_directory(e.ClientGone(client.number, crashed))
        if client.is_embedding:
            self.end(f"the driver (pid {client.pid}) ended: {reason}")

    def _forget(self, client: Client) -> None:
        self._strangers.discard(client)
        if self.clients.get(client.number) is client:
            del self.clients[client.number]
        client.close(self.loop)

    def _on_goodbye(self, number: int, message: m.Goodbye) -> None:
        client = self.clients.get(number)
        if client is None:  # A worker: its exit says it all.
            return
        client.has_said_goodbye = True
        if client.is_embedding and message.shutdown:
            self.end("the session was shut down by its driver")

    # ================================================================ messages

    def _make_routes(self) -> dict[type, Callable[[int, Any], None]]:
        routes: dict[type, Callable[[int, Any], None]] = {
            m.Goodbye: self._on_goodbye,
            m.StopSession: lambda client, message: self.end("the session was stopped (skate stop)"),
            m.SubscribeLogs: self._on_subscribe_logs,
            m.Events: self.state.on_events,
            m.FailedTask: lambda client, message: self.recorder.keep_failed(message.task, message.attempt, message.data),
            m.TrailFlushed: self._on_trail_flushed,
            m.MetricRows: lambda client, message: self.state.on_metrics(client, message.rows),
            m.StackDump: lambda client, message: self.state.on_stack(client, message),
            m.Query: self.state.on_query,
            m.Hello: lambda client, message: None,  # A second one says nothing new.
        }
        routes.update(dict.fromkeys((m.KvPut, m.KvGet, m.KvDel, m.KvList), self._on_kv))
        routes.update(dict.fromkeys(FOR_SCHEDULER, self._on_scheduler_message))
        routes.update(dict.fromkeys(FOR_DIRECTORY, self._on_directory_message))
        routes[m.ActorExiting] = self._on_actor_exiting
        return routes

    def _dispatch(self, client: int, message: Any) -> None:
        try:
            self._routes[type(message)](client, message)
        except Exception as error:
            self._on_bug(error, f"{type(message).__name__} from client {client}")

    def _on_scheduler_message(self, client: int, message: Any) -> None:
        self._carry_out(self.scheduler.handle(client, message, _monotonic()))

    def _on_directory_message(self, client: int, message: Any) -> None:
        if type(message) is m.Seal:
            self.recorder.object_row(run_format.STORED, message.id, self._sizes.pop(message.id, 0), client)
        elif type(message) is m.Create:
            self._sizes[message.id] = message.size
            if len(self._sizes) > _SIZES_MAX:
                del self._sizes[next(iter(self._sizes))]
        self._carry_out(self.directory.handle(client, message, _monotonic()))

    def _to_scheduler(self, event: Any) -> None:
        self._carry_out(self.scheduler.handle(NODE_CLIENT, event, _monotonic()))

    def _to_directory(self, event: Any) -> None:
        self._carry_out(self.directory.handle(NODE_CLIENT, event, _monotonic()))

    def _on_actor_exiting(self, client: int, message: m.ActorExiting) -> None:
        worker = self.pool.workers.get(client)
        if worker is not None:
            self.pool.give_grace(worker, message.reason)
        self._on_scheduler_message(client, message)

    def _on_kv(self, client: int, message: Any) -> None:
        self.reply(client, message.request, self.kv.answer(message))

    def _on_subscribe_logs(self, number: int, message: m.SubscribeLogs) -> None:
        client = self.clients.get(number)
        if client is not None:
            client.wants_logs = message.on
            if not message.on:
                client.release_logs()

    # ---------------------------------------------------------------- sending

    def peer_of(self, client: int) -> Peer | None:
        """Of a driver, observer or worker; None when it is gone."""
        known = self.clients.get(client)
        if known is not None:
            return known.peer
        worker = self.pool.workers.get(client)
        return None if worker is None else worker.peer

    def send(self, client: int, message: m.Message) -> None:
        peer = self.peer_of(client)
        if peer is not None:
            peer.send(_encode(message))

    def send_control(self, worker: int, message: m.Message) -> None:
        process = self.pool.workers.get(worker)
        if process is not None:
            process.control.send(_encode(message))

    def reply(self, client: int, request: int, data: Any, error: str = "") -> None:
        self.send(client, m.Reply(request, _encode(data), error))

    def notify_drivers(self, level: str, text: str, job: int = 0) -> None:
        """`job` 0: all of them."""
        for client in list(self.clients.values()):
            if client.kind == DRIVER and job in (0, client.job):
                client.peer.send(_encode(m.Notice(level, text)))

    # ================================================================ commands

    def _make_actions(self) -> dict[type, Callable[[Any], None]]:
        return {
            e.Send: lambda c: self.send(c.client, c.message),
            e.Grant: self._grant,
            e.StartWorker: self._start_worker,
            e.StopWorker: self._stop_worker,
            e.PrepareEnv: lambda c: self.environments.prepare(c.env),
            e.StartActor: self._start_actor,
            e.OpenActorChannel: self._open_actor_channel,
            e.CloseLease: lambda c: self._close_lease(c.lease),
            e.InterruptTask: lambda c: self.send_control(c.worker, m.Interrupt(c.task, c.recursive)),
            e.DropHolder: self._to_directory,
            e.AddHolder: self._to_directory,
            e.ActorUnreferenced: lambda c: self._to_scheduler(e.Unreferenced(c.actor)),
            e.SpillObject: self._spill,
            e.RestoreObject: self._restore,
            e.DeleteSpill: lambda c: self._spiller.delete(c.id),
            e.DiscardRange: lambda c: self._arena.discard(c.offset, c.size),
        }

    def _spill(self, c: e.SpillObject) -> None:
        self.recorder.object_row(run_format.SPILLED, c.id, c.size)
        self._spiller.spill(c.id, c.offset, c.size)

    def _restore(self, c: e.RestoreObject) -> None:
        self.recorder.object_row(run_format.RESTORED, c.id, c.size)
        self._spiller.restore(c.id, c.offset, c.size)

    def _carry_out(self, commands: list[Any]) -> None:
        actions = self._actions
        for command in commands:
            try:
                actions[type(command)](command)
            except Exception as error:  # The others of the list still have to be carried out: somebody waits for them.
                self._on_bug(error, f"the command {type(command).__name__}")

    def _grant(self, c: e.Grant) -> None:
        worker = self.pool.workers.get(c.worker)
        attach = m.AttachLease(
            c.lease, c.client, c.job, list(c.gpu_ids), c.resources, c.placement_group, c.capture_child_tasks, c.namespace
        )
        try:
            caller_end, worker_end = channel_pair()
            try:
                token_read, token_write = token_pipe()
            except OSError:
                caller_end.close()
                worker_end.close()
                raise
        except OSError as error:
            text = f"the node process cannot open a channel to a worker: {error}"
            self.log(text)
            self.send(c.client, m.LeaseRejected(c.request, "closed", text))
            if worker is not None:
                worker.kill(text)
            return
        try:
            if worker is not None:  # Else it could not be started: the caller learns it by the end of the channel and LeaseLost.
                worker.leases.add(c.lease)
                self._leases[c.lease] = c.worker
                self._note_load()
                worker.control.send(_encode(attach), (worker_end.fileno(), token_read))
            peer = self.peer_of(c.client)
            if peer is not None:
                granted = m.LeaseGranted(c.request, c.lease, c.worker, worker.pid if worker is not None else 0, c.node)
                peer.send(_encode(granted), (caller_end.fileno(), token_write, token_read))
        finally:
            caller_end.close()
            worker_end.close()
            os.close(token_read)
            os.close(token_write)

    def _close_lease(self, lease: int) -> None:
        worker = self.pool.workers.get(self._leases.pop(lease, 0))
        if worker is not None:
            worker.leases.discard(lease)
        self._note_load()

    def _note_load(self) -> None:
        self._memory_monitor.set_load(leases=len(self._leases), actors=self._actors)

    _actors = 0

    def _start_worker(self, c: e.StartWorker) -> None:
        self._ensure_warm()
        job = self.job_infos.get(c.job) or self.job_infos[0]
        welcome = self._welcome(c.worker, job.namespace, c.job)
        try:
            program = self.environments.program(c.env, job)
            if program is not None:  # Its argument list has a limit, and it starts with this environ anyway.
                job = msgspec.structs.replace(job, environ={})
            boot = WorkerBoot(c.worker, welcome, self.config.session_dir, self.config.hooks, job, c.env, c.node)
            process = self.pool.start(boot, program)
            self.state.on_worker_started(process)
            self.recorder.lane(run_format.CAME, process.number, "worker", process.pid, process.job)
            self.sampler.rouse()
        except (OSError, ValueError) as error:
            text = f"the machine cannot start another process: {error}"
            self.log(text)
            # Not now: the commands that follow are about this worker.
            self.loop.soon.append(lambda: self._tell_worker_exited(c.worker, "exit_code", text))

    def _stop_worker(self, c: e.StopWorker) -> None:
        worker = self.pool.workers.get(c.worker)
        if worker is not None:
            self.pool.stop(worker, c.how, c.reason)

    def _start_actor(self, c: e.StartActor) -> None:
        worker = self.pool.workers.get(c.worker)
        if worker is not None:
            if not worker.is_actor:
                worker.is_actor = True
                self._actors += 1
                self._note_load()
            self.state.events.actors[c.worker] = c.spec.actor
            self.recorder.actor(1, c.worker, c.spec.actor, c.spec.class_name, c.incarnation)
            worker.control.send(_encode(m.BecomeActor(c.spec, c.incarnation, list(c.gpu_ids), c.resources, c.job, c.owner)))

    def _open_actor_channel(self, c: e.OpenActorChannel) -> None:
        worker, peer = self.pool.workers.get(c.worker), self.peer_of(c.client)
        if worker is None or peer is None:
            return
        try:
            caller_end, worker_end = channel_pair()
        except OSError as error:
            text = f"the node process cannot open a channel to an actor: {error}"
            self.log(text)
            self.send(c.client, m.ActorUpdate(c.actor, "DEAD", c.incarnation, "died", text, b""))
            return
        with caller_end, worker_end:
            worker.control.send(_encode(m.AttachCaller(c.client)), (worker_end.fileno(),))
            peer.send(_encode(m.ActorChannel(c.actor, c.incarnation, c.worker, worker.pid)), (caller_end.fileno(),))

    # ================================================================ workers (called by the pool)

    def on_worker_message(self, worker: WorkerProcess, data: memoryview | bytes) -> None:
        try:
            message = _decode(data)
        except msgspec.MsgspecError as error:
            self.log(f"worker {worker.number} (pid {worker.pid}) sent a malformed frame: {error}; killed")
            worker.kill("it sent a malformed frame")
            return
        if not self._is_ending:
            self._dispatch(worker.number, message)

    on_control_message = on_worker_message

    def on_worker_lines(self, worker: WorkerProcess, label: str, stream: int, block: bytes) -> None:
        data = b""
        self.recorder.lines(worker.number, label, stream, block)
        for client in self.clients.values():
            if client.wants_logs and (client.job == worker.job or client.kind == OBSERVER):
                if not data:
                    lines = block.decode("utf-8", "replace").split("\n")
                    data = _encode(m.LogLines(worker.pid, worker.number, label, stream, lines))
                is_slow = len(client.peer.channel.outbox) >= LOG_PACKETS_WAITING_MAX
                if is_slow and client.kind == OBSERVER:
                    continue  # A spectator must not slow down the work.
                client.peer.send(data)
                if is_slow and not self._is_ending:
                    client.hold(worker.log)

    def on_worker_exit(self, worker: WorkerProcess, kind: str, detail: str) -> None:
        for lease in worker.leases:
            self._leases.pop(lease, None)
        if worker.is_actor:
            self._actors -= 1
        self._note_load()
        self.state.on_worker_gone(worker.number)
        self.recorder.lane(run_format.WENT, worker.number, f"worker: {detail or kind}", worker.pid, worker.job)
        if worker.number in self.state.events.actors:
            self.recorder.actor(3, worker.number, self.state.events.actors[worker.number], detail or kind, 0)
        if worker.number in self._missing:
            self._on_trail_flushed(worker.number, m.TrailFlushed())
        self._tell_worker_exited(worker.number, kind, detail)

    def _tell_worker_exited(self, worker: int, kind: str, detail: str) -> None:
        if not self._is_ending:
            # The scheduler first: it knows which actors and leases were lost, and may add holders before counts are dropped.
            event = e.WorkerExited(worker, kind, detail)
            self._to_scheduler(event)
            self._to_directory(event)

    def was_oom_kill(self) -> bool:
        return self._gauge.was_oom_kill()

    def _on_memory_pressure(self, used_bytes: int, limit_bytes: int) -> None:
        if not self._is_ending:
            self.log(f"memory pressure: {used_bytes:,} of {limit_bytes:,} bytes in use")
            self._to_scheduler(e.MemoryPressure(used_bytes, limit_bytes, *self.pool.largest()))

    def _on_environment(self, env: str, error: str) -> None:
        if not self._is_ending:
            self._to_scheduler(e.EnvFailed(env, error) if error else e.EnvReady(env))

    # ================================================================ the end

    def end(self, reason: str) -> None:
        """End the session: tell everybody, kill the workers. Returns at once; the loop goes on until they are gone."""
        if self._is_ending or self._missing:
            return
        workers = list(self.pool.workers.values())
        if self.recorder.is_on and 0 < len(workers) <= _ASKED_FOR_ROWS_MAX:
            # What they have recorded and not sent yet goes with them otherwise. They answer in a millisecond; one that holds the GIL is not waited for.
            self._missing = {worker.number for worker in workers}
            for worker in workers:
                worker.control.send(_encode(m.FlushTrail()))
            self.loop.set_timer_after(_LAST_ROWS_S, lambda: self._end(reason))
            self._end_when_flushed = lambda: self._end(reason)
        else:
            self._end(reason)

    def _on_trail_flushed(self, client: int, message: m.TrailFlushed) -> None:
        if client in self._missing:
            self._missing.discard(client)
            if not self._missing:
                self._end_when_flushed()

    def _end(self, reason: str) -> None:
        if self._is_ending:
            return
        for worker in list(self.pool.workers.values()):
            worker.log.read_available()
        self._is_ending = True
        self._end_reason = reason
        self.log(f"the session ends: {reason}")
        if self._listener is not None:
            self._listener.close()
        ending = _encode(m.SessionEnding(reason))
        for client in list(self.clients.values()):
            client.peer.send(ending)
        # An order to exit at once would do no more for them than the signal, and takes a thousand workers a second.
        self.pool.kill_all(reason)
        self.loop.set_timer_after(NODE_EXIT_GRACE_S, self._set_over)
        self._check_over()

    def _check_over(self) -> None:
        if self.pool.workers:
            self.loop.set_timer_after(0.002, self._check_over)
        else:
            self._set_over()

    def _set_over(self) -> None:
        self._is_over = True

    def _clean_up(self) -> None:
        """Blocks, briefly: nobody is served any more."""
        for client in [*self.clients.values(), *self._strangers]:
            deadline_s = _monotonic() + _LAST_WORDS_S
            while client.peer.channel.outbox and not client.peer.is_ended and _monotonic() < deadline_s:
                self.loop.round(deadline_s)
        deadline_s = _monotonic() + _LEFTOVERS_S
        while kill_all_children() and _monotonic() < deadline_s:
            time.sleep(0.002)
        self.recorder.close(self._end_reason)
        session.remove_tree(self.config.session_dir)
        # Last: a driver that waits for the end of its socket then finds nothing left.
        for client in [*self.clients.values(), *self._strangers]:
            client.close(self.loop)

    # ================================================================ bugs of ours

    def log(self, text: str) -> None:
        """To node.log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            os.write(2, f"{stamp} {text}\n".encode("utf-8", "replace"))
        except OSError:
            pass

    def _guard(self, message: Any, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._on_bug(error, type(message).__name__)

    def _on_bug(self, error: Exception, what: str) -> None:
        """While one client's message was handled: the others are not concerned."""
        self.log(f"internal error while handling {what}:\n{_format(error)}")
        if not self._is_ending:
            self.notify_drivers(
                "error",
                f"internal error in the node process while handling {what}: {type(error).__name__}: {error}. This is a bug in "
                f"skate; the session goes on. The traceback is in {self.config.session_dir}/node.log",
            )

    def _on_fatal_bug(self, error: Exception) -> None:
        self.log(f"internal error:\n{_format(error)}")
        if self._is_ending:
            self._bugs_while_ending += 1
            if self._bugs_while_ending > _BUGS_WHILE_ENDING_MAX:
                self._is_over = True
            return
        last = traceback.extract_tb(error.__traceback__)[-1]
        self._end(
            f"internal error in the node process, a bug in skate: {type(error).__name__}: {error} "
            f"({last.filename}, line {last.lineno})"
        )


def _format(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _incompatibility(hello: m.Hello) -> str:
    if hello.kind not in (DRIVER, OBSERVER):
        return f"unknown kind of client {hello.kind!r}"
    ours, theirs = session.version(), hello.version
    if ours and theirs and ours != theirs:
        return f"this session runs skate {ours}, this program skate {theirs}: use the same version for both"
    if hello.kind == DRIVER:
        here, there = f"{sys.version_info[0]}.{sys.version_info[1]}", ".".join(hello.python.split(".")[:2])
        if hello.python and here != there:
            return (
                f"this session runs Python {here}, this program Python {there}: functions cannot travel between them; "
                "start the session with the same Python version"
            )
    return ""
