"""The crew: the workers of a pool, the jobs that wait for them, and who hands out what.

                      submit                     batch to a free worker                      answer
    caller ──► waiting jobs (in order) ──────────────────────► in flight ──► finished queue ──► deliver each job's result

A worker has at most one batch. A batch holds one job while nothing is known of the function; as jobs turn out to be short it
grows until
it fills `BATCH_S`, but never takes more than its share of what waits (guided self-scheduling, Polychronopoulos and Kuck 1987),
so that no worker sits idle while another has a long list.

Any thread may do the handing out: one that waits for a result does it itself (`help_until`), which saves two thread switches for
each call; a thread of our own does it when results are awaited by nobody (`start_thread`). All state is guarded by one lock.
Results are delivered outside it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import skate
from skate.exceptions import RayActorError
from skate.util.multiprocessing.jobs import MAP, FunctionTable, Job, PoolWorker, rebuild_error

BATCH_S = 0.005  # Long against the 0.1–0.2 ms that a batch costs, short against what a person notices.
BATCH_JOBS_MAX = 1024

LOOK_AGAIN_S = 0.1  # A waiting thread looks at the batches that others have handed out since.

RUN, CLOSED, TERMINATED = 0, 1, 2


class _Worker:
    __slots__ = ("actor", "jobs_done", "known_epoch", "known_functions")

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.jobs_done = 0
        self.known_epoch = 0
        self.known_functions: set[int] = set()


class _Batch:
    __slots__ = ("future", "jobs", "number", "ref", "worker")

    def __init__(self, worker: _Worker | None, jobs: list[Job], ref: Any, number: int) -> None:
        self.worker = worker  # None: no worker had it, its arguments could not be sent.
        self.jobs = jobs
        self.ref = ref
        self.number = number
        self.future: Any = None


class Crew:
    """`size` workers and the jobs for them."""

    def __init__(
        self,
        size: int,
        initializer: Callable[..., Any] | None,
        initargs: tuple[Any, ...],
        jobs_per_worker_max: int | None,
        actor_options: dict[str, Any],
    ) -> None:
        self.size = size
        self.state = RUN
        self._worker_class: Any = skate.remote(PoolWorker)
        if actor_options:
            self._worker_class = self._worker_class.options(**actor_options)
        self._initializer = (initializer, initargs)
        self._jobs_per_worker_max = jobs_per_worker_max
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._settling = 0  # Batches that some thread is settling now.
        self._next_batch = 1
        self._waiting: deque[Job] = deque()
        self._in_flight: dict[Any, _Batch] = {}  # ref → batch
        self._finished: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._functions = FunctionTable()
        self._job_s: dict[Any, float] = {}  # function → mean duration of a job, where it is known
        self._thread: threading.Thread | None = None
        self._workers = [self._new_worker() for _ in range(size)]
        self._free = list(reversed(self._workers))

    def _new_worker(self) -> _Worker:
        return _Worker(self._worker_class.remote(*self._initializer))

    # ------------------------------------------------------------ jobs in

    def submit(self, jobs: list[Job]) -> None:
        with self._lock:
            if self.state != RUN:
                raise ValueError("Pool not running")
            self._waiting.extend(jobs)
            self._hand_out()

    def _hand_out(self) -> None:
        """Give every free worker a batch. Lock held."""
        while self._free and self._waiting:
            worker = self._free.pop()
            jobs = self._take_batch(worker)
            self._send(worker, jobs)

    def _take_batch(self, worker: _Worker) -> list[Job]:
        waiting = self._waiting
        first = waiting.popleft()
        jobs = [first]
        job_s = self._job_s.get(_function_key(first.kind, first.function))
        if job_s is None or not waiting:
            return jobs
        room = min(int(BATCH_S / max(job_s, 1e-7)), BATCH_JOBS_MAX, -(-len(waiting) // (2 * self.size)))
        if self._jobs_per_worker_max is not None:
            room = min(room, self._jobs_per_worker_max - worker.jobs_done)
        function, kind = first.function, first.kind
        while len(jobs) < room and waiting and waiting[0].function is function and waiting[0].kind == kind:
            jobs.append(waiting.popleft())
        return jobs

    def _send(self, worker: _Worker, jobs: list[Job]) -> None:
        functions = self._functions
        function: Any = jobs[0].function
        number = functions.number_of(function)
        if worker.known_epoch != functions.epoch:
            worker.known_functions.clear()
            worker.known_epoch = functions.epoch
        if number in worker.known_functions:
            function = None
        batch_number = self._next_batch
        self._next_batch += 1
        calls = [(job.kind, job.args, job.kwargs) for job in jobs]
        try:
            ref = worker.actor.run.remote(batch_number, functions.epoch, number, function, calls)
        except Exception as error:  # Arguments that cannot be pickled: the job's result, as in multiprocessing.
            self._free.append(worker)
            if len(jobs) > 1:  # One of them is the culprit; the others must not suffer. Next time they go one by one.
                self._job_s.pop(_function_key(jobs[0].kind, jobs[0].function), None)
                self._waiting.extendleft(reversed(jobs))
            else:
                self._fail_later(jobs[0], error)
            return
        if number >= 0:
            worker.known_functions.add(number)
        batch = _Batch(worker, jobs, ref, batch_number)
        self._in_flight[ref] = batch
        batch.future = ref.future()
        batch.future.add_done_callback(lambda _future: self._finished.put(batch))

    def _fail_later(self, job: Job, error: BaseException) -> None:
        """Deliver by way of the finished queue: here the lock is held."""
        from concurrent.futures import Future

        batch = _Batch(None, [job], None, 0)
        batch.future = Future()
        batch.future.set_exception(error)
        self._finished.put(batch)

    def chunks_ahead(self, function: Callable[..., Any]) -> int:
        """How many chunks of an imap have to be under way so that every worker's batches are full."""
        job_s = self._job_s.get(_function_key(MAP, function))
        batch = 1 if job_s is None else max(1, min(int(BATCH_S / max(job_s, 1e-7)), BATCH_JOBS_MAX))
        return 4 * self.size * batch

    # ------------------------------------------------------------ results out

    def _settle(self, batch: _Batch) -> None:
        """Take a batch's reply, keep its worker busy, deliver the results."""
        future, batch.future = batch.future, None  # Breaks a cycle: the future's callback holds the batch.
        error = future.exception()
        answers: list[Any] = []
        if error is None:
            duration_s, answers = future.result()
        elif batch.worker is not None and len(batch.jobs) > 1 and not isinstance(error, RayActorError):
            answers = _ask_one_by_one(batch, error)
        with self._lock:
            if batch.worker is not None:
                if self._in_flight.pop(batch.ref, None) is None:
                    return  # Given up by `terminate`.
                if isinstance(error, RayActorError):
                    self._replace(batch.worker)
                else:
                    if error is None:
                        self._learn(batch.jobs[0], duration_s / len(batch.jobs))
                    self._reuse(batch.worker, len(batch.jobs))
                self._hand_out()
            if self.state != RUN and self.is_idle():
                self._finished.put(None)  # Lets the thread end.
            self._settling += 1
        try:
            if answers:
                for job, (is_ok, value) in zip(batch.jobs, answers, strict=True):
                    job.deliver(is_ok, value if is_ok else rebuild_error(value))
            else:
                told = _told_plainly(error)
                for job in batch.jobs:
                    job.deliver(False, told)
        finally:
            with self._lock:
                self._settling -= 1
                self._settled.notify_all()

    def _learn(self, job: Job, job_s: float) -> None:
        key = _function_key(job.kind, job.function)
        known = self._job_s.get(key)
        if known is None:
            if len(self._job_s) >= 256:
                self._job_s.clear()
            self._job_s[key] = job_s
        else:
            # Quick to see that jobs got longer, slow to trust that they got shorter.
            self._job_s[key] = max(job_s, 0.5 * (known + job_s))

    def _reuse(self, worker: _Worker, jobs: int) -> None:
        worker.jobs_done += jobs
        if self._jobs_per_worker_max is not None and worker.jobs_done >= self._jobs_per_worker_max:
            worker.actor.__ray_terminate__.remote()
            self._replace(worker)
        else:
            self._free.append(worker)

    def _replace(self, worker: _Worker) -> None:
        if self.state == TERMINATED or (self.state == CLOSED and not self._waiting):
            return
        fresh = self._new_worker()
        self._workers[self._workers.index(worker)] = fresh
        self._free.append(fresh)

    # ------------------------------------------------------------ threads that do it

    def help_until(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Hand out and settle in this thread until `is_done()`. False when the time is over first."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._settle_finished()
            if is_done():
                return True
            left_s = LOOK_AGAIN_S
            if deadline_s is not None:
                left_s = min(left_s, deadline_s - time.monotonic())
                if left_s <= 0:
                    return False
            with self._lock:
                refs = list(self._in_flight)
                if self._settling or not refs:  # Another thread is about to deliver what we may wait for.
                    if is_done():  # Asked once more after this it may say no: it takes what it finds.
                        return True
                    if self._finished.empty():
                        self._settled.wait(left_s)
                    continue
            ready, _ = skate.wait(refs, num_returns=1, timeout=left_s)
            if ready and self._finished.empty():
                with self._lock:  # Its callback runs in another thread, or another thread has just taken it.
                    if ready[0] in self._in_flight:
                        self._settled.wait(0.001)

    def _settle_finished(self) -> None:
        while True:
            try:
                batch = self._finished.get_nowait()
            except queue.Empty:
                return
            if batch is not None:
                self._settle(batch)
            elif self._thread is not None and self._thread.is_alive():
                self._finished.put(None)  # Meant for the thread.
                return

    def start_thread(self) -> None:
        """From now on results are settled although nobody waits for them."""
        with self._lock:
            if self._thread is None and self.state != TERMINATED:
                self._thread = threading.Thread(target=self._run_thread, name="skate-pool", daemon=True)
                self._thread.start()

    def _run_thread(self) -> None:
        while (batch := self._finished.get()) is not None:
            self._settle(batch)

    # ------------------------------------------------------------ end

    def close(self) -> None:
        """No more jobs; those that wait are still run."""
        with self._lock:
            if self.state == RUN:
                self.state = CLOSED

    def is_idle(self) -> bool:
        return not self._waiting and not self._in_flight

    def join(self) -> None:
        """Wait for all jobs, then for the workers to end."""
        self.help_until(self.is_idle)
        with self._lock:
            workers, self._workers, self._free = self._workers, [], []
        if workers:
            # In turn, since an actor that never got a job may still be starting.
            ended = [worker.actor.__ray_terminate__.remote() for worker in workers]
            del workers
            skate.wait(ended, num_returns=len(ended), timeout=5)
        self._stop_thread()

    def terminate(self) -> None:
        """Kill the workers. Jobs that are not done fail."""
        with self._lock:
            if self.state == TERMINATED:
                return
            self.state = TERMINATED
            waiting, self._waiting = list(self._waiting), deque()
            workers, self._workers, self._free = self._workers, [], []
        for worker in workers:
            skate.kill(worker.actor)
        error = RuntimeError("the pool was terminated before this job was done")
        for job in waiting:
            job.deliver(False, error)
        self.help_until(self.is_idle, timeout_s=5)
        with self._lock:
            left, self._in_flight = list(self._in_flight.values()), {}
        for job in [job for batch in left for job in batch.jobs]:
            job.deliver(False, error)
        self._stop_thread()

    def _stop_thread(self) -> None:
        self._finished.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def abandon(self) -> None:
        """The pool's last reference went: lock-free, called from `__del__`. The actors end as their handles go."""
        self.state = TERMINATED
        self._finished.put(None)


def _function_key(kind: int, function: Any) -> Any:
    """What the duration of a job depends on: functions made anew for each call count as one by their code."""
    code = getattr(function, "__code__", None)
    return kind, (code if code is not None else getattr(function, "__qualname__", type(function)))


def _ask_one_by_one(batch: _Batch, error: BaseException) -> list[Any]:
    """The answers of a batch whose reply could not be pickled, so that only the culprit fails.

    Empty when the jobs were not run.
    """
    assert batch.worker is not None
    answers: list[Any] = []
    for index in range(len(batch.jobs)):
        try:
            answers.append(skate.get(batch.worker.actor.answer.remote(batch.number, index)))
        except LookupError:
            return []
        except Exception as refusal:  # Whatever pickling the value raised.
            answers.append((False, (refusal, str(error))))
    return answers


def _told_plainly(error: BaseException) -> BaseException:
    if isinstance(error, RayActorError):
        told = RuntimeError(f"a process of the pool died while it ran this job, or a job sent together with it: {error}")
        told.__cause__ = error
        return told
    return error
