// Pure: what an analysis has found, as spans on a timeline and boxes on a frame. Times are seconds.

const ROWS = 6; // an analyzer's most seen names
const SURE = 0.2; // a frame's second best names count from this score on

const PLACE = new Set(["segment", "frame_index", "time_s", "start_s", "end_s", "score"]);

// [{analyzer, name, kind, spans: [{start, end, text, score}], points: [[time, value]]}], in the analyzers' order.
// `ended`: nothing more will be found, so that nothing found is a finding.
export function tracksOf(found, length, ended) {
  return Object.entries(found).flatMap(([analyzer, records]) => tracksOfAnalyzer(analyzer, records, length, ended));
}

function tracksOfAnalyzer(analyzer, records, length, ended) {
  if (analyzer === "scenes") return records.length || ended ? [scenes(records, length)] : [];
  const measured = numbersIn(records[0]);
  if (measured.length) return measured.map((name) => levels(analyzer, name, records));
  const items = records.flatMap(itemsIn).map((item) => ({ ...item, text: item.text ?? analyzer }));
  if (items.some((item) => item.spoken)) return [{ analyzer, name: analyzer, kind: "speech", spans: items.map(span) }];
  const spacing = spacingOf(records.map((record) => record.time_s));
  const byName = new Map();
  for (const item of items) {
    if (!byName.has(item.text)) byName.set(item.text, []);
    byName.get(item.text).push(span({ ...item, end: item.end ?? item.start + spacing }));
  }
  const joint = Math.max(length / 800, spacing / 2); // what no screen tells apart, and what sampling leaves open
  const rows = [...byName].map(([name, spans]) => ({ analyzer, name, kind: "seen", spans: merged(spans, joint) }));
  return rows.sort((a, b) => weight(b) - weight(a)).slice(0, ROWS);
}

function scenes(records, length) {
  const starts = [0, ...records.map((record) => record.time_s)];
  const spans = starts.map((start, i) => ({ start, end: starts[i + 1] ?? length, text: `scene ${i + 1}`, score: null }));
  return { analyzer: "scenes", name: "scenes", kind: "scenes", spans };
}

// The numbers that a record holds, if it names nothing: a probability, a brightness.
function numbersIn(record = {}) {
  if (nameOf(record) !== null) return [];
  return Object.keys(record).filter((name) => !PLACE.has(name) && typeof record[name] === "number");
}

function levels(analyzer, name, records) {
  const points = records.map((record) => [record.time_s, record[name]]);
  const peaks = [...points].sort((a, b) => b[1] - a[1]).slice(0, 3);
  const spans = peaks.map(([start, value]) => ({ start, end: start, text: `${name} ${value.toPrecision(2)}`, score: null }));
  return { analyzer, name, kind: "level", spans, points };
}

const span = ({ start, end, text, score }) => ({ start, end: end ?? start, text, score });

// The things that one record names, whichever analyzer wrote it: itself, or each element of its list.
export function itemsIn(record) {
  const list = Object.values(record).find((value) => Array.isArray(value) && typeof value[0] === "object");
  const start = record.start_s ?? record.time_s ?? 0;
  const end = record.end_s;
  if (list) {
    return list
      .map((item, rank) => ({ start, end, rank, text: nameOf(item), score: item.score ?? null, box: boxOf(item) }))
      .filter((item) => item.box || item.rank === 0 || item.score >= SURE);
  }
  if (Object.values(record).some(Array.isArray) && !record.box) return []; // an embedding
  const spoken = record.start_s !== undefined && record.text !== undefined;
  return [{ start, end, spoken, text: nameOf(record), score: record.score ?? null, box: boxOf(record) }];
}

// Null for what has no name, such as a stretch in which somebody speaks.
const nameOf = (item) => item.label ?? item.text ?? null;

// {x, y, width, height}, each 0 to 1 of the frame, from the sides that analyzers give; null without a box.
export function boxOf(item) {
  const box = item.box ?? item;
  if (box.left !== undefined) return corners(box.left, box.top, box.right, box.bottom);
  return null;
}

const corners = (left, top, right, bottom) => ({ x: left, y: top, width: right - left, height: bottom - top });

// The boxes to draw over the frame at `time`: those of the last sample before it, while that sample holds.
export function boxesAt(found, time) {
  return Object.entries(found).flatMap(([analyzer, records]) => {
    const spacing = spacingOf(records.map((record) => record.time_s));
    const past = records.filter((record) => record.time_s <= time + 1e-3);
    const at = past.length ? past[past.length - 1].time_s : null;
    if (at === null || time - at >= spacing) return [];
    const items = past.filter((record) => record.time_s === at).flatMap(itemsIn);
    return items.filter((item) => item.box).map((item) => ({ ...item, analyzer }));
  });
}

// The usual distance of samples: their median; one second where there is none.
export function spacingOf(times) {
  const distinct = [...new Set(times)].sort((a, b) => a - b);
  const gaps = distinct.slice(1).map((time, i) => time - distinct[i]).sort((a, b) => a - b);
  return gaps.length ? gaps[Math.floor(gaps.length / 2)] : 1;
}

// Spans at most `joint` seconds apart become one with the best score.
export function merged(spans, joint) {
  const result = [];
  for (const next of [...spans].sort((a, b) => a.start - b.start)) {
    const last = result[result.length - 1];
    if (last && next.start <= last.end + joint) {
      last.end = Math.max(last.end, next.end);
      last.score = Math.max(last.score ?? 0, next.score ?? 0);
    } else result.push({ ...next });
  }
  return result;
}

function weight(row) {
  return row.spans.reduce((sum, one) => sum + (one.end - one.start) * (one.score ?? 1), 0);
}

// Round marks for a ruler: at most `most`, at steps that people count in; none behind the share `until`, so that the
// text of the last has room.
export function ticks(length, most, until) {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => length / s <= most) ?? 14400;
  return Array.from({ length: Math.floor((length * until) / step) + 1 }, (_, i) => i * step);
}
