// The connection to the node: one event stream, taken up again with longer and longer waits,
// and JSON documents.

const patience = 7000; // milliseconds of silence after which a stream is taken for dead: samples come every 2 s
const longest = 15000; // between two tries

export async function ask(path) {
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(20000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// follow keeps the stream open for as long as the page is. on has open, status, sample,
// event (with its ID), and state(word, milliseconds of silence, milliseconds to the next try).
export function follow(on) {
  let source = null;
  let heard = performance.now();
  let tries = 0;
  let next = 0;
  let live = false;

  function open() {
    next = 0;
    heardNow(false);
    source = new EventSource("/api/v1/live?last=100");
    source.addEventListener("status", (m) => take(m, on.status));
    source.addEventListener("sample", (m) => take(m, on.sample));
    source.addEventListener("message", (m) => take(m, (body) => on.event(body, m.lastEventId)));
    source.addEventListener("error", retry);
  }

  function take(message, handle) {
    if (!live) {
      live = true;
      tries = 0;
      on.open();
    }
    heardNow(true);
    handle(JSON.parse(message.data));
  }

  let last = performance.now(); // that anything came
  function heardNow(real) {
    heard = performance.now();
    if (real) last = heard;
  }

  function retry() {
    if (next) return;
    source?.close();
    live = false;
    tries++;
    const wait = Math.min(longest, 1000 * 2 ** (tries - 1)) * (0.8 + 0.4 * Math.random());
    next = performance.now() + wait;
  }

  setInterval(() => {
    const t = performance.now();
    if (next && t >= next) open();
    else if (!next && t - heard > patience) retry();
    on.state(live ? "live" : next ? "lost" : tries ? "lost" : "wait", t - last, next ? Math.max(0, next - t) : 0);
  }, 500);
  open();
}
