// The HTTP API as the pages ask it: docs/http-api.md.

import { t } from "./dom.js";

/** An error of the API (problem+json), or of the way to it. */
export class Problem extends Error {
  constructor(body) {
    super(body.title);
    Object.assign(this, { code: body.code, field: body.field, remedy: body.remedy, status: body.status });
  }
}

/** The JSON that a path answers. `body` is sent as JSON, or with `files` as a form whose part `query` it is. */
export async function ask(path, { method, body, files = {}, signal } = {}) {
  const given = Object.entries(files).filter(([, file]) => file);
  const options = { method: method ?? (body ? "POST" : "GET"), signal, headers: {} };
  if (given.length) {
    options.body = new FormData();
    options.body.set("query", JSON.stringify(body));
    for (const [name, file] of given) options.body.set(name, file, file.name || name);
  } else if (body) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: t("api.away"), code: "api.away" });
  }
  if (answer.status === 204) return null;
  const data = await answer.json().catch(() => ({ title: t("api.not_json"), code: `http.${answer.status}` }));
  if (!answer.ok) throw new Problem(data);
  return data;
}

/** The address of a preview of a product's medium: by its number, or by the name that answers and dead letters tell. */
export function preview(index, id, modality, which) {
  const where = typeof which === "number" ? { n: which } : { name: which };
  return `/media/${modality}?${new URLSearchParams({ index, id, ...where })}`;
}
