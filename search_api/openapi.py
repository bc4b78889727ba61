"""The HTTP contract as OpenAPI 3.1, made of the same models that read requests and the same dataclasses that are answered.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.json_schema import models_json_schema

from search_api.answer import SearchResult
from search_api.schemas import ExplainBody, JobBody, LetterBody, MsearchBody, ReweighBody, SearchBody
from triptych import __version__

_REF = "#/components/schemas/{model}"


class Problem(BaseModel):
    """What went wrong (RFC 9457): `code` is stable, `field` names what is at fault, `remedy` what to do."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    field: str | None = None
    remedy: str | None = None
    errors: list[dict[str, str]] | None = None


class _Endpoint(BaseModel):
    method: str
    path: str
    summary: str
    body: str | None = None
    answer: str | None = None
    errors: tuple[int, ...] = ()
    query: Mapping[str, str] = {}
    media: bool = False
    upload: bool = False
    status: int = 200
    optional: Mapping[str, str] = {}
    types: tuple[str, ...] = ("application/json",)


_LETTERS = {name: f"only those of this {name}" for name in ("code", "stage", "modality", "product")}
_FAULTS = (400, 404, 405, 409, 413, 415, 500, 502, 503)

ENDPOINTS = (
    _Endpoint(
        method="post",
        path="/v1/search",
        summary="Ranked products for a query of words, pictures, sounds, vectors and products",
        body="SearchBody",
        answer="SearchResult",
        errors=_FAULTS,
        media=True,
    ),
    _Endpoint(
        method="post",
        path="/v1/msearch",
        summary="Several queries at once, each with an answer or a problem of its own",
        body="MsearchBody",
        errors=_FAULTS,
    ),
    _Endpoint(
        method="post",
        path="/v1/explain",
        summary="Why a product stands where it stands in an answer, or in none, and what would lift it",
        body="ExplainBody",
        errors=_FAULTS,
        media=True,
    ),
    _Endpoint(
        method="post",
        path="/v1/reweigh",
        summary="The answer of an earlier query under other weights, without searching again",
        body="ReweighBody",
        answer="SearchResult",
        errors=_FAULTS,
    ),
    _Endpoint(
        method="get", path="/v1/products/{id}", summary="One product", query={"index": "the index alias"}, errors=_FAULTS
    ),
    _Endpoint(
        method="post",
        path="/v1/jobs",
        summary="Add a catalogue to an index: sent along, or named by its address. A worker reads it",
        body="JobBody",
        errors=_FAULTS,
        upload=True,
        status=202,
    ),
    _Endpoint(
        method="get", path="/v1/jobs", summary="The newest jobs", optional={"size": "1 to 200, 20 by default"}, errors=_FAULTS
    ),
    _Endpoint(method="get", path="/v1/jobs/{id}", summary="A job: state, counters, and why records died", errors=_FAULTS),
    _Endpoint(
        method="get",
        path="/v1/jobs/{id}/events",
        summary="A job's summary whenever it changes, as server-sent events, until nothing more happens by itself",
        errors=_FAULTS,
        types=("text/event-stream",),
    ),
    _Endpoint(
        method="get",
        path="/v1/jobs/{id}/letters",
        summary="A job's dead letters and how many there are of each reason",
        optional={**_LETTERS, "size": "1 to 1000, 100 by default"},
        errors=_FAULTS,
    ),
    _Endpoint(
        method="get",
        path="/v1/jobs/{id}/export",
        summary="All dead letters of a job with their records, as JSON lines",
        optional=_LETTERS,
        errors=_FAULTS,
        types=("application/x-ndjson",),
    ),
    _Endpoint(
        method="post", path="/v1/jobs/{id}/pause", summary="Let running batches end, start no more", errors=_FAULTS, status=202
    ),
    _Endpoint(
        method="post", path="/v1/jobs/{id}/stop", summary="Pause, and read no more of the catalogue", errors=_FAULTS, status=202
    ),
    _Endpoint(method="post", path="/v1/jobs/{id}/resume", summary="Go on exactly where it was", errors=_FAULTS, status=202),
    _Endpoint(
        method="post",
        path="/v1/jobs/{id}/redrive",
        summary="Try the records of a job's dead letters again, in a new job",
        body="LetterBody",
        errors=_FAULTS,
        status=202,
    ),
    _Endpoint(method="get", path="/v1/health/live", summary="The process answers", errors=(500,)),
    _Endpoint(method="get", path="/v1/health/ready", summary="It can answer queries", errors=(500, 503)),
    _Endpoint(method="get", path="/v1/openapi.json", summary="This document", errors=(500,)),
    _Endpoint(method="get", path="/v1/docs", summary="This document, to read", errors=(500,), types=("text/html",)),
)


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    bodies_ = (SearchBody, MsearchBody, ExplainBody, ReweighBody, JobBody, LetterBody)
    models = [(model, "validation") for model in bodies_]
    _, bodies = models_json_schema([*models, (Problem, "serialization")], ref_template=_REF)  # type: ignore[list-item]
    answer = TypeAdapter(SearchResult).json_schema(mode="serialization", ref_template=_REF)
    schemas = {**bodies["$defs"], **answer.pop("$defs"), "SearchResult": answer}
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Triptych", "version": __version__, "summary": "Multimodal product search for Elasticsearch"},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(endpoint: _Endpoint) -> dict[str, Any]:
    name = endpoint.path.removeprefix("/v1/").replace("/", "_").replace(".", "_").replace("{", "").replace("}", "")
    if sum(one.path == endpoint.path for one in ENDPOINTS) > 1:
        name = f"{endpoint.method}_{name}"
    schema: dict[str, Any] = {"$ref": _REF.format(model=endpoint.answer)} if endpoint.answer else {}
    content = {kind: {"schema": schema if kind == "application/json" else {"type": "string"}} for kind in endpoint.types}
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    answers: dict[str, Any] = {str(endpoint.status): {"description": "the answer", "content": content}}
    for status in endpoint.errors:
        form = dict(problem)
        if endpoint.path.endswith("/ready"):
            form["application/json"] = {"schema": {"type": "object"}}
        answers[str(status)] = {"description": "a problem", "content": form}
    found: dict[str, Any] = {"operationId": name, "summary": endpoint.summary, "responses": answers}
    parameters = [
        {"name": key, "in": "query", "required": True, "description": text, "schema": {"type": "string", "minLength": 1}}
        for key, text in endpoint.query.items()
    ]
    parameters += [
        {"name": key, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for key, text in endpoint.optional.items()
    ]
    if "{id}" in endpoint.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}})
    if parameters:
        found["parameters"] = parameters
    if endpoint.body:
        found["requestBody"] = {"required": endpoint.body != "LetterBody", "content": _contents(endpoint)}
    return found


def _contents(endpoint: _Endpoint) -> dict[str, Any]:
    body = {"$ref": _REF.format(model=endpoint.body)}
    content: dict[str, Any] = {"application/json": {"schema": body}}
    if endpoint.media:
        parts = {
            "query": body,
            "image": {"type": "string", "format": "binary"},
            "audio": {"type": "string", "format": "binary"},
        }
        form = {"type": "object", "properties": parts, "required": ["query"], "additionalProperties": False}
        content["multipart/form-data"] = {"schema": form, "encoding": {"query": {"contentType": "application/json"}}}
    if endpoint.upload:
        form = {
            "type": "object",
            "properties": {"job": body, "catalogue": {"type": "string", "format": "binary"}},
            "required": ["job", "catalogue"],
            "additionalProperties": False,
        }
        content["multipart/form-data"] = {"schema": form, "encoding": {"job": {"contentType": "application/json"}}}
    return content


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0
1rem;color:#1c2430;background:#fff} h1{font-size:1.6rem}h2{margin-top:2.2rem;font-size:1.1rem;border-bottom:1px solid
#d5dbe3;padding-bottom:.2rem}
code{font-family:ui-monospace,monospace;font-size:.92em}.m{display:inline-block;min-width:3.2rem;font-weight:700;color:#0b6b50}
table{border-collapse:collapse;width:100%;margin:.6rem 0}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem
0; border-bottom:1px solid #edf0f4}th{color:#57647a;font-weight:600}a{color:#0a58ca}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#d8dee8}h2{border-color:#2b3442}td,th{border-color:#222a35}
.m{color:#5fd3ae}a{color:#7fb2ff}th{color:#93a1b5}}"""


@cache
def page() -> str:
    """The document as a page to read: no script, nothing from elsewhere."""
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
        if schema.get("properties"):
            parts.append(f"<h2 id={html.escape(name)}><code>{html.escape(name)}</code></h2>")
            parts.append(f"<p>{html.escape(schema.get('description', '')).replace(chr(10) + chr(10), '<p>')}</p>")
            parts.append(_table("field", schema))
    return "\n".join(parts)


def _schema(spec: Mapping[str, Any], ref: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["components"]["schemas"][ref.rpartition("/")[2]]
    return found


def _table(heading: str, schema: Mapping[str, Any]) -> str:
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
