// The bench: one query by two configurations, side by side.

import { ask, preview } from "./api.js";
import { bar, colour, mostOf } from "./bars.js";
import { byId, config, el, number, open, t, trouble, whole } from "./dom.js";
import * as judging from "./judging.js";
import { files, inputs, isEmpty, prepare, query } from "./query.js";
import { references, titles } from "./product.js";
import { curl, python } from "./snippets.js";
import * as spread from "./spread.js";
import { told } from "./why.js";

const SHOWN = 20;
const LEG_SHOWN = 10;
const COMMON = 10;
const SIDES = ["a", "b"];
const products = new Map();
let answers = {};
let running = new AbortController();

const fieldset = (side) => document.querySelector(`fieldset[data-side="${side}"]`);

/** What a side's form says, as the API takes it; what is as by default is left out. */
function configuration(side) {
  const value = (name) => fieldset(side).querySelector(`[name="${name}"]`).value;
  const chosen = Object.fromEntries(["fusion", "mean", "missing", "query_class", "weight_set"].map((name) => [name, value(name)]).filter(([, word]) => word));
  const weights = [...fieldset(side).querySelectorAll("[name=weight]")].filter((input) => input.value !== "").map((input) => [input.dataset.leg, Number(input.value)]);
  const relevance = Number(value("min_relevance"));
  return {
    ...chosen, window: Number(value("window")), complete: fieldset(side).querySelector("[name=complete]").checked,
    ...(weights.length ? { weights: Object.fromEntries(weights) } : {}), ...(relevance ? { min_relevance: relevance } : {}),
  };
}

/** The whole query of a side, with all that its window holds, so that every leg's list can be read out of the hits. */
function body(side) {
  const how = configuration(side);
  const { title, images } = config.index;
  return { ...inputs(), ...how, size: how.window, explain: true, fields: [title, ...images] };
}

async function compare() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  byId("answer").hidden = isEmpty();
  byId("notices").replaceChildren();
  if (isEmpty()) return;
  byId("status").textContent = t("search.running");
  const found = await Promise.allSettled(SIDES.map((side) => ask("/v1/search", { body: body(side), files: files(), signal })));
  if (signal.aborted) return;
  answers = {};
  SIDES.forEach((side, place) => {
    const { value, reason } = found[place];
    byId(`trouble-${side}`).replaceChildren(...(reason ? [trouble(reason)] : []), ...left(value));
    if (value) answers[side] = value;
  });
  for (const hit of SIDES.flatMap((side) => answers[side]?.hits ?? [])) products.set(hit.id, hit.product);
  draw();
}

/** What was left out of an answer. */
const left = (answer) => (answer?.degraded ?? []).map((one) => el("p", { className: "notice bad" }, el("code", {}, one.name), ` ${one.message}`));

function draw() {
  const [a, b] = SIDES.map((side) => (answers[side]?.hits ?? []).map((hit) => hit.id));
  const common = a.slice(0, COMMON).filter((id) => b.slice(0, COMMON).includes(id)).length;
  byId("status").textContent = answers.a && answers.b ? t("bench.common", { common, of: COMMON }) : t("search.failed");
  SIDES.forEach((side) => {
    const answer = answers[side];
    byId(`list-${side}-facts`).textContent = answer ? t("search.found", { shown: whole(Math.min(SHOWN, answer.hits.length)), total: whole(answer.total_matched), ms: whole(Math.round(answer.took_ms)) }) : "";
    const hits = answer?.hits ?? [];
    const other = answers[side === "a" ? "b" : "a"];
    const most = mostOf(hits);
    byId(`list-${side}`).replaceChildren(...hits.slice(0, SHOWN).map((hit, place) => row(side, hit, place, other, most)));
    byId(`legs-${side}`).replaceChildren(...lists(hits));
  });
  byId("spread").replaceChildren(...spread.drawn(SIDES.map((side) => answers[side]).filter(Boolean)));
  judging.show();
}

function row(side, hit, place, other, most) {
  const [title = hit.id] = titles(products.get(hit.id));
  return el(
    "li", { data: { id: hit.id } },
    el("span", { className: "place" }, String(place + 1)),
    movement(place, other ? other.hits.findIndex((one) => one.id === hit.id) : null),
    thumbnail(hit.id, title),
    el("div", {}, el("strong", {}, title), " ", el("small", {}, hit.id), bar(hit.legs, most)),
    el("span", { className: "value" }, number(hit.score, 3)),
    judging.grades(hit.id, title),
    el("button", { type: "button", aria: { label: t("card.why_of", { title }) }, on: { click: () => why(hit.id, title, [side]) } }, t("card.why")),
  );
}

/** Where the other side has a product, `null` where there is no other side: up means higher here than there. */
function movement(place, there) {
  if (there === null) return el("span", { className: "move" });
  const [name, sign] = there < 0 ? ["only", "＋"] : there > place ? ["up", `▲${there - place}`] : there < place ? ["down", `▼${place - there}`] : ["same", "="];
  return el("span", { className: `move ${name}`, role: "img", aria: { label: t(`move.${name}`, { n: Math.abs(there - place), there: there + 1 }) } }, sign);
}

function thumbnail(id, title) {
  const plain = () => el("div", { className: "no-picture", aria: { hidden: "true" } }, title.slice(0, 1));
  if (!references(products.get(id), config.index.images).length) return plain();
  const image = el("img", { src: preview(config.index.index, id, "image", 0), alt: "", loading: "lazy", width: 44, height: 44 });
  image.addEventListener("error", () => image.replaceWith(plain()));
  return image;
}

/** Each leg's own list, as far as its products are in the answer. */
function lists(hits) {
  const names = [...new Set(hits.flatMap((hit) => Object.keys(hit.legs)))];
  return names.map((leg) => {
    const best = hits.filter((hit) => hit.legs[leg]?.rank).sort((one, two) => one.legs[leg].rank - two.legs[leg].rank).slice(0, LEG_SHOWN);
    return el("section", {}, el("h3", {}, el("span", { className: `dot ${colour(leg)}` }), leg),
      el("ol", {}, best.map((hit) => el("li", { value: hit.legs[leg].rank }, titles(products.get(hit.id))[0] ?? hit.id, " ", el("small", {}, number(hit.legs[leg].raw, 3))))));
  });
}

/** Explanations of a product on one side or both, in a dialog. */
async function why(id, title, sides) {
  const found = await Promise.allSettled(sides.map((side) => {
    const { fields, ...asked } = body(side);
    return ask("/v1/explain", { body: { ...asked, size: SHOWN, product: id }, files: files() });
  }));
  const parts = found.flatMap(({ value, reason }, place) => [
    el("h3", {}, sides[place].toUpperCase()), ...(value ? told(value).filter(Boolean) : [trouble(reason)])]);
  open(byId("dialog"), t("why.title", { title }), ...parts);
}

function snippet(side, write) {
  const { fields, ...asked } = body(side);
  const text = write(`${location.origin}/v1/search`, { ...asked, size: COMMON }, files());
  const copy = el("button", { type: "button", className: "main", on: { click: async () => {
    await navigator.clipboard?.writeText(text).catch(() => {});
    copy.textContent = t("bench.copied");
  } } }, t("bench.copy"));
  open(byId("dialog"), t("bench.snippet", { side: side.toUpperCase() }), el("pre", { tabIndex: 0 }, text), copy);
}

if (config.index) {
  prepare({ search: compare, fail: (error) => byId("notices").replaceChildren(trouble(error)) });
  judging.prepare(() => ({ ...inputs(), files: files() }));
  byId("sides").addEventListener("submit", (event) => event.preventDefault());
  byId("sides").addEventListener("change", () => !isEmpty() && compare());
  for (const side of SIDES) {
    fieldset(side).querySelector("[name=curl]").addEventListener("click", () => snippet(side, curl));
    fieldset(side).querySelector("[name=python]").addEventListener("click", () => snippet(side, python));
  }
  byId("why-not").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = byId("why-not-id").value.trim();
    why(id, titles(products.get(id))[0] ?? id, SIDES);
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) {
    byId("text").value = query.text = asked;
    compare();
  }
}
