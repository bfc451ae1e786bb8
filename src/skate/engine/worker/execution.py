"""Running one call: unpack its arguments, call the function, pack what it returns or raises, write its row of task events.

`Executor.run` is the hot path of leased tasks and of sync actors (an empty call costs it about 3 µs); pool threads use it too.
Async actors share the parts and await in between (`async_actor`).
"""

from __future__ import annotations

import pickle
import struct
import sys
from time import time_ns
from typing import TYPE_CHECKING, Any

from skate import run_format
from skate.config import INLINE_BYTES_MAX
from skate.engine.client import errors
from skate.engine.client.trail import ROWS_MAX, detail_of, error_text
from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import Packed, pack
from skate.engine.spec import messages as m, task_events
from skate.engine.spec.ids import return_id
from skate.engine.worker import arguments
from skate.engine.worker.interrupts import call_user
from skate.engine.worker.leaving import leave
from skate.engine.worker.link import Bound, Link
from skate.engine.worker.runtime import ActorExit, Running, WorkerRuntime, current, exit_code_of
from skate.engine.worker.streams import AsyncSteps, Gate, ThreadGate, is_async_generator, is_sync_generator

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = m.Outcome
_dumps = serialization._dumps
_BY_CONTENT = serialization._BY_CONTENT
_NONE = _dumps(None, 5)
_NO_ARGUMENTS = arguments.NO_ARGUMENTS
STREAMING, DYNAMIC = -1, -2
QUICK_US = 1000
OK, FAILED, CANCELLED, EXITED = 0, 1, 2, 3
_TRACEBACK_MAX = 8000
_KEPT_PER_FUNCTION_MAX = 3
_KEPT_BYTES_MAX = 8_000_000
_NOTED_BYTES = 1024
_NOTED_REFS_MAX = 16
_owner_and_number = struct.Struct(">4xI4xI").unpack
_pack_row = run_format.ROW.pack
_DURATION_MAX = run_format.DURATION_MAX
_EVENT_STATUS = (task_events.FINISHED, task_events.FAILED, task_events.CANCELLED, task_events.FINISHED)


class Executor:
    """Runs calls. One per worker; `run` may be called by several threads at once."""

    def __init__(self, runtime: WorkerRuntime) -> None:
        self._runtime = runtime
        self._client = runtime.client
        self.bind: Callable[[Bound], Any] = runtime.functions.bind  # An actor's host binds methods instead.
        self.event_kind = task_events.TASK
        self._worker = runtime.worker
        self._kept: dict[str, int] = {}  # Failed tasks whose arguments were kept, by name.
        self.actor = b""
        self.actor_class = ""

    # ------------------------------------------------------------ one call

    def run(self, link: Link, call: m.Call, *, is_main: bool = True) -> int:
        """Run a call in this thread and hold its outcome back. Returns the time (ns) at which it ended."""
        runtime = self._runtime
        bound = link.bounds[call.template]
        running = Running(call, bound, link)
        start_ns = time_ns()
        running.start_us = start_ns // 1000
        if is_main:
            runtime.main_call = running
        else:
            current.set(running)
            runtime.running[call.task] = running
        if not runtime.control.is_awake:
            runtime.control.rouse()
        error_row = ""
        try:
            outcome = self._perform(link, call, bound, is_main)
        except BaseException as error:
            if runtime.is_fork:
                runtime.leave_fork(error)
            outcome = self.failed(error, running, start_ns)
            error_row = error_text(error)
        if runtime.is_fork:
            runtime.leave_fork(None)
        end_ns = time_ns()
        if is_main:
            runtime.main_call = None
        else:
            current.set(None)
            runtime.running.pop(call.task, None)
        self.finished(running, outcome, error_row, end_ns)
        return end_ns

    def finished(self, running: Running, outcome: m.Outcome, error_row: str, end_ns: int) -> None:
        """Write the row and hold the outcome back."""
        runtime = self._runtime
        call = running.call
        end_us = end_ns // 1000
        outcome.duration_us = max(0, end_us - running.start_us)
        running.bound.is_quick = outcome.duration_us < QUICK_US
        trail = runtime.trail
        bound = running.bound
        rows = trail.rows
        if bound.template.is_recorded or outcome.status == FAILED:
            name = bound.name_number
            if not name:
                name = bound.name_number = trail.name(bound.template.name)
            owner, number = _owner_and_number(call.task)
            if outcome.duration_us <= _DURATION_MAX:  # 0.4 µs, written out.
                rows.append(
                    _pack_row(
                        self.event_kind + 1, _EVENT_STATUS[outcome.status], call.attempt, self._worker, running.start_us, name, owner,
                        number, outcome.duration_us,
                    )
                )  # fmt: skip
            else:
                rows.append(
                    run_format.pack_row(
                        self.event_kind + 1, _EVENT_STATUS[outcome.status], call.attempt, self._worker, running.start_us, name, owner,
                        number, outcome.duration_us,
                    )
                )  # fmt: skip
            if error_row and outcome.status == FAILED:
                trail.error(
                    call.task,
                    call.attempt,
                    bound.template.name,
                    error_row,
                    lambda: self._error_detail(running, outcome, error_row),
                )
        running.link.results.add(outcome, end_ns)
        if len(rows) >= ROWS_MAX:
            trail.flush()

    def _error_detail(self, running: Running, outcome: m.Outcome, text: str) -> bytes:
        """What a page about this failure shows, as JSON."""
        call = running.call
        fields = pickle.loads(outcome.data)
        kind, _, message = text.partition(": ")
        return detail_of({
            "task": call.task.hex(), "attempt": call.attempt, "name": running.bound.template.name, "type": kind, "message": message,
            "traceback": str(fields.get("traceback", ""))[-_TRACEBACK_MAX:], "worker": self._worker, "pid": self._runtime.pid,
            "start_us": running.start_us, "duration_us": outcome.duration_us, "args_bytes": len(call.args),
            "actor_class": self.actor_class, "is_retried": bool(outcome.retryable),
        })  # fmt: skip

    def _perform(self, link: Link, call: m.Call, bound: Bound, is_main: bool) -> m.Outcome:
        runtime = self._runtime
        if runtime.cancelled and call.task in runtime.cancelled:
            self.drop_arguments(call)
            return self.dropped(call, bound)
        if runtime.environment.error:
            self.drop_arguments(call)
            return self.refused_by_environment(call)
        adopted = arguments.adopt(self._client, call)
        try:
            if bound.function is None and is_main:
                runtime.output.label = bound.label  # Of what is printed while the function is unpickled.
            function = bound.function or self.bind(bound)
            if is_main:
                runtime.output.label = bound.label
            if call.args == _NO_ARGUMENTS:
                args: tuple[Any, ...] = ()
                kwargs: dict[str, Any] = {}
            else:
                if (call.refs is not None or len(call.args) > _NOTED_BYTES) and bound.template.is_recorded:
                    self._note_arguments(call)
                args, kwargs = arguments.unpack_arguments(self._client, call, bound.template.name)
            if runtime.interrupts.target is not None and is_main and runtime.interrupts.take(call.task):
                raise KeyboardInterrupt
            try:
                value = call_user(function, args, kwargs)
            except Exception:
                if runtime.host is None and not runtime.is_fork:
                    self._keep(call, bound, function, args, kwargs)
                raise
            num_returns = bound.template.num_returns
            if num_returns == 1:
                return self.pack_one(value, link, call, bound)
            if num_returns == STREAMING:
                return self._stream(value, link, call, bound, is_main)
            if num_returns == DYNAMIC:
                return self.pack_one(self._collect_dynamic(value, bound), link, call, bound)
            return self.pack_many(value, link, call, bound)
        finally:
            if adopted is not None:
                self._client.dropped.extend(adopted)

    def _note_arguments(self, call: m.Call) -> None:
        """Rows about what the call took along: a page about the task tells the size of each argument."""
        owner, number = _owner_and_number(call.task)
        now_us = time_ns() // 1000
        append = self._runtime.trail.others.append
        if len(call.args) > _NOTED_BYTES:
            append(
                _pack_row(run_format.ARGUMENT, 0, run_format.OWN_BYTES, self._worker, now_us, 0, owner, number, len(call.args))
            )
        for index, ref in enumerate(call.refs or ()):
            if type(ref) is m.Value and index < _NOTED_REFS_MAX:
                append(_pack_row(run_format.ARGUMENT, 0, index, self._worker, now_us, 0, owner, number, len(ref.data)))

    def _keep(self, call: m.Call, bound: Bound, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A failed task's function and arguments, for `skate debug`: a few of each function, when they are not large."""
        name = bound.template.name
        kept = self._kept.get(name, 0)
        if kept >= _KEPT_PER_FUNCTION_MAX:
            return
        self._kept[name] = kept + 1
        try:
            import cloudpickle

            packed = pack((args, kwargs))
            if packed.size > _KEPT_BYTES_MAX or packed.contains:
                return
            info = self._runtime.boot.job_info
            fields = {
                "name": name, "function": cloudpickle.dumps(function, 5), "kind": packed.kind, "arguments": packed.data(), "cwd": info.cwd,
                "sys_path": list(sys.path),
            }  # fmt: skip
            self._runtime.trail.keep(call.task, call.attempt, _dumps(fields, 5))
        except Exception:  # What can't be pickled can't be kept: the error itself counts.
            pass

    def refused_by_environment(self, call: m.Call) -> m.Outcome:
        error = errors.pack_system_error("runtime_env", self._runtime.environment.error)
        return Outcome(call.seq, FAILED, serialization.ERROR, error, 0)

    def drop_arguments(self, call: m.Call) -> None:
        """Give the counts of a call's references back without running it."""
        adopted = arguments.adopt(self._client, call)
        if adopted is not None:
            self._client.dropped.extend(adopted)

    def dropped(self, call: m.Call, bound: Bound) -> m.Outcome:
        """The outcome of a call that was cancelled before it ran."""
        self._runtime.cancelled.pop(call.task, None)
        return Outcome(call.seq, CANCELLED, serialization.ERROR, errors.pack_cancelled(bound.template.name, call.task), 0)

    # ------------------------------------------------------------ what it returned

    def pack_one(self, value: Any, link: Link, call: m.Call, bound: Bound) -> m.Outcome:
        if value is None:
            return Outcome(call.seq, OK, 0, _NONE, 0)
        if type(value) in _BY_CONTENT:
            data = _dumps(value, 5)
            if len(data) <= INLINE_BYTES_MAX:
                return Outcome(call.seq, OK, 0, data, 0)
        packed = _pack(value, bound.template.name)
        if packed.size <= INLINE_BYTES_MAX:
            if packed.contains:
                self._share(packed.contains, link.caller)
                return Outcome(call.seq, OK, packed.kind, packed.data(), 0, None, [packed.contains])
            return Outcome(call.seq, OK, packed.kind, packed.data(), 0)
        self._client.store(return_id(call.task, 0), packed, link.caller)
        return Outcome(call.seq, OK, 0, b"", 0, [m.Stored(packed.size)])

    def pack_many(self, value: Any, link: Link, call: m.Call, bound: Bound) -> m.Outcome:
        """For num_returns of 0 or above 1.

        Raises:
            ValueError: The number of values is another one.
        """
        template = bound.template
        if template.num_returns == 0:
            return Outcome(call.seq, OK, 0, _NONE, 0, [])
        try:
            values = call_user(list, (value,), {})
        except TypeError:
            raise TypeError(
                f"{template.name}() has num_returns={template.num_returns} but returned one {type(value).__name__}: "
                f"return a tuple of {template.num_returns} values"
            ) from None
        if len(values) != template.num_returns:
            raise ValueError(f"{template.name}() has num_returns={template.num_returns} but returned {len(values)} values")
        returns: list[m.Value | m.Stored] = []
        contains: list[list[bytes]] = []
        for index, packed in enumerate([_pack(item, template.name) for item in values]):
            returns.append(self._place(packed, return_id(call.task, index), link, contains))
        return Outcome(call.seq, OK, 0, b"", 0, returns, contains if any(contains) else None)

    def _place(self, packed: Packed, object_id: bytes, link: Link, contains: list[list[bytes]]) -> m.Value | m.Stored:
        """A packed value on its way to the caller: in the message, or in the arena."""
        if packed.size <= INLINE_BYTES_MAX:
            if packed.contains:
                self._share(packed.contains, link.caller)
            contains.append(packed.contains)
            return m.Value(packed.kind, packed.data())
        self._client.store(object_id, packed, link.caller)
        contains.append([])  # The node counts for the stored object itself.
        return m.Stored(packed.size)

    def _share(self, ids: list[bytes], caller: int) -> None:
        """References travel in a value: count them for the caller while we still hold them."""
        with self._client.lock:
            for inner in ids:
                self._client.share(inner, caller)

    # ------------------------------------------------------------ generators

    def _stream(self, value: Any, link: Link, call: m.Call, bound: Bound, is_main: bool) -> m.Outcome:
        steps = self.sync_steps(value, bound)
        gate: Gate = Gate(bound.template.backpressure, lambda: None) if is_main else ThreadGate(bound.template.backpressure)
        link.streams[call.task] = gate
        index = 0
        try:
            while True:
                if is_main:
                    self._wait_in_main_thread(gate, index, link, call)
                elif isinstance(gate, ThreadGate):
                    gate.wait_at(index)
                    link.results.wait_for_room()
                if gate.is_closed:
                    break
                try:
                    item = call_user(next, (steps,), {})
                except StopIteration:
                    break
                self.send_item(item, index, link, call, bound)
                index += 1
        finally:
            link.streams.pop(call.task, None)
            close = getattr(steps, "close", None)
            if close is not None:
                call_user(close, (), {})
        return Outcome(call.seq, OK, 0, _NONE, 0)

    def send_item(self, item: Any, index: int, link: Link, call: m.Call, bound: Bound) -> None:
        contains: list[list[bytes]] = []
        value = self._place(_pack(item, bound.template.name), return_id(call.task, index), link, contains)
        link.results.send(m.GeneratorItem(call.task, index, value, contains[0]))
        if self._client.dropped:
            self._client.housekeep()

    def sync_steps(self, value: Any, bound: Bound) -> Any:
        if is_sync_generator(value):
            return value
        if is_async_generator(value):
            return AsyncSteps(value)
        raise TypeError(
            f"{bound.template.name}() was asked for a stream of values but returned a {type(value).__name__}: "
            "write it as a generator, with yield"
        )

    def _wait_in_main_thread(self, gate: Gate, index: int, link: Link, call: m.Call) -> None:
        """Hear what the consumer says; wait when it is too far behind, or does not read."""
        runtime = self._runtime
        results = link.results
        runtime.links.receive(0)
        if not gate.is_shut(index) and not results.has_backlog():
            return
        runtime.on_block()
        try:
            while (gate.is_shut(index) or results.has_backlog()) and not results.is_gone:
                runtime.links.watch_backlog(link)
                if runtime.interrupts.take(call.task):
                    raise KeyboardInterrupt
                runtime.links.receive(None)
        finally:
            runtime.on_unblock()

    def _collect_dynamic(self, value: Any, bound: Bound) -> Any:
        steps = self.sync_steps(value, bound)
        refs = []
        while True:
            try:
                item = call_user(next, (steps,), {})
            except StopIteration:
                break
            refs.append(self._client.put_packed(_pack(item, bound.template.name)))
        return self._runtime.dynamic_class(refs)

    # ------------------------------------------------------------ what it raised

    def failed(self, error: BaseException, running: Running, start_ns: int) -> m.Outcome:
        """The outcome of a call that raised; ends the process when it asked for that."""
        runtime = self._runtime
        call, bound, link = running.call, running.bound, running.link
        template = bound.template
        if isinstance(error, ActorExit) or (isinstance(error, SystemExit) and runtime.host is not None):
            assert runtime.host is not None
            code = exit_code_of(error) if isinstance(error, SystemExit) else 0
            runtime.host.exit_on_purpose(code, f"exit_actor() or sys.exit() in {template.name}")
            return Outcome(call.seq, EXITED, serialization.ERROR, errors.pack_exit(template.name, call.task), 0)
        if isinstance(error, SystemExit):
            link.results.flush()
            leave(runtime, exit_code_of(error))
        if isinstance(error, arguments.ArgumentLost):
            return Outcome(call.seq, FAILED, serialization.ERROR, error.data, 0)
        if running.is_cancelled and runtime.host is None:
            # Whatever it raised: the interrupt, or what came of its children, which were cancelled with it.
            return Outcome(call.seq, CANCELLED, serialization.ERROR, errors.pack_cancelled(template.name, call.task), 0)
        try:
            data = errors.pack_task_error(
                error,
                name=template.name,
                task=call.task,
                pid=runtime.pid,
                worker=runtime.worker,
                actor_class=self.actor_class,
                attempt=call.attempt,
                duration_s=(time_ns() - start_ns) * 1e-9,
                arguments=arguments.shown(call),
            )
        except Exception as trouble:  # An error that resists everything must not end the worker.
            text = f"{template.name}() raised a {type(error).__name__} that can't be told: {type(trouble).__name__}: {trouble}"
            data = errors.pack_system_error("error", text)
        retryable = template.retry_exceptions and self._is_retryable(error, bound)
        return Outcome(call.seq, FAILED, serialization.ERROR, data, 0, retryable=retryable)

    def _is_retryable(self, error: BaseException, bound: Bound) -> bool:
        if not bound.template.retry_types:
            return isinstance(error, Exception)
        if bound.retry_types is None:
            try:
                bound.retry_types = pickle.loads(bound.template.retry_types)
            except Exception:  # Types that don't exist here can't have been raised here.
                bound.retry_types = ()
        return isinstance(error, bound.retry_types or ())


def _pack(value: Any, name: str) -> Packed:
    try:
        return pack(value)
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(
            f"{name}() returned a {kind} that can't be pickled: {type(error).__name__}: {error}; "
            "return plain data instead, or register a serializer with skate.util.register_serializer"
        ) from error
