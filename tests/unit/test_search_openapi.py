"""The HTTP contract as a document: valid, whole, and of the same endpoints as the application."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from search_api import openapi, openapi_page, problems, schemas
from search_api.answer import Degraded, Hit, LegScore, MatchedMedia, Predicted, Recognised, SearchResult, Variant
from search_api.events import Events
from search_api.query import FusionMethod
from search_api.searcher import Searcher
from search_api.views import contract, dry_runs, events, health, jobs, judgements, metrics, similar
from search_api.views import search as view
from search_api.warmth import Warmth
from triptych import __version__
from triptych.errors import QueryError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

DOCUMENT = openapi.document()
SCHEMAS = DOCUMENT["components"]["schemas"]


@pytest.fixture
def app(settings: Settings) -> Flask:
    """All views, without loading encoders; services are made on first use, and nothing here comes so far."""
    app = Flask("test")
    services = Services(settings)
    problems.register(app)
    searcher = Searcher(services)
    app.register_blueprint(view.blueprint(searcher, settings))
    app.register_blueprint(events.blueprint(Events(services, searcher)))
    app.register_blueprint(judgements.blueprint(services, searcher))
    app.register_blueprint(similar.blueprint(searcher))
    app.register_blueprint(jobs.blueprint(services))
    app.register_blueprint(dry_runs.blueprint(services))
    app.register_blueprint(contract.blueprint())
    app.register_blueprint(metrics.blueprint(services))
    app.register_blueprint(health.blueprint(services, Warmth()))
    return app


# Valid


def test_the_document_follows_openapis_own_schema() -> None:
    """https://spec.openapis.org/oas/3.1/schema, as schemathesis carries it."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    faults = [
        f"{list(fault.absolute_path)}: {fault.message}" for fault in Draft202012Validator(OPENAPI_31).iter_errors(DOCUMENT)
    ]
    assert faults == []
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == __version__


def test_every_schema_is_one() -> None:
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        found = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return found + [ref for value in part.values() for ref in references(value)]
    return [ref for value in part for ref in references(value)] if isinstance(part, list) else []


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    prefix = "#/components/schemas/"
    found = references(DOCUMENT)
    assert all(ref.startswith(prefix) for ref in found)
    assert {ref.removeprefix(prefix) for ref in found} == set(SCHEMAS)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, some in DOCUMENT["paths"].items() for method, one in some.items()]


def test_operations_have_names_of_their_own_and_say_what_they_do() -> None:
    names = [one["operationId"] for _, _, one in operations()]
    assert len(set(names)) == len(names)
    assert all(one["summary"] for _, _, one in operations())


def test_parameters_of_a_path_are_declared() -> None:
    for path, _, one in operations():
        declared = {p["name"] for p in one.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))
        assert all(p["required"] for p in one.get("parameters", []) if p["in"] == "path")


# The same as the application


def test_every_endpoint_is_in_the_document_and_the_other_way_round(app: Flask) -> None:
    served = {
        (re.sub(r"<(?:\w+:)?\w+>", "{}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {(re.sub(r"\{\w+\}", "{}", path), method) for path, method, _ in operations()}


def test_the_document_is_served(app: Flask) -> None:
    answer = app.test_client().get("/v1/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert json.loads(answer.data) == json.loads(json.dumps(DOCUMENT))


def test_bodies_are_those_that_are_read() -> None:
    for name in ("SearchBody", "MsearchBody", "ExplainBody", "ReweighBody", "InputBody", "TextOptionsBody", "MediaBody"):
        model = getattr(schemas, name)
        assert set(SCHEMAS[name]["properties"]) == set(model.model_fields)
        assert SCHEMAS[name]["additionalProperties"] is False
    assert SCHEMAS["SearchBody"]["properties"]["fusion"]["enum"] == list(get_args(FusionMethod))


def test_every_field_of_a_request_says_what_it_is() -> None:
    for name in ("SearchBody", "MsearchBody", "ExplainBody", "ReweighBody", "InputBody", "TextOptionsBody", "MediaBody"):
        silent = [field for field, one in SCHEMAS[name]["properties"].items() if not one.get("description")]
        assert silent == [], name


FORMS = {("post", "/v1/search"), ("post", "/v1/explain"), ("post", "/v1/jobs")}


def test_media_and_catalogues_come_in_a_form_too() -> None:
    for path, method, one in operations():
        kinds = set(one.get("requestBody", {}).get("content", {}))
        assert ("multipart/form-data" in kinds) is ((method, path) in FORMS)


@pytest.mark.parametrize(
    "body", [{"index": "shop", "text": "shoe"}, {"page": "x"}, {"index": "shop", "sort": ["price", {"x": "desc"}]}]
)
def test_what_is_read_fits_the_document(body: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/SearchBody", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(body)
    schemas.parse_body(body).to_request()


def test_an_answer_fits_the_document(app: Flask) -> None:
    leg = LegScore(0.5, 0.5, 0.5, 0.25, completed=True, status="completed", matched_media=MatchedMedia("a.wav", 2.5))
    lacking = LegScore(None, 0.0, 0.5, 0.0, completed=False, status="no_modality")
    hit = Hit(
        "p1", 0.25, {"title": "Shoe"}, {"one": leg, "two": lacking}, 0.5, (Variant("p2", 0.1),), {"title": ["<em>Shoe</em>"]}
    )
    whole = SearchResult(
        "q", 1.5, 7, (hit, Hit("p3", 0.1, None, {})), 2, "token", (Degraded("redis", "queue.unavailable", "Away."),),
        {"audio.words": Recognised("shoe", "en", 0.9)}, {"brand": {"values": []}}, Predicted("brand", "x", 0.5, {"x": 0.5}),
        {"proved": True}, {"window": 100}, {"legs": {}},
    )  # fmt: skip
    schema = {"$ref": "#/components/schemas/SearchResult", "components": DOCUMENT["components"]}
    for result in (whole, SearchResult("q", 1.5, 0, ())):
        with app.app_context():
            sent = json.loads(view.json_response(schemas.to_json(result)).data)
        Draft202012Validator(schema).validate(sent)
        assert TypeAdapter(SearchResult).validate_python(sent, strict=False).query_id == "q"


def test_a_problem_fits_the_document() -> None:
    schema = {"$ref": "#/components/schemas/Problem", "components": DOCUMENT["components"]}
    given = problems.problem_of(QueryError("It is bad.", code="query.bad", field="text", remedy="Mend it."))
    Draft202012Validator(schema).validate(given)


# The page


class Page(HTMLParser):
    """The tags, the attributes and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_shows_every_endpoint_and_every_field() -> None:
    text = "".join(Page(openapi_page.page()).words)
    for path, method, one in operations():
        assert f"{method.upper()} {path}" in text
        assert one["summary"] in text
    for name, schema in SCHEMAS.items():
        for field in schema.get("properties", {}):
            assert field in text, f"{name}.{field}"


def test_the_page_has_no_script_and_nothing_from_elsewhere(app: Flask) -> None:
    answer = app.test_client().get("/v1/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    page = Page(answer.text)
    assert not {"script", "img", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"src", "style"}]
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert links
    assert all(link.startswith(("#", "/v1/")) for link in links)
    ids = {value for name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} <= ids, "links lead somewhere"


def test_the_page_escapes_what_the_document_says() -> None:
    nasty = "<script>alert('x')</script> & \"y\""
    one = {"type": "object", "properties": {nasty: {"description": nasty, "default": nasty, "type": nasty, "enum": [nasty]}}}
    for table in (
        openapi_page._table("field", one),
        openapi_page._table("field", {"properties": {"a": {"type": nasty}, "b": {"$ref": nasty}}}),
    ):
        page = Page(table)
        assert "script" not in page.tags
        assert "<script" not in table
    assert Page(openapi_page._table("field", one)).words.count(nasty) == 4
