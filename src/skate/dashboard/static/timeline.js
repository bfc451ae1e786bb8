// The timeline: a lane for each process, a bar for each attempt, on one canvas.
//
//   bars ≥ 2 px          drawn one by one, with names where they fit
//   thinner ones         a strip of pixels per lane; each pixel has the colour of the function that ran longest there (never an average),
//                        and a red top when anything failed in it
//   waiting in get/wait  hatched, on the bar · spilled, restored, stored: ticks on the object lane below · waiting of the selected task: dotted
//
// A lane's rows lie in the order of their ends, so what is in sight is found by bisection.

import { theme, colourOf, cssOf, cssRgb, clock, duration, bytes } from "./theme.js";
import { h, fill } from "./dom.js";
import { KIND, STATES } from "./model.js";

const GUTTER = 92,
  AXIS = 22,
  MINIMAP = 26,
  STRIP = 64,
  OBJECTS = 10,
  CURVE_PX = 6,
  FONT = "11px ui-monospace, 'DejaVu Sans Mono', monospace";
const STEPS = [
  1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300,
  600, 1800, 3600, 7200, 14400,
];

export class Timeline {
  constructor(model, cursor, onSelect) {
    this.model = model;
    this.cursor = cursor;
    this.onSelect = onSelect;
    this.from = 0;
    this.to = 10;
    this.follow = true;
    this.span = 30;
    this.selected = -1;
    this.filter = null;
    this.isDirty = true;
    this.bars = 0;
    this.hovered = -1;
    this.top = 0;
    this.canvas = h("canvas", { tabindex: 0, "aria-label": "timeline: W and S zoom, A and D move, F fits all, L follows" });
    this.tip = h("div.tip", { hidden: true });
    this.element = h("div.timeline", this.canvas, this.tip);
    this.onDirty = null;
    this.listen();
    new ResizeObserver(() => {
      this.isDirty = true;
    }).observe(this.canvas);
  }

  // To be drawn anew, and soon. (Data that comes sets `dirty` alone: the next frame, whenever it is, will do.)
  get isDirty() {
    return this.dirty;
  }
  set isDirty(dirty) {
    this.dirty = dirty;
    if (dirty) this.onDirty?.();
  }

  // Lanes that ran something, or live; ordered by when they came.
  visibleLanes() {
    if (this.lanesVersion !== this.model.version) {
      this.lanesVersion = this.model.version;
      const busy = new Set();
      for (const row of this.model.running.values()) busy.add(this.model.L[row]);
      this.shown = this.model.lanes.filter((lane) => lane.rows.n || busy.has(lane.index));
      this.shown.sort((a, b) => a.id - b.id);
    }
    return this.shown || [];
  }

  view(from, to) {
    this.from = from;
    this.to = Math.max(to, from + 1e-6);
    this.follow = false;
    this.isDirty = true;
    this.onView?.();
  }
  fit() {
    const m = this.model,
      pad = Math.max(m.now() * 0.01, 1e-4);
    this.view(-pad, m.now() + pad);
  }
  showRow(row) {
    const m = this.model,
      d = Math.max(m.duration(row), 1e-4),
      middle = m.S[row] + d / 2;
    this.selected = row;
    this.view(middle - d * 4, middle + d * 4);
  }
  x(t) {
    return GUTTER + ((t - this.from) / (this.to - this.from)) * (this.width - GUTTER);
  }
  time(x) {
    return this.from + ((x - GUTTER) / (this.width - GUTTER)) * (this.to - this.from);
  }
  laneTop(i) {
    return AXIS + i * this.laneHeight - this.top;
  }

  layout(height) {
    const lanes = Math.max(1, this.visibleLanes().length),
      room = height - AXIS - STRIP - MINIMAP - OBJECTS - 22;
    this.room = Math.max(40, room);
    this.laneHeight = Math.max(9, Math.min(72, Math.floor(this.room / lanes)));
    this.topMax = Math.max(0, lanes * this.laneHeight - this.room);
    this.top = Math.min(this.top, this.topMax);
    this.lanesBottom = AXIS + Math.min(this.room, lanes * this.laneHeight);
  }

  draw() {
    this.isDirty = false;
    const ratio = devicePixelRatio || 1,
      canvas = this.canvas,
      cssW = canvas.clientWidth,
      cssH = canvas.clientHeight;
    if (!cssW || !cssH) return;
    if (canvas.width !== Math.round(cssW * ratio) || canvas.height !== Math.round(cssH * ratio)) {
      canvas.width = Math.round(cssW * ratio);
      canvas.height = Math.round(cssH * ratio);
    }
    this.width = cssW;
    this.height = cssH;
    const c = (this.context ??= canvas.getContext("2d", { alpha: false })),
      css = theme.css,
      m = this.model;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.font = FONT;
    c.textBaseline = "middle";
    c.fillStyle = css.panel;
    c.fillRect(0, 0, cssW, cssH);
    const now = m.now();
    if (this.follow) {
      this.to = Math.max(now + this.span * 0.02, this.span * 0.2);
      this.from = this.to - Math.min(this.span, Math.max(now * 1.04, 0.05));
    }
    this.layout(cssH);
    this.drawAxis(c, css);
    this.bars = 0;
    this.charWidth ??= c.measureText("0").width;
    const lanes = this.visibleLanes();
    c.save();
    c.beginPath();
    c.rect(0, AXIS, cssW, this.lanesBottom - AXIS);
    c.clip();
    for (let i = 0; i < lanes.length; i++) {
      const y = this.laneTop(i);
      if (y + this.laneHeight < AXIS || y > this.lanesBottom) continue;
      this.drawLane(c, css, lanes[i], i, y, now);
    }
    this.drawSelection(c, css, lanes, now);
    c.restore();
    if (!m.n) {
      c.fillStyle = css.muted;
      c.fillText(m.live ? "no task has run yet" : "nothing was recorded", GUTTER + 12, AXIS + 24);
    }
    this.drawObjects(c, css);
    this.drawStrip(c, css);
    this.drawMinimap(c, css, now);
    this.drawCursor(c, css);
  }

  drawAxis(c, css) {
    const px = (this.width - GUTTER) / (this.to - this.from),
      step = STEPS.find((s) => s * px > 84) || 28800;
    this.step = step;
    for (let k = Math.ceil(this.from / step); k * step < this.to; k++) {
      const x = Math.round(this.x(k * step));
      if (x < GUTTER) continue;
      c.fillStyle = css.line;
      c.fillRect(x, AXIS - 5, 1, this.height - AXIS - MINIMAP + 2);
      c.fillStyle = css.muted;
      c.fillText(clock(k * step, step), x + 4, 10);
    }
  }

  drawLane(c, css, lane, i, y, now) {
    const m = this.model,
      from = this.from,
      to = this.to,
      plot = this.width - GUTTER,
      px = plot / (to - from),
      height = this.laneHeight,
      gap = height > 14 ? 2 : 1,
      barHeight = height - gap;
    c.fillStyle = i & 1 ? css["lane-a"] : css["lane-b"];
    c.fillRect(GUTTER, y, plot, height);
    c.fillStyle = css.muted;
    if (height >= 11 || i % Math.ceil(11 / height) === 0) c.fillText(this.laneLabel(lane), 12, y + height / 2);
    if (Number.isFinite(lane.cpu) && m.live && height >= 11) {
      c.fillStyle = css.line;
      c.fillRect(64, y + height / 2 - 1.5, 20, 3);
      c.fillStyle = css.accent;
      c.fillRect(64, y + height / 2 - 1.5, 20 * Math.min(1, lane.cpu / 100), 3);
    }
    const { S, E } = m,
      n = lane.rows.n,
      ends = lane.ends.a;
    let lo = 0,
      hi = n;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (ends[mid] < from) lo = mid + 1;
      else hi = mid;
    }
    const pixels = Math.ceil(plot),
      strip = this.stripFor(pixels, m.functions.length),
      wide = (this.wide ??= []);
    wide.length = 0;
    const { bars, any } = scanStrip(strip, pixels, lane, lo, n, from, to, px, this.filter, wide);
    this.bars += bars;
    if (any) this.paintStrip(c, strip, pixels, y + gap / 2, barHeight);
    for (const row of wide) this.drawBar(c, css, row, E[row], y + gap / 2, barHeight, px);
    for (const row of m.running.values())
      if (m.L[row] === lane.index && S[row] < to) {
        this.bars++;
        this.drawBar(c, css, row, now, y + gap / 2, barHeight, px);
      }
    this.drawBlocked(c, css, lane, y + gap / 2, barHeight);
  }

  laneLabel(lane) {
    return lane.what && !lane.what.startsWith("worker") ? lane.what.split(" ")[0] : "w" + lane.id;
  }

  stripFor(pixels, functions) {
    let s = this.strip;
    if (!s || s.winner.length < pixels || s.coverage.length < functions) {
      s = this.strip = {
        winner: new Uint16Array(pixels),
        best: new Float32Array(pixels),
        bad: new Uint8Array(pixels),
        coverage: new Float32Array(functions + 64),
        touched: new Uint16Array(functions + 64),
      };
      s.image = new ImageData(pixels, 3);
      s.words = new Uint32Array(s.image.data.buffer);
      s.canvas = new OffscreenCanvas(pixels, 3);
      s.context = s.canvas.getContext("2d");
      s.size = pixels;
    }
    s.winner.fill(0);
    s.best.fill(0);
    s.bad.fill(0);
    return s;
  }

  paintStrip(c, s, pixels, y, height) {
    const words = s.words,
      size = s.size,
      fail = theme.failRgb,
      failWord = ((255 << 24) | (fail[2] << 16) | (fail[1] << 8) | fail[0]) >>> 0;
    words.fill(0);
    for (let p = 0; p < pixels; p++) {
      const w = s.winner[p];
      if (!w) continue;
      const rgb = colourOf(this.model, w - 1);
      // How much of the pixel was busy shows as opacity: an idle lane with one short task must not look full.
      const alpha = Math.max(70, Math.min(255, s.best[p] * 255 * 1.15)) | 0,
        word = ((alpha << 24) | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0]) >>> 0;
      words[p + size] = words[p + size * 2] = word;
      words[p] = s.bad[p] ? failWord : word;
    }
    s.context.putImageData(s.image, 0, 0);
    c.imageSmoothingEnabled = false;
    const top = Math.max(2, Math.round(height / 3));
    c.drawImage(s.canvas, 0, 0, pixels, 1, GUTTER, y, pixels, top);
    c.drawImage(s.canvas, 0, 1, pixels, 1, GUTTER, y + top, pixels, height - top);
  }

  drawBar(c, css, row, end, y, height, px) {
    const m = this.model,
      state = m.T[row],
      x0 = Math.max(GUTTER, GUTTER + (m.S[row] - this.from) * px),
      x1 = Math.min(this.width, GUTTER + (end - this.from) * px),
      on = this.filter === null || this.filter(row);
    if (x1 < GUTTER) return;
    const w = Math.max(1, x1 - x0 - (x1 - x0 > 5 ? 1 : 0));
    if (!on) c.globalAlpha = 0.13;
    c.fillStyle = state === 2 ? css.fail : cssOf(m, m.F[row]);
    c.fillRect(x0, y, w, height);
    if (state === 0 && w > 2) {
      c.fillStyle = css.panel;
      c.globalAlpha = on ? 0.28 : 0.1;
      c.fillRect(x0, y, w, 2);
      c.fillRect(x0, y + height - 2, w, 2);
      c.globalAlpha = on ? 1 : 0.13;
      c.fillStyle = css.text;
      c.fillRect(x0 + w - 1.5, y, 1.5, height);
    }
    if (state === 3) {
      c.fillStyle = css.panel;
      for (let x = x0 + 2; x < x0 + w; x += 5) c.fillRect(x, y, 1.5, height);
    }
    if (m.A[row] > 0 && w > 3) {
      c.fillStyle = css.warn;
      c.fillRect(x0, y + height - 3, w, 3);
    }
    if (w > 44 && height >= 12) {
      c.fillStyle = theme.name === "light" && state !== 2 ? "#fff" : state === 2 ? "#fff" : "#0a0d12";
      c.fillText(m.functions[m.F[row]].name.slice(0, ((w - 8) / this.charWidth) | 0), x0 + 5, y + height / 2 + 0.5);
    }
    if (!on || state === 0) c.globalAlpha = 1;
  }

  drawBlocked(c, css, lane, y, height) {
    const b = this.model.blocked;
    if (!lane.blocked.n) return;
    c.fillStyle = css.panel;
    c.globalAlpha = 0.62;
    for (let k = lane.blocked.n - 1; k >= 0; k--) {
      const i = lane.blocked.a[k],
        x0 = Math.max(GUTTER, this.x(b.t.a[i])),
        x1 = Math.min(this.width, this.x(b.t.a[i] + b.d.a[i]));
      if (x1 < GUTTER || x0 > this.width || x1 - x0 < 1.5) continue;
      c.save();
      c.beginPath();
      c.rect(x0, y + 1, x1 - x0, height - 2);
      c.clip();
      c.beginPath();
      for (let x = x0 - (x0 % 6) - height; x < x1; x += 6) {
        c.moveTo(x, y + height);
        c.lineTo(x + height, y);
        c.lineTo(x + height + 3, y);
        c.lineTo(x + 3, y + height);
      }
      c.fill();
      c.restore();
    }
    c.globalAlpha = 1;
  }

  rowRect(row, lanes, now) {
    const i = lanes.findIndex((lane) => lane.index === this.model.L[row]);
    if (i < 0) return null;
    return {
      x0: this.x(this.model.S[row]),
      x1: this.x(this.model.T[row] ? this.model.E[row] : now),
      y: this.laneTop(i) + 1,
      h: this.laneHeight - 2,
    };
  }

  // The selected task: outlined; dotted from when it was submitted; lines from what it needed and to what needed it.
  drawSelection(c, css, lanes, now) {
    const m = this.model,
      row = this.selected;
    if (row < 0 || row >= m.n) return;
    const me = this.rowRect(row, lanes, now);
    if (!me) return;
    if (this.linksOf !== row || this.linksVersion !== m.needs.t.n) {
      this.linksOf = row;
      this.linksVersion = m.needs.t.n;
      this.before = m
        .dependencies(m.OWNER[row], m.NUMBER[row])
        .slice(0, 64)
        .map((d) => m.find(d.owner, d.number));
      this.after = m
        .dependents(m.OWNER[row], m.NUMBER[row])
        .slice(0, 64)
        .map((d) => m.find(d.owner, d.number));
      this.submitted = m.submittedAt(m.OWNER[row], m.NUMBER[row]);
    }
    c.lineWidth = 1;
    c.strokeStyle = css.accent;
    c.globalAlpha = 0.8;
    const link = (a, b) => {
      const y0 = a.y + a.h / 2,
        y1 = b.y + b.h / 2;
      c.beginPath();
      c.moveTo(a.x1, y0);
      const bend = Math.max(12, Math.abs(b.x0 - a.x1) / 2);
      c.bezierCurveTo(a.x1 + bend, y0, b.x0 - bend, y1, b.x0, y1);
      c.stroke();
    };
    for (const one of this.before) {
      const r = one >= 0 && this.rowRect(one, lanes, now);
      if (r) link(r, me);
    }
    for (const one of this.after) {
      const r = one >= 0 && this.rowRect(one, lanes, now);
      if (r) link(me, r);
    }
    if (this.submitted < m.S[row]) {
      c.setLineDash([2, 3]);
      c.beginPath();
      c.moveTo(this.x(this.submitted), me.y + me.h / 2);
      c.lineTo(me.x0, me.y + me.h / 2);
      c.stroke();
      c.setLineDash([]);
      c.fillStyle = css.accent;
      c.fillRect(this.x(this.submitted) - 1, me.y + me.h / 2 - 4, 2, 8);
    }
    c.globalAlpha = 1;
    c.lineWidth = 2;
    c.strokeStyle = css.text;
    c.strokeRect(me.x0 - 0.5, me.y, Math.max(3, me.x1 - me.x0), me.h);
  }

  drawObjects(c, css) {
    const y = this.stripTop() - OBJECTS - 4,
      { t, kind } = this.model.moves;
    c.fillStyle = css.muted;
    if (!t.n) return;
    c.fillText("objects", 12, y + OBJECTS / 2);
    let lo = 0,
      hi = t.n;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (t.a[mid] < this.from) lo = mid + 1;
      else hi = mid;
    }
    let lastX = -9;
    for (let i = lo; i < t.n && t.a[i] <= this.to; i++) {
      const x = this.x(t.a[i]) | 0,
        spill = kind.a[i] !== KIND.STORED;
      if (x === lastX && !spill) continue;
      lastX = x;
      c.fillStyle = kind.a[i] === KIND.SPILLED ? css.warn : kind.a[i] === KIND.RESTORED ? css.accent : css.faint;
      c.fillRect(x, spill ? y : y + 4, spill ? 2 : 1, spill ? OBJECTS : OBJECTS - 4);
    }
  }
  stripTop() {
    return this.height - MINIMAP - STRIP - 6;
  }

  drawStrip(c, css) {
    const y = this.stripTop(),
      samples = this.model.samples,
      total = (name) => samples.get(name)?.last || NaN;
    const gpus = [...samples.keys()].filter((k) => /^gpu\d+_percent$/.test(k)),
      curves = [
        ["cpu", "cpu_percent", 100],
        ["memory", "memory_bytes", total("memory_total_bytes")],
        ["store", "store_bytes", total("store_total_bytes")],
        ["disk", "disk_bytes", total("disk_total_bytes")],
        ...gpus.map((g) => [g.split("_")[0], g, 100]),
      ].filter(([, key]) => samples.has(key));
    c.fillStyle = css.line;
    c.fillRect(0, y - 2, this.width, 1);
    curves.forEach(([label, key, full], k) => {
      const series = samples.get(key),
        colour = k === 0 ? css.accent : css.muted,
        dash = [[], [], [3, 2], [1, 2], [6, 2]][Math.min(k, 4)];
      c.fillStyle = colour;
      c.fillText(label, 12, y + 7 + k * 12);
      const value = this.valueAt(series, this.cursor.t ?? this.to);
      c.textAlign = "right";
      c.fillText(Number.isFinite(value / full) ? ((value / full) * 100).toFixed(0) + "%" : "", GUTTER - 6, y + 7 + k * 12);
      c.textAlign = "left";
      c.strokeStyle = colour;
      c.lineWidth = k === 0 ? 1.4 : 1;
      c.setLineDash(dash);
      c.beginPath();
      let first = NaN,
        lastX = 0,
        started = false;
      let lo = 0,
        hi = series.n;
      while (lo < hi) {
        const mid = (lo + hi) >> 1;
        if (series.t.a[mid] < this.from) lo = mid + 1;
        else hi = mid;
      }
      // One point for every few pixels: the mean of its samples. (A stroke of 4,000 dashed points took 70 ms to raster.)
      const t = series.t.a,
        v = series.v.a,
        column = ((this.to - this.from) / (this.width - GUTTER)) * CURVE_PX;
      for (let i = Math.max(0, lo - 1); i < series.n;) {
        let sum = v[i],
          j = i + 1;
        const edge = (Math.floor(t[i] / column) + 1) * column;
        while (j < series.n && t[j] < edge) sum += v[j++];
        const x = Math.max(GUTTER, this.x(t[i])),
          level = y + STRIP - 2 - (STRIP - 6) * Math.min(1, sum / (j - i) / full);
        if (started) c.lineTo(x, level);
        else {
          c.moveTo(x, level);
          first = x;
          started = true;
        }
        lastX = x;
        if (t[i] > this.to) break;
        i = j;
      }
      c.stroke();
      c.setLineDash([]);
      if (k === 0 && started) {
        c.lineTo(lastX, y + STRIP);
        c.lineTo(first, y + STRIP);
        c.globalAlpha = 0.1;
        c.fill();
        c.globalAlpha = 1;
      }
    });
  }
  valueAt(series, t) {
    let lo = 0,
      hi = series.n;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (series.t.a[mid] <= t) lo = mid + 1;
      else hi = mid;
    }
    return lo ? series.v.a[lo - 1] : NaN;
  }

  // How busy the lanes were, over the whole run; counted as rows come.
  drawMinimap(c, css, now) {
    const m = this.model,
      plot = this.width - GUTTER,
      y = this.height - MINIMAP,
      BINS = 1024;
    let map = this.minimap;
    if (!map || now > map.end || m.version < map.version || m.run !== map.run) {
      map = this.minimap = {
        busy: new Float32Array(BINS),
        bad: new Uint8Array(BINS),
        end: Math.max(now * 1.25, 0.01),
        done: 0,
        version: m.version,
        run: m.run,
      };
    }
    for (; map.done < m.n; map.done++) {
      const row = map.done,
        end = m.E[row];
      if (end === Infinity) continue;
      const a = (m.S[row] / map.end) * BINS,
        b = (end / map.end) * BINS,
        p = Math.max(0, a | 0),
        q = Math.min(BINS - 1, b | 0);
      if (m.T[row] === 2) map.bad[p] = 1;
      if (p === q) map.busy[p] += b - a;
      else {
        map.busy[p] += p + 1 - a;
        map.busy[q] += b - q;
        for (let k = p + 1; k < q; k++) map.busy[k]++;
      }
    }
    map.version = m.version;
    const lanes = Math.max(1, this.visibleLanes().length),
      shown = Math.max(1, (now / map.end) * BINS),
      bar = plot / shown;
    c.fillStyle = css["lane-a"];
    c.fillRect(GUTTER, y, plot, MINIMAP);
    c.fillStyle = css.muted;
    c.fillText("run", 12, y + MINIMAP / 2);
    c.fillStyle = css.faint;
    for (let k = 0; k < shown; k++) {
      const v = (MINIMAP - 3) * Math.min(1, map.busy[k] / lanes);
      if (v > 0) c.fillRect(GUTTER + k * bar, y + MINIMAP - v, bar + 0.5, v);
    }
    c.fillStyle = css.fail;
    for (let k = 0; k < shown; k++) if (map.bad[k]) c.fillRect(GUTTER + k * bar, y, Math.max(1.5, bar), 3);
    const X = (t) => GUTTER + Math.max(0, Math.min(1, t / Math.max(now, 1e-9))) * plot,
      a = X(this.from),
      b = X(this.to);
    c.fillStyle = css.accent;
    c.globalAlpha = 0.16;
    c.fillRect(a, y, Math.max(3, b - a), MINIMAP);
    c.globalAlpha = 1;
    c.fillRect(a, y, 1.5, MINIMAP);
    c.fillRect(Math.max(a + 1.5, b - 1.5), y, 1.5, MINIMAP);
  }

  drawCursor(c, css) {
    const t = this.cursor.t;
    if (t === null || t < this.from || t > this.to) return;
    const x = this.x(t);
    c.fillStyle = css.accent;
    c.globalAlpha = 0.75;
    c.fillRect(x, AXIS - 6, 1, this.height - AXIS - MINIMAP);
    c.globalAlpha = 1;
    const text = clock(t, this.step / 100),
      w = c.measureText(text).width + 10,
      left = Math.min(x + 1, this.width - w);
    c.fillStyle = css.accent;
    c.fillRect(left, 2, w, 16);
    c.fillStyle = css.panel;
    c.fillText(text, left + 5, 10);
  }

  // The attempt under a point; -1: none.
  hit(x, y) {
    if (x < GUTTER || y < AXIS || y > this.lanesBottom) return -1;
    const lane = this.visibleLanes()[Math.floor((y - AXIS + this.top) / this.laneHeight)];
    if (!lane) return -1;
    const m = this.model,
      t = this.time(x),
      slack = (this.to - this.from) / (this.width - GUTTER);
    for (const row of m.running.values()) if (m.L[row] === lane.index && m.S[row] <= t && t <= m.now()) return row;
    let lo = 0,
      hi = lane.rows.n;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (m.E[lane.rows.a[mid]] < t - slack) lo = mid + 1;
      else hi = mid;
    }
    let found = -1;
    for (let k = lo, seen = 0; k < lane.rows.n && seen < 200; k++, seen++) {
      const row = lane.rows.a[k];
      if (m.S[row] <= t && m.E[row] >= t) return row;
      if (m.S[row] <= t + slack && found < 0) found = row;
      if (m.E[row] - lane.maxDuration > t + slack) break;
    }
    return found;
  }

  listen() {
    const canvas = this.canvas;
    let drag = null;
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const span = this.to - this.from;
        if (event.offsetX < GUTTER && this.topMax) {
          this.top = Math.max(0, Math.min(this.topMax, this.top + event.deltaY));
          this.isDirty = true;
          return;
        }
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          const d = ((event.deltaX || event.deltaY) * span) / 900;
          this.view(this.from + d, this.to + d);
          return;
        }
        this.zoom(Math.exp(event.deltaY * 0.0016), this.time(Math.max(GUTTER, event.offsetX)));
      },
      { passive: false },
    );
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.offsetX, from: this.from, to: this.to, map: event.offsetY > this.height - MINIMAP, moved: false };
      try {
        canvas.setPointerCapture(event.pointerId);
      } catch {
        /* a synthetic pointer */
      }
      if (drag.map) this.moveMap(event.offsetX);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved && !drag.map) {
        const row = this.hit(event.offsetX, event.offsetY);
        this.selected = row;
        this.isDirty = true;
        this.onSelect(row);
      }
      drag = null;
    });
    canvas.addEventListener("pointercancel", () => {
      drag = null;
    });
    canvas.addEventListener("dblclick", (event) => {
      const row = this.hit(event.offsetX, event.offsetY);
      if (row >= 0) this.showRow(row);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag) {
        if (Math.abs(event.offsetX - drag.x) > 3) drag.moved = true;
        if (drag.map) this.moveMap(event.offsetX);
        else if (drag.moved) {
          const d = ((event.offsetX - drag.x) * (drag.to - drag.from)) / (this.width - GUTTER);
          this.view(drag.from - d, drag.to - d);
        }
        return;
      }
      if (event.offsetX >= GUTTER && event.offsetY < this.height - MINIMAP) this.cursor.set(this.time(event.offsetX));
      else this.cursor.set(null);
      this.showTip(this.hit(event.offsetX, event.offsetY), event.offsetX, event.offsetY);
    });
    canvas.addEventListener("pointerleave", () => {
      this.cursor.set(null);
      this.showTip(-1);
    });
  }
  moveMap(x) {
    const now = this.model.now(),
      span = this.to - this.from,
      t = ((x - GUTTER) / (this.width - GUTTER)) * now;
    this.view(t - span / 2, t + span / 2);
  }
  zoom(factor, around = (this.from + this.to) / 2) {
    const span = Math.max(2e-6, Math.min((this.to - this.from) * factor, Math.max(this.model.now() * 4, 1))),
      part = (around - this.from) / (this.to - this.from);
    this.view(around - part * span, around - part * span + span);
  }
  onKey(key) {
    const span = this.to - this.from;
    switch (key) {
      case "w":
        this.zoom(0.72, this.cursor.t ?? undefined);
        return true;
      case "s":
        this.zoom(1 / 0.72, this.cursor.t ?? undefined);
        return true;
      case "a":
        this.view(this.from - span * 0.18, this.to - span * 0.18);
        return true;
      case "d":
        this.view(this.from + span * 0.18, this.to + span * 0.18);
        return true;
      case "f":
        this.fit();
        return true;
      case "l":
        this.follow = !this.follow;
        this.isDirty = true;
        this.onView?.();
        return true;
      case "n":
      case "p": {
        this.step1(key === "n" ? 1 : -1);
        return true;
      }
    }
    return false;
  }
  // The next or previous attempt on the selected one's lane.
  step1(by) {
    const m = this.model,
      row = this.selected;
    if (row < 0) return;
    const lane = m.lanes[m.L[row]],
      at = lane.rows.a.subarray(0, lane.rows.n).indexOf(row),
      next = lane.rows.a[at + by];
    if (at >= 0 && at + by >= 0 && at + by < lane.rows.n) {
      this.selected = next;
      if (m.S[next] < this.from || m.E[next] > this.to) this.showRow(next);
      this.isDirty = true;
      this.onSelect(next);
    }
  }

  showTip(row, x = 0, y = 0) {
    this.canvas.classList.toggle("over", row >= 0);
    if (row < 0) {
      this.tip.hidden = true;
      return;
    }
    const m = this.model,
      fn = m.functions[m.F[row]],
      error = m.T[row] === 2;
    if (this.tipRow !== row || m.T[row] === 0) {
      this.tipRow = row;
      const wait = m.S[row] - m.submittedAt(m.OWNER[row], m.NUMBER[row]);
      fill(
        this.tip,
        h("b", h("i.swatch", { colour: cssRgb(colourOf(m, m.F[row])) }), fn.name),
        h("span.dim", " #" + m.NUMBER[row]),
        h("br", null),
        h(error ? "span.fail" : "span", STATES[m.T[row]]),
        ` after ${duration(m.duration(row))}`,
        h("br", null),
        h(
          "span.dim",
          `at ${clock(m.S[row], 0.001)} on w${m.lanes[m.L[row]].id}`,
          Number.isFinite(wait) ? ` · waited ${duration(Math.max(0, wait))}` : "",
          m.A[row] ? ` · attempt ${m.A[row] + 1}` : "",
        ),
      );
    }
    this.tip.hidden = false;
    const w = this.tip.offsetWidth;
    this.tip.style.left = Math.min(x + 14, this.width - w - 6) + "px";
    this.tip.style.top = Math.min(y + 16, this.height - this.tip.offsetHeight - 6) + "px";
  }
}

// What one lane shows, pixel by pixel; bars of two pixels and more go into `wide`. The hot loop of the page: all it uses is local.
function scanStrip(strip, pixels, lane, lo, n, from, to, px, filter, wide) {
  const { winner, best, bad, coverage, touched } = strip,
    rows = lane.rows.a,
    starts = lane.starts.a,
    ends = lane.ends.a,
    looks = lane.looks.a,
    stop = to + lane.maxDuration;
  let current = -1,
    count = 0,
    any = false,
    bars = 0;
  for (let j = lo; j < n; j++) {
    const s = starts[j],
      e = ends[j];
    if (s > to) {
      if (e > stop) break;
      continue;
    }
    bars++;
    const x0 = (s - from) * px,
      x1 = (e - from) * px;
    if (x1 - x0 >= 2) {
      wide.push(rows[j]);
      continue;
    }
    if (filter !== null && !filter(rows[j])) continue;
    any = true;
    const look = looks[j],
      f = look >>> 1,
      p0 = x0 < 0 ? 0 : x0 | 0,
      p1 = x1 >= pixels ? pixels - 1 : x1 | 0;
    for (let p = p0; p <= p1; p++) {
      if (p !== current) {
        if (current >= 0) count = settle(coverage, touched, count, winner, best, current);
        current = p;
      }
      const cover = p0 === p1 ? x1 - x0 + 1e-4 : (p === p0 ? p + 1 - (x0 < 0 ? 0 : x0) : p === p1 ? x1 - p : 1) + 1e-4;
      if (coverage[f] === 0) touched[count++] = f;
      coverage[f] += cover;
      if (look & 1) bad[p] = 1;
    }
  }
  if (current >= 0) settle(coverage, touched, count, winner, best, current);
  return { bars, any };
}
// The pixel's function is the one that covers most of it. A pixel met again (calls that overlap) keeps the fuller answer.
function settle(coverage, touched, count, winner, best, pixel) {
  let most = 0,
    who = 0,
    all = 0;
  for (let k = 0; k < count; k++) {
    const f = touched[k],
      v = coverage[f];
    all += v;
    if (v > most) {
      most = v;
      who = f;
    }
    coverage[f] = 0;
  }
  if (all > best[pixel]) {
    best[pixel] = all;
    winner[pixel] = who + 1;
  }
  return 0;
}

export const laneSummary = (lane) =>
  `w${lane.id}${lane.pid ? ` · pid ${lane.pid}` : ""}${Number.isFinite(lane.memory) ? ` · ${bytes(lane.memory)}` : ""}`;
