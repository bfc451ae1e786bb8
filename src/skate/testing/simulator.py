"""A machine in a box: the very scheduler that ships, with a fake shell around it, on a clock that only the simulator moves.

    processes ──mail, in order per socket, at random speed──► Scheduler.handle ──commands──► fake shell ──► processes

All dice come from one seed, so a run can be repeated exactly; a failure names its seed and the command that replays it. After every event the
invariants are checked, and the shell checks by itself what it is told: no worker is granted twice, each request is answered once, a dead
process is given no work. Times are simulated seconds: an hour costs as long as its events take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from skate.engine.scheduler import Scheduler, SchedulerConfig, check_invariants
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import NODE_CLIENT
from skate.engine.spec.resources import to_units
from skate.testing.simulated_processes import SimulatedActor, SimulatedProcess, SimulatedTask, SimulatedWorker

_STEPS_MAX = 2_000_000
_IDLE_TICKS_MAX = 100
_IDLE_TICKS_PER_S_MAX = 2


class SimulationError(AssertionError):
    """Something that must hold did not; the message says how to see it again."""


class Simulator:
    """One node process with everybody around it.

    Args:
        seed: Of all dice.
        num_cpus, num_gpus, resources: Of the first node, as amounts.
        latency_s: A message takes up to this long.
        failed_starts: Share of workers that end before they came up.
        replay: The command that shows a failure again; the default replays `skate.testing.random_program`.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        num_cpus: float = 2,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        config: SchedulerConfig | None = None,
        latency_s: float = 0.0005,
        failed_starts: float = 0.0,
        replay: str = "",
    ) -> None:
        self.seed = seed
        self.dice = Random(seed)
        self.now_s = 0.0
        self.latency_s = latency_s
        self.failed_starts = failed_starts
        self.bad_envs: set[str] = set()  # Their preparation fails.
        self.replay = replay or f"python -m skate.testing.random_program --seed {seed}"
        self.scheduler = Scheduler(config or SchedulerConfig())
        self.processes: dict[int, SimulatedProcess] = {}  # Those that live, by client number.
        self.nodes: list[bytes] = []
        self.history: deque[str] = deque(maxlen=300)  # The last events and commands, for the message of a failure.
        self.events_handled = 0
        self.holders: list[tuple[bytes, int | bytes]] = []  # Every AddHolder.
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._mail_s: dict[
            tuple[str, int], float
        ] = {}  # When the last message of a socket arrives: the next one does not overtake it.
        self._answered: set[tuple[int, int]] = set()
        self._tick_s = float("inf")
        self._idle_ticks = 0
        self._idle_since_s = 0.0
        self.add_node(num_cpus=num_cpus, num_gpus=num_gpus, resources=resources)
        self.driver = self.join()

    # ------------------------------------------------------------ who is there

    def add_node(
        self,
        *,
        num_cpus: float = 2,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> bytes:
        node = b"node" + (len(self.nodes) + 1).to_bytes(12, "big")
        self.nodes.append(node)
        total = to_units({"CPU": num_cpus, "GPU": num_gpus, **(resources or {})})
        self.handle(NODE_CLIENT, e.NodeAdded(node, total, dict(labels or {})))
        return node

    def remove_node(self, node: bytes) -> None:
        self.nodes.remove(node)
        self.handle(NODE_CLIENT, e.NodeRemoved(node))

    def join(self, namespace: str = "test") -> SimulatedProcess:
        """One more driver."""
        number = self.scheduler.next_client_id()
        driver = self.processes[number] = SimulatedProcess(self, number, number, namespace)
        self.handle(NODE_CLIENT, e.ClientJoined(number, "driver", number, namespace, ""))
        return driver

    def leave(self, driver: SimulatedProcess, *, crashed: bool = False) -> None:
        """A driver ends, on purpose or not. What it had sent is still read."""
        if driver.is_alive:
            driver.is_alive = False
            self.at(self._arrival_s("up", driver.number), lambda: self._gone(driver, e.ClientGone(driver.number, crashed)))

    def kill(
        self, process: SimulatedProcess | int | None, kind: str = "signal", detail: str = "killed by signal 9 (SIGKILL)"
    ) -> None:
        """SIGKILL to a worker, or to a driver."""
        if isinstance(process, int):
            process = self.processes.get(process)
        if isinstance(process, SimulatedWorker):
            if process.is_alive:
                process.is_alive = False
                self.at(
                    self._arrival_s("up", process.number),
                    lambda: self._gone(process, e.WorkerExited(process.number, kind, detail)),
                )
        elif process is not None:
            self.leave(process, crashed=True)

    def _gone(self, process: SimulatedProcess, event: e.Event) -> None:
        del self.processes[process.number]
        self.handle(NODE_CLIENT, event)

    @property
    def workers(self) -> list[SimulatedWorker]:
        """Worker processes that live."""
        return [process for process in self.processes.values() if isinstance(process, SimulatedWorker) and process.is_alive]

    # ------------------------------------------------------------ shorthands for the first driver

    def submit(self, name: str, **options: Any) -> SimulatedTask:
        """Submit a task from the first driver: see `SimulatedProcess.submit`."""
        return self.driver.submit(name, **options)

    def create_actor(self, class_name: str = "Actor", **options: Any) -> SimulatedActor:
        """Create an actor from the first driver: see `SimulatedProcess.create_actor`."""
        return self.driver.create_actor(class_name, **options)

    # ------------------------------------------------------------ time

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        heappush(self._agenda, (max(at_s, self.now_s), next(self._order), action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, action)

    def step(self) -> bool:
        """Do what comes next. False: nothing will ever happen again."""
        if not self._agenda:
            return False
        self.now_s, _, action = heappop(self._agenda)
        action()
        return True

    def run_until(self, holds: Callable[[], bool], *, timeout_s: float = 3600.0) -> None:
        """Let time pass until `holds()`.

        Raises:
            SimulationError: It does not hold after `timeout_s` simulated seconds, or never will.
        """
        deadline_s = self.now_s + timeout_s
        for _ in range(_STEPS_MAX):
            if holds():
                return
            if self.now_s > deadline_s:
                self.fail(f"still waiting after {timeout_s:g} simulated seconds")
            if not self.step():
                self.fail("everything is at rest, and what is waited for has not happened: it hangs")
        self.fail(f"still waiting after {_STEPS_MAX:,} steps")

    def run_for(self, duration_s: float) -> None:
        end_s = self.now_s + duration_s
        while self._agenda and self._agenda[0][0] <= end_s:
            self.step()
        self.now_s = end_s

    def run_to_completion(self, task: SimulatedTask) -> SimulatedTask:
        self.run_until(task.is_settled)
        return task

    # ------------------------------------------------------------ mail

    def _arrival_s(self, direction: str, number: int) -> float:
        socket = (direction, number)
        arrival_s = max(self._mail_s.get(socket, 0.0), self.now_s + self.dice.random() * self.latency_s)
        self._mail_s[socket] = arrival_s
        return arrival_s

    def post(self, sender: SimulatedProcess, message: m.Message) -> None:
        """From a process to the node."""
        if sender.is_alive:
            self.at(self._arrival_s("up", sender.number), lambda: self.handle(sender.number, message))

    def _deliver(self, number: int, message: Any) -> None:
        """From the node to a process."""
        process = self.processes.get(number)
        if process is not None:
            self.at(self._arrival_s("down", number), lambda: process.receive(message))

    # ------------------------------------------------------------ the node

    def handle(self, client: int, event: e.Event | m.Message) -> None:
        """Give an event to the scheduler, check what must hold, and carry the commands out."""
        self.events_handled += 1
        self.history.append(f"{self.now_s:.6f} {client} → {event!r:.300}")
        try:
            commands = self.scheduler.handle(client, event, self.now_s)
            check_invariants(self.scheduler)
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}", error)
        self._check_restlessness(event, is_fruitful=bool(commands))
        for command in commands:
            self.history.append(f"{self.now_s:.6f}     {command!r:.300}")
            self._carry_out(command)
        deadline_s = self.scheduler.next_deadline_s()
        if deadline_s is not None and deadline_s < self._tick_s:
            self._tick_s = deadline_s
            self.at(deadline_s, lambda: self._tick(deadline_s))

    def _check_restlessness(self, event: e.Event | m.Message, *, is_fruitful: bool) -> None:
        """While everybody waits the node process is to sleep."""
        if is_fruitful or not isinstance(event, e.Tick):
            self._idle_ticks, self._idle_since_s = 0, self.now_s
            return
        self._idle_ticks += 1
        if self._idle_ticks > _IDLE_TICKS_MAX + _IDLE_TICKS_PER_S_MAX * (self.now_s - self._idle_since_s):
            self.fail(
                f"{self._idle_ticks} Ticks since {self._idle_since_s:.6f} s have led to nothing: the node process does not sleep"
            )

    def _tick(self, at_s: float) -> None:
        if self._tick_s == at_s:
            self._tick_s = float("inf")
            self.handle(NODE_CLIENT, e.Tick())

    def _carry_out(self, command: e.Command) -> None:
        match command:
            case e.Send(client, message):
                self._check_answer(client, message)
                self._deliver(client, message)
            case e.StartWorker():
                self._start_worker(command)
            case e.StopWorker(number, how, reason):
                worker = self.processes.get(number)
                if isinstance(worker, SimulatedWorker):
                    if how == "kill":
                        self.after(self.dice.random() * self.latency_s, lambda: self.kill(worker, "killed", reason))
                    else:
                        worker.stop_gracefully()
            case e.Grant():
                worker = self._fit_for_work(command.worker, "granted")
                self._check_answer(command.client, m.LeaseGranted(command.request, 0, 0, 0))
                if worker is not None:
                    worker.lease = command.lease
                self._deliver(command.client, command)
            case e.CloseLease(lease):
                for process in self.processes.values():  # Also one that has died and is not reported yet.
                    if isinstance(process, SimulatedWorker) and process.lease == lease:
                        process.lease = 0
            case e.StartActor():
                worker = self._fit_for_work(command.worker, "made an actor")
                if worker is not None:
                    worker.become_actor(command)
            case e.OpenActorChannel():
                self._deliver(command.client, command)
            case e.PrepareEnv(env):
                done = e.EnvFailed(env, f"pip failed for {env}") if env in self.bad_envs else e.EnvReady(env)
                self.after(self.dice.random(), lambda: self.handle(NODE_CLIENT, done))
            case e.AddHolder(id_, holder):
                self.holders.append((id_, holder))

    def _start_worker(self, command: e.StartWorker) -> None:
        if command.worker in self.processes:
            self.fail(f"worker {command.worker} is started twice")
        worker = self.processes[command.worker] = SimulatedWorker(self, command.worker, command.job, command.node, command.env)
        if self.dice.random() < self.failed_starts:
            self.after(self.dice.random() * 0.01, lambda: self.kill(worker, "exit_code", "it exited with status 70"))

    def _fit_for_work(self, number: int, what: str) -> SimulatedWorker | None:
        worker = self.processes.get(number)
        if not isinstance(worker, SimulatedWorker):
            self.fail(f"worker {number} is {what} and its end has been reported")
            return None
        if worker.lease or worker.actor is not None:
            self.fail(f"worker {number} is {what} while it has lease {worker.lease} or is actor {worker.actor!r:.100}")
        if worker.is_leaving:
            self.fail(f"worker {number} is {what} after it was told to end")
        return worker

    def _check_answer(self, client: int, message: m.Message) -> None:
        if isinstance(message, m.LeaseGranted | m.LeaseRejected):
            if (client, message.request) in self._answered:
                self.fail(f"lease request {message.request} of client {client} is answered twice")
            self._answered.add((client, message.request))

    # ------------------------------------------------------------ failures

    def fail(self, what: str, cause: BaseException | None = None) -> None:
        """Raise with all that is needed to see it again."""
        trail = "\n".join(list(self.history)[-40:])
        waiting = self.scheduler.describe("demand")
        text = (
            f"seed {self.seed}, after {self.events_handled} events, at {self.now_s:.6f} s: {what}\nwaiting: {waiting}\n"
            f"the last events:\n{trail}\nreplay: {self.replay}"
        )
        raise SimulationError(text) from cause
