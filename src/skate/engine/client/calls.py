"""Calls of tasks and actors, from their arguments to their results.

    submit_task / call_actor ─► _register ─► (dependencies) ─► submission or actor_calls ─► finish_task | fail_task

A task keeps what its arguments refer to until its last return is known, and longer while a return lies in the arena: that is its lineage.
Everything but packing runs under the client's lock.
"""

from __future__ import annotations

from functools import partial
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from skate.config import INLINE_BYTES_MAX
from skate.engine.client import errors
from skate.engine.client.actor_calls import Connection
from skate.engine.client.objects import INLINE, PENDING, Entry
from skate.engine.client.streams import Stream, StreamState, completion_id
from skate.engine.client.tasks import STREAMING, FunctionToken, MethodToken, Slot, Task
from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import Packed, pack
from skate.engine.spec import messages as m
from skate.engine.spec.ids import FIRST_RETURN_INDEX, return_id

if TYPE_CHECKING:
    from skate.engine.client.client import Client

_dumps = serialization._dumps
_BY_CONTENT = serialization._BY_CONTENT
_NO_ARGS = _dumps(((), {}), 5)


class Calls:
    """All calls this process has made."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit_task(self, token: FunctionToken, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submit a call of a remote function; returns one ref, a list, None, or a Stream."""
        client = self._client
        data, deps, borrowed = self.pack_arguments(args, kwargs, token)
        task = Task(client.prefix + next(client.counter).to_bytes(8, "big"), token, b"", token.max_retries)
        if isinstance(data, bytes):
            task.args = data
        else:
            task.args_id = self._store_arguments(data)
        with client.lock:
            if client.death:
                raise errors.node_died_exception(client.death)
            result = self._register(task, deps, borrowed)
            look = client.submission.enqueue(task) if not task.unresolved and not task.is_done else False
        if look:
            client.pump.poll_now()
            with client.lock:
                client.submission.dispatch(token.queue)
        return result

    def call_actor(self, token: MethodToken, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submit a call of an actor's method. Raises PendingCallsLimitExceeded."""
        connection: Connection = token.actor
        data, deps, borrowed = self.pack_arguments(args, kwargs, token)
        task = Task(self._client.prefix + next(self._client.counter).to_bytes(8, "big"), token, b"", token.max_task_retries)
        if isinstance(data, bytes):
            task.args = data
        else:
            task.args_id = self._store_arguments(data)
        with self._client.lock:
            if self._client.death:
                raise errors.node_died_exception(self._client.death)
            if 0 <= connection.max_pending_calls <= self._client.actors.pending_calls(connection):
                raise errors.too_many_pending_calls(connection)
            self._client.table[connection.actor_id].local += 1  # The handle may go; the call still has to be answered.
            result = self._register(task, deps, borrowed)
            look = False if task.is_done else self._client.actors.submit(connection, task)
        if look:
            self._client.pump.poll_now()
            with self._client.lock:
                self._client.actors.send_ready(connection)
        return result

    def pack_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], token: FunctionToken | MethodToken | None = None
    ) -> tuple[bytes | Packed, list[bytes] | None, list[bytes] | None]:
        """(packed arguments, top-level references, references inside). Big arguments come as `Packed`. Lock not held.

        `token` is named in the error when an argument can't be pickled.
        """
        if not args and not kwargs:
            return _NO_ARGS, None, None
        ref_class = self._client.ref_class
        simple = True
        deps: list[bytes] | None = None
        for value in args:
            kind = type(value)
            if kind not in _BY_CONTENT:
                simple = False
                if kind is ref_class:
                    deps = deps or []
        if kwargs:
            for value in kwargs.values():
                kind = type(value)
                if kind not in _BY_CONTENT:
                    simple = False
                    if kind is ref_class:
                        deps = deps or []
        if simple:
            data = _dumps((args, kwargs), 5)
            return (data if len(data) <= INLINE_BYTES_MAX else pack((args, kwargs))), None, None
        if deps is not None:
            args = tuple([self._slot(value, deps) if type(value) is ref_class else value for value in args])
            kwargs = {name: self._slot(value, deps) if type(value) is ref_class else value for name, value in kwargs.items()}
        try:
            packed = pack((args, kwargs))
        except (TypeError, PicklingError) as error:
            from skate.engine.object_store.unpicklable import explain_arguments

            raise type(error)(explain_arguments(args, kwargs, token.name if token is not None else "", error)) from error
        if packed.size > INLINE_BYTES_MAX:
            return packed, deps, packed.contains or None
        return packed.data(), deps, packed.contains or None

    def _slot(self, ref: Any, deps: list[bytes]) -> Slot:
        if ref._id not in self._client.table:
            raise errors.foreign_ref()
        deps.append(ref._id)
        return Slot(len(deps) - 1)

    def _store_arguments(self, packed: Packed) -> bytes:
        """Big arguments become an object of their own, held by the task."""
        ref = self._client.values.put_packed(packed)
        object_id: bytes = ref._id
        with self._client.lock:
            self._client.table[object_id].local += 1
        return object_id

    def _register(self, task: Task, deps: list[bytes] | None, borrowed: list[bytes] | None) -> Any:
        """Lock held. Enter a task's returns and dependencies; returns what `submit` answers."""
        client = self._client
        table = client.table
        task_id = task.task_id
        if client.is_worker:
            task.parent = client.current_task()
        if client.dropped:
            client.references.drain_dropped()
        client.pump.start_background()
        num_returns = task.token.num_returns
        result: Any
        if num_returns == 1:
            object_id = task_id + FIRST_RETURN_INDEX
            table[object_id] = Entry(PENDING, 1, True, task)
            result = client.ref_class(object_id, client)
            if borrowed is None and deps is None:
                return result
        elif num_returns == STREAMING:
            task.stream = StreamState(task)
            table[completion_id(task_id)] = Entry(PENDING, 1, True, task)
            result = Stream(self._client, task.stream)
        else:
            result = []
            for index in range(num_returns):
                object_id = return_id(task_id, index)
                table[object_id] = Entry(PENDING, 1, True, task)
                result.append(self._client.ref_class(object_id, self._client))
            if num_returns == 0:
                result = None
        if borrowed is not None:
            task.borrowed = borrowed
            for inner in borrowed:
                self._client.references.retain(inner)
        if deps is not None:
            task.deps = deps
            client.trail.needs(task_id, deps)
            entries = [table[dep] for dep in deps]
            for entry in entries:
                entry.local += 1
            for dep, entry in zip(deps, entries, strict=True):
                if entry.state == PENDING:
                    task.unresolved += 1
                    if entry.waiters is None:
                        entry.waiters = []
                    entry.waiters.append(partial(self.on_dependency, task))
                    if not entry.is_owned:
                        self._client.values.fetch(dep, entry)
                elif entry.state == INLINE and entry.kind == serialization.ERROR:
                    self.fail_task(task, errors.argument_failed(entry.data, task.token.name))
                    break
        return result

    def on_dependency(self, task: Task, entry: Entry) -> None:
        """Lock held. One dependency of a task is there."""
        entry.let_view_go()
        task.unresolved -= 1
        if task.is_done:
            return
        if entry.state == INLINE and entry.kind == serialization.ERROR:
            is_actor_call = type(task.token) is MethodToken
            if is_actor_call and task.token.actor.is_concurrent:
                task.token.actor.waiting -= 1
            self.fail_task(task, errors.argument_failed(entry.data, task.token.name))
            if is_actor_call and not task.token.actor.is_concurrent:
                self._client.actors.send_ready(task.token.actor)
            return
        if task.unresolved == 0:
            if type(task.token) is MethodToken:
                self._client.actors.on_arguments_ready(task)
            else:
                self._client.submission.enqueue(task)

    def attach_references(self, call: m.Call, task: Task, worker: int) -> None:
        """Lock held. Put the values of dependencies, and counts for the references that travel, into a call that is about to be sent."""
        shared: list[bytes] = []
        borrowed = list(task.borrowed) if task.borrowed else []
        if task.deps is not None:
            refs: list[m.Value | bytes] = []
            for dep in task.deps:
                entry = self._client.table[dep]
                if entry.state == INLINE:
                    refs.append(m.Value(entry.kind, entry.data))
                    if entry.contains:
                        borrowed.extend(entry.contains)
                else:
                    shared.append(dep)
                    refs.append(dep)
            call.refs = refs
        if task.args_id:
            call.args_id = task.args_id
            shared.append(task.args_id)
        if borrowed:
            call.borrowed = borrowed
            shared.extend(borrowed)
        for any_id in shared:
            self._client.references.share(any_id, worker)
        task.shared = shared

    def unshare_task(self, task: Task, worker: int) -> None:
        """Lock held. A call was taken back: its worker will never count what was meant for it."""
        if task.shared:
            for any_id in task.shared:
                self._client.tell_node(m.Unshare(any_id, worker))
            task.shared = None

    def held_by(self, task: Task) -> list[bytes]:
        """What a task keeps alive, each as often as it holds it."""
        held = list(task.deps or ())
        held.extend(task.borrowed or ())
        if task.args_id:
            held.append(task.args_id)
        task.deps = task.borrowed = None
        task.args_id = b""
        return held

    def _release_held(self, task: Task) -> None:
        if task.deps is not None or task.borrowed is not None or task.args_id:
            for any_id in self.held_by(task):
                self._client.references.release(any_id)
        if type(task.token) is MethodToken:
            actor_id = task.token.actor.actor_id
            entry = self._client.table.get(actor_id)
            if entry is not None and entry.local > 1:
                entry.local -= 1
            else:
                self._client.references.release(actor_id)

    def finish_task(self, task: Task, outcome: m.Outcome) -> None:
        """A worker has answered."""
        if task.is_done:
            return
        returns = outcome.returns
        if outcome.status == 0 and returns is None and task.token.num_returns == 1:
            # The common case: one small value, written out: it saves three calls for each task.
            task.is_done = True
            object_id = task.task_id + FIRST_RETURN_INDEX
            entry = self._client.table[object_id]
            entry.task = None
            if outcome.contains is None and not entry.is_shared and entry.local > 0:
                entry.kind = outcome.kind
                entry.data = outcome.data
                entry.state = INLINE
                waiters = entry.waiters
                if waiters is not None:
                    entry.waiters = None
                    for waiter in waiters:
                        waiter(entry)
                self._release_held(task)
                return
            if outcome.contains:
                entry.contains = outcome.contains[0]
                self._client.references.adopt(entry.contains)
            self._client.values.set_inline(entry, outcome.kind, outcome.data)
            if entry.is_shared:
                self._client.references.resolve_at_node(object_id, entry)
            if entry.local <= 0:
                entry.local = 1
                self._client.references.release(object_id)
            self._release_held(task)
            return
        if outcome.status == 1 and outcome.retryable and task.retries_left != 0 and not task.is_cancelled:
            if task.retries_left > 0:
                task.retries_left -= 1
            task.attempt += 1
            if type(task.token) is MethodToken:
                self._client.actors.requeue(task)
            else:
                self._client.submission.requeue(task)
            return
        if outcome.status != 0:
            self.fail_task(task, outcome.data)
            return
        task.is_done = True
        if task.stream is not None:
            self._client.streams.end(task, None)
        else:
            self._settle_returns(task, outcome)
        # Actor calls can't be made again: their results depend on the actor's state.
        if task.lineage_returns == 0 or type(task.token) is MethodToken:
            self._release_held(task)

    def _settle_returns(self, task: Task, outcome: m.Outcome) -> None:
        values = outcome.returns if outcome.returns is not None else [m.Value(outcome.kind, outcome.data)]
        can_remake = type(task.token) is FunctionToken and task.token.max_retries != 0
        stored: list[tuple[bytes, Entry]] = []
        for index, value in enumerate(values):
            object_id = return_id(task.task_id, index)
            entry = self._client.table.get(object_id)
            contains = outcome.contains[index] if outcome.contains else []
            if entry is None or entry.state != PENDING:  # A task that was run again for another of its returns.
                self._client.references.returned_counts.extend((inner, 1) for inner in contains)
                if type(value) is m.Stored:
                    self._client.references.returned_counts.append((object_id, 1))
                continue
            entry.task = None
            if contains:
                entry.contains = contains
                self._client.references.adopt(contains)
            if type(value) is m.Value:
                self._client.values.set_inline(entry, value.kind, value.data)
                if entry.is_shared:
                    self._client.references.resolve_at_node(object_id, entry)
            else:
                entry.node_count += 1
                entry.is_shared = True
                if can_remake:
                    entry.task = task
                    task.lineage_returns += 1
                stored.append((object_id, entry))
        for stored_id, entry in stored:
            self._client.values.set_stored(entry)
            if entry.local <= 0:
                entry.local = 1
                self._client.references.release(stored_id)
        for index, value in enumerate(values):
            if type(value) is m.Value:
                object_id = return_id(task.task_id, index)
                entry = self._client.table.get(object_id)
                if entry is not None and entry.local <= 0:
                    entry.local = 1
                    self._client.references.release(object_id)

    def fail_task(self, task: Task, error: bytes) -> None:
        """Every return of a task becomes this error."""
        if task.is_done:
            return
        task.is_done = True
        if task.stream is not None:
            self._client.streams.end(task, error)
        else:
            for index in range(max(task.token.num_returns, 0)):
                object_id = return_id(task.task_id, index)
                entry = self._client.table.get(object_id)
                if entry is None or entry.state != PENDING:
                    continue
                entry.task = None
                self._client.values.set_inline(entry, serialization.ERROR, error)
                if entry.is_shared:
                    self._client.references.resolve_at_node(object_id, entry)
                if entry.local <= 0:
                    entry.local = 1
                    self._client.references.release(object_id)
        self._release_held(task)

    def cancel(self, ref: Any, *, force: bool, recursive: bool) -> None:
        with self._client.lock:
            entry = self._client.table.get(ref._id)
            task = entry.task if entry is not None else None
            if task is None or task.is_done:
                return
            if type(task.token) is MethodToken and force:
                raise ValueError("force=True is not possible for an actor call: use skate.kill(actor) to end the actor")
            self.cancel_task(task, force=force, recursive=recursive)

    def cancel_task(self, task: Task, *, force: bool, recursive: bool) -> None:
        """Lock held."""
        task.is_cancelled = True
        lease = task.lease
        if lease is None:
            if type(task.token) is MethodToken and task.unresolved and task.token.actor.is_concurrent:
                task.token.actor.waiting -= 1
            # One that is queued already is dropped, and counted out, when its turn comes.
            self.fail_task(task, errors.cancelled(task))
            return
        if force:
            self._client.submission.kill_worker_of(task)
        else:
            self._client.tell_node(m.CancelTask(lease.worker, task.task_id, recursive))

    def cancel_children(self, parent: bytes) -> None:
        """Cancel what a task submitted. Lock not held."""
        with self._client.lock:
            children = {
                id(entry.task): entry.task
                for entry in self._client.table.values()
                if entry.task is not None and entry.task.parent == parent and not entry.task.is_done
            }
            for task in children.values():
                self.cancel_task(task, force=False, recursive=True)

    def on_object_lost(self, message: m.ObjectLost) -> None:
        """The value of an object of ours is gone and somebody wants it: run its task again."""
        entry = self._client.table.get(message.id)
        if entry is None:  # Let go of here, but others still refer to it: they must not wait for ever.
            error = errors.cannot_remake(message.id, None)
            self._client.tell_node(m.Resolve(message.id, m.Value(serialization.ERROR, error)))
            return
        task = entry.task
        if task is None or task.retries_left == 0:
            error = errors.cannot_remake(message.id, task)
            self._client.tell_node(m.Resolve(message.id, m.Value(serialization.ERROR, error)))
            self._client.values.set_inline(entry, serialization.ERROR, error)
            return
        if entry.state == PENDING:
            return
        if task.retries_left > 0:
            task.retries_left -= 1
        task.attempt += 1
        task.is_done = False
        task.lineage_returns -= 1
        entry.state = PENDING
        entry.node_count -= 1  # The count that comes with the next Seal replaces this one.
        self._client.tell_node(m.DropRefs([(message.id, 1)]))
        task.unresolved = 0
        for dep in task.deps or ():
            dep_entry = self._client.table[dep]
            if dep_entry.state == PENDING:
                task.unresolved += 1
                if dep_entry.waiters is None:
                    dep_entry.waiters = []
                dep_entry.waiters.append(partial(self.on_dependency, task))
        task.lease = None
        if not task.unresolved:
            self._client.submission.enqueue(task)
