"""Graph: a program as nodes, and its plan: stages of operators that run in one subtask, joined by exchanges.

    source ─ map ─ flat_map ─ key_by ══ exchange by key ══ reduce ─ map ══ exchange to one ══ top_k ─ sink
    └────────── stage 0 ───────────┘                      └─ stage 1 ─┘                     └─ stage 2 ─┘

Pure. The fingerprint says what a snapshot means: the operators with state, their settings, and the code of the functions that give the
state its meaning.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from skate.streaming.errors import SnapshotMismatchError
from skate.streaming.operators.base import Operator
from skate.streaming.sources.base import Source

FORWARD, KEY, ONE, BALANCE = "forward", "key", "one", "balance"


@dataclass(eq=False)
class Node:
    operator: Operator | None
    source: Source | None = None
    inputs: list[tuple[Node, str, str]] = field(default_factory=list)  # (node, side output, how)
    parallelism: int | None = None
    collects: bool = False  # Takes the dead letters of the operators before it.


@dataclass
class OperatorPlan:
    id: int
    operator: Operator
    outputs: list[tuple[str, int, int]] = field(default_factory=list)  # (side, operator id, port) in the same stage.


@dataclass
class ExchangePlan:
    id: int
    from_stage: int
    from_operator: int  # -1: the source itself.
    side: str
    to_stage: int
    port: int
    how: str


@dataclass
class StagePlan:
    id: int
    parallelism: int
    source: Source | None
    operators: list[OperatorPlan] = field(default_factory=list)  # The first is the head; a source stage may have none.
    inputs: list[ExchangePlan] = field(default_factory=list)
    outputs: list[ExchangePlan] = field(default_factory=list)
    source_outputs: list[int] = field(default_factory=list)  # Operators of this stage that the source feeds.

    @property
    def name(self) -> str:
        names = [self.source.name] if self.source is not None else []
        return " → ".join(names + [plan.operator.name for plan in self.operators])


@dataclass
class Plan:
    stages: list[StagePlan]

    def subtasks(self) -> list[tuple[int, int]]:
        return [(stage.id, index) for stage in self.stages for index in range(stage.parallelism)]

    def sources(self) -> list[tuple[int, int]]:
        return [(stage.id, index) for stage in self.stages if stage.source is not None for index in range(stage.parallelism)]


def nodes_of(sinks: Sequence[Node]) -> list[Node]:
    """The nodes that feed these sinks, and they themselves."""
    found: dict[int, Node] = {}
    left = list(sinks)
    while left:
        node = left.pop()
        if id(node) not in found:
            found[id(node)] = node
            left += [upstream for upstream, _, _ in node.inputs]
    return list(found.values())


def modules_of(nodes: Sequence[Node]) -> list[str]:
    """What the workers of these nodes import: the parts of this package, and what the parts name as slow to import."""
    modules: set[str] = set()
    for node in nodes:
        for part in (node.operator, node.source):
            if part is not None:
                own = type(part).__module__
                modules.update(part.imports, [own] if own.startswith(__package__) else ())
    return sorted(modules)


def make_plan(sinks: Sequence[Node], parallelism: int) -> Plan:
    """The stages that feed the sinks."""
    order: list[Node] = []
    seen: set[int] = set()

    def visit(node: Node) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if node.collects:  # Only from operators that run anyway.
            node.inputs = [entry for entry in node.inputs if id(entry[0]) in seen]
        for upstream, _, _ in node.inputs:
            visit(upstream)
        order.append(node)

    def collects(sink: Node) -> bool:
        return any(upstream.collects for upstream, _, _ in sink.inputs)

    for sink in sorted(sinks, key=collects):  # Collectors last.
        if not collects(sink) or any(id(entry[0]) in seen for entry in sink.inputs[0][0].inputs):
            visit(sink)
    stages: list[StagePlan] = []
    stage_of: dict[int, StagePlan] = {}
    operator_of: dict[int, OperatorPlan | None] = {}
    exchanges = 0
    for number, node in enumerate(order):
        starts_stage = node.source is not None or len(node.inputs) != 1 or node.inputs[0][2] != FORWARD
        if starts_stage:
            places = 1 if any(how == ONE for _, _, how in node.inputs) else node.parallelism or parallelism
            if node.source is not None and node.source.parallelism_max is not None:
                places = min(places, node.source.parallelism_max)
            stage = StagePlan(len(stages), places, node.source)
            stages.append(stage)
        else:
            stage = stage_of[id(node.inputs[0][0])]
        stage_of[id(node)] = stage
        plan = None
        if node.operator is not None:
            plan = OperatorPlan(number, node.operator)
            stage.operators.append(plan)
        operator_of[id(node)] = plan
        for port, (upstream, side, how) in enumerate(node.inputs):
            source_plan = operator_of[id(upstream)]
            if not starts_stage:
                assert plan is not None
                if source_plan is None:
                    stage.source_outputs.append(plan.id)
                else:
                    source_plan.outputs.append((side, plan.id, 0))
                continue
            origin = stage_of[id(upstream)]
            exchange = ExchangePlan(
                exchanges,
                origin.id,
                -1 if source_plan is None else source_plan.id,
                side,
                stage.id,
                port,
                BALANCE if how == FORWARD else how,
            )
            exchanges += 1
            origin.outputs.append(exchange)
            stage.inputs.append(exchange)
    return Plan(stages)


# ---------------------------------------------------------------- does a snapshot fit?


def fingerprint_of(plan: Plan) -> dict[str, Any]:
    """What must be the same for a snapshot to fit, JSON-able."""
    entries = []
    for stage in plan.stages:
        if stage.source is not None:
            entries.append(
                {"id": f"s{stage.id}", "kind": f"source {stage.source.kind}", "settings": stage.source.settings(), "code": {}}
            )
        for operator_plan in stage.operators:
            operator = operator_plan.operator
            code = {name: hash_of_code(function) for name, function in operator.functions().items() if function is not None}
            entries.append(
                {
                    "id": str(operator_plan.id),
                    "kind": operator.kind,
                    "settings": {key: repr(value) for key, value in operator.settings().items()},
                    "code": code,
                }
            )
    return {"entries": entries}


def check_fit(old: dict[str, Any], new: dict[str, Any], *, accept_changed_code: bool = False) -> None:
    """Raises SnapshotMismatchError with the first difference that matters."""
    before, now = old["entries"], new["entries"]
    advice = "Continue with the program that made the snapshot, or start anew with an empty snapshot directory and empty outputs."
    kinds_before, kinds_now = [entry["kind"] for entry in before], [entry["kind"] for entry in now]
    if kinds_before != kinds_now:
        raise SnapshotMismatchError(
            "the snapshot was made by another program:\n"
            f"  then: {' → '.join(kinds_before)}\n  now:  {' → '.join(kinds_now)}\n  {advice}"
        )
    for one, other in zip(before, now, strict=True):
        if one["settings"] != other["settings"]:
            changed = [
                f"{key}: then {one['settings'].get(key)}, now {other['settings'].get(key)}"
                for key in sorted({*one["settings"], *other["settings"]})
                if one["settings"].get(key) != other["settings"].get(key)
            ]
            raise SnapshotMismatchError(
                f"the settings of {one['kind']} do not fit the snapshot: {'; '.join(changed)}.\n  {advice}"
            )
        if one["code"] != other["code"] and not accept_changed_code:
            names = sorted(key for key in {*one["code"], *other["code"]} if one["code"].get(key) != other["code"].get(key))
            raise SnapshotMismatchError(
                f"the code of {one['kind']} ({', '.join(names)}) is not the code that made the state in the snapshot.\n"
                f"  If the state still has the same meaning: run(…, accept_changed_code=True). Otherwise: {advice}"
            )


def hash_of_code(function: Any) -> str:
    """A hash of what a function does: its byte code, constants and names; not where it stands."""
    digest = hashlib.blake2b(digest_size=8)
    for text in _code_of(function):
        digest.update(text.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()


def _code_of(function: Any) -> Iterable[str]:
    if isinstance(function, type):
        yield function.__name__
        for name, value in sorted(vars(function).items()):
            if callable(value) or isinstance(value, staticmethod | classmethod):
                yield name
                yield from _code_of(value)
        return
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None:
        yield getattr(function, "__qualname__", type(function).__qualname__)
        return
    yield from _texts_of(code)
    yield repr(getattr(function, "__defaults__", None))


def _texts_of(code: types.CodeType) -> Iterable[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _texts_of(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)
