"""The query grammar of task tables: `fn:train state:failed >100ms worker:3 attempt:>0 seven`. All parts must hold. Pure.

fn:NAME       the function's name contains it (quotes keep blanks together)      state:failed | running | finished | cancelled
worker:3      ran on that worker         attempt:2      the attempt, from 1      kind:task | actor | creation
>100ms <2s    took longer, shorter (µs us ms s m h)                              any other word is looked for in label and name
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from skate import run_format as f
from skate.dashboard.history import Attempt

STATES = {"running": f.RUNNING, "finished": f.FINISHED, "failed": f.FAILED, "cancelled": f.CANCELLED}
KINDS = {"task": f.TASK, "creation": f.ACTOR_CREATION, "actor": f.ACTOR_CALL}
_UNITS_US = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_DURATION = re.compile(r"([<>])=?([0-9.]+)(us|µs|ms|s|m|h)")

Claim = Callable[[Attempt, str], bool]  # (attempt, its label)


def parse(text: str) -> Claim:
    """What a query asks, as a function.

    Raises:
        ValueError: It is malformed; the text says how to write it.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"in {text!r}: {error}") from None
    claims = [_claim(part) for part in parts]
    return lambda attempt, label: all(claim(attempt, label) for claim in claims)


def _claim(part: str) -> Claim:
    duration = _DURATION.fullmatch(part)
    if duration is not None:
        limit_us = float(duration[2]) * _UNITS_US[duration[3]]
        if duration[1] == ">":
            return lambda attempt, _: bool(attempt.end_us) and attempt.duration_us > limit_us
        return lambda attempt, _: bool(attempt.end_us) and attempt.duration_us < limit_us
    name, colon, value = part.partition(":")
    if part.startswith((">", "<")):
        raise ValueError(f"{part!r}: write a duration with its unit, such as >100ms")
    if not colon or not value:
        wanted = part.lower()
        return lambda attempt, label: wanted in label.lower() or wanted in attempt.name.lower()
    match name:
        case "fn" | "name":
            wanted_name = value.lower()
            return lambda attempt, _: wanted_name in attempt.name.lower()
        case "state":
            states = [STATES[key] for key in STATES if key.startswith(value.lower())]
            if len(states) != 1:
                raise ValueError(f"state:{value}: write one of {', '.join(STATES)}")
            return lambda attempt, _: attempt.state == states[0]
        case "kind":
            kinds = [KINDS[key] for key in KINDS if key.startswith(value.lower())]
            if len(kinds) != 1:
                raise ValueError(f"kind:{value}: write one of {', '.join(KINDS)}")
            return lambda attempt, _: attempt.kind == kinds[0]
        case "worker" | "attempt":
            if not value.isdigit():
                raise ValueError(f"{part}: write a number, such as {name}:1")
            number = int(value)
            if name == "worker":
                return lambda attempt, _: attempt.lane == number
            return lambda attempt, _: attempt.attempt + 1 == number
    raise ValueError(f"{name!r} is nothing that can be asked for: fn, state, kind, worker, attempt, or a duration such as >100ms")
