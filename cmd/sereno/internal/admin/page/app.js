// The page: what comes from the node goes to the parts that show it.

import { byId, el, say, set, show } from "./dom.js";
import { clock, now, long } from "./words.js";
import { ask, follow } from "./link.js";
import { Past, newest } from "./past.js";
import { showNow } from "./troubles.js";
import { showServices, showPools, showRoutes } from "./services.js";
import { showCharts, recolour } from "./charts.js";
import { showAvailability } from "./availability.js";
import { addEvent, showEvents } from "./events.js";

const recent = new Past("10m"); // for the small curves, whatever the charts show
let past = recent;
let status = null;
let last = new Map(); // newest figures by "service/NAME" …
let timeline = null; // of 24 hours
let month = null; // of 30 days
let books = null;

// Parts are drawn once for a burst of news, and not while nobody looks.
const wanted = new Set();
let drawing = false;

function draw(...parts) {
  for (const p of parts) wanted.add(p);
  if (drawing || document.hidden || !status) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const due = [...wanted];
    wanted.clear();
    for (const p of due) painters[p]();
    tick();
  });
}

const by = (kind) => new Map([...last].filter(([k]) => k.startsWith(kind + "/")).map(([k, v]) => [k.slice(kind.length + 1), v]));

const painters = {
  now: () => showNow(status, by("service")),
  services: () => showServices(status, by("service"), new Map(status.services.map((v) => [v.name, recent.column("service/" + v.name, "requests")]))),
  pools: () => showPools(status, by("backend"), timeline),
  routes: () => showRoutes(status, by("neighbor")),
  charts: () => showCharts(status, past),
  availability: () => books && showAvailability(books, month),
  events: showEvents,
};

// tick brings the words of time that passes in step with it.
function tick() {
  const t = now();
  for (const node of document.querySelectorAll("time[data-since]")) {
    const ms = Number(node.dataset.since);
    say(node, long((t - ms) / 1000));
    set(node, "title", new Date(ms).toISOString());
  }
}

// soon runs f once for many calls, not more often than every few seconds.
function soon(f, wait, least) {
  let timer = 0;
  let ran = -Infinity;
  return () => {
    if (timer) return;
    const delay = Math.max(wait, ran + least - performance.now());
    timer = setTimeout(async () => {
      timer = 0;
      ran = performance.now();
      try {
        await f();
      } catch (error) {
        console.warn(String(error)); // the next call tries again
      }
    }, delay);
  };
}

// began is where the drawing of a timeline begins: with the books, if these are younger.
function began(t) {
  const [from, to] = [Date.parse(t.from), Date.parse(t.to)];
  const first = Math.min(to, ...t.objects.map((o) => Date.parse(o.first)));
  return Math.max(from, Math.min(first, to - 120e3));
}

const byObject = (t, label) => ({
  from: began(t),
  to: Date.parse(t.to),
  label: began(t) > Date.parse(t.from) ? "Last " + long((Date.parse(t.to) - began(t)) / 1000) + ", since the books began" : label,
  services: new Map(t.objects.filter((o) => o.kind === "service").map((o) => [o.name, o])),
  backends: new Map(t.objects.filter((o) => o.kind === "backend").map((o) => [`${o.pool}/${o.name}/${o.role}`, o])),
});

const fetchTimeline = soon(async () => {
  timeline = byObject(await ask("/api/v1/timeline?since=24h"), "Last 24 hours");
  draw("pools");
}, 300, 3000);

const fetchBooks = soon(async () => {
  [books, month] = [await ask("/api/v1/availability"), byObject(await ask("/api/v1/timeline?since=30d"), "Last 30 days")];
  draw("availability");
}, 500, 6000);

const fetchPast = soon(async () => {
  const mine = past;
  const [a, b] = [await ask("/api/v1/history?span=10m"), mine === recent ? null : await ask("/api/v1/history?span=" + mine.span)];
  recent.load(a);
  if (b) mine.load(b);
  draw("charts", "services");
}, 0, 0);

follow({
  open() {
    fetchPast();
    fetchTimeline();
    fetchBooks();
  },
  status(s) {
    status = s;
    draw("now", "services", "pools", "routes", "charts");
  },
  sample(h) {
    if (h.step_seconds === 2) {
      clock.ahead = h.times[0] * 1000 - Date.now();
      last = newest(h);
    }
    const grown = [recent.add(h), past !== recent && past.add(h)];
    draw("now", "services", "pools", "routes");
    if (grown[past === recent ? 0 : 1]) draw("charts");
  },
  event(e, id) {
    if (!addEvent(e, id)) return;
    draw("events");
    if (e.kind === "backend" || e.kind === "service" || e.kind === "reload") {
      fetchTimeline();
      fetchBooks();
    }
  },
  state(word, silent, next) {
    const link = byId("link");
    set(link, "data-state", word);
    say(byId("link-text"), word === "live" ? "live" : word === "wait" ? "connecting" : "no connection");
    document.body.classList.toggle("old", word === "lost");
    const lost = byId("lost");
    show(lost, word === "lost");
    if (word === "lost") {
      // The number changes each second; a screen reader hears the sentence once.
      if (!lost.firstChild) lost.append("The connection to the node is lost. What you see is how it was; last seen ", el("span", { "aria-hidden": "true" }), el("span", { "aria-hidden": "true" }));
      say(lost.children[0], long(silent / 1000) + " ago.");
      say(lost.children[1], next > 0 ? ` Next try in ${Math.ceil(next / 1000)} s.` : " Trying …");
    }
  },
});

for (const input of document.querySelectorAll("input[name=span]")) {
  input.addEventListener("change", () => {
    past = input.value === recent.span ? recent : new Past(input.value);
    fetchPast();
  });
}
document.addEventListener("visibilitychange", () => draw(...wanted));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
setInterval(() => document.hidden || tick(), 1000);
setInterval(fetchTimeline, 60e3);
setInterval(fetchBooks, 300e3);
say(byId("zone"), "Times are those of " + (Intl.DateTimeFormat().resolvedOptions().timeZone ?? "this browser") + ".");
