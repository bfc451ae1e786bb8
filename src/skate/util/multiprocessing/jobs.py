"""What the pool sends to its workers: jobs, and the actor that runs them.

A *job* is one call, or one chunk of a map. Short jobs travel together in a *batch*: one actor call.

    reply = (seconds it took, [(True, value) | (False, (error, traceback text)), …])    one answer for each job of the batch
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable
from typing import Any

CALL, MAP, STARMAP = 0, 1, 2

Answer = tuple[bool, Any]


class Job:
    """A call or chunk that waits, or is under way."""

    __slots__ = ("args", "deliver", "function", "kind", "kwargs")

    def __init__(
        self,
        kind: int,
        function: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any] | None,
        deliver: Callable[[bool, Any], None],
    ) -> None:
        """`args`: the arguments of a CALL, the items of a MAP. `deliver(is_ok, value or error)` is called once."""
        self.kind = kind
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.deliver = deliver


class FunctionTable:
    """Gives functions a number, so that each travels to a worker once.

    Only plain functions without a closure: any other callable may have changed since it was sent.
    """

    _FUNCTIONS_MAX = 256

    def __init__(self) -> None:
        self.epoch = 0
        self._numbers: dict[Any, int] = {}

    def number_of(self, function: Callable[..., Any]) -> int:
        """-1: it has to travel each time."""
        if type(function) is not types.FunctionType or function.__closure__:
            return -1
        number = self._numbers.get(function)
        if number is None:
            if len(self._numbers) >= self._FUNCTIONS_MAX:
                self._numbers.clear()  # Workers forget theirs when they see the next epoch.
                self.epoch += 1
            number = self._numbers[function] = len(self._numbers)
        return number


class PoolWorker:
    """The actor: one process of the pool."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
        self._epoch = 0
        self._functions: dict[int, Callable[..., Any]] = {}
        self._kept: tuple[int, list[Answer]] = (0, [])  # (number, answers) of the last batch of several jobs
        if initializer is not None:
            initializer(*initargs)

    def run(
        self, batch: int, epoch: int, number: int, function: Callable[..., Any] | None, jobs: list[tuple[int, Any, Any]]
    ) -> tuple[float, list[Answer]]:
        """Run the jobs in order. `function` is None when this worker has had it under this number before."""
        if epoch != self._epoch:
            self._functions.clear()
            self._epoch = epoch
        if function is None:
            function = self._functions[number]
        elif number >= 0:
            self._functions[number] = function
        start_s = time.perf_counter()
        answers = [_run_job(function, kind, args, kwargs) for kind, args, kwargs in jobs]
        self._kept = (batch, answers if len(answers) > 1 else [])
        return time.perf_counter() - start_s, answers

    def answer(self, batch: int, index: int) -> Answer:
        """One answer alone: asked for when the batch's could not be pickled together."""
        number, answers = self._kept
        if number != batch:
            raise LookupError("this batch was not run")
        return answers[index]


def _run_job(function: Callable[..., Any], kind: int, args: Any, kwargs: dict[str, Any] | None) -> Answer:
    try:
        if kind == CALL:
            return True, (function(*args, **kwargs) if kwargs else function(*args))
        if kind == MAP:
            return True, [function(item) for item in args]
        return True, [function(*item) for item in args]
    except Exception as error:  # The user's function may raise anything; it is theirs to see.
        return False, _portable(error)


def _portable(error: Exception) -> tuple[BaseException, str]:
    """The error and its traceback; a stand-in for an error that cannot travel."""
    import traceback
    from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]

    import cloudpickle

    trace = error.__traceback__
    text = "".join(traceback.format_exception(type(error), error, trace.tb_next if trace is not None else None))
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception as refusal:
        return MaybeEncodingError(refusal, error), text
    return error, text


def rebuild_error(portable: tuple[BaseException, str]) -> BaseException:
    """The error with its remote traceback as the cause, as `multiprocessing` shows it."""
    from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]

    error, text = portable
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error
