"""Gives resources to those who wait: the heart of the scheduler.

submit ──► (its environment is prepared) ──► room? ──► lease granted, or actor started
                                               └─no──► its line, until something in its domain is freed (`serve_freed`)
"""

from __future__ import annotations

from collections.abc import Callable

from skate.engine.scheduler.environments import Environments
from skate.engine.scheduler.leases import Lease
from skate.engine.scheduler.node_pool import OPEN, Node, ResourcePool, node_of
from skate.engine.scheduler.placement import choose_pool, why_never
from skate.engine.scheduler.state import State
from skate.engine.scheduler.turns import Turns
from skate.engine.scheduler.waiting import Line, Request, Shape, ShapeKey
from skate.engine.scheduler.workers import WorkerPool
from skate.engine.spec.events import Grant
from skate.engine.spec.messages import LeaseRejected
from skate.engine.spec.resources import Resources

_SHAPES_KEPT_MAX = 4096


class Serving:
    def __init__(self, state: State, workers: WorkerPool, environments: Environments, turns: Turns) -> None:
        self._state = state
        self._workers = workers
        self.environments = environments
        self._turns = turns
        self._shapes: dict[ShapeKey, Shape] = {}
        self._spread_turns = 0
        self.lines: dict[bytes, Line] = {OPEN: Line(OPEN)}
        turns.serve = self._serve
        # Filled in by the scheduler, which knows all parts.
        self.start_actor: Callable[[Request, ResourcePool], None]
        self.fail_actor: Callable[[Request, str, str], None]
        self.reserve_groups: Callable[[], None]
        self.on_waiting: Callable[[], None] = lambda: None

    def shape(
        self, need: Resources, job: int, env: str, strategy: str, domain: bytes, bundle: int, node: bytes, labels: dict[str, str],
        *, soft: bool,
    ) -> Shape:  # fmt: skip
        amounts = tuple(need.items()) if len(need) == 1 else tuple(sorted(need.items()))
        key = (amounts, job, env, strategy, domain, bundle, node, soft, tuple(sorted(labels.items())) if labels else ())
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _SHAPES_KEPT_MAX:
                self._shapes = {key: shape for key, shape in self._shapes.items() if shape.count}
            shape = self._shapes[key] = Shape(
                key,
                domain,
                {name: amount for name, amount in need.items() if amount},
                job,
                env,
                strategy,
                bundle,
                node,
                labels,
                soft=soft,
            )
        return shape

    # ------------------------------------------------------------ in

    def submit(self, request: Request) -> None:
        """Serve it now, or as soon as that is possible, or refuse it."""
        shape = request.shape
        reason = why_never(self._state, shape)
        if reason:
            self.refuse(request, "unschedulable", f"{request.name or 'a task'} can never run: {reason}")
            return
        reason = self.environments.why_broken(shape.job, shape.env)
        if reason:
            self.refuse(request, "env", reason)
            return
        if self.environments.park(request):
            return
        line = self.line(shape.domain)
        if not self._turns.is_held_back(line, request):
            pool = choose_pool(self._state, shape)
            if pool is not None:
                self._give(request, pool)
                return
        line.add(request)
        self._turns.someone_waits(line, request)
        self.on_waiting()

    def wait_for_group(self) -> None:
        """A placement group could not be reserved."""
        self._turns.look(self.lines[OPEN])
        self.on_waiting()

    def line(self, domain: bytes) -> Line:
        line = self.lines.get(domain)
        if line is None:
            line = self.lines[domain] = Line(domain)
        return line

    def withdraw(self, request: Request) -> None:
        """Nobody wants it any more."""
        line = self.lines.get(request.shape.domain)
        if line is None or not line.remove(request):
            self.environments.unpark(request)
        elif line.held_for is None:
            self._state.freed[line.domain] = None  # Others were held back for it, maybe.

    def refuse(self, request: Request, kind: str, error: str) -> None:
        if request.actor is not None:
            self.fail_actor(request, kind, error)
        else:
            request.client.requests.pop(request.number, None)
            self._state.send(request.client.number, LeaseRejected(request.number, kind, error))

    def refuse_line(self, domain: bytes, kind: str, error: str) -> None:
        """The domain is gone: so is all hope of those who wait in it."""
        line = self.lines.pop(domain, None) if domain != OPEN else None
        if line is not None:
            for request in line.requests():
                line.remove(request)
                self.refuse(request, kind, error)
        for request in self.environments.parked():
            if request.shape.domain == domain:
                self.environments.unpark(request)
                self.refuse(request, kind, error)

    def refuse_all(self, is_meant: Callable[[Shape], bool], kind: str, reason: Callable[[Shape], str]) -> None:
        for line in list(self.lines.values()):
            for shape in [shape for shape in line.shapes.values() if is_meant(shape)]:
                text = reason(shape)
                for request in [r for of_client in shape.by_client.values() for r in of_client.values()]:
                    line.remove(request)
                    self.refuse(request, kind, text)

    # ------------------------------------------------------------ out

    def serve_freed(self) -> None:
        """Serve those who wait where something was freed in this event."""
        freed = self._state.freed
        while freed:
            domain = next(iter(freed))
            del freed[domain]
            if domain == OPEN:
                self.reserve_groups()
            line = self.lines.get(domain)
            if line is not None and line.shapes:
                self._serve(line)

    def _serve(self, line: Line) -> None:
        state = self._state
        while True:
            best: tuple[Request, ResourcePool] | None = None
            held_by_best = 0
            for shape in line.shapes.values():
                pool = choose_pool(state, shape)
                request = self._turns.next_request(line, shape) if pool is not None else None
                if pool is None or request is None:
                    continue
                held = shape.held.get(request.client.number, 0) if request.actor is None else 0
                if best is None or held < held_by_best:
                    best, held_by_best = (request, pool), held
                    if not held:
                        break
            if best is None:
                break
            line.take_turn(best[0])
            self._give(*best)
        if line.shapes:
            self._turns.look_soon(line, state.config.lease_quantum_s)

    def _give(self, request: Request, pool: ResourcePool) -> None:
        if request.shape.strategy == "SPREAD" and isinstance(pool, Node):
            self._spread_turns += 1
            pool.spread_turn = self._spread_turns
        if request.actor is not None:
            self.start_actor(request, pool)
            return
        state, shape, client = self._state, request.shape, request.client
        node = node_of(pool)
        worker = self._workers.acquire(node, shape.job, shape.env)
        worker.client.namespace = client.namespace
        worker.allocation = allocation = pool.take(shape.need)
        number = state.next_lease_id()
        lease = Lease(number, client, worker, shape, request.name, state.now_s, is_retriable=request.is_retriable)
        worker.lease = client.leases[number] = state.leases[number] = lease
        lease.count(True)
        client.requests.pop(request.number, None)
        state.commands.append(
            Grant(
                number,
                request.number,
                client.number,
                worker.number,
                shape.job,
                node.id,
                allocation.gpu_ids,
                shape.need,
                shape.domain,
                request.captures,
                client.namespace,
            )
        )
