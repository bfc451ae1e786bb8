// The pages that are tables. A page has an element, `update()` (called at most four times a second while it is in sight), and maybe `open(params)`.

import { h, fill, VirtualList } from "./dom.js";
import { STATES, ACTOR_STATES, keyOf } from "./model.js";
import { QueryResult } from "./query.js";
import { bytes, clock, colourOf, count, cssRgb, duration, percent } from "./theme.js";
import { laneSummary } from "./timeline.js";

export class LivePage {
  constructor(app) {
    this.app = app;
    this.order = "sum";
    this.list = h("div.list");
    this.sort = h(
      "select",
      {
        "aria-label": "sort functions by",
        onchange: () => {
          this.order = this.sort.value;
          this.update();
        },
      },
      [
        ["sum", "by time"],
        ["count", "by count"],
        ["p99", "by p99"],
        ["failed", "by failures"],
        ["name", "by name"],
      ].map(([v, t]) => h("option", { value: v }, t)),
    );
    this.follow = h("button.live-dot", { onclick: () => app.timeline.onKey("l"), title: "L" }, "follow");
    this.head = h("div.panel-head", h("h2", "Functions"), h("span.grow"), this.sort);
    this.slot = h(
      "div.live-right",
      h(
        "div.panel-head",
        h("h2", "Timeline"),
        (this.range = h("span.dim")),
        h("span.grow"),
        this.follow,
        h("button", { onclick: () => app.timeline.fit(), title: "F" }, "fit all"),
      ),
    );
    this.element = h(
      "div.page.live-page",
      h("section.functions", { "aria-label": "functions" }, this.head, this.list),
      this.slot,
    );
    this.cards = new Map();
  }
  open() {
    this.slot.append(this.app.timeline.element);
    this.app.timeline.isDirty = true;
  }
  update() {
    const m = this.app.model,
      total = m.functions.reduce((a, f) => a + f.sum, 0) || 1,
      now = m.now();
    if (!m.functions.length) {
      fill(this.list, h("div.empty", m.live ? "Waiting for the first task." : "This run ran no task."));
      this.cards.clear();
    } else if (!this.cards.size) this.list.replaceChildren();
    const by = {
      sum: (f) => -f.sum,
      count: (f) => -f.count,
      p99: (f) => -(f.quantile(0.99) || 0),
      failed: (f) => -f.failed - f.sum / total,
      name: null,
    }[this.order];
    const sorted = [...m.functions];
    if (by) sorted.sort((a, b) => by(a) - by(b));
    else sorted.sort((a, b) => (a.name < b.name ? -1 : 1));
    sorted.slice(0, 300).forEach((f, position) => {
      let card = this.cards.get(f.index);
      if (!card) {
        card = {
          name: h("span.name", { title: f.name }, f.name),
          share: h("i"),
          count: h("span.num.counts"),
          left: h("span"),
          right: h("span"),
          swatch: h("i.swatch"),
        };
        card.element = h(
          "div.fn",
          {
            tabindex: 0,
            role: "button",
            onclick: () => this.app.toggleFunction(f.name),
            onkeydown: (e) => {
              if (e.key === "Enter") this.app.toggleFunction(f.name);
            },
          },
          card.swatch,
          card.name,
          card.count,
          h("span.share", card.share),
          h("span.more", card.left, card.right),
        );
        this.cards.set(f.index, card);
        this.list.append(card.element);
      }
      card.element.style.setProperty("--c", cssRgb(colourOf(m, f.index)));
      card.share.style.width = ((100 * f.sum) / total).toFixed(1) + "%";
      // The rate is of the last seconds, from what has come since the last look.
      f.recent.push([now, f.count]);
      while (f.recent.length > 2 && now - f.recent[0][0] > 4) f.recent.shift();
      const [t0, n0] = f.recent[0],
        rate = m.live ? (now > t0 ? (f.count - n0) / (now - t0) : 0) : f.count / Math.max(now, 1e-9);
      fill(
        card.count,
        f.running ? h("span.accent", `${f.running} running`) : "",
        f.failed ? h("span.fail", `${count(f.failed)} failed`) : "",
        count(f.count),
      );
      fill(card.left, h("span", `p50 ${duration(f.quantile(0.5))}`), h("span", `p99 ${duration(f.quantile(0.99))}`));
      fill(
        card.right,
        rate >= 0.05 ? h("span", `${rate < 10 ? rate.toFixed(1) : count(rate)}/s`) : "",
        h("span", percent(f.sum / total)),
      );
      card.element.style.order = position;
      card.element.classList.toggle("off", !!this.app.filterText && !this.app.timeline.filterFits?.(f.index));
    });
    this.list.style.display = "flex";
    this.list.style.flexDirection = "column";
    const tl = this.app.timeline;
    this.follow.setAttribute("aria-pressed", tl.follow);
    this.follow.hidden = !m.live;
    this.range.textContent = `${duration(tl.to - tl.from)} in sight · ${count(tl.bars)} bars`;
  }
}

export class TasksPage {
  constructor(app) {
    this.app = app;
    this.query = new QueryResult(app.model);
    this.order = "start";
    this.down = true;
    this.sorted = null;
    this.list = new VirtualList((i) => this.drawRow(i), { label: "tasks", onOpen: (i) => app.select(this.rowAt(i)) });
    this.list.element.addEventListener("click", (e) => {
      const row = e.target.closest(".row");
      if (row) {
        this.list.selected = +row.dataset.index;
        this.list.render();
        app.select(this.rowAt(this.list.selected));
      }
    });
    this.info = h("span.dim");
    this.problem = h("div.note", { hidden: true, role: "alert" });
    const column = (key, text, cls = "") =>
      h(
        "span" + cls,
        h(
          "button",
          {
            onclick: () => {
              this.down = this.order === key ? !this.down : true;
              this.order = key;
              this.sortKey = "";
              this.update();
            },
          },
          text,
        ),
      );
    this.head = h(
      "div.row-head.cols-tasks",
      column("id", "task"),
      column("fn", "function"),
      column("state", "state"),
      column("start", "started", ".right"),
      h("span.wide", "process"),
      column("wait", "waited", ".right.wide"),
      column("time", "took", ".right"),
      column("attempt", "attempt", ".right.wide"),
    );
    this.head.children[3].classList.add("wide");
    this.element = h(
      "div.page",
      h(
        "div.bar",
        h("h1", "Tasks"),
        this.info,
        h("span.grow"),
        ...["state:failed", "state:running", ">100ms", "kind:call"].map((q) =>
          h("button", { onclick: () => app.addToQuery(q) }, q),
        ),
      ),
      this.problem,
      this.head,
      this.list.element,
    );
  }
  open() {
    this.query.set(this.app.filterText);
    this.sortKey = "";
    this.list.element.scrollTop = 0;
    this.update();
  }
  setQuery(text) {
    const t0 = performance.now();
    this.query.set(text);
    this.sortKey = "";
    this.app.searchMs = performance.now() - t0;
    this.list.selected = -1;
    this.list.element.scrollTop = 0;
    this.update();
  }
  update() {
    const m = this.app.model;
    this.query.update();
    const n = this.query.count;
    this.sort();
    this.problem.hidden = !this.query.error;
    this.problem.textContent = this.query.error;
    this.info.textContent = this.query.test ? `${count(n)} of ${count(m.n)}` : count(m.n);
    this.list.setCount(n);
  }
  // By start is the order of arrival, newest first: nothing to sort. Others are sorted once a second at most.
  sort() {
    if (this.order === "start" || !this.query.count) {
      this.sorted = null;
      return;
    }
    const key = [this.order, this.down, this.query.text, this.query.count].join("|"),
      now = performance.now();
    if ((key === this.sortKey && this.sorted) || (this.sorted && this.sortKey && now - this.sortedAt < 1000)) return;
    this.sortKey = key;
    this.sortedAt = now;
    const m = this.app.model,
      n = this.query.count,
      rows = new Int32Array(n),
      keys = new Float64Array(m.n);
    const rank = new Int32Array(m.functions.length);
    [...m.functions]
      .sort((a, b) => (a.name < b.name ? 1 : -1))
      .forEach((f, i) => {
        rank[f.index] = i;
      });
    const value = {
      id: (i) => m.NUMBER[i],
      fn: (i) => rank[m.F[i]],
      state: (i) => (m.T[i] === 2 ? 9 : m.T[i] === 0 ? 8 : m.T[i]),
      time: (i) => m.duration(i),
      attempt: (i) => m.A[i],
      wait: (i) => m.S[i] - m.submittedAt(m.OWNER[i], m.NUMBER[i]) || 0,
    }[this.order];
    for (let i = 0; i < n; i++) {
      rows[i] = this.query.at(i);
      keys[rows[i]] = value(rows[i]);
    }
    rows.sort((a, b) => keys[a] - keys[b] || a - b);
    if (!this.down) rows.reverse();
    this.sorted = rows;
  }
  rowAt(i) {
    if (this.sorted && i < this.sorted.length) return this.sorted[this.sorted.length - 1 - i];
    return this.query.at(this.order === "start" && !this.down ? i : this.query.count - 1 - i);
  }
  drawRow(i) {
    const m = this.app.model,
      row = this.rowAt(i);
    if (row === undefined || row < 0 || row >= m.n) return h("div.row");
    const fn = m.functions[m.F[row]],
      wait = m.S[row] - m.submittedAt(m.OWNER[row], m.NUMBER[row]);
    return h(
      "div.row.cols-tasks",
      { role: "option" },
      h("span.dim", `${m.OWNER[row]}·${m.NUMBER[row]}`),
      h("span.cell", h("i.swatch", { colour: cssRgb(colourOf(m, m.F[row])) }), fn.name),
      h("span.state-" + STATES[m.T[row]], STATES[m.T[row]]),
      h("span.right.wide", clock(m.S[row], 0.01)),
      h("span.wide", "w" + m.lanes[m.L[row]].id),
      h("span.right.wide.dim", Number.isFinite(wait) ? duration(Math.max(0, wait)) : ""),
      h("span.right", duration(m.duration(row))),
      h("span.right.wide.dim", m.A[row] ? m.A[row] + 1 : ""),
    );
  }
}

// A table that is made anew at each update; for hundreds of rows, not thousands.
function table(head, rows, empty) {
  if (!rows.length) return h("div.empty", empty);
  return h(
    "table",
    h(
      "thead",
      h(
        "tr",
        head.map((t) => h(t.startsWith(">") ? "th.right" : "th", t.replace(/^>/, ""))),
      ),
    ),
    h("tbody", rows),
  );
}
const meter = (part, cls = "") => {
  const i = h("i");
  i.style.width = Math.max(0, Math.min(100, 100 * part)) + "%";
  return h("div.meter" + cls, i);
};

class TablePage {
  constructor(app, title) {
    this.app = app;
    this.title = title;
    this.body = h("div.scroll");
    this.info = h("span.dim");
    this.bar = h("div.bar", h("h1", title), this.info, h("span.grow"));
    this.element = h("div.page", this.bar, this.body);
  }
  open() {
    this.signature = "";
    this.update();
  }
  update() {
    const s = this.sign();
    if (s === this.signature) return;
    this.signature = s;
    const top = this.body.scrollTop;
    fill(this.body, this.draw(this.app.model));
    this.body.scrollTop = top;
  }
  sign() {
    return this.app.model.version + "|" + (this.app.liveVersion || 0);
  }
}

export class ActorsPage extends TablePage {
  constructor(app) {
    super(app, "Actors");
    this.live = "actors";
  }
  draw(m) {
    const rows = new Map(),
      now = m.now();
    for (const actor of m.actors.values())
      rows.set(keyOf(actor.owner, actor.number), {
        ...actor,
        state: m.live || actor.state === 3 ? ACTOR_STATES[actor.state] || "alive" : "ended",
      });
    for (const actor of m.live ? this.app.liveRows("actors") : []) {
      const key = keyOf(parseInt(actor.actor_id.slice(8, 16), 16), parseInt(actor.actor_id.slice(-8), 16)),
        old = rows.get(key) || {};
      rows.set(key, {
        ...old,
        owner: old.owner,
        id: actor.actor_id,
        name: actor.class_name,
        given: actor.name,
        state: (actor.state || "").toLowerCase().replace("pending_creation", "pending"),
        pid: actor.pid,
        restarts: actor.num_restarts ?? old.restarts,
        queue: actor.queue_length ?? actor.num_pending_calls,
        why: typeof actor.death_cause === "string" ? actor.death_cause : old.why,
      });
    }
    const calls = new Map(); // By lane: an actor has a process of its own.
    for (let i = 0; i < m.n; i++)
      if (m.K[i] > 1) {
        const c = calls.get(m.L[i]) || { n: 0, failed: 0, sum: 0, recent: 0 };
        c.n += m.K[i] === 3 ? 1 : 0;
        c.failed += m.T[i] === 2 ? 1 : 0;
        if (m.T[i]) c.sum += m.E[i] - m.S[i];
        if (m.T[i] && m.E[i] > now - 5) c.recent++;
        calls.set(m.L[i], c);
      }
    this.info.textContent = count(rows.size);
    return table(
      ["actor", "state", "process", ">calls", ">calls/s", ">busy", ">failed", ">queue", ">restarts", ""],
      [...rows.values()].slice(0, 2000).map((a) => {
        const c = calls.get(a.lane) || { n: 0, failed: 0, sum: 0, recent: 0 },
          lane = m.lanes[a.lane],
          life = Math.max(1e-9, (Number.isFinite(lane?.went) ? lane.went : now) - (a.since ?? 0));
        return h(
          "tr",
          h("td", a.name || "actor", a.given ? h("span.dim", ` “${a.given}”`) : ""),
          h("td.state-" + a.state, a.state, a.why ? h("div.dim", a.why) : ""),
          h("td.mono", lane ? laneSummary(lane) : a.pid ? "pid " + a.pid : ""),
          h("td.right", count(c.n)),
          h("td.right", m.live ? (c.recent / 5).toFixed(1) : (c.n / life).toFixed(1)),
          h("td.right", percent(c.sum / life)),
          h("td.right", c.failed ? h("span.fail", count(c.failed)) : "0"),
          h("td.right", a.queue ?? "–"),
          h("td.right", a.restarts || 0),
          h(
            "td",
            m.live && a.id && a.state !== "dead"
              ? h(
                  "button.danger",
                  { onclick: () => this.app.act("kill-actor", { actor_id: a.id }, `kill actor ${a.name}?`) },
                  "kill",
                )
              : "",
          ),
        );
      }),
      "No actor was created in this run.",
    );
  }
}

export class ObjectsPage extends TablePage {
  constructor(app) {
    super(app, "Objects");
    this.live = "objects";
  }
  draw(m) {
    const known = [...m.objects.values()],
      live = m.live ? this.app.liveRows("objects") : [],
      refs = new Map();
    for (const o of live)
      if (o.object_id)
        refs.set(
          `${parseInt(o.object_id.slice(8, 16), 16)}:${parseInt(o.object_id.slice(24, 32), 16)}:${parseInt(o.object_id.slice(32, 40), 16)}`,
          o,
        );
    known.sort((a, b) => (a.state === "freed") - (b.state === "freed") || b.kib - a.kib);
    const alive = known.filter((o) => o.state !== "freed").reduce((s, o) => s + o.kib, 0),
      largest = Math.max(1, ...known.slice(0, 1000).map((o) => o.kib));
    this.info.textContent = known.length
      ? `${count(known.length)} · ${bytes(alive * 1024)} held · ${bytes(m.spilledKib * 1024)} spilled so far`
      : "";
    const sites = [...m.packed.values()].sort((a, b) => b.kib - a.kib);
    return [
      sites.length
        ? h(
            "section.doc-section",
            h("h2", "Serialized at"),
            table(
              ["call site", "for", ">times", ">bytes", ">seconds", ">each"],
              sites
                .slice(0, 20)
                .map((s) =>
                  h(
                    "tr",
                    h("td.mono", s.site),
                    h("td", s.what),
                    h("td.right", count(s.count)),
                    h("td.right", bytes(s.kib * 1024)),
                    h("td.right", duration(s.seconds)),
                    h("td.right", bytes((s.kib * 1024) / s.count)),
                  ),
                ),
              "",
            ),
          )
        : "",
      table(
        ["object", "made by", ">size", "", "state", ">references", ">stored at", ">lived"],
        known.slice(0, 1000).map((o) => {
          const row = m.find(o.owner, o.number),
            ref = refs.get(`${o.owner}:${o.number}:${o.index}`);
          return h(
            row >= 0 ? "tr.click" : "tr",
            { onclick: () => row >= 0 && this.app.select(row) },
            h("td.mono", `${o.owner}·${o.number}.${o.index}`),
            h(
              "td",
              row >= 0
                ? [h("i.swatch", { colour: cssRgb(colourOf(m, m.F[row])) }), m.functions[m.F[row]].name]
                : ref?.call_site || "put",
            ),
            h("td.right", bytes(o.kib * 1024)),
            h("td.bar-cell", meter(o.kib / largest)),
            h("td.state-" + o.state, o.state, o.spills ? h("span.dim", ` ${o.spills}× spilled`) : ""),
            h("td.right", ref?.reference_count ?? "–"),
            h("td.right", clock(o.stored, 0.01)),
            h("td.right", duration((o.state === "freed" ? o.freed : m.now()) - o.stored)),
          );
        }),
        "No value was large enough for the object store: small ones travel inside messages.",
      ),
    ];
  }
}

export class LogsPage {
  constructor(app) {
    this.app = app;
    this.lines = [];
    this.done = 0;
    this.filter = "";
    this.list = new VirtualList((i) => this.drawLine(i), { label: "log lines", rowHeight: 19 });
    this.list.sticky = true;
    this.list.element.addEventListener("click", (e) => {
      const row = e.target.closest(".row");
      if (row && !String(getSelection())) this.openLine(+row.dataset.index);
    });
    this.input = h("input", {
      type: "search",
      placeholder: "filter lines",
      "aria-label": "filter log lines",
      oninput: () => {
        this.filter = this.input.value.toLowerCase();
        this.refilter();
      },
    });
    this.info = h("span.dim");
    this.errOnly = h(
      "button",
      {
        "aria-pressed": "false",
        onclick: () => {
          this.onlyErr = !this.onlyErr;
          this.errOnly.setAttribute("aria-pressed", this.onlyErr);
          this.refilter();
        },
      },
      "stderr only",
    );
    this.element = h(
      "div.page",
      h("div.bar", h("h1", "Logs"), this.info, h("span.grow"), this.input, this.errOnly),
      h("div.row-head.cols-log", h("span", "time"), h("span.wide", "task · process"), h("span", "line")),
      this.list.element,
    );
    this.shown = [];
  }
  open() {
    this.update();
    this.list.element.scrollTop = this.list.element.scrollHeight;
  }
  update() {
    const m = this.app.model;
    if (this.run !== m.run + m.t0Us) {
      this.run = m.run + m.t0Us;
      this.lines = [];
      this.shown = [];
      this.done = 0;
    }
    for (; this.done < m.logs.length; this.done++) {
      const log = m.logs[this.done],
        text = m.blobText(log);
      if (text === null) {
        this.lines.push({ log, text: `… ${log.lines} older lines are in the run file: skate logs` });
        continue;
      }
      for (const line of text.replace(/\n$/, "").split("\n"))
        this.lines.push({ log, text: line.replace(/\x1b\[[0-9;]*[A-Za-z]/g, "") });
    }
    if (this.filtered !== this.lines.length) this.refilter(true);
  }
  fits(line) {
    return (
      (!this.filter || line.text.toLowerCase().includes(this.filter) || line.log.label.toLowerCase().includes(this.filter)) &&
      (!this.onlyErr || line.log.stream === 2)
    );
  }
  refilter(more = false) {
    if (!more) {
      this.shown = [];
      this.filtered = 0;
    }
    for (let i = this.filtered || 0; i < this.lines.length; i++) if (this.fits(this.lines[i])) this.shown.push(i);
    this.filtered = this.lines.length;
    this.info.textContent =
      this.shown.length === this.lines.length
        ? `${count(this.lines.length)} lines`
        : `${count(this.shown.length)} of ${count(this.lines.length)} lines`;
    this.list.setCount(this.shown.length);
  }
  drawLine(i) {
    const m = this.app.model,
      { log, text } = this.lines[this.shown[i]],
      fn = m.functionByName.get(log.label) ?? m.functionByName.get(log.label.split(" ")[0]),
      lane = m.lanes[log.lane];
    return h(
      "div.row.log.cols-log" + (log.stream === 2 ? ".err" : ""),
      h("span.dim", clock(log.t, 0.01)),
      h(
        "span.cell.wide",
        fn !== undefined ? h("i.swatch", { colour: cssRgb(colourOf(m, fn)) }) : "",
        log.label || lane.what,
        h("span.dim", " w" + lane.id),
      ),
      h("span", { title: text.length > 120 ? text : null }, text),
    );
  }
  // The attempt that ran in this process when the line was printed.
  openLine(i) {
    const m = this.app.model,
      { log } = this.lines[this.shown[i]],
      rows = m.lanes[log.lane].rows;
    this.app.cursor.set(log.t);
    for (const row of m.running.values()) if (m.L[row] === log.lane && m.S[row] <= log.t) return this.app.select(row);
    for (let k = rows.n - 1; k >= 0; k--) if (m.S[rows.a[k]] <= log.t + 0.001) return this.app.select(rows.a[k]);
  }
}

export class ErrorsPage extends TablePage {
  constructor(app) {
    super(app, "Errors");
    this.opened = new Set();
  }
  sign() {
    return this.app.model.errors.length + "|" + this.app.model.failed + "|" + [...this.opened].join();
  }
  draw(m) {
    const groups = new Map();
    for (const error of m.errors) {
      const doc = m.errorDocument(error) || { type: error.type, message: "", traceback: "" },
        lines = (doc.traceback || "").split("\n").filter((l) => l.trim().startsWith("File ")),
        key = [doc.type || error.type, doc.name, ...lines].join("\n");
      let g = groups.get(key);
      if (!g) groups.set(key, (g = { key, doc, items: [], places: new Map(), type: doc.type || error.type }));
      g.items.push({ error, doc });
    }
    const sorted = [...groups.values()].sort((a, b) => b.items.length - a.items.length),
      told = m.errors.length;
    this.info.textContent = m.failed
      ? `${count(m.failed)} failed attempts, ${count(sorted.length)} different tracebacks${told < m.failed ? `; of ${count(told)} the traceback was kept` : ""}`
      : "";
    if (!sorted.length)
      return h(
        "div.empty",
        m.failed
          ? ["Attempts failed, but no traceback was kept. ", h("a", { href: "#/tasks?q=state:failed" }, "Show the tasks")]
          : "Nothing has failed.",
      );
    return sorted.map((g, i) => {
      const last = g.items[g.items.length - 1],
        isOpen = this.opened.has(g.key) || (i === 0 && !this.opened.has("!" + g.key));
      return h(
        "article.error-group",
        h(
          "header",
          {
            tabindex: 0,
            onclick: () => {
              if (isOpen) {
                this.opened.delete(g.key);
                this.opened.add("!" + g.key);
              } else {
                this.opened.add(g.key);
                this.opened.delete("!" + g.key);
              }
              this.update();
            },
          },
          h("b", g.type),
          h("span", last.doc.message || ""),
          h("span.dim", last.doc.name || ""),
          h("span.num", g.items.length + "×"),
        ),
        isOpen
          ? [
              h("pre", last.doc.traceback || "no traceback"),
              h(
                "div.where",
                "tasks ",
                g.items
                  .slice(-12)
                  .reverse()
                  .map(({ error, doc }) => {
                    const row = doc.owner === undefined ? -1 : m.find(doc.owner, doc.number);
                    return h(
                      "a",
                      {
                        href: location.hash,
                        onclick: (e) => {
                          e.preventDefault();
                          if (row >= 0) this.app.select(row);
                        },
                      },
                      `#${doc.number ?? "?"} at ${clock(error.t, 0.01)}`,
                    );
                  }),
              ),
            ]
          : "",
      );
    });
  }
}

export class ResourcesPage extends TablePage {
  constructor(app) {
    super(app, "Resources");
    this.live = "resources";
  }
  draw(m) {
    const totals = m.live ? this.app.liveRows("resources") : null,
      last = (k) => m.samples.get(k)?.last,
      rows = [],
      total = totals?.total || totals?.cluster || {},
      free = totals?.available || {};
    for (const [name, all] of Object.entries(total)) {
      const used = all - (free[name] ?? all),
        isBytes = name.includes("memory");
      rows.push(
        h(
          "tr",
          h("td", name),
          h("td.right", isBytes ? bytes(used) : used),
          h("td.right", isBytes ? bytes(all) : all),
          h("td.bar-cell", meter(used / (all || 1))),
        ),
      );
    }
    const machine = [
      ["CPU", last("cpu_percent"), 100, (v) => v.toFixed(0) + " %"],
      ["memory", last("memory_bytes"), last("memory_total_bytes"), bytes],
      ["object store", last("store_bytes"), last("store_total_bytes"), bytes],
      ["spilled", last("spilled_bytes"), last("disk_total_bytes"), bytes],
      ["disk", last("disk_bytes"), last("disk_total_bytes"), bytes],
    ];
    for (const key of m.samples.keys())
      if (/^gpu\d+_percent$/.test(key)) machine.push([key.split("_")[0], last(key), 100, (v) => v.toFixed(0) + " %"]);
    const lanes = m.lanes.filter((l) => l.pid || l.rows.n),
      now = m.now();
    return [
      rows.length ? h("section.doc-section", h("h2", "Shared out"), table(["resource", ">in use", ">of", ""], rows, "")) : "",
      h(
        "section.doc-section",
        h("h2", "Machine", h("span.dim", "when it was last measured")),
        table(
          ["", ">used", ">of", ""],
          machine
            .filter(([, v]) => v !== undefined)
            .map(([n, v, all, f]) =>
              h(
                "tr",
                h("td", n),
                h("td.right", f(v)),
                h("td.right", f(all)),
                h("td.bar-cell", meter(v / all, v / all > 0.9 ? ".warn" : "")),
              ),
            ),
          "No measurement yet: the machine is measured once a second while something runs.",
        ),
      ),
      h(
        "section.doc-section",
        h("h2", "Processes", h("span.dim", `${lanes.filter((l) => !Number.isFinite(l.went)).length} live of ${lanes.length}`)),
        table(
          ["process", "what", ">pid", ">tasks", ">busy", "", ">CPU", ">memory", "ended", ""],
          lanes.slice(0, 500).map((l) => {
            const life = Math.max(1e-9, (Number.isFinite(l.went) ? l.went : now) - (Number.isFinite(l.came) ? l.came : 0));
            return h(
              "tr",
              h("td.mono", "w" + l.id),
              h("td", l.what || "worker"),
              h("td.right", l.pid || "–"),
              h("td.right", count(l.rows.n)),
              h("td.right", percent(Math.min(1, l.busy / life))),
              h("td.bar-cell", meter(l.busy / life)),
              h("td.right", Number.isFinite(l.cpu) ? l.cpu.toFixed(0) + " %" : "–"),
              h("td.right", bytes(l.memory)),
              h("td.dim", Number.isFinite(l.went) ? `${clock(l.went, 0.1)} ${l.end || ""}` : ""),
              h(
                "td",
                m.live && l.pid && !Number.isFinite(l.went) && l.what.startsWith("worker")
                  ? h("button", { onclick: () => this.app.showStack(l.pid) }, "stack")
                  : "",
              ),
            );
          }),
          "",
        ),
      ),
    ];
  }
}

export class RunsPage extends TablePage {
  constructor(app) {
    super(app, "Runs");
    this.runs = null;
    this.other = null;
  }
  sign() {
    return [this.runs?.length, this.other?.run, this.other?.n, Math.floor(this.app.model.version / 10)].join("|");
  }
  async open() {
    this.signature = "";
    this.update();
    if (!this.app.isReport) {
      this.runs = (await this.app.getJson("/api/runs").catch(() => [])) || [];
      this.signature = "";
      this.update();
    }
  }
  draw(m) {
    if (this.app.isReport)
      return h("div.empty", "A report holds one run. ", h("code", "skate ui"), " shows all that are kept, and compares two.");
    if (!this.runs) return h("div.empty", "reading …");
    const list = table(
      ["run", "program", "started", ">lasted", ">size", "", ""],
      this.runs.map((r) =>
        h(
          "tr",
          h("td.mono", r.id, r.id === m.run ? h("span.accent", " shown") : ""),
          h("td.mono", programOf(r)),
          h("td", new Date((r.started_s || r.modified_s) * 1000).toLocaleString()),
          h("td.right", r.ended_s ? duration(r.ended_s - r.started_s) : h("span.accent", "not ended")),
          h("td.right", bytes(r.size_bytes)),
          h("td", r.id === m.run ? "" : h("button", { onclick: () => this.app.openRun(r.id) }, "open")),
          h(
            "td",
            r.id === m.run
              ? ""
              : h("button", { "aria-pressed": String(this.other?.run === r.id), onclick: () => this.compare(r.id) }, "compare"),
          ),
        ),
      ),
      "No run is kept.",
    );
    return [list, this.other ? this.comparison(m, this.other) : ""];
  }
  async compare(id) {
    this.other = await this.app.loadRun(id, () => {
      this.signature = "";
      this.update();
    });
    this.signature = "";
    this.update();
  }
  comparison(a, b) {
    const names = new Set([...a.functionByName.keys(), ...b.functionByName.keys()]),
      of = (m, n) => m.functions[m.functionByName.get(n)],
      rows = [...names]
        .map((name) => ({ name, x: of(a, name), y: of(b, name) }))
        .sort((p, q) => Math.abs((q.x?.sum || 0) - (q.y?.sum || 0)) - Math.abs((p.x?.sum || 0) - (p.y?.sum || 0)));
    const change = (x, y) => {
      if (!x || !y) return "–";
      const r = x / y;
      return Math.abs(r - 1) < 0.03 ? "same" : r < 1 ? `${(1 / r).toFixed(2)} × less` : `${r.toFixed(2)} × more`;
    };
    return h(
      "section.doc-section.comparison",
      h("h2", "This run against ", h("span.mono", b.run), h("span.dim", `${duration(a.tmax)} against ${duration(b.tmax)}`)),
      table(
        ["function", ">count", ">other", ">p50", ">other", ">p99", ">other", ">total", ">other", "total is"],
        rows
          .slice(0, 200)
          .map(({ name, x, y }) =>
            h(
              "tr",
              h("td", x ? h("i.swatch", { colour: cssRgb(colourOf(a, x.index)) }) : "", name),
              h("td.right", count(x?.count ?? 0)),
              h("td.right.dim", count(y?.count ?? 0)),
              h("td.right", duration(x?.quantile(0.5))),
              h("td.right.dim", duration(y?.quantile(0.5))),
              h("td.right", duration(x?.quantile(0.99))),
              h("td.right.dim", duration(y?.quantile(0.99))),
              h("td.right", duration(x?.sum)),
              h("td.right.dim", duration(y?.sum)),
              h("td", change(x?.sum, y?.sum)),
            ),
          ),
        "Neither ran a task.",
      ),
    );
  }
}
export const programOf = (record) => {
  const argv = record.argv || [];
  return argv.length
    ? argv
        .map((a, i) => (i ? a : a.split("/").pop()))
        .join(" ")
        .slice(0, 80)
    : record.entrypoint || "";
};

// The whole run in sentences: what kept the workers from being busy, and what to do about it.
export class WhyPage extends TablePage {
  constructor(app) {
    super(app, "Why");
  }
  sign() {
    const m = this.app.model;
    return m.live ? `${m.version > 0}|${(performance.now() / 3000) | 0}` : `${m.version}`;
  } // The whole run is gone through.
  draw(m) {
    if (!m.n) return h("div.empty", "Nothing has run.");
    const now = m.now(),
      lanes = m.lanes.filter((l) => l.rows.n),
      busy = lanes.reduce((s, l) => s + l.busy, 0),
      span = Math.max(1e-9, now),
      findings = [],
      cpus = m.record.num_cpus || lanes.length,
      efficiency = busy / (span * cpus); // As in explain.py: of the cores.
    const blockedSum = m.blocked.d.a.subarray(0, m.blocked.d.n).reduce((s, x) => s + x, 0);
    const least = Math.min(...lanes.map((l) => l.busy)),
      most = Math.max(...lanes.map((l) => l.busy));
    for (const f of m.functions)
      if (f.count > 200 && f.quantile(0.5) < 1e-3)
        findings.push([
          f.sum,
          h(
            "span",
            h("b", f.name),
            ` runs ${count(f.count)} times for ${duration(f.quantile(0.5))} each: sending a task costs about as much. Give each task a batch of items, so that it runs for 10 ms or more.`,
          ),
        ]);
    for (const s of m.packed.values())
      if (s.count > 3 && s.kib * s.count > 4096)
        findings.push([
          s.seconds,
          h(
            "span",
            h("b.mono", s.site),
            ` serialized ${bytes(s.kib * 1024)} in ${count(s.count)} goes (${duration(s.seconds)}) for ${s.what}: if it is the same value, `,
            h("code", "skate.put"),
            " it once and pass the reference.",
          ),
        ]);
    if (m.spilledKib)
      findings.push([
        1e3,
        `${bytes(m.spilledKib * 1024)} were spilled to disk: raise object_store_memory, or drop references that are no longer needed.`,
      ]);
    if (blockedSum > 0.1 * busy)
      findings.push([
        blockedSum,
        `Tasks waited ${duration(blockedSum)} inside get or wait: pass references on as arguments instead, then nobody waits.`,
      ]);
    if (lanes.length > 1 && most > 2 * least && most > 0.2)
      findings.push([
        most - least,
        `The work is uneven: the busiest process worked ${duration(most)}, the idlest ${duration(least)}. Smaller tasks even it out.`,
      ]);
    if (m.failed)
      findings.push([
        m.failed,
        h(
          "span",
          m.failed === 1 ? "1 attempt failed. " : `${count(m.failed)} attempts failed. `,
          h("a", { href: "#/errors" }, "See why"),
        ),
      ]);
    if (efficiency < 0.5 && !findings.length)
      findings.push([
        0,
        `Processes were idle ${percent(1 - efficiency)} of the time and no task was slow to send: the program submits too little at a time, or waits for each result before it submits the next.`,
      ]);
    findings.sort((a, b) => b[0] - a[0]);
    const path = criticalPath(m);
    return [
      h(
        "section.doc-section.figures",
        h("h2", "The run in figures"),
        table(
          ["", ">"],
          [
            ["lasted", duration(span)],
            ["work done", duration(busy)],
            ["processes that worked", count(lanes.length)],
            ["CPUs", count(cpus)],
            ["parallel efficiency", percent(Math.min(1, efficiency))],
            ["speed-up over one process", (busy / span).toFixed(2) + " ×"],
            [
              "longest chain of dependencies",
              `${duration(path.seconds)} (${count(path.rows.length)} task${path.rows.length === 1 ? "" : "s"})`,
            ],
            ["speed-up that chain allows", path.seconds ? (busy / path.seconds).toFixed(1) + " ×" : "–"],
          ].map(([k, v]) => h("tr", h("td", k), h("td.right", v))),
          "",
        ),
      ),
      h(
        "section.doc-section",
        h("h2", "What to do"),
        findings.length
          ? h(
              "ul.why",
              findings.slice(0, 12).map(([, text]) => h("li", text)),
            )
          : h("div.dim", "Nothing stands out."),
      ),
      h(
        "section.doc-section",
        h("h2", "Longest chain", h("span.dim", "each needs the one before it")),
        path.rows.length > 1
          ? table(
              ["task", ">started", ">took", "process"],
              path.rows
                .slice(-60)
                .map((row) =>
                  h(
                    "tr.click",
                    { onclick: () => this.app.select(row) },
                    h("td", h("i.swatch", { colour: cssRgb(colourOf(m, m.F[row])) }), m.shortId(row)),
                    h("td.right", clock(m.S[row], 0.01)),
                    h("td.right", duration(m.duration(row))),
                    h("td.mono", "w" + m.lanes[m.L[row]].id),
                  ),
                ),
              "",
            )
          : h(
              "div.dim",
              m.needs.t.n
                ? "One task alone took longer than any chain of tasks that need each other."
                : "No task took the result of another.",
            ),
      ),
    ];
  }
}

// The chain of tasks, each needing the one before, with the longest run time; from the recorded dependencies. Tasks end before those that need them start.
export function criticalPath(m) {
  const c = m.needs,
    best = new Map(),
    from = new Map(),
    before = new Map();
  let end = -1,
    most = 0;
  for (let i = 0; i < c.t.n; i++) {
    const row = m.find(c.owner.a[i], c.number.a[i]),
      dep = m.find(c.depOwner.a[i], c.depNumber.a[i]);
    if (row >= 0 && dep >= 0) {
      if (!before.has(row)) before.set(row, []);
      before.get(row).push(dep);
    }
  }
  for (let i = 0; i < m.n; i++)
    if (m.duration(i) > most && !before.has(i)) {
      most = m.duration(i);
      end = i;
    }
  for (const row of [...before.keys()].sort((a, b) => m.S[a] - m.S[b])) {
    let top = 0,
      who = -1;
    for (const dep of before.get(row)) {
      const v = best.get(dep) ?? m.duration(dep);
      if (v > top) {
        top = v;
        who = dep;
      }
    }
    const v = top + m.duration(row);
    best.set(row, v);
    from.set(row, who);
    if (v > most) {
      most = v;
      end = row;
    }
  }
  const rows = [];
  for (let row = end; row >= 0 && rows.length < 100000; row = from.get(row) ?? -1) rows.unshift(row);
  return { seconds: most, rows };
}
export { table as makeTable, meter as makeMeter, TablePage };
