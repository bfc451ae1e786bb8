// The query of the Tasks page and the timeline's filter: words that all must hold.
//
//   fn:train        function's name contains "train"        -fn:train   …does not
//   state:failed    running finished failed cancelled       kind:call   task creation call
//   lane:3  w:3     the process                             id:1234     the task's number
//   >100ms  <2s     duration; µs us ms s m                  at:12-30    ran between these seconds
//   word            name contains it

import { STATES, TASK_KINDS } from "./model.js";

const UNITS = { µs: 1e-6, us: 1e-6, ms: 1e-3, s: 1, m: 60, min: 60 };

export class QueryError extends Error {}

// A test of rows of the model; null when the query is empty.
export function parseQuery(text, model) {
  const tests = [];
  for (const raw of text.trim().split(/\s+/)) {
    if (!raw) continue;
    const negated = raw.startsWith("-") && raw.length > 1,
      word = negated ? raw.slice(1) : raw;
    const test = parseWord(word, model);
    tests.push(negated ? (i) => !test(i) : test);
  }
  if (!tests.length) return null;
  if (tests.length === 1) return tests[0];
  return (i) => {
    for (const test of tests) if (!test(i)) return false;
    return true;
  };
}

function parseWord(word, model) {
  const span = word.match(/^(?:dur(?:ation)?:?)?([<>])([\d.]+)(µs|us|ms|min|s|m)?$/);
  if (span) {
    const limit = parseFloat(span[2]) * UNITS[span[3] || "s"],
      more = span[1] === ">";
    if (!Number.isFinite(limit)) throw new QueryError(`${word}: write a number and a unit, such as >100ms`);
    return (i) => model.duration(i) > limit === more;
  }
  const cut = word.indexOf(":"),
    key = cut > 0 ? word.slice(0, cut).toLowerCase() : "",
    value = cut > 0 ? word.slice(cut + 1) : word;
  switch (key) {
    case "fn":
    case "name":
    case "function":
      return byName(value, model);
    case "state":
    case "is": {
      const wanted = STATES.map((s) => (value.split(",").some((v) => v && s.startsWith(v.toLowerCase())) ? 1 : 0));
      if (!wanted.some(Boolean)) throw new QueryError(`state:${value}: there are ${STATES.join(", ")}`);
      return (i) => wanted[model.T[i]] === 1;
    }
    case "kind": {
      const k = TASK_KINDS.findIndex((s) => s && s.startsWith(value.toLowerCase()));
      if (k < 1 || !value) throw new QueryError(`kind:${value}: there are task, creation, call`);
      return (i) => model.K[i] === k;
    }
    case "lane":
    case "w":
    case "worker": {
      const n = parseInt(value.replace(/^w/, ""), 10);
      return (i) => model.lanes[model.L[i]].id === n;
    }
    case "pid": {
      const pid = parseInt(value, 10);
      return (i) => model.lanes[model.L[i]].pid === pid;
    }
    case "id": {
      const n = parseInt(value.split("-").pop(), 10);
      return (i) => model.NUMBER[i] === n;
    }
    case "attempt": {
      const n = parseInt(value, 10);
      return (i) => model.A[i] === n;
    }
    case "at": {
      const [a, b = a] = value.split("-").map(parseFloat);
      if (!Number.isFinite(a) || !Number.isFinite(b)) throw new QueryError(`at:${value}: write seconds, such as at:12-30`);
      return (i) => model.S[i] <= b && model.S[i] + model.duration(i) >= a;
    }
    case "":
      break;
    default:
      if (/^[a-z]+$/.test(key))
        throw new QueryError(`${key}: is not a field; there are fn state kind lane pid id attempt at, >100ms`);
  }
  return byName(word, model);
}

// Which functions fit is looked up per function, once: a row costs one array access. New functions are judged when they come.
function byName(text, model) {
  const wanted = text.toLowerCase(),
    fits = [];
  return (i) => (fits[model.F[i]] ??= model.functions[model.F[i]].name.toLowerCase().includes(wanted));
}

// The rows that fit, newest last; goes on where it stopped when rows have come.
export class QueryResult {
  constructor(model) {
    this.model = model;
    this.text = "";
    this.test = null;
    this.rows = new Int32Array(1024);
    this.count = 0;
    this.done = 0;
    this.error = "";
  }
  set(text) {
    this.text = text;
    this.count = 0;
    this.done = 0;
    this.error = "";
    try {
      this.test = parseQuery(text, this.model);
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      this.error = error.message;
      this.test = () => false;
    }
    this.update();
  }
  update() {
    const { model, test } = this;
    if (!test) {
      this.count = this.done = model.n;
      return;
    }
    for (let i = this.done; i < model.n; i++)
      if (test(i)) {
        if (this.count === this.rows.length) {
          const wider = new Int32Array(this.count * 2);
          wider.set(this.rows);
          this.rows = wider;
        }
        this.rows[this.count++] = i;
      }
    this.done = model.n;
  }
  at(i) {
    return this.test ? this.rows[i] : i;
  }
}
