"""The tree of errors, and errors that are two things at once."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest

from skate import exceptions as x

RAY_PARENTS = {
    "CrossLanguageError": ["RayError"], "TaskCancelledError": ["RayError"], "RayTaskError": ["RayError"],
    "LocalRayletDiedError": ["RayError"], "WorkerCrashedError": ["RayError"], "RayActorError": ["RayError"],
    "ActorDiedError": ["RayActorError"], "ActorUnavailableError": ["RayActorError"], "RaySystemError": ["RayError"],
    "AuthenticationError": ["RayError"], "UserCodeException": ["RayError"], "ObjectStoreFullError": ["RayError"],
    "OutOfDiskError": ["RayError"], "OutOfMemoryError": ["RayError"], "NodeDiedError": ["RayError"], "ObjectLostError": ["RayError"],
    "ObjectFetchTimedOutError": ["ObjectLostError"], "RpcError": ["RayError"],
    "ReferenceCountingAssertionError": ["ObjectLostError", "AssertionError"], "ObjectFreedError": ["ObjectLostError"],
    "OwnerDiedError": ["ObjectLostError"], "ObjectReconstructionFailedError": ["ObjectLostError"],
    "GetTimeoutError": ["RayError", "TimeoutError"], "PlasmaObjectNotAvailable": ["RayError"], "AsyncioActorExit": ["RayError"],
    "RuntimeEnvSetupError": ["RayError"], "TaskPlacementGroupRemoved": ["RayError"], "ActorPlacementGroupRemoved": ["RayError"],
    "PendingCallsLimitExceeded": ["RayError"], "TaskUnschedulableError": ["RayError"], "ActorUnschedulableError": ["RayError"],
    "ObjectRefStreamEndOfStreamError": ["RayError"], "StreamingGeneratorReplayInconsistentError": ["RaySystemError"],
    "OufOfBandObjectRefSerializationException": ["RayError"], "RayChannelError": ["RaySystemError"],
    "RayChannelTimeoutError": ["RayChannelError", "TimeoutError"], "RayCgraphCapacityExceeded": ["RaySystemError"],
    "RayDirectTransportError": ["RaySystemError"], "UnserializableException": ["RayError"],
    "ActorAlreadyExistsError": ["ValueError", "RayError"], "ActorHandleNotFoundError": ["ValueError", "RayError"],
}  # fmt: skip


@pytest.mark.parametrize("name", RAY_PARENTS)
def test_every_error_of_ray_has_the_same_parents(name: str) -> None:
    found = getattr(x, name)
    for parent in RAY_PARENTS[name]:
        assert issubclass(found, getattr(x, parent, None) or __builtins__[parent])  # type: ignore[index]


def test_all_names_are_exported_and_drawn_in_the_tree() -> None:
    for name in x.__all__:
        assert hasattr(x, name)
    for name in RAY_PARENTS:
        assert name in x.__all__
        assert name in (x.__doc__ or ""), f"{name} is missing in the drawing"
    assert x.SkateError is x.RayError


@pytest.mark.parametrize(
    "error",
    [
        x.WorkerCrashedError("it died"), x.ActorDiedError("it died", "ab"), x.ActorUnavailableError("away", "ab"),
        x.ObjectLostError("ab", None, "line 3", "gone"), x.TaskCancelledError(b"t", "cancelled"), x.RuntimeEnvSetupError("no pip"),
        x.ActorAlreadyExistsError("taken"), x.RaySystemError("oops"), x.RpcError("no", 3), x.OwnerDiedError("ab"),
        x.ObjectReconstructionFailedError("ab", None, "no retries"), x.GetTimeoutError("late"), x.RayActorError("ab", "dead", True),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_errors_travel_with_their_texts(error: x.RayError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error) != ""


def test_errors_without_a_text_say_what_they_are() -> None:
    assert "worker died" in str(x.WorkerCrashedError())
    assert "cancelled" in str(x.TaskCancelledError())
    assert "actor died" in str(x.RayActorError())


def make(cause: BaseException) -> x.RayTaskError:
    text = f'{x.REMOTE_HEADER}task f · worker 1 · pid 2 · 3 ms · attempt 1\n  File "app.py", line 1, in f\n{type(cause).__name__}: …\n'
    error = x.RayTaskError("f", text, cause, pid=2)
    error.__cause__ = x.RemoteTraceback(text)
    return error.as_instanceof_cause()


class Picky(Exception):
    """Wants two arguments, and keeps one in a slot."""

    __slots__ = ("code",)

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def test_a_task_error_is_also_what_was_raised() -> None:
    error = make(ValueError("bad"))
    assert isinstance(error, ValueError)
    assert isinstance(error, x.RayTaskError)
    assert isinstance(error.cause, ValueError)
    assert error.args == ("bad",)
    assert type(error).__name__ == "RayTaskError(ValueError)"
    assert type(make(ValueError("other"))) is type(error), "one class for each kind"


@pytest.mark.parametrize(
    ("cause", "attribute", "value"),
    [
        (OSError(2, "no such file", "name"), "errno", 2),
        (FileNotFoundError(2, "no such file", "name"), "filename", "name"),
        (UnicodeDecodeError("utf8", b"x", 0, 1, "bad"), "reason", "bad"),
        (ImportError("x", name="module"), "name", "module"),
        (Picky("text", 7), "code", 7),
        (KeyError("key"), "args", ("key",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_dual_has_its_causes_attributes(cause: Exception, attribute: str, value: object) -> None:
    error = make(cause)
    assert isinstance(error, type(cause))
    assert getattr(error, attribute) == value


def test_a_group_stays_a_group() -> None:
    caught: list[Any] = []
    try:
        raise make(ExceptionGroup("two", [ValueError(1), KeyError(2)]))
    except* ValueError as group:
        caught.append(group.exceptions)
    except* KeyError as group:
        caught.append(group.exceptions)
    assert [type(errors[0]) for errors in caught] == [ValueError, KeyError]


@pytest.mark.parametrize(
    "cause", [KeyboardInterrupt(), SystemExit(1), StopIteration(1), GeneratorExit(), x.ActorDiedError("dead")]
)
def test_what_python_or_skate_act_on_is_not_imitated(cause: BaseException) -> None:
    error = make(cause)
    assert type(error) is x.RayTaskError
    assert error.cause is cause


def test_duals_travel_and_are_copied() -> None:
    error = make(KeyError("b"))
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert isinstance(back.__cause__, x.RemoteTraceback)


def test_a_dual_can_be_raised_anew_by_code_that_knows_only_its_class() -> None:
    error = make(ValueError("bad"))
    again: Any = type(error)("worse")  # type: ignore[call-arg]
    assert isinstance(again, ValueError)
    assert str(again) == "worse"


def test_str_is_the_remote_traceback_and_a_printed_error_shows_it_once_and_first() -> None:
    error = make(ValueError("bad"))
    assert "task f" in str(error)
    assert str(error).endswith("ValueError: …")
    try:
        raise error
    except ValueError:
        printed = traceback.format_exc()
    assert printed.startswith("Remote traceback (most recent call last): task f · worker 1 · pid 2 · 3 ms · attempt 1\n")
    assert printed.count("task f") == 1
    assert printed.rstrip().endswith("skate.exceptions.RayTaskError(ValueError): bad")
    assert printed.index("app.py") < printed.index("test_exceptions.py")


def test_a_cause_whose_text_fails_does_not_hide_the_error() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    error = make(Mute())
    assert "task f" in str(error)
    assert "Mute" in repr(error)


def test_an_actors_death_by_its_constructor() -> None:
    task_error = x.RayTaskError("A.__init__", "traceback", ValueError("bad"), actor_id="ab")
    error = x.ActorDiedError.from_task_error(task_error)
    assert error.actor_init_failed
    assert error.__cause__ is task_error
    assert error.actor_id == "ab"
