// A run in memory: rows of the run file (docs/architecture/run-file.md) in typed arrays, and what is counted while they come.
// Knows nothing of the page. Times are seconds since the run's first row, `t0Us` is that moment in µs since the epoch.

export const ROW_BYTES = 32;
export const KIND = {
  TASK: 1,
  CREATION: 2,
  CALL: 3,
  SUBMITTED: 4,
  NEEDS: 5,
  BLOCKED: 6,
  SPILLED: 7,
  RESTORED: 8,
  STORED: 9,
  FREED: 10,
  PACKED: 11,
  SAMPLE: 12,
  REPORT: 13,
  LANE: 14,
  ACTOR: 15,
  LOG: 16,
  DOCUMENT: 17,
  ERROR: 18,
  DROPPED: 19,
  ARGUMENT: 20,
};
export const STATES = ["running", "finished", "failed", "cancelled"];
export const TASK_KINDS = ["", "task", "creation", "call"];
export const ACTOR_STATES = ["pending", "alive", "restarting", "dead"];
const SEPARATOR = "\x1f",
  NO_STEP = 0xffffffff,
  OWN_BYTES = 0xffff,
  DURATION_BINS = 160;

// A column that grows. `a` is the array, `n` how much of it is used.
export class Column {
  constructor(Type, room = 1024) {
    this.a = new Type(room);
    this.n = 0;
  }
  push(value) {
    if (this.n === this.a.length) {
      const wider = new this.a.constructor(this.n * 2);
      wider.set(this.a);
      this.a = wider;
    }
    this.a[this.n++] = value;
  }
}

export class Series {
  constructor() {
    this.t = new Column(Float64Array, 256);
    this.v = new Column(Float64Array, 256);
    this.step = new Column(Float64Array, 256);
  }
  get n() {
    return this.t.n;
  }
  get last() {
    return this.n ? this.v.a[this.n - 1] : NaN;
  }
  add(t, value, step = NaN) {
    this.t.push(t);
    this.v.push(value);
    this.step.push(step);
  }
}

export class FunctionStats {
  constructor(name, index) {
    this.name = name;
    this.index = index;
    this.count = 0;
    this.failed = 0;
    this.cancelled = 0;
    this.running = 0;
    this.sum = 0;
    this.max = 0;
    this.bins = new Uint32Array(DURATION_BINS);
    this.recent = [];
  }
  add(duration, state) {
    this.count++;
    this.sum += duration;
    if (duration > this.max) this.max = duration;
    if (state === 2) this.failed++;
    else if (state === 3) this.cancelled++;
    this.bins[durationBin(duration)]++;
  }
  quantile(q) {
    let left = q * this.count;
    if (!this.count) return NaN;
    for (let i = 0; i < DURATION_BINS; i++) {
      left -= this.bins[i];
      if (left <= 0) return Math.min(this.max, 2 ** ((i + 0.5) / 4) * 1e-6);
    }
    return this.max;
  }
}
// Four bins to a doubling, from 1 µs: a quantile is right within 10 %.
const durationBin = (s) => (s <= 1e-6 ? 0 : Math.min(DURATION_BINS - 1, (Math.log2(s * 1e6) * 4) | 0));

export const keyOf = (owner, number) => owner * 4294967296 + number;

export class RunModel {
  constructor() {
    this.clear();
  }

  clear() {
    this.record = {};
    this.run = "";
    this.live = false;
    this.token = "";
    this.clockSkew = 0;
    this.t0Us = 0;
    this.tmax = 0;
    this.rows = 0;
    this.dropped = 0;
    this.drops = [];
    this.version = 0;
    this.n = 0;
    this.room = 1 << 16;
    this.S = new Float64Array(this.room);
    this.E = new Float64Array(this.room);
    this.F = new Uint16Array(this.room);
    this.L = new Uint16Array(this.room);
    this.T = new Uint8Array(this.room);
    this.K = new Uint8Array(this.room);
    this.A = new Uint16Array(this.room);
    this.OWNER = new Uint32Array(this.room);
    this.NUMBER = new Uint32Array(this.room);
    this.names = new Map([[0, "…"]]);
    this.functions = [];
    this.functionByName = new Map();
    this.functionById = new Map();
    this.lanes = [];
    this.laneById = new Map();
    this.running = new Map();
    this.failed = 0;
    this.finished = 0;
    this.samples = new Map();
    this.reports = new Map();
    this.actors = new Map();
    this.objects = new Map();
    this.packed = new Map();
    this.needs = {
      t: new Column(Float64Array),
      owner: new Column(Uint32Array),
      number: new Column(Uint32Array),
      depOwner: new Column(Uint32Array),
      depNumber: new Column(Uint32Array),
      index: new Column(Uint16Array),
      before: new Column(Int32Array),
    };
    this.needsByKey = new Map();
    this.needsDone = 0;
    this.arguments = {
      owner: new Column(Uint32Array),
      number: new Column(Uint32Array),
      index: new Column(Uint16Array),
      bytes: new Column(Uint32Array),
    };
    this.submitted = new Map();
    this.blocked = {
      t: new Column(Float64Array),
      d: new Column(Float64Array),
      lane: new Column(Uint16Array),
      owner: new Column(Uint32Array),
      number: new Column(Uint32Array),
    };
    this.moves = {
      t: new Column(Float64Array),
      kind: new Column(Uint8Array),
      kib: new Column(Float64Array),
      owner: new Column(Uint32Array),
      number: new Column(Uint32Array),
    };
    this.logs = [];
    this.logLines = 0;
    this.errors = [];
    this.documents = new Map();
    this.blobs = new Map();
    this.stored = 0;
    this.spilledKib = 0;
    this.byKey = new Map();
    this.byKeyDone = 0;
    this.restarts = 0;
  }

  hello(message) {
    this.record = message.record || {};
    this.run = message.run;
    this.live = message.live;
    this.token = message.token || "";
    this.clockSkew = message.now_us ? message.now_us / 1e6 - Date.now() / 1000 : 0;
    this.version++;
  }

  // The present, on the run's clock; the last row's time when it has ended.
  now() {
    return this.live && this.t0Us ? Math.max(this.tmax, Date.now() / 1000 + this.clockSkew - this.t0Us / 1e6) : this.tmax;
  }
  name(id) {
    return this.names.get(id) ?? "…";
  }

  // A piece of the stream: the header, then bytes of one of the run's files.
  addPiece(buffer) {
    const head = new DataView(buffer, 0, 8),
      kind = head.getUint8(0),
      segment = head.getUint16(2, true),
      offset = head.getUint32(4, true);
    if (kind === 1) this.addStrings(new Uint8Array(buffer, 8));
    else if (kind === 2) this.addBlob(segment, offset, new Uint8Array(buffer, 8));
    else if (kind === 3) this.addRows(buffer, 8);
  }

  addStrings(bytes) {
    if (this.partialString?.length) {
      const joined = new Uint8Array(this.partialString.length + bytes.length);
      joined.set(this.partialString);
      joined.set(bytes, this.partialString.length);
      bytes = joined;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
      decoder = new TextDecoder();
    let at = 0;
    while (at + 8 <= bytes.length) {
      const id = view.getUint32(at, true),
        size = view.getUint32(at + 4, true);
      if (at + 8 + size > bytes.length) break;
      this.names.set(id, decoder.decode(bytes.subarray(at + 8, at + 8 + size)));
      at += 8 + size;
    }
    this.partialString = bytes.slice(at);
  }

  addBlob(segment, offset, bytes) {
    let pieces = this.blobs.get(segment);
    if (!pieces) this.blobs.set(segment, (pieces = []));
    pieces.push({ offset, bytes });
  }

  // Bytes a row points to; null when they are not here (older than what was sent).
  blob(segment, offset, size) {
    const pieces = this.blobs.get(segment) || [];
    let lo = 0,
      hi = pieces.length - 1;
    while (lo < hi) {
      const mid = (lo + hi + 1) >> 1;
      if (pieces[mid].offset <= offset) lo = mid;
      else hi = mid - 1;
    }
    const piece = pieces[lo];
    if (!piece || piece.offset > offset) return null;
    const start = offset - piece.offset;
    if (start + size <= piece.bytes.length) return piece.bytes.subarray(start, start + size);
    const whole = new Uint8Array(size);
    for (let i = lo, done = 0; i < pieces.length && done < size; i++) {
      const from = offset + done - pieces[i].offset;
      if (from < 0 || from >= pieces[i].bytes.length) return null;
      const part = pieces[i].bytes.subarray(from, from + size - done);
      whole.set(part, done);
      done += part.length;
      if (done === size) return whole;
    }
    return null;
  }
  blobText(place) {
    const bytes = this.blob(place.segment, place.offset, place.size);
    return bytes ? new TextDecoder().decode(bytes) : null;
  }
  blobJson(place) {
    try {
      return JSON.parse(this.blobText(place));
    } catch {
      return null;
    }
  }

  functionOf(id) {
    let index = this.functionById.get(id);
    if (index === undefined) {
      const known = this.names.has(id),
        name = this.name(id);
      index = this.functionByName.get(name);
      if (index === undefined) {
        index = this.functions.length;
        this.functions.push(new FunctionStats(name, index));
        this.functionByName.set(name, index);
      }
      if (known) this.functionById.set(id, index);
    }
    return index;
  }

  laneOf(id) {
    let index = this.laneById.get(id);
    if (index === undefined) {
      index = this.lanes.length;
      this.laneById.set(id, index);
      this.lanes.push({
        id,
        index,
        rows: new Column(Int32Array, 256),
        starts: new Column(Float64Array, 256),
        ends: new Column(Float64Array, 256),
        looks: new Column(Uint32Array, 256),
        maxDuration: 0,
        busy: 0,
        pid: 0,
        what: "",
        came: NaN,
        went: NaN,
        cpu: NaN,
        memory: NaN,
        blocked: new Column(Int32Array, 16),
      });
    }
    return index;
  }

  growTo(count) {
    if (count <= this.room) return;
    while (this.room < count) this.room *= 2;
    for (const key of ["S", "E", "F", "L", "T", "K", "A", "OWNER", "NUMBER"]) {
      const wider = new this[key].constructor(this.room);
      wider.set(this[key]);
      this[key] = wider;
    }
  }

  addRows(buffer, start = 0) {
    const count = ((buffer.byteLength - start) / ROW_BYTES) | 0;
    // Offsets are multiples of 8: whole words are read, several times as fast as through a DataView. (Little endian, as all browsers' machines.)
    const f64 = new Float64Array(buffer, start, count * 4),
      u32 = new Uint32Array(buffer, start, count * 8);
    this.growTo(this.n + count);
    if (!this.t0Us && count) {
      this.t0Us = f64[1];
      for (let i = 0; i < count; i++) if (f64[i * 4 + 1] < this.t0Us) this.t0Us = f64[i * 4 + 1];
    }
    for (let i = 0; i < count; i++) {
      const w = i * 8,
        head = u32[w],
        kind = head & 0xff,
        t = (f64[i * 4 + 1] - this.t0Us) * 1e-6;
      if (kind >= 1 && kind <= 3) {
        const stateByte = (head >>> 8) & 0xff,
          duration = u32[w + 7] * (stateByte & 0x80 ? 1e-3 : 1e-6);
        this.addAttempt(kind, stateByte & 0x7f, head >>> 16, u32[w + 1], t, u32[w + 4], u32[w + 5], u32[w + 6], duration);
      } else this.addOther(kind, (head >>> 8) & 0xff, head >>> 16, u32[w + 1], t, u32, f64, w);
      if (t > this.tmax) this.tmax = t;
    }
    this.rows += count;
    this.version++;
  }

  addAttempt(kind, state, attempt, laneId, t, nameId, owner, number, duration) {
    const lane = this.laneOf(laneId),
      end = t + duration;
    let row = -1;
    const isWatched = this.running.size > 0 || state === 0, // Most attempts are over before anybody heard of them.
      key = isWatched ? owner + ":" + number + ":" + attempt : "";
    if (isWatched) row = this.running.get(key) ?? -1;
    if (row < 0) {
      this.growTo(this.n + 1);
      row = this.n++;
    } else if (state === 0) return;
    const fn = this.functionOf(nameId);
    this.S[row] = t;
    this.E[row] = state === 0 ? Infinity : end;
    this.F[row] = fn;
    this.L[row] = lane;
    this.T[row] = state;
    this.K[row] = kind;
    this.A[row] = attempt;
    this.OWNER[row] = owner;
    this.NUMBER[row] = number;
    const stats = this.functions[fn];
    if (state === 0) {
      this.running.set(key, row);
      stats.running++;
      return;
    }
    if (isWatched && this.running.delete(key)) stats.running--;
    if (end > this.tmax) this.tmax = end;
    const one = this.lanes[lane];
    // What is drawn of a row lies once more here, lane by lane: drawing half a million reads memory in order (108 ms a frame without, see benchmarks/results).
    one.rows.push(row);
    one.starts.push(t);
    one.ends.push(end);
    one.looks.push((fn << 1) | (state === 2 ? 1 : 0));
    one.busy += duration;
    if (duration > one.maxDuration) one.maxDuration = duration;
    stats.add(duration, state);
    if (state === 2) this.failed++;
    else if (state === 1) this.finished++;
  }

  addOther(kind, state, attempt, laneId, t, u32, f64, w) {
    const name = u32[w + 4],
      owner = u32[w + 5],
      number = u32[w + 6],
      last = u32[w + 7],
      value = f64[w / 2 + 3];
    switch (kind) {
      case KIND.SUBMITTED: {
        let marks = this.submitted.get(owner);
        if (!marks) this.submitted.set(owner, (marks = { t: new Column(Float64Array), number: new Column(Uint32Array) }));
        marks.t.push(t);
        marks.number.push(number);
        break;
      }
      case KIND.ARGUMENT: {
        const c = this.arguments;
        c.owner.push(owner);
        c.number.push(number);
        c.index.push(attempt);
        c.bytes.push(last);
        break;
      }
      case KIND.NEEDS: {
        const c = this.needs;
        c.t.push(t);
        c.owner.push(owner);
        c.number.push(number);
        c.depOwner.push(laneId);
        c.depNumber.push(name);
        c.index.push(attempt);
        break;
      }
      case KIND.BLOCKED: {
        const c = this.blocked,
          lane = this.laneOf(laneId);
        c.t.push(t);
        c.d.push(last * (state & 0x80 ? 1e-3 : 1e-6));
        c.lane.push(lane);
        c.owner.push(owner);
        c.number.push(number);
        this.lanes[lane].blocked.push(c.t.n - 1);
        break;
      }
      case KIND.SPILLED:
      case KIND.RESTORED:
      case KIND.STORED:
      case KIND.FREED:
        this.addObject(kind, attempt, laneId, t, name, owner, number);
        break;
      case KIND.PACKED: {
        const site = this.name(name);
        let p = this.packed.get(site);
        if (!p) this.packed.set(site, (p = { site, what: this.name(owner), count: 0, kib: 0, seconds: 0 }));
        p.count++;
        p.kib += number;
        p.seconds += last * (state & 0x80 ? 1e-3 : 1e-6);
        break;
      }
      case KIND.SAMPLE:
        this.addSample(laneId, this.name(name), t, value);
        break;
      case KIND.REPORT: {
        const [run, metric] = this.name(name).split(SEPARATOR);
        let metrics = this.reports.get(run);
        if (!metrics) this.reports.set(run, (metrics = new Map()));
        if (!metrics.has(metric)) metrics.set(metric, new Series());
        metrics.get(metric).add(t, value, owner === NO_STEP ? NaN : owner);
        break;
      }
      case KIND.LANE: {
        const lane = this.lanes[this.laneOf(laneId)];
        if (state === 0) {
          lane.came = t;
          lane.pid = number;
          lane.what = this.name(name);
        } else {
          lane.went = t;
          lane.end = this.name(name);
        }
        break;
      }
      case KIND.ACTOR: {
        const key = keyOf(owner, number);
        let actor = this.actors.get(key);
        if (!actor)
          this.actors.set(
            key,
            (actor = {
              owner,
              number,
              name: this.name(name),
              lane: this.laneOf(laneId),
              state: 0,
              restarts: 0,
              since: t,
              why: "",
            }),
          );
        if (state === 3) actor.why = this.name(name);
        else actor.name = this.name(name);
        actor.state = state & 0x7f;
        actor.restarts = Math.max(actor.restarts, attempt);
        actor.changed = t;
        if (state === 1) actor.lane = this.laneOf(laneId);
        break;
      }
      case KIND.LOG: {
        this.logs.push({
          t,
          lane: this.laneOf(laneId),
          label: this.name(name),
          stream: state,
          segment: attempt,
          offset: number,
          size: last,
          lines: owner,
          first: this.logLines,
        });
        this.logLines += owner;
        break;
      }
      case KIND.DOCUMENT: {
        const full = this.name(name),
          cut = full.indexOf(SEPARATOR);
        this.documents.set(full, {
          kind: full.slice(0, cut),
          key: full.slice(cut + 1),
          t,
          segment: attempt,
          offset: number,
          size: last,
        });
        break;
      }
      case KIND.ERROR:
        this.errors.push({
          t,
          lane: this.laneOf(laneId),
          type: this.name(name),
          segment: attempt,
          offset: number,
          size: last,
          doc: null,
        });
        break;
      case KIND.DROPPED:
        this.dropped += number;
        this.drops.push({ t, count: number, what: this.name(name) });
        break;
    }
  }

  addSample(laneId, name, t, value) {
    const key = laneId ? laneId + "/" + name : name;
    let series = this.samples.get(key);
    if (!series) this.samples.set(key, (series = new Series()));
    series.add(t, value);
    if (laneId) {
      const lane = this.lanes[this.laneOf(laneId)];
      if (name === "cpu_percent") lane.cpu = value;
      else if (name === "memory_bytes") lane.memory = value;
    }
  }

  addObject(kind, index, laneId, t, kib, owner, number) {
    const key = owner + ":" + number + ":" + index;
    let object = this.objects.get(key);
    if (!object)
      this.objects.set(
        key,
        (object = { owner, number, index, kib, lane: this.laneOf(laneId), stored: t, state: "stored", spills: 0, freed: NaN }),
      );
    if (kind === KIND.STORED) {
      object.kib = kib;
      object.stored = t;
      object.state = "stored";
      object.lane = this.laneOf(laneId);
    } else if (kind === KIND.FREED) {
      object.state = "freed";
      object.freed = t;
    } else {
      object.state = kind === KIND.SPILLED ? "spilled" : "stored";
      if (kind === KIND.SPILLED) {
        object.spills++;
        this.spilledKib += kib;
      }
      object.kib ||= kib;
    }
    if (kind !== KIND.FREED) {
      this.moves.t.push(t);
      this.moves.kind.push(kind);
      this.moves.kib.push(kib);
      this.moves.owner.push(owner);
      this.moves.number.push(number);
    }
  }

  // The last attempt of a task; -1: not recorded.
  find(owner, number) {
    for (; this.byKeyDone < this.n; this.byKeyDone++)
      this.byKey.set(keyOf(this.OWNER[this.byKeyDone], this.NUMBER[this.byKeyDone]), this.byKeyDone);
    return this.byKey.get(keyOf(owner, number)) ?? -1;
  }
  attempts(owner, number) {
    const found = [];
    for (let i = 0; i < this.n; i++) if (this.NUMBER[i] === number && this.OWNER[i] === owner) found.push(i);
    return found;
  }
  // A task's last row of `needs`; `before` leads to the others. Indexed when asked: most runs are never asked.
  lastNeed(owner, number) {
    const c = this.needs;
    for (; this.needsDone < c.t.n; this.needsDone++) {
      const key = keyOf(c.owner.a[this.needsDone], c.number.a[this.needsDone]);
      c.before.push(this.needsByKey.get(key) ?? -1);
      this.needsByKey.set(key, this.needsDone);
    }
    return this.needsByKey.get(keyOf(owner, number)) ?? -1;
  }
  dependencies(owner, number) {
    const c = this.needs,
      found = [];
    for (let i = this.lastNeed(owner, number); i >= 0; i = c.before.a[i])
      found.push({ owner: c.depOwner.a[i], number: c.depNumber.a[i], index: c.index.a[i], t: c.t.a[i] });
    return found.reverse();
  }
  // Bytes that travelled with a task's call: by the place of the argument among those it needs, and `own` for all that was no ref. Looked for when asked.
  argumentBytes(owner, number) {
    const c = this.arguments,
      found = { own: 0, refs: [] };
    for (let i = 0; i < c.owner.n; i++)
      if (c.number.a[i] === number && c.owner.a[i] === owner) {
        if (c.index.a[i] === OWN_BYTES) found.own = c.bytes.a[i];
        else found.refs[c.index.a[i]] = c.bytes.a[i];
      }
    return found;
  }
  dependents(owner, number) {
    const c = this.needs,
      found = [];
    for (let i = 0; i < c.t.n; i++)
      if (c.depNumber.a[i] === number && c.depOwner.a[i] === owner) found.push({ owner: c.owner.a[i], number: c.number.a[i] });
    return found;
  }
  // When a task was submitted, to about a millisecond: between two marks of its owner, as far as its number is between theirs. NaN: not known.
  submittedAt(owner, number) {
    const need = this.lastNeed(owner, number);
    if (need >= 0) return this.needs.t.a[need];
    const marks = this.submitted.get(owner);
    if (!marks) return NaN;
    let lo = 0,
      hi = marks.t.n;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (marks.number.a[mid] <= number) lo = mid + 1;
      else hi = mid;
    }
    if (lo === marks.t.n) return NaN;
    let t = marks.t.a[lo];
    if (lo) {
      const n0 = marks.number.a[lo - 1],
        t0 = marks.t.a[lo - 1];
      t = t0 + (t - t0) * Math.min(1, (number - n0 + 1) / Math.max(1, marks.number.a[lo] - n0));
    }
    const row = this.find(owner, number);
    return row >= 0 ? Math.min(t, this.S[row]) : t;
  }
  errorOf(owner, number) {
    for (let i = this.errors.length - 1; i >= 0; i--) {
      const doc = this.errorDocument(this.errors[i]);
      if (doc && doc.owner === owner && doc.number === number) return this.errors[i];
    }
    return null;
  }
  errorDocument(error) {
    return (error.doc ??= normalError(this.blobJson(error)));
  }
  // As the commands name a task: square-12, or square-3.12 when worker 3 submitted it.
  shortId(row) {
    return this.labelOf(this.OWNER[row], this.NUMBER[row], row);
  }
  labelOf(owner, number, row = this.find(owner, number)) {
    const lane = this.laneById.get(owner),
      byWorker = lane !== undefined && this.lanes[lane].what.startsWith("worker");
    return `${row < 0 ? "task" : this.functions[this.F[row]].name}-${byWorker ? owner + "." : ""}${number}`;
  }
  duration(row) {
    return (this.T[row] ? this.E[row] : this.now()) - this.S[row];
  }
}

function normalError(doc) {
  if (!doc) return doc;
  const id = doc.task || doc.task_id;
  if (doc.owner === undefined && typeof id === "string" && id.length >= 32) {
    doc.owner = parseInt(id.slice(8, 16), 16);
    doc.number = parseInt(id.slice(24, 32), 16);
  }
  return doc;
}
