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
    run.end()
    run.close()
    return folder


@pytest.fixture
def tab(folder: Path, new_tab: Callable[..., Tab]) -> Iterator[Tab]:
    ui = Ui("story", runs=folder)
    tab = new_tab().open(ui.url, 3)
    tab.ask("skateApp.select(skateApp.model.find(1, 3))")
    yield tab
    ui.close()


def test_arguments_have_sizes_and_origins(tab: Tab) -> None:
    text = tab.page.inner_text("aside.detail")
    assert "ARGUMENTS" in text.upper()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.startswith("load #2 700 B with the call") for line in lines), lines
    assert any(line.startswith("put #9 2.1 MB object store") for line in lines), lines
    assert any("values written in the call: 5" in line for line in lines), lines
    tab.page.locator("aside.detail tr", has_text="load").click()
    tab.until("skateApp.detail.row === skateApp.model.find(1, 2)")
    assert tab.errors == []


def test_why_says_the_same_in_the_page_and_on_the_command_line(tab: Tab, folder: Path) -> None:
    run = RunFile(str(folder / "story"))
    history = History(run.names)
    history.read(run.rows())
    told = {step.text: step.duration_us / 1e6 for step in explain_task(history, (DRIVER, 3)) if step.duration_us}
    shown = tab.ask("skateApp.detail.constructor.explain(skateApp.model, skateApp.detail.row)")
    for text, seconds in told.items():
        assert any(text == line and abs(took - seconds) < 0.002 for took, line in shown), (text, shown)
