"""The driver's side of a run: starts the group, collects reports, completes checkpoints, and starts again when something fails.

    attempt:  form the group ─► prepare ─► run ─┬─ all loops ended ──────────────────────────► FINISHED
                  ▲                             ├─ there is room to grow, a checkpoint is there ─┐
                  │                             └─ died / raised / hung / NaN ─► may it retry? ──┤ no ─► ERRORED
                  └──────────── back to the last checkpoint; survivors stay ◄────────────────────┘

Everything happens in the thread that called `fit()`. Decisions are in `policy`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import skate
from skate.train import policy
from skate.train.callbacks import Callback, RunInfo
from skate.train.checkpoint import Checkpoint, CheckpointStore, write_json
from skate.train.config import RunConfig, ScalingConfig
from skate.train.context import Assignment, Row
from skate.train.errors import CheckpointError, NonFiniteMetricError, PeerLostError, TrainingFailedError, WorkerHungError
from skate.train.framework import Framework
from skate.train.group import WorkerGroup
from skate.train.history import History, numbers_of
from skate.train.hosts import meeting_addresses
from skate.train.page import training_page
from skate.train.result import Result

_POLL_S = 0.5  # A poll without a report answers after so long.
_TICK_S = 0.1  # How often time-outs are looked at.
_CAUSES_S = 0.25  # After a first failure: the time in which a better explanation may come in (a peer's death shows as a broken connection).
_LEAVE_S = 1.0  # Survivors that have not left their loops after so long are replaced.
_FIRST_REPORT_FACTOR = 10.0
_PUBLISH_EVERY_S = 0.5
_GROW_EVERY_S = 1.0
_SAY_WAITING_EVERY_S = 10.0


@dataclass
class _Member:
    """One worker in one attempt."""

    worker: Any
    rank: int
    done_ref: Any
    poll_ref: Any
    iteration: int
    heard_s: float
    has_reported: bool = False
    is_done: bool = False
    error: BaseException | None = None
    returned: Any = None


@dataclass
class _Failure:
    """Why an attempt ended. Without an error: it is started again to grow."""

    error: BaseException | None
    rank: int | None = None
    lost: list[Any] = field(default_factory=list)
    may_retry: bool = True


class Controller:
    """One run."""

    def __init__(
        self,
        *,
        loop: Callable[..., Any],
        config: Mapping[str, Any],
        scaling: ScalingConfig,
        run: RunConfig,
        framework: Framework,
        datasets: Mapping[str, Any],
        name: str,
        directory: Path,
        resume_from: Checkpoint | None,
    ) -> None:
        self._loop, self._config, self._scaling, self._run = loop, config, scaling, run
        self._framework, self._datasets = framework, datasets
        self._name, self._directory, self._resume_from = name, directory, resume_from
        self._store = CheckpointStore(directory, run.checkpoint_config)
        self._history = History(directory, name)
        failure = run.failure_config
        spares = (
            failure.spare_workers if failure.max_failures and framework.is_warm_up_worthwhile and framework.can_start_again else 0
        )
        resources = scaling.worker_resources
        self._group = WorkerGroup(
            framework, resources, 0 if resources.get("GPU") else spares, scaling.accelerator_type, scaling.placement_strategy
        )
        self._callbacks: list[Callback] = list(run.callbacks)
        self._members: list[_Member] = []
        self._pending: dict[
            int, tuple[int, dict[str, Any]]
        ] = {}  # Checkpoint → its report's iteration and metrics; not complete yet.
        self._attempt = 0
        self._failures = 0
        self._sizes: list[int] = []
        self._returned: Any = None
        self._warned_nan = False
        self._started_s = time.monotonic()
        self._published_s = 0.0
        self._grow_looked_s = 0.0
        self._prior_s = 0.0  # Seconds of training before this process.

    # ------------------------------------------------------------ the run

    def fit(self) -> Result:
        self._open()
        error: BaseException | None = None
        try:
            self._tell("on_run_start", self._info())
            error = self._attempts()
        except KeyboardInterrupt as interrupt:
            self._set_state("INTERRUPTED")
            error = interrupt
            raise
        finally:
            self._group.end()
            result = self._result(error)
            self._tell("on_run_end", result)
        self._set_state("ERRORED" if error is not None else "FINISHED")
        self._publish(is_forced=True)
        if error is not None:
            failed = TrainingFailedError(self._last_words(error))
            failed.result = result
            raise failed from error
        return result

    def _open(self) -> None:
        self._store.open()
        self._history.load()
        latest = self._store.latest
        if self._history.rows or latest is not None:
            iteration = latest.iteration if latest is not None else 0
            self._say_once(self._history.go_back_to(iteration))
            self._say(
                f"resuming run {self._name!r} "
                + (f"from {latest.path.name} (report {iteration})" if latest else "from the start: it has no checkpoint")
            )
            if self._history.rows:
                self._prior_s = float(self._history.rows[-1].get("time_total_s", 0.0))
        self._set_state("RUNNING")

    def _attempts(self) -> BaseException | None:
        """Train until the end, or until it may not be tried again; returns the error then."""
        while True:
            failure = self._one_attempt()
            self._complete_checkpoints()
            if failure is None:
                return None
            self._settle(failure)
            self._store.discard_partial()
            self._pending.clear()
            self._attempt += 1
            if failure.error is not None:
                self._failures += 1
                self._last_error = _line(failure.error, failure.rank)
                limit = self._run.failure_config.max_failures
                if not failure.may_retry or not policy.may_retry(self._failures, limit):
                    self._failed_rank = failure.rank
                    return failure.error
                latest = self._store.latest
                where = f"from {latest.path.name}" if latest else "from the start (there is no checkpoint yet)"
                self._say(f"{self._last_error}; going on {where}, failure {self._failures} of {'∞' if limit < 0 else limit}")
                self._tell("on_failure", failure.error, self._failures)
            latest = self._store.latest
            self._say_once(self._history.go_back_to(latest.iteration if latest else 0))

    # ------------------------------------------------------------ one attempt

    def _one_attempt(self) -> _Failure | None:
        try:
            size = self._wait_for_room()
            self._sizes.append(size)
            failure = self._start(size)
            if failure is not None:
                return failure
        except CheckpointError as error:
            return _Failure(error, may_retry=False)
        while True:
            refs = [member.done_ref for member in self._members if not member.is_done]
            refs += [member.poll_ref for member in self._members if member.poll_ref is not None]
            if not refs:
                self._returned = self._members[0].returned
                return None
            ready, _ = skate.wait(refs, num_returns=1, timeout=_TICK_S)
            failure = self._read(set(ready)) or self._look_for_hung()
            if failure is not None:
                return failure
            self._publish()
            if self._can_grow(size):
                return _Failure(None)

    def _wait_for_room(self) -> int:
        """How many workers this attempt has. Waits while there is no room for the least number."""
        bounds, resources = self._scaling.bounds, self._scaling.worker_resources
        said_s = time.monotonic()
        while True:
            free = dict(skate.available_resources())
            for _ in self._group.workers:
                for name, amount in resources.items():
                    free[name] = free.get(name, 0.0) + amount
            size = policy.choose_world_size(bounds, free, resources)
            if size:
                return size
            if time.monotonic() - said_s > _SAY_WAITING_EVERY_S:
                said_s = time.monotonic()
                self._say(f"waiting for room: {bounds[0]} workers with {_shown(resources)} each; free now: {_shown(free)}")
            time.sleep(0.05)

    def _start(self, size: int) -> _Failure | None:
        self._group.form(size)
        workers = self._group.workers
        refs = [worker.locate.remote() for worker in workers]
        try:
            places = skate.get(refs)
            refs = [
                worker.prepare.remote(self._framework, rank, size, address)
                for rank, (worker, address) in enumerate(zip(workers, meeting_addresses(places), strict=True))
            ]
            infos = skate.get(refs)
        except skate.exceptions.RayError as error:
            lost = [worker for worker, ref in zip(workers, refs, strict=True) if _error_of(ref) is not None]
            return _Failure(error, lost=lost)
        except RuntimeError as error:  # They can't reach each other.
            return _Failure(error, may_retry=False)
        latest = self._store.latest
        resume_from = str(latest.path) if latest else self._resume_from.path if self._resume_from else None
        nodes = [place["node"] for place in places]
        distinct = list(dict.fromkeys(nodes))
        now_s = time.monotonic()
        self._members = []
        for rank, worker in enumerate(workers):
            assignment = Assignment(
                rank=rank,
                world_size=size,
                local_rank=nodes[:rank].count(nodes[rank]),
                local_world_size=nodes.count(nodes[rank]),
                node_rank=distinct.index(nodes[rank]),
                attempt=self._attempt,
                run_name=self._name,
                run_directory=str(self._directory),
                checkpoint=resume_from,
                next_checkpoint=latest.index + 1 if latest else 0,
                iteration=latest.iteration if latest else 0,
                nan_policy=self._run.failure_config.nan_policy,
                rendezvous={"peers": infos, "is_one_host": len(distinct) == 1},
            )
            done = worker.run.remote(assignment, self._loop, self._config, self._datasets)
            self._members.append(_Member(worker, rank, done, worker.poll.remote(_POLL_S), assignment.iteration, now_s))
        self._tell("on_attempt_start", self._attempt, size)
        return None

    def _read(self, ready: set[Any]) -> _Failure | None:
        """Take in what has come; returns a failure when there is one."""
        has_rows = False
        for member in self._members:
            if member.poll_ref is not None and member.poll_ref in ready:
                has_rows |= self._read_poll(member)
        for member in self._members:
            if not member.is_done and member.done_ref in ready:
                member.is_done = True
                member.error = _error_of(member.done_ref)
                if member.error is None:
                    member.returned = skate.get(member.done_ref)
        if has_rows:
            self._complete_checkpoints()
        if any(member.error is not None for member in self._members):
            return self._explain()
        return self._nan_failure

    _nan_failure: _Failure | None = None

    def _read_poll(self, member: _Member) -> bool:
        try:
            rows = skate.get(member.poll_ref)
        except skate.exceptions.RayError:
            member.poll_ref = None  # Its loop's ref tells why.
            return False
        # One more poll after the loop's end finds the last reports.
        member.poll_ref = None if member.is_done and not rows else member.worker.poll.remote(0.0 if member.is_done else _POLL_S)
        if rows:
            self._take_rows(member, rows)
        return bool(rows)

    def _take_rows(self, member: _Member, rows: Sequence[Row]) -> None:
        member.heard_s = time.monotonic()
        member.has_reported = True
        member.iteration = rows[-1].iteration
        kept: list[dict[str, Any]] = []
        for row in rows:
            self._look_for_nan(member, row)
            if row.checkpoint is not None and (row.checkpoint not in self._pending or member.rank == 0):
                self._pending[row.checkpoint] = (row.iteration, row.metrics)
            if member.rank == 0:
                total_s = self._prior_s + time.monotonic() - self._started_s
                kept.append(
                    {
                        **row.metrics,
                        "training_iteration": row.iteration,
                        "time_total_s": round(total_s, 4),
                        "timestamp": round(row.seconds, 4),
                    }
                )
        if kept:
            if not self._history.rows or self._history.rows[-1]["training_iteration"] == rows[0].iteration - 1:
                self._group.start_spares()
            self._say_once(self._history.append(kept))
            for one in kept:
                self._tell("on_report", one)

    def _complete_checkpoints(self) -> None:
        """Complete those of which all workers' parts have come."""
        furthest = max((member.iteration for member in self._members), default=0)
        for index in sorted(self._pending):
            iteration, metrics = self._pending[index]
            if not all(_has_given(member, iteration, furthest) for member in self._members):
                break
            del self._pending[index]
            if not self._store.partial(index).exists():
                continue
            stored = self._store.commit(index, iteration, metrics)
            self._tell("on_checkpoint", Checkpoint(stored.path), stored.metrics)

    # ------------------------------------------------------------ failures

    def _look_for_nan(self, member: _Member, row: Row) -> None:
        behaviour = self._run.failure_config.nan_policy
        name = policy.non_finite(row.metrics) if behaviour != "ignore" else ""
        if not name:
            return
        text = f"worker {member.rank} reported {name}={row.metrics[name]} (report {row.iteration})"
        if behaviour == "warn":
            if not self._warned_nan:
                self._say(f"{text}; training goes on: FailureConfig(nan_policy='raise' or 'restore') would stop it")
            self._warned_nan = True
        elif self._nan_failure is None:
            self._nan_failure = _Failure(NonFiniteMetricError(text), member.rank, may_retry=behaviour == "restore")

    def _look_for_hung(self) -> _Failure | None:
        limit_s = self._run.failure_config.hang_timeout_s
        if limit_s is None:
            return None
        running = [member for member in self._members if not member.is_done]
        # Where only rank 0 reports, the silence of the others means nothing.
        watched = [member for member in running if member.has_reported] or running
        now_s = time.monotonic()
        hung = [one for one in watched if now_s - one.heard_s > limit_s * (1.0 if one.has_reported else _FIRST_REPORT_FACTOR)]
        if not hung or len(hung) < len(watched):
            return None  # As long as somebody reports, a late one may be waited for by nobody.
        behind = min(member.iteration for member in hung)
        culprits = [member for member in hung if member.iteration == behind]
        ranks = ", ".join(str(member.rank) for member in culprits)
        silent_s = max(now_s - member.heard_s for member in culprits)
        error = WorkerHungError(
            f"worker {ranks} reported nothing for {silent_s:.1f} s after report {behind} (hang_timeout_s={limit_s:g}); `skate stack` shows where a "
            "hung worker is"
        )
        return _Failure(error, culprits[0].rank, [member.worker for member in culprits])

    def _explain(self) -> _Failure:
        """Which of the failures is the cause: the others follow from it."""
        until_s = time.monotonic() + _CAUSES_S
        while time.monotonic() < until_s and not any(_is_death(member.error) for member in self._members):
            refs = [member.done_ref for member in self._members if not member.is_done]
            if not refs:
                break
            ready, _ = skate.wait(refs, num_returns=1, timeout=max(0.0, until_s - time.monotonic()))
            for member in self._members:
                if member.done_ref in ready:
                    member.is_done, member.error = True, _error_of(member.done_ref)
        failed = [member for member in self._members if member.error is not None]
        cause = min(failed, key=lambda member: _follows(member.error))
        error = cause.error
        assert error is not None
        if _is_death(error):
            error = _named(error, f"worker {cause.rank} died: {_cause_of_death(error)}")
        lost = [member.worker for member in failed if _is_death(member.error)]
        return _Failure(error, cause.rank, lost, may_retry=not _is_of_disk(error))

    def _settle(self, failure: _Failure) -> None:
        """End the attempt for all: survivors leave their loops; those that do not are ended."""
        for worker in failure.lost:
            self._group.lose(worker)
        self._nan_failure = None
        survivors = [member for member in self._members if member.worker in self._group.workers]
        for member in survivors:
            if not member.is_done:
                member.worker.stop.remote()
        running = [member.done_ref for member in survivors if not member.is_done]
        done = set(skate.wait(running, num_returns=len(running), timeout=_LEAVE_S)[0]) if running else set()
        for member in survivors:
            has_left = member.is_done or (member.done_ref in done and not _is_death(_error_of(member.done_ref)))
            if not has_left or not self._framework.can_start_again:
                self._group.lose(member.worker)
            else:
                self._drain(member)
        self._complete_checkpoints()
        self._members = []

    def _drain(self, member: _Member) -> None:
        """The last reports of a survivor: they may complete a checkpoint."""
        try:
            if member.poll_ref is not None:
                rows = skate.get(member.poll_ref, timeout=2 * _POLL_S)
                rows += skate.get(member.worker.poll.remote(0.0), timeout=2 * _POLL_S)
                if rows:
                    self._take_rows(member, rows)
        except (skate.exceptions.RayError, skate.exceptions.GetTimeoutError):
            self._group.lose(member.worker)
        self._nan_failure = None

    # ------------------------------------------------------------ elastic

    def _can_grow(self, size: int) -> bool:
        """Whether more workers would fit now, and nothing is lost by starting again."""
        most = self._scaling.bounds[1]
        latest = self._store.latest
        if size >= most or latest is None or any(member.is_done for member in self._members):
            return False
        now_s = time.monotonic()
        if now_s - self._grow_looked_s < _GROW_EVERY_S:
            return False
        self._grow_looked_s = now_s
        if max(member.iteration for member in self._members) == 0 or self._pending:
            return False
        extra = policy.choose_world_size((1, most - size), skate.available_resources(), self._scaling.worker_resources)
        if extra:
            self._say(f"there is room for {extra} more worker(s): going on with {size + extra} from {latest.path.name}")
        return extra > 0

    # ------------------------------------------------------------ what others see

    def _info(self) -> RunInfo:
        return RunInfo(self._name, self._directory, dict(self._config), self._framework.name, self._scaling.bounds[1])

    def _result(self, error: BaseException | None) -> Result:
        rows = self._history.rows
        stored = self._store.stored
        return Result(
            metrics=dict(rows[-1]) if rows else {},
            checkpoint=Checkpoint(stored[-1].path) if stored else None,
            path=str(self._directory),
            error=error,
            best_checkpoints=[(Checkpoint(one.path), one.metrics) for one in stored],
            metrics_history=[dict(row) for row in rows],
            returned=self._returned,
            failures=self._failures,
            world_sizes=list(self._sizes),
            config=dict(self._config),
        )

    def _last_words(self, error: BaseException) -> str:
        limit = self._run.failure_config.max_failures
        latest = self._store.latest
        tried = "" if limit == 0 else f" (after {self._failures} failures; max_failures={limit})"
        advice = (
            f"the last checkpoint is {latest.path}"
            if latest
            else "there is no checkpoint: report(metrics, checkpoint=…) makes one"
        )
        hint = (
            "; FailureConfig(max_failures=…) would start again from it"
            if limit == 0 and latest and not _is_of_disk(error)
            else ""
        )
        return f"run {self._name!r} failed{tried}: {_line(error, self._failed_rank)}; {advice}{hint}"

    def _set_state(self, state: str) -> None:
        self._state = state
        try:
            write_json(self._directory / "run.json", {"name": self._name, "state": state, "framework": self._framework.name})
        except OSError as error:
            self._say(f"run.json could not be written: {error}")

    _state = "RUNNING"
    _last_error = ""
    _failed_rank: int | None = None

    def _publish(self, *, is_forced: bool = False) -> None:
        now_s = time.monotonic()
        if not is_forced and now_s - self._published_s < _PUBLISH_EVERY_S:
            return
        self._published_s = now_s
        rows = self._history.rows
        document = training_page(
            state=self._state,
            framework=self._framework.name,
            workers=[
                {"rank": one.rank, "reports": one.iteration, "state": "done" if one.is_done else "training"}
                for one in self._members
            ],
            world_sizes=self._sizes,
            failures=self._failures,
            last_error=self._last_error,
            metrics=rows[-1] if rows else {},
            checkpoints=[
                {"checkpoint": one.path.name, "report": one.iteration, **numbers_of(one.metrics)} for one in self._store.stored
            ],
            path=str(self._directory),
        )
        skate.publish("training", self._name, document)

    def _tell(self, event: str, *args: Any) -> None:
        """A callback's own error is said, and does not end training."""
        for callback in self._callbacks:
            try:
                getattr(callback, event)(*args)
            except Exception as error:
                self._say(
                    f"callback {type(callback).__name__}.{event} raised {type(error).__name__}: {error}; it is left out from now on"
                )
                self._callbacks = [one for one in self._callbacks if one is not callback]

    def _say_once(self, text: str) -> None:
        if text and not self._warned_disk:
            self._warned_disk = True
            self._say(f"{text}. Training goes on; reports stay in memory")

    _warned_disk = False

    def _say(self, text: str) -> None:
        if self._run.verbose:
            sys.stderr.write(f"[train] {text}\n")
            sys.stderr.flush()


def _has_given(member: _Member, iteration: int, furthest: int) -> bool:
    """Whether this worker's part of the checkpoint of that report is there. One that never reports has none: seen when others are a report further."""
    return (
        member.iteration >= iteration
        or (member.is_done and member.error is None)
        or (not member.has_reported and furthest > iteration)
    )


def _error_of(ref: Any) -> BaseException | None:
    try:
        skate.get(ref, timeout=0)
    except skate.exceptions.GetTimeoutError:
        return None
    except (skate.exceptions.RayError, Exception) as error:
        return error
    return None


def _is_of_disk(error: BaseException) -> bool:
    """Whether a checkpoint could not be written, here or in a worker: the next attempt would meet the same full disk."""
    return isinstance(error, CheckpointError) or isinstance(getattr(error, "cause", None), CheckpointError)


def _is_death(error: BaseException | None) -> bool:
    exceptions = skate.exceptions
    return isinstance(error, exceptions.RayActorError | exceptions.WorkerCrashedError | exceptions.OutOfMemoryError)


_BROKEN = (
    "gloo",
    "connection closed by peer",
    "connection reset",
    "broken pipe",
    "nccl",
    "timed out waiting",
    "socket closed",
    "peer",
)


def _follows(error: BaseException | None) -> int:
    """0: a cause by itself; 1: may be another one's consequence: a broken connection."""
    if _is_death(error):
        return 0
    text = str(error).lower()
    if isinstance(error, PeerLostError | ConnectionError) or any(word in text for word in _BROKEN):
        return 2
    return 1


def _cause_of_death(error: BaseException) -> str:
    """The engine's sentence without its ids and its advice, which are about actors."""
    text = " ".join(str(error).split())
    for before in (" is dead: ", "died: "):
        text = text.split(before, 1)[-1]
    return text.split("; actor id")[0].split("; pass max_restarts")[0]


def _named(error: BaseException, text: str) -> BaseException:
    named = skate.exceptions.ActorDiedError(text)
    named.__cause__ = error
    return named


def _line(error: BaseException, rank: int | None = None) -> str:
    """An error as one line: its last one that says something. With the rank of the worker that raised it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    text = " ".join(str(error).split())
    if isinstance(error, skate.exceptions.RayActorError | WorkerHungError | NonFiniteMetricError | CheckpointError):
        return text
    return ("" if rank is None else f"worker {rank} raised ") + f"{type(error).__name__}: {text}"


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(
        f"{amount:g} {name}" for name, amount in sorted(resources.items()) if name in ("CPU", "GPU") or ":" not in name
    )
