"""A visitor's history as a leg of a search, through the real API, Redis and Elasticsearch."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import made_shop
import numpy as np
import pytest
from flask.testing import FlaskClient

from search_api.app import create_app
from search_api.query import SearchRequest
from search_api.searcher import Searcher
from triptych.elastic.bulk import bulk_index
from triptych.elastic.events import EventStore
from triptych.errors import QueryError
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shop_services(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    own = f"hi-{uuid.uuid4().hex[:8]}"
    return made_shop.services_of(services, tmp_path_factory.mktemp("history"), events=True, system_prefix=f"{own}-", queue=own)


def fields(number: int) -> dict[str, Any]:
    return {"colour": "red", "brand": ("even", "odd")[number % 2]}


@pytest.fixture(scope="module")
def made(shop_services: Services, run_id: str) -> str:
    """All are hats; those with an even number look one way, those with an odd number another."""
    name = f"history-{run_id}-{uuid.uuid4().hex[:6]}"
    chance = np.random.default_rng(4)
    looks = [made_shop.unit(chance.normal(size=(1, made_shop.DIMS["picture"]))) for _ in range(2)]
    near = [made_shop.unit(looks[n % 2] + chance.normal(scale=0.1, size=looks[0].shape)) for n in range(40)]
    things = [made_shop.Thing(f"p{n:03}", "red hat", {"picture": near[n]}, fields(n)) for n in range(40)]
    version = made_shop.create(shop_services, name, things)
    bulk_index(shop_services.elasticsearch, version, {"bare": {"triptych": {"key": "bare"}, "title": {"en": "red hat"}}})
    shop_services.elasticsearch.indices.refresh(index=version)
    return name


@pytest.fixture(scope="module")
def client(shop_services: Services) -> FlaskClient:
    return create_app(shop_services).test_client()


@pytest.fixture
def session(client: FlaskClient, shop_services: Services, made: str) -> str:
    """A visitor who likes what looks as the even products do, and dismissed an odd one; one of his is gone."""
    name = uuid.uuid4().hex
    liked = [{"kind": kind, "product": product} for kind, product in (("click", "p000"), ("cart", "p002"), ("view", "bare"))]
    sent = client.post(
        "/v1/events", json={"index": made, "session": name, "events": [*liked, {"kind": "dismiss", "product": "p001"}]}
    )
    assert sent.json == {"accepted": 4, "refused": []}
    EventStore(shop_services.elasticsearch, shop_services.settings).refresh()
    return name


def got(client: FlaskClient, made: str, **given: Any) -> Any:
    answer = client.post("/v1/search", json={"index": made, "size": 20, "window": 60, **given})
    assert answer.status_code == 200, answer.json
    return answer.json


def evens(answer: Any) -> int:
    return sum(int(hit["id"][1:]) % 2 == 0 for hit in answer["hits"] if hit["id"] != "bare")


def test_products_like_those_a_visitor_liked_come_first_and_the_leg_is_explained(
    client: FlaskClient, made: str, session: str
) -> None:
    plain = got(client, made, text="red hat")
    mine = got(client, made, text="red hat", session_id=session, explain=True)
    assert evens(plain) == 10  # all are alike by their words: in the order of their ids
    assert evens(mine) == 20
    assert mine["degraded"] == []
    assert "p001" not in [hit["id"] for hit in mine["hits"]]
    legs = mine["hits"][0]["legs"]
    assert set(legs) == {"lexical", "history.picture"}
    assert sum(leg["contribution"] for leg in legs.values()) == pytest.approx(mine["hits"][0]["score"])
    assert mine["explain"]["legs"]["history.picture"]["input"] == "history"
    assert mine["explain"]["legs"]["history.picture"]["weight"] == pytest.approx(1 / 6)
    relevance = {hit["id"]: hit["relevance"] for hit in plain["hits"]}
    both = [hit for hit in mine["hits"] if hit["id"] in relevance]
    assert [hit["relevance"] for hit in both] == [relevance[hit["id"]] for hit in both]  # of the query, not of the visitor
    assert {hit["id"] for hit in mine["hits"]} & {"p000", "p002"} == {"p000", "p002"}  # what was liked may be shown again


def test_without_completion_it_lifts_what_stands_in_its_own_list(client: FlaskClient, made: str, session: str) -> None:
    mine = got(client, made, text="red hat", session_id=session, complete=False)
    assert evens(mine) == 20
    assert all(hit["legs"]["history.picture"]["status"] == "retrieved" for hit in mine["hits"])
    assert got(client, made, text="boat", session_id=session, complete=False)["hits"] == []


def test_a_history_brings_nothing_that_the_words_do_not_find(client: FlaskClient, made: str, session: str) -> None:
    mine = got(client, made, text="boat", session_id=session)
    assert mine["hits"] == []
    assert got(client, made, text="red hat", session_id=session, filters={"colour": "blue"})["hits"] == []


def test_a_history_does_not_vote(client: FlaskClient, made: str, session: str) -> None:
    """What he did before does not say what he asks now, unless he asks nothing."""
    vote = {"field": "brand", "neighbours": 10}
    plain, mine = got(client, made, text="red hat", vote=vote), got(client, made, text="red hat", session_id=session, vote=vote)
    for answer in (plain, mine):
        assert answer["predicted"]["shares"] == pytest.approx({"even": 0.5, "odd": 0.5})
    assert got(client, made, session_id=session, vote=vote)["predicted"]["value"] == "even"


def test_its_weight_may_be_given_and_taken(client: FlaskClient, made: str, session: str) -> None:
    none = got(client, made, text="red hat", session_id=session, weights={"history.picture": 0})
    assert evens(none) == 10
    more = got(client, made, text="red hat", session_id=session, weights={"history.picture": 0.9})
    assert more["hits"][0]["legs"]["history.picture"]["weight"] == pytest.approx(0.9)
    lost = got(client, made, text="red hat", session_id=session, weights={"history.words": 0.5})
    assert lost["hits"][0]["legs"]["history.picture"]["weight"] == pytest.approx(1 / 6)


def test_a_history_alone_is_a_query(client: FlaskClient, made: str, session: str) -> None:
    mine = got(client, made, session_id=session)
    assert evens(mine) == 20
    assert mine["next"]


def test_pages_and_other_weights_follow_from_the_same_scores(client: FlaskClient, made: str, session: str) -> None:
    first = got(client, made, text="red hat", session_id=session, size=5)
    second = client.post("/v1/search", json={"page": first["next"]}).json
    whole = got(client, made, text="red hat", session_id=session, size=10)
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == [hit["id"] for hit in whole["hits"]]
    again = client.post("/v1/reweigh", json={"query_id": whole["query_id"], "weights": {"history.picture": 0}, "size": 20}).json
    assert evens(again) == 10


def test_a_certified_answer_is_certified_with_a_history_too(client: FlaskClient, made: str, session: str) -> None:
    certified = got(client, made, text="red hat", session_id=session, certify=True, size=5, window=10)
    plain = got(client, made, text="red hat", session_id=session, size=5, window=60)
    assert certified["certified"]["proved"]
    assert [hit["id"] for hit in certified["hits"]] == [hit["id"] for hit in plain["hits"]]


@pytest.mark.parametrize("how", ["never seen", "forgotten"])
def test_without_a_history_the_answer_is_everybodys(client: FlaskClient, made: str, session: str, how: str) -> None:
    if how == "forgotten":
        assert client.delete("/v1/events", query_string={"session": session}).json == {"deleted": 4}
    asked = session if how == "forgotten" else "a stranger"
    plain, mine = got(client, made, text="red hat"), got(client, made, text="red hat", session_id=asked)
    assert [hit["id"] for hit in mine["hits"]] == [hit["id"] for hit in plain["hits"]]
    assert mine["degraded"] == []
    alone = client.post("/v1/search", json={"index": made, "session_id": asked})
    assert (alone.status_code, alone.json["code"]) == (400, "query.empty")


def test_without_redis_the_answer_is_everybodys_and_says_so(
    services: Services, shop_services: Services, made: str, tmp_path: Path
) -> None:
    away = made_shop.services_of(
        services, tmp_path, system_prefix=shop_services.settings.system_prefix, redis_url="redis://127.0.0.1:9/0"
    )
    found = Searcher(away).search(SearchRequest(made, text="red hat", session_id="visit", size=5))
    assert len(found.hits) == 5
    assert ("history", "queue.unavailable") in {(one.name, one.code) for one in found.degraded}
    with pytest.raises(QueryError):
        Searcher(away).search(SearchRequest(made, session_id="visit"))


def test_native_knows_it_too(client: FlaskClient, made: str, session: str) -> None:
    mine = got(client, made, text="red hat", session_id=session, fusion="native", size=10)
    assert evens(mine) == 10
