// How each leg's raw scores are spread, with its floor and its top: what is left of the floor means nothing.

import { colour } from "./bars.js";
import { el, number, svg, t } from "./dom.js";

const [WIDTH, HEIGHT, BINS] = [320, 90, 32];

/** A figure per leg, of the hits of all answers together. */
export function drawn(answers) {
  const legs = new Map();
  for (const { hits, explain } of answers) {
    for (const [name, { floor, top }] of Object.entries(explain?.legs ?? {})) {
      const leg = legs.get(name) ?? { floor, top, raw: new Map() };
      legs.set(name, leg);
      for (const hit of hits) if (hit.legs[name]?.raw != null) leg.raw.set(hit.id, hit.legs[name].raw);
    }
  }
  return [...legs].filter(([, leg]) => leg.raw.size).map(([name, leg]) => figure(name, leg));
}

function figure(name, { floor, top, raw }) {
  const values = [...raw.values()];
  const low = Math.min(floor, ...values);
  const high = Math.max(top, ...values);
  const wide = high - low || 1;
  const at = (value) => ((value - low) / wide) * WIDTH;
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor(((value - low) / wide) * BINS))] += 1;
  const most = Math.max(...counts);
  const bars = counts.map((count, bin) => svg("rect", {
    x: (bin * WIDTH) / BINS + 0.5, width: WIDTH / BINS - 1, y: HEIGHT - (count / most) * (HEIGHT - 14), height: (count / most) * (HEIGHT - 14), class: "count" }));
  const mark = (value, word) => svg("g", { class: word }, svg("line", { x1: at(value), x2: at(value), y1: 0, y2: HEIGHT }),
    svg("text", { x: Math.min(WIDTH - 34, at(value) + 3), y: 10 }, t(`leg.${word}`)));
  const above = values.filter((value) => value > floor).length;
  const said = t("spread.said", { leg: name, n: values.length, low: number(Math.min(...values), 3), high: number(Math.max(...values), 3), floor: number(floor, 3), top: number(top, 3), above });
  return el("figure", {}, svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said, class: `chart ${colour(name)}-ink` }, bars, mark(floor, "floor"), mark(top, "top")),
    el("figcaption", {}, el("span", { className: `dot ${colour(name)}` }), said));
}
