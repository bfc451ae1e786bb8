"""Why a task ended when it did: every cause is told, in order, from the end backwards."""

from __future__ import annotations

from skate import run_format as f
from skate.dashboard.why import explain_task, verdict
from tests.unit.dashboard.story import Story


def kinds(story: Story, key: tuple[int, int]) -> list[str]:
    return [step.kind for step in explain_task(story.history, key)]


def test_a_task_that_waited_for_its_argument_leads_to_the_one_that_made_it() -> None:
    story = Story()
    story.submitted(1, 0)
    prep = story.run("prep", 1, worker=3, start=0.1, ms=50)
    train = story.run("train", 2, worker=2, start=50.2, ms=10)
    story.needs(train, prep, at=0)
    story.submitted(3, 0.1)
    steps = explain_task(story.history, train)
    assert [(step.kind, step.task) for step in steps[:3]] == [("ran", "train-2"), ("argument", "train-2"), ("ran", "prep-1")]
    assert "train-2 waited 50.1 ms for its argument from prep-1" in steps[1].text
    assert "prep-1 ran 50 ms on worker 3" in verdict(steps)


def test_no_free_cpu_names_what_ran_there() -> None:
    story = Story()
    story.submitted(1, 0)
    story.submitted(3, 0.1)
    story.run("long", 1, worker=2, start=0, ms=100)
    short = story.run("short", 2, worker=2, start=100.1, ms=1)
    (_, wait, *_) = explain_task(story.history, short)
    assert wait.kind == "no worker free"
    assert "worker 2 ran long-1 (100 ms) until then" in wait.text


def test_a_spilled_argument_is_told() -> None:
    story = Story()
    make = story.run("make", 1, worker=2, start=0, ms=1)
    use = story.run("use", 2, worker=2, start=80, ms=1)
    story.needs(use, make, at=5)
    story.restored(make, at=10)
    (_, wait, *_) = explain_task(story.history, use)
    assert wait.kind == "restored"
    assert "its argument from make-1 was spilled to disk" in wait.text


def test_a_starting_worker_an_actor_queue_and_waiting_in_get_are_told() -> None:
    story = Story()
    story.submitted(1, 0)
    story.submitted(5, 0.1)
    story.worker(4, at=30)
    first = story.run("f", 1, worker=4, start=40, ms=1)
    assert "starting a worker" in kinds(story, first)
    story.run("Model.fit", 2, worker=3, start=0, ms=50, kind=f.ACTOR_CALL)
    call = story.run("Model.fit", 3, worker=3, start=50, ms=1, kind=f.ACTOR_CALL)
    assert "behind its actor" in kinds(story, call)
    outer = story.run("outer", 4, worker=2, start=0.2, ms=20)
    story.blocked(outer, 2, start=1, ms=15)
    steps = explain_task(story.history, outer)
    assert (steps[0].duration_us, steps[1].kind, steps[1].duration_us) == (5000, "waited for get", 15000)


def test_a_nested_task_leads_to_the_task_that_submitted_it() -> None:
    story = Story()
    outer = story.run("outer", 1, worker=2, start=0, ms=100)
    story.submitted(1, 0, owner=2)
    story.submitted(2, 60, owner=2)
    inner = story.run("inner", 1, worker=3, start=60.1, ms=5, owner=2)
    steps = explain_task(story.history, inner)
    assert [step.task for step in steps] == ["inner-2.1", "inner-2.1", "outer-1"]
    assert "inner-2.1 was submitted by outer-1, 60 ms after its start" in steps[1].text
    assert outer == (1, 1)


def test_a_task_that_was_never_run_leads_to_the_failure() -> None:
    story = Story()
    prep = story.run("prep", 7, worker=2, start=0, ms=3, state=f.FAILED)
    story.needs((1, 8), prep, at=0)
    steps = explain_task(story.history, (1, 8))
    assert steps[0].text == "task-8 was never run: its argument from prep-7 failed"
    assert "prep-7 failed (attempt 1)" in steps[1].text


def test_retries_are_told() -> None:
    story = Story()
    story.run("flaky", 1, worker=2, start=0, ms=3, state=f.FAILED)
    key = story.run("flaky", 1, worker=2, start=10, ms=3, attempt=1)
    assert "flaky-1 was run 2 times: 10 ms went by" in explain_task(story.history, key)[1].text


def test_tasks_are_found_by_label_id_and_name() -> None:
    story = Story()
    story.run("f", 1, worker=2, start=0, ms=1)
    story.run("f", 2, worker=2, start=1, ms=9)
    story.run("f", 1, worker=3, start=2, ms=1, owner=2)
    find = story.history.find
    assert find("f-1") == (1, 1)
    assert find("f-2.1") == (2, 1)
    assert find("f") == (1, 2)
    assert find("deadbeef" + "00000002" + f"{1:016x}") == (2, 1)
