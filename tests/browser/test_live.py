"""A run that grows while the browser looks; a real session; hostile names; the report; small screens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from skate import run_format as f
from tests.browser.conftest import TASKS, Tab, Ui
from tests.browser.fake_run import HOSTILE_NAME, FakeRun

NewTab = Callable[..., Tab]

PROGRAM = """
import sys, time
import skate

@skate.remote
def work(x):
    return x

@skate.remote
def broken():
    print("about to fail")
    raise KeyError("no such key")

@skate.remote
def sleepy():
    time.sleep(60)

@skate.remote
class Counter:
    def add(self, k):
        return k

if __name__ == "__main__":
    context = skate.init(num_cpus=2, include_dashboard=True, log_to_driver=False)
    counter = Counter.options(name="tally").remote()
    skate.get([counter.add.remote(1) for _ in range(20)])
    skate.report({"loss": 0.5}, step=1, run="mine")
    skate.publish("custom", "one", {"sections": [{"type": "stats", "values": {"speed": 41}}]})
    ref = sleepy.remote()
    print(context.dashboard_url, flush=True)
    for line in sys.stdin:
        if line.startswith("work"):
            skate.get([work.remote(i) for i in range(int(line.split()[1]))])
        elif line.startswith("fail"):
            try:
                skate.get(broken.remote())
            except Exception as error:
                print(type(error).__name__, flush=True)
        elif line.startswith("cancelled?"):
            try:
                skate.get(ref, timeout=20)
            except Exception as error:
                print(type(error).__name__, flush=True)
"""


def test_rows_that_come_are_drawn(tmp_path: Path, new_tab: NewTab) -> None:
    run = FakeRun(tmp_path / "runs" / "growing")
    run.lane(2, 100)
    run.task("first", 1, 2, 0.0, 0.5)
    run.flush()
    ui = Ui("growing", runs=tmp_path / "runs")
    try:
        tab = new_tab().open(ui.url)
        for number in range(2, 500):
            run.task("later", number, 2, number * 0.5, 0.4, state=f.FAILED if number == 77 else f.FINISHED)
        run.error(38.9, 2, "later", 77, "ZeroDivisionError", "division by zero")
        run.flush()
        tab.until("skateApp.model.n === 499", within_s=3)
        tab.text_until("499")
        tab.go("errors")
        tab.text_until("ZeroDivisionError")
        run.task("slow", 600, 2, 260, 0, state=f.RUNNING)
        run.flush()
        tab.until("skateApp.model.running.size === 1")
        run.task("slow", 600, 2, 260, 9.0)
        run.flush()
        tab.until("skateApp.model.running.size === 0 && skateApp.model.n === 500")
        assert tab.errors == []
    finally:
        run.close()
        ui.close()


def test_a_task_named_script_is_text_everywhere(tmp_path: Path, new_tab: NewTab) -> None:
    run = FakeRun(tmp_path / "runs" / "hostile", argv=[HOSTILE_NAME])
    run.lane(2, 100, what=HOSTILE_NAME)
    run.task(HOSTILE_NAME, 1, 2, 0.0, 0.5, state=f.FAILED)
    run.error(0.5, 2, HOSTILE_NAME, 1, HOSTILE_NAME, HOSTILE_NAME)
    run.log(0.2, 2, HOSTILE_NAME, HOSTILE_NAME + "\n</script>\n")
    run.report(HOSTILE_NAME, HOSTILE_NAME, 0.1, 1.0, 1)
    run.document(
        0.3,
        "page",
        HOSTILE_NAME,
        {"title": HOSTILE_NAME, "nodes": [{"name": HOSTILE_NAME}], "edges": [], "rows": [{"a": HOSTILE_NAME}]},
    )
    run.row(f.ACTOR, 0.1, state=1, lane=2, name=run.string(HOSTILE_NAME), owner=1, number=3)
    run.row(f.PACKED, 0.1, lane=2, name=run.string(HOSTILE_NAME), owner=run.string(HOSTILE_NAME), number=9)
    run.end()
    run.close()
    report = tmp_path / "report.html"
    make_report("hostile", report, tmp_path / "runs")
    ui = Ui("hostile", runs=tmp_path / "runs")
    try:
        for url in (ui.url, report.as_uri()):
            tab = new_tab().open(url)
            for page in ("live", "tasks", "actors", "objects", "logs", "errors", "training", "why", "resources", "page-page"):
                if page == "resources" and url != ui.url:
                    continue
                tab.go(page)
                tab.ask("skateApp.slow(performance.now()), skateApp.select(0), skateApp.timeline.showTip(0)")
            tab.text_until(HOSTILE_NAME)
            assert tab.ask("window.hacked === undefined && !document.querySelector('main script')")
            assert tab.errors == []
    finally:
        ui.close()


def test_report_is_one_small_file_that_asks_nobody(tmp_path: Path, runs: Path, new_tab: NewTab) -> None:
    path = tmp_path / "report.html"
    make_report("run-big", path, runs)
    assert path.stat().st_size < 1_000_000
    tab = new_tab(offline=True)
    tab.open(path.as_uri(), TASKS)
    sums = "(() => { const m = skateApp.model; return m.functions.map((f) => [f.name, f.count, Math.round(f.sum * 1e4)]); })()"
    ui = Ui("run-big", runs=runs)
    try:
        assert sorted(tab.ask(sums)) == sorted(new_tab().open(ui.url, TASKS).ask(sums))
    finally:
        ui.close()
    for page, wanted in (("errors", "KeyError"), ("training", "reward"), ("logs", "epoch"), ("page-stream", "wordcount")):
        tab.go(page)
        tab.text_until(wanted)
    assert tab.errors == []
    assert tab.requests == [path.as_uri()]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_phone_shows_every_page_without_scrolling_sideways(ui: Ui, new_tab: NewTab, theme: str) -> None:
    tab = new_tab(390, 800, color_scheme=theme).open(ui.url, TASKS)
    assert tab.ask("document.documentElement.dataset.theme") == theme
    for page in ("live", "tasks", "errors", "training", "why"):
        tab.go(page)
        assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert tab.ask("skateApp.timeline.canvas.clientWidth") <= 390


def test_session_with_its_ui_from_init_to_end(tmp_path: Path, new_tab: NewTab) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    pid = 0
    try:
        url = program.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{20,}", url)
        tab = new_tab().open(url)
        program.stdin.write("work 300\n")
        tab.until("skateApp.model.live && skateApp.model.functions.some((f) => f.name.includes('work') && f.count === 300)")
        tab.go("actors")
        tab.text_until("tally")
        program.stdin.write("fail\n")
        assert "KeyError" in program.stdout.readline()
        tab.go("errors")
        tab.text_until("no such key")
        tab.go("logs")
        tab.text_until("about to fail")
        tab.go("training")
        tab.text_until("mine")
        tab.go("page-custom")
        tab.text_until("speed")
        tab.until("skateApp.model.running.size === 1")
        tab.page.on("dialog", lambda dialog: dialog.accept())
        tab.ask("skateApp.select([...skateApp.model.running.values()][0])")
        tab.page.get_by_role("button", name="live stack").click()
        tab.text_until("time.sleep(60)")
        tab.page.get_by_role("button", name="cancel").click()
        program.stdin.write("cancelled?\n")
        assert program.stdout.readline().strip() == "TaskCancelledError"
        program.stdin.close()
        assert program.wait(20) == 0
        tab.until("!skateApp.model.live && skateApp.isConnected", within_s=8)
        tab.go("tasks")
        tab.text_until("cancelled")
        session = tab.ask("skateApp.model.run")
        pid = next(
            one.pid
            for one in psutil.process_iter(["cmdline"])
            if "--session" in (cmd := one.info["cmdline"] or []) and session in cmd
        )
        assert tab.errors == []
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
        if program.stderr is not None:
            program.stderr.close()
        if pid:
            os.kill(pid, signal.SIGTERM)  # It would stay for a minute.


def make_report(run: str, path: Path, runs: Path) -> None:
    from skate.dashboard.report import make_report

    path.write_text(make_report(str(runs / run)))
