// What figures and states are called, in words and with their units.

// clock is how far the node's clock is ahead of this browser's, in milliseconds.
export const clock = { ahead: 0 };

export const now = () => Date.now() + clock.ahead;

// long is a length of time in its two largest units.
export function long(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min" + (s % 60 && s < 600 ? " " + (s % 60) + " s" : "");
  if (s < 86400) return Math.floor(s / 3600) + " h" + (Math.floor((s % 3600) / 60) ? " " + Math.floor((s % 3600) / 60) + " min" : "");
  return Math.floor(s / 86400) + " d" + (Math.floor((s % 86400) / 3600) ? " " + Math.floor((s % 86400) / 3600) + " h" : "");
}

// brief is a length of time that may be short of a second.
export function brief(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0) return "−" + brief(-seconds);
  if (seconds > 0 && seconds < 0.1) return Math.max(1, Math.round(seconds * 1000)) + " ms";
  if (seconds < 10) return seconds.toFixed(1).replace(/\.0$/, "") + " s";
  return long(seconds);
}

const two = (n) => String(n).padStart(2, "0");

// at is a moment by the browser's clock: the time of today, else with its date.
export function at(ms) {
  if (!Number.isFinite(ms)) return "";
  const t = new Date(ms);
  const time = two(t.getHours()) + ":" + two(t.getMinutes()) + ":" + two(t.getSeconds());
  return t.toDateString() === new Date(now()).toDateString() ? time : day(ms) + " " + time;
}

export function day(ms) {
  const t = new Date(ms);
  return t.getFullYear() + "-" + two(t.getMonth() + 1) + "-" + two(t.getDate());
}

export function hour(ms) {
  const t = new Date(ms);
  return two(t.getHours()) + ":" + two(t.getMinutes());
}

const missing = (n) => n === null || n === undefined || Number.isNaN(n);

// many is a number with its thousands apart.
export function many(n) {
  return missing(n) ? "–" : Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

// perSecond is a rate: three figures of it.
export function perSecond(n) {
  if (missing(n)) return "–";
  if (n === 0) return "0";
  if (n < 0.01) return "< 0.01";
  if (n < 10) return n.toFixed(2).replace(/0+$/, "").replace(/\.$/, "");
  if (n < 100) return n.toFixed(1).replace(/\.0$/, "");
  return many(n);
}

// latency is a time in the unit that fits.
export function latency(s) {
  if (missing(s)) return "–";
  if (s < 0.001) return Math.round(s * 1e6) + " µs";
  if (s < 0.01) return (s * 1e3).toFixed(1) + " ms";
  if (s < 1) return Math.round(s * 1e3) + " ms";
  return s.toFixed(s < 10 ? 2 : 1) + " s";
}

// percent never rounds up to 100: that means all.
export function percent(p, places = 4) {
  if (missing(p)) return "–";
  const scale = 10 ** places;
  let v = Math.floor(p * scale + 1e-6) / scale;
  if (p < 100 && v >= 100) v = (100 * scale - 1) / scale;
  return v + " %";
}

export const share = (r) => (missing(r) ? "–" : (100 * r).toFixed(1) + " %");

export const plural = (n, word, words = word + "s") => many(n) + " " + (n === 1 ? word : words);

// level is how bad a state is: good, warn, bad, hold (an operator wants it so), wait.
const levels = {
  up: "good", established: "good", announced: "good", applied: "good",
  degraded: "warn", suspect: "warn", demoted: "warn", connecting: "warn", raised: "warn", refused: "warn",
  down: "bad", withdrawn: "bad",
  drained: "hold", stopping: "hold", starting: "wait", unknown: "wait",
};
export const level = (state) => levels[state] ?? "wait";

const gravity = ["good", "wait", "hold", "warn", "bad"];
export const graver = (a, b) => gravity.indexOf(a) > gravity.indexOf(b);

const reasons = {
  "starting": "not proven healthy yet",
  "not-probed": "judged by real traffic alone",
  "probe-failed": "probes fail",
  "probe-share": "half of the last probes failed",
  "refused": "its port is closed",
  "unreachable": "cannot be reached from here",
  "timeouts": "requests are not answered",
  "trial": "real requests have to show whether it answers them",
  "drained": "drained by an operator",
  "no-healthy-backend": "too few healthy backends",
  "listener-closed": "a listener is closed",
  "address-missing": "a listening address is not on this host",
  "self-probe-failed": "its own probe through the listening address fails",
  "no-redundancy": "one more lost backend and the pool is down",
  "routed-pool-down": "a pool that only routes lead to is down",
  "demoted": "its routes have their worse attributes",
  "service-down": "a service that it requires is down",
  "hold-down": "healthy again, and waiting to be sure",
  "service-drained": "a service that it requires is drained",
  "stopping": "the node is stopping",
  "paused": "the node stood still and proves itself anew",
  "handed-over": "another site announces it",
  "no-other-site": "down, but no other site announces it",
  "no-neighbor": "no neighbor is configured",
  "no-session": "no session is established",
};

// why is a reason in words; one that is not known here stands for itself.
export const why = (reason) => reasons[reason] ?? reason;

// sickness is what is wrong with a backend: the reason, and what its last probe met, unless
// that says the same.
export function sickness(b) {
  const met = b.last_probe.ok ? "" : b.last_probe.error;
  if (met && (b.reason === "refused" || b.reason === "unreachable")) return met;
  return [b.reason ? why(b.reason) : "", met].filter(Boolean).join(": ");
}
