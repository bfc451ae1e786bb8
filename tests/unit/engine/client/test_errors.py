"""Errors in words, and their way through bytes."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from skate import exceptions as x
from skate.engine.client import errors
from skate.engine.spec import messages as m

TASK = b"\x01" * 16


def pack(error: BaseException, **fields: Any) -> bytes:
    told: dict[str, Any] = {
        "name": "square", "task": TASK, "pid": 42, "worker": 3, "actor_class": "", "attempt": 1, "duration_s": 0.25, **fields,
    }  # fmt: skip
    return errors.pack_task_error(error, **told)


def raise_and_pack(error: BaseException, **fields: Any) -> bytes:
    try:
        raise error
    except BaseException as raised:
        return pack(raised, **fields)


def a_task(name: str = "square", **fields: Any) -> Any:
    token = SimpleNamespace(name=name, max_retries=3)
    return SimpleNamespace(**{"token": token, "task_id": TASK, "attempt": 3, "lease": None, "unresolved": 0, **fields})


def test_a_task_error_tells_where_it_ran() -> None:
    error = errors.unpack_error(raise_and_pack(ValueError("bad")))
    assert isinstance(error, ValueError)
    assert isinstance(error, x.RayTaskError)
    assert (error.function_name, error.pid, error.worker, error.task_id, error.attempt) == ("square", 42, 3, TASK, 1)
    assert "task square · worker 3 · pid 42 · 250 ms · attempt 2" in error.traceback_str
    assert "raise error" in error.traceback_str
    assert error.traceback_str.rstrip().endswith("ValueError: bad")


def test_frames_of_the_engine_are_not_shown() -> None:
    def user_code() -> None:
        raise KeyError("x")

    from skate.engine.worker.interrupts import call_user

    try:
        call_user(user_code, (), {})
    except KeyError as raised:
        text = errors.unpack_error(pack(raised)).traceback_str  # type: ignore[attr-defined]
    assert "user_code" in text
    assert "skate/engine" not in text


def test_a_chain_of_causes_is_told_as_python_does() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    except ValueError as raised:
        text = str(errors.unpack_error(pack(raised)))
    assert text.index("KeyError: 'first'") < text.index("direct cause") < text.index("ValueError: second")


def test_an_error_that_passes_through_two_tasks_tells_both_and_keeps_its_kind() -> None:
    inner = errors.unpack_error(raise_and_pack(KeyError("deep"), name="inner"))
    outer = errors.unpack_error(raise_and_pack(inner, name="outer"))
    assert isinstance(outer, KeyError)
    assert isinstance(outer.cause, KeyError)  # type: ignore[attr-defined]
    assert not isinstance(outer.cause, x.RayTaskError)  # type: ignore[attr-defined]
    text = str(outer)
    assert text.index("task inner") < text.index("task outer")


class Greedy(Exception):
    """Its pickling is broken: the constructor wants more than `args` has."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")
        self.a = a


def test_exceptions_whose_pickling_is_broken_keep_their_class() -> None:
    error = errors.unpack_error(raise_and_pack(Greedy(1, 2)))
    assert isinstance(error, Greedy)
    assert error.a == 1
    assert "1 and 2" in str(error)


def test_what_an_exception_holds_and_cannot_travel_is_left_behind() -> None:
    error: Any = ValueError("held")
    error.lock = threading.Lock()
    error.number = 7
    back = errors.unpack_error(raise_and_pack(error))
    assert isinstance(back, ValueError)
    assert back.number == 7  # type: ignore[attr-defined]
    assert not hasattr(back, "lock")


def test_a_cause_that_cannot_be_unpickled_leaves_the_text() -> None:
    class Local(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    data = raise_and_pack(Local("strange"))
    error = errors.unpack_error(data)
    assert isinstance(error, x.RayTaskError)
    assert "Local: strange" in str(error)
    assert error.cause is not None


def test_the_text_of_an_error_that_will_not_speak() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "Mute" in str(errors.unpack_error(raise_and_pack(Mute())))


def test_a_failed_argument_says_who_was_not_run() -> None:
    data = errors.argument_failed(raise_and_pack(KeyError("b"), name="prep"), "train")
    error = errors.unpack_error(data)
    assert isinstance(error, KeyError)
    assert error.__notes__ == ["train() was never run: its argument failed"]
    assert errors.unpack_error(errors.argument_failed(errors.pack(x.WorkerCrashedError("w")), "train")).__notes__


def test_garbage_is_an_error_too() -> None:
    assert isinstance(errors.unpack_error(b"garbage"), x.RaySystemError)


def test_each_unpacking_gives_a_new_exception() -> None:
    data = errors.pack_cancelled("f", TASK)
    first, second = errors.unpack_error(data), errors.unpack_error(data)
    assert first is not second
    assert isinstance(first, x.TaskCancelledError)
    assert "f() was cancelled" in str(first)


# ---------------------------------------------------------------- what the engine finds

LEASE = SimpleNamespace(worker=3, pid=42, lease_id=1)


@pytest.mark.parametrize(
    ("kind", "detail", "expected", "words"),
    [
        ("signal", "was killed by SIGKILL", x.WorkerCrashedError, ["worker 3 (pid 42)", "square()", "SIGKILL", "attempt 4 of 4"]),
        ("signal", "was killed by SIGSEGV", x.WorkerCrashedError, ["native code"]),
        ("exit_code", "exited with status 3", x.WorkerCrashedError, ["it exited with status 3", "sys.exit()"]),
        ("oom", "was ended: 9 of 10 GB in use", x.OutOfMemoryError, ["9 of 10 GB", "memory="]),
        ("placement_group_removed", "", x.TaskPlacementGroupRemoved, ["square()", "removed"]),
        ("node_removed", "", x.NodeDiedError, ["square()"]),
    ],
)
def test_a_lost_worker(kind: str, detail: str, expected: type[Exception], words: list[str]) -> None:
    error = errors.unpack_error(errors.worker_crashed(m.LeaseLost(1, kind, detail), a_task(), LEASE))  # type: ignore[arg-type]
    assert type(error) is expected
    for word in words:
        assert word in str(error)


def a_connection(kind: str, cause: str = "its process exited", error: bytes = b"") -> Any:
    death = m.ActorUpdate(b"a" * 16, "DEAD", 0, kind, cause, error)
    return SimpleNamespace(actor_id=b"a" * 16, class_name="Counter", pid=42, death=death, max_pending_calls=5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("died", x.ActorDiedError), ("killed", x.ActorDiedError), ("exit", x.ActorDiedError), ("out_of_scope", x.ActorDiedError),
        ("owner", x.ActorDiedError), ("unschedulable", x.ActorUnschedulableError), ("env", x.RuntimeEnvSetupError),
        ("placement_group_removed", x.ActorPlacementGroupRemoved), ("oom", x.OutOfMemoryError),
    ],
)  # fmt: skip
def test_a_dead_actor(kind: str, expected: type[Exception]) -> None:
    error = errors.unpack_error(errors.actor_died(a_connection(kind), a_task("Counter.add")))
    assert type(error) is expected
    for word in ("Counter.add()", "was not run", "pid 42", "its process exited", (b"a" * 16).hex()):
        assert word in str(error)


def test_an_actor_whose_constructor_failed() -> None:
    cause = raise_and_pack(ValueError("cannot start"), name="Counter.__init__", actor_class="Counter")
    error = errors.unpack_error(errors.actor_died(a_connection("creation", error=cause), a_task("Counter.add")))
    assert isinstance(error, x.ActorDiedError)
    assert error.actor_init_failed
    assert "ValueError: cannot start" in str(error)
    assert isinstance(error.__cause__, ValueError)


def test_an_actor_that_is_away_for_now() -> None:
    error = errors.unpack_error(errors.actor_unavailable(a_connection("died"), a_task("Counter.add"), None))
    assert isinstance(error, x.ActorUnavailableError)
    assert "max_task_retries" in str(error)


def test_a_refused_lease() -> None:
    for kind, expected in (
        ("unschedulable", x.TaskUnschedulableError),
        ("env", x.RuntimeEnvSetupError),
        ("placement_group_removed", x.TaskPlacementGroupRemoved),
        ("closed", x.RaySystemError),
    ):
        error = errors.unpack_error(errors.lease_rejected(m.LeaseRejected(1, kind, "no such node"), a_task()))
        assert type(error) is expected
        assert "square() can't run: no such node" in str(error)


def test_a_timeout_names_what_is_missing() -> None:
    refs = [SimpleNamespace(hex=lambda: "ab") for _ in range(5)]
    lease = SimpleNamespace(worker=3, pid=42)
    entries: list[Any] = [
        SimpleNamespace(task=a_task("first", lease=lease)), SimpleNamespace(task=a_task("second", unresolved=2)), None, None, None,
    ]  # fmt: skip
    text = str(errors.get_timeout(1.5, refs, entries))
    for word in ("after 1.5 s", "5 values", "first()", "worker 3 (pid 42)", "second()", "2 of its arguments", "2 more"):
        assert word in text
    assert isinstance(errors.get_timeout(0, refs[:1], [None]), TimeoutError)


def test_lost_values() -> None:
    for kind, expected in (("lost", x.ObjectLostError), ("owner_died", x.OwnerDiedError), ("freed", x.ObjectFreedError)):
        error = errors.unpack_error(errors.object_lost(m.Fetched(b"o" * 20, None, -1, 0, kind, "the reason")))
        assert type(error) is expected
        assert "the reason" in str(error)
    assert isinstance(errors.unpack_error(errors.cannot_remake(b"o" * 20, None)), x.ObjectReconstructionFailedError)
    assert "3 retries" in str(errors.unpack_error(errors.cannot_remake(b"o" * 20, a_task())))


def test_the_end_of_the_engine() -> None:
    assert isinstance(errors.node_died_exception("it was killed"), x.NodeDiedError)
    assert "skate.init()" in str(errors.node_died_exception(f"{errors.SHUT_DOWN} (skate.shutdown)"))
    assert isinstance(errors.store_full("store_full: no room"), x.ObjectStoreFullError)
    assert isinstance(errors.store_full("out_of_disk: no room"), x.OutOfDiskError)
    assert "5 calls" in str(errors.too_many_pending_calls(a_connection("died")))


def test_source_lines_of_a_notebook_are_filled_in_here() -> None:
    import linecache

    linecache.cache["<cell 1>"] = (9, None, ["def f():\n", "    raise ValueError\n"], "<cell 1>")
    try:
        code = compile("def f():\n    raise ValueError\n", "<elsewhere>", "exec")
        space: dict[str, Any] = {}
        exec(
            code.replace(
                co_consts=tuple(c.replace(co_filename="<cell 2>") if hasattr(c, "co_code") else c for c in code.co_consts)
            ),
            space,
        )
        try:
            space["f"]()
        except ValueError as raised:
            data = pack(raised)
        linecache.cache["<cell 2>"] = linecache.cache["<cell 1>"]
        assert '  File "<cell 2>", line 2, in f\n    raise ValueError\n' in str(errors.unpack_error(data))
    finally:
        linecache.clearcache()
