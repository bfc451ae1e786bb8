"""What a run's time went into, and what would make it faster."""

from __future__ import annotations

import pytest

from skate import run_format as f
from skate.dashboard.explain import replay, summarize
from skate.dashboard.query import parse
from tests.unit.dashboard.story import Story


def test_efficiency_is_work_by_the_time_of_all_cores() -> None:
    story = Story()
    story.run("f", 1, worker=2, start=0, ms=100)
    key = story.run("f", 2, worker=3, start=0, ms=100)
    story.blocked(key, 3, start=10, ms=50)
    summary = summarize(story.history, 2)
    assert summary.efficiency == pytest.approx(0.75)
    assert summary.waited_us == 50_000
    (function,) = summary.functions
    assert (function.count, function.total_us) == (2, 150_000)


def test_many_tiny_tasks_are_told_to_batch_with_the_code_to_write() -> None:
    story = Story()
    for number in range(1, 301):
        story.run("tiny", number, worker=2, start=number * 0.2, ms=0.08)
    summary = summarize(story.history, 2)
    assert summary.overhead_us == pytest.approx(120, abs=1)
    advice = "\n".join(summary.advice)
    assert "your tiny tasks take 80 µs each" in advice
    assert "tiny_many.remote(items[i:i+62])" in advice


def test_long_tasks_are_not_told_to_batch() -> None:
    story = Story()
    for number in range(1, 301):
        story.run("long", number, worker=2, start=number * 20, ms=19)
    assert "batch" not in "\n".join(summarize(story.history, 2).advice)


def test_replay_respects_workers_arguments_and_submission() -> None:
    jobs = [((1, number), 0.0, 10.0) for number in range(4)]
    assert replay(jobs, {}, 1) == 40
    assert replay(jobs, {}, 2) == 20
    assert replay(jobs, {(1, 1): [(1, 0)], (1, 2): [(1, 1)], (1, 3): [(1, 2)]}, 4) == 40
    assert replay([((1, 0), 0.0, 10.0), ((1, 1), 35.0, 10.0)], {}, 2) == 45


def test_more_workers_help_independent_tasks_and_not_a_loop_that_waits_for_each() -> None:
    parallel, serial = Story(), Story()
    parallel.submitted(1, 0)
    parallel.submitted(21, 0.1)
    for number in range(20):
        parallel.run("f", number + 1, worker=2 + number % 2, start=number // 2 * 100, ms=100)
        serial.submitted(number + 1, number * 100)
        serial.submitted(number + 2, number * 100 + 0.1)
        serial.run("f", number + 1, worker=2, start=number * 100 + 0.2, ms=99)
    speedups = dict(summarize(parallel.history, 2).speedups)
    assert speedups[4] == pytest.approx(2, rel=0.01)
    assert speedups[1] == pytest.approx(0.5, rel=0.01)
    summary = summarize(serial.history, 2)
    assert dict(summary.speedups)[8] == pytest.approx(1, rel=0.01)
    assert "more workers would not help" in "\n".join(summary.advice)


def test_stragglers_and_serialization_are_told() -> None:
    story = Story()
    story.run("f", 1, worker=2, start=0, ms=100)
    story.run("f", 2, worker=3, start=0, ms=2000)
    story.packed("app.py:12", "train", 100, ms=900)
    advice = "\n".join(summarize(story.history, 2).advice)
    assert "for the last 1.9 s (95%) only one worker was busy" in advice
    assert "most at app.py:12 (train): 1 times, 100 MiB in 900 ms" in advice


def test_queries() -> None:
    story = Story()
    slow = story.history.last[story.run("train.fit", 1, worker=2, start=0, ms=300)]
    failed = story.history.last[story.run("prep", 2, worker=3, start=0, ms=1, state=f.FAILED)]
    for text, fits in (
        ("", (True, True)), ("fn:train", (True, False)), ("state:failed", (False, True)), (">100ms", (True, False)), ("<0.1s", (False, True)),
        ("worker:3", (False, True)), ("prep-2", (False, True)), ("fn:train state:failed", (False, False)), ("attempt:1 kind:task", (True, True)),
    ):  # fmt: skip
        claim = parse(text)
        assert (claim(slow, "train.fit-1"), claim(failed, "prep-2")) == fits, text
    for text in ("state:odd", ">100", "color:red", "worker:x"):
        with pytest.raises(ValueError):
            parse(text)
