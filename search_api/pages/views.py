"""The pages for people: `/` (search), `/bench` and `/jobs`, and `/media/...`, previews of products' pictures and sounds.

Each page is made here, with what its scripts must know, and asks the HTTP API for the rest. Nothing comes from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

from flask import Blueprint, Flask, Request, Response, render_template, request

from search_api.pages.about import About
from search_api.pages.previews import Previews
from search_api.pages.texts import LANGUAGES, texts
from search_api.problems import status_of
from search_api.query import FusionMethod, Mean, QueryClass
from search_api.schemas import InvalidBodyError
from search_api.searcher import Searcher
from triptych.domain import Modality
from triptych.errors import NotFoundError, TriptychError
from triptych.schema import Missing
from triptych.services import Services

PAGES: Final = {"search": "/", "bench": "/bench", "jobs": "/jobs"}
"""Where each page is."""

FOLDER: Final = Path(__file__).parents[1]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_CHOICES: Final = {
    "fusion": get_args(FusionMethod),
    "mean": get_args(Mean),
    "missing": get_args(Missing),
    "query_class": get_args(QueryClass),
}
"""What a configuration of the bench can choose from."""

_KINDS: Final = {Modality.IMAGE: "image/jpeg", Modality.AUDIO: "audio/wav"}
_PREVIEW_SECONDS: Final = 60
"""How long a browser shows a preview without asking whether it is still the same."""


def register(app: Flask, services: Services, searcher: Searcher) -> None:
    """Serve the pages, and their scripts and styles under /static."""
    app.register_blueprint(blueprint(services, searcher))

    @app.after_request
    def guard(answer: Response) -> Response:
        if request.endpoint == "static" or request.blueprint == "pages":
            for name, value in _HEADERS.items():
                answer.headers.setdefault(name, value)
        return answer


def blueprint(services: Services, searcher: Searcher) -> Blueprint:
    views = Blueprint("pages", __name__, template_folder=str(FOLDER / "templates"))
    about, previews = About(services, searcher), Previews(services, searcher)

    @views.get("/")
    def search() -> Response:
        return _page("search", about)

    @views.get("/bench")
    def bench() -> Response:
        return _page("bench", about, choices=_CHOICES)

    @views.get("/jobs")
    def jobs() -> Response:
        return _page("jobs", about)

    @views.get("/media/<modality>")
    def media(modality: str) -> Response:
        if modality not in _KINDS:
            raise NotFoundError(f"There are no media of the kind {modality[:20]!r}.", code="http.not_found")
        return _preview(request, previews, Modality(modality))

    return views


def _page(name: str, about: About, **more: Any) -> Response:
    """A page in the reader's language, for the index asked for or the first there is. What is wrong stands on the page."""
    language = _language(request)
    words = texts(language)
    known, names, problem, status = None, [], None, 200
    try:
        names = about.names()
        index = request.args.get("index") or next(iter(names), None)
        known = None if index is None else about.of(index)
    except TriptychError as error:
        problem, status = error, status_of(error)
    config = {
        "index": None if known is None else known.to_json(),
        "language": language,
        "texts": words,
        "keys": about.asks_for_keys,
    }
    html = render_template(
        f"{name}.html",
        page=name,
        pages=PAGES,
        t=words.__getitem__,
        language=language,
        languages=LANGUAGES,
        names=names,
        known=known,
        problem=problem,
        config=config,
        **more,
    )
    answer = Response(html, status=status, content_type="text/html; charset=utf-8")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept-Language"
    return answer


def _language(given: Request) -> str:
    asked = given.args.get("lang")
    return asked if asked in LANGUAGES else given.accept_languages.best_match(list(LANGUAGES)) or next(iter(LANGUAGES))


def _preview(given: Request, previews: Previews, modality: Modality) -> Response:
    index, product, given_number = given.args.get("index"), given.args.get("id"), given.args.get("n", "0")
    if not index or not product:
        raise InvalidBodyError(
            "Of which product?",
            code="request.no_product",
            field="id",
            remedy="Add ?index=NAME&id=ID, and n=NUMBER or name=NAME.",
        )
    number = int(given_number) if re.fullmatch(r"[0-9]{1,3}", given_number) else -1
    found = previews.find(index, product, modality, number=number, name=given.args.get("name"))
    unchanged = given.if_none_match.contains(found.mark)
    answer = Response(status=304) if unchanged else Response(previews.make(found), content_type=_KINDS[modality])
    answer.set_etag(found.mark)
    answer.cache_control.private, answer.cache_control.max_age = True, _PREVIEW_SECONDS
    if not unchanged:
        answer.make_conditional(given, accept_ranges=True, complete_length=answer.content_length)
    return answer
