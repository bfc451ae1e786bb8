// Pages of libraries: documents published with skate.publish(kind, key, document). A document may say how it wants to be drawn:
//
//   {"title": "…", "sections": [{"type": "text" | "stats" | "table" | "graph" | "bars" | "lines" | "parallel" | "code" | "tree", "title": "…", …}]}
//
// (docs/how-to/web-ui.md has every field.) One without sections is shown as what it looks like: lists of objects as tables, the rest as a tree.
// A package may bring a module of its own (entry point skate.dashboard.pages): `export function draw(document, tools) → Element`.

import { h, fill, fitCanvas } from "./dom.js";
import { makeMeter, makeTable, TablePage } from "./pages.js";
import { bytes, clock, cssRgb, number, rgbOf, theme } from "./theme.js";

const TITLES = { stream: "Streams", dataframe: "DataFrames", tune: "Tuning", training: "Trainings" };
export const documentTitle = (kind) => TITLES[kind] || kind[0].toUpperCase() + kind.slice(1);

export class DocumentPage extends TablePage {
  constructor(app, kind) {
    super(app, documentTitle(kind));
    this.kind = kind;
    this.key = "";
    this.select = h("select", {
      "aria-label": "which",
      onchange: () => {
        this.key = this.select.value;
        this.signature = "";
        this.update();
      },
    });
    this.bar.insertBefore(this.select, this.info);
  }
  list() {
    return [...this.app.model.documents.values()].filter((d) => d.kind === this.kind).sort((a, b) => b.t - a.t);
  }
  sign() {
    const docs = this.list(),
      d = docs.find((x) => x.key === this.key) || docs[0];
    return docs.length + "|" + (d ? `${d.key}|${d.segment}|${d.offset}` : "") + (this.module ? 1 : 0);
  }
  draw(m) {
    const docs = this.list();
    if (!docs.length)
      return h(
        "div.empty",
        `Nothing of this kind was published. A library does it with skate.publish("${this.kind}", key, document).`,
      );
    const chosen = docs.find((d) => d.key === this.key) || docs[0],
      sign = docs.map((d) => d.key).join("\n");
    if (sign !== this.keys) {
      this.keys = sign;
      fill(
        this.select,
        docs.map((d) => h("option", { value: d.key }, d.key || "–")),
      );
    }
    this.select.value = chosen.key;
    this.select.hidden = docs.length < 2 && !chosen.key;
    this.info.textContent = `as of ${clock(chosen.t, 0.1)}`;
    const document = m.blobJson(chosen);
    if (document === null) return h("div.empty", "This document is no longer in the run file.");
    const tools = {
      h,
      makeTable,
      makeMeter,
      cssRgb,
      rgbOf,
      number,
      drawSections,
      model: m,
      select: (row) => this.app.select(row),
    };
    if (this.app.ownPages.has(this.kind)) {
      if (this.module) {
        try {
          return this.module.draw(document, tools);
        } catch (error) {
          return [h("div.note", `the page of ${this.kind} failed: ${error.message}`), drawSections(sectionsOf(document))];
        }
      }
      import(`/pages/${encodeURIComponent(this.kind)}.js`).then(
        (module) => {
          this.module = module;
          this.signature = "";
          this.update();
        },
        () => this.app.ownPages.delete(this.kind),
      );
    }
    const known = !Array.isArray(document.sections) && KNOWN[this.kind];
    return [document.title ? h("h2", document.title) : "", drawSections(known ? known(document) : sectionsOf(document))];
  }
}

// The kinds of our own libraries, which publish facts and leave the drawing to this page.
const KNOWN = {
  stream(d) {
    const time = (s) => (s > 1e9 ? new Date(s * 1000).toLocaleTimeString() : `${number(s)} s`),
      stages = Array.isArray(d.stages) ? d.stages : null;
    if (!stages) return sectionsOf(d);
    const nodes = stages.map((s) => ({
      id: s.id,
      name: s.name,
      level: s.backpressure > 0.5 || s.late || s.skipped ? "warning" : "",
      facts: [
        ["workers", s.parallelism],
        ["records/s", Math.round(s.records_per_s || 0)],
        ["in", s.records_in],
        ["out", s.records_out],
        ["backpressure", `${Math.round(100 * (s.backpressure || 0))} %`],
        ["watermark", Number.isFinite(s.watermark_s) ? time(s.watermark_s) : null],
        ["state keys", s.state_keys || null],
        ["late", s.late || null],
        ["skipped", s.skipped || null],
      ].filter(([, v]) => v !== null && v !== undefined),
    }));
    const { stages: _, edges, snapshots, name: _n, recovery_s: recovery, started_s: started, ...plain } = d,
      stats = {};
    for (const [k, v] of Object.entries(plain)) if (v !== null && v !== "" && typeof v !== "object") stats[k] = v;
    if (Number.isFinite(started)) stats.started = time(started);
    if (recovery?.length) stats["recovered in"] = recovery.map((s) => s.toFixed(2) + " s").join(", ");
    if (Number.isFinite(d.progress)) stats.progress = `${Math.round(100 * d.progress)} %`;
    const more =
      Array.isArray(snapshots) && snapshots.length
        ? [
            {
              type: "table",
              title: "Snapshots",
              rows: snapshots
                .slice(-20)
                .reverse()
                .map((x) => (typeof x === "object" ? x : { snapshot: x })),
            },
          ]
        : [];
    return [
      { type: "stats", values: stats },
      {
        type: "graph",
        title: "Dataflow",
        nodes,
        edges: (edges || []).map((e) => (Array.isArray(e) ? e : { ...e, label: e.how && e.how !== "forward" ? e.how : "" })),
      },
      ...more,
    ];
  },
  tune(d) {
    if (!Array.isArray(d.trials)) return sectionsOf(d);
    const metric = d.metric || "value",
      sign = d.mode === "min" ? -1 : 1,
      score = (t) => t.metrics?.[metric] ?? t[metric],
      rows = d.trials.map((t) => ({ ...(t.config || t.params), [metric]: score(t) })),
      order = [...d.trials].sort((a, b) => sign * ((score(b) ?? -sign * Infinity) - (score(a) ?? -sign * Infinity))),
      states = {};
    for (const t of d.trials) if (t.state) states[t.state.toLowerCase()] = (states[t.state.toLowerCase()] || 0) + 1;
    return [
      {
        type: "stats",
        values: {
          ...(d.total ? { trials: `${d.trials.length} of ${d.total}` } : { trials: d.trials.length }),
          ...states,
          ...(d.seconds ? { seconds: d.seconds } : {}),
          [`best ${metric}`]: score(order[0] || {}),
        },
      },
      {
        type: "parallel",
        title: `Trials: the best ${metric} is lit`,
        rows,
        columns: [...new Set(rows.flatMap(Object.keys))]
          .filter((k) => k !== metric && rows.some((r) => r[k] !== null && typeof r[k] !== "object"))
          .concat(metric),
        colour: metric,
        mode: d.mode,
      },
      {
        type: "table",
        title: "Best first",
        rows: order.map((t) => ({
          ...(t.id ? { trial: t.id } : {}),
          ...(t.state ? { state: t.state.toLowerCase() } : {}),
          ...(t.config || t.params),
          [metric]: score(t),
          ...(t.failures ? { failures: t.failures, level: "warning" } : {}),
        })),
      },
    ];
  },
};

// What a document without sections looks like.
export function sectionsOf(document) {
  if (Array.isArray(document?.sections)) return document.sections;
  const sections = [],
    plain = {},
    used = new Set();
  const nodes = document.nodes || document.operators || document.stages,
    edges = document.edges || document.links;
  if (Array.isArray(nodes) && nodes.length && typeof nodes[0] === "object" && Array.isArray(edges)) {
    sections.push({ type: "graph", title: "Dataflow", nodes, edges });
    for (const key of ["nodes", "operators", "stages", "edges", "links"])
      if (document[key] === nodes || document[key] === edges) used.add(key);
  }
  for (const [key, value] of Object.entries(document || {})) {
    if (used.has(key) || key === "title") continue;
    if (Array.isArray(value) && value.length && value.every((v) => v && typeof v === "object" && !Array.isArray(v))) {
      // Objects within the objects become columns of their own: a trial's config, its last metrics.
      const flat = value.map((v) =>
        Object.assign(
          {},
          ...Object.entries(v).map(([k, x]) => (x && typeof x === "object" && !Array.isArray(x) ? x : { [k]: x })),
        ),
      );
      if (key === "trials" && value.some((v) => v.config || v.params))
        sections.push({ type: "parallel", title: "Trials", rows: flat, colour: document.metric });
      sections.push({ type: "table", title: key, columns: [...new Set(flat.slice(0, 100).flatMap(Object.keys))], rows: flat });
    } else if (Array.isArray(value) && value.length > 1 && value.every((v) => typeof v === "number"))
      sections.push({ type: "lines", title: key, series: [{ name: key, y: value }] });
    else if (typeof value === "string" && value.includes("\n")) sections.push({ type: "code", title: key, text: value });
    else if (value && typeof value === "object") sections.push({ type: "tree", title: key, value });
    else plain[key] = value;
  }
  if (Object.keys(plain).length) sections.unshift({ type: "stats", values: plain });
  return sections;
}

export function drawSections(sections) {
  return sections.map((s) => {
    let body;
    try {
      body = (DRAW[s.type] || DRAW.tree)(s);
    } catch (error) {
      body = h("div.note", `this section can't be drawn: ${error.message}`);
    }
    return h("section.doc-section", { data: { type: s.type } }, s.title ? h("h2", s.title) : "", body);
  });
}
// "size_bytes" → "size": the unit is told with the value.
const heading = (key) =>
  String(key)
    .replace(/_(bytes|s)$/, "")
    .replaceAll("_", " ");
const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
const TIME_OF_DAY = (v, key) =>
  isNumber(v) && v > 1e9 && v < 4e9 && key.endsWith("_s") ? new Date(v * 1000).toLocaleTimeString() : null; // Seconds since 1970.
const cellText = (v, key = "") =>
  v === null || v === undefined
    ? "–"
    : isNumber(v)
      ? (TIME_OF_DAY(v, key) ?? (key.endsWith("_bytes") ? bytes(v) : key.endsWith("_s") ? `${number(v)} s` : number(v)))
      : typeof v === "object"
        ? JSON.stringify(v)
        : String(v);

const DRAW = {
  text: (s) => h("p", s.text),
  code: (s) => h("pre", s.text),
  stats: (s) =>
    h(
      "dl",
      Object.entries(s.values || {}).map(([k, v]) => [h("dt", heading(k)), h("dd.num", cellText(v, k))]),
    ),
  tree: (s) => h("pre", typeof s.value === "string" ? s.value : JSON.stringify(s.value ?? s, null, 2)),
  table: (s) => {
    const columns = s.columns || [...new Set((s.rows || []).flatMap((r) => Object.keys(r)))],
      rows = s.rows || [],
      at = (r, c, i) => (Array.isArray(r) ? r[i] : r[c]),
      numeric = columns.map(
        (c, i) =>
          rows.length > 0 &&
          rows.slice(0, 50).every((r) => {
            const v = at(r, c, i);
            return v === null || v === undefined || isNumber(v);
          }),
      );
    return makeTable(
      columns.map((c, i) => (numeric[i] ? ">" : "") + heading(c)),
      rows.slice(0, 1000).map((r) =>
        h(
          "tr",
          { class: r.level === "warning" ? "warn" : r.level === "error" ? "fail" : "" },
          columns.map((c, i) => h("td" + (numeric[i] ? ".right" : ""), cellText(at(r, c, i), String(c)))),
        ),
      ),
      "no rows",
    );
  },
  bars: (s) => {
    const most = Math.max(1e-300, ...s.items.map((i) => i.value));
    return makeTable(
      ["", ">", ""],
      s.items.map((i) =>
        h(
          "tr",
          h("td", i.name),
          h("td.right", `${number(i.value)}${s.unit ? " " + s.unit : ""}`),
          h("td.bar-cell", makeMeter(i.value / most, i.level === "warning" ? ".warn" : "")),
        ),
      ),
      "nothing",
    );
  },
  lines: (s) => drawLines(s),
  parallel: (s) => drawParallel(s),
  graph: (s) => drawGraph(s),
};

// A node's name as lines of its box: a chain has one for each operator.
function titleLines(name) {
  const parts = name.split(" → "),
    most = 4,
    shown = parts.length > most ? [...parts.slice(0, most - 1), `… ${parts.length - most + 1} more`] : parts;
  return shown.map((part, i) => {
    const text = (i ? "→ " : "") + part;
    return text.length > 26 ? text.slice(0, 25) + "…" : text;
  });
}

// Boxes in layers from left to right, by the longest way from a source. SVG, so that it scrolls and can be selected.
function drawGraph(s) {
  const NS = "http://www.w3.org/2000/svg",
    svg = (tag, props, text) => {
      const e = document.createElementNS(NS, tag);
      for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
      if (text !== undefined) e.textContent = text;
      return e;
    };
  const nodes = (s.nodes || []).map((n, i) => ({ ...n, id: String(n.id ?? n.name ?? i) })),
    byId = new Map(nodes.map((n) => [n.id, n])),
    edges = (s.edges || [])
      .map((e) =>
        Array.isArray(e)
          ? { from: String(e[0]), to: String(e[1]) }
          : { ...e, from: String(e.from ?? e.source), to: String(e.to ?? e.target) },
      )
      .filter((e) => byId.has(e.from) && byId.has(e.to));
  for (const n of nodes) n.layer = 0;
  for (let round = 0, moved = true; moved && round < nodes.length; round++) {
    moved = false;
    for (const e of edges) {
      const a = byId.get(e.from),
        b = byId.get(e.to);
      if (b.layer <= a.layer && a.layer + 1 < nodes.length) {
        b.layer = a.layer + 1;
        moved = true;
      }
    }
  }
  const layers = [];
  for (const n of nodes) (layers[n.layer] ??= []).push(n);
  const W = 196,
    GAP = 56,
    LINE = 16;
  for (const n of nodes) {
    const known = new Set(["id", "name", "label", "layer", "level"]);
    n.facts =
      n.facts ||
      Object.entries(n)
        .filter(([k, v]) => !known.has(k) && (typeof v !== "object" || v === null))
        .slice(0, 6);
    if (!Array.isArray(n.facts)) n.facts = Object.entries(n.facts);
    n.lines = titleLines(String(n.label ?? n.name ?? n.id));
    n.height = 12 + (n.lines.length + n.facts.length) * LINE;
  }
  let height = 0;
  layers.forEach((layer, i) => {
    let y = 6;
    for (const n of layer) {
      n.x = 4 + i * (W + GAP);
      n.y = y;
      y += n.height + 16;
    }
    height = Math.max(height, y);
  });
  const root = svg("svg", {
    width: layers.length * (W + GAP),
    height: height + 6,
    role: "img",
    "aria-label": s.title || "graph",
  });
  for (const e of edges) {
    const a = byId.get(e.from),
      b = byId.get(e.to),
      y0 = a.y + a.height / 2,
      y1 = b.y + b.height / 2,
      mid = (a.x + W + b.x) / 2;
    root.append(svg("path", { d: `M${a.x + W},${y0} C${mid},${y0} ${mid},${y1} ${b.x},${y1}` }));
    const text = e.label ?? (isNumber(e.rate) ? number(e.rate) + "/s" : "");
    if (text) root.append(svg("text", { x: mid, y: (y0 + y1) / 2 - 5, "text-anchor": "middle", class: "dim" }, text));
  }
  for (const n of nodes) {
    root.append(
      svg("rect", { x: n.x, y: n.y, width: W, height: n.height, rx: 5, class: n.level === "warning" ? "warn" : "" }),
      svg("title", {}, String(n.label ?? n.name ?? n.id)),
    );
    n.lines.forEach((line, i) => root.append(svg("text", { x: n.x + 10, y: n.y + 18 + i * LINE }, line)));
    n.facts.forEach(([k, v], i) =>
      root.append(
        svg("text", { x: n.x + 10, y: n.y + 19 + (n.lines.length + i) * LINE, class: "dim" }, k),
        svg(
          "text",
          { x: n.x + W - 10, y: n.y + 19 + (n.lines.length + i) * LINE, "text-anchor": "end", class: "dim" },
          cellText(v).slice(0, 20),
        ),
      ),
    );
  }
  return h("div.graph", root);
}

function onceSized(canvas, draw) {
  new ResizeObserver(() => {
    const c = fitCanvas(canvas);
    if (c.width) {
      c.context.clearRect(0, 0, c.width, c.height);
      draw(c.context, c.width, c.height);
    }
  }).observe(canvas);
  return h("div.chart.tall", h("div.plot", canvas));
}

function drawLines(s) {
  return onceSized(h("canvas"), (c, width, height) => {
    const series = s.series || [],
      ys = series.flatMap((one) => one.y).filter(isNumber),
      low = Math.min(...ys),
      high = Math.max(...ys),
      css = theme.css;
    c.font = "11px ui-monospace, monospace";
    c.fillStyle = css.muted;
    c.fillText(number(high), 0, 10);
    c.fillText(number(low), 0, height - 4);
    series.forEach((one) => {
      const n = one.y.length,
        x0 = one.x?.[0] ?? 0,
        x1 = one.x?.[n - 1] ?? n - 1;
      c.strokeStyle = cssRgb(rgbOf("report " + one.name));
      c.lineWidth = 1.5;
      c.beginPath();
      one.y.forEach((y, i) => {
        if (isNumber(y))
          c.lineTo(
            56 + (((one.x?.[i] ?? i) - x0) / (x1 - x0 || 1)) * (width - 62),
            6 + (height - 14) * (1 - (y - low) / (high - low || 1)),
          );
      });
      c.stroke();
    });
  });
}

// One axis per column, one line per row; the colour is the last axis (or `colour`), from faint to accent.
function drawParallel(s) {
  const rows = s.rows || [],
    columns =
      s.columns ||
      [...new Set(rows.flatMap(Object.keys))].filter((k) => rows.some((r) => r[k] !== null && typeof r[k] !== "object"));
  if (!rows.length || columns.length < 2) return h("div.dim", "fewer than two columns");
  const axes = columns.map((name) => {
    const values = rows.map((r) => r[name]),
      isNum = values.every((v) => v === null || v === undefined || isNumber(v)),
      kinds = isNum ? [] : [...new Set(values.map(String))].sort(),
      nums = values.filter(isNumber),
      low = Math.min(...nums),
      high = Math.max(...nums),
      isLog = isNum && low > 0 && high / low > 100,
      f = (v) => (isLog ? Math.log(v) : v);
    return {
      name,
      at: (v) =>
        isNum
          ? isNumber(v)
            ? (f(v) - f(low)) / (f(high) - f(low) || 1)
            : NaN
          : kinds.indexOf(String(v)) / Math.max(1, kinds.length - 1),
      low: isNum ? number(low) : kinds[0],
      high: isNum ? number(high) : kinds[kinds.length - 1],
    };
  });
  const goal = axes[columns.indexOf(s.colour)] || axes[axes.length - 1];
  return onceSized(h("canvas", { "aria-label": "parallel coordinates" }), (c, width, height) => {
    const css = theme.css,
      X = (i) => 50 + (i * (width - 110)) / (axes.length - 1),
      Y = (v) => 26 + (height - 52) * (1 - v);
    c.lineWidth = 1.3;
    for (const r of [...rows].sort((a, b) => (s.mode === "min" ? -1 : 1) * (goal.at(a[goal.name]) - goal.at(b[goal.name])))) {
      const at = goal.at(r[goal.name]),
        v = s.mode === "min" ? 1 - at : at;
      c.strokeStyle = v > 0.85 ? css.accent : css.muted;
      c.globalAlpha = Number.isFinite(v) ? 0.18 + 0.72 * v * v : 0.1;
      c.beginPath();
      axes.forEach((a, i) => {
        const y = a.at(r[a.name]);
        if (Number.isFinite(y)) c.lineTo(X(i), Y(y));
      });
      c.stroke();
    }
    c.globalAlpha = 1;
    c.font = "11px ui-monospace, monospace";
    c.textAlign = "center";
    axes.forEach((a, i) => {
      c.fillStyle = css.faint;
      c.fillRect(X(i), 26, 1, height - 52);
      c.fillStyle = css.text;
      c.fillText(a.name.slice(0, 18), X(i), height - 2);
      c.fillStyle = css.muted;
      c.fillText(String(a.high).slice(0, 12), X(i), 20);
      c.fillText(String(a.low).slice(0, 12), X(i), height - 14);
    });
    c.textAlign = "left";
  });
}
