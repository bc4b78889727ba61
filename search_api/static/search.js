// The search page.

import { ask, preview } from "./api.js";
import * as cards from "./cards.js";
import { byId, calmly, config, el, open, percent, t, trouble, whole } from "./dom.js";
import * as facets from "./facets.js";
import { files, inputs, isEmpty, lean, prepare, query } from "./query.js";
import { references, titles } from "./product.js";
import { told } from "./why.js";
import * as weights from "./weights.js";

const SIZE = 24;
const products = new Map();
let shares = null; // of the legs, once a slider was moved
let answer = null;
let hits = [];
let running = new AbortController();
let searching = false; // a new answer is on its way: the one there is no longer what is asked

const isAbort = (error) => error.name === "AbortError";

/** Begin something new: what is still asked for is of no use any more. */
function begin() {
  running.abort();
  running = new AbortController();
  return running.signal;
}

/** The query as it is asked: the inputs, the weights that were chosen, the filters and the facets. */
function body() {
  const known = Object.entries(shares ?? {}).filter(([leg]) => config.index.legs.includes(leg));
  return { ...inputs(), size: SIZE, explain: true, facets: facets.asked(), filters: facets.filters(), weights: Object.fromEntries(known) };
}

async function search() {
  const signal = begin();
  if (isEmpty()) {
    show(null);
    byId("status").textContent = "";
    return;
  }
  byId("status").textContent = t("search.running");
  searching = true;
  try {
    const found = await ask("/v1/search", { body: body(), files: files(), signal });
    searching = false;
    cards.clear();
    show(found);
  } catch (error) {
    if (isAbort(error)) return; // by the next one
    searching = false;
    fail(error);
  }
}

/** A query of its own: filters of the one before stay, what its facets had does not. */
function anew() {
  facets.forget();
  return search();
}

/** Weigh the answer anew, from the scores that were kept: no search. Products not seen yet are fetched. */
const reweigh = calmly(async () => {
  if (!answer) return;
  if (searching) return search(); // with the weights as they are now
  const signal = begin();
  const asked = { query_id: answer.query_id, weights: shares, size: Math.max(SIZE, hits.length) };
  try {
    let found = await ask("/v1/reweigh", { body: asked, signal });
    if (!found.hits.every((hit) => products.has(hit.id))) found = await ask("/v1/reweigh", { body: { ...asked, hydrate: true }, signal });
    show({ ...found, query_id: answer.query_id }, "search.reweighed");
  } catch (error) {
    if (error.code === "session.not_found") search();
    else if (!isAbort(error)) fail(error);
  }
}, 40);

async function more() {
  const before = answer;
  byId("more").disabled = true;
  try {
    const page = await ask("/v1/search", { body: { page: before.next } });
    if (answer !== before) return; // another query, or other weights, meanwhile
    const first = hits.length;
    keep(page.hits);
    hits = [...hits, ...page.hits];
    answer = { ...answer, next: page.next };
    draw();
    byId("results").children[first]?.querySelector("button")?.focus();
  } catch (error) {
    if (answer === before) fail(error);
  } finally {
    byId("more").disabled = false;
  }
}

function keep(some) {
  for (const hit of some) if (hit.product) products.set(hit.id, hit.product);
}

/** Show an answer; null: nothing was asked. */
function show(found, said = "search.found") {
  answer = found;
  hits = found?.hits ?? [];
  keep(hits);
  byId("side").hidden = !found;
  notices();
  draw();
  if (!found) return;
  byId("status").textContent = t(said, { shown: whole(hits.length), total: whole(found.total_matched), ms: whole(Math.round(found.took_ms)) });
  weights.show(byId("weights"), found.explain?.legs ?? {}, (given) => {
    shares = given;
    reweigh();
  });
  facets.show(byId("facets"), found.facets ?? {}, search);
  byId("facets-reset").hidden = !facets.any();
}

function draw() {
  cards.show(byId("results"), hits, products, {
    why: (id, title) => why(id, title),
    more: (id, title) => lean("likes", id, title),
    less: (id, title) => lean("unlikes", id, title),
  });
  byId("more").hidden = !answer?.next;
}

/** What was heard, what was left out, and why there is nothing. */
function notices() {
  const heard = Object.values(answer?.recognised ?? {}).map((one) => el(
    "div", { className: "notice" }, el("p", {}, t("search.heard"), " ", el("q", { lang: one.language }, one.text), ` (${one.language}, ${percent(one.confidence)})`)));
  const lost = answer?.degraded?.length ? [el(
    "div", { className: "notice bad", role: "alert" }, el("p", {}, el("strong", {}, t("search.degraded"))),
    el("ul", {}, answer.degraded.map((one) => el("li", {}, el("code", {}, one.name), ` ${one.message} `, el("code", {}, one.code)))))] : [];
  byId("notices").replaceChildren(...heard, ...lost, ...(answer && !hits.length ? [empty()] : []));
}

function empty() {
  const reason = facets.any() ? "empty.filters" : query.text.trim() ? "empty.words" : "empty.nothing";
  const clear = el("button", { type: "button", on: { click: clearFilters } }, t("facets.reset"));
  return el("div", { className: "notice" }, el("p", {}, el("strong", {}, t("empty.title")), " ", t(reason)), facets.any() ? clear : null);
}

function clearFilters() {
  facets.reset();
  search();
}

function fail(error) {
  byId("status").textContent = t("search.failed");
  byId("notices").replaceChildren(trouble(error));
}

async function why(id, title) {
  const asked = body();
  delete asked.facets;
  try {
    const reasons = await ask("/v1/explain", { body: { ...asked, product: id }, files: files() });
    const known = products.get(id);
    const picture = references(known, config.index.images).length
      ? el("img", { src: preview(config.index.index, id, "image", 0), alt: titles(known)[0] ?? id, width: 160, height: 160 }) : null;
    open(byId("why"), t("why.title", { title }), ...told(reasons, picture).filter(Boolean));
  } catch (error) {
    fail(error);
  }
}

if (config.index) {
  prepare({ search: anew, fail });
  byId("more").addEventListener("click", more);
  byId("facets-reset").addEventListener("click", clearFilters);
  byId("weights-reset").addEventListener("click", () => {
    shares = null;
    weights.reset(byId("weights"));
    search();
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) {
    byId("text").value = query.text = asked;
    search();
  }
}
