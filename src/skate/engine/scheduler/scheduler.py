"""The scheduler: takes one event, answers with commands. This module only knows who is responsible for what:

    leases            a worker that belongs to a client for a while         waiting      requests, shapes, lines
    actors            placed, restarted, named, dead                        serving      who gets what is free
    placement_groups  bundles of resources, reserved together               turns        who must give back when others wait
    workers           processes: idle, started, stopped                     placement    which node or bundle
    environments      what is prepared before workers start                 node_pool    amounts
    jobs, memory      what ends together; what ends for want of memory      notices      why somebody waits, in words

An event never raises, whatever a client sends: a message about something unknown, gone or not the sender's is late news, and is dropped
or answered with an error. Amounts are whole units (1 CPU is 10,000); times are seconds of the shell's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.engine.scheduler import describe as description
from skate.engine.scheduler.actors import Actors
from skate.engine.scheduler.clients import DRIVER, Client
from skate.engine.scheduler.config import SchedulerConfig
from skate.engine.scheduler.early_arrivals import counter_of
from skate.engine.scheduler.environments import Environments
from skate.engine.scheduler.jobs import end_job
from skate.engine.scheduler.leases import Leases
from skate.engine.scheduler.memory import relieve
from skate.engine.scheduler.node_pool import CPU, OPEN, Node
from skate.engine.scheduler.notices import Notices
from skate.engine.scheduler.placement import why_never
from skate.engine.scheduler.placement_groups import PlacementGroups
from skate.engine.scheduler.serving import Serving
from skate.engine.scheduler.state import State
from skate.engine.scheduler.turns import Turns
from skate.engine.scheduler.workers import WorkerPool
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import owner_of
from skate.engine.spec.resources import UNITS


class Scheduler:
    """`handle` events, carry out the commands in order, and send a Tick when `next_deadline_s` has come."""

    def __init__(self, config: SchedulerConfig | None = None) -> None:
        self.state = state = State(config or SchedulerConfig())
        self.workers = WorkerPool(state)
        self.environments = Environments(state)
        turns = Turns(state)
        self.serving = serving = Serving(state, self.workers, self.environments, turns)
        self.leases = Leases(state, self.workers, serving)
        self.actors = Actors(state, self.workers, serving)
        self.groups = PlacementGroups(state, self.workers, serving)
        serving.start_actor = self.actors.start
        serving.fail_actor = self.actors.fail_request
        serving.reserve_groups = self.groups.reserve_pending
        serving.on_waiting = Notices(state, serving, self.groups).on_waiting
        turns.pending_groups = self.groups.pending
        self.groups.on_removed = self.actors.on_group_removed
        self._on_message: dict[type, Callable[[Client, Any], None]] = {
            m.RequestLease: self.leases.on_request,
            m.CancelLeaseRequest: self.leases.on_cancel,
            m.ReturnLease: self.leases.on_return,
            m.KillLease: self.leases.on_kill,
            m.Blocked: self._on_blocked,
            m.Unblocked: self._on_unblocked,
            m.CancelTask: self._on_cancel_task,
            m.CreateActor: self._on_create_actor,
            m.ActorReady: self.actors.on_ready,
            m.ActorCreationFailed: self.actors.on_creation_failed,
            m.ActorExiting: self.actors.on_exiting,
            m.KillActor: self.actors.on_kill,
            m.ConnectActor: self.actors.on_connect,
            m.GetNamedActor: self.actors.on_get_named,
            m.ListNamedActors: self.actors.on_list_named,
            m.TerminateActor: self.actors.on_terminate,
            m.CreatePlacementGroup: self._on_create_group,
            m.RemovePlacementGroup: self.groups.on_remove,
            m.GetPlacementGroup: self.groups.on_get,
        }
        self._on_event: dict[type, Callable[[Any], None]] = {
            e.ClientJoined: self._on_client_joined,
            e.ClientGone: self._on_client_gone,
            e.WorkerExited: self._on_worker_exited,
            e.EnvReady: self._on_env_ready,
            e.EnvFailed: self._on_env_failed,
            e.Unreferenced: self.actors.on_unreferenced,
            e.NodeAdded: self._on_node_added,
            e.NodeRemoved: self._on_node_removed,
            e.MemoryPressure: lambda event: relieve(state, self.workers, event),
            e.Tick: lambda event: None,
        }

    # ------------------------------------------------------------ the interface

    def next_client_id(self) -> int:
        """A fresh number for a driver or observer; workers are numbered by StartWorker from the same row."""
        return self.state.next_client_id()

    def handle(self, client: int, event: e.Event | m.Message, now_s: float) -> list[e.Command]:
        """Take note of what happened; returns what is to be done, in order.

        Args:
            client: Who sent the message; NODE_CLIENT for events.
            event: One of the messages about leases, actors and groups, or an event of `spec/events.py`. Others are ignored.
            now_s: The time, which never goes back.
        """
        state = self.state
        state.now_s = now_s
        commands = state.commands = []
        self._handle(client, event)
        state.timers.fire(now_s)
        if state.freed:
            self.serving.serve_freed()
        return commands

    def next_deadline_s(self) -> float | None:
        return self.state.timers.next_deadline_s()

    def describe(self, what: str) -> list[dict[str, Any]] | dict[str, Any]:
        """Rows about "actors" "workers" "nodes" "placement_groups" "jobs" "leases" "demand"; {"total", "available"} for "resources"."""
        return description.describe(self.state, self.serving, what)

    # ------------------------------------------------------------ dispatch

    def _handle(self, number: int, event: e.Event | m.Message) -> None:
        of_node = self._on_event.get(type(event))
        if of_node is not None:
            of_node(event)
            return
        client = self.state.clients.get(number)
        if client is None:
            return  # Its last words, after its death was reported.
        worker = self.state.workers.get(number)
        if worker is not None and not worker.has_worked:
            self.environments.on_worked(worker)
        of_client = self._on_message.get(type(event))
        if of_client is not None:
            of_client(client, event)

    def _replay(self, subject: bytes) -> None:
        """What arrived too early about something that now exists."""
        if len(self.state.early):
            for number, event in self.state.early.of_subject(subject):
                self._handle(number, event)

    def _on_create_actor(self, client: Client, message: m.CreateActor) -> None:
        actor = message.spec.actor
        self._note_created(client, actor)
        self.actors.on_create(client, message)
        if not self.state.early.is_early(actor, self.state.clients):
            self._replay(actor)

    def _on_create_group(self, client: Client, message: m.CreatePlacementGroup) -> None:
        self._note_created(client, message.group)
        self.groups.on_create(client, message)
        if not self.state.early.is_early(message.group, self.state.clients):
            self._replay(message.group)

    def _note_created(self, client: Client, subject: bytes) -> None:
        if owner_of(subject) == client.number:
            client.newest_counter = max(client.newest_counter, counter_of(subject))

    # ------------------------------------------------------------ workers

    def _on_blocked(self, client: Client, message: m.Blocked) -> None:
        worker = self.state.workers.get(client.number)
        if worker is not None:
            self.workers.lend_cpu(worker)

    def _on_unblocked(self, client: Client, message: m.Unblocked) -> None:
        worker = self.state.workers.get(client.number)
        if worker is not None:
            self.workers.reclaim_cpu(worker)

    def _on_cancel_task(self, client: Client, message: m.CancelTask) -> None:
        if message.worker in self.state.workers:
            self.state.commands.append(e.InterruptTask(message.worker, message.task, message.recursive))

    def _on_worker_exited(self, event: e.WorkerExited) -> None:
        worker = self.workers.forget(event.worker)
        if worker is None:
            return
        has_failed = self.environments.has_failed_to_start(worker, event.detail)
        broken = self.environments.on_failed_start(worker, event.detail) if has_failed else ""
        lease, actor = worker.lease, worker.actor
        worker.lease = worker.actor = None
        if lease is not None:
            self.leases.on_worker_exited(lease, worker, event.kind, event.detail)
        if actor is not None and actor.worker is worker:
            if broken:
                self.actors.fail_env(actor, broken)
            elif has_failed and actor.ending is None:
                self.actors.start_again(actor)
            else:
                self.actors.on_worker_exited(actor, worker, event.kind, event.detail)
        if broken:
            self.serving.refuse_all(lambda shape: (shape.job, shape.env) == (worker.job, worker.env), "env", lambda shape: broken)
        self._on_client_ended(worker.client, "the worker whose task it ran for has died")

    # ------------------------------------------------------------ clients

    def _on_client_joined(self, event: e.ClientJoined) -> None:
        state = self.state
        if event.client in state.clients:
            return
        state.clients[event.client] = Client(event.client, event.kind, event.job, event.namespace, event.env)
        if event.kind == DRIVER:
            state.jobs[event.job] = event.namespace
            self.workers.prestart(event.job, event.env)

    def _on_client_gone(self, event: e.ClientGone) -> None:
        client = self.state.clients.get(event.client)
        if client is None or event.client in self.state.workers:
            return
        self._on_client_ended(client, "the program whose task it ran has ended")
        if client.kind == DRIVER:
            end_job(self.state, client.job, self.workers, self.actors, self.groups, self.environments)

    def _on_client_ended(self, client: Client, reason: str) -> None:
        """Whatever belonged to it ends."""
        state = self.state
        del state.clients[client.number]
        self.leases.on_client_gone(client, reason)
        self.actors.on_owner_gone(client)
        self.actors.on_watcher_gone(client)
        self.groups.on_client_gone(client)
        if len(state.early):
            for number, message in state.early.of_creator(client.number):
                self._handle(number, message)  # No longer early: answered as about something unknown.

    # ------------------------------------------------------------ environments

    def _on_env_ready(self, event: e.EnvReady) -> None:
        for request in self.environments.on_ready(event.env):
            self.serving.submit(request)

    def _on_env_failed(self, event: e.EnvFailed) -> None:
        for request in self.environments.on_failed(event.env):
            self.serving.refuse(request, "env", event.error)

    # ------------------------------------------------------------ nodes

    def _on_node_added(self, event: e.NodeAdded) -> None:
        state = self.state
        if state.nodes.get(event.node) is not None:
            return
        idle_max = state.config.workers_idle_max
        if idle_max is None:
            idle_max = max(1, event.total.get(CPU, 0) // UNITS)
        state.nodes.add(Node(event.node, event.total, event.labels, idle_max))
        state.freed[OPEN] = None

    def _on_node_removed(self, event: e.NodeRemoved) -> None:
        state = self.state
        node = state.nodes.remove(event.node)
        if node is None:
            return
        for worker in list(state.workers.values()):
            if worker.node is node:
                self.workers.stop(worker, "kill", f"its node {node.id.hex()} was removed", "node_removed")
        self.groups.on_node_removed(node)
        self.serving.refuse_all(
            lambda shape: bool(why_never(state, shape)),
            "unschedulable",
            lambda shape: f"it can never run: {why_never(state, shape)}",
        )
        state.freed[OPEN] = None
