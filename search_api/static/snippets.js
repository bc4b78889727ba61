// A query as a command of curl and as a Python program of the standard library.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const given = (files) => Object.entries(files).filter(([, file]) => file);

export function curl(url, body, files) {
  const media = given(files);
  const query = JSON.stringify(body);
  if (!media.length) return `curl -s ${quoted(url)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(query)}\n`;
  return [`curl -s ${quoted(url)}`, `  -F ${quoted(`query=${query};type=application/json`)}`, ...media.map(([kind, file]) => `  -F ${quoted(`${kind}=@${file.name}`)}`)].join(" \\\n") + "\n";
}

export function python(url, body, files) {
  const media = given(files);
  return [
    ...(media.length ? ["import base64"] : []), "import json", "import urllib.request", ...(media.length ? ["from pathlib import Path"] : []), "",
    `query = ${literal(body)}`,
    ...media.map(([kind, file]) => `query[${JSON.stringify(kind)}] = {"base64": base64.b64encode(Path(${JSON.stringify(file.name)}).read_bytes()).decode()}`),
    `request = urllib.request.Request(${JSON.stringify(url)}, json.dumps(query).encode(), {"Content-Type": "application/json"})`,
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
