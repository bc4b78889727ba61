"""Similar and complementary products on a real Elasticsearch, over HTTP, from Python and from the command line."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import Any

import made_shop
import numpy as np
import pytest
from flask.testing import FlaskClient
from processes import Command

from search_api.app import create_app
from search_api.query import SearchRequest
from search_api.searcher import Searcher
from search_api.similar import SimilarRequest
from triptych.elastic.bulk import bulk_index
from triptych.elastic.events import Event, EventStore
from triptych.errors import NotFoundError, QueryError
from triptych.services import Services

pytestmark = pytest.mark.integration

PRODUCT = "p007"
"""One that has a vector in each space."""


@pytest.fixture(scope="module")
def shop_services(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    own = f"si-{uuid.uuid4().hex[:8]}"
    return made_shop.services_of(services, tmp_path_factory.mktemp("similar"), events=True, system_prefix=f"{own}-", queue=own)


@pytest.fixture(scope="module")
def made(shop_services: Services, run_id: str) -> str:
    name = f"similar-{run_id}-{uuid.uuid4().hex[:6]}"
    chance = np.random.default_rng(5)
    things = made_shop.things(200)
    of = {space: made_shop.unit(chance.normal(size=(1, dims)) + 0.4) for space, dims in made_shop.DIMS.items()}
    things = [made_shop.Thing(one.id, one.title, of, one.fields) if one.id == PRODUCT else one for one in things]
    things += [made_shop.Thing("a/b/similar", "red", of, {"colour": "red"})]
    version = made_shop.create(shop_services, name, things)
    written = bulk_index(shop_services.elasticsearch, version, {"bare": {"triptych": {"key": "bare"}, "id": "bare"}})
    assert written["bare"].reason is None
    shop_services.elasticsearch.indices.refresh(index=version)
    return name


@pytest.fixture(scope="module")
def searcher(shop_services: Services) -> Searcher:
    return Searcher(shop_services)


@pytest.fixture(scope="module")
def client(shop_services: Services) -> FlaskClient:
    return create_app(shop_services).test_client()


def got(client: FlaskClient, made: str, product: str = PRODUCT, **given: Any) -> Any:
    answer = client.get(f"/v1/products/{product}/similar", query_string={"index": made, **given})
    assert answer.status_code == 200, answer.json
    return answer.json


# Similar


def test_similar_products_are_those_of_a_search_by_the_product(client: FlaskClient, searcher: Searcher, made: str) -> None:
    found = got(client, made, size=20)
    hits = searcher.search(SearchRequest(made, products=(PRODUCT,), size=20)).hits
    assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(hit.id, pytest.approx(hit.score)) for hit in hits]
    assert (found["id"], found["index"], found["complementary"]) == (PRODUCT, made, None)
    assert PRODUCT not in {hit["id"] for hit in found["hits"]}
    assert set(found["hits"][0]["legs"]) == {"products.words", "products.picture"}  # nobody measured the sound


def test_spaces_weights_and_filters_are_heeded(client: FlaskClient, made: str) -> None:
    found = got(
        client, made, spaces="picture,sound", weights='{"products.sound": 0.75}', filters='{"colour": "red"}', fields="colour"
    )
    legs = found["hits"][0]["legs"]
    assert set(legs) == {"products.picture", "products.sound"}
    assert legs["products.sound"]["weight"] == pytest.approx(0.75) or None in {leg["raw"] for leg in legs.values()}
    assert {json.dumps(hit["product"]) for hit in found["hits"]} == {'{"colour": "red"}'}


def test_an_id_may_have_slashes_and_end_like_the_address(client: FlaskClient, made: str) -> None:
    assert got(client, made, "a/b/similar", size=1)["hits"][0]["id"] == PRODUCT
    one = client.get("/v1/products", query_string={"index": made, "id": "a/b/similar"})
    assert (one.status_code, one.get_json()["id"]) == (200, "a/b/similar")


def mean_likeness(searcher: Searcher, made: str, ids: list[str]) -> float:
    """The mean score of products as the like of each other, by real searches."""
    scores = []
    for key in ids:
        hits = searcher.search(SearchRequest(made, products=(key,), size=200, window=200)).hits
        scores += [hit.score for hit in hits if hit.id in ids]
    return float(np.mean(scores))


def test_diversity_shows_products_that_are_less_alike(client: FlaskClient, searcher: Searcher, made: str) -> None:
    plain = [hit["id"] for hit in got(client, made, size=8)["hits"]]
    spread = [hit["id"] for hit in got(client, made, size=8, diversity=0.6)["hits"]]
    assert spread[0] == plain[0]
    assert set(spread) != set(plain)
    assert mean_likeness(searcher, made, spread) < mean_likeness(searcher, made, plain) - 0.05


def test_no_value_comes_more_often_than_its_cap(client: FlaskClient, made: str) -> None:
    found = got(client, made, size=6, cap=2, cap_field="colour")["hits"]
    assert Counter(hit["product"]["colour"] for hit in found) == {"red": 2, "blue": 2, "green": 2}
    plain = [hit["id"] for hit in got(client, made, size=50)["hits"]]
    assert [hit["id"] for hit in found] == sorted((hit["id"] for hit in found), key=plain.index)


@pytest.mark.parametrize(
    ("given", "status", "code", "field"),
    [
        ({"spaces": "smell"}, 400, "query.unknown_space", "spaces"),
        ({"weights": '{"products.smell": 1}'}, 400, "query.unknown_leg", "weights.products.smell"),
        ({"filters": '{"smell": 1}'}, 400, "query.unknown_field", "filters.smell"),
        ({"cap": "1"}, 400, "query.bad_cap", "cap"),
        ({"cap": "1", "cap_field": "title.en"}, 400, "query.bad_cap", "cap_field"),
        ({"diversity": "2"}, 400, "request.invalid", "diversity"),
        ({"index": ""}, 400, "request.no_index", "index"),
        ({"index": "nowhere"}, 404, "index.not_found", "index"),
    ],
)
def test_what_cannot_be_is_refused(
    client: FlaskClient, made: str, given: dict[str, str], status: int, code: str, field: str
) -> None:
    answer = client.get(f"/v1/products/{PRODUCT}/similar", query_string={"index": made, **given})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (status, code, field)


def test_unknown_products_and_such_without_vectors_are_refused(searcher: Searcher, made: str) -> None:
    with pytest.raises(NotFoundError) as lost:
        searcher.similar(SimilarRequest(made, "nobody"))
    assert (lost.value.code, lost.value.field) == ("product.not_found", "id")
    with pytest.raises(QueryError) as bare:
        searcher.similar(SimilarRequest(made, "bare"))
    assert (bare.value.code, bare.value.field) == ("query.no_vector", "id")
    assert "'bare'" in bare.value.message
    for options, code in (({"size": 0}, "query.bad_size"), ({"diversity": -1}, "query.bad_diversity")):
        with pytest.raises(QueryError) as bad:
            searcher.similar(SimilarRequest(made, PRODUCT, **options))  # type: ignore[arg-type]
        assert bad.value.code == code


# Complementary


@pytest.fixture(scope="module")
def bought(shop_services: Services, made: str) -> None:
    """40 sessions bought p001; 20 of them p002 too, 6 of them p003, one p004; 60 others bought p003 or p005."""
    baskets = [
        ["p001", *(["p002"] if n < 20 else []), *(["p003"] if n >= 34 else []), *(["p004"] if n == 0 else [])]
        for n in range(40)
    ]
    baskets += [["p003"] if n % 2 else ["p005"] for n in range(60)]
    store = EventStore(shop_services.elasticsearch, shop_services.settings)
    store.write([Event("purchase", made, product, f"s{n}") for n, basket in enumerate(baskets) for product in basket])
    store.write([Event("click", made, "p006", f"s{n}") for n in range(40)])
    store.write([Event("purchase", "another", "p007", f"s{n}") for n in range(40)])
    store.refresh()


@pytest.mark.usefixtures("bought")
def test_what_is_bought_together_is_told_with_its_counts(client: FlaskClient, made: str) -> None:
    """By hand: of 100 sessions 40 bought p001, 20 p002, all of them with it: lift 20 x 100 / (40 x 20) = 2.5."""
    found = got(client, made, "p001", complementary=5)["complementary"]
    assert [(one["id"], one["sessions"], one["share"], one["lift"]) for one in found["products"]] == [("p002", 20, 0.5, 2.5)]
    assert found["products"][0]["product"]["id"] == "p002"
    assert found["reason"] is None


@pytest.mark.usefixtures("bought")
def test_counts_are_kept_for_a_while(shop_services: Services, made: str) -> None:
    store = EventStore(shop_services.elasticsearch, shop_services.settings)

    def bought_with(searcher: Searcher) -> list[int]:
        found = searcher.similar(SimilarRequest(made, "p010", complementary=5)).complementary
        assert found is not None
        return [one.sessions for one in found.products]

    old = Searcher(shop_services)
    for count in (5, 9):
        store.write(
            [Event("purchase", made, product, f"late{n}") for n in range(count - 4, count) for product in ("p010", "p011")]
        )
        store.refresh()
        assert bought_with(old) == [4]
    assert bought_with(Searcher(shop_services)) == [8]


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize(
    ("product", "filters", "reason"),
    [("p009", {}, "not_bought"), ("p005", {}, "few_sessions"), ("p001", {"colour": "red"}, "filtered")],
)
def test_an_empty_list_has_a_reason(client: FlaskClient, made: str, product: str, filters: dict[str, str], reason: str) -> None:
    found = got(client, made, product, complementary=5, filters=json.dumps(filters))["complementary"]
    assert (found["products"], found["reason"]) == ([], reason)
    assert found["message"]


def test_where_no_events_were_ever_kept_nothing_was_bought(searcher: Searcher, shop_services: Services, made: str) -> None:
    never = Searcher(Services(shop_services.settings.model_copy(update={"system_prefix": "never-"})))
    found = never.similar(SimilarRequest(made, PRODUCT, complementary=3)).complementary
    assert found is not None
    assert found.reason == "not_bought"


@pytest.mark.usefixtures("bought")
def test_the_command_shows_both(command: Command, shop_services: Services, made: str) -> None:
    settings = shop_services.settings
    changes = {"TRIPTYCH_SYSTEM_PREFIX": settings.system_prefix, "TRIPTYCH_PROFILE": str(settings.profile)}
    options = ["--space", "picture", "--weight", "products.picture=1", "--filter", "colour=red", "--diversity", "0.2"]
    found = command.json("similar", made, PRODUCT, *options, "--cap", "3:colour", "--size", "5", **changes)
    assert len(found["hits"]) == 3
    table = command("similar", made, "p001", "--complementary", "3", **changes).stdout
    assert "p002" in table
    assert "50%" in table
    wrong = command("similar", made, "p001", "--cap", "colour", check=False, **changes)
    assert wrong.returncode == 2
