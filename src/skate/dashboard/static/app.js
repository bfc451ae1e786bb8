// The shell: connection, pages, keys. Everything that lasts hangs on `App`; a page's address is #/name?q=query.

import { $, h, fill } from "./dom.js";
import { RunModel } from "./model.js";
import { Timeline } from "./timeline.js";
import { Detail } from "./detail.js";
import {
  ActorsPage,
  ErrorsPage,
  LivePage,
  LogsPage,
  ObjectsPage,
  ResourcesPage,
  RunsPage,
  TasksPage,
  WhyPage,
  programOf,
} from "./pages.js";
import { TrainingPage } from "./training.js";
import { DocumentPage, documentTitle } from "./documents.js";
import { parseQuery, QueryError } from "./query.js";
import { explainTask } from "./why.js";
import { bytes, colourOf, count, duration, setTheme } from "./theme.js";

const PAGES = [
  ["live", "Timeline", LivePage],
  ["tasks", "Tasks", TasksPage],
  ["actors", "Actors", ActorsPage],
  ["objects", "Objects", ObjectsPage],
  ["logs", "Logs", LogsPage],
  ["errors", "Errors", ErrorsPage],
  ["training", "Training", TrainingPage],
  ["why", "Why", WhyPage],
  ["resources", "Resources", ResourcesPage],
  ["runs", "Runs", RunsPage],
];
const KEYS = [
  ["/", "search"],
  ["1 … 9", "pages"],
  ["W S", "zoom in, out"],
  ["A D", "move"],
  ["F", "fit the whole run"],
  ["L", "follow the present"],
  ["N P", "next, previous task of the process"],
  ["J K", "move in a table"],
  ["Esc", "close, clear"],
  ["T", "dark or light"],
  ["?", "this list"],
];

class Cursor {
  constructor() {
    this.t = null;
    this.listeners = [];
  }
  set(t) {
    if (t === this.t) return;
    this.t = t;
    for (const listener of this.listeners) listener(t);
  }
}

const BUSY_PERCENT = 90;

class App {
  constructor() {
    this.model = new RunModel();
    this.cursor = new Cursor();
    this.filterText = "";
    this.isReport = "report" in document.documentElement.dataset;
    this.live = {};
    this.liveVersion = 0;
    this.pages = new Map();
    this.ownPages = new Set();
    this.searchMs = 0;
    this.page = null;
    this.isConnected = false;
    this.wasFitted = false;
    this.last = { n: 0, t: 0, rate: 0 };
    this.timeline = new Timeline(this.model, this.cursor, (row) => this.select(row, false));
    this.cursor.listeners.push(() => {
      this.timeline.isDirty = true;
    });
    this.detail = new Detail(this);
    this.build();
    setTheme(this.saved("theme") || (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
    addEventListener("hashchange", () => this.route());
    addEventListener("keydown", (e) => this.onKey(e));
    this.route();
    this.frame = this.frame.bind(this);
    this.timer = 0;
    this.timeline.onDirty = () => this.wake();
    requestAnimationFrame(this.frame);
    if (this.isReport) this.openReport();
    else this.connect(new URLSearchParams(location.search).get("run") || "");
  }
  saved(key) {
    try {
      return localStorage.getItem("skate." + key);
    } catch {
      return null;
    }
  }
  save(key, value) {
    try {
      localStorage.setItem("skate." + key, value);
    } catch {
      /* a report opened from disk */
    }
  }

  build() {
    this.search = h("input", {
      type: "search",
      placeholder: "search   fn:train state:failed >100ms",
      spellcheck: "false",
      autocomplete: "off",
      "aria-label": "search tasks",
      oninput: () => this.setQuery(this.search.value),
    });
    this.runName = h("div.run-name");
    this.chips = h("div.chips");
    this.status = h("span.live-dot.dim");
    this.nav = h("nav", { "aria-label": "pages" });
    this.main = h("main");
    this.slot = h("div.slot");
    this.notice = h("div.note", { hidden: true, role: "status" });
    const logo = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    logo.setAttribute("viewBox", "0 0 32 32");
    logo.setAttribute("aria-hidden", "true");
    for (const [d, stroke] of [
      ["M3 20 16 6l13 14-13-4z", false],
      ["M16 17c0 5 2 8 6 10", true],
    ]) {
      const p = document.createElementNS("http://www.w3.org/2000/svg", "path");
      p.setAttribute("d", d);
      p.setAttribute("fill", stroke ? "none" : "currentColor");
      if (stroke) {
        p.setAttribute("stroke", "currentColor");
        p.setAttribute("stroke-width", "2.4");
        p.setAttribute("stroke-linecap", "round");
      }
      logo.append(p);
    }
    this.main.style.gridTemplateRows = "minmax(0, 1fr)";
    this.slot.style.cssText = "";
    fill(
      $("#app"),
      h(
        "header",
        h("div.brand", logo, h("span", "skate")),
        this.runName,
        this.chips,
        this.search,
        this.status,
        h("button.theme", { onclick: () => this.toggleTheme(), title: "T", "aria-label": "dark or light" }, "◐"),
      ),
      this.nav,
      this.main,
    );
    fill(this.main, this.slot, this.detail.element);
    this.slot.className = "page";
    this.drawNav();
  }
  drawNav() {
    const m = this.model,
      kinds = [...new Set([...m.documents.values()].map((d) => d.kind))].sort(),
      facts = {
        tasks: count(m.n),
        actors: m.actors.size || "",
        objects: m.objects.size ? count(m.objects.size) : "",
        logs: m.logLines ? count(m.logLines) : "",
        errors: m.failed ? count(m.failed) : "",
        training: m.reports.size || "",
      };
    const links = PAGES.filter(([key]) => !(this.isReport && ["runs", "resources"].includes(key))).map(([key, title]) => [
      key,
      title,
    ]);
    for (const kind of kinds) links.push(["page-" + kind, documentTitle(kind)]);
    const sign = JSON.stringify([links, facts, this.pageKey]);
    if (sign === this.navSign) return;
    this.navSign = sign;
    fill(
      this.nav,
      links.map(([key, title], i) => [
        i === 6 || i === 10 ? h("div.rule") : "",
        h(
          "a",
          { href: "#/" + key, "aria-current": this.pageKey === key ? "page" : null },
          title,
          h(key === "errors" ? "small.fail" : "small", facts[key] ?? ""),
        ),
      ]),
      h("div.keys", h("kbd", "?"), " keys"),
    );
  }

  // ---------------------------------------------------------------- pages

  route() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?"),
      key = path || "live",
      q = new URLSearchParams(query).get("q");
    if (q !== null) {
      this.search.value = q;
      this.filterText = q;
      this.applyFilter();
    }
    let page = this.pages.get(key);
    if (!page) {
      const known = PAGES.find(([k]) => k === key);
      page = known
        ? new known[2](this)
        : key.startsWith("page-")
          ? new DocumentPage(this, decodeURIComponent(key.slice(5)))
          : null;
      if (!page) {
        location.hash = "#/live";
        return;
      }
      this.pages.set(key, page);
    }
    this.pageKey = key;
    this.page = page;
    fill(this.slot, this.notice, page.element);
    page.element.style.flex = "1";
    document.title = `${documentTitleOf(key)} · skate`;
    this.lastLive = 0;
    page.open?.();
    this.drawNav();
  }
  setQuery(text) {
    this.filterText = text;
    this.applyFilter();
    if (this.page instanceof TasksPage) this.page.setQuery(text);
  }
  applyFilter() {
    let test = null,
      valid = true;
    try {
      test = parseQuery(this.filterText, this.model);
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      valid = false;
    }
    this.search.setAttribute("aria-invalid", String(!valid));
    this.timeline.filter = valid ? test : null;
    this.timeline.filterFits = null;
    if (test) {
      const only = this.filterText.match(/^fn:(\S+)$/);
      if (only) this.timeline.filterFits = (f) => this.model.functions[f].name.toLowerCase().includes(only[1].toLowerCase());
      else this.timeline.filterFits = () => true;
    }
    this.timeline.isDirty = true;
  }
  addToQuery(word) {
    const words = this.search.value.split(/\s+/).filter(Boolean);
    this.search.value = (words.includes(word) ? words.filter((w) => w !== word) : [...words, word]).join(" ");
    this.setQuery(this.search.value);
  }
  toggleFunction(name) {
    const word = "fn:" + name.replace(/\s.*/, "");
    this.search.value = this.search.value === word ? "" : word;
    this.setQuery(this.search.value);
    this.page?.update?.();
  }
  select(row, reveal = true) {
    this.timeline.selected = row;
    this.timeline.isDirty = true;
    this.detail.show(row ?? -1);
    const m = this.model;
    if (
      reveal &&
      row >= 0 &&
      this.timeline.element.isConnected &&
      (m.S[row] > this.timeline.to || m.S[row] + m.duration(row) < this.timeline.from)
    )
      this.timeline.showRow(row);
  }
  toggleTheme() {
    const next = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    setTheme(next);
    this.save("theme", next);
    this.timeline.isDirty = true;
    this.timeline.tipRow = -1;
    if (this.page) {
      this.page.signature = "";
      this.page.legendSign = "";
      this.page.update?.();
    }
  }
  say(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text;
  }

  onKey(event) {
    const inText = event.target.matches?.("input[type=search], input[type=text], select");
    if (event.key === "Escape") {
      if (this.help) {
        this.help.remove();
        this.help = null;
      } else if (inText) {
        if (event.target === this.search && this.search.value) {
          this.search.value = "";
          this.setQuery("");
        }
        event.target.blur();
      } else if (this.detail.row >= 0) this.select(-1);
      return;
    }
    if (event.key === "Enter" && event.target === this.search) {
      location.hash = "#/tasks?q=" + encodeURIComponent(this.search.value);
      return;
    }
    if (inText || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      this.search.focus();
      this.search.select();
    } else if (event.key === "?") this.showHelp();
    else if (event.key === "t") this.toggleTheme();
    else if (/^[1-9]$/.test(event.key)) {
      const link = this.nav.querySelectorAll("a")[event.key - 1];
      if (link) location.hash = link.getAttribute("href");
    } else if (this.timeline.element.isConnected && this.timeline.onKey(event.key)) this.page.update?.();
  }
  showHelp() {
    if (this.help) {
      this.help.remove();
      this.help = null;
      return;
    }
    this.help = h(
      "div.overlay",
      {
        onclick: () => {
          this.help.remove();
          this.help = null;
        },
      },
      h(
        "div",
        { role: "dialog", "aria-label": "keys" },
        h(
          "dl",
          KEYS.map(([k, t]) => [
            h(
              "dt",
              k.split(" ").map((x) => (x === "…" ? " … " : [h("kbd", x), " "])),
            ),
            h("dd", t),
          ]),
        ),
      ),
    );
    document.body.append(this.help);
  }

  // ---------------------------------------------------------------- data

  connect(run) {
    const socket = (this.socket = new WebSocket(`ws://${location.host}/ws${run ? "?run=" + encodeURIComponent(run) : ""}`));
    socket.binaryType = "arraybuffer";
    this.runWanted = run;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (typeof data === "string") this.hello(JSON.parse(data));
      else {
        this.model.addPiece(data);
        this.timeline.dirty = true;
      }
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      this.isConnected = false;
      this.model.live = false;
      this.say("The UI's process has gone; what came until now is still here.");
      setTimeout(() => {
        if (socket === this.socket) this.connect(run);
      }, 1500);
    };
  }
  hello(message) {
    if (!this.isConnected) {
      this.isConnected = true;
      this.model.clear();
      this.detail.show(-1);
      this.timeline.lanesVersion = -1;
      this.timeline.minimap = null;
      this.say("");
    }
    this.model.hello(message);
    for (const kind of message.pages || []) this.ownPages.add(kind);
    if (!this.model.live && this.timeline.follow) this.fitSoon = true;
  }
  openRun(id) {
    this.isConnected = false;
    this.fitSoon = true;
    this.socket.onclose = null;
    this.socket.close();
    history.replaceState(null, "", "?run=" + encodeURIComponent(id) + "#/live");
    this.connect(id);
    this.route();
  }
  // Another run, whole, beside this one.
  loadRun(id, onMore) {
    const model = new RunModel();
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://${location.host}/ws?run=${encodeURIComponent(id)}`);
      socket.binaryType = "arraybuffer";
      let timer = 0;
      const quiet = () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          onMore();
          if (!model.live) socket.close();
          resolve(model);
        }, 250);
      };
      socket.onmessage = ({ data }) => {
        if (typeof data === "string") model.hello(JSON.parse(data));
        else model.addPiece(data);
        quiet();
      };
      socket.onerror = () => reject(new Error("the run could not be read"));
    });
  }

  async openReport() {
    const raw = JSON.parse($("#report-data").textContent);
    const packed = Uint8Array.from(atob(raw.packed), (c) => c.charCodeAt(0));
    $("#report-data").textContent = "";
    const buffer = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer(),
      view = new DataView(buffer);
    this.isConnected = true;
    this.model.hello({ record: raw.record, run: raw.run, live: false });
    const stringsSize = view.getUint32(0, true),
      rows = view.getUint32(8, true);
    let at = 12;
    this.model.addStrings(new Uint8Array(buffer, at, stringsSize));
    at += stringsSize;
    for (const [segment, offset, size] of raw.blobs) {
      this.model.addBlob(segment, offset, new Uint8Array(buffer, at, size));
      at += size;
    }
    this.model.addRows(unpackRows(new Uint8Array(buffer, at), rows));
    this.model.dropped += raw.left_out || 0;
    this.fitSoon = true;
    this.route();
  }
  async getJson(path) {
    const response = await fetch(path);
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || response.statusText);
    return response.json();
  }
  liveRows(what) {
    return this.live[what] || [];
  }
  async refreshLive(what) {
    if (this.asking || !this.model.live) return;
    this.asking = true;
    try {
      this.live[what] = await this.getJson("/api/live/" + what);
      this.liveVersion++;
    } catch {
      /* the session ends; the file goes on */
    } finally {
      this.asking = false;
    }
  }
  async act(action, body, question) {
    if (question && !confirm(question)) return null;
    const response = await fetch("/api/do/" + action, {
        method: "POST",
        headers: { "content-type": "application/json", "x-skate-token": this.model.token },
        body: JSON.stringify(body),
      }),
      answer = await response.json().catch(() => ({ error: response.statusText }));
    this.say(response.ok ? "" : `${action}: ${answer.error}`);
    return response.ok ? answer : null;
  }
  async showStack(pid) {
    const answer = await this.act("stack", { pid });
    if (!answer) return;
    this.help?.remove();
    this.help = h(
      "div.overlay",
      {
        onclick: (e) => {
          if (e.target === this.help) {
            this.help.remove();
            this.help = null;
          }
        },
      },
      h(
        "div",
        { role: "dialog" },
        h("h2", "Stack of pid " + pid),
        h("pre", Object.values(answer.answer || {}).join("\n") || "no answer within 2 s"),
      ),
    );
    document.body.append(this.help);
  }

  // ---------------------------------------------------------------- drawing

  frame(now) {
    const m = this.model,
      timeline = this.timeline;
    if (this.fitSoon && m.n && m.version !== this.fitVersion) {
      this.fitVersion = m.version;
      timeline.fit();
      clearTimeout(this.fitTimer);
      this.fitTimer = setTimeout(() => {
        this.fitSoon = false;
      }, 1500);
    }
    // A living run moves even when nothing comes: time goes on. 30 frames a second are enough for that.
    if (m.live && timeline.follow && (m.running.size || now - (this.lastMove || 0) > 250) && now - (this.lastMove || 0) > 33) {
      this.lastMove = now;
      timeline.isDirty = true;
    }
    if (timeline.isDirty && timeline.element.isConnected && !document.hidden) timeline.draw();
    if (now - (this.lastSlow || 0) > 250 && !document.hidden) {
      this.lastSlow = now;
      this.slow(now);
    }
    // At once again while bars grow; ten times a second when none does, and when the machine has no CPU to spare for being looked at
    // (each frame costs the browser some 2 ms besides ours). What the user does wakes us at any time.
    const isSpared = (m.samples.get("cpu_percent")?.last ?? 0) > BUSY_PERCENT;
    if (m.live && m.running.size && !isSpared && timeline.element.isConnected) requestAnimationFrame(this.frame);
    else this.timer = setTimeout(() => this.wake(), 100);
  }
  wake() {
    if (!this.timer) return;
    clearTimeout(this.timer);
    this.timer = 0;
    requestAnimationFrame(this.frame);
  }
  slow(now) {
    const m = this.model,
      last = this.last;
    if (m.n !== last.n || now - last.t > 1000) {
      const dt = (now - last.t) / 1000;
      if (dt > 0.5) {
        last.rate = last.t ? (m.n - last.n) / dt : 0;
        last.n = m.n;
        last.t = now;
      }
    }
    const s = (k) => m.samples.get(k)?.last,
      cpu = s("cpu_percent"),
      memory = s("memory_bytes"),
      store = s("store_bytes"),
      facts = [
        ["tasks", count(m.n)],
        m.live ? ["per second", count(Math.max(0, last.rate))] : ["lasted", duration(m.tmax)],
        ["running", m.running.size],
        ["failed", h(m.failed ? "span.fail" : "span", count(m.failed))],
      ];
    if (cpu !== undefined) facts.push(["CPU", cpu.toFixed(0) + " %"]);
    if (memory !== undefined) facts.push(["memory", bytes(memory)]);
    if (store !== undefined) facts.push(["object store", bytes(store)]);
    if (m.dropped)
      facts.push([
        "not recorded",
        h(
          "span.warn",
          {
            title: m.drops
              .slice(-5)
              .map((d) => `${d.count} ${d.what}`)
              .join("\n"),
          },
          count(m.dropped),
        ),
      ]);
    const sign = facts.map(([k, v]) => k + (v.textContent ?? v)).join();
    if (sign !== this.chipSign) {
      this.chipSign = sign;
      fill(
        this.chips,
        facts.map(([k, v]) => h("div.chip", h("small", k), h("b", v))),
      );
    }
    const name = programOf(m.record) || m.run || "…";
    if (name + m.run !== this.nameSign) {
      this.nameSign = name + m.run;
      fill(this.runName, h("span.mono", { title: m.run }, name));
    }
    const state = this.isReport ? "report" : !this.isConnected ? "not connected" : m.live ? "live" : "ended";
    if (state !== this.stateSign) {
      this.stateSign = state;
      this.status.textContent = state;
      this.status.className = "live-dot " + (state === "live" ? "accent" : state === "not connected" ? "warn" : "dim");
      document.documentElement.dataset.state = state;
    }
    this.drawNav();
    if (this.page?.live && now - (this.lastLive || 0) > 1000) {
      this.lastLive = now;
      this.refreshLive(this.page.live);
    }
    this.page?.update?.();
    if (this.detail.row >= 0) this.detail.update();
  }
}
const documentTitleOf = (key) => PAGES.find(([k]) => k === key)?.[1] || documentTitle(key.replace("page-", ""));

// The report's rows: byte planes of columns, as differences to the row before (pack_rows in report.py), which deflate makes small.
function unpackRows(packed, count) {
  const widths = [4, 4, 8, 4, 4, 4, 4],
    out = new ArrayBuffer(count * 32),
    u32 = new Uint32Array(out),
    f64 = new Float64Array(out),
    before = new Uint32Array(256);
  let at = 0,
    timeUs = 0;
  const column = (width) => {
    const bytes = new Uint8Array(count * width);
    for (let b = 0; b < width; b++, at += count) for (let i = 0; i < count; i++) bytes[i * width + b] = packed[at + i];
    return new Uint32Array(bytes.buffer);
  };
  const [heads, lanes, times, names, owners, numbers, durations] = widths.map(column);
  for (let i = 0; i < count; i++) {
    const w = i * 8,
      kind = heads[i] & 0xff,
      zigzag = times[i * 2] + times[i * 2 + 1] * 4294967296;
    timeUs += zigzag % 2 ? -(zigzag + 1) / 2 : zigzag / 2;
    u32[w] = heads[i];
    u32[w + 1] = lanes[i];
    f64[w / 2 + 1] = timeUs;
    u32[w + 4] = names[i];
    u32[w + 5] = owners[i];
    u32[w + 7] = durations[i];
    u32[w + 6] = kind === 12 || kind === 13 ? numbers[i] : (before[kind] = before[kind] + numbers[i]);
  }
  return out;
}

App.colourOf = colourOf;
App.explainTask = explainTask; // For tests.
window.skateApp = new App();
