"""The rows of Ray's microbenchmark, for whatever module has Ray's API.

The bodies are those of `ray/_private/ray_perf.py` (Apache-2.0), so that figures compare with those that Ray publishes; only counts differ, to end
within a minute where Ray needs long. Imports nothing of Skate: `benchmarks/` runs this very file against Ray as well.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CPUS = os.cpu_count() or 1
CLIENTS = 4


@dataclass(frozen=True)
class Effort:
    """How much work a measurement may take. `scale` shrinks counts (tasks, actors); 1.0 is the full size."""

    warm_up_s: float = 1.0
    period_s: float = 2.0
    periods: int = 4
    scale: float = 1.0

    def count(self, full: int, at_least: int = 1) -> int:
        return max(at_least, int(full * self.scale))

    @property
    def repeats(self) -> int:
        return self.periods


QUICK = Effort(warm_up_s=0.1, period_s=0.2, periods=1, scale=0.02)
FULL = Effort()


@dataclass(frozen=True)
class Result:
    """A figure in the row's unit, its spread, and what was computed: it must be the same on all peers."""

    value: float
    spread: float = 0.0
    answer: Any = None
    note: str = ""


def rate(effort: Effort, function: Callable[[], Any], per_call: float = 1.0, answer: Any = None) -> Result:
    """Calls per second, times `per_call`: the mean of some periods and their standard deviation."""
    end = time.perf_counter() + effort.warm_up_s
    calls = 0
    while time.perf_counter() < end or not calls:
        function()
        calls += 1
    stride = max(1, calls // 10)  # So that reading the clock costs nothing.
    rates = []
    for _ in range(effort.periods):
        count = 0
        start = now = time.perf_counter()
        while now - start < effort.period_s:
            for _ in range(stride):
                function()
            count += stride
            now = time.perf_counter()
        rates.append(count * per_call / (now - start))
    return Result(statistics.fmean(rates), statistics.pstdev(rates), answer)


def seconds(effort: Effort, function: Callable[[], Any], answer: Any = None) -> Result:
    """Seconds of one call: the median of some."""
    times = []
    for _ in range(effort.repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return Result(statistics.median(times), statistics.pstdev(times), answer)


class MicrobenchmarkRows:
    """One method for each row; `self.ray` is the module. `start` and `stop` go around each."""

    def __init__(self, ray: Any, name: str) -> None:
        self.ray = ray
        self.name = name
        self.is_skate = name == "skate"

    def start(self, num_cpus: int = CPUS, **more: Any) -> None:
        # Ray would print to the terminal and start a dashboard: both would be unfair to it in rows of time and memory.
        self.ray.init(num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **more)

    def stop(self) -> None:
        self.ray.shutdown()

    def restart(self, num_cpus: int, **more: Any) -> None:
        self.stop()
        self.start(num_cpus, **more)

    # ------------------------------------------------------------ helpers: the remote things of ray_perf.py

    def small_value(self) -> Any:
        @self.ray.remote
        def small_value() -> bytes:
            return b"ok"

        self.ray.get(small_value.remote())
        return small_value

    def actor(self, **options: Any) -> Any:
        ray = self.ray

        class Actor:
            def small_value(self) -> bytes:
                return b"ok"

            def small_value_arg(self, x: Any) -> bytes:
                return b"ok"

            def small_value_batch(self, n: int) -> int:
                @ray.remote
                def small_value() -> bytes:
                    return b"ok"

                return len(ray.get([small_value.remote() for _ in range(n)]))

        return ray.remote(**options)(Actor) if options else ray.remote(Actor)

    def async_actor(self) -> Any:
        class AsyncActor:
            async def small_value(self) -> bytes:
                return b"ok"

            async def small_value_with_arg(self, x: Any) -> bytes:
                return b"ok"

        return self.ray.remote(AsyncActor)

    def client(self) -> Any:
        ray = self.ray

        class Client:
            def __init__(self, servers: list[Any]) -> None:
                self.servers = servers

            def small_value_batch(self, n: int) -> int:
                results = []
                for server in self.servers:
                    results.extend([server.small_value.remote() for _ in range(n)])
                return len(ray.get(results))

            def small_value_batch_arg(self, n: int) -> int:
                x = ray.put(0)
                results = []
                for server in self.servers:
                    results.extend([server.small_value_arg.remote(x) for _ in range(n)])
                return len(ray.get(results))

        return ray.remote(num_cpus=0)(Client)

    # ------------------------------------------------------------ objects

    def get_calls(self, effort: Effort) -> Result:
        value = self.ray.put(0)
        return rate(effort, lambda: self.ray.get(value), answer=self.ray.get(value))

    def put_calls(self, effort: Effort) -> Result:
        return rate(effort, lambda: self.ray.put(0))

    def put_calls_multi(self, effort: Effort) -> Result:
        ray = self.ray

        @ray.remote
        def put_small(n: int) -> int:
            for _ in range(n):
                ray.put(0)
            return n

        def run() -> int:
            return sum(ray.get([put_small.remote(100) for _ in range(10)]))

        return rate(effort, run, 1000, answer=run())

    def put_gigabytes(self, effort: Effort) -> Result:
        import numpy as np

        array = np.zeros(effort.count(100 * 1024 * 1024, 2_000_000), dtype=np.int64)
        array[:] = 1  # Else its pages would all be the kernel's one page of zeros.
        return rate(effort, lambda: self.ray.put(array), array.nbytes / 1e9)

    def put_gigabytes_multi(self, effort: Effort) -> Result:
        ray = self.ray
        items = effort.count(10 * 1024 * 1024, 1_000_000)

        @ray.remote
        def put_large(items: int) -> int:
            import numpy as np

            for _ in range(10):
                ray.put(np.zeros(items, dtype=np.int64))
            return 10

        def run() -> int:
            return sum(ray.get([put_large.remote(items) for _ in range(10)]))

        return rate(effort, run, 100 * items * 8 / 1e9, answer=run())

    def get_10k_refs(self, effort: Effort) -> Result:
        ray = self.ray

        @ray.remote
        def make_refs(n: int) -> list[Any]:
            return [ray.put(1) for _ in range(n)]

        ref = make_refs.remote(effort.count(10_000))
        return rate(effort, lambda: ray.get(ref), answer=len(ray.get(ref)))

    def wait_1k_refs(self, effort: Effort) -> Result:
        ray, small_value = self.ray, self.small_value()

        def run() -> None:
            pending = [small_value.remote() for _ in range(1000)]
            while pending:
                _ready, pending = ray.wait(pending)

        return rate(effort, run)

    # ------------------------------------------------------------ tasks

    def tasks_sync(self, effort: Effort) -> Result:
        small_value = self.small_value()
        return rate(effort, lambda: self.ray.get(small_value.remote()), answer=str(self.ray.get(small_value.remote())))

    def tasks_async(self, effort: Effort) -> Result:
        small_value = self.small_value()

        def run() -> int:
            return len(self.ray.get([small_value.remote() for _ in range(1000)]))

        return rate(effort, run, 1000, answer=run())

    def tasks_and_get_batch(self, effort: Effort) -> Result:
        small_value = self.small_value()
        return rate(effort, lambda: self.ray.get([small_value.remote() for _ in range(1000)]))

    def tasks_multi(self, effort: Effort) -> Result:
        actors = [self.actor(num_cpus=0).remote() for _ in range(CLIENTS)]
        n = effort.count(1000, 100)

        def run() -> int:
            return sum(self.ray.get([actor.small_value_batch.remote(n) for actor in actors]))

        return rate(effort, run, n * CLIENTS, answer=run())

    # ------------------------------------------------------------ actor calls

    def actor_sync(self, effort: Effort) -> Result:
        actor = self.actor().remote()
        return rate(
            effort, lambda: self.ray.get(actor.small_value.remote()), answer=str(self.ray.get(actor.small_value.remote()))
        )

    def actor_async(self, effort: Effort) -> Result:
        return self._calls(effort, self.actor().remote())

    def actor_concurrent(self, effort: Effort) -> Result:
        return self._calls(effort, self.actor(max_concurrency=16).remote())

    def actor_1_n(self, effort: Effort) -> Result:
        n = effort.count(1000, 100)
        servers = [self.actor(num_cpus=0).remote() for _ in range(CPUS)]
        client = self.client().remote(servers)
        return rate(effort, lambda: self.ray.get(client.small_value_batch.remote(n)), n * len(servers))

    def actor_n_n(self, effort: Effort) -> Result:
        ray, n = self.ray, effort.count(1000, 100)
        servers = [self.actor(num_cpus=0).remote() for _ in range(CPUS)]

        @ray.remote
        def work(actors: list[Any], n: int) -> int:
            return len(ray.get([actors[i % len(actors)].small_value.remote() for i in range(n)]))

        def run() -> int:
            return sum(ray.get([work.remote(servers, n) for _ in range(CLIENTS)]))

        return rate(effort, run, n * CLIENTS, answer=run())

    def actor_n_n_arg(self, effort: Effort) -> Result:
        n = effort.count(500, 50)
        servers = [self.actor(num_cpus=0).remote() for _ in range(CPUS)]
        clients = [self.client().remote([server]) for server in servers]

        def run() -> int:
            return sum(self.ray.get([client.small_value_batch_arg.remote(n) for client in clients]))

        return rate(effort, run, n * len(clients), answer=run())

    def async_actor_sync(self, effort: Effort) -> Result:
        actor = self.async_actor().remote()
        return rate(effort, lambda: self.ray.get(actor.small_value.remote()))

    def async_actor_async(self, effort: Effort) -> Result:
        return self._calls(effort, self.async_actor().remote())

    def async_actor_args(self, effort: Effort) -> Result:
        actor = self.async_actor().remote()

        def run() -> int:
            return len(self.ray.get([actor.small_value_with_arg.remote(i) for i in range(1000)]))

        return rate(effort, run, 1000, answer=run())

    def async_actor_1_n(self, effort: Effort) -> Result:
        n = effort.count(1000, 100)
        servers = [self.async_actor().options(num_cpus=0).remote() for _ in range(CPUS)]
        client = self.client().remote(servers)
        return rate(effort, lambda: self.ray.get(client.small_value_batch.remote(n)), n * len(servers))

    def async_actor_n_n(self, effort: Effort) -> Result:
        ray, n = self.ray, effort.count(1000, 100)
        servers = [self.async_actor().options(num_cpus=0).remote() for _ in range(CPUS)]

        @ray.remote
        def work(actors: list[Any], n: int) -> int:
            return len(ray.get([actors[i % len(actors)].small_value.remote() for i in range(n)]))

        def run() -> int:
            return sum(ray.get([work.remote(servers, n) for _ in range(CLIENTS)]))

        return rate(effort, run, n * CLIENTS, answer=run())

    def _calls(self, effort: Effort, actor: Any) -> Result:
        def run() -> int:
            return len(self.ray.get([actor.small_value.remote() for _ in range(1000)]))

        return rate(effort, run, 1000, answer=run())

    def placement_groups(self, effort: Effort) -> Result:
        self.restart(CPUS, resources={"custom": 100})
        from importlib import import_module

        module = import_module(f"{self.ray.__name__}.util.placement_group")
        count = effort.count(100, 5)

        def run() -> None:
            groups = [module.placement_group([{"custom": 0.001} for _ in range(1)]) for _ in range(count)]
            for group in groups:
                self.ray.get(group.ready())
            for group in groups:
                module.remove_placement_group(group)

        return rate(effort, run, count)
