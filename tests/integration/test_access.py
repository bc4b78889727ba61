"""Keys, scopes, limits, headers and the audit log of a running `triptych serve` on a real Elasticsearch and Redis."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import made_shop
import pytest
from processes import Command, end, free_port, http_ok, wait_for
from prometheus_client.parser import text_string_to_metric_families

from search_api.access import AGAIN_SECONDS, KNOWN_SECONDS
from triptych.access import KeyStore
from triptych.services import Services

pytestmark = pytest.mark.integration

SLACK = 2.0
"""Seconds a busy machine may take for one request and one command."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: Any


@dataclass(frozen=True)
class Api:
    """A running API and its log."""

    url: str
    log: Path

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            given["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        asked = urllib.request.Request(self.url + path, data=data, method=method, headers=given)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                status, got, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, got, text = error.code, error.headers, error.read()
        kind = got.get("Content-Type", "")
        return Answer(status, got, json.loads(text) if kind.endswith("json") else text.decode())

    def audit(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["logger"] == "triptych.audit"]


@pytest.fixture(scope="module")
def made(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Services whose vectors come with the products, so no process loads an encoder."""
    return made_shop.services_of(services, tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def shelf(made: Services, run_id: str) -> str:
    """An index of a few products."""
    name = f"access-{run_id}-{uuid.uuid4().hex[:6]}"
    made_shop.create(made, name, made_shop.things(30))
    return name


@pytest.fixture(scope="module")
def serving(command: Command, made: Services, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`with serving(TRIPTYCH_API_KEYS="true") as api:` runs an API process."""

    @contextmanager
    def run(*options: str, **changes: str) -> Iterator[Api]:
        log = tmp_path_factory.mktemp("api") / "api.log"
        port = free_port()
        own = {"TRIPTYCH_PROFILE": str(made.settings.profile), **changes}
        process = command.start("serve", "--port", str(port), "--log-format", "json", *options, log=log, **own)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: http_ok(f"{url}/v1/health/ready"), f"the API ({log})", alive=process)
            yield Api(url, log)
        finally:
            end(process)

    return run


@pytest.fixture(scope="module")
def api(serving: Callable[..., Any]) -> Iterator[Api]:
    """An API that asks for keys."""
    with serving(TRIPTYCH_API_KEYS="true") as running:
        yield running


def made_key(command: Command, *scopes: str, name: str = "test", **more: Any) -> dict[str, Any]:
    options = [word for scope in scopes for word in ("--scope", scope)]
    key: dict[str, Any] = command.json("key", "create", "--name", name, *options)
    return key


@pytest.fixture(scope="module")
def keys(command: Command, api: Api) -> dict[str, str]:
    """A key of each scope, by scope, known to the API."""
    found = {scope: str(made_key(command, scope, name=f"of-{scope}")["key"]) for scope in ("search", "index", "admin")}
    wait_for(lambda: api.call("GET", "/v1/jobs", key=found["admin"]).status == 200, "the keys", seconds=AGAIN_SECONDS + SLACK)
    return found


def test_making_and_revoking_a_key_leaves_lines_of_the_audit_log(command: Command) -> None:
    made = command("key", "create", "--name", "noted", "--scope", "search", "--json", TRIPTYCH_LOG_FORMAT="json")
    key = json.loads(made.stdout)
    gone = command("key", "revoke", key["id"], TRIPTYCH_LOG_FORMAT="json")
    lines = [next(line for line in done.stderr.splitlines() if "triptych.audit" in line) for done in (made, gone)]
    told = [json.loads(line) for line in lines]
    assert [line["message"] for line in told] == ["key created", "key revoked"]
    assert {(line["key"], line["key_name"]) for line in told} == {(key["id"], "noted")}
    assert key["key"] not in made.stderr


def query(index: str) -> dict[str, Any]:
    return {"index": index, "text": "red", "size": 3}


def statuses(api: Api, shelf: str, key: str | None) -> dict[str, int]:
    """What a key gets from a route of each kind."""
    product = f"/v1/products/p001?index={shelf}"
    return {
        "search": api.call("POST", "/v1/search", query(shelf), key=key).status,
        "msearch": api.call("POST", "/v1/msearch", {"searches": [query(shelf)]}, key=key).status,
        "product": api.call("GET", product, key=key).status,
        "jobs": api.call("GET", "/v1/jobs", key=key).status,
        "pause": api.call("POST", "/v1/jobs/none/pause", key=key).status,
        "dry run": api.call("GET", "/v1/dry-runs/none", key=key).status,
        "ready": api.call("GET", "/v1/health/ready", key=key).status,
        "docs": api.call("GET", "/v1/docs", key=key).status,
    }


SEARCHES = ("search", "msearch", "product")
JOBS = {"jobs": 200, "pause": 404, "dry run": 404}
OPEN = {"ready": 200, "docs": 200}


@pytest.mark.parametrize(
    ("scope", "may_search", "may_index"),
    [("search", True, False), ("index", False, True), ("admin", True, True)],
)
def test_each_scope_may_do_its_own(
    api: Api, shelf: str, keys: dict[str, str], scope: str, may_search: bool, may_index: bool
) -> None:
    found = statuses(api, shelf, keys[scope])
    searches = dict.fromkeys(SEARCHES, 200 if may_search else 403)
    jobs = JOBS if may_index else dict.fromkeys(JOBS, 403)
    assert found == {**searches, **jobs, **OPEN}


def test_without_a_key_only_what_is_open(api: Api, shelf: str) -> None:
    assert statuses(api, shelf, None) == {**dict.fromkeys((*SEARCHES, *JOBS), 401), **OPEN}
    answer = api.call("POST", "/v1/search", query(shelf))
    assert answer.body["code"] == "access.no_key"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_other_header_serves_too(api: Api, shelf: str, keys: dict[str, str]) -> None:
    assert api.call("POST", "/v1/search", query(shelf), X_API_Key=keys["search"]).status == 200


def test_a_browser_logs_in_with_a_key_as_its_password(api: Api, shelf: str, keys: dict[str, str]) -> None:
    page = f"/?index={shelf}"
    asked = api.call("GET", page)
    assert asked.status == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic realm=")
    login = "Basic " + base64.b64encode(f"me:{keys['search']}".encode()).decode()
    shown = api.call("GET", page, Authorization=login)
    assert shown.status == 200
    assert "script-src 'self'" in shown.headers["Content-Security-Policy"]
    assert api.call("POST", "/v1/search", query(shelf), Authorization=login, Origin=api.url).status == 200
    evil = api.call("POST", "/v1/search", query(shelf), Authorization=login, Origin="https://evil.example")
    assert (evil.status, evil.body["code"]) == (403, "access.origin")


def test_a_key_works_soon_and_a_revoked_one_not_for_long(api: Api, shelf: str, command: Command) -> None:
    key = made_key(command, "search", name="for-a-moment")
    wait_for(
        lambda: api.call("POST", "/v1/search", query(shelf), key=key["key"]).status == 200,
        "the new key",
        seconds=AGAIN_SECONDS + SLACK,
    )
    assert command.json("key", "revoke", key["id"])["revoked_at"]
    started = time.monotonic()
    wait_for(
        lambda: api.call("POST", "/v1/search", query(shelf), key=key["key"]).status == 401,
        "the refusal",
        seconds=KNOWN_SECONDS + SLACK,
    )
    assert time.monotonic() - started < KNOWN_SECONDS + SLACK
    assert api.call("POST", "/v1/search", query(shelf), key=key["key"]).body["code"] == "access.unknown_key"
    kept = {one["id"]: one["in_force"] for one in command.json("key", "list")}
    assert kept[key["id"]] is False


def test_only_hashes_are_kept_and_no_key_is_logged(api: Api, keys: dict[str, str], services: Services) -> None:
    found = services.elasticsearch.search(index=f"{services.settings.system_prefix}api-keys", size=100)
    kept = json.dumps(found.body)
    assert "of-search" in kept
    for text in keys.values():
        assert text[-43:] not in kept
        assert text[-43:] not in api.log.read_text()


def test_keys_are_kept_once_and_revoked_for_ever(services: Services) -> None:
    store = KeyStore(services.elasticsearch, services.settings)
    key, _ = store.create("of-a-test", ["search"], days=1)
    assert store.in_force(seconds=5)[key.id] == key
    first = store.revoke(key.id)
    assert first.revoked_at
    assert store.revoke(key.id) == first
    assert key.id not in store.in_force(seconds=5)


def test_commands_refuse_what_there_is_not(command: Command) -> None:
    done = command("key", "revoke", "none", "--json", check=False)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "access.key_not_found")
    done = command("key", "create", "--name", "a b", "--scope", "search", "--json", check=False)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "access.bad_key")


def test_what_is_written_has_a_line_in_the_audit_log(api: Api, shelf: str, keys: dict[str, str], command: Command) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="job"\r\n\r\n' + json.dumps({"index": shelf}).encode() + b"\r\n"
        b'--x\r\nContent-Disposition: form-data; name="catalogue"; filename="c.jsonl"\r\n\r\n{"id": "a"}\n\r\n--x--\r\n'
    )
    key_id = keys["index"].split("_")[1]
    made = api.call("POST", "/v1/jobs", form, key=keys["index"], Content_Type="multipart/form-data; boundary=x")
    assert made.status == 202, made.body
    job = made.body["id"]
    assert api.call("POST", f"/v1/jobs/{job}/stop", key=keys["index"]).status == 202
    assert api.call("POST", f"/v1/jobs/{job}/stop", key=keys["search"]).status == 403
    assert api.call("GET", f"/v1/jobs/{job}", key=keys["index"]).status == 200
    lines = [line for line in api.audit() if line.get("job") == job]
    assert [(line["message"], line["key"], line["key_name"], line["path"], line["status"]) for line in lines] == [
        ("changed", key_id, "of-index", "/v1/jobs", 202),
        ("changed", key_id, "of-index", f"/v1/jobs/{job}/stop", 202),
        ("refused", keys["search"].split("_")[1], "of-search", f"/v1/jobs/{job}/stop", 403),
    ]
    assert {line["address"] for line in lines} == {"127.0.0.1"}


def test_every_answer_keeps_browsers_careful_and_no_other_site_reads_it(api: Api, shelf: str, keys: dict[str, str]) -> None:
    ours = {"Origin": "https://shop.example"}
    for answer in (
        api.call("POST", "/v1/search", query(shelf), key=keys["search"], **ours),
        api.call("POST", "/v1/search", query(shelf), **ours),
        api.call("OPTIONS", "/v1/search", **ours),
        api.call("GET", "/v1/health/live", **ours),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    docs = api.call("GET", "/v1/docs").headers["Content-Security-Policy"]
    assert "style-src 'unsafe-inline'" in docs


def measured(api: Api, key: str | None = None) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of `GET /metrics` by name and values of labels, in the order of the labels' names."""
    answer = api.call("GET", "/metrics", key=key)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.body):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_metrics_are_for_admin(api: Api, keys: dict[str, str]) -> None:
    assert api.call("GET", "/metrics").status == 401
    assert api.call("GET", "/metrics", key=keys["search"]).status == 403
    assert api.call("GET", "/metrics", key=keys["admin"]).status == 200


def test_searches_are_measured(api: Api, shelf: str, keys: dict[str, str]) -> None:
    before = measured(api, keys["admin"])
    route = ("POST", "/v1/search", "200")
    body = {"index": shelf, "text": "red", "vectors": {"words": made_shop.vector("words", 1)}}
    for _ in range(3):
        assert api.call("POST", "/v1/search", body, key=keys["search"]).status == 200
    after = measured(api, keys["admin"])

    def more(name: str, *labels: str) -> float:
        return after[name][labels] - before.get(name, {}).get(labels, 0)

    assert more("triptych_http_request_seconds_count", *route) == 3
    for stage in ("embedding", "legs", "ranking", "products"):
        assert more("triptych_search_stage_seconds_count", stage) == 3, stage
    assert more("triptych_search_leg_seconds_count", "lexical") == 3
    assert more("triptych_search_leg_seconds_count", "vector.words") == 3
    assert more("triptych_search_answers_total", "full") == 3
    assert more("triptych_sessions_total", "kept") == 3
    assert after["triptych_breaker_open"]["elasticsearch",] == 0
    assert after["triptych_scrape_ok"] == {("queue",): 1, ("ledger",): 1}


def test_the_queue_and_the_ledger_are_asked_at_a_scrape(api: Api, keys: dict[str, str], services: Services) -> None:
    queue = services.settings.queue
    found = measured(api, keys["admin"])
    assert set(found["triptych_queue_messages"]) == {(queue,), (f"{queue}.image",), (f"{queue}.audio",)}
    assert {outcome for (outcome,) in found["triptych_ledger_records"]} >= {"written", "dead", "pending"}
    assert sum(found["triptych_jobs"].values()) >= 0


def test_others_are_served_only_with_keys(command: Command) -> None:
    done = command("serve", "--host", "0.0.0.0", "--port", str(free_port()), check=False)  # noqa: S104
    assert done.returncode == 1
    assert "(access.open_to_others)" in done.stderr
    assert "TRIPTYCH_API_KEYS=true" in done.stderr


def test_a_client_may_not_send_more_than_its_limit(serving: Callable[..., Any], shelf: str) -> None:
    with serving("--processes", "2", TRIPTYCH_RATE_LIMIT="6/minute", TRIPTYCH_CORS_ORIGINS="https://shop.example") as api:
        assert "asks for no keys" in api.log.read_text(), "said where there are none"
        answers = [api.call("POST", "/v1/search", query(shelf), Origin="https://shop.example") for _ in range(9)]
        assert [answer.status for answer in answers] == [200] * 6 + [429] * 3, "both processes together"
        last = answers[-1]
        assert last.body["code"] == "access.too_many"
        assert 1 <= int(last.headers["Retry-After"]) <= 61  # a second is begun
        assert last.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert api.call("GET", "/v1/health/live").status == 200
        assert api.call("GET", "/v1/health/live", Host="evil.example").body["code"] == "access.host"
        for _ in range(4):  # whichever process answers, it answers for both
            found = measured(api)["triptych_http_request_seconds_count"]
            assert found["POST", "/v1/search", "200"] == 6
            assert found["POST", "/v1/search", "429"] == 3
        assert api.call("POST", "/v1/search", query(shelf), Origin="https://evil.example").body["code"] == "access.origin"
