// What each leg gave to a hit, as a bar; and the colour of each leg.

import { config, el, number } from "./dom.js";

const COLOURS = 8;
const named = (config.index?.legs ?? []).filter((leg) => !leg.startsWith("vector."));
const known = new Map(named.map((leg, place) => [leg, place % COLOURS]));

/** The class of a leg's colour, the same all over the page. */
export function colour(leg) {
  if (!known.has(leg)) known.set(leg, known.size % COLOURS);
  return `leg${known.get(leg)}`;
}

/** Growth of a part of a bar. Shares that add up to less than 1 would leave a gap. */
const grown = (amount, most) => String((1000 * Math.abs(amount)) / most);

/** A bar whose parts are the legs' contributions; those below zero are striped. `most` is the greatest sum of any hit. */
export function bar(legs, most) {
  const parts = Object.entries(legs);
  const said = parts.map(([leg, part]) => `${leg} ${number(part.contribution)}`).join(", ");
  const shown = parts.map(([leg, part]) => {
    const segment = el("span", { className: `${colour(leg)}${part.contribution < 0 ? " minus" : ""}`, title: `${leg} ${number(part.contribution)}` });
    segment.style.flexGrow = grown(part.contribution, most);
    return segment;
  });
  const sum = parts.reduce((total, [, part]) => total + Math.abs(part.contribution), 0);
  const rest = el("span", { className: "rest" });
  rest.style.flexGrow = grown(Math.max(0, most - sum), most);
  return el("div", { className: "bar", role: "img", aria: { label: said } }, shown, rest);
}

/** The greatest sum of contributions of some hits. */
export const mostOf = (hits) =>
  Math.max(1e-6, ...hits.map((hit) => Object.values(hit.legs).reduce((total, part) => total + Math.abs(part.contribution), 0)));
