"""A failed task again, here: its function and arguments were kept with the run (docs/architecture/run-file.md), a few of each function, up to 8 MB each.

`skate debug TASK` and `skate.recreate_error_locally(ref)` stand on this. What is kept was pickled by a worker of this user, and is read only from runs of theirs.
"""

from __future__ import annotations

import glob
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skate import run_format as f
from skate.backends import current

if TYPE_CHECKING:
    from skate.object_ref import ObjectRef

_ON_ITS_WAY_S = 1.0  # Workers send what they keep every quarter of a second; the error itself travels faster.


@dataclass
class FailedTask:
    """A call to be made again."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """Call it in this process; raises what it raised, if it does so again."""
        return self.function(*self.args, **self.kwargs)


def load(run_path: str, owner: int, number: int) -> FailedTask:
    """The last failed attempt of a task that was kept.

    Raises:
        LookupError: It was not kept.
        PermissionError: The run belongs to somebody else.
    """
    found = glob.glob(os.path.join(glob.escape(run_path), f"failed-{owner}-{number}-*"))
    if not found:
        raise LookupError(
            "its function and arguments were not kept: that is done for the first 3 failures of a function in each worker, when the arguments are plain values "
            "of at most 8 MB (calls of actors never are). Call the function here yourself"
        )
    path = max(found, key=lambda name: int(name.rpartition("-")[2]))
    if os.stat(path).st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to somebody else: what is in it would be run as you")
    with open(path, "rb") as file:
        fields = pickle.load(file)
    sys.path.extend(entry for entry in fields["sys_path"] if entry not in sys.path)
    from skate.engine.object_store.serialization import unpack

    args, kwargs = unpack(fields["kind"], fields["arguments"])
    return FailedTask(fields["name"], pickle.loads(fields["function"]), args, kwargs)


def recreate_error_locally(ref: ObjectRef[Any]) -> Any:
    """Run the failed task of a ref again in this process, so that a debugger can look at it: `%debug` in a notebook, `breakpoint()` in the function.

    Returns:
        What the task returns, should it not fail here.

    Raises:
        LookupError: Its function and arguments were not kept.
        Exception: What it raises here.
    """
    backend = current.peek()
    if backend is None:
        raise RuntimeError("no session is running: use `skate debug TASK` for tasks of a run that is over")
    session = backend.query("session", {})
    path = os.path.join(f.runs_folder(os.environ), str(session["name"]))
    ref_id = bytes.fromhex(ref.hex())
    owner, number = int.from_bytes(ref_id[4:8], "big"), int.from_bytes(ref_id[12:16], "big")
    deadline_s = time.monotonic() + _ON_ITS_WAY_S
    while True:
        try:
            task = load(path, owner, number)
        except LookupError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
        else:
            return task.run()
