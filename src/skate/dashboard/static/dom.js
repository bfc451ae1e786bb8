// Elements without HTML strings: text is always text, so nothing a user names can become markup.

// h("div.cls.other", {title, onclick, data: {…}}, child, …); children are nodes, strings, or lists of them.
export function h(spec, props, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  if (props !== null && (typeof props !== "object" || props instanceof Node || Array.isArray(props))) {
    children.unshift(props);
    props = null;
  }
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "colour") element.style.setProperty("--c", value);
    else if (key === "width") element.style.width = value;
    else if (key === "class") element.className += " " + value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  append(element, children);
  return element;
}
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}
export const $ = (selector, root = document) => root.querySelector(selector);

// A canvas in device pixels; returns its context, and its size in CSS pixels.
export function fitCanvas(canvas, options) {
  const ratio = devicePixelRatio || 1,
    width = canvas.clientWidth,
    height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d", options);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

// A list of any length: only what is in sight exists. `draw(index)` makes a row of `rowHeight` pixels.
export class VirtualList {
  constructor(draw, { rowHeight = 22, label = "list", onOpen = null } = {}) {
    this.draw = draw;
    this.rowHeight = rowHeight;
    this.count = 0;
    this.selected = -1;
    this.onOpen = onOpen;
    this.pad = h("div.pad");
    this.rows = h("div.rows", { role: "presentation" });
    this.element = h(
      "div.virtual",
      {
        tabindex: 0,
        role: "listbox",
        "aria-label": label,
        onscroll: () => this.render(),
        onkeydown: (event) => this.onKey(event),
      },
      this.pad,
      this.rows,
    );
    new ResizeObserver(() => this.render()).observe(this.element);
  }
  // Browsers have no elements taller than about 30 million pixels: beyond it the scroll position is scaled.
  get scale() {
    return Math.max(1, (this.count * this.rowHeight) / 2e7);
  }
  setCount(count) {
    const atEnd = this.isAtEnd();
    this.count = count;
    this.pad.style.height = Math.min(2e7, count * this.rowHeight) + "px";
    if (this.sticky && atEnd) this.element.scrollTop = this.element.scrollHeight;
    this.render();
  }
  isAtEnd() {
    return this.element.scrollTop + this.element.clientHeight >= this.element.scrollHeight - this.rowHeight * 2;
  }
  render() {
    const top = this.element.scrollTop,
      first = Math.max(0, Math.min(Math.floor((top * this.scale) / this.rowHeight), this.count - 1));
    const visible = Math.ceil(this.element.clientHeight / this.rowHeight) + 1,
      rows = [];
    const last = Math.min(this.count, first + visible);
    for (let i = this.scale > 1 ? Math.max(0, last - visible) : first; i < last; i++) {
      const row = this.draw(i);
      row.dataset.index = i;
      if (i === this.selected) row.classList.add("selected");
      rows.push(row);
    }
    this.rows.style.transform = `translateY(${this.scale > 1 ? Math.min(top, 2e7 - rows.length * this.rowHeight) : first * this.rowHeight}px)`;
    this.rows.replaceChildren(...rows);
  }
  show(index) {
    const y = (index * this.rowHeight) / this.scale,
      height = this.element.clientHeight;
    if (y < this.element.scrollTop) this.element.scrollTop = y;
    else if (y + this.rowHeight > this.element.scrollTop + height) this.element.scrollTop = y + this.rowHeight - height;
  }
  onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: 20, PageUp: -20 }[event.key];
    if (step) {
      event.preventDefault();
      event.stopPropagation();
      this.selected = Math.max(0, Math.min(this.count - 1, this.selected + step));
      this.show(this.selected);
      this.render();
    } else if (event.key === "Enter" && this.selected >= 0 && this.onOpen) this.onOpen(this.selected);
  }
}
