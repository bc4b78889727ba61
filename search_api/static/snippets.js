// A query as a command of curl and as a Python program of the standard library. Where keys are asked for, the key is the variable KEY.

import { config } from "./dom.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const given = (files) => Object.entries(files).filter(([, file]) => file);

export function curl(url, body, files) {
  const media = given(files);
  const query = JSON.stringify(body);
  const key = config.keys ? [`  -H "Authorization: Bearer $KEY"`] : [];
  if (!media.length) return `curl -s ${[quoted(url), ...key].join(" \\\n")} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(query)}\n`;
  return [`curl -s ${quoted(url)}`, ...key, `  -F ${quoted(`query=${query};type=application/json`)}`, ...media.map(([kind, file]) => `  -F ${quoted(`${kind}=@${file.name}`)}`)].join(" \\\n") + "\n";
}

export function python(url, body, files) {
  const media = given(files);
  const key = config.keys ? ', "Authorization": f"Bearer {os.environ[\'KEY\']}"' : "";
  return [
    ...(media.length ? ["import base64"] : []), "import json", ...(config.keys ? ["import os"] : []), "import urllib.request", ...(media.length ? ["from pathlib import Path"] : []), "",
    `query = ${literal(body)}`,
    ...media.map(([kind, file]) => `query[${JSON.stringify(kind)}] = {"base64": base64.b64encode(Path(${JSON.stringify(file.name)}).read_bytes()).decode()}`),
    `request = urllib.request.Request(${JSON.stringify(url)}, json.dumps(query).encode(), {"Content-Type": "application/json"${key}})`,
    "with urllib.request.urlopen(request) as answer:", '    for hit in json.load(answer)["hits"]:', '        print(hit["id"], hit["score"])', "",
  ].join("\n");
}

/** JSON as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}
