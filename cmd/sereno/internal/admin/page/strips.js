// A strip shows the states of one thing over time: their heights tell them apart as their
// colours do, and with the arrow keys, or a finger, each span says itself in words.

import { el, svg, say, set } from "./dom.js";
import { at, brief, why, now } from "./words.js";

const width = 1000; // of the drawing; the browser stretches it
const heights = { up: [3, 14], degraded: [8, 9], down: [0, 20], drained: [8, 4], unknown: [16, 1.5] };
const words = { degraded: "not whole", unknown: "not known" };

// strip makes one. label says what it is of, for those who cannot see it; suspect is what
// degraded is called.
export function strip(label, suspect) {
  const bars = svg("svg", { class: "bars", viewBox: `0 0 ${width} 20`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const told = el("output", { class: "told" });
  const node = el("div", { class: "strip", tabindex: "0", role: "img" }, bars, told);
  node._label = label;
  node._word = (state) => (state === "degraded" ? suspect : words[state] ?? state);
  node._bars = bars;
  node._told = told;
  node.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step || !node._spans?.length) return;
    e.preventDefault();
    pick(node, Math.min(node._spans.length - 1, Math.max(0, (node._at ?? (step > 0 ? -1 : node._spans.length)) + step)));
  });
  node.addEventListener("pointermove", (e) => {
    const box = bars.getBoundingClientRect();
    const when = node._from + ((e.clientX - box.left) / box.width) * (node._to - node._from);
    const i = (node._spans ?? []).findIndex((s) => s.to > when);
    if (i >= 0) pick(node, i);
  });
  for (const leave of ["blur", "pointerleave"]) node.addEventListener(leave, () => pick(node, undefined));
  return node;
}

// fillStrip draws spans ({from, to in ms, state, cause}) between two moments.
export function fillStrip(node, spans, from, to) {
  spans = spans.filter((s) => s.to > from).map((s) => (s.from < from ? { ...s, from } : s));
  node._from = from;
  node._to = to;
  const old = node._at === undefined ? null : node._spans?.[node._at];
  node._spans = spans;
  const bars = node._bars;
  while (bars.childNodes.length > spans.length) bars.lastChild.remove();
  spans.forEach((s, i) => {
    const rect = bars.childNodes[i] ?? bars.appendChild(svg("rect"));
    const x = ((s.from - from) / (to - from)) * width;
    // What was short is seen all the same.
    const least = s.state === "down" ? 3 : s.state === "degraded" ? 2 : 0;
    const w = Math.max(least, ((s.to - s.from) / (to - from)) * width);
    const [y, h] = heights[s.state] ?? heights.unknown;
    set(rect, "class", "s-" + s.state);
    set(rect, "x", Math.min(x, width - w).toFixed(2));
    set(rect, "width", w.toFixed(2));
    set(rect, "y", y);
    set(rect, "height", h);
  });
  set(node, "aria-label", summary(node));
  if (old) {
    const again = spans.findIndex((s) => s.from === old.from);
    pick(node, again < 0 ? undefined : again);
  }
}

function pick(node, i) {
  if (node._at === i) return;
  node._bars.childNodes[node._at]?.classList.remove("picked");
  node._at = i;
  const s = node._spans?.[i];
  node._bars.childNodes[i]?.classList.add("picked");
  say(node._told, s ? tell(node, s) : "");
}

function tell(node, s) {
  const open = s === node._spans.at(-1);
  const length = ((open ? Math.max(now(), s.from) : s.to) - s.from) / 1000;
  const cause = s.state === "up" || !s.cause ? "" : ": " + why(s.cause);
  return `${at(s.from)} – ${open ? "now" : at(s.to)} (${brief(length)}) ${node._word(s.state)}${cause}`;
}

function summary(node) {
  const total = {};
  let outages = 0;
  for (const s of node._spans) {
    total[s.state] = (total[s.state] ?? 0) + s.to - s.from;
    if (s.state === "down") outages++;
  }
  const parts = Object.entries(total).map(([state, ms]) => `${node._word(state)} ${brief(ms / 1000)}`);
  return `${node._label}: ${parts.join(", ")}${outages ? `; down ${outages} ${outages === 1 ? "time" : "times"}` : ""}. Arrow keys tell each.`;
}

// course makes spans with both ends of one object of the timeline.
export function course(object, to) {
  return object.spans.map((s, i) => ({
    from: Date.parse(s.from),
    to: i + 1 < object.spans.length ? Date.parse(object.spans[i + 1].from) : to,
    state: s.state,
    cause: s.cause,
  }));
}
