"""Runtime environments: what has to be prepared before a worker can start in it, and which cannot start workers at all.

    unknown ──PrepareEnv──► preparing ──EnvReady──► ready
                                └──────EnvFailed──► unknown again: the next request tries anew

Most environments (variables, directories) need no preparation. In any of them workers may keep dying before they come up; then requests fail
for a while instead of starting processes forever.
"""

from __future__ import annotations

from skate.engine.scheduler.state import State
from skate.engine.scheduler.waiting import Request
from skate.engine.scheduler.workers import Worker, needs_preparation
from skate.engine.spec.events import PrepareEnv

_NOT_STARTED = ("it exited with status 70", "the machine cannot start another process")  # The words of engine/node.


class Environments:
    def __init__(self, state: State) -> None:
        self._state = state
        self._ready: set[str] = set()
        self._parked: dict[
            str, dict[tuple[int, int | bytes], Request]
        ] = {}  # Requests that wait for the preparation of an environment.
        self._proven: set[tuple[int, str]] = set()  # (job, env) in which a worker has come up.
        self._failed_starts: dict[tuple[int, str], int] = {}  # (job, env) → in a row
        self._broken: dict[tuple[int, str], tuple[float, str]] = {}  # (job, env) → until when, why

    def park(self, request: Request) -> bool:
        """True: its environment is being prepared, and the request is kept here meanwhile."""
        env = request.shape.env
        if not needs_preparation(env) or env in self._ready:
            return False
        parked = self._parked.get(env)
        if parked is None:
            parked = self._parked[env] = {}
            self._state.commands.append(PrepareEnv(env))
        parked[request.client.number, request.key] = request
        return True

    def unpark(self, request: Request) -> None:
        """Nobody wants it any more."""
        parked = self._parked.get(request.shape.env)
        if parked is not None:
            parked.pop((request.client.number, request.key), None)

    def parked(self) -> list[Request]:
        return [request for parked in self._parked.values() for request in parked.values()]

    def on_ready(self, env: str) -> list[Request]:
        self._ready.add(env)
        return list(self._parked.pop(env, {}).values())

    def on_failed(self, env: str) -> list[Request]:
        return list(self._parked.pop(env, {}).values())

    # ------------------------------------------------------------ workers that do not come up

    def on_worked(self, worker: Worker) -> None:
        """It came up: it said or did something."""
        if worker.has_worked:
            return
        worker.has_worked = True
        self._proven.add((worker.job, worker.env))
        if self._failed_starts:
            self._failed_starts.pop((worker.job, worker.env), None)

    def has_failed_to_start(self, worker: Worker, detail: str) -> bool:
        """Whether it died before it was of any use.

        In an environment of its own a broken interpreter ends with any status; but once a worker has come up there, the tasks are to blame.
        """
        if worker.has_worked or worker.stopping:
            return False
        if any(text in detail for text in _NOT_STARTED):
            return True
        return needs_preparation(worker.env) and (worker.job, worker.env) not in self._proven

    def on_failed_start(self, worker: Worker, detail: str) -> str:
        """Why nothing more is tried in this environment for now; "": try again."""
        key = (worker.job, worker.env)
        self._failed_starts[key] = failures = self._failed_starts.get(key, 0) + 1
        if failures < self._state.config.failed_starts_max:
            return ""
        where = f"in the runtime_env {worker.env}" if worker.env else "here"
        reason = (
            f"{failures} workers in a row ended before they came up {where}: {detail}. "
            "Their output (`skate logs`) says why; is the environment's interpreter able to import skate?"
        )
        # One failure is enough next time.
        self._failed_starts[key] = self._state.config.failed_starts_max - 1
        self._broken[key] = (self._state.now_s + self._state.config.broken_env_s, reason)
        return reason

    def why_broken(self, job: int, env: str) -> str:
        if not self._broken:
            return ""
        until_s, reason = self._broken.get((job, env), (0.0, ""))
        if reason and until_s <= self._state.now_s:
            del self._broken[job, env]
            return ""
        return reason

    def forget_job(self, job: int) -> None:
        self._proven = {key for key in self._proven if key[0] != job}
        self._failed_starts = {key: failures for key, failures in self._failed_starts.items() if key[0] != job}
        self._broken = {key: broken for key, broken in self._broken.items() if key[0] != job}
