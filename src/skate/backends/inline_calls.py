"""Calls of the inline backend: who runs, arguments in, results out.

Running   the call that runs in this thread or asyncio task, for `get_runtime_context`
Calls     one call from its arguments to its results; used for tasks and for actors' methods
"""

from __future__ import annotations

import asyncio
import bdb
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from skate.backends.base import DYNAMIC, STREAMING
from skate.backends.inline_objects import Objects, Stored
from skate.backends.inline_streams import InlineStream
from skate.engine.client import errors
from skate.engine.client.tasks import Slot
from skate.engine.object_store.serialization import pack, unpack_stored
from skate.engine.spec import task_events
from skate.engine.spec.ids import return_id
from skate.exceptions import WorkerCrashedError
from skate.object_ref import ObjectRef

_EVENTS_KEPT_MAX = 100_000


class ActorExit(BaseException):
    """`exit_actor` was called: not an Exception, so that user code does not catch it by accident."""


@dataclass(slots=True)
class Running:
    """One call, and what it may ask about itself."""

    task: bytes
    name: str
    function_name: str
    resources: Mapping[str, float]
    placement_group: bytes = b""
    captures: bool = False
    actor: Any = None  # The inline actor whose method it is.
    attempt: int = 0
    is_cancelled: bool = False
    runtime_env: Mapping[str, Any] = field(default_factory=dict)


running: ContextVar[Running | None] = ContextVar("skate_inline_call", default=None)


@dataclass(slots=True)
class Wanted:
    """What is to be called, and how its results are wanted."""

    name: str
    function: Callable[..., Any]
    num_returns: int
    retries: int = 0  # -1: endless
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    actor_class: str = ""

    def retries_after(self, error: BaseException) -> bool:
        if isinstance(self.retry_exceptions, bool):
            return self.retry_exceptions and isinstance(error, Exception)
        return isinstance(error, self.retry_exceptions)


class Results:
    """Where the results of one call go."""

    def __init__(self, objects: Objects, task: bytes, num_returns: int) -> None:
        self._objects = objects
        self.task = task
        self.stored: list[Stored] = []
        self.refs: list[ObjectRef[Any]] = []
        self.stream: InlineStream | None = None
        count = 1 if num_returns == DYNAMIC else max(0, num_returns)
        for index in range(count):
            ref, stored = objects.create(return_id(task, index))
            self.refs.append(ref)
            self.stored.append(stored)
        if num_returns == STREAMING:
            self.stream = InlineStream(objects, task)

    def answer(self, num_returns: int) -> Any:
        """What the caller gets."""
        if self.stream is not None:
            return self.stream
        return self.refs[0] if num_returns in (1, DYNAMIC) else self.refs if num_returns else None

    def fail(self, error: bytes) -> None:
        for stored in self.stored:
            self._objects.fail(stored, error)
        if self.stream is not None:
            self.stream.end(error)


class Calls:
    def __init__(self, objects: Objects, new_id: Callable[[], bytes]) -> None:
        self.objects = objects
        self.new_id = new_id
        self.events: deque[tuple[Any, ...]] = deque(maxlen=_EVENTS_KEPT_MAX)

    # ------------------------------------------------------------ arguments

    def capture(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Callable[[], Any], list[Stored]]:
        """Pickle arguments as they are now; returns what gives (args, kwargs), and the objects it needs to be done."""
        deps: list[Stored] = []
        held: list[ObjectRef[Any]] = []

        def slot(value: Any) -> Any:
            if type(value) is not ObjectRef:
                return value
            deps.append(self.objects.find(value._id))
            held.append(value)
            return Slot(len(deps) - 1)

        args = tuple([slot(value) for value in args])
        kwargs = {name: slot(value) for name, value in kwargs.items()}
        packed = pack((args, kwargs))
        data = b"".join(packed.stored_parts())
        inner = self.objects.hold(packed.contains)

        def give() -> Any:
            values = [self.objects.value_of(dep) for dep in deps]
            given_args, given_kwargs = unpack_stored(memoryview(data))
            _ = held, inner  # Alive as long as this is.
            return (
                tuple([values[value.index] if type(value) is Slot else value for value in given_args]),
                {name: values[value.index] if type(value) is Slot else value for name, value in given_kwargs.items()},
            )

        return give, deps

    # ------------------------------------------------------------ running

    def run(self, wanted: Wanted, give: Callable[[], Any], deps: list[Stored], results: Results, call: Running) -> None:
        """Call, and again if it is to be retried; stores the results or the error."""
        for dep in deps:
            if dep.error is not None:
                results.fail(errors.argument_failed(dep.error, wanted.name))
                return
        retries = wanted.retries
        while True:
            started_s = time.time()
            token = running.set(call)
            try:
                args, kwargs = give()
                value = wanted.function(*args, **kwargs)
                self._store(wanted, value, results, call)
                self.note(wanted, call, started_s, None)
                return
            except (KeyboardInterrupt, GeneratorExit, bdb.BdbQuit):
                raise  # It is the user, at the keyboard or in the debugger.
            except ActorExit:
                raise
            except BaseException as error:
                self.note(wanted, call, started_s, error)
                if retries != 0 and wanted.retries_after(error):
                    retries -= 1
                    call.attempt += 1
                    continue
                results.fail(self.pack_error(wanted, error, call, time.time() - started_s))
                return
            finally:
                running.reset(token)

    def _store(self, wanted: Wanted, value: Any, results: Results, call: Running) -> None:
        objects = self.objects
        if results.stream is not None:
            stream = results.stream
            stream.pull_from(steps_of(value, wanted.name), call, lambda error: self.pack_error(wanted, error, call, 0.0))
            return
        if wanted.num_returns == DYNAMIC:
            import importlib

            refs = []
            for item in steps_of(value, wanted.name):
                ref, stored = objects.create(self.new_id() + bytes(4))
                objects.settle(stored, item)
                refs.append(ref)
            value = importlib.import_module("skate.generator").DynamicObjectRefGenerator(refs)
        if wanted.num_returns in (1, DYNAMIC):
            objects.settle_packed(results.stored[0], _pack(value, wanted.name))
            return
        if wanted.num_returns == 0:
            return
        try:
            values = list(value)
        except TypeError:
            raise TypeError(
                f"{wanted.name}() has num_returns={wanted.num_returns} but returned one {type(value).__name__}: "
                f"return a tuple of {wanted.num_returns} values"
            ) from None
        if len(values) != wanted.num_returns:
            raise ValueError(f"{wanted.name}() has num_returns={wanted.num_returns} but returned {len(values)} values")
        for stored, packed in zip(results.stored, [_pack(one, wanted.name) for one in values], strict=True):
            objects.settle_packed(stored, packed)

    def pack_error(self, wanted: Wanted, error: BaseException, call: Running, duration_s: float) -> bytes:
        if isinstance(error, asyncio.CancelledError):
            return errors.pack_cancelled(wanted.name, call.task)
        if isinstance(error, SystemExit):
            return errors.pack(WorkerCrashedError(f"{wanted.name}() called sys.exit({error.code!r}): tasks must return or raise"))
        return errors.pack_task_error(
            error, name=wanted.name, task=call.task, pid=os.getpid(), worker=0, actor_class=wanted.actor_class, attempt=call.attempt,
            duration_s=duration_s,
        )  # fmt: skip

    def note(self, wanted: Wanted, call: Running, started_s: float, error: BaseException | None) -> None:
        """A row of task events: see `spec/task_events.py`."""
        actor = call.actor.actor_id if call.actor is not None else b""
        status = task_events.FINISHED if error is None else task_events.FAILED
        text = "" if error is None else f"{type(error).__name__}: {error}"
        kind = task_events.ACTOR_CALL if actor else task_events.TASK
        started_us, ended_us = int(started_s * 1e6), int(time.time() * 1e6)
        self.events.append((call.task, call.attempt, wanted.name, kind, status, 1, actor, b"", started_us, ended_us, text, 1))


def _pack(value: Any, name: str) -> Any:
    try:
        return pack(value)
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{name}() returned a {kind} that can't be pickled: {type(error).__name__}: {error}") from error


def steps_of(value: Any, name: str) -> Any:
    """An iterator over what a generator yields; an async one is driven by a loop of its own."""
    if hasattr(value, "__next__"):
        return value
    if hasattr(value, "__anext__"):
        return _drive(value)
    raise TypeError(
        f"{name}() was asked for a stream of values but returned a {type(value).__name__}: write it as a generator, with yield"
    )


def _drive(generator: Any) -> Any:
    with asyncio.Runner() as runner:
        while True:
            try:
                item = runner.run(_next(generator))
            except StopAsyncIteration:
                return
            yield item


async def _next(generator: Any) -> Any:
    return await anext(generator)
