"""`POST /v1/search`, `/v1/msearch`, `/v1/explain`, `/v1/reweigh`, and `GET /v1/products/{id}`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from flask import Blueprint, Request, Response, request
from pydantic import BaseModel
from werkzeug.datastructures import FileStorage
from werkzeug.routing import PathConverter

from search_api.problems import problem_of
from search_api.schemas import (
    ExplainBody,
    InvalidBodyError,
    MsearchBody,
    ReweighBody,
    parse,
    parse_body,
    to_json,
)
from search_api.searcher import Searcher
from triptych.errors import TriptychError
from triptych.settings import Settings

_AT_ONCE = 4
"""Queries of one `/v1/msearch` that run beside each other."""


class AnyText(PathConverter):
    """A product id in a path: anything, a leading slash too."""

    regex = ".+"
    part_isolating = False


def blueprint(searcher: Searcher, settings: Settings) -> Blueprint:
    views = Blueprint("search", __name__, url_prefix="/v1")
    views.record(lambda state: state.app.url_map.converters.update(any_text=AnyText))
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="msearch")

    @views.post("/search")
    def search() -> Response:
        data, media = read(request, settings)
        return json_response(to_json(searcher.search(parse_body(data).to_request(**media))))

    @views.post("/msearch")
    def msearch() -> Response:
        body = parse(MsearchBody, read(request, settings)[0])
        return json_response({"answers": list(pool.map(lambda one: _answered(searcher, one), body.searches))})

    @views.post("/explain")
    def explain() -> Response:
        data, media = read(request, settings)
        body = parse(ExplainBody, data)
        return json_response(searcher.explain(body.to_request(**media), body.product))

    @views.post("/reweigh")
    def reweigh() -> Response:
        body = parse(ReweighBody, read(request, settings)[0])
        changes = body.model_dump(include={"fusion", "mean", "missing", "min_relevance"})
        return json_response(
            to_json(searcher.reweigh(body.query_id, body.weights, size=body.size, hydrate=body.hydrate, **changes))
        )

    @views.get("/products/<any_text:product_id>")
    def product(product_id: str) -> Response:
        index = request.args.get("index")
        if not index:
            raise InvalidBodyError("Which index?", code="request.no_index", field="index", remedy="Add ?index=NAME.")
        return json_response(searcher.product(index, product_id))

    return views


def _answered(searcher: Searcher, data: object) -> dict[str, Any]:
    """One query of several: its answer, or its problem."""
    try:
        return to_json(searcher.search(parse_body(data).to_request()))
    except TriptychError as error:
        return {"problem": problem_of(error)}


def json_response(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data, default=_plain), status=status, content_type="application/json")


def _plain(value: object) -> object:
    """What orjson does not write by itself."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(type(value))


def read(given: Request, settings: Settings) -> tuple[object, dict[str, bytes]]:
    """The decoded JSON and the uploaded files of a request, as JSON or as a multipart form."""
    if given.mimetype == "multipart/form-data":
        unknown = (set(given.files) - {"image", "audio", "query"}) | (set(given.form) - {"query"})
        if unknown:
            name = sorted(unknown)[0]
            raise InvalidBodyError(
                f"The form has an unknown part {name!r}.",
                field=name,
                remedy="The parts are query (JSON), image and audio (files).",
            )
        text = given.form.get("query") or (given.files["query"].read() if "query" in given.files else None)
        files = {name: _read_file(given.files[name], settings) for name in ("image", "audio") if name in given.files}
        return decoded(text, "query"), files
    if given.mimetype != "application/json":
        raise InvalidBodyError(
            f"A body of type {given.mimetype or 'unknown'} cannot be read.",
            code="request.content_type",
            field="Content-Type",
            remedy="Send application/json or multipart/form-data.",
        )
    return decoded(given.get_data(), "body"), {}


def _read_file(file: FileStorage, settings: Settings) -> bytes:
    return file.stream.read(settings.media_bytes + 1)


def decoded(text: str | bytes | None, name: str) -> object:
    """The JSON of a body or of a part of a form. Raises InvalidBodyError."""
    if not text:
        raise InvalidBodyError(f"The {name} is missing.", code="request.not_json", field=name, remedy="Give a JSON object.")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidBodyError(f"The {name} is not JSON: {error}.", code="request.not_json", field=name) from error
