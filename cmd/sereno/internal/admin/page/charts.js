// Charts, drawn by uPlot. Each has a legend of its own with values in words, follows the
// colours of the scheme, and can be read with the arrow keys.

import { el, svg, byId, say, set, show, list } from "./dom.js";
import { perSecond, latency, share, many, at, hour, now } from "./words.js";

/* global uPlot */

const dashes = [[], [6, 3], [2, 3], [10, 3, 2, 3], [1, 4], [8, 2, 8, 6]];
const height = 150;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// chart makes one. lines are {label, colour, dash, step, fill}; word says a value.
export function chart(title, lines, word, o = {}) {
  const legend = el("ul", { class: "legend" });
  const plot = el("div", { class: "plot" });
  const when = el("span", { class: "dim when" });
  const node = el("figure", { class: "chart", tabindex: "0", role: "group", "aria-label": title + ". Arrow keys tell the values." }, el("figcaption", {}, el("span", { text: title }), when), legend, plot);
  node._lines = lines;
  node._word = word;
  node._values = lines.map((l) => {
    const value = el("b");
    const mark = svg("svg", { class: "mark", viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, class: "c-" + l.colour, "stroke-dasharray": dashes[l.dash ?? 0].join(" ") || null }));
    legend.append(el("li", {}, mark, el("span", { text: l.label }), " ", value));
    return value;
  });
  const plotted = new uPlot(options(node, lines, word, o), [[], ...lines.map(() => [])], plot);
  node._plot = plotted;
  const sized = new ResizeObserver(() => {
    const w = Math.floor(plot.clientWidth);
    if (w > 0 && w !== plotted.width) plotted.setSize({ width: w, height });
  });
  sized.observe(plot);
  node._gone = () => {
    sized.disconnect();
    plotted.destroy();
  };
  node.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[e.key];
    const times = plotted.data[0];
    if (!step || !times.length) return;
    e.preventDefault();
    const from = plotted.cursor.idx ?? times.length;
    const idx = Math.min(times.length - 1, Math.max(0, from + step));
    plotted.setCursor({ left: plotted.valToPos(times[idx], "x"), top: 10 });
  });
  node.addEventListener("blur", () => plotted.setCursor({ left: -10, top: -10 }));
  return node;
}

function options(node, lines, word, o) {
  const axis = { stroke: () => colour("dim"), grid: { stroke: () => colour("grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif", gap: 4 };
  return {
    width: 300, height, legend: { show: false }, padding: [8, 22, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: o.sync === false ? undefined : { key: "time", setSeries: false } },
    scales: { x: { time: true, range: () => [node._from ?? 0, node._to ?? 1] }, y: { range: (_, low, high) => o.range?.(low, high) ?? [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, size: 22, space: 60, values: (_, ticks) => ticks.map((t) => (o.days && node._to - node._from > 2 * 86400 ? day(t) : node._to - node._from < 240 ? at(t * 1000).slice(-8) : hour(t * 1000))) },
      { ...axis, size: 58, space: 28, incrs: o.range === whole ? [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b) : undefined, values: (_, ticks) => ticks.map((t) => word(t)) },
    ],
    series: [{}, ...lines.map((l) => ({
      label: l.label, stroke: () => colour(l.colour), width: 1.5, dash: dashes[l.dash ?? 0], points: { show: false }, spanGaps: false,
      fill: l.fill ? () => colour(l.colour) + "22" : undefined, paths: l.step ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }))],
    hooks: { setCursor: [() => tell(node)] },
  };
}

function day(t) {
  const d = new Date(t * 1000);
  return `${d.getDate()}.${d.getMonth() + 1}.`;
}

// tell says the values at the cursor, or the newest ones.
function tell(node) {
  const u = node._plot;
  if (!u) return;
  const times = u.data[0];
  const idx = u.cursor.idx;
  const i = idx ?? times.length - 1;
  node._lines.forEach((_, n) => say(node._values[n], times.length ? node._word(u.data[n + 1][i]) : "–"));
  say(node.querySelector(".when"), idx === null || idx === undefined ? "" : at(times[idx] * 1000));
}

// draw gives a chart its columns: times and one list for each line.
export function draw(node, from, to, times, ...columns) {
  node._from = from;
  node._to = to;
  node._plot.setData([times, ...columns]);
  tell(node);
}

// recolour draws all charts anew: the scheme has changed.
export function recolour() {
  for (const node of document.querySelectorAll(".chart")) node._plot?.redraw(false, true);
}

const ratio = () => [0, 1];
const whole = (_, high) => [0, Math.max(1, Math.ceil((high ?? 1) * 1.15))];

function serviceCharts(v) {
  const key = "service/" + v.name;
  const out = [
    { title: `${v.name}: requests a second`, key, names: ["requests", "answers", "failures", "drops"], word: perSecond,
      lines: [{ label: "received", colour: "s1", fill: true }, { label: "answered", colour: "s2", dash: 1 }, { label: "failed", colour: "bad" }, { label: "dropped", colour: "s3", dash: 2 }] },
    { title: `${v.name}: latency`, key, names: ["p50_seconds", "p95_seconds", "p99_seconds"], word: latency,
      lines: [{ label: "p50", colour: "s1" }, { label: "p95", colour: "s3", dash: 1 }, { label: "p99", colour: "s4", dash: 2 }] },
  ];
  if (v.kind === "dns") out.push({ title: `${v.name}: cache hits`, key, names: ["hit_ratio"], word: share, o: { range: ratio }, lines: [{ label: "hit ratio", colour: "s2", fill: true }] });
  else out.push({ title: `${v.name}: logins a second`, key, names: ["accepted", "rejected"], word: perSecond, lines: [{ label: "accepted", colour: "s2", fill: true }, { label: "rejected", colour: "s3", dash: 1 }] });
  if (v.spool) out.push({ title: `${v.name}: accounting on disk`, key, names: ["spool_records"], word: many, o: { range: whole }, lines: [{ label: "records", colour: "s4", fill: true }] });
  return out;
}

const most = 6; // lines in one chart: more cannot be told apart

function poolCharts(p) {
  return p.roles.flatMap((r) => {
    const backends = p.backends.filter((b) => b.role === r.role);
    const title = p.name + (r.role === "dns" ? "" : ` (${r.role})`);
    const out = [{ title: `${title}: healthy backends`, key: `role/${p.name}/${r.role}`, names: ["healthy", "members"], word: many, o: { range: whole },
      lines: [{ label: "healthy", colour: "s2", fill: true, step: true }, { label: "configured", colour: "dim", dash: 2, step: true }] }];
    for (let i = 0; i < backends.length; i += most) {
      const some = backends.slice(i, i + most);
      out.push({ title: `${title}: requests a second by backend`, names: some.map(() => "requests"), keys: some.map((b) => `backend/${p.name}/${b.name}/${r.role}`), word: perSecond,
        lines: some.map((b, n) => ({ label: b.name, colour: "s" + (n + 1), dash: n })) });
    }
    return out;
  });
}

// showCharts makes the charts that a status asks for, and draws the past.
export function showCharts(s, past) {
  const all = [...s.services.flatMap(serviceCharts), ...s.pools.flatMap(poolCharts)];
  const parent = byId("chart-list");
  show(byId("charts-empty"), past.times.length === 0 && all.length > 0);
  const to = Math.max(now() / 1000, past.times.at(-1) ?? 0);
  // A young node's first minutes are not a line at the edge.
  const from = Math.max(to - past.seconds, Math.min((past.times[0] ?? to) - 2, to - 60));
  list(parent, all, (c) => c.title + "\n" + c.lines.map((l) => l.label).join("\n"), (c) => chart(c.title, c.lines, c.word, c.o), (node, c) => {
    set(node, "data-points", past.times.length);
    draw(node, from, to, past.times, ...c.names.map((name, i) => past.column(c.keys?.[i] ?? c.key, name)));
  });
}
