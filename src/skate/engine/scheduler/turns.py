"""Turns: who must give back, when others wait for what they hold.

A lease is kept by its client as long as it has tasks for it. So when somebody waits, leases are called back (`LeaseRevoked`: return it when
its tasks are done): from those who hold more than the one who waits, after a quantum; and from those who do not ask for more and so may
hold it idle, after a few. The returned one goes to whoever waits first, and the one who lost it waits for the next turn.

A request that needs what several leases hold would wait forever beside a stream of small ones: each returned piece would be taken at once. So
for a short time drivers' other requests are held back for it (never those of workers: what runs may need them to get done).
The time is bounded, since a task may run for hours; it doubles with every try in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from skate.engine.scheduler.node_pool import OPEN, ResourcePool
from skate.engine.scheduler.placement import candidates
from skate.engine.scheduler.state import State
from skate.engine.scheduler.waiting import Line, Request, Shape
from skate.engine.spec.messages import LeaseRevoked
from skate.engine.spec.resources import Resources

if TYPE_CHECKING:
    from skate.engine.scheduler.leases import Lease
    from skate.engine.scheduler.placement_groups import PlacementGroup

Party = tuple[int, object]  # (client, shape): those who compete.
_NEWCOMER_QUANTA = 0.1
_IDLE_QUANTA = 4  # A lease of somebody who does not ask for more is called back after this many quanta.
_CLIENTS_SEEN_MAX = 16  # Per choice of whom to serve.
_REQUESTS_SEEN_MAX = 32  # Per client, shape and look.
_HOLD_MAX_S = 8.0
_HOLD_PAUSE = 4  # After a hold in vain, others go on for so many times its length.


class Turns:
    def __init__(self, state: State) -> None:
        self._state = state
        self.serve: Callable[[Line], None]  # Set by `Serving`.
        self.pending_groups: Callable[[], Sequence[PlacementGroup]] = lambda: ()

    # ------------------------------------------------------------ holding back

    def is_held_back(self, line: Line, request: Request) -> bool:
        held_for = line.held_for
        if held_for is None or held_for is request.shape:
            return False
        if line.held_until_s <= self._state.now_s:
            line.held_for = None
            return False
        return request.client.is_driver and request.actor is None and not line.held_names.isdisjoint(request.shape.need)

    def next_request(self, line: Line, shape: Shape) -> Request | None:
        """Of the clients whose turn is near, the one that holds least; None: all are held back."""
        best: Request | None = None
        held_by_best = 0
        seen = 0
        for client, of_client in shape.by_client.items():
            request = next(iter(of_client.values()))
            if line.held_for is not None and self.is_held_back(line, request):
                request = next((one for one in of_client.values() if one.actor is not None), request)
                if request.actor is None:
                    continue
            held = shape.held.get(client, 0) if request.actor is None else 0
            if best is None or held < held_by_best:
                best, held_by_best = request, held
            seen += 1
            if not held_by_best or seen == _CLIENTS_SEEN_MAX:
                break
        return best

    # ------------------------------------------------------------ calling back

    def someone_waits(self, line: Line, request: Request) -> None:
        """A request could not be served. One more of a client that waits already changes little."""
        quantum_s = self._state.config.lease_quantum_s
        is_new = len(request.shape.by_client[request.client.number]) == 1
        self.look_soon(line, quantum_s * _NEWCOMER_QUANTA if is_new else quantum_s)

    def look_soon(self, line: Line, distance_s: float) -> None:
        """Look, now or by a timer: not sooner than `distance_s` after the last look. Looks cost, and a thousand may begin to wait at once."""
        at_s = line.looked_s + distance_s
        if self._state.now_s >= at_s:
            self.look(line)
        else:
            self.look_at(line, at_s)

    def look_at(self, line: Line, at_s: float) -> None:
        if not line.turn_timer_s or line.turn_timer_s > at_s:
            line.turn_timer_s = at_s
            self._state.timers.set(at_s, lambda: self._on_timer(line, at_s))

    def _on_timer(self, line: Line, at_s: float) -> None:
        if line.turn_timer_s == at_s:
            line.turn_timer_s = 0.0
            if line.shapes or (line.domain == OPEN and self.pending_groups()):
                self.serve(line)  # Held-back requests may go on now.
                if not line.shapes:
                    self.look(line)

    def look(self, line: Line) -> None:
        """Call leases back so that everybody who waits in this line gets a turn."""
        state = self._state
        line.looked_s = state.now_s
        if line.held_until_s <= state.now_s:
            line.held_for = None
        groups = self.pending_groups() if line.domain == OPEN else ()
        leases = [lease for lease in state.leases.values() if lease.shape.domain == line.domain]
        if leases and (line.shapes or groups):
            _Look(state, line, leases, self).run(groups)
        if line.held_for is not None:
            self.look_at(line, line.held_until_s)

    def hold(self, line: Line, waiter: Shape | PlacementGroup, names: frozenset[str]) -> None:
        """Let drivers' other requests wait until `waiter` has got what was called back for it."""
        now_s = self._state.now_s
        if waiter.hold_not_before_s > now_s or (line.held_for is not None and line.held_until_s > now_s):
            return
        waiter.hold_s = min(_HOLD_MAX_S, max(self._state.config.hold_first_s, waiter.hold_s * 2))
        line.held_for = waiter
        line.held_names = names
        line.held_until_s = now_s + waiter.hold_s
        waiter.hold_not_before_s = line.held_until_s + waiter.hold_s * _HOLD_PAUSE


class _Look:
    """One look at a line: who waits, who holds, what is on its way back."""

    def __init__(self, state: State, line: Line, leases: list[Lease], turns: Turns) -> None:
        self._state = state
        self._line = line
        self._turns = turns
        self._holds: dict[Party, int] = {}
        self._by_pool: dict[ResourcePool, list[Lease]] = {}  # Those that can be called back.
        self._called_back: list[Lease] = []
        self._spare: dict[ResourcePool, Resources] = {}  # What is free or on its way back, less what is promised.
        for lease in leases:
            allocation = lease.worker.allocation
            if allocation is None:
                continue
            pool = allocation.pool
            if lease.worker.stopping or (lease.is_revoked and self._is_on_its_way(lease)):
                spare = self._spare_of(pool)
                for name in allocation.resources:
                    spare[name] = spare.get(name, 0) + allocation.held(name)
            elif any(allocation.held(name) for name in allocation.resources):  # Not one that has lent all it had.
                party = (lease.client.number, lease.shape)
                self._holds[party] = self._holds.get(party, 0) + 1
                if not lease.is_revoked:
                    self._by_pool.setdefault(pool, []).append(lease)

    def _is_on_its_way(self, lease: Lease) -> bool:
        """Called back a moment ago. Otherwise it runs a long task, and nobody should count on it."""
        until_s = lease.revoked_s + self._state.config.revoked_patience_s
        if until_s <= self._state.now_s:
            return False
        self._turns.look_at(self._line, until_s)
        return True

    def _spare_of(self, pool: ResourcePool) -> Resources:
        spare = self._spare.get(pool)
        if spare is None:
            spare = self._spare[pool] = dict(pool.free)
        return spare

    def run(self, groups: Sequence[PlacementGroup]) -> None:
        for group in groups:
            self._gather_for_group(group)
        self._gather_for_requests()
        for lease in self._called_back:
            lease.is_revoked = True
            lease.revoked_s = self._state.now_s
            self._turns.look_at(self._line, lease.revoked_s + self._state.config.revoked_patience_s)
            self._state.send(lease.client.number, LeaseRevoked(lease.number))

    def _gather_for_requests(self) -> None:
        for shape in self._line.shapes.values():
            if not self._by_pool:
                return
            pools = self._pools(shape)
            for client, of_client in shape.by_client.items():
                held = self._holds.get((client, shape), 0)
                first = next(iter(of_client.values()))
                if not first.client.is_driver and first.actor is None and not self._is_ripe(first):
                    continue
                wanted = min(len(of_client), _REQUESTS_SEEN_MAX)
                for _ in range(wanted):
                    if not self._gather(shape, pools, shape.need, (client, shape), held):
                        break
                    held += 1

    def _is_ripe(self, request: Request) -> bool:
        """A worker's request is mostly served by what the worker lends as soon as it waits: give it that time."""
        ripe_s = request.since_s + self._state.config.lease_quantum_s
        if ripe_s > self._state.now_s:
            self._turns.look_at(self._line, ripe_s)
            return False
        return True

    def _pools(self, shape: Shape) -> Sequence[ResourcePool]:
        if not shape.domain:
            return candidates(self._state, shape)
        group = self._state.groups.get(shape.domain)
        return group.bundles_for(shape.bundle) if group is not None and group.is_created else ()

    def _gather_for_group(self, group: PlacementGroup) -> None:
        """All bundles or none: nobody is disturbed for a group that can't be gathered now."""
        before = dict(self._holds), {p: list(v) for p, v in self._by_pool.items()}, {p: dict(v) for p, v in self._spare.items()}
        called_back, self._called_back = self._called_back, []
        if all(self._gather(group, self._state.nodes.alive, need, (0, group), 0) for need in group.specs):
            if self._called_back:
                self._turns.hold(self._line, group, frozenset(name for need in group.specs for name in need))
            self._called_back = called_back + self._called_back
        else:
            self._holds, self._by_pool, self._spare = before
            self._called_back = called_back

    def _gather(
        self,
        waiter: Shape | PlacementGroup,
        pools: Sequence[ResourcePool],
        need: Resources,
        party: Party,
        held: int,
    ) -> bool:
        """Promise what one request needs, from what is free or on its way, and from leases that are called back now."""
        for pool in pools:
            spare = self._spare_of(pool)
            if all(spare.get(name, 0) >= amount for name, amount in need.items()):
                return self._promise(spare, need)
        for pool in pools:
            if any(pool.total.get(name, 0) < amount for name, amount in need.items()) or pool not in self._by_pool:
                continue
            victims = self._choose_victims(pool, need, party, held)
            if not victims:
                continue
            for lease in victims:
                self._call_back(lease, pool)
            if len(victims) > 1 and type(waiter) is Shape:
                self._turns.hold(self._line, waiter, frozenset(need))
            return self._promise(self._spare_of(pool), need)
        return False

    def _promise(self, spare: Resources, need: Resources) -> bool:
        for name, amount in need.items():
            spare[name] = spare.get(name, 0) - amount
        return True

    def _choose_victims(self, pool: ResourcePool, need: Resources, party: Party, held: int) -> list[Lease]:
        """Leases that together free what is missing, the longest held first; none if they would not do."""
        spare = self._spare_of(pool)
        missing = {name: amount - spare.get(name, 0) for name, amount in need.items() if amount > spare.get(name, 0)}
        state = self._state
        quantum_s = state.config.lease_quantum_s
        victims: list[Lease] = []
        taken: dict[Party, int] = {}
        not_before_s = 0.0
        for lease in self._by_pool[pool]:
            holder = (lease.client.number, lease.shape)
            allocation = lease.worker.allocation
            if holder == party or allocation is None or not any(allocation.held(name) > 0 for name in missing):
                continue
            if self._holds[holder] - taken.get(holder, 0) > held:
                ripe_s = lease.granted_s + quantum_s
            elif not lease.client.requests:
                ripe_s = lease.granted_s + quantum_s * _IDLE_QUANTA
            else:
                continue
            if ripe_s > state.now_s:
                not_before_s = min(not_before_s or ripe_s, ripe_s)
                continue
            victims.append(lease)
            taken[holder] = taken.get(holder, 0) + 1
            for name in list(missing):
                missing[name] -= allocation.held(name)
                if missing[name] <= 0:
                    del missing[name]
            if not missing:
                return victims
        if not_before_s:
            self._turns.look_at(self._line, not_before_s)
        return []

    def _call_back(self, lease: Lease, pool: ResourcePool) -> None:
        self._called_back.append(lease)
        self._holds[lease.client.number, lease.shape] -= 1
        self._by_pool[pool].remove(lease)
        if not self._by_pool[pool]:
            del self._by_pool[pool]
        spare = self._spare_of(pool)
        allocation = lease.worker.allocation
        assert allocation is not None
        for name in allocation.resources:
            spare[name] = spare.get(name, 0) + allocation.held(name)
