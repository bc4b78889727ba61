// A slider per leg. They say shares of each other: all at 100 is the same as all at 50.

import { colour } from "./bars.js";
import { el, percent, t } from "./dom.js";

/** Show the sliders of an answer's legs. `changed` gets every leg's share, 0 to 1, as sliders are moved. */
export function show(box, legs, changed) {
  const names = Object.keys(legs);
  if ([...box.querySelectorAll("input")].map((input) => input.name).join() === names.join()) {
    return names.forEach((name) => say(box, name, legs[name].weight));
  }
  const heard = () => changed(Object.fromEntries([...box.querySelectorAll("input")].map((one) => [one.name, one.value / 100])));
  box.replaceChildren(...names.map((name, place) => el(
    "div", { className: "slider" },
    el("label", { htmlFor: `weight-${place}` }, el("span", { className: `dot ${colour(name)}` }), name),
    el("output", { htmlFor: `weight-${place}`, data: { leg: name } }),
    el("input", { type: "range", id: `weight-${place}`, name, min: 0, max: 100, step: 1, value: Math.round(100 * Math.max(0, legs[name].weight)), on: { input: heard } }),
    el("p", { className: "hint" }, legs[name].reliability === null ? "" : t("weights.reliability", { value: percent(legs[name].reliability) })),
  )));
  names.forEach((name) => say(box, name, legs[name].weight));
  return undefined;
}

/** Put the sliders where the measured weights are. */
export function reset(box) {
  box.replaceChildren();
}

function say(box, name, weight) {
  const output = [...box.querySelectorAll("output")].find((one) => one.dataset.leg === name);
  output.value = percent(weight);
}
