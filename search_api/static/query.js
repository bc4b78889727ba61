// The query that a page holds: words, a picture, a sound, products to be like and not to be like. Its form is _query.html.

import { preview } from "./api.js";
import { byId, config, el, t } from "./dom.js";
import { canRecord, record } from "./sound.js";

export const query = { text: "", image: null, audio: null, likes: new Map(), unlikes: new Map() };

let changed = () => {};
let failed = () => {};

/** Whether there is anything to look for. */
export const isEmpty = () => !(query.text.trim() || query.image || query.audio || query.likes.size);

/** The inputs of the query as the API takes them; media go beside it, as files. */
export function inputs() {
  const away = [...query.unlikes.keys()];
  return {
    index: config.index.index,
    ...(query.text.trim() ? { text: query.text.trim() } : {}),
    ...(query.audio ? { audio_as: audioAs() } : {}),
    ...(query.likes.size ? { products: [...query.likes.keys()] } : {}),
    ...(away.length ? { inputs: [{ products: away, weight: -0.5 }] } : {}),
  };
}

export const files = () => ({ image: query.image, audio: query.audio });

const audioAs = () => document.querySelector("[name=audio_as]:checked")?.value ?? "sound";

/** Bring the form to life. `search` is called when the query is asked or changes by a click, `fail` with what went wrong. */
export function prepare({ search, fail }) {
  [changed, failed] = [search, fail];
  const form = byId("query");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    query.text = byId("text").value;
    changed();
  });
  byId("picture-file")?.addEventListener("change", (event) => take("image", event.target.files[0]));
  byId("sound-file")?.addEventListener("change", (event) => take("audio", event.target.files[0]));
  for (const radio of document.querySelectorAll("[name=audio_as]")) radio.addEventListener("change", () => query.audio && changed());
  prepareDropping(form);
  prepareRecording();
  showExamples();
}

/** Take a picture or sound into the query, or with null out of it. */
export function take(kind, file) {
  query[kind] = file ?? null;
  showGiven(kind);
  changed();
}

/** Add a product to those to be like, or not to be like; `title` is what its chip says. */
export function lean(which, id, title) {
  query.likes.delete(id);
  query.unlikes.delete(id);
  query[which].set(id, title);
  showChips();
  changed();
}

function showGiven(kind) {
  const slot = byId(kind === "image" ? "picture" : "sound");
  if (!slot) return;
  const box = slot.querySelector(".given");
  for (const old of box.querySelectorAll("[src]")) URL.revokeObjectURL(old.src);
  const file = query[kind];
  box.hidden = !file;
  slot.classList.toggle("full", Boolean(file));
  box.replaceChildren();
  slot.querySelector("input[type=file]").value = "";
  if (!file) return;
  const source = URL.createObjectURL(file);
  const shown = kind === "image" ? el("img", { src: source, alt: t("query.your_picture") })
    : el("audio", { src: source, controls: true, aria: { label: t("query.your_sound") } });
  const remove = el("button", { type: "button", on: { click: () => take(kind, null) } }, t(`query.remove_${kind}`));
  box.append(shown, remove);
}

function showChips() {
  const chip = (which, [id, title]) => el(
    "span", { className: `chip ${which}` },
    t(`query.${which}`, { title }),
    el("button", { type: "button", aria: { label: t("query.remove_chip", { title }) }, on: { click: () => {
      query[which].delete(id);
      showChips();
      changed();
    } } }, "×"),
  );
  const chips = ["likes", "unlikes"].flatMap((which) => [...query[which]].map((one) => chip(which, one)));
  byId("chips").replaceChildren(...chips);
  byId("chips").hidden = !chips.length;
}

function prepareDropping(form) {
  const offered = (list) => [...(list ?? [])].find((file) => /^(image|audio)\//.test(file.type));
  const accept = (file) => {
    const kind = file.type.startsWith("image/") ? "image" : "audio";
    if (byId(kind === "image" ? "picture" : "sound")) take(kind, file);
  };
  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    const file = offered(event.dataTransfer.files);
    if (file) accept(file);
  });
  document.addEventListener("paste", (event) => {
    const file = offered(event.clipboardData?.files);
    if (file) accept(file);
  });
}

function prepareRecording() {
  const button = byId("record");
  if (!button) return;
  if (!canRecord()) {
    button.disabled = true;
    button.title = t("query.needs_https");
    return;
  }
  let stop = null;
  const show = (recording) => {
    button.setAttribute("aria-pressed", String(recording));
    button.textContent = t(recording ? "query.stop_recording" : "query.record");
  };
  button.addEventListener("click", async () => {
    if (stop) {
      stop();
      return;
    }
    try {
      stop = await record((file, error) => {
        stop = null;
        show(false);
        if (file) take("audio", file);
        else failed(error);
      });
      show(true);
    } catch {
      failed(new Error(t("query.no_microphone")));
    }
  });
}

function showExamples() {
  const { words, image, audio } = config.index.examples;
  const { index, takes } = config.index;
  const fetched = (kind, id) => async () => {
    try {
      const answer = await fetch(preview(index, id, kind, 0));
      if (!answer.ok) throw new Error(t("examples.gone"));
      const blob = await answer.blob();
      take(kind, new File([blob], `${kind === "image" ? "example.jpg" : "example.wav"}`, { type: blob.type }));
    } catch (error) {
      failed(error);
    }
  };
  const say = (text) => () => {
    byId("text").value = query.text = text;
    changed();
  };
  const button = (heard, ...shown) => el("button", { type: "button", on: { click: heard } }, ...shown);
  const buttons = [
    ...words.map((text) => button(say(text), text)),
    ...(takes.image ? image.map((id, place) => button(
      fetched("image", id),
      el("img", { src: preview(index, id, "image", 0), alt: "", width: 40, height: 40 }), t("examples.image", { number: place + 1 }))) : []),
    ...(takes.audio ? audio.map((id, place) => button(fetched("audio", id), `♪ ${t("examples.audio", { number: place + 1 })}`)) : []),
  ];
  if (buttons.length) byId("examples").append(el("span", {}, t("examples.title")), ...buttons);
}

