"""Every page of the UI in a real browser, over a run of 50,000 tasks that has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import TASKS, Tab, Ui

PAGES = {
    "live": ["rollout", "p50", "fit all"],
    "tasks": ["50,000", "compute_gae", "finished"],
    "actors": ["ParameterServer", "EnvWorker", "ended"],
    "objects": ["spilled", "rollout", "train_ppo.py:42"],
    "logs": ["epoch 515 loss", "WARN object store"],
    "errors": ["KeyError", "'label'", "Traceback"],
    "training": ["reward", "loss", "seed 1"],
    "why": ["parallel efficiency", "97 %", "spilled to disk"],
    "resources": ["memory", "w9", "pid"],
    "runs": ["run-small", "compare"],
    "page-stream": ["wordcount", "backpressure", "watermark"],
    "page-tune": ["Best first", "gamma"],
    "page-dataframe": ["SCAN parquet", "groupby"],
}


@pytest.fixture(scope="module")
def tab(browser: Any, ui: Ui) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield Tab(context.new_page()).open(ui.url, TASKS)
    context.close()


@pytest.fixture(autouse=True)
def fresh(tab: Tab) -> None:
    tab.ask("skateApp.search.value = '', skateApp.setQuery(''), skateApp.select(-1), document.activeElement.blur()")


@pytest.mark.parametrize("page", PAGES)
def test_page_shows_what_the_run_file_tells(tab: Tab, page: str) -> None:
    tab.go(page)
    for wanted in PAGES[page]:
        tab.text_until(wanted)


def test_a_dataflow_stays_in_its_boxes_and_tells_units(tab: Tab) -> None:
    tab.go("page-stream")
    tab.text_until("flat_map(split)")
    overflowing = tab.ask("""[...document.querySelectorAll('.graph rect')].flatMap((box, i) => {
        const texts = [...document.querySelectorAll('.graph svg > text')].filter((t) => {
            const b = box.getBBox(), r = t.getBBox(); return r.x > b.x && r.x < b.x + b.width && r.y > b.y && r.y < b.y + b.height; });
        const b = box.getBBox();
        return texts.filter((t) => { const r = t.getBBox(); return r.x + r.width > b.x + b.width + 1 || r.y + r.height > b.y + b.height + 1; })
                    .map((t) => t.textContent); })""")
    assert overflowing == []
    assert "… 2 more" in tab.ask("document.querySelector('.graph').textContent")
    table = tab.ask("document.querySelector('.doc-section[data-type=table]').textContent")
    assert "size_bytes" not in table
    assert "15.9 kB" in table
    assert "1.005 s" in table
    facts = tab.ask("document.querySelector('.doc-section[data-type=stats]').innerText")
    assert "elapsed\n30.25 s" in facts.replace("\n\n", "\n")
    assert "snapshot failures" in facts


def test_token_leaves_the_address(tab: Tab, ui: Ui) -> None:
    assert tab.ask("location.href").startswith(ui.origin)
    assert "token" not in tab.ask("location.href")


def test_search_by_the_query_grammar(tab: Tab) -> None:
    tab.go("tasks")
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("fn:embed state:failed >1ms")
    tab.until("skateApp.page.query.text === 'fn:embed state:failed >1ms'")
    found, expected = tab.ask("""(() => { const m = skateApp.model, q = skateApp.page.query; let n = 0;
        for (let i = 0; i < m.n; i++) n += m.functions[m.F[i]].name === 'embed' && m.T[i] === 2 && m.E[i] - m.S[i] > .001;
        return [q.count, n]; })()""")
    assert found == expected > 0
    tab.text_until(f"{found} of 50,000")
    tab.page.keyboard.press("Escape")
    tab.until("skateApp.page.query.count === skateApp.model.n")


def test_wrong_query_says_what_there_is(tab: Tab) -> None:
    tab.go("tasks")
    tab.page.fill("header input", "state:broken")
    tab.text_until("there are running, finished, failed, cancelled")


def test_table_of_fifty_thousand_holds_only_what_is_in_sight(tab: Tab) -> None:
    tab.go("tasks")
    tab.until("document.querySelectorAll('.virtual .row').length > 10")
    tab.ask("document.querySelector('.virtual').scrollTop = 5e5")
    tab.until("+document.querySelector('.virtual .row').dataset.index > 20000")
    assert tab.ask("document.querySelectorAll('.virtual .row').length") < 80


def test_zoom_and_move_by_wheel_and_keys(tab: Tab) -> None:
    tab.go("live")
    tab.ask("skateApp.timeline.fit()")
    span = "skateApp.timeline.to - skateApp.timeline.from"
    whole = tab.ask(span)
    tab.page.mouse.move(900, 300)
    tab.page.mouse.wheel(0, -600)
    tab.until(f"{span} < {whole} * .6")
    near = tab.ask(span)
    tab.page.keyboard.press("w")
    tab.until(f"{span} < {near} * .8")
    start = tab.ask("skateApp.timeline.from")
    tab.page.keyboard.press("d")
    tab.until(f"skateApp.timeline.from > {start}")
    tab.page.keyboard.press("f")
    tab.until(f"{span} > {whole} * .99")


def test_click_on_a_bar_opens_its_task_with_its_failure(tab: Tab) -> None:
    tab.go("live")
    row = tab.ask(
        "(() => { const m = skateApp.model; for (let i = 0; i < m.n; i++) if (m.T[i] === 2) { skateApp.timeline.showRow(i); skateApp.select(-1); return i; } })()"
    )
    tab.page.wait_for_timeout(60)
    x, y = tab.ask(f"""(() => {{ const t = skateApp.timeline, m = skateApp.model, r = t.canvas.getBoundingClientRect(); t.draw();
        const b = t.rowRect({row}, t.visibleLanes(), m.now()); return [r.x + (b.x0 + b.x1) / 2, r.y + b.y + b.h / 2]; }})()""")
    tab.page.mouse.move(x, y)
    tab.until("!document.querySelector('.tip').hidden")
    tab.page.mouse.click(x, y)
    tab.until(f"skateApp.detail.row === {row}")
    text = tab.page.inner_text("aside.detail")
    assert "failed" in text
    assert "Traceback (most recent call last)" in text
    assert "Why it took this long" in text


def test_hover_of_a_curve_tells_what_ran_then(tab: Tab) -> None:
    tab.go("training")
    box = tab.page.locator(".chart[data-metric=reward] canvas").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    tab.until("skateApp.cursor.t > 0")
    tab.until("document.querySelector('.then').innerText.startsWith('At ')")
    t, end = tab.ask("[skateApp.cursor.t, skateApp.model.tmax]")
    assert 0.35 * end < t < 0.6 * end
    assert any(name in tab.page.inner_text(".then") for name in ("rollout", "embed", "ppo_update", "tokenize", "augment"))


def test_runs_are_compared_by_function(tab: Tab) -> None:
    tab.go("runs")
    tab.page.get_by_role("button", name="compare").first.click()
    tab.until("document.querySelectorAll('.comparison tbody tr').length === 12")
    assert "3,000" not in tab.page.inner_text(".comparison h2")


def test_zoomed_out_pixels_have_colours_of_functions_never_of_averages(tab: Tab) -> None:
    tab.go("live")
    tab.ask("skateApp.timeline.fit(), skateApp.timeline.draw()")
    strange = tab.ask("""(() => { const t = skateApp.timeline, s = t.strip, known = new Set(), m = skateApp.model;
        for (const f of m.functions) { const c = skateApp.constructor.colourOf(m, f.index); known.add(c.join()); }
        let strange = 0, seen = 0;
        for (let p = 0; p < s.size; p++) { const w = s.words[p + s.size]; if (!w) continue; seen++;
          if (!known.has([w & 255, w >>> 8 & 255, w >>> 16 & 255].join())) strange++; }
        return [strange, seen]; })()""")
    assert strange[0] == 0
    assert strange[1] > 300


def test_curves_have_a_point_for_every_few_pixels_at_the_mean_of_its_samples(tab: Tab) -> None:
    tab.go("live")
    levels = tab.ask("""(() => { const t = skateApp.timeline, m = skateApp.model, c = t.context, n = 20000, line = c.lineTo, kept = m.samples, levels = [];
        const series = { t: { a: Float64Array.from({ length: n }, (_, i) => m.now() * i / n), n }, v: { a: Float64Array.from({ length: n }, (_, i) => i % 2 ? 100 : 0), n }, n };
        t.fit(); m.samples = new Map([["cpu_percent", series]]);
        c.lineTo = function (x, y) { levels.push(t.stripTop() + 62 - y); return line.call(c, x, y); };
        t.draw(); m.samples = kept; delete c.lineTo; return levels; })()""")
    *curve, _, _ = levels  # The last two close the area.
    assert 100 < len(curve) < 300
    assert all(27 < level < 31 for level in curve)  # Half of the 58 pixels between 0 and 100 %.


def test_no_error_and_no_request_to_another_host(tab: Tab, ui: Ui) -> None:
    assert tab.errors == []
    assert [url for url in tab.requests if not url.startswith((ui.origin, ui.origin.replace("http", "ws")))] == []
