// What is wrong now, since when, and what to type: the first thing on the page.

import { el, byId, say, set, show, list, shape, reshape, rebadge, since, resince } from "./dom.js";
import { level, graver, why, sickness, plural, many, long, at } from "./words.js";

// troubles reads a status, and the newest figures by service. Each has level, text, why, since (RFC 3339 or ""), and command.
export function troubles(s, last) {
  const out = [];
  const add = (lvl, key, text, because, when, command) => out.push({ level: lvl, key, text, why: because, since: when ?? "", command });

  for (const v of s.services) {
    if (v.state !== "up") add(level(v.state), "service " + v.name, `Service ${v.name} is ${v.state}`, why(v.reason), v.since);
  }
  for (const p of s.pools) poolTroubles(p, add);
  for (const a of s.anycast) {
    if (a.state === "announced") continue;
    const lvl = a.reason === "drained" || a.reason === "service-drained" || a.reason === "stopping" ? "hold" : level(a.state);
    const because = why(a.reason) + (a.waits_for ? ": " + a.waits_for : "");
    add(lvl, "anycast " + a.name, `Route ${a.name} (${a.prefixes.join(", ")}) is ${a.state}`, because, a.since, "sereno explain anycast " + a.name);
  }
  for (const a of s.alarms) {
    const about = a.subject && !a.text.startsWith(a.subject) ? a.subject + ": " : "";
    add("warn", "alarm " + a.name + " " + a.subject, "Alarm " + a.name, about + a.text, a.since);
  }
  for (const n of s.bgp.neighbors) {
    const told = s.alarms.some((a) => a.text.startsWith(n.name + " "));
    if (n.state !== "established" && !told) add(level(n.state), "neighbor " + n.name, `BGP session with ${n.name} (${n.address}) is ${n.state}`, n.last_error, n.since);
  }
  for (const d of s.drains) {
    const until = d.until ? "ends by itself at " + at(Date.parse(d.until)) : "until it is undrained";
    add("hold", "drain " + d.target, `Drained: ${d.target}`, until, d.since, "sereno undrain " + d.target);
  }
  if (s.config.last_error) {
    add("warn", "reload", "The last reload was refused; the old configuration runs on", s.config.last_error.split("\n")[0], "", "sereno check -c " + s.config.path);
  }
  for (const v of s.services) {
    const records = v.spool ? last.get(v.name)?.spool_records ?? v.spool.records : 0;
    if (records > 0) {
      const age = last.get(v.name)?.spool_oldest_seconds ?? v.spool.oldest_seconds;
      const oldest = age > 0 ? "the oldest for " + long(age) : "";
      add("warn", "spool " + v.name, `${plural(records, "accounting record")} of ${v.name} wait on disk for a backend`, oldest, "", "sereno spool list");
    }
  }
  return out.sort((a, b) => (graver(a.level, b.level) ? -1 : graver(b.level, a.level) ? 1 : 0));
}

function poolTroubles(p, add) {
  const roleDown = new Map(p.roles.map((r) => [r.role, r.state === "down"]));
  for (const r of p.roles) {
    if (r.state !== "down") continue;
    const sick = p.backends.filter((b) => b.role === r.role && b.state !== "up" && b.state !== "suspect");
    const when = sick.map((b) => b.since ?? "").sort().at(-1) ?? "";
    add("bad", `pool ${p.name} ${r.role}`, `Pool ${p.name} (${r.role}) has ${many(r.healthy)} healthy ${r.healthy === 1 ? "backend" : "backends"} and needs ${many(r.min_healthy)}`, "", when);
  }
  // A RADIUS backend stands once for each role: what is the same of both is said once.
  const told = new Map();
  for (const b of p.backends) {
    if (b.state === "up" || b.state === "drained") continue;
    const key = `backend ${p.name}/${b.name} ${b.state} ${b.reason}`;
    const lvl = b.state === "down" && roleDown.get(b.role) ? "bad" : b.state === "down" ? "warn" : level(b.state);
    const known = told.get(key);
    if (known) {
      known.roles.push(b.role);
      if (graver(lvl, known.level)) known.level = lvl;
      continue;
    }
    told.set(key, { b, roles: [b.role], level: lvl });
  }
  for (const [key, { b, roles, level: lvl }] of told) {
    add(lvl, key, `Backend ${p.name}/${b.name} (${roles.join(", ")}) is ${b.state}`, sickness(b), b.since);
  }
}

// headline is the node's state in one sentence, and the worst level of all.
export function headline(s, found) {
  const down = s.services.filter((v) => v.state === "down");
  const worst = found.length ? found[0].level : "good";
  switch (s.state) {
    case "starting": return ["Starting: no service has proven itself yet.", "wait"];
    case "stopping": return ["Stopping: routes go first, then what is in flight.", "hold"];
    case "drained": return ["Drained: everything answers, nothing is announced.", "hold"];
  }
  if (down.length) {
    if (down.length === s.services.length) return [down.length === 1 ? `Down: service ${down[0].name} does not serve.` : "Down: no service serves.", "bad"];
    const rest = s.services.length - down.length;
    return [`${down.length === 1 ? `Service ${down[0].name} is` : plural(down.length, "service") + " are"} down; ${rest === 1 ? "the other one serves" : "the others serve"}.`, "bad"];
  }
  const needs = found.filter((t) => t.level === "bad" || t.level === "warn").length;
  if (s.services.length === 0) return ["This node has no service.", "wait"];
  if (needs) return [`Every service serves; ${needs === 1 ? "one thing needs" : many(needs) + " things need"} a look.`, worst];
  return [found.length ? "Everything serves; something is held back on purpose." : "Everything serves.", found.length ? "hold" : "good"];
}

const icons = { good: "up", warn: "warn", bad: "bad", hold: "hold", wait: "unknown" };

// showNow brings the first part of the page and the header in step with a status.
export function showNow(s, last) {
  const found = troubles(s, last);
  const [sentence, worst] = headline(s, found);
  const section = byId("now");
  set(section, "data-level", worst);
  say(byId("headline"), sentence);
  const first = found.filter((t) => t.level === worst && t.since).map((t) => t.since).sort()[0];
  const calm = s.services.map((v) => v.since ?? "").sort().at(-1);
  const line = byId("headline-since");
  if (!line.firstChild) line.append(el("span"), since());
  show(line, Boolean(first || calm));
  say(line.firstChild, `${first ? "since" : "unchanged since"} ${at(Date.parse(first ?? calm))}, for `);
  resince(line.lastChild, first ?? calm);

  list(byId("troubles"), found, (t) => t.key, makeTrouble, (node, t) => {
    set(node, "data-level", t.level);
    reshape(node._shape, t.level);
    say(node._text, t.text);
    say(node._why, t.why);
    resince(node._since, t.since || null);
    show(node._for, Boolean(t.since));
    show(node._command, Boolean(t.command));
    say(node._command, t.command);
  });

  rebadge(byId("node-state"), level(s.state), s.state);
  say(byId("node-name"), s.node);
  const facts = byId("node-facts");
  if (!facts.firstChild) facts.append(el("span"), since());
  say(facts.firstChild, `sereno ${s.version}, runs `);
  resince(facts.lastChild, s.started);
  document.title = (worst === "good" ? "" : s.state === "up" ? "(!) " : s.state.toUpperCase() + " – ") + s.node + " – sereno";
  set(byId("icon"), "href", `/page/icon-${icons[worst]}.svg`);
  say(byId("config"), `Configuration ${s.config.path} (${s.config.hash.slice(0, 12)}), loaded ${at(Date.parse(s.config.loaded))}`);
}

function makeTrouble(t) {
  const node = el("li");
  node._shape = shape(t.level);
  node._text = el("strong");
  node._why = el("span", { class: "why" });
  node._since = since();
  node._for = el("span", { class: "dim" }, " for ", node._since);
  node._command = el("code");
  node.append(node._shape, el("div", {}, el("p", {}, node._text, node._for), el("p", {}, node._why), node._command));
  return node;
}
