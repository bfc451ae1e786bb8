"""Actors of the inline backend: plain objects whose methods run when they are called; async actors have a loop in a thread of their own."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from skate.backends.base import STREAMING, ActorClassSpec, MethodSpec
from skate.backends.inline_calls import ActorExit, Calls, Results, Running, Wanted, running
from skate.engine.client import errors
from skate.exceptions import ActorDiedError, ActorPlacementGroupRemoved, PendingCallsLimitExceeded, RayError


class InlineActor:
    """One actor. A call never leaves the caller's thread, unless the actor is async."""

    def __init__(
        self, calls: Calls, actor_id: bytes, spec: ActorClassSpec, give: Callable[[], Any], on_death: Callable[[Any], None]
    ) -> None:
        self.actor_id = actor_id
        self.spec = spec
        self.death: bytes | None = None
        self.cause = ""
        self.restarts = 0
        self._calls = calls
        self._give = give
        self._on_death = on_death
        self._turn = threading.RLock()  # One call at a time.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._pending_count = 0
        self.instance: Any = None
        if spec.is_async:
            self._start_loop()
        self.construct()

    # ------------------------------------------------------------ life

    def construct(self) -> None:
        """Run the constructor; an error of it is the actor's death."""
        spec = self.spec
        call = self._call(self.actor_id, f"{spec.class_name}.__init__")
        wanted = Wanted(call.name, spec.cls, 1, actor_class=spec.class_name)

        def make() -> None:
            token = running.set(call)
            started_s = time.time()
            try:
                args, kwargs = self._give()
                self.instance = spec.cls(*args, **kwargs)
            except KeyboardInterrupt:
                raise
            except ActorExit:
                self.die(ActorDiedError(f"{spec.class_name} asked to exit in its constructor"), "exit")
            except BaseException as error:
                packed = self._calls.pack_error(wanted, error, call, time.time() - started_s)
                death = ActorDiedError(
                    f"actor {spec.class_name} is dead: its constructor raised {type(error).__name__}: {error}",
                    self.actor_id.hex(),
                )
                death._actor_init_failed = True
                self.die(death, "its constructor raised an exception", packed)
            finally:
                running.reset(token)

        if self._loop is None:
            make()
        else:
            self._in_loop(make)

    def die(self, error: RayError, cause: str, reason: bytes = b"") -> None:
        if self.death is not None:
            return
        self.death = errors.pack(error, reason)
        self.cause = cause
        self.instance = None
        self._on_death(self)
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._stop_loop)

    def kill(self, *, no_restart: bool) -> None:
        if self.death is not None:
            return
        if not no_restart and (self.spec.max_restarts < 0 or self.restarts < self.spec.max_restarts):
            self.restarts += 1
            self.construct()
        else:
            self.die(
                ActorDiedError(f"actor {self.spec.class_name} is dead: it was killed with skate.kill(actor)"), "it was killed"
            )

    def terminate(self, done: Callable[[], None]) -> None:
        """End after the calls that were made before."""

        def end() -> None:
            self.die(
                ActorDiedError(f"actor {self.spec.class_name} is dead: __ray_terminate__ was called"),
                "__ray_terminate__ was called",
            )
            done()

        if self._loop is None or self.death is not None:
            with self._turn:
                end()
        else:
            self._loop.call_soon_threadsafe(lambda: self._loop_task(self._end_after_all(end)))

    async def _end_after_all(self, end: Callable[[], None]) -> None:
        others = self._pending - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
        end()

    def lose_group(self) -> None:
        self.die(
            ActorPlacementGroupRemoved(f"actor {self.spec.class_name} is dead: its placement group was removed"),
            "its group was removed",
        )

    # ------------------------------------------------------------ calls

    def call(self, method: MethodSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self._calls
        limit = self.spec.max_pending_calls
        if 0 <= limit <= self._pending_count:
            raise PendingCallsLimitExceeded(
                f"actor {self.spec.class_name} has {limit} calls that are not finished, its max_pending_calls: get some results first"
            )
        give, deps = calls.capture(args, kwargs)
        task = calls.new_id()
        results = Results(calls.objects, task, method.num_returns)
        answer = results.answer(method.num_returns)
        if self.death is not None:
            results.fail(self.death)
            return answer
        call = self._call(task, method.call_name or f"{self.spec.class_name}.{method.name}", method.name)
        retries = self.spec.max_task_retries if method.max_task_retries is None else method.max_task_retries
        wanted = Wanted(
            call.name, self._function(method.name), method.num_returns, retries, method.retry_exceptions, self.spec.class_name
        )
        if self._loop is not None:
            self._pending_count += 1
            self._loop.call_soon_threadsafe(lambda: self._loop_task(self._run_async(wanted, give, deps, results, call)))
            return answer
        calls.objects.wait_for(deps, len(deps), None)
        with _nothing() if (self.spec.max_concurrency or 1) > 1 or self.spec.concurrency_groups else self._turn:
            try:
                calls.run(wanted, give, deps, results, call)
            except ActorExit:
                self._exit(results, call)
        return answer

    def _function(self, name: str) -> Callable[..., Any]:
        match name:
            case "__ray_ready__":
                return lambda: True
            case "__ray_call__":
                return lambda function, *args, **kwargs: function(self.instance, *args, **kwargs)
            case _:
                return lambda *args, **kwargs: getattr(self.instance, name)(*args, **kwargs)

    def _call(self, task: bytes, name: str, method: str = "__init__") -> Running:
        place = self.spec.placement
        return Running(
            task, name, method, self.spec.running_resources, place.placement_group, place.capture_child_tasks, self,
            runtime_env=place.runtime_env,
        )  # fmt: skip

    def _exit(self, results: Results, call: Running) -> None:
        results.fail(errors.pack_exit(call.name, call.task))
        self.die(
            ActorDiedError(f"actor {self.spec.class_name} is dead: it ended on purpose (exit_actor)"), "exit_actor() was called"
        )

    # ------------------------------------------------------------ async actors

    def _start_loop(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name=f"skate-inline-{self.spec.class_name}", daemon=True)
        self._thread.start()

    def _run_loop(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _stop_loop(self) -> None:
        for task in self._pending:
            task.cancel()
        assert self._loop is not None
        self._loop.call_soon(self._loop.stop)

    def _in_loop(self, call: Callable[[], None]) -> None:
        """Run in the loop's thread, and wait for it."""
        done = threading.Event()

        def run() -> None:
            try:
                call()
            finally:
                done.set()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(run)
        done.wait()

    def _loop_task(self, coroutine: Any) -> None:
        assert self._loop is not None
        task = self._loop.create_task(coroutine)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _run_async(self, wanted: Wanted, give: Callable[[], Any], deps: Any, results: Results, call: Running) -> None:
        calls = self._calls
        running.set(call)
        started_s = time.time()
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            call.is_cancelled = True
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)

        for stored in results.stored:
            stored.on_cancel = cancel
        try:
            for dep in deps:
                if not dep.is_done:
                    arrived = loop.create_future()
                    calls.objects.when_done(dep, partial(loop.call_soon_threadsafe, arrived.set_result, None))
                    await arrived
                if dep.error is not None:
                    results.fail(errors.argument_failed(dep.error, wanted.name))
                    return
            args, kwargs = give()
            value = wanted.function(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            if wanted.num_returns == STREAMING and results.stream is not None and hasattr(value, "__anext__"):
                async for item in value:
                    if results.stream.is_closed:
                        break
                    results.stream.push(item)
                results.stream.end(None)
            else:
                calls._store(wanted, value, results, call)
            calls.note(wanted, call, started_s, None)
        except ActorExit:
            self._exit(results, call)
        except BaseException as error:
            calls.note(wanted, call, started_s, error)
            if self.death is not None:
                results.fail(self.death)
            else:
                results.fail(calls.pack_error(wanted, error, call, time.time() - started_s))
        finally:
            self._pending_count -= 1

    def join(self) -> None:
        """After its death: wait for its thread."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)


class _nothing:  # noqa: N801  # Stands where a lock could be.
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass
