// Services, backends, routes and sessions, as they are now.

import { el, byId, say, set, show, list, badge, rebadge, since, resince, svg } from "./dom.js";
import { level, why, sickness, perSecond, latency, share, many, long, plural } from "./words.js";
import { strip, fillStrip, course } from "./strips.js";

// figure is a number with what it is.
function figure(name) {
  const value = el("dd");
  const node = el("div", { class: "figure" }, el("dt", { text: name }), value);
  node._value = value;
  return node;
}

function refigure(node, text, lvl) {
  say(node._value, text);
  set(node, "data-level", lvl ?? null);
}

// showServices shows the cards; last are the newest figures by service, spark their last
// requests.
export function showServices(s, last, spark) {
  const parent = byId("service-list");
  emptyNote(parent, s.services.length === 0, "No service is configured: this node answers nothing.");
  list(parent, s.services, (v) => v.kind + " " + v.name, makeService, (node, v) => {
    set(node, "data-level", level(v.state));
    rebadge(node._badge, level(v.state), v.state);
    resince(node._since, v.since);
    say(node._why, v.reason ? why(v.reason) : "");
    show(node._why, Boolean(v.reason));
    say(node._listen, v.listen.join("  "));
    const f = last.get(v.name) ?? {};
    const is = node._figures;
    refigure(is.requests, perSecond(f.requests));
    refigure(is.failures, perSecond(f.failures), f.failures > 0 ? "bad" : null);
    refigure(is.half, latency(f.p50_seconds));
    refigure(is.most, latency(f.p99_seconds));
    refigure(is.flight, many(f.in_flight ?? v.in_flight));
    if (is.hits) refigure(is.hits, share(f.hit_ratio));
    if (is.entries) refigure(is.entries, many(f.cache_entries ?? v.cache.entries));
    if (is.logins) {
      refigure(is.logins, perSecond(f.accepted));
      refigure(is.rejects, perSecond(f.rejected));
    }
    if (is.sessions) refigure(is.sessions, many(f.sessions));
    if (is.spool) {
      const records = f.spool_records ?? v.spool?.records ?? 0;
      const oldest = f.spool_oldest_seconds ?? v.spool?.oldest_seconds ?? 0;
      refigure(is.spool, !v.spool ? "off" : records ? many(records) + (oldest ? `, ${long(oldest)}` : "") : "empty", records ? "warn" : null);
    }
    show(node._unsigned, v.unsigned.length > 0);
    say(node._unsigned, v.unsigned.length ? "Sign no requests (message_authenticator: require would break them): " + v.unsigned.join(", ") : "");
    drawSpark(node._spark, spark.get(v.name) ?? []);
  });
}

function makeService(v) {
  const node = el("article", { class: "card", "aria-label": `Service ${v.name}` });
  node._badge = badge();
  node._since = since();
  node._why = el("p", { class: "why" });
  node._listen = el("p", { class: "listen dim" });
  node._unsigned = el("p", { class: "dim note" });
  node._spark = svg("svg", { class: "spark", viewBox: "0 0 300 40", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "area" }), svg("path", { class: "line" }));
  node._figures = { requests: figure("requests/s"), failures: figure("failed/s"), half: figure("latency p50"), most: figure("latency p99"), flight: figure("in flight") };
  if (v.kind === "dns") Object.assign(node._figures, { hits: figure("cache hits"), entries: figure("in the cache") });
  else Object.assign(node._figures, { logins: figure("accepts/s"), rejects: figure("rejects/s"), sessions: figure("sessions"), spool: figure("spool") });
  node.append(
    el("div", { class: "top" }, el("h3", {}, el("span", { text: v.name }), " ", el("span", { class: "kind", text: v.kind.toUpperCase() })), el("p", {}, node._badge, " ", node._since)),
    node._why, node._spark, el("dl", { class: "figures" }, ...Object.values(node._figures)), node._listen, node._unsigned,
  );
  return node;
}

// drawSpark draws the last values, the newest at the right edge.
function drawSpark(node, values) {
  const [area, line] = node.childNodes;
  const most = Math.max(1e-9, ...values.map((v) => v ?? 0));
  let d = "";
  let gap = true;
  let first = null;
  let end = 0;
  values.forEach((v, i) => {
    if (v === null || v === undefined) {
      gap = true;
      return;
    }
    end = 300 - ((values.length - 1 - i) * 300) / Math.max(30, values.length);
    first ??= end;
    d += `${gap ? "M" : "L"}${end.toFixed(1)} ${(38 - (v / most) * 34).toFixed(1)}`;
    gap = false;
  });
  set(line, "d", d || null);
  set(area, "d", d ? `${d}L${end.toFixed(1)} 40L${first.toFixed(1)} 40Z`.replace(/(?!^)M/g, "L") : null);
}

function emptyNote(parent, empty, text) {
  if (!parent._empty) {
    parent._empty = el("p", { class: "empty", text });
    parent.after(parent._empty);
  }
  show(parent._empty, empty);
}

// showPools shows every pool, once for each role.
export function showPools(s, last, timeline) {
  const groups = s.pools.flatMap((p) => p.roles.map((r) => ({ pool: p.name, role: r, backends: p.backends.filter((b) => b.role === r.role) })));
  const parent = byId("pool-list");
  emptyNote(parent, groups.length === 0, "No pool of backends is configured.");
  list(parent, groups, (g) => g.pool + " " + g.role.role, makePool, (node, g) => {
    const r = g.role;
    set(node, "data-level", r.state === "down" ? "bad" : "good");
    const spare = r.healthy - r.min_healthy;
    const text = `${many(r.healthy)} of ${many(g.backends.length)} healthy, needs ${many(r.min_healthy)}`;
    rebadge(node._badge, r.state === "down" ? "bad" : spare <= 0 || r.healthy < g.backends.length ? "warn" : "good", text);
    say(node._length, timeline ? timeline.label : "Last 24 hours");
    list(node._rows, g.backends, (b) => b.name, (b) => makeBackend(b, g), (row, b) => fillBackend(row, b, g, last, timeline));
  });
}

function makePool(g) {
  const node = el("article", { class: "panel" });
  node._badge = badge();
  node._rows = el("tbody");
  node._length = el("th", { scope: "col", class: "wide" });
  const columns = [["State", ""], ["Backend", ""], null, ["Requests/s", "n"], ["Failures/s", "n"], ["Latency", "n"], ["Weight", "n"]];
  node.append(
    el("div", { class: "top" }, el("h3", {}, el("span", { text: g.pool }), " ", el("span", { class: "kind", text: { dns: "DNS", auth: "RADIUS auth", acct: "RADIUS acct" }[g.role.role] ?? g.role.role })), el("p", {}, node._badge)),
    el("table", { class: "rows backends" },
      el("caption", { class: "unseen", text: `Backends of ${g.pool}, ${g.role.role}` }),
      el("thead", {}, el("tr", {}, ...columns.map((c) => (c ? el("th", { scope: "col", text: c[0], class: c[1] || null }) : node._length)))),
      node._rows),
  );
  return node;
}

const cell = (title, cls, ...content) => el("td", { "data-title": title, class: cls || null }, ...content);

function makeBackend(b, g) {
  const row = el("tr");
  row._badge = badge();
  row._since = since();
  row._why = el("p", { class: "why" });
  row._strip = strip(`${g.pool}/${b.name} ${b.role}, last 24 hours at most`, "suspect");
  row._address = el("p", { class: "dim" });
  row._n = ["Requests/s", "Failures/s", "Latency", "Weight"].map((t) => cell(t, "n"));
  row.append(
    cell("", "state", row._badge, el("p", {}, row._since)),
    el("th", { scope: "row" }, el("span", { class: "name", text: b.name }), row._address),
    cell("Last 24 hours", "wide", row._strip, row._why), ...row._n,
  );
  return row;
}

function fillBackend(row, b, g, last, timeline) {
  set(row, "data-level", level(b.state));
  rebadge(row._badge, level(b.state), b.state);
  resince(row._since, b.since);
  const words = sickness(b);
  say(row._why, words);
  show(row._why, words !== "");
  say(row._address, b.address + (b.backup ? ", hot spare" : ""));
  const f = last.get(`${g.pool}/${b.name}/${b.role}`) ?? {};
  const slow = b.state === "up" && b.share < 1 ? `${b.weight} (${Math.round(b.share * 100)} %)` : String(b.weight);
  const values = [perSecond(f.requests), perSecond(f.failures), latency(f.latency_seconds ?? (b.latency_ms ? b.latency_ms / 1000 : null)), slow];
  values.forEach((text, i) => say(row._n[i], text));
  set(row._n[1], "data-level", f.failures > 0 ? "bad" : null);
  set(row._n[3], "title", b.state === "up" && b.share < 1 ? "slow start: the share of its weight that it gets" : null);
  const object = timeline?.backends.get(`${g.pool}/${b.name}/${b.role}`);
  if (object && row._drawn !== object) {
    row._drawn = object;
    fillStrip(row._strip, course(object, timeline.to), timeline.from, timeline.to);
  }
}

// showRoutes shows anycast entries and BGP sessions.
export function showRoutes(s, last) {
  const anycast = table(byId("anycast-list"), "Anycast", ["State", "Entry", "Prefixes", "Why"], s.anycast.length === 0,
    "No anycast entry is configured: this node announces nothing, and traffic comes by static routes alone.");
  list(anycast, s.anycast, (a) => a.name, (a) => makeRow(a.name, ["Prefixes", "Why"]), (row, a) => {
    const meant = ["drained", "service-drained", "stopping"].includes(a.reason);
    fillRow(row, a.state === "announced" ? "good" : meant ? "hold" : level(a.state), a.state, a.since,
      [a.prefixes.join("\n"), [a.reason ? why(a.reason) : "", a.waits_for].filter(Boolean).join(": ")]);
  });
  const neighbors = table(byId("neighbor-list"), "BGP sessions", ["State", "Neighbor", "Advertised", "Received", "Lease", "Last error"], s.bgp.neighbors.length === 0,
    "No BGP neighbor is configured.");
  list(neighbors, s.bgp.neighbors, (n) => n.name, (n) => makeRow(n.name, ["Advertised", "Received", "Lease", "Last error"], ["", "n", "n", ""]), (row, n) => {
    const margin = last.get(n.name)?.lease_margin_seconds ?? n.lease_margin_seconds;
    say(row._note, `${n.address}, AS${n.asn}`);
    fillRow(row, level(n.state), n.state, n.since, [
      n.advertised.length ? n.advertised.join("\n") : "nothing", plural(n.received, "route"),
      n.speaker === "up" ? `${margin.toFixed(1)} s` : `speaker ${n.speaker}`, n.state === "established" ? "" : n.last_error,
    ]);
  });
}

function table(parent, title, columns, empty, note) {
  if (!parent._rows) {
    parent._rows = el("tbody");
    parent._table = el("table", { class: "rows" }, el("caption", { class: "unseen", text: title }),
      el("thead", {}, el("tr", {}, ...columns.map((c) => el("th", { scope: "col", text: c })))), parent._rows);
    parent._empty = el("p", { class: "empty", text: note });
    parent.append(el("article", { class: "panel" }, el("div", { class: "top" }, el("h3", { text: title })), parent._table, parent._empty));
  }
  show(parent._table, !empty);
  show(parent._empty, empty);
  return parent._rows;
}

function makeRow(name, columns, classes = []) {
  const row = el("tr");
  row._badge = badge();
  row._since = since();
  row._note = el("p", { class: "dim" });
  row._cells = columns.map((c, i) => cell(c, ["lines", classes[i]].filter(Boolean).join(" ")));
  row.append(cell("", "state", row._badge, el("p", {}, row._since)), el("th", { scope: "row" }, el("span", { class: "name", text: name }), row._note), ...row._cells);
  return row;
}

function fillRow(row, lvl, word, when, texts) {
  set(row, "data-level", lvl);
  rebadge(row._badge, lvl, word);
  resince(row._since, when);
  texts.forEach((t, i) => {
    say(row._cells[i], t);
    set(row._cells[i], "data-empty", t === "" ? "" : null);
  });
}
