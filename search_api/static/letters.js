// Dead letters of a job: why, how many, and which; with the picture or sound that failed, where its product is in the index.

import { ask, preview } from "./api.js";
import { byId, el, t, table, whole } from "./dom.js";

const SIZE = 60;

/** What may be over by now, and what breaks off, of which the first part can be shown. What is no picture, or may not be fetched or decoded, is none here either. */
const SHOWN = new Set(["batch_timeout", "fetch_timeout", "host_resting", "host_unknown", "host_unreachable", "http_status", "truncated"].map((code) => `media.${code}`));
let code = null;
let shown = "";

/** Forget which code was chosen. */
export function forget() {
  code = null;
  shown = "";
}

/** Show the dead letters of a job. `redrive` gets which of them shall be tried again. */
export async function show(job, redrive) {
  const which = code ? `&${new URLSearchParams({ code })}` : "";
  const path = `/v1/jobs/${encodeURIComponent(job.id)}`;
  const [{ letters }, { reasons }] = await Promise.all([ask(`${path}/letters?size=${SIZE}${which}`), ask(path)]);
  byId("job-dead").hidden = false;
  const now = JSON.stringify([letters, reasons, code]);
  if (now === shown) return;
  shown = now;
  const choose = (next) => {
    code = next;
    return show(job, redrive);
  };
  byId("job-reasons").replaceChildren(...[
    table(t("letters.reasons"), ["code", "stage", "modality", "letters", "again"].map((word) => t(`letters.${word}`)), reasons.map((reason) => [
      el("button", { type: "button", className: "plain", aria: { pressed: String(code === reason.code) }, on: { click: () => choose(code === reason.code ? null : reason.code) } }, reason.code),
      reason.stage, reason.modality ?? t("letters.whole"), whole(reason.letters),
      el("button", { type: "button", aria: { label: t("letters.redrive_code", { code: reason.code }) }, on: { click: () => redrive({ code: reason.code }) } }, t("letters.redrive")),
    ])),
    el("button", { type: "button", on: { click: () => redrive({}) } }, t("letters.redrive_all")),
  ]);
  const more = job.dead_letters > letters.length && !code ? el("li", {}, t("letters.first", { shown: whole(letters.length), all: whole(job.dead_letters) })) : null;
  byId("job-letters").replaceChildren(...letters.map(letter), ...(more ? [more] : []));
}

function letter(one) {
  const where = [t("letters.line", { line: one.line }), one.product_id ?? "", one.stage].filter(Boolean).join(" · ");
  return el(
    "li", { className: "letter" },
    medium(one),
    el("div", {}, el("p", {}, el("strong", {}, one.code), " ", one.message), el("p", { className: "hint" }, where),
      one.reference ? el("p", {}, el("code", {}, one.reference.slice(0, 300))) : null),
  );
}

/** The picture that failed, as far as there is one; a plain square where there is none. */
function medium(one) {
  const none = () => el("div", { className: "no-picture" }, t(one.modality === "audio" ? "letters.no_sound" : one.modality === "image" ? "letters.no_picture" : "letters.no_medium"));
  if (!one.product_id || !one.reference || one.modality !== "image" || (one.code.startsWith("media.") && !SHOWN.has(one.code))) return none();
  const image = el("img", { src: preview(one.index, one.product_id, "image", one.reference), alt: t("letters.picture_of", { id: one.product_id }), loading: "lazy", width: 96, height: 96 });
  image.addEventListener("error", () => image.replaceWith(none()));
  return image;
}
