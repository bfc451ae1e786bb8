"""Why a task ended when it did: the critical path to it, in words. Pure, over a `History`.

From the task's end backwards: it ran; before that it waited for a worker (and for whom), for an argument that was read back from disk, or for the task that
made its last argument; or it was submitted only when another task had come so far. The last of these is what to make faster.

static/why.js follows these rules with these words, for pages without a server; tests/browser/test_task_panel.py holds both against each other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from skate import run_format as f
from skate.dashboard.history import Attempt, History, Key, words

NOTICEABLE_US = 500.0
STEPS_MAX = 30


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of the way, ending where the one before it (later in time) begins."""

    kind: str  # "ran" "waited for get" "no worker free" "starting a worker" "restored" "behind its actor" "argument" "submitted" "failed"
    task: str  # Label.
    duration_us: float
    text: str


def explain_task(history: History, key: Key) -> list[Step]:
    """The way to the end of a task, the last stretch first."""
    steps: list[Step] = []
    seen: set[Key] = set()
    while key not in seen and len(steps) < STEPS_MAX:
        seen.add(key)
        attempt = history.last.get(key)
        label = history.label(key)
        if attempt is None:
            steps.append(_not_run(history, key, label))
            failed = next((dep for dep in history.needs.get(key, ()) if _has_failed(history, dep)), None)
            if failed is None:
                break
            key = failed
            continue
        steps += _running(history, attempt, label)
        submitted = history.submitted_us(key)
        deps = [history.last[dep] for dep in history.needs.get(key, ()) if dep in history.last and history.last[dep].end_us]
        last_dep = max(deps, key=lambda dep: dep.end_us, default=None)
        ready = max((at for at in (submitted, last_dep.end_us if last_dep else None) if at is not None), default=attempt.start_us)
        steps += _waiting(history, attempt, label, ready)
        if last_dep is not None and (submitted is None or last_dep.end_us > submitted):
            waited = last_dep.end_us - (submitted if submitted is not None else last_dep.start_us)
            if waited >= NOTICEABLE_US:
                steps.append(
                    Step(
                        "argument",
                        label,
                        waited,
                        f"{label} waited {words(waited)} for its argument from {history.label(last_dep.key)}",
                    )
                )
            key = last_dep.key
            continue
        parent = history.ran_on(key[0], submitted) if submitted is not None else None
        if parent is None or parent.key in seen:
            if submitted is not None:
                steps.append(Step("submitted", label, 0, f"{label} was submitted by the driver"))
            break
        after = submitted - parent.start_us if submitted is not None else 0
        steps.append(
            Step(
                "submitted", label, after, f"{label} was submitted by {history.label(parent.key)}, {words(after)} after its start"
            )
        )
        key = parent.key
    return steps


def _running(history: History, attempt: Attempt, label: str) -> list[Step]:
    where = f"on worker {attempt.lane}"
    steps = []
    if not attempt.end_us:
        return [Step("ran", label, 0, f"{label} is still running {where}")]
    if attempt.state == f.FAILED:
        steps.append(Step("failed", label, 0, f"{label} failed (attempt {attempt.attempt + 1}): skate errors shows how"))
    work = history.work_us(attempt)
    steps.append(Step("ran", label, work, f"{label} ran {words(work)} {where}"))
    waited = attempt.duration_us - work
    if waited >= NOTICEABLE_US:
        steps.append(Step("waited for get", label, waited, f"{label} waited {words(waited)} in get or wait for tasks of its own"))
    if attempt.attempt and (attempt.key[0], attempt.key[1], 0) in history.attempts:
        first = history.attempts[attempt.key[0], attempt.key[1], 0]
        lost = attempt.start_us - first.start_us
        steps.append(
            Step(
                "retried", label, lost, f"{label} was run {attempt.attempt + 1} times: {words(lost)} went by before this attempt"
            )
        )
    return steps


def _waiting(history: History, attempt: Attempt, label: str, ready_us: float) -> list[Step]:
    """From when it could have run to when it did."""
    waited = attempt.start_us - ready_us
    if waited < NOTICEABLE_US:
        return []
    restored = [
        dep
        for dep in history.needs.get(attempt.key, ())
        for at in history.restored.get(dep, ())
        if ready_us <= at <= attempt.start_us
    ]
    if restored:
        text = f"{label} waited {words(waited)}: its argument from {history.label(restored[0])} was spilled to disk and had to be read back"
        return [Step("restored", label, waited, text + "; raise object_store_memory, or drop refs earlier")]
    before = history.before_on(attempt.lane, attempt.start_us)
    is_behind = before is not None and before.end_us > ready_us
    if attempt.kind == f.ACTOR_CALL:
        what = f", {history.label(before.key)} the last" if is_behind and before is not None else ""
        return [
            Step("behind its actor", label, waited, f"{label} waited {words(waited)} behind earlier calls of its actor{what}")
        ]
    lane = history.lanes.get(attempt.lane)
    if lane is not None and lane.came_us > ready_us:
        return [
            Step("starting a worker", label, waited, f"{label} waited {words(waited)} while worker {attempt.lane} was started")
        ]
    if is_behind and before is not None:
        text = f"{label} waited {words(waited)}: no CPU was free; worker {attempt.lane} ran {history.label(before.key)} ({words(before.duration_us)}) until then"
        return [Step("no worker free", label, waited, text)]
    return [Step("no worker free", label, waited, f"{label} waited {words(waited)} for a worker")]


def _not_run(history: History, key: Key, label: str) -> Step:
    failed = [history.label(dep) for dep in history.needs.get(key, ()) if _has_failed(history, dep)]
    if failed:
        return Step("not run", label, 0, f"{label} was never run: its argument from {failed[0]} failed")
    pending = [
        history.label(dep) for dep in history.needs.get(key, ()) if dep not in history.last or not history.last[dep].end_us
    ]
    if pending:
        return Step("not run", label, 0, f"{label} has not run yet: it waits for {', '.join(pending[:3])}")
    return Step("not run", label, 0, f"{label} has not run yet, or is too new to be on record")


def _has_failed(history: History, key: Key) -> bool:
    attempt = history.last.get(key)
    return attempt is not None and attempt.state in (f.FAILED, f.CANCELLED)


def verdict(steps: list[Step]) -> str:
    """The stretch that counts, in a sentence; "" when nothing stands out."""
    timed = [step for step in steps if step.kind in _ADVICE and step.duration_us > 0]
    if not timed:
        return ""
    longest = max(timed, key=lambda step: step.duration_us)
    total = sum(step.duration_us for step in timed if step.kind not in ("argument", "submitted", "waited for get"))
    share = longest.duration_us / total if total else 1
    return f"most of it ({share:.0%}): {longest.text}. {_ADVICE[longest.kind]}" if share >= 0.3 else ""


_ADVICE = {
    "ran": "Make that function faster, or cut its work into more tasks.",
    "no worker free": "More CPUs, or fewer tasks before it, would help.",
    "starting a worker": "That is paid once.",
    "restored": "A larger object store would help.",
    "behind its actor": "Let several actors share the calls, or raise max_concurrency.",
    "retried": "See skate errors for what failed before.",
}


def as_rows(steps: list[Step]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(step) for step in steps]
