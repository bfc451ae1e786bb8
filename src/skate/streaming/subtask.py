"""Subtask: one of the parallel copies of a stage. Aligns barriers, advances time, runs the operators. Pure: messages in, messages out.

A barrier that has come on one input closes that input until it has come on all: what lies before it on every input, and nothing else, is
in the snapshot. Messages of closed inputs wait here; they are few, for a source does not start an epoch before all have ended the last.
"""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from skate.blocks.partition import place_of
from skate.streaming.batch import ALWAYS, NEVER, Barrier, Batch, End, Message, Partial, Watermark
from skate.streaming.errors import StreamError
from skate.streaming.exchange import Exchange
from skate.streaming.graph import OperatorPlan, Plan, StagePlan
from skate.streaming.operators.base import ERRORS, LATE, Emit, Operator

Channel = tuple[int, int]  # (exchange, index of the sending subtask)
Sending = tuple[int, int, Message]  # (exchange, place, message)

EXCHANGE = "exchange"  # (EXCHANGE, id) is the key of what an exchange holds, in a snapshot.


class Subtask:
    def __init__(self, plan: Plan, stage: StagePlan, index: int, on_snapshot: Callable[[int, bytes], None]) -> None:
        """`on_snapshot(number, pickle)` is called when barrier `number` has come on all inputs."""
        self._plan = plan
        self.stage = stage
        self.index = index
        self.on_snapshot = on_snapshot
        self.records_in = 0
        self.records_out = 0
        self.watermark_s = NEVER
        self.source_positions: Callable[[], Any] | None = None
        self._plans: dict[int, OperatorPlan] = {operator.id: operator for operator in stage.operators}
        self.operators: dict[int, Operator] = {}
        for operator_plan in stage.operators:
            operator = copy.deepcopy(operator_plan.operator)
            operator.open(index, stage.parallelism)
            self.operators[operator_plan.id] = operator
        self.exchanges = []
        for output in stage.outputs:
            target = plan.stages[output.to_stage]
            combiner = target.operators[0].operator.combiner() if target.operators else None
            self.exchanges.append(Exchange(output, index, target.parallelism, combiner))
        self._emits: dict[int, Emit] = {}
        for operator_plan in stage.operators:
            self._emits[operator_plan.id] = self._emit_of(operator_plan)
        self._emit_source = self._emit_to({"": [*((i, 0) for i in stage.source_outputs)]}, -1)
        self._ports = {edge.id: edge.port for edge in stage.inputs}
        channels = [(edge.id, sender) for edge in stage.inputs for sender in range(plan.stages[edge.from_stage].parallelism)]
        self._watermarks = dict.fromkeys(channels, NEVER)
        self._open_ended = set(channels)  # Inputs that have not ended.
        self._barrier: int | None = None
        self._aligned: set[Channel] = set()
        self._waiting: dict[Channel, deque[Message]] = {channel: deque() for channel in channels}

    # ---------------------------------------------------------------- messages

    def receive(self, channel: Channel, messages: Iterable[Message]) -> None:
        """Take messages of one input, in order."""
        for message in messages:
            if channel in self._aligned:
                self._waiting[channel].append(message)
            else:
                self._take(channel, message)

    def _take(self, channel: Channel, message: Message) -> None:
        match message:
            case Batch() | Partial():
                self.records_in += len(message)
                head = self.stage.operators[0].id
                self.operators[head].process(message, self._emits[head], self._ports[channel[0]])
            case Watermark(time_s):
                self._watermarks[channel] = time_s
                self._advance(min(self._watermarks.values()))
            case Barrier(number):
                self._align(channel, number)
            case End():
                self._watermarks[channel] = ALWAYS
                self._open_ended.discard(channel)
                if self._open_ended:
                    self._advance(min(self._watermarks.values()))
                else:
                    self.end()

    def _align(self, channel: Channel, number: int) -> None:
        if self._barrier is not None and self._barrier != number:
            raise StreamError(
                f"stage {self.stage.id}: barrier {number} came while {self._barrier} was being aligned; this is a bug of skate"
            )
        self._barrier = number
        self._aligned.add(channel)
        if len(self._aligned) < len(self._waiting):
            return
        self.barrier(number)
        self._barrier = None
        self._aligned.clear()
        for other, waiting in self._waiting.items():
            while waiting and other not in self._aligned:
                self._take(other, waiting.popleft())

    # ---------------------------------------------------------------- what a source's subtask is told by its reader

    def feed(self, batch: Batch) -> None:
        """Take records that the source has read."""
        self.records_in += len(batch)
        self._emit_source(batch)
        self._advance_operators(NEVER)

    def tick(self) -> None:
        """The source has nothing now: time may go on nevertheless (processing time)."""
        self._advance_operators(NEVER)

    def end(self) -> None:
        """All inputs have ended."""
        for exchange in self.exchanges:  # So that receivers can tell the time that was reached from the end of time.
            exchange.flush()
        self._advance(ALWAYS)
        for operator_plan in self.stage.operators:  # In topological order.
            self.operators[operator_plan.id].finish(self._emits[operator_plan.id])
        for exchange in self.exchanges:
            exchange.end()

    def barrier(self, number: int) -> None:
        """Send the barrier on, and snapshot."""
        for exchange in self.exchanges:
            exchange.barrier(number)
        self.on_snapshot(number, self._pickled(number))

    def flush(self) -> list[Sending]:
        """All that is to be sent now."""
        for exchange in self.exchanges:
            exchange.flush()
        return self.take_outbox()

    def take_outbox(self) -> list[Sending]:
        """What is to be sent, without pressing exchanges for what they still aggregate."""
        sendings: list[Sending] = []
        for exchange in self.exchanges:
            if exchange.outbox:
                for place, message in exchange.outbox:
                    if isinstance(message, Batch | Partial):
                        self.records_out += len(message)
                    sendings.append((exchange.plan.id, place, message))
                exchange.outbox = []
        return sendings

    # ---------------------------------------------------------------- time

    def _advance(self, time_s: float) -> None:
        if time_s > self.watermark_s:
            self.watermark_s = time_s
            self._advance_operators(time_s)

    def _advance_operators(self, time_s: float) -> None:
        """Tell each operator the watermark that those before it hand on."""
        operators = self.stage.operators
        times: dict[int, float] = {}
        if self.stage.source is not None:
            times = dict.fromkeys(self.stage.source_outputs, time_s)
        elif operators:
            times = {operators[0].id: time_s}
        for operator_plan in operators:
            operator = self.operators[operator_plan.id]
            here = times[operator_plan.id]
            if here > NEVER:
                operator.advance(here, self._emits[operator_plan.id])
            after = operator.watermark(here)
            times[operator_plan.id] = after
            for _, target, _ in operator_plan.outputs:
                times[target] = after
        for exchange in self.exchanges:
            after = times.get(exchange.plan.from_operator, time_s)
            if after > exchange.watermark_s:
                exchange.watermark_s = after
        if self.stage.source is not None and operators:
            self.watermark_s = max(self.watermark_s, times[operators[-1].id])

    # ---------------------------------------------------------------- emitting

    def _emit_of(self, plan: OperatorPlan) -> Emit:
        targets: dict[str, list[tuple[int, int]]] = {}
        for side, target, port in plan.outputs:
            targets.setdefault(side, []).append((target, port))
        return self._emit_to(targets, plan.id)

    def _emit_to(self, targets: dict[str, list[tuple[int, int]]], origin: int) -> Emit:
        operators, emits = self.operators, self._emits
        exchanges: dict[str, list[Exchange]] = {}
        for exchange in self.exchanges:
            if exchange.plan.from_operator == origin:
                exchanges.setdefault(exchange.plan.side, []).append(exchange)
        direct = targets.get("", [])
        if len(direct) == 1 and not exchanges.get(""):  # The common case: one operator follows.
            target, port = direct[0]

            def emit_one(batch: Any, side: str = "") -> None:
                if side:
                    self._emit_side(batch, side, targets, exchanges)
                elif len(batch):
                    operators[target].process(batch, emits[target], port)

            return emit_one

        def emit(batch: Any, side: str = "") -> None:
            if side:
                self._emit_side(batch, side, targets, exchanges)
            elif len(batch):
                for target, port in direct:
                    operators[target].process(batch, emits[target], port)
                for exchange in exchanges.get("", ()):
                    exchange.add(batch)

        return emit

    def _emit_side(
        self, batch: Any, side: str, targets: dict[str, list[tuple[int, int]]], exchanges: dict[str, list[Exchange]]
    ) -> None:
        assert side in (ERRORS, LATE), side
        for target, port in targets.get(side, ()):
            self.operators[target].process(batch, self._emits[target], port)
        for exchange in exchanges.get(side, ()):
            exchange.add(batch)

    # ---------------------------------------------------------------- state

    def _pickled(self, snapshot_number: int) -> bytes:
        states: dict[Any, Any] = {}
        for number, operator in self.operators.items():
            operator.snapshot_number = snapshot_number
            state = operator.snapshot()
            if state is not None:
                states[number] = state
        for exchange in self.exchanges:
            held = exchange.snapshot()
            if held is not None:
                states[EXCHANGE, exchange.plan.id] = held
        if self.source_positions is not None:
            states["source"] = self.source_positions()
        try:
            return pickle.dumps(states, protocol=5)
        except Exception:
            return self._pickled_by_value(states)

    def _pickled_by_value(self, states: dict[Any, Any]) -> bytes:
        from skate import cloudpickle

        parts = {}
        for number, state in states.items():
            try:
                parts[number] = cloudpickle.dumps(state)
            except Exception as error:
                name = self._name_of_state(number)
                raise StreamError(
                    f"the state of {name} can't be pickled ({type(error).__name__}: {error}), so no snapshot of it can be taken; "
                    f"keep plain values in it (numbers, strings, lists, dicts, dataclasses), not open files, locks or generators"
                ) from error
        data: bytes = cloudpickle.dumps(states)
        return data

    def _name_of_state(self, key: Any) -> str:
        if key in self.operators:
            return self.operators[key].name
        for exchange in self.exchanges:
            if key == (EXCHANGE, exchange.plan.id):
                return self._plan.stages[exchange.plan.to_stage].operators[0].operator.name
        return "the source"

    def restore(self, parts: list[dict[Any, Any]]) -> None:
        """Take over the states of an earlier run's subtasks of this stage, in the order of their indexes."""
        for number, operator in self.operators.items():
            states = [part[number] for part in parts if number in part]
            if states:
                operator.restore(states, self._owns)
        for exchange in self.exchanges:
            # It is nobody's in particular: as many senders as there are now share what senders held.
            held = [part[EXCHANGE, exchange.plan.id] for part in parts if (EXCHANGE, exchange.plan.id) in part]
            mine = held[self.index :: self.stage.parallelism]
            if mine:
                exchange.restore(mine)

    def _owns(self, key: Any) -> bool:
        return place_of(key, self.stage.parallelism) == self.index

    def measures(self) -> dict[str, Any]:
        return {
            "records_in": self.records_in,
            "records_out": self.records_out,
            "watermark_s": self.watermark_s if abs(self.watermark_s) != ALWAYS else None,
            "state_keys": sum(operator.state_size() for operator in self.operators.values())
            + sum(exchange.held_size() for exchange in self.exchanges),
            "skipped": sum(operator.skipped for operator in self.operators.values()),
            "late": sum(operator.late for operator in self.operators.values()),
            "waiting": sum(map(len, self._waiting.values())),
        }
