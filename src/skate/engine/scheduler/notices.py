"""Tells people why they wait: for something nobody has, or for something that others may never give back.

Looks at intervals, and only while something waits. Each client is told once about each shape of request.
"""

from __future__ import annotations

from skate.engine.scheduler.node_pool import CPU, GPU, OPEN
from skate.engine.scheduler.placement import candidates, is_feasible
from skate.engine.scheduler.placement_groups import PlacementGroup, PlacementGroups
from skate.engine.scheduler.serving import Serving
from skate.engine.scheduler.state import State
from skate.engine.scheduler.waiting import Request, Shape
from skate.engine.spec.messages import Notice, PlacementGroupUpdate
from skate.engine.spec.resources import Resources, to_amounts

INFEASIBLE, HELD = "infeasible", "held"


class Notices:
    def __init__(self, state: State, serving: Serving, groups: PlacementGroups) -> None:
        self._state = state
        self._serving = serving
        self._groups = groups
        self._is_timer_set = False

    def on_waiting(self) -> None:
        """Something began to wait."""
        if not self._is_timer_set:
            self._is_timer_set = True
            config = self._state.config
            delay_s = min(config.infeasible_notice_s, config.held_notice_s)
            self._state.timers.set(self._state.now_s + delay_s, self._look)

    def _look(self) -> None:
        self._is_timer_set = False
        waits = False
        for line in self._serving.lines.values():
            for shape in line.shapes.values():
                for of_client in shape.by_client.values():
                    waits = self._consider(shape, next(iter(of_client.values()))) or waits
        for group in self._groups.pending():
            waits = self._consider_group(group) or waits
        if waits:
            self.on_waiting()

    def _consider(self, shape: Shape, request: Request) -> bool:
        """Tell the client about its oldest request, if it is time. True: look again later."""
        state, config = self._state, self._state.config
        waited_s = state.now_s - request.since_s
        driver = state.driver_of(request.client)
        if not is_feasible(state, shape):
            if (driver, INFEASIBLE) in shape.notified:
                return False
            if waited_s >= config.infeasible_notice_s:
                shape.notified.add((driver, INFEASIBLE))
                self._say(driver, f"{_subject(request)} waits for {_amounts(shape.need)}; {self._what_there_is(shape)}")
                return False
            return True
        if (driver, HELD) in shape.notified:
            return False
        if waited_s >= config.held_notice_s:
            holders = self._holders(shape)
            # Leases alone come to an end by themselves.
            if holders:
                shape.notified.add((driver, HELD))
                text = f"{_subject(request)} has been waiting for {_amounts(shape.need)} for {waited_s:.0f} s; it is held by {holders}"
                self._say(driver, text + ": end some of them, or ask for less")
                return False
        return True

    def _consider_group(self, group: PlacementGroup) -> bool:
        if group.is_told_infeasible:
            return False
        state = self._state
        if state.now_s - group.since_s < state.config.infeasible_notice_s or self._groups.is_feasible(group):
            return True
        group.is_told_infeasible = True
        bundles = ", ".join(map(_amounts, group.specs))
        name = f"placement group {group.name_key[1]!r}" if group.name_key else "a placement group"
        text = f"{name} ({group.strategy} of {bundles}) can't be reserved: {self._machines()}. It stays pending until nodes join that have what it needs"
        for watcher in group.watchers:
            state.send(watcher, PlacementGroupUpdate(group.id, "INFEASIBLE", text))
        return False

    def _say(self, client: int, text: str) -> None:
        self._state.send(client, Notice("warning", text))

    # ------------------------------------------------------------ words

    def _what_there_is(self, shape: Shape) -> str:
        nodes = candidates(self._state, shape)
        if not nodes and shape.labels:
            return f"no node has labels that match {shape.labels}"
        if not nodes:
            return "no node is there"
        short = [name for name in shape.need if all(node.total.get(name, 0) < shape.need[name] for node in nodes)] or list(
            shape.need
        )
        best = {name: max(node.total.get(name, 0) for node in nodes) for name in short}
        where = "this machine" if len(self._state.nodes) == 1 else "the largest node that it may use"
        if not any(best.values()):
            text = f"{where} has none"
        else:
            text = f"{where} has only {_amounts({name: amount for name, amount in best.items() if amount})}"
        advice = {CPU: "num_cpus=…", GPU: "num_gpus=…"}
        option = advice.get(short[0], f"resources={{{short[0]!r}: …}}")
        return f"{text}; ask for less, or start with more: skate.init({option})"

    def _machines(self) -> str:
        nodes = self._state.nodes.alive
        has = ", ".join(_amounts(node.total) for node in nodes)
        return f"this machine has {has}" if len(nodes) == 1 else f"there are {len(nodes)} nodes with {has}"

    def _holders(self, shape: Shape) -> str:
        """Actors, and groups, that hold what the shape needs; leases come back by themselves."""
        state = self._state
        counts: dict[str, int] = {}
        for worker in state.workers.values():
            allocation, actor = worker.allocation, worker.actor
            if allocation is None or actor is None or allocation.pool.domain != shape.domain:
                continue
            if any(allocation.held(name) > 0 for name in shape.need):
                what = f"actor {actor.spec.class_name}"
                counts[what] = counts.get(what, 0) + 1
        if shape.domain == OPEN:
            for group in state.groups.values():
                if group.is_created and any(name in spec for spec in group.specs for name in shape.need):
                    what = f"placement group {group.name_key[1] if group.name_key else group.id.hex()}"
                    counts[what] = counts.get(what, 0) + 1
        words = [f"{count} × {what}" if count > 1 else what for what, count in counts.items()]
        return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def _subject(request: Request) -> str:
    name = request.name or "a task"
    return f"actor {name}" if request.actor is not None else name


def _amounts(units: Resources) -> str:
    words = []
    for name, amount in to_amounts(units).items():
        words.append(f"{name}: {amount / 1e9:.3g} GB" if name == "memory" else f"{name}: {amount:g}")
    return "{" + ", ".join(words) + "}"
