// The jobs page: the newest jobs, and one of them as it goes on.

import { ask } from "./api.js";
import { byId, el, open, t, table, trouble, whole } from "./dom.js";
import { Pace, counts, lasted, progress, state, when } from "./job.js";
import { forget, show as showLetters } from "./letters.js";

const chosen = new URLSearchParams(location.search).get("job");
const LIST_MILLISECONDS = 5000;
const POLL_MILLISECONDS = 2000;
const LETTERS_MILLISECONDS = 2000;
const REFUSED = [401, 403];
const pace = new Pace();
let listing = null;
let latest = null;
let lettersAt = 0;

const path = (id, what = "") => `/v1/jobs/${encodeURIComponent(id)}${what}`;

function fail(error) {
  byId("notices").replaceChildren(trouble(error));
}

async function list() {
  try {
    const { jobs } = await ask("/v1/jobs?size=30");
    const focused = document.activeElement?.dataset.job;
    byId("list").replaceChildren(jobs.length ? table(t("jobs.newest"), ["job", "index", "state", "submitted", "read", "done", "dead_letters"].map((word) => t(`jobs.${word}`)), jobs.map(row))
      : el("p", {}, t("jobs.none")));
    if (focused) [...document.querySelectorAll("[data-job]")].find((link) => link.dataset.job === focused)?.focus();
  } catch (error) {
    if (REFUSED.includes(error.status)) clearInterval(listing); // it will not be allowed the next time
    fail(error);
  }
}

function row(job) {
  const address = new URLSearchParams(location.search);
  address.set("job", job.id);
  const link = el("a", { href: `?${address}`, data: { job: job.id } }, job.catalogue.split("/").pop() || job.id);
  if (job.id === chosen) link.setAttribute("aria-current", "true");
  return [link, job.alias, state(job.state), when(job.submitted_at), whole(job.read), whole(job.read - job.pending), whole(job.dead_letters)];
}

/** Show a job as it is now. */
function show(job) {
  const before = latest?.state;
  latest = job;
  pace.add(job);
  byId("job").hidden = false;
  byId("job-title").replaceChildren(job.catalogue, " ", state(job.state));
  byId("job-facts").textContent = [
    job.id, t("jobs.into", { index: job.alias }), t("jobs.submitted_at", { when: when(job.submitted_at) }), lasted(job),
    job.redrive_of ? t("jobs.redrive_of", { job: job.redrive_of }) : "",
  ].filter(Boolean).join(" · ");
  const said = job.error ?? job.paused_because;
  byId("job-trouble").replaceChildren(...(said ? [el("p", { className: job.error ? "notice bad" : "notice" }, said)] : []));
  byId("job-progress").replaceChildren(progress(job, pace));
  byId("job-counts").replaceChildren(counts(job));
  if (before !== job.state) {
    controls(job);
    byId("said").textContent = t(`state.${job.state}`);
  }
  if (job.dead_letters) letters();
}

async function letters(now = false) {
  if (!now && Date.now() - lettersAt < LETTERS_MILLISECONDS) return;
  lettersAt = Date.now();
  try {
    await showLetters(latest, redrive);
  } catch (error) {
    fail(error);
  }
}

function controls(job) {
  const going = ["queued", "running", "pausing", "stopping"].includes(job.state);
  const rests = ["paused", "stopped", "failed"].includes(job.state);
  const button = (word, heard, able) => el("button", { type: "button", on: { click: heard }, hidden: !able }, t(`jobs.${word}`));
  byId("job-controls").replaceChildren(
    button("pause", () => control("pause"), going && !["pausing", "stopping"].includes(job.state)),
    button("resume", () => control("resume"), rests),
    button("stop", sure, (going || job.state === "paused") && job.state !== "stopping"),
  );
}

async function control(what) {
  byId("sure").close();
  try {
    show(await ask(path(chosen, `/${what}`), { method: "POST" }));
    follow();
  } catch (error) {
    fail(error);
  }
}

function sure() {
  open(byId("sure"), t("jobs.stop_sure"), el("p", {}, t("jobs.stop_means")),
    el("button", { type: "button", className: "main", on: { click: () => control("stop") } }, t("jobs.stop")));
}

/** Try dead letters again, all or those of a code: a new job, which is shown then. */
async function redrive(which) {
  try {
    const job = await ask(path(chosen, "/redrive"), { body: which });
    const address = new URLSearchParams(location.search);
    address.set("job", job.id);
    location.search = address;
  } catch (error) {
    fail(error);
  }
}

let stream = null;
let polling = null;

/** Follow the job by server-sent events; where those cannot be had, by asking now and then. */
function follow() {
  stream?.close();
  clearTimeout(polling);
  stream = new EventSource(path(chosen, "/events"));
  stream.addEventListener("progress", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("end", (event) => {
    stream.close();
    show(JSON.parse(event.data));
    if (latest.dead_letters) letters(true);
    list();
  });
  stream.addEventListener("error", () => {
    stream.close();
    poll();
  });
}

async function poll() {
  try {
    show(await ask(path(chosen)));
    if (["queued", "running", "pausing", "stopping"].includes(latest.state)) polling = setTimeout(poll, POLL_MILLISECONDS);
  } catch (error) {
    fail(error);
    if (error.status !== 404) polling = setTimeout(poll, 2 * POLL_MILLISECONDS);
  }
}

listing = setInterval(() => document.visibilityState === "visible" && list(), LIST_MILLISECONDS);
list();
if (chosen) {
  forget();
  follow();
}
