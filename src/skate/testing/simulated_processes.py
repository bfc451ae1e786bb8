"""Drivers, workers, tasks and actors of the simulator: what real processes do to the scheduler, and nothing else.

A simulated process asks for one lease per waiting task, runs one task per lease, returns a lease when it is called back or idle, and tries
tasks again when their workers die. A task takes time; a parent starts its children and waits for them, so its worker says Blocked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import ClientId, IdFactory, PlacementGroupId
from skate.engine.spec.resources import to_units

if TYPE_CHECKING:
    from skate.testing.simulator import Simulator

_LINGER_S = 0.2
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"


class SimulatedTask:
    """One task. `children`: options of tasks that it starts and waits for."""

    def __init__(
        self,
        name: str,
        *,
        duration_s: float = 0.01,
        max_retries: int = 3,
        resources: Mapping[str, float] | None = None,
        children: Sequence[Mapping[str, Any]] = (),
        env: str = "",
        strategy: str = "DEFAULT",
        group: bytes = b"",
        bundle: int = -1,
        node: bytes = b"",
        soft: bool = False,
        retires: bool = False,
    ) -> None:
        self.name = name
        self.duration_s = duration_s
        self.retries_left = max_retries
        self.children = children
        self.retires = retires  # Its worker reaches max_calls with it.
        self.state = WAITING
        self.error: m.LeaseRejected | m.LeaseLost | None = None
        self.attempts = 0
        self.worker: SimulatedWorker | None = None
        self.gpu_ids: tuple[int, ...] = ()
        self.done_s = 0.0
        units = to_units({"CPU": 1} if resources is None else resources)
        self.request = m.RequestLease(0, units, env, strategy, group, bundle, node, soft, {}, name)
        self.shape = repr(self.request)

    def is_running(self) -> bool:
        return self.state == RUNNING

    def is_settled(self) -> bool:
        return self.state in (DONE, FAILED)


class _Lease:
    def __init__(self, grant: e.Grant, shape: str) -> None:
        self.number = grant.lease
        self.worker = grant.worker
        self.shape = shape
        self.gpu_ids = grant.gpu_ids
        self.task: SimulatedTask | None = None
        self.is_revoked = False


class SimulatedActor:
    """An actor as its creator sees it."""

    def __init__(self, spec: m.ActorSpec) -> None:
        self.spec = spec
        self.id = spec.actor
        self.state = "PENDING"
        self.incarnation = 0
        self.death: m.ActorUpdate | None = None
        self.reply: m.CreateActorReply | None = None
        self.channels: list[e.OpenActorChannel] = []

    def is_alive(self) -> bool:
        return self.state == "ALIVE" and bool(self.channels) and self.channels[-1].incarnation == self.incarnation

    def is_dead(self) -> bool:
        return self.state == "DEAD"

    @property
    def worker(self) -> int:
        return self.channels[-1].worker


class SimulatedProcess:
    """A driver; `SimulatedWorker` adds what only workers do."""

    def __init__(self, simulator: Simulator, number: int, job: int, namespace: str) -> None:
        self.simulator = simulator
        self.number = number
        self.job = job
        self.namespace = namespace
        self.is_alive = True
        self.ids = IdFactory(b"sims", ClientId(number))
        self.tasks: list[SimulatedTask] = []  # All it ever submitted.
        self.actors: dict[bytes, SimulatedActor] = {}
        self.groups: dict[bytes, m.PlacementGroupUpdate] = {}
        self.notices: list[m.Notice] = []
        self.replies: list[m.Message] = []
        self._waiting: list[SimulatedTask] = []
        self._requests: dict[int, str] = {}  # request → shape
        self._leases: dict[int, _Lease] = {}
        self._next_request = 1

    def post(self, message: m.Message) -> None:
        self.simulator.post(self, message)

    # ------------------------------------------------------------ tasks

    def submit(self, name: str, **options: Any) -> SimulatedTask:
        task = SimulatedTask(name, **options)
        self.tasks.append(task)
        self._enqueue(task)
        return task

    def _enqueue(self, task: SimulatedTask) -> None:
        task.state = WAITING
        task.worker = None
        self._waiting.append(task)
        for lease in self._leases.values():
            if lease.task is None and lease.shape == task.shape and not lease.is_revoked:
                self._run_next(lease)
                return
        self._request(task)

    def _request(self, task: SimulatedTask) -> None:
        number, self._next_request = self._next_request, self._next_request + 1
        self._requests[number] = task.shape
        request = task.request
        self.post(
            m.RequestLease(
                number, request.resources, request.env, request.strategy, request.placement_group, request.bundle, request.node,
                request.soft, request.labels, request.name,
            )
        )  # fmt: skip

    def _run_next(self, lease: _Lease) -> None:
        task = None if lease.is_revoked else next((task for task in self._waiting if task.shape == lease.shape), None)
        lease.task = task
        if task is None:
            if lease.is_revoked:
                self._return(lease)
            else:
                self.simulator.after(_LINGER_S, lambda: self._return_if_idle(lease))
            return
        self._waiting.remove(task)
        task.state = RUNNING
        task.attempts += 1
        task.gpu_ids = lease.gpu_ids
        worker = self.simulator.processes.get(lease.worker)
        if isinstance(worker, SimulatedWorker):
            task.worker = worker
            self.simulator.after(self.simulator.dice.random() * 0.0002, lambda: worker.run(task, self, lease))

    def _return_if_idle(self, lease: _Lease) -> None:
        if lease.task is None and lease.number in self._leases:
            self._return(lease)

    def _return(self, lease: _Lease, *, retire: bool = False) -> None:
        del self._leases[lease.number]
        self.post(m.ReturnLease(lease.number, retire))
        if any(task.shape == lease.shape for task in self._waiting) and lease.shape not in self._requests.values():
            self._request(next(task for task in self._waiting if task.shape == lease.shape))

    def on_done(self, task: SimulatedTask, lease: _Lease) -> None:
        """The worker's answer arrived."""
        if not self.is_alive or lease.task is not task or lease.number not in self._leases:
            return
        task.state = DONE
        task.done_s = self.simulator.now_s
        lease.task = None
        if task.retires:
            self._return(lease, retire=True)
        else:
            self._run_next(lease)
        self.on_task_settled()

    def on_task_settled(self) -> None:
        """For workers, whose tasks wait for their children."""

    def _settle_failed(self, task: SimulatedTask, error: m.LeaseRejected | m.LeaseLost) -> None:
        task.state = FAILED
        task.error = error
        self.on_task_settled()

    # ------------------------------------------------------------ actors and groups

    def create_actor(
        self,
        class_name: str = "Actor",
        *,
        name: str = "",
        detached: bool = False,
        max_restarts: int = 0,
        get_if_exists: bool = False,
        resources: Mapping[str, float] | None = None,
        placement_resources: Mapping[str, float] | None = None,
        env: str = "",
        group: bytes = b"",
        bundle: int = -1,
        node: bytes = b"",
        constructor: str = "",
    ) -> SimulatedActor:
        """`constructor`: "fails" or "crashes", or "" for one that returns."""
        running = to_units(resources or {})
        placement = to_units({"CPU": 1} if placement_resources is None else placement_resources)
        spec = m.ActorSpec(
            actor=self.ids.next_task_id(), class_name=class_name, definition=m.Value(0, b""), args=m.Value(0, constructor.encode()),
            arg_refs=[], name=name, namespace=self.namespace, detached=detached, max_restarts=max_restarts, max_task_retries=0,
            max_concurrency=1, concurrency_groups={}, is_async=False, max_pending_calls=-1, placement_resources=placement,
            running_resources=running, env=env, strategy="DEFAULT", placement_group=group, bundle=bundle, node=node, soft=False, labels={},
            handle_meta=class_name.encode(),
        )  # fmt: skip
        actor = self.actors[spec.actor] = SimulatedActor(spec)
        number, self._next_request = self._next_request, self._next_request + 1
        self.post(m.CreateActor(number, spec, get_if_exists))
        self.post(m.ConnectActor(spec.actor))
        return actor

    def watch_actor(self, actor: SimulatedActor) -> SimulatedActor:
        """Another process's actor, as seen from here."""
        seen = self.actors[actor.id] = SimulatedActor(actor.spec)
        self.post(m.ConnectActor(actor.id))
        return seen

    def drop_actor(self, actor: SimulatedActor) -> None:
        """The last handle goes."""
        self.simulator.at(
            self.simulator._arrival_s("up", self.number), lambda: self.simulator.handle(0, e.Unreferenced(actor.id))
        )

    def create_group(
        self, bundles: Sequence[Mapping[str, float]], strategy: str = "PACK", *, name: str = "", detached: bool = False
    ) -> bytes:
        group = PlacementGroupId(self.ids.next_task_id())
        self.post(
            m.CreatePlacementGroup(group, [to_units(bundle) for bundle in bundles], strategy, name, self.namespace, detached)
        )
        return group

    def group_state(self, group: bytes) -> str:
        return self.groups[group].state if group in self.groups else "PENDING"

    # ------------------------------------------------------------ mail

    def receive(self, message: Any) -> None:
        """What the node sent arrives, unless this process has died meanwhile."""
        if not self.is_alive:
            return
        match message:
            case e.Grant():
                self._on_granted(message)
            case m.LeaseRejected():
                shape = self._requests.pop(message.request, "")
                for task in [task for task in self._waiting if task.shape == shape]:
                    self._waiting.remove(task)
                    self._settle_failed(task, message)
            case m.LeaseRevoked():
                lease = self._leases.get(message.lease)
                if lease is not None:
                    lease.is_revoked = True
                    if lease.task is None:
                        self._return(lease)
            case m.LeaseLost():
                self._on_lost(message)
            case m.ActorUpdate():
                self._on_actor_update(message)
            case e.OpenActorChannel():
                if message.actor in self.actors:
                    self.actors[message.actor].channels.append(message)
            case m.PlacementGroupUpdate():
                self.groups[message.group] = message
            case m.Notice():
                self.notices.append(message)
            case _:
                self.replies.append(message)

    def _on_granted(self, grant: e.Grant) -> None:
        shape = self._requests.pop(grant.request, None)
        if shape is None:
            self.post(m.ReturnLease(grant.lease))
            return
        lease = self._leases[grant.lease] = _Lease(grant, shape)
        self._run_next(lease)

    def cancel_requests(self) -> None:
        """What it has asked for and does not need any more."""
        shapes = {task.shape for task in self._waiting}
        for number, shape in list(self._requests.items()):
            if shape not in shapes:
                del self._requests[number]
                self.post(m.CancelLeaseRequest(number))

    def _on_lost(self, message: m.LeaseLost) -> None:
        lease = self._leases.pop(message.lease, None)
        if lease is None:
            return
        task = lease.task
        if task is None:
            waiting = next((task for task in self._waiting if task.shape == lease.shape), None)
            if waiting is not None and lease.shape not in self._requests.values():
                self._request(waiting)
        elif task.retries_left != 0:
            task.retries_left -= 1
            self._enqueue(task)
        else:
            self._settle_failed(task, message)

    def _on_actor_update(self, update: m.ActorUpdate) -> None:
        actor = self.actors.get(update.actor)
        if actor is None:
            return
        if actor.state == "DEAD" != update.state:
            self.simulator.fail(f"actor {update.actor.hex()} is {update.state} after it was dead")
        if update.incarnation < actor.incarnation:
            self.simulator.fail(f"actor {update.actor.hex()} goes back to incarnation {update.incarnation}")
        actor.state = update.state
        actor.incarnation = update.incarnation
        if update.state == "DEAD":
            actor.death = update


class SimulatedWorker(SimulatedProcess):
    """A worker: runs tasks for others, or is an actor; and is a client like a driver."""

    def __init__(self, simulator: Simulator, number: int, job: int, node: bytes, env: str) -> None:
        super().__init__(simulator, number, job, "test")
        self.node = node
        self.env = env
        self.lease = 0  # As the node's shell knows it.
        self.actor: e.StartActor | None = None
        self.is_leaving = False
        self._parent: tuple[SimulatedTask, SimulatedProcess, _Lease] | None = None  # Its task, while it waits for children.
        self._children: list[SimulatedTask] = []

    def run(self, task: SimulatedTask, caller: SimulatedProcess, lease: _Lease) -> None:
        if not self.is_alive:
            return
        if not task.children:
            self.simulator.after(task.duration_s, lambda: self._finish(task, caller, lease))
            return
        self._children = [self.submit(f"{task.name}.{index}", **options) for index, options in enumerate(task.children)]
        self._parent = (task, caller, lease)
        self.simulator.after(0.001, self._block)

    def _block(self) -> None:
        if self._parent is not None and self.is_alive:
            self.post(m.Blocked())
            self.on_task_settled()

    def on_task_settled(self) -> None:
        if self._parent is None or not all(child.is_settled() for child in self._children):
            return
        (task, caller, lease), self._parent = self._parent, None
        self.cancel_requests()
        self.post(m.Unblocked())
        self.simulator.after(task.duration_s, lambda: self._finish(task, caller, lease))

    def _finish(self, task: SimulatedTask, caller: SimulatedProcess, lease: _Lease) -> None:
        if self.is_alive:
            self.simulator.after(self.simulator.dice.random() * 0.0002, lambda: caller.on_done(task, lease))

    def become_actor(self, command: e.StartActor) -> None:
        self.actor = command
        constructor = command.spec.args.data.decode() if isinstance(command.spec.args, m.Value) else ""
        self.simulator.after(self.simulator.dice.random() * 0.01, lambda: self._construct(constructor, command.spec.actor))

    def _construct(self, constructor: str, actor: bytes) -> None:
        if constructor == "fails":
            self.post(m.ActorCreationFailed(actor, b"error"))
        elif constructor == "crashes":
            self.simulator.kill(self, "signal", "killed by signal 11 (SIGSEGV)")
        else:
            self.post(m.ActorReady(actor))

    def stop_gracefully(self) -> None:
        self.is_leaving = True
        self.simulator.after(
            self.simulator.dice.random() * 0.01, lambda: self.simulator.kill(self, "exit", "it exited with status 0")
        )
