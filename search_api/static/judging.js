// Judgements made on the bench: kept by the API, or as the files that `triptych evaluate` takes: qrels.txt, queries.jsonl, media.

import { ask } from "./api.js";
import { byId, config, el, t, trouble, whole } from "./dom.js";

const GRADES = ["", "0", "1", "2", "3"];
const place = `triptych.judged.${config.index?.index}`;
const judged = new Map(Object.entries(read()));
const media = new Map();
let asked = () => ({});

/** `current` gives the query that is judged. */
export function prepare(current) {
  asked = current;
  show();
}

/** A choice of grades for a product under the query at hand. */
export function grades(id, title) {
  const known = judged.get(name(asked()))?.grades[id] ?? "";
  return el("select", { aria: { label: t("judged.grade_of", { title }) }, on: { change: (event) => judge(id, event.target.value) } },
    GRADES.map((grade) => el("option", { value: grade, selected: String(known) === grade }, grade || "–")));
}

function judge(id, grade) {
  const query = asked();
  const qid = name(query);
  const one = judged.get(qid) ?? { query: written(qid, query), grades: {} };
  if (grade === "") delete one.grades[id];
  else one.grades[id] = Number(grade);
  if (Object.keys(one.grades).length) judged.set(qid, one);
  else judged.delete(qid);
  for (const [kind, file] of Object.entries(query.files)) if (file) media.set(one.query[kind], file);
  keep();
  for (const select of document.querySelectorAll(`[data-id="${CSS.escape(id)}"] select`)) select.value = grade;
  show();
}

/** How much was judged, and the files of it. */
export function show() {
  const all = [...judged.values()].reduce((sum, one) => sum + Object.keys(one.grades).length, 0);
  byId("judged-facts").textContent = t("judged.facts", { grades: whole(all), queries: whole(judged.size) });
  const clear = el("button", { type: "button", hidden: !all, on: { click: () => {
    judged.clear();
    media.clear();
    keep();
    for (const select of document.querySelectorAll(".ranking select")) select.value = "";
    show();
  } } }, t("judged.clear"));
  byId("judged-files").replaceChildren(
    download("qrels.txt", all, () => qrels()), download("queries.jsonl", all, () => [...judged.values()].map((one) => `${JSON.stringify(one.query)}\n`).join("")),
    ...[...media].map(([file, data]) => download(file, 1, () => data)),
    el("button", { type: "button", className: "main", hidden: !all, on: { click: (event) => save(event.target) } }, t("judged.save")), clear);
}

/** Keep all of them in the index of judgements. */
async function save(button) {
  const judgements = [...judged.values()].map(({ query, grades }) => ({ query, grades: fit(grades) })).filter((one) => Object.keys(one.grades).length);
  button.disabled = true;
  try {
    const kept = await ask("/v1/judgements", { body: { index: config.index.index, judgements } });
    byId("judged-facts").textContent = t("judged.saved", { grades: whole(kept.grades), queries: whole(kept.queries) });
  } catch (error) {
    byId("notices").replaceChildren(trouble(error));
  } finally {
    button.disabled = false;
  }
}

/** Grades of ids that qrels can hold: without a blank. */
const fit = (grades) => Object.fromEntries(Object.entries(grades).filter(([id]) => !/\s/.test(id)));

/** TREC's form: query, 0, product, grade. An id with a blank in it has no place there. */
const qrels = () => [...judged].flatMap(([qid, one]) => Object.entries(fit(one.grades)).map(([id, grade]) => `${qid} 0 ${id} ${grade}\n`)).join("");

function download(file, able, make) {
  return el("button", { type: "button", disabled: !able, on: { click: () => {
    const address = URL.createObjectURL(new Blob([make()]));
    el("a", { href: address, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  } } }, file);
}

/** A query as a line of queries.jsonl. */
function written(qid, { text, audio_as, products = [], files }) {
  const file = (kind) => (files[kind] ? { [kind]: `${qid}.${(files[kind].name.split(".").pop() || kind).replace(/\W/g, "")}` } : {});
  return { qid, ...(text ? { text } : {}), ...file("image"), ...file("audio"), ...(audio_as ? { audio_as } : {}), ...(products.length ? { exclude: products } : {}) };
}

/** A name that the same query always has: its words, and a number made of all of it. */
function name({ text = "", files = {}, products = [], audio_as }) {
  const all = JSON.stringify([text, audio_as, products, ...Object.values(files).map((file) => file && [file.name, file.size])]);
  let hash = 2166136261; // FNV-1a
  for (const letter of all) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619) >>> 0;
  const slug = text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40);
  return `${slug || "query"}-${hash.toString(16)}`;
}

/** Queries of words are kept by the browser; those with a picture or sound only until the page is closed. */
function keep() {
  const plain = [...judged].filter(([, one]) => !one.query.image && !one.query.audio);
  try {
    localStorage.setItem(place, JSON.stringify(Object.fromEntries(plain)));
  } catch {
    // a browser that keeps nothing: the files can still be had
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(place) ?? "{}");
  } catch {
    return {};
  }
}
