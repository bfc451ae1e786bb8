"""Unknown option names: the error names the right one.

Python's own error says only that a keyword is unexpected.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

# Ray's options that mean nothing here, and what to do instead.
_OF_RAY = {
    "trainer_resources": "the driver needs no resources here: leave it out",
    "use_tpu": "only CPUs and GPUs are known: leave it out",
    "topology": "only CPUs and GPUs are known: leave it out",
    "fail_fast": "the default max_failures=0 ends a run at its first failure: leave it out",
    "checkpoint_frequency": "a loop makes checkpoints by report(metrics, checkpoint=…): leave it out",
    "checkpoint_at_end": "a loop makes checkpoints by report(metrics, checkpoint=…): leave it out",
    "storage_filesystem": "results lie in a directory: storage_path=…",
    "progress_reporter": "use callbacks=[ProgressBar()]",
    "log_to_file": "what workers print is in the session's logs: leave it out",
    "sync_config": "results lie in a directory that all machines share: storage_path=…",
    "local_dir": "it is called storage_path",
    "max_concurrent": "it is called max_concurrent_trials",
}


def refuse_unknown(whose: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first name that is not known, with the nearest that is."""
    known = tuple(known)
    for name in given:
        if name in known:
            continue
        if name in _OF_RAY:
            raise TypeError(f"{whose}: {name!r} is an option of Ray that is not taken here: {_OF_RAY[name]}")
        matches = get_close_matches(name, known, n=1)
        hint = f"; did you mean {matches[0]!r}?" if matches else f" (they are: {', '.join(known)})"
        raise TypeError(f"{whose}: {name!r} is not an argument{hint}")


def with_suggestions(cls: T) -> T:
    """A class whose error for an unknown keyword names the right one."""
    original = cls.__init__  # type: ignore[misc]
    known = tuple(inspect.signature(original).parameters)[1:]

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        refuse_unknown(cls.__name__, options, known)
        original(self, *args, **options)

    cls.__init__ = __init__  # type: ignore[misc]
    return cls
