"""Programs as Ray's tutorials and documentation write them, with one line changed: `import skate as ray`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.programs import assert_nothing_left, run_program

PROGRAMS: dict[str, tuple[str, str]] = {
    "tasks_and_actors": (
        """
        import time
        ray.init()

        @ray.remote
        def slow_function(x):
            time.sleep(0.01)
            return x * 2

        results = ray.get([slow_function.remote(i) for i in range(4)])
        print(results)

        @ray.remote
        def function_with_an_argument(value):
            return value + 1

        obj_ref1 = slow_function.remote(1)
        assert ray.get(function_with_an_argument.remote(obj_ref1)) == 3

        @ray.remote(num_returns=3)
        def return_multiple():
            return 0, 1, 2
        a, b, c = return_multiple.remote()
        assert ray.get([a, b, c]) == [0, 1, 2]

        @ray.remote
        class Counter(object):
            def __init__(self):
                self.value = 0
            def increment(self):
                self.value += 1
                return self.value
            def get_counter(self):
                return self.value

        counter = Counter.remote()
        assert ray.get(counter.increment.remote()) == 1

        @ray.remote
        def f(counter):
            for _ in range(10):
                counter.increment.remote()
        ray.get([f.remote(counter) for _ in range(3)])
        while ray.get(counter.get_counter.remote()) < 31:
            time.sleep(0.001)
        print(ray.get(counter.get_counter.remote()))
        ray.shutdown()
        """,
        "[0, 2, 4, 6]\n31\n",
    ),
    "monte_carlo_pi": (
        """
        import math, random, time

        @ray.remote
        class ProgressActor:
            def __init__(self, total_num_samples: int):
                self.total_num_samples = total_num_samples
                self.num_samples_completed_per_task = {}
            def report_progress(self, task_id: int, num_samples_completed: int) -> None:
                self.num_samples_completed_per_task[task_id] = num_samples_completed
            def get_progress(self) -> float:
                return sum(self.num_samples_completed_per_task.values()) / self.total_num_samples

        @ray.remote
        def sampling_task(num_samples: int, task_id: int, progress_actor: ray.actor.ActorHandle) -> int:
            num_inside = 0
            for i in range(num_samples):
                x, y = random.uniform(-1, 1), random.uniform(-1, 1)
                if math.hypot(x, y) <= 1:
                    num_inside += 1
                if (i + 1) % 1_000 == 0:
                    progress_actor.report_progress.remote(task_id, i + 1)
            progress_actor.report_progress.remote(task_id, num_samples)
            return num_inside

        NUM, PER = 4, 5_000
        progress_actor = ProgressActor.remote(NUM * PER)
        results = [sampling_task.remote(PER, i, progress_actor) for i in range(NUM)]
        while ray.get(progress_actor.get_progress.remote()) < 1:
            time.sleep(0.005)
        pi = (sum(ray.get(results)) * 4) / (NUM * PER)
        print(3.0 < pi < 3.3)
        """,
        "True\n",
    ),
    "parameter_server": (
        """
        import numpy as np

        @ray.remote
        class ParameterServer:
            def __init__(self, lr):
                self.w, self.lr = np.zeros(50_000), lr
            def apply_gradients(self, *gradients):
                self.w = self.w - self.lr * np.stack(gradients).mean(axis=0)
                return self.w
            def get_weights(self):
                return self.w

        @ray.remote
        class DataWorker:
            def __init__(self, seed):
                self.target = np.ones(50_000)
            def compute_gradients(self, weights):
                return 2 * (weights - self.target)

        ps = ParameterServer.remote(0.25)
        workers = [DataWorker.remote(i) for i in range(2)]
        current = ps.get_weights.remote()
        for _ in range(5):
            gradients = [worker.compute_gradients.remote(current) for worker in workers]
            current = ps.apply_gradients.remote(*gradients)
        print(float(ray.get(current)[0]))

        gradients = {worker.compute_gradients.remote(ps.get_weights.remote()): worker for worker in workers}
        for _ in range(6):
            ready, _ = ray.wait(list(gradients))
            ref = ready[0]
            worker = gradients.pop(ref)
            current = ps.apply_gradients.remote(ref)
            gradients[worker.compute_gradients.remote(current)] = worker
        print(float(ray.get(current)[0]) > 0.97)
        """,
        "0.96875\nTrue\n",
    ),
    "map_reduce": (
        """
        import collections
        corpus = ["the quick brown fox", "jumps over the lazy dog", "the end"]

        @ray.remote
        def apply_map(document, num_partitions=3):
            parts = [list() for _ in range(num_partitions)]
            for word in document.lower().split():
                parts[ord(word[0]) % num_partitions].append((word, 1))
            return parts

        @ray.remote
        def apply_reduce(*results):
            counts = collections.Counter()
            for res in results:
                for key, value in res:
                    counts[key] += value
            return counts

        map_results = [apply_map.options(num_returns=3).remote(doc) for doc in corpus]
        outputs = [apply_reduce.remote(*[partition[i] for partition in map_results]) for i in range(3)]
        counts = collections.Counter()
        while outputs:
            (done,), outputs = ray.wait(outputs, num_returns=1)
            counts.update(ray.get(done))
        print(counts.most_common(1))
        """,
        "[('the', 3)]\n",
    ),
    "patterns": (
        """
        import asyncio, sys
        from skate.util.actor_pool import ActorPool
        from skate.util.queue import Queue, Empty
        from skate.exceptions import RayActorError, RayTaskError, GetTimeoutError, TaskCancelledError

        ray.init(num_cpus=2, num_gpus=2, namespace="colors")

        # limiting the number of tasks under way by ray.wait
        @ray.remote
        def work(i): return i
        pending, results = [], []
        for i in range(50):
            if len(pending) > 5:
                ready, pending = ray.wait(pending, num_returns=1)
                results += ray.get(ready)
            pending.append(work.remote(i))
        results += ray.get(pending)
        assert sorted(results) == list(range(50))

        # a tree of actors, supervised
        @ray.remote(num_cpus=0)
        class Worker:
            def work(self, x): return x * x
        @ray.remote(num_cpus=0)
        class Supervisor:
            def __init__(self): self.workers = [Worker.remote() for _ in range(3)]
            def work(self, xs): return ray.get([w.work.remote(x) for w, x in zip(self.workers, xs)])
        assert ray.get(Supervisor.remote().work.remote([1, 2, 3])) == [1, 4, 9]

        # an async actor with a signal
        @ray.remote(num_cpus=0)
        class SignalActor:
            def __init__(self): self.ready_event = asyncio.Event()
            def send(self, clear=False):
                self.ready_event.set()
                if clear: self.ready_event.clear()
            async def wait(self, should_wait=True):
                if should_wait: await self.ready_event.wait()
        @ray.remote
        def wait_and_go(signal):
            ray.get(signal.wait.remote())
            return "go!"
        signal = SignalActor.remote()
        tasks = [wait_and_go.remote(signal) for _ in range(4)]
        ray.get(signal.send.remote())
        assert ray.get(tasks) == ["go!"] * 4

        # named actors
        @ray.remote
        class Greeter:
            def say(self): return "hi"
        Greeter.options(name="orange", lifetime="detached").remote()
        assert ray.get(ray.get_actor("orange").say.remote()) == "hi"
        assert ray.get(Greeter.options(name="g1", get_if_exists=True).remote().say.remote()) == "hi"
        ray.kill(ray.get_actor("orange"))

        # ActorPool, Queue
        pool = ActorPool([Worker.remote(), Worker.remote()])
        assert list(pool.map(lambda a, v: a.work.remote(v), [1, 2, 3, 4])) == [1, 4, 9, 16]
        queue = Queue(maxsize=100)
        @ray.remote
        def consumer(queue):
            total = 0
            while True:
                item = queue.get(block=True)
                if item is None: return total
                total += item
        c = consumer.remote(queue)
        for i in [*range(10), None]: queue.put(i)
        assert ray.get(c) == 45

        # errors
        @ray.remote
        def fails(): raise ZeroDivisionError("no")
        try: ray.get(fails.remote())
        except RayTaskError as error: assert isinstance(error, ZeroDivisionError) and isinstance(error.cause, ZeroDivisionError)
        @ray.remote
        class Dies:
            def die(self): sys.exit(3)
        try: ray.get(Dies.remote().die.remote())
        except RayActorError: pass

        # resources and context
        @ray.remote(num_gpus=1)
        def use_gpu():
            import os
            return ray.get_runtime_context().get_accelerator_ids()["GPU"], os.environ["CUDA_VISIBLE_DEVICES"]
        ids, visible = ray.get(use_gpu.remote())
        assert ids == [visible]
        assert ray.cluster_resources()["GPU"] == 2 and ray.nodes()[0]["Alive"]

        # generators
        @ray.remote
        def split(array, size):
            while array:
                yield array[:size]
                array = array[size:]
        assert [ray.get(ref) for ref in split.remote(list(range(7)), 3)] == [[0, 1, 2], [3, 4, 5], [6]]

        # asyncio
        async def main():
            assert await work.remote(1) == 1
            done, _ = await asyncio.wait([asyncio.wrap_future(work.remote(i).future()) for i in range(4)])
            return sorted(task.result() for task in done), await asyncio.gather(*[work.remote(i) for i in range(3)])
        print(asyncio.run(main()))

        from skate.util.placement_group import placement_group, placement_group_table, remove_placement_group
        from skate.util.scheduling_strategies import PlacementGroupSchedulingStrategy
        pg = placement_group([{"CPU": 1}, {"GPU": 1}])
        ray.get(pg.ready(), timeout=10)
        ref = work.options(scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=pg, placement_group_bundle_index=0)).remote(5)
        assert ray.get(ref) == 5 and placement_group_table(pg)["state"] == "CREATED"
        remove_placement_group(pg)
        """,
        "([0, 1, 2, 3], [0, 1, 2])\n",
    ),
    "drop_in_pools": (
        """
        from skate.util.multiprocessing import Pool
        def f(index): return index * index
        with Pool(2) as pool:
            print(sum(pool.map(f, range(100))), list(pool.imap_unordered(f, [3])))

        import joblib
        from skate.util.joblib import register_ray
        register_ray()
        with joblib.parallel_backend("ray", n_jobs=2):
            print(sum(joblib.Parallel()(joblib.delayed(f)(i) for i in range(10))))
        """,
        "328350 [9]\n285\n",
    ),
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_a_program_for_ray(name: str, tmp_path: Path) -> None:
    if name == "drop_in_pools":
        pytest.importorskip("joblib")
    source, printed = PROGRAMS[name]
    program = run_program("        import skate as ray\n" + source.lstrip("\n"), tmp_path)
    assert program.stderr == ""
    assert (program.stdout, program.returncode) == (printed, 0)
    assert_nothing_left(tmp_path)
