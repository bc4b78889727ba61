"""The HTTP contract as a page to read: no script, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from search_api.openapi import document
from triptych import __version__

_STYLE: Final = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0
1rem;color:#1c2430;background:#fff} h1{font-size:1.6rem}h2{margin-top:2.2rem;font-size:1.1rem;border-bottom:1px solid
#d5dbe3;padding-bottom:.2rem}
code{font-family:ui-monospace,monospace;font-size:.92em}.m{display:inline-block;min-width:3.2rem;font-weight:700;color:#0b6b50}
table{border-collapse:collapse;width:100%;margin:.6rem 0}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem
0; border-bottom:1px solid #edf0f4}th{color:#57647a;font-weight:600}a{color:#0a58ca}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#d8dee8}h2{border-color:#2b3442}td,th{border-color:#222a35}
.m{color:#5fd3ae}a{color:#7fb2ff}th{color:#93a1b5}}"""


@cache
def page() -> str:
    """The page."""
    spec = document()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Triptych HTTP API</title><style>{_STYLE}</style><h1>Triptych HTTP API <small>{__version__}</small></h1>",
        "<p>Errors are problems (RFC 9457) with a stable <code>code</code>.",
        "As a document for machines: <a href=/v1/openapi.json>OpenAPI 3.1</a>.</p>",
    ]
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2><span class=m>{method.upper()}</span> <code>{html.escape(path)}</code></h2>")
            parts.append(f"<p>{html.escape(operation['summary'])}.</p>")
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
            if body:
                parts.append(_table("request", _schema(spec, body)))
            answer = (
                next(iter(operation["responses"].values()))["content"].get("application/json", {}).get("schema", {}).get("$ref")
            )
            if answer:
                parts.append(_table("answer", _schema(spec, answer)))
    for name, schema in sorted(spec["components"]["schemas"].items()):
        if schema.keys() & {"properties", "enum", "anyOf"}:
            parts.append(f"<h2 id={html.escape(name)}><code>{html.escape(name)}</code></h2>")
            parts.append(f"<p>{html.escape(schema.get('description', '')).replace(chr(10) + chr(10), '<p>')}</p>")
            parts.append(_table("field", schema))
    return "\n".join(parts)


def _schema(spec: Mapping[str, Any], ref: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["components"]["schemas"][ref.rpartition("/")[2]]
    return found


def _table(heading: str, schema: Mapping[str, Any]) -> str:
    if "properties" not in schema:  # one of several forms, or of some values
        return f"<p>{heading.capitalize()}: {_form(schema)}</p>"
    rows = [f"<table><tr><th>{heading}<th>form<th>default<th>meaning"]
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        given = one.get("default")
        default = "required" if name in required else "" if given in (None, {}, []) else html.escape(str(given))
        meaning = html.escape(one.get("description", ""))
        rows.append(f"<tr><td><code>{html.escape(name)}</code><td>{_form(one)}<td>{default}<td>{meaning}")
    return "".join(rows) + "</table>"


def _form(one: Mapping[str, Any]) -> str:
    """The form of a value in a few words."""
    if "$ref" in one:
        name = html.escape(one["$ref"].rpartition("/")[2])
        return f"<a href=#{name}>{name}</a>"
    if "anyOf" in one:
        return " or ".join(_form(part) for part in one["anyOf"] if part.get("type") != "null")
    if "enum" in one:
        return ", ".join(f"<code>{html.escape(str(value))}</code>" for value in one["enum"])
    if one.get("type") == "array":
        return f"list of {_form(one.get('items', {}))}"
    if one.get("type") == "object" and isinstance(one.get("additionalProperties"), Mapping):
        return f"object of {_form(one['additionalProperties'])}"
    return html.escape(str(one.get("type", "any")))
