// The panel of one task: what it was, why it took its time, what it needed, how it failed, what it printed.

import { h, fill } from "./dom.js";
import { STATES, TASK_KINDS } from "./model.js";
import { explainTask, phases } from "./why.js";
import { bytes, clock, colourOf, cssRgb, duration } from "./theme.js";

export class Detail {
  constructor(app) {
    this.app = app;
    this.row = -1;
    this.element = h("aside.detail", { hidden: true, "aria-label": "task" });
  }

  show(row) {
    this.row = row;
    this.element.hidden = row < 0;
    this.signature = "";
    this.stack = "";
    if (row >= 0) {
      this.update();
      this.element.scrollTop = 0;
    }
  }

  update() {
    const m = this.app.model,
      row = this.row;
    if (row < 0 || row >= m.n) return;
    const signature = [
      row,
      m.T[row],
      m.needs.t.n,
      m.arguments.owner.n,
      m.errors.length,
      m.logs.length,
      this.stack,
      m.T[row] ? 0 : Math.floor(m.now()),
    ].join();
    if (signature === this.signature) return;
    this.signature = signature;
    const owner = m.OWNER[row],
      number = m.NUMBER[row],
      fn = m.functions[m.F[row]],
      colour = cssRgb(colourOf(m, m.F[row])),
      lane = m.lanes[m.L[row]],
      app = this.app;
    const actions = [
      h(
        "button",
        {
          onclick: () => {
            location.hash = "#/live";
            app.timeline.showRow(row);
          },
        },
        "in timeline",
      ),
    ];
    if (m.live && m.T[row] === 0) {
      actions.push(
        h("button", { onclick: () => this.askStack(lane.pid) }, "live stack"),
        h("button.danger", { onclick: () => app.act("cancel", { owner, number }, `cancel ${fn.name} #${number}?`) }, "cancel"),
      );
      actions.push(
        h(
          "button.danger",
          {
            onclick: () =>
              app.act(
                "kill-worker",
                { pid: lane.pid },
                `kill worker ${lane.id} (pid ${lane.pid})? Its tasks fail or are retried.`,
              ),
          },
          "kill worker",
        ),
      );
    }
    fill(
      this.element,
      h(
        "div.head",
        h("i.swatch", { colour }),
        h("b", fn.name),
        h("button", { "aria-label": "close", onclick: () => app.select(-1) }, "✕"),
      ),
      h(
        "section.block",
        h(
          "dl",
          ...pair(
            "state",
            h("span.state-" + STATES[m.T[row]], STATES[m.T[row]] + (m.A[row] ? ` · attempt ${m.A[row] + 1}` : "")),
          ),
          ...pair("took", duration(m.duration(row)) + (m.T[row] ? "" : " so far")),
          ...pair("started", `${clock(m.S[row], 0.001)} · ${wallTime(m, m.S[row])}`),
          ...pair("ran on", `worker ${lane.id}${lane.pid ? " · pid " + lane.pid : ""}`),
          ...pair("is", `${TASK_KINDS[m.K[row]]} #${number} of process ${owner}`),
        ),
      ),
      h("section.block", h("div.actions", actions)),
      this.stack ? h("section.block", h("h2", "Stack now"), h("pre", this.stack)) : null,
      this.why(row, colour),
      this.failure(owner, number),
      this.attempts(owner, number),
      this.arguments(owner, number),
      this.results(owner, number),
      this.links("Needed by", m.dependents(owner, number)),
      this.logs(row),
    );
  }

  why(row, colour) {
    const m = this.app.model,
      steps = explainTask(m, m.OWNER[row], m.NUMBER[row]),
      { wait, run, block } = phases(m, row),
      total = Math.max(wait + run + block, 1e-9);
    const part = (name, value) => {
      const i = h("i." + name, { title: `${name} ${duration(value)}` });
      i.style.width = (100 * value) / total + "%";
      return i;
    };
    const bar = h("div.phases", { colour }, part("wait", wait), part("run", run), part("block", block));
    bar.style.setProperty("--c", colour);
    return h(
      "section.block.why-panel",
      h("h2", "Why it took this long"),
      bar,
      h(
        "ul.why",
        steps.map(([, text]) => h("li", text)),
      ),
    );
  }

  failure(owner, number) {
    const m = this.app.model,
      error = m.errorOf(owner, number);
    if (!error) return null;
    const doc = error.doc;
    return h(
      "section.block",
      h("h2.fail", `${doc.type || error.type}: ${doc.message || ""}`),
      h("pre", doc.traceback || "no traceback was kept"),
      h("div.dim", "again, here, under a debugger: ", h("code", `skate debug ${m.shortId(this.row)}`)),
    );
  }

  attempts(owner, number) {
    const m = this.app.model,
      rows = m.attempts(owner, number);
    if (rows.length < 2) return null;
    return h(
      "section.block",
      h("h2", "Attempts"),
      h(
        "table",
        rows.map((r) =>
          h(
            "tr.click",
            { onclick: () => this.app.select(r) },
            h("td", m.A[r] + 1),
            h("td.state-" + STATES[m.T[r]], STATES[m.T[r]]),
            h("td", "w" + m.lanes[m.L[r]].id),
            h("td.right", clock(m.S[r], 0.01)),
            h("td.right", duration(m.duration(r))),
          ),
        ),
      ),
    );
  }

  arguments(owner, number) {
    const m = this.app.model,
      { own, refs } = m.argumentBytes(owner, number),
      needs = m.dependencies(owner, number);
    const rest = own ? h("p.dim", `values written in the call: ${bytes(own)}`) : null;
    return this.links("Arguments", needs, refs, rest) || (rest ? h("section.block", h("h2", "Arguments"), rest) : null);
  }

  // Tasks whose results this one took, or that took its result; `sizes`: of those that travelled with the call.
  links(title, tasks, sizes = null, rest = null) {
    const m = this.app.model;
    if (!tasks.length) return null;
    return h(
      "section.block",
      h("h2", title, h("span.dim", tasks.length)),
      h(
        "table",
        tasks.slice(0, 50).map((d, i) => {
          const r = m.find(d.owner, d.number),
            object = m.objects.get(`${d.owner}:${d.number}:${d.index ?? 0}`) || m.objects.get(`${d.owner}:${d.number}:1`);
          return h(
            "tr.click",
            { onclick: () => r >= 0 && this.app.select(r) },
            h("td", r >= 0 ? [h("i.swatch", { colour: cssRgb(colourOf(m, m.F[r])) }), m.functions[m.F[r]].name] : "put"),
            h("td.dim", "#" + d.number),
            sizes && [
              h("td.right", object ? bytes(object.kib * 1024) : sizes[i] ? bytes(sizes[i]) : "small"),
              h("td.dim", object ? "stored" : "in call"),
            ],
            h(
              "td.right",
              object?.spills ? h("span.warn", "spilled ") : null,
              r >= 0 ? [h("span.dim", "w" + m.lanes[m.L[r]].id), " ", duration(m.duration(r))] : "",
            ),
          );
        }),
      ),
      rest,
    );
  }

  results(owner, number) {
    const found = [];
    for (let i = 0; i < 4; i++) {
      const o = this.app.model.objects.get(`${owner}:${number}:${i}`);
      if (o) found.push(o);
    }
    return found.length
      ? h(
          "section.block",
          h("h2", "Result"),
          h(
            "table",
            found.map((o) =>
              h(
                "tr",
                h("td", `return ${o.index}`),
                h("td.right", bytes(o.kib * 1024)),
                h("td.state-" + o.state, o.state + (o.spills > 1 ? ` (spilled ${o.spills}×)` : "")),
              ),
            ),
          ),
        )
      : null;
  }

  logs(row) {
    const m = this.app.model,
      from = m.S[row] - 0.002,
      to = (m.T[row] ? m.E[row] : m.now()) + 0.25,
      lines = [];
    for (let i = m.logs.length - 1; i >= 0 && lines.length < 40; i--) {
      const log = m.logs[i];
      if (log.t < from) break;
      if (log.lane === m.L[row] && log.t <= to) lines.unshift(...(m.blobText(log) ?? "…").trimEnd().split("\n"));
    }
    return lines.length
      ? h("section.block", h("h2", "Printed meanwhile", h("span.dim", "by this worker")), h("pre", lines.slice(-40).join("\n")))
      : null;
  }

  async askStack(pid) {
    const answer = await this.app.act("stack", { pid });
    if (!answer) return;
    this.stack = Object.values(answer.answer || {}).join("\n") || "the worker did not answer within 2 s";
    this.signature = "";
    this.update();
  }
}

const pair = (term, value) => [h("dt", term), h("dd", value)];
const wallTime = (m, t) => new Date(m.t0Us / 1000 + t * 1000).toLocaleTimeString();
