"""`python -m benchmarks.ui`: how fast the UI draws, finds and follows, and what its process costs; a record in benchmarks/results/.

The runs are written by tests/browser/fake_run.py: the format, sizes and shapes of a session's, in a moment. Chromium draws without a GPU
(as in CI): a desktop is faster. Times are of this machine, so a run beside other load is not worth recording.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engine.report import RESULTS, machine
from tests.browser.conftest import CHROMIUM, Tab, Ui
from tests.browser.fake_run import FakeRun, write_training_run

DRAW = """(async () => { const t = skateApp.timeline, m = skateApp.model, times = [], all = %s; t.follow = false;
  for (let i = 0; i < 60; i++) { const pad = m.tmax * (.001 + .0005 * i); all ? t.view(-pad, m.tmax + pad) : t.view(m.tmax * .3 + i * .2, m.tmax * .3 + i * .2 + 20);
    const t0 = performance.now(); t.draw(); t.context.getImageData(0, 0, 1, 1); times.push(performance.now() - t0); await new Promise(requestAnimationFrame); }
  times.sort((a, b) => a - b); return [times[30], times[57], t.bars]; })()"""
FRAMES = """(async () => { const start = performance.now(); let n = 0, worst = 0, last = start; while (performance.now() - start < 4000) { await new Promise(requestAnimationFrame); n++;
  const now = performance.now(); worst = Math.max(worst, now - last); last = now; skateApp.timeline.isDirty = true; } return [n / (performance.now() - start) * 1000, worst]; })()"""
SEARCH = """(() => { const queries = ['fn:train', 'fn:embed state:failed', '>100ms', 'fn:o -fn:rollout state:finished >10ms <1s', 'nothing'], times = [];
  for (let k = 0; k < 6; k++) for (const q of queries) { const t0 = performance.now(); skateApp.search.value = q; skateApp.setQuery(q); times.push(performance.now() - t0); }
  skateApp.setQuery(''); times.sort((a, b) => a - b); return [times[times.length >> 1], times[times.length - 1]]; })()"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ui", description=__doc__)
    parser.add_argument(
        "--parts", default="page,draw,search,live,server,large", help="which, comma-separated (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    arguments = parser.parse_args()
    parts = set(arguments.parts.split(","))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, Browser() as browser:
        folder = Path(name)
        write_run(folder / "tasks-50k", 50_000)
        if "page" in parts:
            measure_page(browser, folder, figures)
        if "draw" in parts:
            measure_drawing(browser, folder, "tasks-50k", 50_000, figures)
        if "search" in parts:
            write_run(folder / "tasks-100k", 100_000)
            tab, ui = browser.open(folder, "tasks-100k", 100_000)
            tab.go("tasks")
            figures["search_100k_ms_p50"], figures["search_100k_ms_max"] = rounded(tab.ask(SEARCH))
            browser.close(tab, ui)
        if "live" in parts:
            measure_live(browser, folder, figures)
        if "server" in parts:
            measure_server(folder, figures)
        if "large" in parts:
            write_run(folder / "tasks-500k", 500_000)
            measure_drawing(browser, folder, "tasks-500k", 500_000, figures)
            write_run(folder / "tasks-1m", 1_000_000)
            start_s = time.monotonic()
            tab, ui = browser.open(folder, "tasks-1m", 1_000_000, within_s=60)
            figures["open_1m_s"] = round(time.monotonic() - start_s, 2)
            figures["server_mb_1m"] = round(memory_mb(ui), 1)
            browser.close(tab, ui)
    for key, value in figures.items():
        print(f"{key:<28} {value}")
    path = arguments.output / time.strftime("ui-%Y%m%d-%H%M%S.json", time.gmtime())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    record = {
        "command": "python -m benchmarks.ui " + " ".join(sys.argv[1:]),
        "commit": commit,
        "machine": machine(),
        "figures": figures,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {path}")
    return 0


def measure_page(browser: Browser, folder: Path, figures: dict[str, Any]) -> None:
    paints = []
    for _ in range(5):
        tab, ui = browser.open(folder, "tasks-50k", 50_000)
        paints.append(tab.ask("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        sizes = tab.ask(
            "performance.getEntriesByType('resource').filter((r) => r.name.includes('/static/')).map((r) => r.encodedBodySize)"
        )
        figures["page_bytes"] = sum(sizes)
        browser.close(tab, ui)
    figures["first_paint_ms_p50"] = round(statistics.median(paints), 1)


def measure_drawing(browser: Browser, folder: Path, run: str, tasks: int, figures: dict[str, Any]) -> None:
    tab, ui = browser.open(folder, run, tasks, within_s=60)
    tab.go("live")
    for label, is_all in (("all", "true"), ("20s", "false")):
        p50, p95, bars = tab.ask(DRAW % is_all)
        figures[f"draw_{run}_{label}"] = {"bars": bars, "ms_p50": round(p50, 2), "ms_p95": round(p95, 2)}
    browser.close(tab, ui)


def measure_live(browser: Browser, folder: Path, figures: dict[str, Any]) -> None:
    """50,000 tasks there, 2,000 a second coming, in ten pieces a second."""
    run = FakeRun(folder / "live", start_s=time.time() - 440)
    end_s = write_training_run(run)
    tab, ui = browser.open(folder, "live", 50_000)
    tab.go("live")
    tab.ask("skateApp.timeline.fit()")
    stop = threading.Event()
    writer = threading.Thread(target=feed, args=(run, stop, end_s))
    process = psutil.Process(ui.process.pid)
    before, start_s = process.cpu_times(), time.monotonic()
    writer.start()
    fps, worst_ms = tab.ask(FRAMES)
    after, passed_s = process.cpu_times(), time.monotonic() - start_s
    stop.set()
    writer.join()
    figures["live_50k_frames_per_s"] = round(fps, 1)
    figures["live_50k_worst_frame_ms"] = round(worst_ms, 1)
    figures["live_server_cpu_percent"] = round(100 * (after.user + after.system - before.user - before.system) / passed_s, 2)
    browser.close(tab, ui)
    run.close()


def feed(run: FakeRun, stop: threading.Event, at_s: float) -> None:
    number = 50_000
    while not stop.wait(0.1):
        for _ in range(200):
            number += 1
            run.task("rollout" if number % 3 else "embed", number, 2 + number % 8, at_s, 0.003)
            at_s += 0.0005
        run.flush()


def measure_server(folder: Path, figures: dict[str, Any]) -> None:
    """A browser that only holds the socket, so that its own CPU is not in the way."""
    from websockets.sync.client import connect

    ui = Ui("tasks-50k", runs=folder)
    port, token = ui.origin.rsplit(":", 1)[1], ui.url.split("token=")[1]
    process = psutil.Process(ui.process.pid)
    with connect(
        f"ws://127.0.0.1:{port}/ws", origin=ui.origin, additional_headers={"Cookie": f"skate_ui_{port}={token}"}, max_size=None
    ) as socket:  # type: ignore[arg-type]
        received = 0
        try:
            while True:
                received += len(socket.recv(timeout=1.0))
        except TimeoutError:
            pass
        figures["server_mb_50k"] = round(memory_mb(ui), 1)
        time.sleep(4)  # The tail slows down when nothing comes.
        before = process.cpu_times()
        time.sleep(10)
        after = process.cpu_times()
        figures["server_idle_cpu_percent"] = round(100 * (after.user + after.system - before.user - before.system) / 10, 2)
    ui.close()


def write_run(directory: Path, tasks: int) -> None:
    if not directory.exists():
        run = FakeRun(directory)
        write_training_run(run, tasks)
        run.end()
        run.close()


def memory_mb(ui: Ui) -> float:
    return float(psutil.Process(ui.process.pid).memory_full_info().uss) / 1e6


def rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


class Browser:
    def __enter__(self) -> Browser:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        return self

    def __exit__(self, *_: object) -> None:
        self._chromium.close()
        self._playwright.stop()

    def open(self, folder: Path, run: str, tasks: int, within_s: float = 20) -> tuple[Tab, Ui]:
        ui = Ui(run, runs=folder)
        tab = Tab(self._chromium.new_context(viewport={"width": 1920, "height": 1080}).new_page())
        tab.page.goto(ui.url)
        tab.until(f"!!window.skateApp && skateApp.model.n >= {tasks}", within_s)
        return tab, ui

    def close(self, tab: Tab, ui: Ui) -> None:
        tab.page.context.close()
        ui.close()


if __name__ == "__main__":
    sys.exit(main())
