"""The HTTP contract as OpenAPI 3.1, made of the same models that read requests and the same dataclasses that are answered.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from search_api.answer import SearchResult
from search_api.events_body import EventsBody
from search_api.judgements_body import JudgementsBody
from search_api.openapi_answers import MODELS
from search_api.schemas import ExplainBody, JobBody, LetterBody, MsearchBody, ReweighBody, SearchBody
from search_api.similar import SimilarResult
from search_api.similar_query import SimilarQuery
from triptych import __version__
from triptych.jobs.records import Record

_REF = "#/components/schemas/{model}"


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
    scope: str | None = None  # where it is not that of _SCOPES


_SCOPES: Final[Mapping[str, str | None]] = {
    "/": "search",
    "/metrics": "admin",
    "/v1/jobs": "index",
    "/v1/dry-runs": "index",
    "/v1/judgements": "index",
    "/v1/health/": None,
    "/v1/openapi.json": None,
    "/v1/docs": None,
}
"""The scope a key needs by the beginning of a path, the longest that fits; None: no key. `access.NEEDS` by paths."""

_LETTERS = {name: f"only those of this {name}" for name in ("code", "stage", "modality", "product")}
_FAULTS = (400, 404, 405, 409, 413, 500, 502, 503)

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
        answer="MsearchAnswer",
        errors=_FAULTS,
    ),
    _Endpoint(
        method="post",
        path="/v1/explain",
        summary="Why a product stands where it stands in an answer, or in none, and what would lift it",
        body="ExplainBody",
        answer="ExplainAnswer",
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
        method="get",
        path="/v1/products",
        summary="One product, by any id",
        query={"index": "the index alias", "id": "the product's id"},
        errors=_FAULTS,
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
        method="get",
        path="/v1/dry-runs/{id}",
        summary="What a worker found in a catalogue that was submitted with dry_run",
        errors=_FAULTS,
    ),
    _Endpoint(
        method="get", path="/v1/jobs", summary="The newest jobs", optional={"size": "1 to 200, 20 by default"}, errors=_FAULTS
    ),
    _Endpoint(method="get", path="/v1/jobs/{id}", summary="A job: state, counters, and why records died", errors=_FAULTS),
    _Endpoint(
        method="delete",
        path="/v1/jobs/{id}",
        summary="Delete a job that has ended or is stopped from the ledger; what it wrote stays in the index",
        errors=_FAULTS,
        status=204,
        types=(),
    ),
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
        path="/v1/jobs/{id}/records/{product}",
        summary="What became of a product's record in a job: state, stage, attempt, content hash, and why",
        answer="Record",
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
    _Endpoint(
        method="get",
        path="/v1/products/{id}/similar",
        summary="Products like a product, and those that are bought together with it",
        answer="SimilarResult",
        query={"index": "the index alias"},
        optional={name: one.description or "" for name, one in SimilarQuery.model_fields.items() if name != "index"},
        errors=_FAULTS,
    ),
    _Endpoint(
        method="post",
        path="/v1/events",
        summary="Keep what a user did with the products of an answer",
        body="EventsBody",
        errors=(*_FAULTS, 429),
    ),
    _Endpoint(
        method="delete",
        path="/v1/events",
        summary="Delete the events of a session",
        query={"session": "the session's id"},
        errors=_FAULTS,
        scope="index",
    ),
    _Endpoint(
        method="post",
        path="/v1/judgements",
        summary="Keep how well products answer queries",
        body="JudgementsBody",
        errors=_FAULTS,
    ),
    _Endpoint(
        method="get",
        path="/v1/judgements",
        summary="The judgements of an index in TREC form: query, 0, product, grade",
        query={"index": "the index alias"},
        errors=_FAULTS,
        types=("text/plain",),
    ),
    _Endpoint(
        method="get",
        path="/v1/judgements/queries",
        summary="The queries that were judged on an index, as JSON lines",
        query={"index": "the index alias"},
        errors=_FAULTS,
        types=("application/x-ndjson",),
    ),
    _Endpoint(method="get", path="/v1/health/live", summary="The process answers", errors=(500,)),
    _Endpoint(method="get", path="/v1/health/ready", summary="It can answer queries", errors=(500, 503)),
    _Endpoint(method="get", path="/v1/openapi.json", summary="This document", errors=(500,)),
    _Endpoint(method="get", path="/metrics", summary="What Prometheus reads", errors=(500,), types=("text/plain",)),
    _Endpoint(method="get", path="/v1/docs", summary="This document, to read", errors=(500,), types=("text/html",)),
)


_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `triptych key create`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, in a header of its own"},
}
_REFUSALS: Final = (401, 403, 429)


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    bodies_ = (SearchBody, MsearchBody, ExplainBody, ReweighBody, JobBody, LetterBody, EventsBody, JudgementsBody)
    models = [(model, "validation") for model in bodies_]
    _, bodies = models_json_schema([*models, *MODELS], ref_template=_REF)  # type: ignore[list-item]
    schemas = dict(bodies["$defs"])
    for kind in (SearchResult, SimilarResult, Record):
        answer = TypeAdapter(kind).json_schema(mode="serialization", ref_template=_REF)
        schemas |= {**answer.pop("$defs", {}), kind.__name__: answer}
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Triptych", "version": __version__, "summary": "Multimodal product search for Elasticsearch"},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }


def _operation(endpoint: _Endpoint) -> dict[str, Any]:
    name = endpoint.path.removeprefix("/v1/").replace("/", "_").replace(".", "_").replace("{", "").replace("}", "")
    if sum(one.path == endpoint.path for one in ENDPOINTS) > 1:
        name = f"{endpoint.method}_{name}"
    schema: dict[str, Any] = {"$ref": _REF.format(model=endpoint.answer)} if endpoint.answer else {}
    content = {kind: {"schema": schema if kind == "application/json" else {"type": "string"}} for kind in endpoint.types}
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    answers: dict[str, Any] = {str(endpoint.status): {"description": "the answer", "content": content}}
    scope = endpoint.scope or _SCOPES[max((start for start in _SCOPES if endpoint.path.startswith(start)), key=len)]
    for status in (*endpoint.errors, *(_REFUSALS if scope else ())):
        form = dict(problem)
        if endpoint.path.endswith("/ready"):
            form["application/json"] = {"schema": {"type": "object"}}
        answers[str(status)] = {"description": "a problem", "content": form}
    found: dict[str, Any] = {"operationId": name, "summary": endpoint.summary, "responses": answers}
    # where keys are asked for (TRIPTYCH_API_KEYS); nothing at all is the third way
    found["security"] = [{name: [scope]} for name in _SCHEMES] + [{}] if scope else []
    parameters = [
        {"name": key, "in": "query", "required": True, "description": text, "schema": {"type": "string", "minLength": 1}}
        for key, text in endpoint.query.items()
    ]
    parameters += [
        {"name": key, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for key, text in endpoint.optional.items()
    ]
    for key in (name for name in ("id", "product") if f"{{{name}}}" in endpoint.path):
        parameters.append({"name": key, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}})
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
