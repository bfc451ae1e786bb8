"""What always holds, whatever is done in whatever order: Hypothesis looks for the shortest counterexample.

*free + held = total* · *no worker is granted twice* · *each request is answered or waits* · *no dead actor has a name*: these are checked by
`check_invariants` and by the simulator's shell after every event. Here are the steps, and what must hold between them.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from skate.engine.spec import events as e, messages as m
from skate.testing import SimulatedActor, SimulatedProcess, Simulator

_RESOURCES = st.sampled_from([{"CPU": 1}, {"CPU": 2}, {"CPU": 0.5}, {"GPU": 0.5}, {"GPU": 1, "CPU": 1}, {}])


class SchedulerRules(RuleBasedStateMachine):
    drivers: Bundle[SimulatedProcess] = Bundle("drivers")
    actors: Bundle[SimulatedActor] = Bundle("actors")
    groups: Bundle[bytes] = Bundle("groups")

    @initialize(target=drivers, seed=st.integers(0, 3))
    def start(self, seed: int) -> SimulatedProcess:
        self.simulator = Simulator(seed, num_cpus=2, num_gpus=1, replay="pytest tests/simulation/test_rules.py")
        self.everybody = [self.simulator.driver]
        self.all_actors: list[SimulatedActor] = []
        self.all_groups: list[bytes] = []
        return self.simulator.driver

    @rule(target=drivers)
    def join(self) -> SimulatedProcess:
        driver = self.simulator.join()
        self.everybody.append(driver)
        return driver

    @rule(driver=drivers, resources=_RESOURCES, count=st.integers(1, 4), children=st.integers(0, 2), retires=st.booleans())
    def submit(self, driver: SimulatedProcess, resources: dict[str, float], count: int, children: int, retires: bool) -> None:
        for _ in range(count):
            driver.submit("task", resources=resources, children=[{"duration_s": 0.001}] * children, retires=retires)

    @rule(
        target=actors, driver=drivers, name=st.sampled_from(["", "a"]), restarts=st.sampled_from([0, 1, -1]), resources=_RESOURCES
    )
    def create_actor(self, driver: SimulatedProcess, name: str, restarts: int, resources: dict[str, float]) -> SimulatedActor:
        actor = driver.create_actor(name=name, max_restarts=restarts, resources=resources)
        self.all_actors.append(actor)
        return actor

    @rule(driver=drivers, actor=actors, no_restart=st.booleans())
    def kill_actor(self, driver: SimulatedProcess, actor: SimulatedActor, no_restart: bool) -> None:
        driver.post(m.KillActor(actor.id, no_restart))

    @rule(driver=drivers, actor=actors)
    def drop_actor(self, driver: SimulatedProcess, actor: SimulatedActor) -> None:
        driver.drop_actor(actor)

    @rule(driver=drivers, actor=actors)
    def watch_actor(self, driver: SimulatedProcess, actor: SimulatedActor) -> None:
        driver.watch_actor(actor)

    @rule(
        target=groups,
        driver=drivers,
        bundles=st.lists(st.sampled_from([{"CPU": 1}, {"GPU": 0.5}, {"CPU": 2}]), min_size=1, max_size=2),
    )
    def create_group(self, driver: SimulatedProcess, bundles: list[dict[str, float]]) -> bytes:
        group = driver.create_group(bundles)
        self.all_groups.append(group)
        return group

    @rule(driver=drivers, group=groups)
    def submit_in_group(self, driver: SimulatedProcess, group: bytes) -> None:
        driver.submit("in_group", group=group)

    @rule(driver=drivers, group=consumes(groups))
    def remove_group(self, driver: SimulatedProcess, group: bytes) -> None:
        driver.post(m.RemovePlacementGroup(group))

    @rule(position=st.integers(0, 20))
    def kill_worker(self, position: int) -> None:
        workers = self.simulator.workers
        if workers:
            self.simulator.kill(workers[position % len(workers)])

    @rule()
    def press_memory(self) -> None:
        self.simulator.handle(0, e.MemoryPressure(9 * 10**9, 10**10))

    @rule(target=drivers, driver=consumes(drivers))
    def leave_and_come_again(self, driver: SimulatedProcess) -> SimulatedProcess:
        self.simulator.leave(driver, crashed=True)
        return self.join()

    @rule(duration_s=st.sampled_from([0.0001, 0.001, 0.01, 0.3]))
    def let_time_pass(self, duration_s: float) -> None:
        self.simulator.run_for(duration_s)

    @rule(target=actors)
    def nothing(self) -> object:
        return multiple()

    @invariant()
    def free_resources_are_within_what_there_is(self) -> None:
        if not hasattr(self, "simulator"):
            return
        resources = self.simulator.scheduler.describe("resources")
        assert isinstance(resources, dict)
        assert all(0 <= resources["available"][name] <= total for name, total in resources["total"].items())

    def teardown(self) -> None:
        """Everything comes to rest, and nothing is left."""
        if not hasattr(self, "simulator"):
            return
        simulator = self.simulator
        simulator.run_for(0.01)
        latest = simulator.join()
        for actor in self.all_actors:
            latest.post(m.KillActor(actor.id, True))
        for group in self.all_groups:
            latest.post(m.RemovePlacementGroup(group))
        simulator.run_until(
            lambda: all(task.is_settled() for driver in self.everybody if driver.is_alive for task in driver.tasks), timeout_s=300
        )
        for driver in [*self.everybody, latest]:
            simulator.leave(driver)
        simulator.run_until(lambda: not simulator.processes, timeout_s=60)
        resources = simulator.scheduler.describe("resources")
        assert isinstance(resources, dict)
        assert resources["total"] == resources["available"]


SchedulerRules.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestSchedulerRules = SchedulerRules.TestCase
