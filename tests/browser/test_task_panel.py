"""The panel of one task: sizes and origins of its arguments, and Why in the same words as `skate why`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skate import run_format as f
from skate.dashboard.history import History
from skate.dashboard.runfile import RunFile
from skate.dashboard.why import explain_task
from tests.browser.conftest import Tab, Ui
from tests.browser.fake_run import DRIVER, FakeRun


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """load-2 (300 ms) makes an argument of train-3; prep-1 keeps worker 3 busy until train-3 starts there."""
    folder = tmp_path_factory.mktemp("runs")
    run = FakeRun(folder / "story")
    run.lane(DRIVER, 10, t=-1, what="driver app.py")
    for lane in (2, 3):
        run.lane(lane, 10 + lane, t=-1)
    run.row(f.SUBMITTED, 0.001, owner=DRIVER, number=4)
    for dep in (2, 9):
        run.row(f.NEEDS, 0.001, lane=DRIVER, name=dep, owner=DRIVER, number=3)
    run.row(f.ARGUMENT, 0.5, lane=3, attempt=f.OWN_BYTES, owner=DRIVER, number=3, duration_s=0.005)
    run.row(f.ARGUMENT, 0.5, lane=3, attempt=0, owner=DRIVER, number=3, duration_s=0.0007)
    run.row(f.STORED, 0.0005, lane=DRIVER, name=2048, owner=DRIVER, number=9)
    run.task("load", 2, 2, 0.002, 0.3)
    run.task("prep", 1, 3, 0.002, 0.498)
    run.task("train", 3, 3, 0.501, 0.2)
    write_second_act(run)
    run.end()
    run.close()
    return folder


def write_second_act(run: FakeRun) -> None:
    """From second 10 on: whatever else can hold a task up."""
    run.lane(4, 14, t=10.2)
    run.row(f.SUBMITTED, 10.0, owner=DRIVER, number=20)
    run.row(f.SUBMITTED, 10.001, owner=DRIVER, number=40)
    run.task("cold", 20, 4, 10.3, 0.1)  # Its worker had to be started.
    run.task("Model.fit", 21, 2, 10.1, 0.4, kind=f.ACTOR_CALL)
    run.task("Model.fit", 22, 2, 10.5, 0.1, kind=f.ACTOR_CALL)  # Behind the one before.
    run.task("bad", 23, 3, 10.0, 0.01, state=f.FAILED)
    run.row(f.NEEDS, 10.0, lane=DRIVER, name=23, owner=DRIVER, number=24)  # Never runs.
    run.task("flaky", 25, 3, 10.2, 0.1, state=f.FAILED)
    run.task("flaky", 25, 3, 10.9, 0.1, attempt=1)
    run.task("maker", 19, 2, 9.0, 0.5)
    run.row(f.NEEDS, 11.0, lane=DRIVER, name=19, owner=DRIVER, number=26)
    run.row(f.RESTORED, 11.2, name=100, owner=DRIVER, number=19)
    run.task("reader", 26, 3, 11.3, 0.0412)
    run.task("outer", 27, 2, 12.0, 1.5)  # Submits inner from worker 2, and waits for it.
    run.row(f.SUBMITTED, 12.3, owner=2, number=2)
    run.row(f.TASK, 12.3004, state=f.FINISHED, lane=3, name=run.string("inner"), owner=2, number=1, duration_s=1.1234)
    run.row(f.BLOCKED, 12.3, lane=2, owner=DRIVER, number=27, duration_s=1.13)
    run.row(f.NEEDS, 13.0, lane=DRIVER, name=99, owner=DRIVER, number=28)  # Waits for what has not run.
    run.task("long", 29, 4, 14.0, 250.0)
    run.task("going on", 30, 4, 300.0, 0, state=f.RUNNING)


@pytest.fixture
def tab(folder: Path, new_tab: Callable[..., Tab]) -> Iterator[Tab]:
    ui = Ui("story", runs=folder)
    tab = new_tab().open(ui.url, 12)
    tab.ask("skateApp.select(skateApp.model.find(1, 3))")
    yield tab
    ui.close()


def test_arguments_have_sizes_and_origins(tab: Tab) -> None:
    text = tab.page.inner_text("aside.detail")
    assert "ARGUMENTS" in text.upper()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.startswith("load #2 700 B in call") for line in lines), text
    assert any(line.startswith("put #9 2.1 MB stored") for line in lines), text
    assert any("values written in the call: 5" in line for line in lines), text
    tab.page.locator("aside.detail tr", has_text="load").click()
    tab.until("skateApp.detail.row === skateApp.model.find(1, 2)")
    assert tab.errors == []


def test_why_says_the_same_in_the_page_and_on_the_command_line(tab: Tab, folder: Path) -> None:
    run = RunFile(str(folder / "story"))
    history = History(run.names)
    history.read(run.rows())
    words = set()
    for key in [(DRIVER, number) for number in (1, 2, 3, *range(20, 31))] + [(2, 1)]:
        told = explain_task(history, key)
        shown = tab.ask(f"skateApp.constructor.explainTask(skateApp.model, {key[0]}, {key[1]})")
        assert [text for _, text in shown] == [step.text for step in told]
        assert [took for took, _ in shown] == pytest.approx([step.duration_us / 1e6 for step in told], abs=1e-5)
        words |= {step.kind for step in told}
    assert words >= {
        "ran", "failed", "retried", "waited for get", "no worker free", "starting a worker", "restored", "behind its actor", "argument", "submitted", "not run",
    }  # fmt: skip
    text = tab.page.inner_text("aside.detail .why-panel")
    assert "no CPU was free; worker 3 ran prep-1 (498 ms) until then" in text
