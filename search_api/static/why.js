// Why a product stands where it stands: POST /v1/explain, for a dialog.

import { bar, colour } from "./bars.js";
import { el, number, percent, t, table } from "./dom.js";

const amount = (value) => (value === null || value === undefined ? "–" : number(value, 3));

/** What an explanation says, as elements. */
export function told(reasons, picture) {
  const place = reasons.rank ? t("why.rank", { rank: reasons.rank }) : t("why.no_rank");
  const facts = [place, t("card.score", { value: number(reasons.score, 3) })];
  if (reasons.relevance !== null) facts.push(t("card.relevance", { value: percent(reasons.relevance) }));
  const most = Object.values(reasons.legs).reduce((sum, leg) => sum + Math.abs(leg.contribution), 0);
  return [
    el("div", { className: "why-head" }, picture ?? null, el("div", {}, el("p", { className: "facts" }, facts.join(" · ")), bar(reasons.legs, Math.max(most, 1e-6)))),
    reasons.reasons.length ? el("ul", {}, reasons.reasons.map((one) => el("li", {}, el("strong", {}, t(`reason.${one.reason}`)), ` ${one.message}`))) : null,
    legs(reasons),
    lifts(reasons),
    el("p", { className: "hint" }, t("why.formula")),
  ];
}

function legs(reasons) {
  const last = reasons.last_shown?.legs ?? {};
  const head = ["leg", "status", "rank", "raw", "floor", "top", "normalised", "weight", "contribution"].map((word) => t(`leg.${word}`));
  if (reasons.last_shown) head.push(t("leg.last_shown"));
  return table(t("why.legs"), head, Object.entries(reasons.legs).map(([name, leg]) => [
    el("span", {}, el("span", { className: `dot ${colour(name)}` }), name),
    el("span", {}, t(`status.${leg.status}`), leg.matched_media ? el("small", {}, matched(leg.matched_media)) : null),
    leg.rank ?? "–", amount(leg.raw), amount(leg.floor), amount(leg.top), amount(leg.normalised), amount(leg.weight), amount(leg.contribution),
    ...(reasons.last_shown ? [amount(last[name]?.contribution)] : []),
  ]));
}

function matched(media) {
  const from = media.start === null ? "" : ` ${t("why.from", { seconds: number(media.start, 0) })}`;
  return ` ${media.reference.slice(0, 80)}${from}`;
}

function lifts(reasons) {
  const found = Object.entries(reasons.lifts ?? {});
  if (!found.length) return null;
  const say = ([leg, lift]) => el("li", {}, lift ? t("why.lift", { leg, share: percent(lift.share), now: percent(lift.from) })
    : t(reasons.lifts_unfinished.includes(leg) ? "why.lift_unfinished" : "why.no_lift", { leg }));
  return el("div", {}, el("h3", {}, t("why.lifts")), el("ul", {}, found.map(say)));
}
