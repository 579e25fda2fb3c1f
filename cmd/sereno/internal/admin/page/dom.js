// Making and changing the document. Texts become text nodes and nothing else: what a
// name contains can never become markup (the page's policy forbids it to the browser too).

const SVG = "http://www.w3.org/2000/svg";

// el makes an element. Of props, class, text, data and on are special; others are attributes.
export function el(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), props, children);
}

function dress(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "data") for (const [k, v] of Object.entries(value)) node.dataset[k] = v;
    else if (key === "on") for (const [k, f] of Object.entries(value)) node.addEventListener(k, f);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

// say changes a text, if it is another one: what does not change is not touched, so that a
// selection stays and a screen reader is silent.
export function say(node, text) {
  text = String(text ?? "");
  if (node.textContent !== text) node.textContent = text;
}

export function set(node, name, value) {
  if (value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

// list keeps the children of parent in step with items: one for each key, made once, filled
// each time, in their order. Focus and scroll position survive.
export function list(parent, items, key, make, fill) {
  const have = (parent._byKey ??= new Map());
  const seen = new Set();
  let at = parent.firstChild;
  for (const item of items) {
    const k = key(item);
    if (seen.has(k)) continue;
    seen.add(k);
    let node = have.get(k);
    if (!node) {
      node = make(item);
      have.set(k, node);
    }
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
    fill(node, item);
  }
  for (const [k, node] of have) {
    if (!seen.has(k)) {
      node._gone?.();
      node.remove();
      have.delete(k);
    }
  }
}

// shape is the small picture of a level; the word beside it says the same.
export function shape(level) {
  const use = svg("use", { href: "#shape-" + level });
  const node = svg("svg", { class: "shape", "aria-hidden": "true", "data-level": level }, use);
  return node;
}

export function reshape(node, level) {
  if (node.dataset.level === level) return;
  node.dataset.level = level;
  node.firstChild.setAttribute("href", "#shape-" + level);
}

// badge is a picture and a word for a state.
export function badge() {
  const node = el("span", { class: "badge" }, shape("wait"), el("span"));
  return node;
}

export function rebadge(node, level, word) {
  if (!node.firstChild) node.append(shape("wait"), el("span"));
  set(node, "data-level", level);
  reshape(node.firstChild, level);
  say(node.lastChild, word);
}

// since is a time that tells how long ago it is, and goes on doing so.
export function since() {
  return el("time", { class: "since" });
}

export function resince(node, at) {
  set(node, "datetime", at);
  set(node, "data-since", at ? Date.parse(at) : null);
}
