"""Claims about what people are told while they wait."""

from __future__ import annotations

from skate.engine.spec import messages as m
from tests.unit.engine.scheduler.rig import Rig


def test_a_request_nobody_can_serve_is_explained_after_some_seconds_once(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, {"GPU": 1}, name="square")

    assert not rig.wait(4)
    rig.wait(2)

    notice = rig.one(m.Notice)
    assert notice.level == "warning"
    assert (
        notice.text
        == "square waits for {GPU: 1}; this machine has none; ask for less, or start with more: skate.init(num_gpus=…)"
    )
    assert not rig.wait(100)


def test_it_says_how_much_there_is(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, {"CPU": 64}, name="square")

    rig.wait(6)

    assert "this machine has only {CPU: 2}" in rig.one(m.Notice).text


def test_a_request_held_by_actors_is_explained(rig: Rig) -> None:
    driver = rig.driver()
    for _ in range(2):
        rig.living_actor(driver, running_resources={"CPU": 10_000})
    rig.request(driver, name="square")

    rig.wait(20)

    assert "square has been waiting for {CPU: 1}" in rig.one(m.Notice).text
    assert "2 × actor Counter" in rig.one(m.Notice).text


def test_nothing_is_said_about_waiting_for_tasks(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    rig.lease(one, {"CPU": 2})
    rig.request(other, name="square")

    rig.wait(60)

    assert not rig.all(m.Notice)


def test_the_notice_about_a_nested_task_goes_to_the_driver(rig: Rig) -> None:
    driver = rig.driver()
    worker = rig.lease(driver).worker
    rig.request(worker, {"GPU": 1}, name="inner")

    rig.wait(6)

    sends = [command for command in rig.commands if getattr(command, "client", None) == driver]
    assert len(sends) == 1


def test_what_waits_is_described(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, {"GPU": 1}, name="square")

    (row,) = rig.scheduler.describe("demand")

    assert isinstance(row, dict)
    assert (row["name"], row["resources"], row["count"], row["is_feasible"]) == ("square", {"GPU": 1.0}, 1, False)
