"""Random programs under random faults, from one seed: `python -m skate.testing.random_program --seed 7`.

Drivers come and go, submit tasks of all shapes with children, create and drop actors and placement groups, while workers and nodes die,
workers fail to start, and memory runs short. Then the faults end, and everything must come to rest: every task of a driver that lives is
settled, and when the drivers have left, no process is left and everything is free.
"""

from __future__ import annotations

import sys
from typing import Any

from skate.engine.scheduler import SchedulerConfig
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import NODE_CLIENT
from skate.testing.simulated_processes import SimulatedActor, SimulatedProcess
from skate.testing.simulator import Simulator


def run_random_program(seed: int, *, actions: int = 200, has_faults: bool = True) -> Simulator:
    """Run one to its end.

    Raises:
        SimulationError: Something that must hold did not; it says how to replay.
    """
    return _RandomProgram(seed, actions, has_faults=has_faults).run()


class _RandomProgram:
    def __init__(self, seed: int, actions: int, *, has_faults: bool) -> None:
        self.simulator = Simulator(
            seed, num_cpus=4, num_gpus=2, resources={"custom": 2}, config=SchedulerConfig(actor_backoff_max_s=1)
        )
        self.dice = self.simulator.dice
        self.simulator.bad_envs = {'{"pip": ["bad"]}'}
        self.actions = actions
        self.garbled = 0
        self.drivers: list[SimulatedProcess] = [self.simulator.driver]
        self.actors: list[tuple[SimulatedProcess, SimulatedActor]] = []
        self.groups: list[tuple[SimulatedProcess, bytes]] = []
        self.choices: list[Any] = [self.submit] * 10 + [self.create_actor] * 3 + [self.end_actor] * 3 + [self.create_group]
        self.choices += [self.remove_group, self.submit_in_group, self.watch, self.join]
        if has_faults:
            self.choices += [self.kill_worker] * 4 + [
                self.leave,
                self.add_node,
                self.remove_node,
                self.press_memory,
                self.garble,
                self.fail_starts,
            ]

    def run(self) -> Simulator:
        simulator = self.simulator
        for _ in range(self.actions):
            self.dice.choice(self.choices)()
            simulator.run_for(self.dice.choice((0.0, 0.0001, 0.001, 0.01, 0.1)))
        self.come_to_rest()
        return simulator

    # ------------------------------------------------------------ what programs do

    def driver(self) -> SimulatedProcess:
        return self.dice.choice(self.drivers)

    def shape(self) -> dict[str, Any]:
        dice = self.dice
        env = dice.choice(("", "", "", '{"env_vars": {"A": "1"}}', '{"pip": ["good"]}', '{"pip": ["bad"]}'))
        resources = dice.choice(
            ({"CPU": 1}, {"CPU": 1}, {"CPU": 2}, {"CPU": 0.5}, {"CPU": 4}, {"CPU": 1, "GPU": 0.5}, {"GPU": 1}, {"custom": 1}, {})
        )
        return {
            "resources": resources, "env": env, "duration_s": dice.choice((0.0001, 0.001, 0.02, 0.5)), "max_retries": dice.choice((0, 1, 3)),
            "strategy": dice.choice(("DEFAULT", "DEFAULT", "SPREAD")), "retires": dice.random() < 0.1,
        }  # fmt: skip

    def children(self, depth: int) -> list[dict[str, Any]]:
        if depth == 0 or self.dice.random() < 0.5:
            return []
        count = self.dice.randint(1, 3)
        return [{"children": self.children(depth - 1), "duration_s": 0.001, "max_retries": 1} for _ in range(count)]

    def submit(self) -> None:
        driver, shape, children = self.driver(), self.shape(), self.children(3)
        for _ in range(self.dice.choice((1, 1, 2, 10))):
            driver.submit("task", children=children, **shape)

    def create_actor(self) -> None:
        dice, driver = self.dice, self.driver()
        actor = driver.create_actor(
            "Actor", name=dice.choice(("", "", "a", "b")), detached=dice.random() < 0.2, max_restarts=dice.choice((0, 1, 3, -1)),
            get_if_exists=dice.random() < 0.5, resources=dice.choice(({}, {}, {"CPU": 1}, {"GPU": 0.5})),
            constructor=dice.choice(("", "", "", "fails", "crashes")), env=dice.choice(("", '{"pip": ["good"]}')),
        )  # fmt: skip
        self.actors.append((driver, actor))

    def end_actor(self) -> None:
        if not self.actors:
            return
        driver, actor = self.dice.choice(self.actors)
        sender = self.driver()
        how = self.dice.randint(0, 4)
        if how == 0:
            driver.drop_actor(actor)
        elif how == 1:
            sender.post(m.TerminateActor(actor.id))
        elif how == 2:
            sender.post(m.KillActor(actor.id, False))
        elif how == 3:
            sender.post(m.KillActor(actor.id, True))
        else:
            sender.post(m.GetNamedActor(1, self.dice.choice("ab"), "test"))

    def watch(self) -> None:
        if self.actors:
            self.driver().watch_actor(self.dice.choice(self.actors)[1])

    def create_group(self) -> None:
        dice, driver = self.dice, self.driver()
        bundles = dice.choice(
            ([{"CPU": 1}], [{"CPU": 1}, {"CPU": 1}], [{"CPU": 2}, {"GPU": 1}], [{"CPU": 3}], [{"CPU": 1, "GPU": 0.5}] * 2)
        )
        strategy = dice.choice(("PACK", "SPREAD", "STRICT_PACK"))
        self.groups.append((driver, driver.create_group(bundles, strategy, detached=dice.random() < 0.2)))

    def remove_group(self) -> None:
        if self.groups:
            self.driver().post(m.RemovePlacementGroup(self.groups.pop(self.dice.randrange(len(self.groups)))[1]))

    def submit_in_group(self) -> None:
        if self.groups:
            _, group = self.dice.choice(self.groups)
            if self.dice.random() < 0.5:
                self.driver().submit("in_group", group=group, bundle=self.dice.choice((-1, 0, 1)))
            else:
                driver = self.driver()
                self.actors.append((driver, driver.create_actor("InGroup", group=group, max_restarts=1)))

    def join(self) -> None:
        if len(self.drivers) < 3:
            self.drivers.append(self.simulator.join())

    # ------------------------------------------------------------ what goes wrong

    def kill_worker(self) -> None:
        if self.simulator.workers:
            self.simulator.kill(self.dice.choice(self.simulator.workers))

    def leave(self) -> None:
        if len(self.drivers) > 1 and self.dice.random() < 0.3:
            self.simulator.leave(self.drivers.pop(self.dice.randrange(len(self.drivers))), crashed=self.dice.random() < 0.5)

    def add_node(self) -> None:
        if len(self.simulator.nodes) < 3:
            self.simulator.add_node(num_cpus=2, num_gpus=1)

    def remove_node(self) -> None:
        if len(self.simulator.nodes) > 1 and self.dice.random() < 0.5:
            self.simulator.remove_node(self.simulator.nodes[-1])

    def press_memory(self) -> None:
        self.simulator.handle(NODE_CLIENT, e.MemoryPressure(96 * 10**9, 100 * 10**9))

    def fail_starts(self) -> None:
        self.simulator.failed_starts = self.dice.choice((0.0, 0.0, 0.3))

    def fresh(self) -> int:
        self.garbled += 1
        return self.garbled

    def garble(self) -> None:
        """Messages that make no sense, as from a broken client."""
        dice = self.dice
        sender: SimulatedProcess = dice.choice([*self.drivers, *self.simulator.workers])
        someone = dice.choice([b"", b"x" * 16, *(actor.id for _, actor in self.actors), *(group for _, group in self.groups)])
        number = dice.randint(0, 100)
        sender.post(
            dice.choice(
                [
                    m.ReturnLease(number), m.ReturnLease(number, True), m.CancelLeaseRequest(number + 1_000_000), m.KillLease(number), m.Blocked(),
                    m.Unblocked(), m.CancelTask(number, b"", True), m.ActorReady(someone), m.ActorCreationFailed(someone, b""),
                    m.ActorExiting(someone, ""), m.ConnectActor(someone), m.TerminateActor(someone), m.RemovePlacementGroup(b"y" * 16),
                    m.RequestLease(-self.fresh(), {"CPU": -1}), m.CreatePlacementGroup(someone, [], "?", "", "", False),
                    m.RequestLease(-self.fresh(), {"CPU": 1}, placement_group=b"z" * 16), m.GetPlacementGroup(1, "none", "test"),
                    m.ListNamedActors(1, "test", True),
                ]
            )
        )  # fmt: skip

    # ------------------------------------------------------------ the end

    def come_to_rest(self) -> None:
        simulator = self.simulator
        simulator.failed_starts = 0.0
        # Actors and groups may hold for ever what tasks wait for: they go first.
        simulator.run_for(1.0)
        for driver in self.drivers:
            for actor in driver.actors.values():
                driver.post(m.KillActor(actor.id, True))
        for _, group in self.groups:
            self.drivers[0].post(m.RemovePlacementGroup(group))
        for row in simulator.scheduler.describe("actors"):
            assert isinstance(row, dict)
            if row["is_detached"]:
                self.drivers[0].post(m.KillActor(bytes.fromhex(row["actor_id"]), True))
        simulator.run_until(lambda: all(task.is_settled() for driver in self.drivers for task in driver.tasks), timeout_s=600)
        for driver in self.drivers:
            simulator.leave(driver)
        simulator.run_until(lambda: not simulator.processes, timeout_s=60)
        resources = simulator.scheduler.describe("resources")
        assert isinstance(resources, dict)
        if resources["total"] != resources["available"]:
            simulator.fail(f"not all is free at the end: {resources}")


def main(arguments: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m skate.testing.random_program", description="Run random programs under random faults."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1, help="run so many seeds, from SEED on")
    parser.add_argument("--actions", type=int, default=200)
    options = parser.parse_args(arguments)
    for seed in range(options.seed, options.seed + options.count):
        simulator = run_random_program(seed, actions=options.actions)
        sys.stdout.write(f"seed {seed}: {simulator.events_handled} events, {simulator.now_s:.1f} simulated seconds\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
