"""Actors: where they run, when they start again, and when they are dead for good.

    CreateActor ──► pending ──► starting ──ActorReady──► alive ──worker died, restarts left──► restarting ──► starting …
                       │           └─ActorCreationFailed─┐ └──worker died──┐        │
                       └───────────────► dead ◄──────────┴─────────────────┴────────┘

An actor holds `placement_resources` until its constructor has returned, and `running_resources` as long as its process lives.
It dies with its creator, unless it is detached; and when its last handle has gone.
"""

from __future__ import annotations

from msgspec.structs import replace

from skate.engine.scheduler.clients import Client
from skate.engine.scheduler.names import Names
from skate.engine.scheduler.node_pool import GPU, OPEN, ResourcePool, node_of
from skate.engine.scheduler.serving import Serving
from skate.engine.scheduler.state import State
from skate.engine.scheduler.tombstones import Tombstones
from skate.engine.scheduler.waiting import Request
from skate.engine.scheduler.workers import Worker, WorkerPool
from skate.engine.spec.events import AddHolder, DropHolder, OpenActorChannel, StartActor, Unreferenced
from skate.engine.spec.messages import (
    ActorCreationFailed,
    ActorExiting,
    ActorReady,
    ActorSpec,
    ActorUpdate,
    ConnectActor,
    CreateActor,
    CreateActorReply,
    GetNamedActor,
    KillActor,
    ListNamedActors,
    NamedActor,
    NamedActors,
    TerminateActor,
    Value,
)

PENDING, STARTING, ALIVE, RESTARTING, DEAD = "PENDING", "STARTING", "ALIVE", "RESTARTING", "DEAD"

_NOTHING = Value(0, b"")


class Actor:
    __slots__ = (
        "death", "ending", "id", "incarnation", "is_unreferenced", "job", "owner", "quick_deaths", "request", "restarts_left", "spec",
        "started_s", "state", "watchers", "worker",
    )  # fmt: skip

    def __init__(self, spec: ActorSpec, owner: int, job: int) -> None:
        self.id = spec.actor
        self.spec = spec
        self.owner = owner  # The client that created it.
        self.job = job
        self.state = PENDING
        self.incarnation = 0
        self.restarts_left = spec.max_restarts  # Below zero: endless.
        self.quick_deaths = 0
        self.started_s = 0.0
        self.worker: Worker | None = None  # While starting or alive.
        self.request: Request | None = None  # While it waits to be placed.
        self.watchers: dict[int, Client] = {}
        self.ending: tuple[str, str] | None = None  # (kind, cause) when its end is intended: no restart.
        self.is_unreferenced = False
        self.death: ActorUpdate | None = None

    @property
    def name_key(self) -> tuple[str, str] | None:
        return (self.spec.namespace, self.spec.name) if self.spec.name else None


class Actors:
    def __init__(self, state: State, workers: WorkerPool, serving: Serving) -> None:
        self._state = state
        self._workers = workers
        self._serving = serving
        self._names: Names[Actor] = Names()
        self._tombstones = Tombstones(state.actors, state.config.tombstones_max)

    def named(self, key: tuple[str, str]) -> Actor | None:
        return self._names.get(key)

    # ------------------------------------------------------------ creation

    def on_create(self, client: Client, message: CreateActor) -> None:
        state, spec = self._state, message.spec
        known = state.actors.get(spec.actor)
        if known is not None:
            state.send(client.number, CreateActorReply(message.request, b"", b"", ""))
            return
        if spec.placement_group not in state.groups and state.early.is_early(spec.placement_group, state.clients):
            state.early.keep(spec.placement_group, client.number, message)
            return
        holder = self._names.get((spec.namespace, spec.name)) if spec.name else None
        if holder is not None:
            if message.get_if_exists:
                holder.is_unreferenced = False
                state.commands.append(AddHolder(holder.id, client.number))
                state.send(client.number, CreateActorReply(message.request, holder.id, holder.spec.handle_meta, ""))
            else:
                where = f" in namespace {spec.namespace!r}" if spec.namespace else ""
                error = (
                    f"the name {spec.name!r} is taken{where} by an actor of class {holder.spec.class_name}: "
                    "choose another name, get that actor with skate.get_actor(name), or pass get_if_exists=True"
                )
                state.send(client.number, CreateActorReply(message.request, b"", b"", error))
            return
        actor = state.actors[spec.actor] = Actor(spec, client.number, client.job)
        client.actors[spec.actor] = actor
        if actor.name_key:
            self._names.take(actor.name_key, actor)
        state.send(client.number, CreateActorReply(message.request, b"", b"", ""))
        self._place(actor)

    def _place(self, actor: Actor) -> None:
        """Find a worker for it, now or later."""
        state, spec = self._state, actor.spec
        if spec.placement_group != OPEN:
            group = state.groups.get(spec.placement_group)
            if group is None or group.is_removed:
                self._bury(actor, "placement_group_removed", "its placement group has been removed")
                return
        need = dict(spec.running_resources)
        for name, amount in spec.placement_resources.items():
            need[name] = max(amount, need.get(name, 0))
        if min(need.values(), default=0) < 0:
            self._bury(actor, "unschedulable", f"its resources are negative: {need}")
            return
        shape = self._serving.shape(
            need, actor.job, spec.env, spec.strategy, spec.placement_group, spec.bundle, spec.node, spec.labels, soft=spec.soft
        )
        # On behalf of its creator; a detached actor may have outlived it.
        client = state.clients.get(actor.owner) or Client(actor.owner, "", actor.job, spec.namespace, spec.env)
        actor.request = Request(client, 0, shape, spec.class_name, state.now_s, actor, captures=spec.capture_child_tasks)
        self._serving.submit(actor.request)

    def start(self, request: Request, pool: ResourcePool) -> None:
        """`Serving` found room for it."""
        actor = request.actor
        assert actor is not None
        spec, state = actor.spec, self._state
        node = node_of(pool)
        worker = self._workers.acquire(node, actor.job, spec.env)
        worker.allocation = pool.take({name: amount for name, amount in spec.running_resources.items() if amount})
        running = spec.running_resources
        extra = {name: amount - running.get(name, 0) for name, amount in request.shape.need.items() if name != GPU}
        extra = {name: amount for name, amount in extra.items() if amount > 0}
        if extra:
            worker.extra = pool.take(extra)
        worker.actor = actor
        worker.client.namespace = spec.namespace
        actor.worker = worker
        actor.request = None
        actor.state = STARTING
        actor.started_s = state.now_s
        state.commands.append(
            StartActor(
                worker.number,
                spec,
                actor.incarnation,
                worker.allocation.gpu_ids,
                worker.allocation.resources,
                actor.job,
                actor.owner,
            )
        )

    def fail_request(self, request: Request, kind: str, reason: str) -> None:
        """`Serving` refused to place it."""
        actor = request.actor
        assert actor is not None
        actor.request = None
        self._bury(actor, kind, reason)

    def on_ready(self, client: Client, message: ActorReady) -> None:
        actor = self._of_worker(client, message.actor)
        if actor is None or actor.state != STARTING or actor.worker is None:
            return
        actor.state = ALIVE
        actor.started_s = self._state.now_s
        worker = actor.worker
        if worker.extra is not None:
            self._state.give_back(worker.extra)
            worker.extra = None
        self._tell(actor, ALIVE)
        for watcher in list(actor.watchers):
            self._open_channel(actor, watcher)
        if actor.is_unreferenced:
            self._end_unreferenced(actor)

    def on_creation_failed(self, client: Client, message: ActorCreationFailed) -> None:
        actor = self._of_worker(client, message.actor)
        if actor is None or actor.state != STARTING:
            return
        self._bury(
            actor, "creation", f"the constructor of {actor.spec.class_name} raised an exception", message.error, how="graceful"
        )

    def _of_worker(self, client: Client, actor_id: bytes) -> Actor | None:
        """The actor that runs in this client's process, if that is the one meant."""
        worker = self._state.workers.get(client.number)
        actor = worker.actor if worker is not None else None
        return actor if actor is not None and actor.id == actor_id else None

    # ------------------------------------------------------------ callers

    def on_connect(self, client: Client, message: ConnectActor) -> None:
        actor = self._state.actors.get(message.actor)
        if actor is None:
            if not self._keep_early(client, message.actor, message):
                cause = "this actor is not known: it has ended long ago, or was never created"
                self._state.send(client.number, ActorUpdate(message.actor, DEAD, 0, "died", cause, b""))
            return
        if actor.death is not None:
            self._state.send(client.number, actor.death)
            return
        actor.watchers[client.number] = client
        client.watched[actor.id] = actor
        if actor.state == ALIVE:
            self._open_channel(actor, client.number)

    def _open_channel(self, actor: Actor, client: int) -> None:
        assert actor.worker is not None
        self._state.commands.append(OpenActorChannel(actor.id, actor.incarnation, client, actor.worker.number))

    def _tell(self, actor: Actor, state: str, kind: str = "", cause: str = "") -> None:
        update = ActorUpdate(actor.id, state, actor.incarnation, kind, cause, b"")
        for watcher in actor.watchers:
            self._state.send(watcher, update)

    def _keep_early(self, client: Client, actor_id: bytes, message: ConnectActor | KillActor | TerminateActor) -> bool:
        """Its creator's message may still be on its way."""
        if self._state.early.is_early(actor_id, self._state.clients):
            self._state.early.keep(actor_id, client.number, message)
            return True
        return False

    def on_get_named(self, client: Client, message: GetNamedActor) -> None:
        actor = self._names.get((message.namespace, message.name))
        if actor is None:
            self._state.send(client.number, NamedActor(message.request, b"", b""))
            return
        actor.is_unreferenced = False
        self._state.commands.append(AddHolder(actor.id, client.number))
        self._state.send(client.number, NamedActor(message.request, actor.id, actor.spec.handle_meta, actor.spec.class_name))

    def on_list_named(self, client: Client, message: ListNamedActors) -> None:
        names = self._names.all() if message.all_namespaces else [key for key in self._names.all() if key[0] == message.namespace]
        self._state.send(client.number, NamedActors(message.request, names))

    # ------------------------------------------------------------ intended ends

    def on_kill(self, client: Client, message: KillActor) -> None:
        actor = self._state.actors.get(message.actor)
        if actor is None:
            self._keep_early(client, message.actor, message)
        elif actor.state == DEAD:
            pass
        elif message.no_restart:
            self._bury(actor, "killed", "it was killed with skate.kill(actor)")
        elif actor.worker is not None:
            self._workers.stop(actor.worker, "kill", "it was killed with skate.kill(actor, no_restart=False)")

    def on_terminate(self, client: Client, message: TerminateActor) -> None:
        actor = self._state.actors.get(message.actor)
        if actor is None:
            self._keep_early(client, message.actor, message)
        elif actor.state != DEAD:
            self._end_gracefully(actor, "exit", "it was asked to end with __ray_terminate__")

    def on_exiting(self, client: Client, message: ActorExiting) -> None:
        actor = self._of_worker(client, message.actor)
        if actor is not None and actor.ending is None:
            actor.ending = ("exit", message.reason)

    def on_unreferenced(self, event: Unreferenced) -> None:
        actor = self._state.actors.get(event.actor)
        if actor is None:
            if self._state.early.is_early(event.actor, self._state.clients):
                self._state.early.keep(event.actor, 0, event)
            return
        if actor.state == DEAD or actor.spec.detached:
            return
        actor.is_unreferenced = True
        if actor.state != STARTING:  # A constructor that runs is left to finish.
            self._end_unreferenced(actor)

    def _end_unreferenced(self, actor: Actor) -> None:
        self._end_gracefully(actor, "out_of_scope", "all handles to it have gone")

    def _end_gracefully(self, actor: Actor, kind: str, cause: str) -> None:
        """It finishes the calls it has received. Its name is free at once: who asks for it now is to get another one."""
        if actor.worker is None:
            self._bury(actor, kind, cause)
        elif actor.ending is None:
            actor.ending = (kind, cause)
            self._names.free(actor.name_key, actor)
            self._workers.stop(actor.worker, "graceful", cause)

    # ------------------------------------------------------------ deaths

    def on_worker_exited(self, actor: Actor, worker: Worker, kind: str, detail: str) -> None:
        actor.worker = None
        if actor.state == DEAD:
            return
        if worker.end_kind and actor.ending is None:
            kind, detail = worker.end_kind, worker.end_detail
        if actor.ending is not None:
            self._bury(actor, *actor.ending)
        elif actor.restarts_left == 0:
            kind = kind if kind in ("oom", "killed", "node_removed", "placement_group_removed", "owner") else "died"
            self._bury(actor, kind, self._describe_death(actor, detail))
        else:
            self._restart(actor, kind, detail)

    def _describe_death(self, actor: Actor, detail: str) -> str:
        text = _in_words(detail)
        if actor.spec.max_restarts > 0:
            text += f"; its {actor.spec.max_restarts} restarts were used up"
        return text

    def _restart(self, actor: Actor, kind: str, detail: str) -> None:
        state, config = self._state, self._state.config
        lived_s = state.now_s - actor.started_s if actor.state == ALIVE else 0.0
        actor.quick_deaths = actor.quick_deaths + 1 if lived_s < config.actor_quick_death_s else 0
        if actor.restarts_left > 0:
            actor.restarts_left -= 1
        actor.incarnation += 1
        actor.state = RESTARTING
        self._tell(actor, RESTARTING, kind, _in_words(detail))
        waits = actor.quick_deaths - config.actor_quick_deaths_max
        if waits <= 0:
            self._place(actor)
            return
        # Exponent bounded: 2 ** 5000 is no float.
        delay_s = min(config.actor_backoff_max_s, config.actor_backoff_first_s * 2 ** min(waits - 1, 30))
        incarnation = actor.incarnation
        state.timers.set(state.now_s + delay_s, lambda: self._restart_now(actor, incarnation))

    def _restart_now(self, actor: Actor, incarnation: int) -> None:
        if actor.state == RESTARTING and actor.incarnation == incarnation and actor.request is None:
            self._place(actor)

    def on_owner_gone(self, client: Client) -> None:
        for actor in list(client.actors.values()):
            if actor.spec.detached:
                client.actors.pop(actor.id)
            else:
                self._bury(actor, "owner", "its creator has ended (make it detached with lifetime='detached' to let it live on)")

    def on_watcher_gone(self, client: Client) -> None:
        for actor in client.watched.values():
            actor.watchers.pop(client.number, None)
        client.watched.clear()

    def on_group_removed(self, group: bytes) -> None:
        for actor in list(self._state.actors.values()):
            if actor.spec.placement_group == group and actor.state != DEAD:
                self._bury(actor, "placement_group_removed", "its placement group has been removed")

    def on_job_ended(self, actor: Actor) -> None:
        self._bury(actor, "owner", "the program that created it has ended")

    def start_again(self, actor: Actor) -> None:
        """Its worker did not come up: not the actor's fault, and no restart."""
        actor.worker = None
        if actor.state != DEAD:
            actor.state = RESTARTING if actor.incarnation else PENDING
            self._place(actor)

    def fail_env(self, actor: Actor, reason: str) -> None:
        """Workers do not come up in its environment."""
        actor.worker = None
        self._bury(actor, "env", reason)

    def _bury(self, actor: Actor, kind: str, cause: str, error: bytes = b"", how: str = "kill") -> None:
        """Dead for good. Its process, if there is one, ends, and holds its resources until it has."""
        if actor.state == DEAD:
            return
        state = self._state
        actor.state = DEAD
        if actor.request is not None:
            request, actor.request = actor.request, None
            self._serving.withdraw(request)
        if actor.worker is not None:
            self._workers.stop(actor.worker, how, cause, kind)
            actor.worker = None
        self._names.free(actor.name_key, actor)
        actor.death = ActorUpdate(actor.id, DEAD, actor.incarnation, kind, cause, error)
        for watcher, client in actor.watchers.items():
            state.send(watcher, actor.death)
            client.watched.pop(actor.id, None)
        actor.watchers = {}
        owner = state.clients.get(actor.owner)
        if owner is not None:
            owner.actors.pop(actor.id, None)
        # What is left is a tombstone: without what may be large.
        actor.spec = replace(actor.spec, definition=_NOTHING, args=_NOTHING, arg_refs=[], handle_meta=b"")
        state.commands.append(DropHolder(actor.id))
        self._tombstones.add(actor.id)


def _in_words(detail: str) -> str:
    return f"its process was {detail}" if detail.startswith("killed") else detail
