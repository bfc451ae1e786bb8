// Curves of skate.report: one chart per metric, runs side by side, with the timeline below on the same cursor: hover a dip, see what ran then.

import { $, h, fill, fitCanvas } from "./dom.js";
import { clock, colourOf, count, cssRgb, duration, number, rgbOf, theme } from "./theme.js";

export class TrainingPage {
  constructor(app) {
    this.app = app;
    this.axis = "step";
    this.smooth = 0.6;
    this.log = false;
    this.hidden = new Set();
    this.charts = new Map();
    this.other = null;
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 0.99,
      step: 0.01,
      value: 0.6,
      "aria-label": "smoothing",
      oninput: () => {
        this.smooth = +this.slider.value;
        this.redraw();
      },
    });
    this.logButton = h(
      "button",
      {
        "aria-pressed": "false",
        onclick: () => {
          this.log = !this.log;
          this.logButton.setAttribute("aria-pressed", this.log);
          this.redraw();
        },
      },
      "log scale",
    );
    this.axisSelect = h(
      "select",
      {
        "aria-label": "x axis",
        onchange: () => {
          this.axis = this.axisSelect.value;
          this.redraw();
        },
      },
      h("option", { value: "step" }, "by step"),
      h("option", { value: "time" }, "by time"),
    );
    this.compare = h(
      "select",
      { "aria-label": "compare with another session", onchange: () => this.load(this.compare.value) },
      h("option", { value: "" }, "compare with …"),
    );
    this.legend = h("div.legend");
    this.grid = h("div.charts");
    this.then = h("div.then", { "aria-live": "polite" });
    this.body = h("div.scroll", this.grid);
    this.element = h(
      "div.page",
      h(
        "div.bar",
        h("h1", "Training"),
        this.legend,
        h("span.grow"),
        h("label.inline", "smoothing", this.slider),
        this.logButton,
        this.axisSelect,
        this.compare,
      ),
      (this.holder = h("div.with-timeline", this.body, this.then)),
    );
    app.cursor.listeners.push(() => {
      if (this.element.isConnected) {
        this.redraw();
        this.tellThen();
      }
    });
  }
  async open() {
    this.holder.append(this.app.timeline.element);
    this.app.timeline.isDirty = true;
    this.update();
    if (!this.app.isReport && this.compare.children.length === 1)
      for (const r of (await this.app.getJson("/api/runs").catch(() => [])) || [])
        if (r.id !== this.app.model.run)
          this.compare.append(
            h("option", { value: r.id }, `${r.id} · ${new Date((r.started_s || r.modified_s) * 1000).toLocaleString()}`),
          );
  }
  async load(run) {
    this.other = run ? await this.app.loadRun(run, () => this.update()) : null;
    this.update();
  }

  // All series of a metric: [{label, series, colour, model}].
  seriesOf() {
    const found = new Map(),
      add = (model, prefix) => {
        for (const [run, metrics] of model.reports)
          for (const [metric, series] of metrics) {
            if (!found.has(metric)) found.set(metric, []);
            const label = prefix + (run || "run");
            found.get(metric).push({ label, series, model, isOther: prefix !== "" });
          }
      };
    add(this.app.model, "");
    if (this.other) add(this.other, this.other.run + " / ");
    return found;
  }
  update() {
    const all = this.seriesOf(),
      labels = new Set();
    for (const list of all.values()) for (const s of list) labels.add(s.label);
    if (!all.size) {
      fill(
        this.grid,
        h(
          "div.empty",
          "No curves yet. Call ",
          h("code", 'skate.report({"loss": loss}, step=step)'),
          " anywhere: in this program, in its tasks and actors. ",
          h("code", "skate.rl"),
          ", ",
          h("code", "skate.train"),
          " and ",
          h("code", "skate.tune"),
          " do so by themselves.",
        ),
      );
      this.charts.clear();
    } else if (!this.charts.size) this.grid.replaceChildren();
    const sign = [...labels].join("|") + [...this.hidden].join();
    if (sign !== this.legendSign) {
      this.legendSign = sign;
      fill(
        this.legend,
        [...labels].slice(0, 24).map((label) =>
          h(
            "button",
            {
              class: this.hidden.has(label) ? "off" : "",
              onclick: () => {
                if (!this.hidden.delete(label)) this.hidden.add(label);
                this.legendSign = "";
                this.update();
              },
            },
            h("i.swatch", { colour: cssRgb(rgbOf("report " + label)) }),
            label,
          ),
        ),
      );
    }
    for (const metric of [...all.keys()].sort())
      if (!this.charts.has(metric)) {
        const chart = new Chart(metric, this);
        this.charts.set(metric, chart);
        this.grid.append(chart.element);
      }
    this.redraw();
    this.tellThen();
  }
  redraw() {
    const all = this.seriesOf();
    for (const [metric, chart] of this.charts) chart.draw((all.get(metric) || []).filter((s) => !this.hidden.has(s.label)));
  }

  tellThen() {
    const m = this.app.model,
      t = this.app.cursor.t;
    if (t === null) {
      fill(this.then, h("span.dim", "Point at a curve or the timeline: the same moment is marked in both."));
      return;
    }
    const running = new Map();
    let lanes = 0;
    for (const lane of m.lanes) {
      let lo = 0,
        hi = lane.rows.n;
      const rows = lane.rows.a;
      while (lo < hi) {
        const mid = (lo + hi) >> 1;
        if (m.E[rows[mid]] < t) lo = mid + 1;
        else hi = mid;
      }
      if (lo < lane.rows.n && m.S[rows[lo]] <= t) {
        lanes++;
        const f = m.F[rows[lo]];
        running.set(f, (running.get(f) || 0) + 1);
      }
    }
    for (const row of m.running.values())
      if (m.S[row] <= t) {
        lanes++;
        running.set(m.F[row], (running.get(m.F[row]) || 0) + 1);
      }
    const sample = (k) => {
        const s = m.samples.get(k);
        return s ? this.app.timeline.valueAt(s, t) : NaN;
      },
      cpu = sample("cpu_percent");
    fill(
      this.then,
      h("b", "At " + clock(t, 0.01)),
      h(
        "span",
        [...running]
          .sort((a, b) => b[1] - a[1])
          .slice(0, 8)
          .map(([f, n]) =>
            h("span", h("i.swatch", { colour: cssRgb(colourOf(m, f)) }), ` ${m.functions[f].name}${n > 1 ? " ×" + n : ""}  `),
          ),
      ),
      lanes ? "" : h("span.dim", "nothing ran"),
      Number.isFinite(cpu) ? h("span.dim", `CPU ${cpu.toFixed(0)} %`) : "",
    );
  }
}

class Chart {
  constructor(metric, page) {
    this.metric = metric;
    this.page = page;
    this.canvas = h("canvas", { "aria-label": "curve of " + metric });
    this.value = h("span.num.dim");
    this.element = h(
      "div.chart",
      { data: { metric } },
      h(
        "div.title",
        h("b", metric),
        this.value,
        h(
          "button",
          {
            title: "larger",
            "aria-label": "larger",
            onclick: () => {
              this.element.classList.toggle("tall");
              page.redraw();
            },
          },
          "⤢",
        ),
      ),
      h("div.plot", this.canvas),
    );
    this.canvas.addEventListener("pointermove", (e) => {
      const t = this.timeAt(e.offsetX);
      page.app.cursor.set(t);
    });
    this.canvas.addEventListener("pointerleave", () => page.app.cursor.set(null));
    this.canvas.addEventListener("click", (e) => {
      const t = this.timeAt(e.offsetX);
      if (t !== null) {
        const tl = page.app.timeline,
          span = Math.min(tl.to - tl.from, page.app.model.now() / 5);
        tl.view(t - span / 2, t + span / 2);
      }
    });
    new ResizeObserver(() => page.redraw()).observe(this.canvas);
  }
  xs(s) {
    return this.page.axis === "step" && Number.isFinite(s.series.step.a[0]) ? s.series.step.a : s.series.t.a;
  }
  timeAt(px) {
    const s = this.shown?.find((one) => !one.isOther);
    if (!s || !this.scale) return null;
    const x = this.scale.fromPx(px),
      xs = this.xs(s);
    let best = 0;
    for (let i = 1; i < s.series.n; i++) if (Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) best = i;
    return s.series.t.a[best];
  }
  draw(shown) {
    this.shown = shown;
    const { context: c, width, height } = fitCanvas(this.canvas),
      css = theme.css,
      page = this.page;
    if (!width) return;
    c.clearRect(0, 0, width, height);
    let x0 = Infinity,
      x1 = -Infinity,
      y0 = Infinity,
      y1 = -Infinity;
    const smoothed = shown.map((s) => this.smooth(s.series, page.smooth));
    shown.forEach((s, k) => {
      const xs = this.xs(s),
        n = s.series.n,
        skip = n > 50 ? (n * 0.02) | 0 : 0;
      for (let i = 0; i < n; i++) {
        const x = xs[i];
        if (x < x0) x0 = x;
        if (x > x1) x1 = x;
        const v = smoothed[k][i],
          raw = s.series.v.a[i];
        for (const y of [v, page.smooth < 0.3 || i >= skip ? raw : v])
          if (Number.isFinite(y) && (!page.log || y > 0)) {
            if (y < y0) y0 = y;
            if (y > y1) y1 = y;
          }
      }
    });
    if (x0 > x1) return;
    if (x0 === x1) x1 = x0 + 1;
    if (!(y0 <= y1)) {
      y0 = 0;
      y1 = 1;
    }
    if (y0 === y1) {
      y0 -= Math.abs(y0) * 0.1 || 0.5;
      y1 += Math.abs(y1) * 0.1 || 0.5;
    }
    const f = page.log ? (y) => Math.log10(Math.max(y, 1e-300)) : (y) => y,
      a = f(y0),
      b = f(y1),
      left = 50,
      bottom = 16,
      plotH = height - bottom - 6,
      X = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - 6),
      Y = (y) => 4 + plotH * (1 - (f(y) - a) / (b - a || 1));
    this.scale = { fromPx: (px) => x0 + ((px - left) / (width - left - 6)) * (x1 - x0) };
    c.font = "10.5px ui-monospace, 'DejaVu Sans Mono', monospace";
    c.textBaseline = "middle";
    for (const y of ticks(a, b, Math.max(2, plotH / 42), page.log)) {
      const py = Y(y);
      c.fillStyle = css.line;
      c.fillRect(left, py | 0, width - left, 1);
      c.fillStyle = css.muted;
      c.textAlign = "right";
      c.fillText(short(y), left - 6, py);
    }
    c.textAlign = "left";
    const byStep = shown.length && this.xs(shown[0]) === shown[0].series.step.a;
    c.fillStyle = css.muted;
    c.fillText(byStep ? short(x0) : clock(x0), left, height - 6);
    c.textAlign = "right";
    c.fillText(byStep ? `step ${short(x1)}` : clock(x1), width - 4, height - 6);
    c.textAlign = "left";
    shown.forEach((s, k) => {
      const rgb = rgbOf("report " + s.label),
        xs = this.xs(s),
        n = s.series.n,
        stride = Math.max(1, (n / (width * 2)) | 0);
      c.strokeStyle = cssRgb(rgb);
      c.lineJoin = "round";
      if (s.isOther) c.setLineDash([4, 3]);
      const line = (v) => {
        c.beginPath();
        let pen = false;
        for (let i = 0; i < n; i += stride) {
          if (!Number.isFinite(v[i]) || (page.log && v[i] <= 0)) {
            pen = false;
            continue;
          }
          const px = X(xs[i]),
            py = Math.max(-4, Math.min(height, Y(v[i])));
          if (pen) c.lineTo(px, py);
          else c.moveTo(px, py);
          pen = true;
        }
        c.stroke();
      };
      if (page.smooth > 0) {
        c.globalAlpha = 0.28;
        c.lineWidth = 1;
        line(s.series.v.a);
        c.globalAlpha = 1;
      }
      c.lineWidth = 1.6;
      line(smoothed[k]);
      c.setLineDash([]);
    });
    const t = page.app.cursor.t;
    let told = null;
    if (t !== null)
      shown.forEach((s, k) => {
        if (s.isOther) return;
        let lo = 0,
          hi = s.series.n - 1;
        while (lo < hi) {
          const mid = (lo + hi) >> 1;
          if (s.series.t.a[mid] < t) lo = mid + 1;
          else hi = mid;
        }
        const px = X(this.xs(s)[lo]);
        c.fillStyle = css.accent;
        c.globalAlpha = 0.7;
        c.fillRect(px, 0, 1, height - bottom);
        c.globalAlpha = 1;
        c.beginPath();
        c.arc(px, Y(smoothed[k][lo]), 3, 0, 7);
        c.fillStyle = cssRgb(rgbOf("report " + s.label));
        c.fill();
        told ??= s.series.v.a[lo];
      });
    this.value.textContent = number(told ?? shown[0]?.series.last);
  }
  // Exponential, without the pull towards the first value (Adam's correction); a NaN is passed over.
  smooth(series, weight) {
    const out = new Float64Array(series.n);
    let mean = 0,
      w = 1;
    for (let i = 0; i < series.n; i++) {
      const v = series.v.a[i];
      if (!Number.isFinite(v)) {
        out[i] = NaN;
        continue;
      }
      mean = weight * mean + (1 - weight) * v;
      w *= weight;
      out[i] = mean / (1 - w);
    }
    return out;
  }
}
function ticks(a, b, wanted, isLog) {
  const rough = (b - a) / wanted,
    power = 10 ** Math.floor(Math.log10(rough)),
    step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough) || rough,
    found = [];
  for (let y = Math.ceil(a / step) * step; y <= b + step * 1e-9; y += step)
    found.push(isLog ? 10 ** y : Math.abs(y) < step * 1e-9 ? 0 : y);
  return found;
}
const short = (v) => {
  const a = Math.abs(v);
  return a >= 1e9
    ? (v / 1e9).toPrecision(3) + "G"
    : a >= 1e6
      ? (v / 1e6).toPrecision(3) + "M"
      : a >= 1e4
        ? +(v / 1e3).toPrecision(3) + "k"
        : a !== 0 && a < 1e-3
          ? v.toExponential(1)
          : String(+v.toPrecision(3));
};
