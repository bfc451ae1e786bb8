"""The actor in which a training loop runs. It has threads: one runs the loop, one answers the driver's polls, one listens for a stop.

A worker outlives an attempt: when another worker of the group dies, this one leaves its loop and joins the next group, imports done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import skate
from skate.train import context, hosts
from skate.train.errors import GroupStopped

if TYPE_CHECKING:
    from skate.train.context import Assignment, Row
    from skate.train.framework import Framework

THREADS = 4  # The loop, a poll, a stop, and one to spare.


class TrainWorker:
    """One worker."""

    def __init__(self) -> None:
        self._session: context.Session | None = None
        self._framework: Framework | None = None
        self._idle = threading.Event()
        self._idle.set()

    def locate(self) -> dict[str, str]:
        """Which machine this is."""
        return hosts.where_i_am()

    def prepare(self, framework: Framework, rank: int, world_size: int, address: str) -> dict[str, Any]:
        """Import the framework, open what the peers will connect to at `address`."""
        self._framework = framework
        return {"pid": os.getpid(), "address": address, **framework.prepare(rank, world_size, address)}

    def warm_up(self, framework: Framework) -> None:
        """In a spare: import what takes long, and leave the processors to those that train."""

        def run() -> None:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # Of this thread only, which ends with this.
            framework.warm_up()

        thread = threading.Thread(target=run, name="skate-warm-up")
        thread.start()
        thread.join()

    def run(self, assignment: Assignment, loop: Callable[..., Any], config: Mapping[str, Any], shards: Mapping[str, Any]) -> Any:
        """One attempt: the loop from the assignment's checkpoint to its end.

        Returns:
            What the loop returned; `GroupStopped` as a value when the driver stopped it.
        """
        framework = self._framework
        assert framework is not None, "prepare comes first"
        session = context.Session(assignment, _bind(shards, assignment), config)
        self._idle.clear()
        self._session = session
        context.set_session(session)
        try:
            framework.set_up(session)
            return loop(dict(config)) if takes_config(loop) else loop()
        except GroupStopped:
            return "stopped"
        except BaseException:
            # A collective operation that was broken off on purpose is not this worker's failure.
            if session.stop.is_set():
                return "stopped"
            raise
        finally:
            try:
                framework.tear_down(session)
            finally:
                context.set_session(None)
                session.wake()
                self._idle.set()

    @skate.method(enable_task_events=False)  # It waits beside the loop, which would not be seen behind it in a timeline.
    def poll(self, timeout_s: float) -> list[Row]:
        """The reports since the last poll; waits for one."""
        session = self._session
        return [] if session is None else session.take(timeout_s)

    def stop(self) -> None:
        """Make the loop end: at its next report, or in the collective operation it waits in."""
        session, framework = self._session, self._framework
        if session is not None and framework is not None and not self._idle.is_set():
            session.stop.set()
            session.wake()
            framework.interrupt(session)


def _bind(shards: Mapping[str, Any], assignment: Assignment) -> dict[str, Any]:
    return {
        name: data.shard(assignment.rank, assignment.world_size) if hasattr(data, "shard") else data
        for name, data in shards.items()
    }


def takes_config(loop: Callable[..., Any]) -> bool:
    """Whether the loop has a parameter; Ray lets both be written.

    Raises:
        TypeError: It wants more than one.
    """
    import inspect

    try:
        parameters = inspect.signature(loop).parameters.values()
    except (TypeError, ValueError):
        return True
    required = [
        one for one in parameters if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > 1:
        name = getattr(loop, "__name__", "train_loop")
        raise TypeError(
            f"the training loop {name}({', '.join(one.name for one in required)}) must take one argument, the config, or none"
        )
    return any(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL) for one in parameters)
