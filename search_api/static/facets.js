// Facets: what of the answer has which value, and filters by it. Every filter is a new query, as it holds within every leg.

import { config, el, t, whole } from "./dom.js";

const chosen = new Map();
const limits = new Map();
const seen = new Map();

/** What is asked to be counted. */
export const asked = () => Object.fromEntries([
  ...config.index.facets.map((field) => [field, { size: 12 }]),
  ...config.index.numbers.map((field) => [field, {}]),
]);

/** The filters that are chosen, as the API takes them. */
export function filters() {
  const values = [...chosen].filter(([, some]) => some.size).map(([field, some]) => [field, [...some]]);
  const ranges = [...limits].filter(([, range]) => Object.keys(range).length);
  return Object.fromEntries([...values, ...ranges]);
}

export const any = () => Object.keys(filters()).length > 0;

/** Take back all filters. */
export function reset() {
  chosen.clear();
  limits.clear();
}

/** A new query: what its facets have is not known yet. */
export const forget = () => seen.clear();

/** Show the facets of an answer; `changed` is called when a filter is chosen. */
export function show(box, facets, changed) {
  const focused = document.activeElement?.id;
  const fields = [
    ...config.index.numbers.filter((field) => facets[field]).map((field) => range(field, facets[field], changed)),
    ...config.index.facets.filter((field) => facets[field]).map((field) => values(field, facets[field], changed)),
  ];
  box.replaceChildren(...fields.filter(Boolean));
  if (focused && box.querySelector(`#${CSS.escape(focused)}`)) document.getElementById(focused).focus();
}

function values(field, facet, changed) {
  const picked = chosen.get(field) ?? new Set();
  const counts = new Map(facet.values.map((one) => [one.value, one.count]));
  const known = seen.get(field) ?? new Set();
  for (const value of [...counts.keys(), ...picked]) known.add(value);
  seen.set(field, known);
  if (known.size < 2 && !picked.size) return null;
  const rows = [...known].slice(0, 24).map((value, place) => {
    const id = `facet-${field}-${place}`;
    const box = el("input", { type: "checkbox", id, checked: picked.has(value), on: { change: (event) => {
      if (event.target.checked) picked.add(value);
      else picked.delete(value);
      chosen.set(field, picked);
      changed();
    } } });
    return el("label", { htmlFor: id }, box, el("span", {}, String(value)), el("span", { className: "count" }, whole(counts.get(value) ?? 0)));
  });
  return el("fieldset", { className: "facet" }, el("legend", {}, name(field)), rows);
}

function range(field, facet, changed) {
  const now = limits.get(field) ?? {};
  if ((facet.min === null || facet.min === undefined || facet.min === facet.max) && !Object.keys(now).length) return null;
  const input = (word, limit, hint) => {
    const id = `facet-${field}-${limit}`;
    return el("label", { htmlFor: id }, t(word), el("input", {
      type: "number", id, step: "any", value: now[limit] ?? "", placeholder: hint ?? "",
      on: { change: (event) => {
        const next = { ...now };
        if (event.target.value === "") delete next[limit];
        else next[limit] = Number(event.target.value);
        limits.set(field, next);
        changed();
      } },
    }));
  };
  return el(
    "fieldset", { className: "facet range" }, el("legend", {}, name(field)),
    input("facets.from", "gte", facet.min), input("facets.to", "lte", facet.max));
}

/** What a field is called: a text of the page, else its own name. */
function name(field) {
  const word = t(`field.${field}`);
  return word === `field.${field}` ? field : word;
}
