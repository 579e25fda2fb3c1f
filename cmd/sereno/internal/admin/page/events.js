// The last events, newest first.

import { el, byId, say, set, show, list, shape, reshape } from "./dom.js";
import { level, why, at } from "./words.js";

const most = 60;
let events = []; // newest first, each with its ID

// addEvent takes an event in, once. It returns false for one that is there already.
export function addEvent(event, id) {
  if (id && events.some((e) => e.id === id)) return false;
  events.unshift({ ...event, id });
  events.length = Math.min(events.length, most);
  return true;
}

export function showEvents() {
  show(byId("events-empty"), events.length === 0);
  list(byId("event-list"), events, (e) => e.id, make, () => {});
}

function make(e) {
  const node = el("li");
  const meant = ["starting", "drained", "service-drained", "stopping", "undrained"].includes(e.reason) && e.kind === "anycast";
  const lvl = meant && e.to !== "announced" ? "hold" : e.kind === "drain" || e.kind === "alarm" ? (e.to ? (e.kind === "drain" ? "hold" : "warn") : "good") : level(e.to);
  const mark = shape("wait");
  reshape(mark, lvl);
  const time = el("time", { datetime: e.at, title: e.at });
  say(time, at(Date.parse(e.at)));
  const change = el("span", { class: "change" });
  say(change, [e.from, e.to].some(Boolean) ? `${e.from || (e.kind === "backend" || e.kind === "node" ? "new" : "–")} → ${e.to || "over"}` : "");
  const words = [e.reason ? why(e.reason) : "", e.detail].filter(Boolean).join(": ");
  set(node, "data-level", lvl);
  node.append(mark, time, el("span", { class: "what" }, el("span", { class: "dim", text: e.kind + " " }), el("strong", { text: e.name })), change, el("span", { class: "why", text: words }));
  return node;
}
