"""`POST /v1/search`, `/v1/msearch`, `/v1/explain`, `/v1/reweigh`, and `GET /v1/products/{id}`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from flask import Blueprint, Request, Response, request
from pydantic import BaseModel
from werkzeug.datastructures import FileStorage
from werkzeug.routing import PathConverter

from search_api.events import AnswerLog
from search_api.problems import problem_within
from search_api.query import SearchRequest
from search_api.schemas import (
    ExplainBody,
    InvalidBodyError,
    MsearchBody,
    ReweighBody,
    SearchBody,
    decoded,
    parse,
    parse_body,
    to_json,
)
from search_api.searcher import Searcher
from search_api.several import several
from triptych.errors import QueryError
from triptych.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_Body = TypeVar("_Body", bound=SearchBody)


class AnyText(PathConverter):
    """A product id in a path: anything, a leading slash too."""

    regex = ".+"
    part_isolating = False


def blueprint(searcher: Searcher, settings: Settings, answers: AnswerLog | None = None) -> Blueprint:
    """The views; what they answer is kept in `answers`, where there is such a log."""
    views = Blueprint("search", __name__, url_prefix="/v1")
    views.record(lambda state: state.app.url_map.converters.update(any_text=AnyText))
    answered = partial(_answered, searcher, answers)

    @views.post("/search")
    def search() -> Response:
        data, media = read(request._get_current_object(), settings)  # type: ignore[attr-defined]  # noqa: SLF001  once
        return json_response(answered(_allowed(parse_body(data), settings).to_request(**media)))

    @views.post("/msearch")
    def msearch() -> Response:
        body = parse(MsearchBody, _without_files(request, settings))
        found = several(lambda data: answered(_allowed(parse_body(data), settings).to_request()), body.searches)
        return json_response({"answers": [problem_within(one) for one in found]})

    @views.post("/explain")
    def explain() -> Response:
        data, media = read(request, settings)
        body = _allowed(parse(ExplainBody, data), settings)
        return json_response(searcher.explain(body.to_request(**media), body.product))

    @views.post("/reweigh")
    def reweigh() -> Response:
        return json_response(to_json(parse(ReweighBody, _without_files(request, settings)).asked_of(searcher.reweigh)))

    @views.get("/products/<any_text:product_id>")
    def product(product_id: str) -> Response:
        return json_response(searcher.product(_index(), product_id))

    @views.get("/products")
    def product_by_id() -> Response:  # an id that ends in /similar is another route's as a path
        index, product_id = _index(), request.args.get("id")
        if not product_id:
            raise InvalidBodyError("Which product?", code="request.no_id", field="id", remedy="Add &id=ID.")
        return json_response(searcher.product(index, product_id))

    return views


def _index() -> str:
    """The index that the query string names. Raises InvalidBodyError."""
    if index := request.args.get("index"):
        return index
    raise InvalidBodyError("Which index?", code="request.no_index", field="index", remedy="Add ?index=NAME.")


def _allowed(body: _Body, settings: Settings) -> _Body:
    """The body, unless it has what clients of this installation may not send. Raises QueryError."""
    if body.lexical_query is not None and not settings.api_lexical_queries:
        raise QueryError(
            "A lexical_query is not taken over HTTP here.",
            code="query.lexical_query_off",
            field="lexical_query",
            remedy="Use text_options, or let the operator set TRIPTYCH_API_LEXICAL_QUERIES where every client may ask"
            " Elasticsearch anything.",
        )
    return body


def _answered(searcher: Searcher, answers: AnswerLog | None, asked: SearchRequest) -> dict[str, Any]:
    """An answer, of which is kept what it showed."""
    result = searcher.search(asked)
    if answers is not None:
        answers.put(asked, result)
    return to_json(result)


class Whole(Response):
    """An answer that the server gets as a list: granian sends that at once, and asks for anything else piece by piece.

    So granian takes 26 us of CPU a request, not 36.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        pieces = super().__call__(environ, start_response)
        try:
            return list(pieces)
        finally:
            self.close()


def json_response(data: Any, status: int = 200) -> Response:
    return Whole(orjson.dumps(data, default=_plain), status=status, content_type="application/json")


def _plain(value: object) -> object:
    """What orjson does not write by itself."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(type(value))


def read(given: Request, settings: Settings) -> tuple[object, dict[str, bytes]]:
    """The decoded JSON and the uploaded files of a request, as JSON or as a multipart form."""
    if given.content_type == "application/json":  # as most say it, before it is taken to pieces
        return decoded(given.get_data(), "body"), {}
    if given.mimetype == "multipart/form-data":
        unknown = (set(given.files) - {"image", "audio", "query"}) | (set(given.form) - {"query"})
        if unknown:
            name = sorted(unknown)[0]
            raise InvalidBodyError(
                f"The form has an unknown part {name!r}.",
                field=name,
                remedy="The parts are query (JSON), image and audio (files).",
            )
        twice = [name for name in (*given.files, *given.form) if len(given.files.getlist(name) + given.form.getlist(name)) > 1]
        if twice:
            raise InvalidBodyError(
                f"The form has more than one part {twice[0]!r}.",
                field=twice[0],
                remedy="Give inputs in query for several media.",
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


def _without_files(given: Request, settings: Settings) -> object:
    """The decoded JSON of a request that takes no files."""
    data, media = read(given, settings)
    if media:
        name = next(iter(media))
        message = f"A part {name!r} is taken by /v1/search and /v1/explain only."
        raise InvalidBodyError(message, field=name, remedy="Leave it out.")
    return data


def _read_file(file: FileStorage, settings: Settings) -> bytes:
    return file.stream.read(settings.media_bytes + 1)
