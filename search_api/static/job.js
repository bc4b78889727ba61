// What of a job is shown: its state, its progress and pace, its counters.

import { el, language, number, percent, t, table, whole } from "./dom.js";

const OUTCOMES = ["written", "unchanged", "partial", "deleted", "dead", "pending"];
const PACE_MILLISECONDS = 20000;

export const state = (name) => el("span", { className: `state ${name}` }, t(`state.${name}`));

export const when = (time) => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(time));

/** Seconds as minutes and hours. */
function span(seconds) {
  if (seconds < 60) return t("time.seconds", { n: whole(Math.ceil(seconds)) });
  if (seconds < 3600) return t("time.minutes", { n: whole(Math.ceil(seconds / 60)) });
  return t("time.hours", { n: number(seconds / 3600, 1) });
}

/** How long an ended job took. */
export function lasted(job) {
  if (!job.finished_at) return "";
  return t("jobs.lasted", { span: span((new Date(job.finished_at) - new Date(job.submitted_at)) / 1000) });
}

/** How fast a job goes: records that ended per second, over the last seconds that this page has seen. */
export class Pace {
  #seen = [];

  add(job) {
    const now = Date.now();
    this.#seen.push([now, job.read - job.pending]);
    while (this.#seen.length > 2 && now - this.#seen[0][0] > PACE_MILLISECONDS) this.#seen.shift();
  }

  /** Records a second; 0 where that is not known yet. */
  get rate() {
    const [[began, first], [ended, last]] = [this.#seen[0], this.#seen[this.#seen.length - 1]];
    return ended > began ? Math.max(0, (1000 * (last - first)) / (ended - began)) : 0;
  }
}

/** A bar of the outcomes, and in words how far it is. */
export function progress(job, pace) {
  const done = job.read - job.pending;
  const parts = OUTCOMES.map((name) => {
    const part = el("span", { className: `outcome-${name}`, title: `${t(`outcome.${name}`)} ${whole(job[name])}` });
    part.style.flexGrow = String(job[name]);
    return part;
  });
  const facts = [t(job.reading ? "jobs.done_so_far" : "jobs.done_of", { done: whole(done), read: whole(job.read), share: percent(job.read ? done / job.read : 1) })];
  if (job.state === "running" && pace.rate > 0) {
    facts.push(t("jobs.rate", { rate: number(pace.rate, 1) }));
    if (!job.reading) facts.push(t("jobs.left", { span: span(job.pending / pace.rate) }));
  }
  const said = facts.join(" · ");
  return el("div", {}, el("div", { className: "bar big", role: "img", aria: { label: said } }, parts), el("p", { id: "pace" }, said));
}

/** The outcomes by kind. */
export function counts(job) {
  const rows = OUTCOMES.map((name) => [
    el("span", {}, el("span", { className: `dot outcome-${name}` }), t(`outcome.${name}`)), whole(job[name]), job.read ? percent(job[name] / job.read) : "–"]);
  return table(t("jobs.outcomes"), [t("jobs.outcome"), t("jobs.records"), t("jobs.share")], rows);
}
