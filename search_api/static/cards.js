// Hits as cards. A card that is shown already is moved and not made anew, so a sound that plays goes on.

import { preview } from "./api.js";
import { bar, mostOf } from "./bars.js";
import { config, el, number, percent, t } from "./dom.js";
import { category, price, references, titles } from "./product.js";

const cards = new Map();

/** Show hits in a list. `products` has what is known of products by id; `on` has the handlers why, more and less. */
export function show(list, hits, products, on) {
  const most = mostOf(hits);
  const nodes = hits.map((hit, place) => {
    const card = cards.get(hit.id) ?? make(hit, products.get(hit.id), on);
    cards.set(hit.id, card);
    update(card, hit, place + 1, most);
    return card;
  });
  list.replaceChildren(...nodes);
}

/** Forget the cards of an earlier query. */
export const clear = () => cards.clear();

function make(hit, product, on) {
  const { index, images, audio } = config.index;
  const [title = hit.id, second] = titles(product);
  const pictures = references(product, images);
  const sounds = references(product, audio);
  const button = (word, heard, said) => el(
    "button", { type: "button", aria: { label: said }, on: { click: () => heard(hit.id, title) } }, t(word));
  return el(
    "li", { className: "card", data: { id: hit.id } },
    picture(index, hit, pictures, title),
    el("div", { className: "rank" }),
    el("h3", {}, title, second ? el("small", {}, second) : null),
    el("p", { className: "category" }, category(product)),
    el("p", { className: "price" }, price(product)),
    sounds.length ? el("audio", { controls: true, preload: "none", src: preview(index, hit.id, "audio", 0), aria: { label: t("card.sound", { title }) } }) : null,
    el("div", { className: "part" }),
    el(
      "div", { className: "actions" },
      button("card.why", on.why, t("card.why_of", { title })),
      button("card.more", on.more, t("card.more_of", { title })),
      button("card.less", on.less, t("card.less_of", { title })),
    ),
  );
}

/** The picture that matched best, else the first; where it cannot be shown, a plain square. */
function picture(index, hit, pictures, title) {
  if (!pictures.length) return el("div", { className: "no-picture", aria: { hidden: "true" } }, title.slice(0, 1));
  const matched = Object.values(hit.legs).map((leg) => pictures.indexOf(leg.matched_media?.reference)).find((place) => place >= 0);
  const image = el("img", { src: preview(index, hit.id, "image", matched ?? 0), alt: title, loading: "lazy", width: 320, height: 320 });
  image.addEventListener("error", () => image.replaceWith(el("div", { className: "no-picture" }, t("card.no_picture"))));
  return image;
}

function update(card, hit, rank, most) {
  card.querySelector(".rank").textContent = String(rank);
  const relevance = hit.relevance === null ? null : t("card.relevance", { value: percent(hit.relevance) });
  card.querySelector(".part").replaceChildren(
    bar(hit.legs, most),
    el("p", { className: "score" }, [t("card.score", { value: number(hit.score) }), relevance].filter(Boolean).join(" · ")),
  );
}
