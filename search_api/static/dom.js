// What all pages share: the page's data, its texts, and making elements. Text only ever goes in as text.

export const config = JSON.parse(document.body.dataset.config);
export const language = config.language;

/** A text of the page in the reader's language; {name} is filled in. */
export function t(key, values = {}) {
  const text = config.texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

/** An element. `on` are listeners, `data` its data-*, `aria` its aria-*; other properties are set as they are. */
export function el(tag, { on = {}, data = {}, aria = {}, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value !== undefined && value !== null) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
  }
  for (const [name, value] of Object.entries(aria)) node.setAttribute(`aria-${name}`, value);
  Object.assign(node.dataset, data);
  for (const [name, heard] of Object.entries(on)) node.addEventListener(name, heard);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat());
  return node;
}

export const byId = (id) => document.getElementById(id);

export const number = (value, digits = 2) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value + 0);
export const whole = (value) => new Intl.NumberFormat(language).format(value);
export const percent = (value) => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(value);

/** A box with what went wrong: a problem of the API, or anything else that was thrown. */
export function trouble(error) {
  return el(
    "div", { className: "notice bad", role: "alert" },
    el("p", {}, el("strong", {}, error.message), error.remedy && error.remedy !== error.message ? ` ${error.remedy}` : ""),
    error.code ? el("p", {}, el("code", {}, error.code), error.field ? ` · ${error.field}` : "") : null,
  );
}

/** A table: the words of its head, and rows of texts or elements. */
export function table(caption, head, rows) {
  return el(
    "div", { className: "scroll", tabIndex: 0, role: "region", aria: { label: caption } },
    el(
      "table", {},
      el("caption", { className: "unseen" }, caption),
      el("thead", {}, el("tr", {}, head.map((word) => el("th", { scope: "col" }, word)))),
      el("tbody", {}, rows.map((row) =>
        el("tr", {}, row.map((cell, place) => el(place ? "td" : "th", place ? {} : { scope: "row" }, cell))))),
    ),
  );
}

/** A dialog with a heading and a button that closes it. */
export function open(dialog, title, ...children) {
  const close = el("button", { type: "button", className: "close", on: { click: () => dialog.close() } }, t("close"));
  dialog.replaceChildren(el("div", { className: "head" }, el("h2", { id: dialog.getAttribute("aria-labelledby") }, title), close), ...children);
  if (!dialog.open) dialog.showModal();
}

/** Run `work` once nothing has asked for it for so many milliseconds. */
export function calmly(work, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

byId("index")?.addEventListener("change", (event) => event.target.form.requestSubmit());
