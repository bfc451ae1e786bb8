// Why a task ended when it did: the critical path to it, in words. Pure, over a RunModel. Steps are [seconds, text], the last stretch first.
//
// The rules and the words are those of dashboard/why.py, which says what they mean (a page must answer without a server: in the one-file report); a test in
// tests/browser holds both against each other, for one run of each kind.

import { KIND } from "./model.js";

const NOTICEABLE = 500e-6,
  STEPS_MAX = 30;

export function explainTask(m, owner, number) {
  const steps = [],
    seen = new Set();
  let key = { owner, number };
  while (!seen.has(key.owner + ":" + key.number) && steps.length < STEPS_MAX) {
    seen.add(key.owner + ":" + key.number);
    const row = m.find(key.owner, key.number),
      label = m.labelOf(key.owner, key.number),
      needs = m.dependencies(key.owner, key.number);
    if (row < 0) {
      steps.push([0, notRun(m, needs, label)]);
      const failed = needs.find((d) => hasFailed(m, d));
      if (!failed) break;
      key = failed;
      continue;
    }
    running(m, row, label, steps);
    const submitted = m.submittedAt(key.owner, key.number),
      isKnown = Number.isFinite(submitted);
    let last = -1;
    for (const d of needs) {
      const r = m.find(d.owner, d.number);
      if (r >= 0 && m.T[r] && (last < 0 || m.E[r] > m.E[last])) last = r;
    }
    const ready = isKnown ? (last >= 0 ? Math.max(submitted, m.E[last]) : submitted) : last >= 0 ? m.E[last] : m.S[row];
    waiting(m, row, label, needs, ready, steps);
    if (last >= 0 && (!isKnown || m.E[last] > submitted)) {
      const waited = m.E[last] - (isKnown ? submitted : m.S[last]);
      if (waited >= NOTICEABLE) steps.push([waited, `${label} waited ${words(waited)} for its argument from ${m.shortId(last)}`]);
      key = { owner: m.OWNER[last], number: m.NUMBER[last] };
      continue;
    }
    const parent = isKnown ? ranOn(m, key.owner, submitted) : -1;
    if (parent < 0 || seen.has(m.OWNER[parent] + ":" + m.NUMBER[parent])) {
      if (isKnown) steps.push([0, `${label} was submitted by the driver`]);
      break;
    }
    const after = submitted - m.S[parent];
    steps.push([after, `${label} was submitted by ${m.shortId(parent)}, ${words(after)} after its start`]);
    key = { owner: m.OWNER[parent], number: m.NUMBER[parent] };
  }
  return steps;
}

// How long a task waited before it ran, worked, and waited in get or wait: seconds.
export function phases(m, row) {
  const submitted = m.submittedAt(m.OWNER[row], m.NUMBER[row]),
    blocked = blockedFor(m, row);
  return {
    wait: Number.isFinite(submitted) ? Math.max(0, m.S[row] - submitted) : 0,
    run: Math.max(0, m.duration(row) - blocked),
    block: blocked,
  };
}

function running(m, row, label, steps) {
  const where = `on worker ${m.lanes[m.L[row]].id}`;
  if (!m.T[row]) {
    steps.push([0, `${label} is still running ${where}`]);
    return;
  }
  if (m.T[row] === 2) steps.push([0, `${label} failed (attempt ${m.A[row] + 1}): skate errors shows how`]);
  const waited = blockedFor(m, row),
    work = Math.max(0, m.duration(row) - waited);
  steps.push([work, `${label} ran ${words(work)} ${where}`]);
  if (waited >= NOTICEABLE) steps.push([waited, `${label} waited ${words(waited)} in get or wait for tasks of its own`]);
  if (m.A[row]) {
    const first = m.attempts(m.OWNER[row], m.NUMBER[row]).find((r) => m.A[r] === 0);
    if (first !== undefined) {
      const lost = m.S[row] - m.S[first];
      steps.push([lost, `${label} was run ${m.A[row] + 1} times: ${words(lost)} went by before this attempt`]);
    }
  }
}

function waiting(m, row, label, needs, ready, steps) {
  const start = m.S[row],
    waited = start - ready;
  if (waited < NOTICEABLE) return;
  const push = (text) => steps.push([waited, text]),
    restored = needs.find((d) => wasRestored(m, d, ready, start));
  if (restored) {
    push(
      `${label} waited ${words(waited)}: its argument from ${m.labelOf(restored.owner, restored.number)} was spilled to disk and had to be read back; raise object_store_memory, or drop refs earlier`,
    );
    return;
  }
  const lane = m.lanes[m.L[row]],
    before = beforeOn(m, lane, start),
    isBehind = before >= 0 && m.E[before] > ready;
  if (m.K[row] === KIND.CALL) {
    push(
      `${label} waited ${words(waited)} behind earlier calls of its actor${isBehind ? `, ${m.shortId(before)} the last` : ""}`,
    );
    return;
  }
  if (Number.isFinite(lane.came) && lane.came > ready) {
    push(`${label} waited ${words(waited)} while worker ${lane.id} was started`);
    return;
  }
  if (isBehind) {
    push(
      `${label} waited ${words(waited)}: no CPU was free; worker ${lane.id} ran ${m.shortId(before)} (${words(m.duration(before))}) until then`,
    );
    return;
  }
  push(`${label} waited ${words(waited)} for a worker`);
}

function notRun(m, needs, label) {
  const failed = needs.find((d) => hasFailed(m, d));
  if (failed) return `${label} was never run: its argument from ${m.labelOf(failed.owner, failed.number)} failed`;
  const pending = needs
    .filter((d) => {
      const r = m.find(d.owner, d.number);
      return r < 0 || !m.T[r];
    })
    .map((d) => m.labelOf(d.owner, d.number));
  return pending.length
    ? `${label} has not run yet: it waits for ${pending.slice(0, 3).join(", ")}`
    : `${label} has not run yet, or is too new to be on record`;
}

// A duration as the commands write it.
function words(seconds) {
  const us = seconds * 1e6;
  if (us < 1000) return us.toFixed(0) + " µs";
  if (us < 1e6) return us < 999500 ? +(us / 1000).toPrecision(3) + " ms" : "1 s";
  return us < 120e6 ? +seconds.toPrecision(3) + " s" : +(seconds / 60).toPrecision(3) + " min";
}

const hasFailed = (m, d) => {
  const r = m.find(d.owner, d.number);
  return r >= 0 && m.T[r] >= 2;
};

function blockedFor(m, row) {
  const b = m.blocked,
    lane = m.lanes[m.L[row]];
  let seconds = 0;
  for (let k = 0; k < lane.blocked.n; k++) {
    const i = lane.blocked.a[k];
    if (b.owner.a[i] === m.OWNER[row] && b.number.a[i] === m.NUMBER[row]) seconds += b.d.a[i];
  }
  return seconds;
}

function wasRestored(m, d, from, to) {
  const { t, kind, owner, number } = m.moves;
  for (let i = 0; i < t.n; i++)
    if (kind.a[i] === KIND.RESTORED && number.a[i] === d.number && owner.a[i] === d.owner && t.a[i] >= from && t.a[i] <= to)
      return true;
  return false;
}

// What ran in a process at a time; -1: nothing. Rows of a lane lie in the order of their ends.
function ranOn(m, laneId, t) {
  const index = m.laneById.get(laneId);
  if (index === undefined) return -1;
  const { a, n } = m.lanes[index].rows;
  let lo = 0,
    hi = n;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (m.E[a[mid]] < t) lo = mid + 1;
    else hi = mid;
  }
  let found = -1;
  for (let k = lo; k < n && k < lo + 50; k++) if (m.S[a[k]] <= t && (found < 0 || m.S[a[k]] > m.S[found])) found = a[k];
  if (found < 0) for (const row of m.running.values()) if (m.L[row] === index && m.S[row] <= t) return row;
  return found;
}

// The attempt in a lane that began last before a time.
function beforeOn(m, lane, t) {
  const { a, n } = lane.rows;
  let lo = 0,
    hi = n;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (m.E[a[mid]] <= t + 1e-9) lo = mid + 1;
    else hi = mid;
  }
  let found = -1;
  for (let k = Math.max(0, lo - 50); k < n && k < lo + 50; k++)
    if (m.S[a[k]] < t && (found < 0 || m.S[a[k]] > m.S[found])) found = a[k];
  return found;
}
