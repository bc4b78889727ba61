"""Events through the real API, Redis and Elasticsearch: taken, counted, forgotten, expired, and turned into judgements."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_shop
import numpy as np
import pytest
from flask.testing import FlaskClient
from processes import Command
from said import check_said

from indexer import sweeper
from search_api.app import create_app
from triptych.elastic.events import Event, EventStore, Shown
from triptych.errors import QueueError, TriptychError
from triptych.events import Pseudonyms, Rate
from triptych.services import Services

pytestmark = pytest.mark.integration

QUERIES = ("red horn", "blue drum", "green lamp")


@pytest.fixture(scope="module")
def shop_services(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Services that take events, with a prefix of their own: no other test's events are among these."""
    own = f"ev-{uuid.uuid4().hex[:8]}"
    return made_shop.services_of(
        services, tmp_path_factory.mktemp("events"), events=True, events_answers=True, system_prefix=f"{own}-", queue=own
    )


@pytest.fixture(scope="module")
def changes(shop_services: Services) -> dict[str, str]:
    """The settings that lead a command to the same events."""
    settings = shop_services.settings
    return {
        "TRIPTYCH_SYSTEM_PREFIX": settings.system_prefix,
        "TRIPTYCH_QUEUE": settings.queue,
        "TRIPTYCH_PROFILE": str(settings.profile),
    }


@pytest.fixture(scope="module")
def made(shop_services: Services, run_id: str) -> str:
    """The alias of a shop of 300 products."""
    name = f"made-{run_id}-{uuid.uuid4().hex[:6]}"
    made_shop.create(shop_services, name, made_shop.things())
    return name


@pytest.fixture(scope="module")
def client(shop_services: Services) -> FlaskClient:
    return create_app(shop_services).test_client()


@pytest.fixture
def store(shop_services: Services) -> EventStore:
    return EventStore(shop_services.elasticsearch, shop_services.settings)


@pytest.fixture
def session() -> str:
    return f"visit {uuid.uuid4().hex}"


def sent(client: FlaskClient, made: str, session: str, *events: dict[str, Any]) -> Any:
    answer = client.post("/v1/events", json={"index": made, "session": session, "events": list(events)})
    assert answer.status_code == 200, answer.json
    check_said("EventsAnswer", answer.json)
    return answer.json


def kept(store: EventStore, made: str, pseudonyms: list[str]) -> list[dict[str, Any]]:
    return [dict(entry) for entry in store.entries(made) if entry.get("session") in pseudonyms]


# Taking


def test_what_happened_is_kept_without_who_did_it(
    client: FlaskClient, made: str, session: str, store: EventStore, shop_services: Services
) -> None:
    answer = client.post("/v1/search", json={"index": made, "text": "red horn", "size": 3}).json
    click = {"kind": "click", "product": answer["hits"][1]["id"], "query_id": answer["query_id"], "position": 2}
    assert sent(client, made, session, click, {"kind": "purchase", "product": "p000"}) == {"accepted": 2, "refused": []}
    (pseudonym,) = Pseudonyms(shop_services.redis, shop_services.settings).known(session)
    found = sorted(kept(store, made, [pseudonym]), key=lambda one: one["kind"])
    assert [{name: value for name, value in one.items() if name != "at"} for one in found] == [
        {**click, "index": made, "session": pseudonym},
        {"kind": "purchase", "product": "p000", "index": made, "session": pseudonym},
    ]
    everything = json.dumps(list(store.entries(made)))
    assert session not in everything
    assert "127.0.0.1" not in everything


def test_what_an_answer_showed_is_kept_page_by_page(
    client: FlaskClient, made: str, store: EventStore, wait: Callable[..., None]
) -> None:
    first = client.post("/v1/search", json={"index": made, "text": "blue  drum", "size": 4}).json
    second = client.post("/v1/search", json={"page": first["next"]}).json
    assert (first["offset"], second["offset"], second["index"]) == (0, 4, made)

    def entries() -> list[dict[str, Any]]:
        found = [dict(e) for e in store.entries(made) if e["kind"] == "shown" and e["query_id"] == first["query_id"]]
        return sorted(found, key=lambda one: one["offset"])

    wait(lambda: len(entries()) == 2, "both pages", seconds=20)
    assert [(one["offset"], one["products"], one.get("words")) for one in entries()] == [
        (0, [hit["id"] for hit in first["hits"]], "blue drum"),
        (4, [hit["id"] for hit in second["hits"]], None),
    ]


def test_unknown_products_are_named_and_the_others_kept(client: FlaskClient, made: str, session: str) -> None:
    answer = sent(client, made, session, {"kind": "cart", "product": "nobody"}, {"kind": "cart", "product": "p001"})
    assert answer["accepted"] == 1
    assert answer["refused"] == [
        {"event": 0, "code": "product.not_found", "message": f"There is no product 'nobody' in '{made}'."}
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"events": [{"kind": "like", "product": "p000"}]}, "events.0.kind"),
        ({"events": [{"kind": "click", "product": "p000", "position": 0}]}, "events.0.position"),
        ({"events": [{"kind": "click", "product": "p000", "query_id": "x"}]}, "events.0.query_id"),
        ({"events": [{"kind": "click", "product": "p000", "ip": "10.0.0.1"}]}, "events.0.ip"),
        ({"events": []}, "events"),
        ({"events": [{"kind": "view", "product": "p000"}] * 501}, "events"),
        ({"events": [{"kind": "view", "product": "p000"}], "session": ""}, "session"),
    ],
    ids=["kind", "position", "query_id", "unknown field", "none", "too many", "no session"],
)
def test_a_malformed_request_is_refused_and_says_where(
    client: FlaskClient, made: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/events", json={"index": made, "session": "s", **body})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "request.invalid", field)


def test_an_unknown_index_a_large_body_and_no_json_are_refused(client: FlaskClient, made: str) -> None:
    one = {"session": "s", "events": [{"kind": "view", "product": "p000"}]}
    assert client.post("/v1/events", json={"index": "nowhere", **one}).json["code"] == "index.not_found"
    assert client.post("/v1/events", data=b" " * 1_000_001).status_code == 413
    assert client.post("/v1/events", data=b"x").json["code"] == "request.not_json"


def test_events_are_off_by_default(services: Services, shop_services: Services, made: str) -> None:
    off = Services(shop_services.settings.model_copy(update={"events": False}))
    answer = (
        create_app(off)
        .test_client()
        .post("/v1/events", json={"index": made, "session": "s", "events": [{"kind": "view", "product": "p000"}]})
    )
    assert not services.settings.events
    assert (answer.status_code, answer.json["code"]) == (400, "events.off")


def test_a_session_cannot_send_without_end(client: FlaskClient, made: str, session: str) -> None:
    events = [{"kind": "view", "product": "p000"}] * 400
    sent(client, made, session, *events)
    answer = client.post("/v1/events", json={"index": made, "session": session, "events": events})
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (429, "events.too_many", "60")
    sent(client, made, f"{session} of somebody else", *events[:1])


def test_all_sessions_together_cannot_either(shop_services: Services) -> None:
    settings = shop_services.settings.model_copy(update={"events_per_minute": 10, "queue": uuid.uuid4().hex})
    rate = Rate(shop_services.redis, settings, clock=lambda: 1_000_000.0)
    rate.take(6, "a")
    with pytest.raises(TriptychError, match="more than the API takes") as caught:
        rate.take(5, "b")
    assert caught.value.retryable
    Rate(shop_services.redis, settings, clock=lambda: 1_000_060.0).take(10, "b")


# Forgetting


def test_a_session_is_forgotten_and_no_other(
    client: FlaskClient, made: str, session: str, store: EventStore, shop_services: Services
) -> None:
    names = Pseudonyms(shop_services.redis, shop_services.settings)
    other = f"{session} other"
    for one in (session, other):
        sent(client, made, one, *[{"kind": "click", "product": f"p{n:03}"} for n in range(150)])
    forgotten = client.delete("/v1/events", query_string={"session": session}).json
    check_said("ForgottenAnswer", forgotten)
    assert forgotten == {"deleted": 150}
    assert kept(store, made, names.known(session)) == []
    assert len(kept(store, made, names.known(other))) == 150
    assert client.delete("/v1/events", query_string={"session": session}).json == {"deleted": 0}
    assert client.delete("/v1/events").json["code"] == "request.invalid"


def test_the_command_forgets_too(
    client: FlaskClient, command: Command, changes: dict[str, str], made: str, session: str
) -> None:
    sent(client, made, session, {"kind": "click", "product": "p002"})
    assert command.json("events", "forget", session, **changes) == {"deleted": 1}
    assert "0 events" in command("events", "forget", "nobody at all", **changes).stdout


def test_pseudonyms_change_and_after_another_period_nobody_knows_whose_they_were(shop_services: Services) -> None:
    settings = shop_services.settings.model_copy(update={"queue": uuid.uuid4().hex, "events_salt_days": 7})
    at = [dt.datetime.now(dt.UTC).timestamp()]
    names = Pseudonyms(shop_services.redis, settings, clock=lambda: at[0])
    week = 7 * 86_400
    first = names.of("visit")
    assert names.of("visit") == first != names.of("another visit")
    at[0] += week
    second = names.of("visit")
    assert second != first
    assert names.known("visit") == [second, first]
    (key, *_) = sorted(shop_services.redis.keys(f"{settings.queue}:events-salt:*"))
    assert 7 * 86_400 < shop_services.redis.ttl(key) <= 2 * week
    shop_services.redis.delete(key)  # as Redis does when the time is over
    assert names.known("visit") == [second]
    at[0] += week
    assert names.known("nobody") == [Pseudonyms(shop_services.redis, settings, clock=lambda: at[0] - week).of("nobody")]


def test_without_redis_nothing_is_kept_under_a_name_of_its_own(services: Services) -> None:
    import redis

    away = redis.Redis(host="127.0.0.1", port=9)
    with pytest.raises(QueueError):
        Pseudonyms(away, services.settings).of("visit")
    away.close()


# Expiring


@pytest.fixture(params=["newest", "8.19"])
def any_services(request: pytest.FixtureRequest, services: Services) -> Iterator[Services]:
    """Services of either supported line, with a prefix of their own."""
    base = services if request.param == "newest" else request.getfixturevalue("oldest_services")
    own = Services(base.settings.model_copy(update={"system_prefix": f"ex-{uuid.uuid4().hex[:8]}-", "events_days": 30}))
    yield own
    own.elasticsearch.indices.delete(index=EventStore(own.elasticsearch, own.settings).pattern, allow_no_indices=True)


def test_days_are_written_read_counted_forgotten_and_deleted_when_they_are_old(any_services: Services) -> None:
    today = dt.datetime.now(dt.UTC).date()

    def of(days_ago: int) -> EventStore:
        day = today - dt.timedelta(days=days_ago)
        return EventStore(any_services.elasticsearch, any_services.settings, today=lambda: day)

    store = of(0)
    assert (store.days(), list(store.entries("shop")), store.expire(), store.forget(["x"])) == ([], [], [], 0)
    for ago in (40, 31, 30, 0):
        of(ago).write([Event("click", "shop", "p", f"s{ago}"), Shown("q", "shop", ["p", "r"], 0, "hat")])
    assert [day.date for day in store.days()] == [(today - dt.timedelta(days=ago)).isoformat() for ago in (30, 0)]
    assert {json.dumps(day.kinds, sort_keys=True) for day in store.days()} == {'{"click": 1, "shown": 1}'}
    assert len(list(store.entries("shop"))) == 4
    assert list(store.entries("another")) == []
    assert store.forget(["s30", "s0"]) == 2
    assert {entry["kind"] for entry in store.entries("shop")} == {"shown"}
    late = EventStore(any_services.elasticsearch, any_services.settings, today=lambda: today + dt.timedelta(days=1))
    assert len(late.expire()) == 1
    assert [day.date for day in store.days()] == [today.isoformat()]


def test_the_commands_list_and_delete_days(
    command: Command, changes: dict[str, str], shop_services: Services, store: EventStore
) -> None:
    old = dt.date(2020, 1, 31)
    EventStore(shop_services.elasticsearch, shop_services.settings, today=lambda: old).write([Event("click", "s", "p", "x")])
    days = command.json("events", "list", **changes)["days"]
    assert days[0] == {
        "name": f"{shop_services.settings.system_prefix}events-2020.01.31",
        "date": "2020-01-31",
        "kinds": {"click": 1},
    }
    assert command.json("events", "expire", **changes) == {"deleted": [days[0]["name"]]}
    assert [day.name for day in store.days()] == [day["name"] for day in days[1:]]


def test_a_worker_deletes_old_days(any_services: Services, wait: Callable[..., None]) -> None:
    own = Services(any_services.settings.model_copy(update={"batch_lease_seconds": 0.3}))
    own.jobs.prepare()
    store = EventStore(own.elasticsearch, own.settings)
    EventStore(own.elasticsearch, own.settings, today=lambda: dt.date(2020, 1, 31)).write([Event("click", "s", "p", "x")])
    assert len(store.dates()) == 1
    stop = threading.Event()
    sweeping = threading.Thread(target=sweeper.run, args=(own, stop))
    sweeping.start()
    try:
        wait(lambda: store.dates() == {}, "the sweeper", seconds=30)
    finally:
        stop.set()
        sweeping.join(10)


# Judgements


def test_clicks_become_judgements_that_can_be_run(
    client: FlaskClient,
    command: Command,
    changes: dict[str, str],
    made: str,
    store: EventStore,
    wait: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Users who like the products with an even number, look at place k with 1 / k, and get two rankings in turn."""
    chance = np.random.default_rng(3)
    for query in QUERIES:
        for visit in range(60):
            order = {"price": "asc"} if visit % 2 else {"stock": "desc"}
            asked = {"index": made, "text": query, "size": 6, "window": 8, "sort": [order]}
            answer = client.post("/v1/search", json=asked).json
            events = [
                {"kind": "purchase" if chance.random() < 0.3 else "click", "product": hit["id"], "query_id": answer["query_id"]}
                for place, hit in enumerate(answer["hits"], start=1)
                if chance.random() < 1 / place and chance.random() < (0.8 if int(hit["id"][1:]) % 2 == 0 else 0.1)
            ]
            if events:
                sent(client, made, f"{query} {visit}", *events)
    wait(lambda: sum(e["kind"] == "shown" for e in store.entries(made)) >= 180, "all answers", seconds=30)
    out = tmp_path / "judged"
    told = command.json(
        "evaluate", "from-clicks", "--index", made, "--out", str(out), "--min-sessions", "15", "--min-examined", "5", **changes
    )
    assert told["queries"] == 3
    assert 0.5 < told["eta"] < 1.6
    grades: dict[bool, list[int]] = {True: [], False: []}
    for line in (out / "qrels.txt").read_text().splitlines():
        _, _, product, grade = line.split()
        grades[int(product[1:]) % 2 == 0].append(int(grade))
    assert np.mean(grades[True]) > np.mean(grades[False]) + 0.8
    assert {json.loads(line)["text"] for line in (out / "queries.jsonl").read_text().splitlines()} == set(QUERIES)
    ran = command.json(
        "evaluate", "run", str(out / "qrels.txt"), "--queries", str(out / "queries.jsonl"), "--index", made,
        TRIPTYCH_DATA_DIR=str(tmp_path / "data"), **changes,
    )  # fmt: skip
    assert ran["queries"] == 3
    assert 0 < ran["measures"]["nDCG@10"]["mean"] <= 1
    few = command("evaluate", "from-clicks", "--index", "nobody", "--out", str(out), check=False, **changes)
    assert (few.returncode, "evaluation.too_few_clicks" in few.stderr) == (1, True)
