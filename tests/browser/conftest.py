"""A browser, and the UI of a run: for all tests here. Chromium comes from the machine: `tests/browser/install-chromium` gets it where it can."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.fake_run import FakeRun, write_training_run

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = (
    os.environ.get("SKATE_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
TASKS = 50_000


class Ui:
    """A UI process."""

    def __init__(self, *arguments: str, runs: Path) -> None:
        environment = {**os.environ, "SKATE_RUNS_DIR": str(runs), "PYTHONPATH": str(REPOSITORY / "src")}
        command = [sys.executable, "-m", "skate.cli.main", "ui", "--announce", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        self.origin = self.url.split("/?")[0]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


class Tab:
    """A page of the browser, which notes what must not happen: errors, and requests to other hosts."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)

    def until(self, script: str, within_s: float = 10) -> Any:
        """Wait for a condition: `evaluate`, since the page's policy forbids what `wait_for_function` does."""
        deadline_s = time.monotonic() + within_s
        while not (answer := self.ask(script)):
            assert time.monotonic() < deadline_s, f"did not come true within {within_s} s: {script}; errors: {self.errors}"
            self.page.wait_for_timeout(20)
        return answer

    def open(self, url: str, tasks: int = 1) -> Tab:
        self.page.goto(url)
        self.until(f"!!window.skateApp && skateApp.model.n >= {tasks}")
        return self

    def go(self, page: str) -> str:
        """Show a page of the UI; returns its text."""
        self.ask(f"location.hash = '#/{page}'")
        key = page.split("?")[0]
        self.until(f"skateApp.pageKey === '{key}'")
        return str(self.page.inner_text("main"))

    def text_until(self, wanted: str) -> None:
        self.until(f"document.body.innerText.includes({json.dumps(wanted)})")


@pytest.fixture(
    scope="package"
)  # Not longer: Playwright runs an event loop in this thread, and asyncio.run() of later tests would refuse to.
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.fail("these tests need Chromium: run tests/browser/install-chromium, or name it in SKATE_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def new_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    contexts = []

    def open_tab(width: int = 1280, height: int = 800, **options: Any) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        return Tab(context.new_page())

    yield open_tab
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that have ended: one of 50,000 tasks, and a smaller one."""
    folder = tmp_path_factory.mktemp("runs")
    for name, tasks, seed in (("run-big", TASKS, 1), ("run-small", 3_000, 2)):
        run = FakeRun(folder / name)
        write_training_run(run, tasks, seed=seed)
        run.end()
        run.close()
    return folder


@pytest.fixture(scope="package")
def ui(runs: Path) -> Iterator[Ui]:
    ui = Ui("run-big", runs=runs)
    yield ui
    ui.close()
