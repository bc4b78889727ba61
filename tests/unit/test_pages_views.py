"""The pages as far as no service is needed: headers, languages, what stands there when Elasticsearch is away."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from search_api import problems
from search_api.app import create_app
from search_api.pages import views as pages
from search_api.searcher import Searcher
from triptych.errors import ElasticsearchError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def _away(_: object) -> list[str]:
    raise ElasticsearchError("<b>It</b> is away.", code="elasticsearch.unavailable", retryable=True)


@pytest.fixture
def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """The pages where Elasticsearch does not answer."""
    monkeypatch.setattr("search_api.pages.about.searchable", _away)
    services = Services(settings)
    app = Flask("test", static_folder=str(pages.FOLDER / "static"))
    problems.register(app)
    pages.register(app, services, Searcher(services))
    return app.test_client()


@pytest.mark.parametrize("path", pages.PAGES.values())
def test_a_page_says_what_is_wrong_as_text(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 503
    assert "&lt;b&gt;It&lt;/b&gt; is away." in answer.text
    assert "<b>" not in answer.text
    assert "elasticsearch.unavailable" in answer.text


@pytest.mark.parametrize("path", [*pages.PAGES.values(), "/static/style.css", "/media/image", "/media/nothing"])
def test_everything_is_guarded(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    headers = answer.headers
    assert headers["Content-Security-Policy"] == pages.POLICY
    assert "unsafe" not in pages.POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    answer.close()


@pytest.mark.parametrize(
    ("path", "accepts", "language"),
    [
        ("/", None, "en"),
        ("/", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("/", "de", "en"),
        ("/?lang=zh", "en", "zh"),
        ("/?lang=xx", "zh", "zh"),
    ],
)
def test_a_page_is_in_the_readers_language(client: FlaskClient, path: str, accepts: str | None, language: str) -> None:
    answer = client.get(path, headers={} if accepts is None else {"Accept-Language": accepts})
    assert f'<html lang="{language}">' in answer.text
    assert answer.headers["Vary"] == "Accept-Language"


@pytest.mark.parametrize("query", ["", "?index=shop", "?id=p-1", "?index=&id=p-1"])
def test_a_preview_is_of_a_product(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/media/image{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "request.no_product")


def test_there_are_previews_of_pictures_and_sounds_only(client: FlaskClient) -> None:
    answer = client.get("/media/text?index=shop&id=p-1")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "http.not_found")


@pytest.mark.parametrize(("pages_on", "status"), [(True, 503), (False, 404)])
def test_pages_can_be_switched_off(settings: Settings, monkeypatch: pytest.MonkeyPatch, pages_on: bool, status: int) -> None:
    monkeypatch.setattr("search_api.app.Warmth.start", lambda *_: None)
    monkeypatch.setattr("search_api.pages.about.searchable", _away)
    client = create_app(Services(settings.model_copy(update={"pages": pages_on}))).test_client()
    assert {path: client.get(path).status_code for path in pages.PAGES.values()} == dict.fromkeys(pages.PAGES.values(), status)
    assert client.get("/v1/health/live").status_code == 200
    assert client.get("/static/none.js").status_code == 404
