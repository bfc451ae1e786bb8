"""A scheduler with a hand on its clock: what it is told, and what it answers."""

from __future__ import annotations

from typing import Any, TypeVar

from skate.engine.scheduler import Scheduler, SchedulerConfig, check_invariants
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import NODE_CLIENT, ClientId, IdFactory
from skate.engine.spec.resources import to_units

C = TypeVar("C")
NODE = b"n" * 16


class Rig:
    def __init__(self, **config: Any) -> None:
        self.scheduler = Scheduler(SchedulerConfig(**config))
        self.now_s = 0.0
        self.commands: list[e.Command] = []  # Of the last event.
        self._ids: dict[int, IdFactory] = {}
        self._request = 0

    def tell(self, client: int, event: e.Event | m.Message) -> list[e.Command]:
        self.commands = self.scheduler.handle(client, event, self.now_s)
        check_invariants(self.scheduler)
        return self.commands

    def node(self, node: bytes = NODE, labels: dict[str, str] | None = None, **amounts: float) -> None:
        self.tell(NODE_CLIENT, e.NodeAdded(node, to_units(amounts), labels or {}))

    def driver(self, namespace: str = "ns") -> int:
        number = self.scheduler.next_client_id()
        self.tell(NODE_CLIENT, e.ClientJoined(number, "driver", number, namespace, ""))
        return number

    def wait(self, seconds: float) -> list[e.Command]:
        """Let time pass, with a Tick whenever the scheduler wants one; returns all commands."""
        end_s = self.now_s + seconds
        commands: list[e.Command] = []
        for _ in range(10_000):
            deadline_s = self.scheduler.next_deadline_s()
            if deadline_s is None or deadline_s > end_s:
                self.now_s = end_s
                self.commands = commands
                return commands
            self.now_s = max(self.now_s, deadline_s)
            commands += self.tell(NODE_CLIENT, e.Tick())
        raise AssertionError("the scheduler asks for one Tick after the other")

    # ------------------------------------------------------------ leases

    def request(self, client: int, amounts: dict[str, float] | None = None, **fields: Any) -> int:
        self._request += 1
        self.tell(client, m.RequestLease(self._request, to_units({"CPU": 1} if amounts is None else amounts), **fields))
        return self._request

    def lease(self, client: int, amounts: dict[str, float] | None = None, **fields: Any) -> e.Grant:
        """Request one that is granted at once."""
        self.request(client, amounts, **fields)
        return self.one(e.Grant)

    def give_back(self, grant: e.Grant, *, retire: bool = False) -> list[e.Command]:
        return self.tell(grant.client, m.ReturnLease(grant.lease, retire))

    def die(self, worker: int, kind: str = "signal", detail: str = "killed by signal 9 (SIGKILL)") -> list[e.Command]:
        return self.tell(NODE_CLIENT, e.WorkerExited(worker, kind, detail))

    # ------------------------------------------------------------ actors and groups

    def new_id(self, client: int) -> bytes:
        return self._ids.setdefault(client, IdFactory(b"test", ClientId(client))).next_task_id()

    def spec(self, client: int, **fields: Any) -> m.ActorSpec:
        values: dict[str, Any] = {
            "actor": self.new_id(client), "class_name": "Counter", "definition": m.Value(0, b"class"), "args": m.Value(0, b"args"),
            "arg_refs": [], "name": "", "namespace": "ns", "detached": False, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 1,
            "concurrency_groups": {}, "is_async": False, "max_pending_calls": -1, "placement_resources": {"CPU": 10_000},
            "running_resources": {}, "env": "", "strategy": "DEFAULT", "placement_group": b"", "bundle": -1, "node": b"", "soft": False,
            "labels": {}, "handle_meta": b"meta",
        }  # fmt: skip
        return m.ActorSpec(**(values | fields))

    def create(self, client: int, *, get_if_exists: bool = False, **fields: Any) -> m.ActorSpec:
        spec = self.spec(client, **fields)
        self.tell(client, m.CreateActor(1, spec, get_if_exists))
        return spec

    def living_actor(self, client: int, **fields: Any) -> tuple[m.ActorSpec, int]:
        """(spec, worker) of an actor that is watched by its creator and whose constructor has returned."""
        spec = self.create(client, **fields)
        worker = self.one(e.StartActor).worker
        self.tell(client, m.ConnectActor(spec.actor))
        self.tell(worker, m.ActorReady(spec.actor))
        return spec, worker

    def group(
        self, client: int, *bundles: dict[str, float], strategy: str = "PACK", name: str = "", detached: bool = False
    ) -> bytes:
        group = self.new_id(client)
        self.tell(client, m.CreatePlacementGroup(group, [to_units(bundle) for bundle in bundles], strategy, name, "ns", detached))
        return group

    # ------------------------------------------------------------ what was answered

    def all(self, kind: type[C]) -> list[C]:
        """Commands, or messages in Send commands, of this kind, in answer to the last event."""
        found: list[C] = [command for command in self.commands if isinstance(command, kind)]
        found += [
            command.message for command in self.commands if isinstance(command, e.Send) and isinstance(command.message, kind)
        ]
        return found

    def one(self, kind: type[C]) -> C:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} × {kind.__name__} in {self.commands}"
        return found[0]

    def free(self, name: str = "CPU") -> float:
        resources = self.scheduler.describe("resources")
        assert isinstance(resources, dict)
        return resources["available"].get(name, 0) / 10_000
