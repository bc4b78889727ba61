"""The check of a request's key, without a service: scopes of routes, refusals, what is known for how long."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from search_api import access, access_http, app, openapi
from search_api.access import OPEN, Keys, is_loopback
from search_api.serve import check_closed
from triptych.access import ApiKey, KeyStore, make
from triptych.encoders.base import Encoder
from triptych.errors import ElasticsearchError, SettingsError
from triptych.schema import IndexSchema
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

NOW = dt.datetime.now(dt.UTC)


class WithoutEncoders(Services):
    """Services of which the API loads no encoder."""

    def encoders(self, schema: IndexSchema) -> dict[str, Encoder]:  # noqa: ARG002
        return {}


class Shelf(KeyStore):
    """A store whose index is a list in memory: what the gate is tested on. The real one: tests/integration/test_access.py."""

    def __init__(self) -> None:
        self.kept: dict[str, ApiKey] = {}
        self.asked = 0
        self.away = False

    def put(self, *scopes: str, days: int | None = None) -> tuple[ApiKey, str]:
        key, text = make("shop-front", scopes, days=days, now=NOW)
        self.kept[key.id] = key
        return key, text

    def in_force(self, *, seconds: float) -> dict[str, ApiKey]:  # noqa: ARG002
        self.asked += 1
        if self.away:
            raise ElasticsearchError("Away.", code="elasticsearch.unavailable", retryable=True)
        return dict(self.kept)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`clock(s)` lets so many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def small(keys: Keys | None, origins: tuple[str, ...] = ()) -> Flask:
    """An application of routes that need different scopes."""
    from flask import Blueprint

    from search_api import problems

    made = Flask("test")
    problems.register(made)
    access.register(made, keys, origins)
    for name in ("search", "jobs", "contract", "pages", "unheard_of"):
        views = Blueprint(name, __name__)
        views.add_url_rule(f"/{name}", "view", lambda: "done", methods=["GET", "POST"])
        made.register_blueprint(views)
    return made


@pytest.fixture
def client(shelf: Shelf) -> FlaskClient:
    return small(Keys(shelf)).test_client()


def refused(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json and answer.json["code"]) == (status, code), answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    return answer.json  # type: ignore[no-any-return]


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


# Scopes of routes


def rules(settings: Settings) -> list[tuple[str, str, str]]:
    """Endpoint, method and path of every route of the real application."""
    made = app.create_app(WithoutEncoders(settings))
    return [
        (rule.endpoint, method, rule.rule)
        for rule in made.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS"}
    ]


def test_every_route_has_a_scope_in_the_table(settings: Settings) -> None:
    found = rules(settings)
    assert len(found) > 20
    assert sorted({endpoint for endpoint, _, _ in found if access.need_of(endpoint) is None}) == []


def test_a_route_that_is_in_no_entry_is_noticed_and_needs_admin() -> None:
    assert access.need_of("unheard_of.view") is None
    assert access.scope_of("unheard_of.view", "GET") == "admin"
    assert access.changes("unheard_of.view", "POST")


@pytest.mark.parametrize(
    ("endpoint", "method", "scope"),
    [
        ("search.search", "POST", "search"),
        ("search.product", "GET", "search"),
        ("jobs.submit", "POST", "index"),
        ("jobs.jobs", "GET", "index"),
        ("jobs.forget", "DELETE", "index"),
        ("dry_runs.dry_run", "GET", "index"),
        ("health.live", "GET", OPEN),
        ("health.ready", "HEAD", OPEN),
        ("contract.docs", "GET", OPEN),
        ("jobs.submit", "OPTIONS", OPEN),
        ("metrics.metrics", "GET", "admin"),
        ("events.record", "POST", "search"),
        ("events.forget", "DELETE", "index"),
        ("similar.similar", "GET", "search"),
        ("pages.search", "GET", "search"),
        ("static", "GET", OPEN),
        (None, "GET", OPEN),
    ],
)
def test_the_scope_of_a_route(endpoint: str | None, method: str, scope: str) -> None:
    assert access.scope_of(endpoint, method) == scope


def test_the_openapi_document_asks_for_the_scopes_that_the_routes_need(settings: Settings) -> None:
    import re

    paths = openapi.document()["paths"]
    for endpoint, method, rule in rules(settings):
        path = re.sub(r"<(?:\w+:)?(?:\w+_)?(\w+)>", r"{\1}", rule)
        if path not in paths or method == "HEAD":  # pages are for people
            continue
        operation = paths[path][method.lower()]
        scope = access.scope_of(endpoint, method)
        wanted = [] if scope == OPEN else [{"bearer": [scope]}, {"header": [scope]}, {}]
        assert operation["security"] == wanted, path
        assert ({"401", "403"} <= set(operation["responses"])) is (scope != OPEN), path


# Refusals


def test_a_request_without_a_key(client: FlaskClient) -> None:
    answer = client.get("/search")
    assert "triptych key create" in refused(answer, 401, "access.no_key")["remedy"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_is_taken_from_either_header(client: FlaskClient, shelf: Shelf) -> None:
    _, text = shelf.put("search")
    assert client.get("/search", headers=bearer(text)).text == "done"
    assert client.get("/search", headers={"Authorization": f"bearer  {text} "}).text == "done"
    assert client.get("/search", headers={"X-API-Key": text}).text == "done"
    gateway = {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": text}
    assert client.get("/search", headers=gateway).text == "done", "a gateway's own login does not hide the key"


def login(text: str, name: str = "me") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{text}".encode()).decode()}


def test_a_browser_sends_a_key_as_the_password_of_a_login_but_not_for_other_sites(client: FlaskClient, shelf: Shelf) -> None:
    _, text = shelf.put("search", "index")
    assert client.get("/search", headers=login(text)).text == "done"
    assert client.post("/jobs", headers={**login(text), "Origin": "http://localhost"}).text == "done"
    refused(client.post("/jobs", headers={**login(text), "Origin": "https://evil.example"}), 403, "access.origin")
    bearers = {**bearer(text), "Origin": "https://evil.example"}
    assert client.post("/jobs", headers=bearers).text == "done", "no browser sends these by itself"


def test_a_page_asks_for_a_login(shelf: Shelf) -> None:
    client = small(Keys(shelf)).test_client()
    assert client.get("/pages").headers["WWW-Authenticate"].startswith("Basic realm=")
    wrong = client.get("/pages", headers=login("triptych_0123456789ab_" + "a" * 43))
    assert wrong.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    "header",
    [
        "Basic dXNlcjpwYXNz",
        "Basic",
        "Basic !",
        "Basic /w==",
        "Basic " + "YQ" * 1000,
        "Bearer",
        "Bearer ",
        "Digest x",
        "",
        "triptych_x",
    ],
)
def test_what_is_no_bearer_token_is_no_key(client: FlaskClient, header: str) -> None:
    refused(client.get("/search", headers={"Authorization": header}), 401, "access.no_key")


@pytest.mark.parametrize(
    "text",
    ["x", "triptych_0123456789ab_" + "a" * 43, "a" * 100_000, "triptych_0123456789ab_" + "a" * 42 + "\xe9", "a, b"],
    ids=range(5),
)
def test_a_key_that_is_none(client: FlaskClient, shelf: Shelf, text: str) -> None:
    shelf.put("admin")
    answer = client.get("/search", headers=bearer(text))
    refused(answer, 401, "access.unknown_key")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    if len(text) > 1:
        assert text not in answer.text


def test_a_wrong_secret_and_a_wrong_id_are_answered_alike(client: FlaskClient, shelf: Shelf) -> None:
    key, text = shelf.put("admin")
    wrong_secret = f"triptych_{key.id}_" + "a" * 43
    wrong_id = text.replace(key.id, "0" * 12)
    answers = [client.get("/search", headers=bearer(one)) for one in (wrong_secret, wrong_id)]
    assert answers[0].data == answers[1].data
    assert answers[0].status_code == 401


def test_a_key_whose_scope_is_another(client: FlaskClient, shelf: Shelf) -> None:
    _, text = shelf.put("search")
    body = refused(client.post("/jobs", headers=bearer(text)), 403, "access.scope")
    assert body["field"] == "scope"
    assert "needs the scope index; it has search" in body["remedy"]


def test_admin_may_do_all_and_open_routes_ask_for_nothing(client: FlaskClient, shelf: Shelf) -> None:
    _, text = shelf.put("admin")
    for path in ("/search", "/jobs", "/contract", "/unheard_of"):
        assert client.get(path, headers=bearer(text)).text == "done"
    assert client.get("/contract").text == "done"
    refused(client.get("/unheard_of"), 401, "access.no_key")
    assert client.get("/nowhere").status_code == 404


def test_a_key_that_is_over_is_refused(client: FlaskClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = shelf.put("search", days=1)
    assert client.get("/search", headers=bearer(text)).text == "done"

    class Tomorrow(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # noqa: ARG003
            return NOW + dt.timedelta(days=1, seconds=1)

    monkeypatch.setattr(access.dt, "datetime", Tomorrow)
    refused(client.get("/search", headers=bearer(text)), 401, "access.unknown_key")


def test_nothing_of_a_key_stands_in_a_log(client: FlaskClient, shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, text = shelf.put("search")
    client.get("/search", headers=bearer(text))
    client.post("/jobs", headers=bearer(text))
    client.get("/search", headers=bearer(text[:-1]))
    shelf.away = True
    client.get("/search", headers=bearer("triptych_0123456789ab_" + "a" * 43))
    assert text[-30:-1] not in caplog.text


# What is known for how long


def test_keys_are_asked_for_once_in_a_while(shelf: Shelf, clock: Callable[[float], None]) -> None:
    key, text = shelf.put("search")
    keys = Keys(shelf)
    for _ in range(100):
        assert keys.find(text) == key
    assert shelf.asked == 1
    clock(access.KNOWN_SECONDS + 0.1)
    keys.find(text)
    assert shelf.asked == 2


def test_a_revoked_key_works_no_longer_than_that(shelf: Shelf, clock: Callable[[float], None]) -> None:
    key, text = shelf.put("search")
    keys = Keys(shelf)
    assert keys.find(text)
    del shelf.kept[key.id]
    clock(access.KNOWN_SECONDS - 0.1)
    assert keys.find(text)
    clock(0.2)
    assert keys.find(text) is None


def test_a_new_key_works_soon_and_guesses_ask_hardly_ever(shelf: Shelf, clock: Callable[[float], None]) -> None:
    keys = Keys(shelf)
    for number in range(1000):
        assert keys.find(f"triptych_{number:012x}_" + "a" * 43) is None
    assert shelf.asked == 1
    key, text = shelf.put("search")
    clock(access.AGAIN_SECONDS + 0.1)
    assert keys.find(text) == key
    assert shelf.asked == 2


def test_what_has_not_the_form_of_a_key_asks_nothing(shelf: Shelf) -> None:
    assert Keys(shelf).find("x" * 1000) is None
    assert shelf.asked == 0


def test_while_elasticsearch_is_away_known_keys_work_for_a_while(shelf: Shelf, clock: Callable[[float], None]) -> None:
    key, text = shelf.put("search")
    keys = Keys(shelf)
    keys.find(text)
    shelf.away = True
    clock(access.KNOWN_SECONDS + 1)
    assert keys.find(text) == key
    assert keys.find(text) == key
    assert shelf.asked == 2, "not every request waits for it"
    clock(access.AWAY_SECONDS)
    with pytest.raises(ElasticsearchError):
        keys.find(text)


def test_without_any_keys_known_it_is_an_error_at_once(shelf: Shelf, client: FlaskClient) -> None:
    _, text = shelf.put("search")
    shelf.away = True
    for _ in range(3):
        answer = client.get("/search", headers=bearer(text))
        refused(answer, 503, "elasticsearch.unavailable")
        assert answer.headers["Retry-After"]
    assert shelf.asked == 1
    assert client.get("/contract").text == "done"


# Without keys


def test_without_keys_nothing_is_asked_for() -> None:
    client = small(None).test_client()
    assert client.get("/unheard_of").text == "done"
    assert client.post("/jobs", headers={"X-API-Key": "anything"}).text == "done"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost", 200),
        ("https://shop.example", 200),
        ("https://shop.example.evil.example", 403),
    ],
)
def test_without_keys_a_page_of_another_site_may_not_ask(origin: str, status: int) -> None:
    client = small(None, ("https://shop.example",)).test_client()
    answer = client.post("/jobs", headers={"Origin": origin})
    assert answer.status_code == status
    if status == 403:
        refused(answer, 403, "access.origin")
        assert client.get("/jobs", headers={"Origin": origin}).text == "done", "its page cannot read the answer"


def test_any_origin_is_not_meant_for_what_a_browser_sends_by_itself(shelf: Shelf) -> None:
    evil = {"Origin": "https://evil.example"}
    refused(small(None, ("*",)).test_client().post("/jobs", headers=evil), 403, "access.origin")
    client = small(Keys(shelf), ("*",)).test_client()
    _, text = shelf.put("admin")
    refused(client.post("/jobs", headers={**evil, **login(text)}), 403, "access.origin")
    assert client.post("/jobs", headers={**evil, **bearer(text)}).text == "done"


def test_a_limit_is_of_a_key_and_an_address(shelf: Shelf) -> None:
    """What one visitor of a page sends uses up nothing of the others', and an unknown key is refused before it is counted."""
    (_, first), (_, second) = shelf.put("search"), shelf.put("search")
    app = small(Keys(shelf))
    access_http.register(app, Settings(redis_url="redis://127.0.0.1:9/0", rate_limit="2/minute"))
    client = app.test_client()

    def statuses(key: str, address: str, times: int) -> list[int]:
        some = (client.get("/search", headers=bearer(key), environ_base={"REMOTE_ADDR": address}) for _ in range(times))
        return [answer.status_code for answer in some]

    assert statuses(first, "10.0.0.1", 3) == [200, 200, 429]
    assert statuses(first, "10.0.0.2", 3) == [200, 200, 429]
    assert statuses(second, "10.0.0.1", 3) == [200, 200, 429]
    assert statuses("triptych_nobody", "10.0.0.3", 5) == [401] * 5


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("shop.example", 200),
    ],
)
def test_without_keys_it_answers_under_this_machines_names_only(host: str, status: int) -> None:
    """Else a page whose name leads to 127.0.0.1 would be of the API's own origin."""
    client = small(None, ("http://shop.example",)).test_client()
    answer = client.get("/jobs", headers={"Host": host})
    assert answer.status_code == status
    if status == 403:
        refused(answer, 403, "access.host")


def test_a_proxy_may_name_the_api_as_it_likes_and_so_may_who_has_a_key(shelf: Shelf) -> None:
    behind = Flask("test")
    access.register(behind, None, behind_proxy=True)
    behind.add_url_rule("/", "root", lambda: "done")
    assert behind.test_client().get("/", headers={"Host": "shop.example"}).text == "done"
    _, text = shelf.put("search")
    named = {**bearer(text), "Host": "shop.example"}
    assert small(Keys(shelf)).test_client().get("/search", headers=named).text == "done"


# Where it listens


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_this_machine_alone(host: str, settings: Settings) -> None:
    assert is_loopback(host)
    check_closed(host, settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "192.168.0.1", "shop.example", "", "0", "localhost.example"])  # noqa: S104
def test_others_reach_it_only_with_keys(host: str, settings: Settings) -> None:
    assert not is_loopback(host)
    with pytest.raises(SettingsError) as caught:
        check_closed(host, settings)
    assert (caught.value.code, caught.value.field) == ("access.open_to_others", "TRIPTYCH_API_KEYS")
    assert "triptych key create" in (caught.value.remedy or "")
    check_closed(host, settings.model_copy(update={"api_keys": True}))


def test_a_stranger_sees_that_it_is_not_ready_and_no_more(settings: Settings) -> None:
    """Elasticsearch is away here; its address stands in the message."""
    away = {"elasticsearch_url": "http://127.0.0.1:9", "redis_url": "redis://127.0.0.1:9/0", "data_dir": settings.data_dir}
    for wanted in (True, False):
        made = app.create_app(WithoutEncoders(Settings(**away, api_keys=wanted)))
        body = json.loads(made.test_client().get("/v1/health/ready").data)
        assert body["status"] == "not_ready"
        assert (set(body["services"]["elasticsearch"]) == {"ok"}) is wanted


def test_strangers_do_not_ask_elasticsearch_each_time(settings: Settings) -> None:
    asked = []

    class Counted(WithoutEncoders):
        def pings(self) -> dict[str, Callable[[], object]]:
            asked.append(1)
            return {}

    for wanted, most in ((True, 2), (False, 5)):
        asked.clear()
        client = app.create_app(Counted(settings.model_copy(update={"api_keys": wanted}))).test_client()
        for _ in range(5):
            client.get("/v1/health/ready")
        assert len(asked) <= most
        assert asked
    assert len(asked) == 5
