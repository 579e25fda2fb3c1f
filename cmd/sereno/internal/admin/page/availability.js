// The books of availability: figures, the error budget, and the outages of the last 30 days.

import { el, byId, say, set, show, list, badge, rebadge } from "./dom.js";
import { level, why, percent, brief, long, many, plural, at, day } from "./words.js";
import { strip, fillStrip, course } from "./strips.js";
import { chart, draw } from "./charts.js";

const days = 30;
const dayLength = 86400e3;

// showAvailability shows the books; courses are those of the last 30 days by object.
export function showAvailability(books, month) {
  const services = books.objects.filter((o) => o.kind === "service");
  const backends = books.objects.filter((o) => o.kind === "backend");
  const target = books.target_percent;
  say(byId("availability-note"), `target ${percent(target)}` + (books.clock_behind_seconds > 0 ? `; the clock is ${brief(books.clock_behind_seconds)} behind the books` : ""));
  const items = [...services.map((o) => ({ ...o, key: "service " + o.name }))];
  if (backends.length) items.push({ key: "backends", backends });
  const parent = byId("availability-list");
  list(parent, items, (i) => i.key, (i) => (i.backends ? makeBackends() : makeService(i)), (node, i) => {
    if (i.backends) fillBackends(node, i.backends);
    else fillService(node, i, month?.services.get(i.name), month, target);
  });
}

function makeService(o) {
  const node = el("article", { class: "panel book", "aria-label": "Availability of " + o.name });
  node._badge = badge();
  node._figure = el("p", { class: "huge" });
  node._level = el("p", { class: "dim" });
  node._budget = el("div", { class: "meter" }, el("div", { class: "fill" }));
  node._budgetText = el("p");
  node._rows = el("tbody");
  node._month = strip(o.name + ", last 30 days", "degraded");
  node._length = el("h4");
  node._days = el("div", { class: "days", role: "img" });
  node._chart = chart(o.name + ": error budget left, last 30 days", [{ label: "of the time allowed", colour: "s1", fill: true, step: true }], (v) => (v === null || v === undefined ? "–" : percent(v, 1)), {
    sync: false, days: true, range: (low) => [Math.min(0, low ?? 0), 105], // what is overdrawn by more than all of it is drawn as that
  });
  node._gone = node._chart._gone;
  node._outages = el("ol", { class: "outages" });
  node._none = el("p", { class: "empty", text: "No outage in the last 30 days." });
  node._more = el("p", { class: "dim" });
  node.append(
    el("div", { class: "top" }, el("h3", {}, el("span", { text: o.name }), " ", el("span", { class: "kind", text: "SERVICE" })), el("p", {}, node._badge)),
    el("div", { class: "columns" },
      el("div", { class: "verdict" }, node._figure, node._level, el("h4", { text: "Error budget of 30 days" }), node._budget, node._budgetText),
      el("div", { class: "grow" }, el("table", { class: "rows tight" }, el("caption", { class: "unseen", text: "Availability of " + o.name }),
        el("thead", {}, el("tr", {}, ...["Last", "Available", "Answered well", "Outages", "Longest", "MTTR", "MTBF", "Unknown"].map((t, i) => el("th", { scope: "col", class: i ? "n" : null, text: t })))), node._rows))),
    el("div", { class: "columns" },
      el("div", { class: "grow" }, node._length, node._days, node._month, node._chart),
      el("div", { class: "grow" }, el("h4", { text: "Outages of the last 30 days" }), node._none, node._outages, node._more)),
  );
  return node;
}

function fillService(node, o, object, month, target) {
  rebadge(node._badge, level(o.state), o.state);
  const f = o.windows.find((w) => w.window === "30d") ?? o.windows.at(-1);
  say(node._figure, percent(f.availability_percent));
  const nines = f.availability_percent === null ? "" : f.nines >= 9 ? "no outage" : plural(f.nines, "nine");
  say(node._level, f.availability_percent === null ? "nothing is known of the last 30 days" : `last 30 days: ${nines}; ${f.level ? `level ${f.level}, ${f.level_of}` : "below the lowest level"}`);
  const { allowed_seconds: allowed, left_seconds: left } = f.budget;
  const part = allowed > 0 ? left / allowed : 1;
  const lvl = left < 0 ? "bad" : part < 0.25 ? "warn" : "good";
  set(node._budget, "data-level", lvl);
  node._budget.firstChild.style.width = Math.max(0, Math.min(100, part * 100)) + "%";
  say(node._budgetText, left < 0 ? `Overdrawn by ${brief(-left)} of ${brief(allowed)} down` : `${brief(left)} of ${brief(allowed)} down are left (${Math.floor(part * 100)}\u00a0%)`);
  list(node._rows, o.windows, (w) => w.window, (w) => {
    const row = el("tr", {}, el("th", { scope: "row", text: w.window }));
    row._n = ["Available", "Answered well", "Outages", "Longest", "MTTR", "MTBF", "Unknown"].map((t) => el("td", { class: "n", "data-title": t }));
    row.append(...row._n);
    return row;
  }, (row, w) => {
    const below = w.availability_percent !== null && w.availability_percent < target;
    const bad = w.good_percent !== null && w.good_percent < target;
    [percent(w.availability_percent), percent(w.good_percent), many(w.outages), w.longest ? brief(w.longest.down_seconds) : "–", brief(w.mttr_seconds), w.mtbf_seconds === null ? "–" : long(w.mtbf_seconds), brief(w.unknown_seconds)]
      .forEach((t, i) => say(row._n[i], t));
    set(row._n[0], "data-level", below ? "bad" : null);
    set(row._n[1], "data-level", bad ? "bad" : null);
  });
  if (object) fillMonth(node, object, month, allowed);
}

function fillMonth(node, object, month, allowed) {
  const spans = course(object, month.to);
  fillStrip(node._month, spans, month.from, month.to);
  fillDays(node._days, spans, month);
  say(node._length, `Day by day; below: ${month.label.toLowerCase()}, to the second`);
  const times = [month.from / 1000];
  const lefts = [100];
  let down = 0;
  for (const s of spans) {
    if (s.state !== "down") continue;
    const steps = Math.min(20, Math.max(1, Math.ceil((s.to - s.from) / 60e3)));
    for (let i = 0; i <= steps; i++) {
      const t = (s.from + ((s.to - s.from) * i) / steps) / 1000;
      if (t <= times.at(-1)) continue;
      times.push(t);
      lefts.push(allowed > 0 ? Math.max(-100, 100 * (1 - (down + ((s.to - s.from) * i) / steps / 1000) / allowed)) : -100);
    }
    down += (s.to - s.from) / 1000;
  }
  if (month.to / 1000 > times.at(-1)) {
    times.push(month.to / 1000);
    lefts.push(lefts.at(-1));
  }
  draw(node._chart, month.from / 1000, month.to / 1000, times, lefts);

  const last = object.outages.toReversed().slice(0, 12);
  show(node._none, last.length === 0);
  list(node._outages, last, (x) => x.from, () => el("li", {}, el("time"), el("strong"), el("span")), (item, x) => {
    const [time, length, cause] = item.children;
    set(time, "datetime", x.from);
    say(time, at(Date.parse(x.from)) + (x.until ? "" : ", not over"));
    say(length, brief(x.down_seconds));
    say(cause, why(x.cause));
    set(item, "data-level", x.until ? null : "bad");
  });
  say(node._more, object.outages_total > last.length ? `and ${many(object.outages_total - last.length)} more` : "");
}

// fillDays shows the last 30 days, one cell each.
function fillDays(node, spans, month) {
  const cells = [];
  for (let i = 0; i < days; i++) {
    const to = month.to - (days - 1 - i) * dayLength;
    const from = to - dayLength;
    const total = { up: 0, degraded: 0, down: 0, drained: 0, unknown: 0 };
    for (const s of spans) total[s.state] += Math.max(0, Math.min(s.to, to) - Math.max(s.from, from));
    const known = total.up + total.degraded + total.down;
    const state = total.down > 0 ? "down" : known === 0 ? (total.drained ? "drained" : "unknown") : total.degraded > known / 2 ? "degraded" : "up";
    const words = known === 0 ? (total.drained ? "drained" : "nothing known") : percent((100 * (known - total.down)) / known) + (total.down ? `, down ${brief(total.down / 1000)}` : "");
    cells.push({ i, state, title: `24 h until ${day(to)} ${at(to).slice(-8, -3)}: ${words}`, part: known ? total.down / known : 0 });
  }
  list(node, cells, (c) => c.i, () => el("span", {}, el("i")), (cell, c) => {
    set(cell, "class", "s-" + c.state);
    set(cell, "title", c.title);
    // What is cut off from the top is the share of the day that was lost, to a power that shows little losses too.
    cell.firstChild.style.height = c.part ? Math.round(Math.max(18, 100 * Math.sqrt(c.part))) + "%" : "0";
  });
  set(node, "aria-label", "Last 30 days: " + (cells.filter((c) => c.state === "down").map((c) => c.title).join("; ") || "no day with an outage"));
}

function makeBackends() {
  const node = el("details", { class: "panel" }, el("summary", { text: "Backends: availability" }));
  node._rows = el("tbody");
  node.append(el("table", { class: "rows tight" }, el("thead", {}, el("tr", {}, ...["Backend", "Last 24 h", "Last 30 days", "Outages", "MTTR", "MTBF", "Answered well"].map((t, i) => el("th", { scope: "col", class: i ? "n" : null, text: t })))), node._rows));
  return node;
}

function fillBackends(node, backends) {
  list(node._rows, backends, (b) => `${b.pool}/${b.name} ${b.role}`, (b) => {
    const row = el("tr", {}, el("th", { scope: "row", text: `${b.pool}/${b.name} (${b.role})` }));
    row._n = ["Last 24 h", "Last 30 days", "Outages", "MTTR", "MTBF", "Answered well"].map((t) => el("td", { class: "n", "data-title": t }));
    row.append(...row._n);
    return row;
  }, (row, b) => {
    const short = b.windows.find((w) => w.window === "24h") ?? b.windows[0];
    const w = b.windows.find((x) => x.window === "30d") ?? b.windows.at(-1);
    [percent(short.availability_percent), percent(w.availability_percent), many(w.outages), brief(w.mttr_seconds), w.mtbf_seconds === null ? "–" : long(w.mtbf_seconds), percent(w.good_percent)]
      .forEach((t, i) => say(row._n[i], t));
  });
}
