"""The HTTP contract as OpenAPI 3.1, made of the same models that read requests and the same dataclasses that are answered.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from search_api.answer import SearchResult
from search_api.events_body import EventsBody
from search_api.jobs_body import JobBody, LetterBody
from search_api.judgements_body import JudgementsBody
from search_api.openapi_answers import MODELS
from search_api.openapi_endpoints import ENDPOINTS, Endpoint
from search_api.schemas import ExplainBody, MsearchBody, ReweighBody, SearchBody
from search_api.similar import SimilarResult
from triptych import __version__
from triptych.jobs.records import Record

_REF = "#/components/schemas/{model}"

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


def _operation(endpoint: Endpoint) -> dict[str, Any]:
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
            form["application/json"] = {"schema": schema}
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


def _contents(endpoint: Endpoint) -> dict[str, Any]:
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
