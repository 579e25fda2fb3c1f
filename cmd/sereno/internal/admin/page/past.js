// The figures of the last time: the columns of /api/v1/history, to which the live stream's
// samples are added. As long as the span that is shown, never longer.

export const spans = { "10m": { step: 2, most: 300 }, "1h": { step: 10, most: 360 }, "24h": { step: 300, most: 288 } };

export class Past {
  constructor(span) {
    this.span = span;
    this.clear();
  }

  clear() {
    this.times = [];
    this.columns = new Map(); // by "service/NAME" …, each with lists of figures by name
  }

  get seconds() {
    return spans[this.span].step * spans[this.span].most;
  }

  // load takes a whole history.
  load(history) {
    this.clear();
    this.times = history.times.slice(-spans[this.span].most);
    each(history, (key, figures) => this.columns.set(key, figures));
  }

  // add takes a sample; one of another step, or that is there already, is not ours.
  add(sample) {
    const t = sample.times[0];
    if (sample.step_seconds !== spans[this.span].step || (this.times.length && t <= this.times.at(-1))) return false;
    this.times.push(t);
    const fresh = new Set();
    each(sample, (key, figures) => {
      fresh.add(key);
      let columns = this.columns.get(key);
      if (!columns) this.columns.set(key, (columns = {}));
      for (const [name, values] of Object.entries(figures)) {
        const list = (columns[name] ??= new Array(this.times.length - 1).fill(null));
        list.push(values[0]);
      }
    });
    for (const key of this.columns.keys()) if (!fresh.has(key)) this.columns.delete(key); // not configured any more
    this.trim();
    return true;
  }

  trim() {
    const over = this.times.length - spans[this.span].most;
    for (const columns of this.columns.values()) {
      for (const list of Object.values(columns)) {
        while (list.length < this.times.length) list.push(null);
        if (over > 0) list.splice(0, over);
      }
    }
    if (over > 0) this.times.splice(0, over);
  }

  column(key, name) {
    return this.columns.get(key)?.[name] ?? new Array(this.times.length).fill(null);
  }

  // size is how many numbers are held.
  get size() {
    let n = this.times.length;
    for (const columns of this.columns.values()) for (const list of Object.values(columns)) n += list.length;
    return n;
  }
}

// each calls f for everything in a history, with its key and its lists of figures.
export function each(history, f) {
  const parts = [[history.services, (s) => "service/" + s.name], [history.backends, (b) => `backend/${b.pool}/${b.name}/${b.role}`],
    [history.roles, (r) => `role/${r.pool}/${r.role}`], [history.neighbors, (n) => "neighbor/" + n.name]];
  for (const [list, key] of parts) {
    for (const item of list) {
      f(key(item), Object.fromEntries(Object.entries(item).filter(([, v]) => Array.isArray(v))));
    }
  }
}

// newest are the figures of a sample, by the same names.
export function newest(sample) {
  const out = new Map();
  each(sample, (key, figures) => out.set(key, Object.fromEntries(Object.entries(figures).map(([name, values]) => [name, values.at(-1)]))));
  return out;
}
