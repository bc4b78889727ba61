"""Several tenants in one index: what is searched through a tenant's alias is the tenant's alone, by every way there is."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from processes import ROOT, SHOP

from indexer import pipeline
from search_api import Searcher, SearchRequest
from triptych.domain import Outcome
from triptych.elastic.lifecycle import create_version, read_mapping_file, read_schema
from triptych.errors import NotFoundError
from triptych.services import Services

pytestmark = pytest.mark.integration

COUNT = 12
OURS = {f"north-{number}" for number in range(0, COUNT, 2)}
THEIRS = {f"south-{number}" for number in range(1, COUNT, 2)}


@pytest.fixture(scope="module", params=["9.5", "8.19"])
def cluster(request: pytest.FixtureRequest) -> Services:
    found: Services = request.getfixturevalue("services" if request.param == "9.5" else "oldest_services")
    return found


@pytest.fixture(scope="module")
def whole(cluster: Services, shop_products: list[dict[str, Any]]) -> str:
    """An index of two tenants: the demo shop's products in turn, the first six of them with pictures."""
    alias = f"tenants-{uuid.uuid4().hex[:8]}"
    client = cluster.elasticsearch
    version = create_version(client, alias, read_mapping_file(ROOT / "mappings" / "products.json"), cluster.schema())
    records = []
    for number, product in enumerate(shop_products[:COUNT]):
        tenant = "south" if number % 2 else "north"
        some = {"images": product["images"][:1] if number < 6 else [], "audio": []}
        text = json.dumps({**product, **some, "id": f"{tenant}-{number}", "attrs": {"tenant": tenant}})
        records.append({"line": number, "text": text})
    done = pipeline.run(records, pipeline.Target(version, read_schema(client, version), SHOP, "job"), cluster)
    assert done.outcomes == [Outcome.WRITTEN] * COUNT
    client.indices.refresh(index=version)
    client.indices.put_alias(index=version, name=f"{alias}-north", filter={"term": {"attrs.tenant": "north"}})
    return alias


@pytest.fixture(scope="module")
def north(whole: str) -> str:
    return f"{whole}-north"


@pytest.fixture(scope="module")
def picture() -> bytes:
    """A picture of the other tenant's violin."""
    return (SHOP / "images" / "demo-002-1.jpg").read_bytes()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 1, "size": 1},
        {"fusion": "native"},
        {"fusion": "rrf"},
        {"deep": True, "window": 2, "size": 2},
        {"certify": True, "window": 2, "size": 2},
        {"missing": "zero", "complete": False},
        {"filters": {"price": {"gte": 0}}},
        {"collapse": "brand"},
    ],
    ids=json.dumps,
)
def test_every_leg_finds_the_tenants_products_alone(
    cluster: Services, whole: str, north: str, picture: bytes, how: dict[str, Any]
) -> None:
    searcher = Searcher(cluster)
    asked = {"text": "student violin", "image": picture, "size": COUNT, **how}
    everybodys = {hit.id for hit in searcher.search(SearchRequest(whole, **asked)).hits}
    assert everybodys & THEIRS, "without the alias the other tenant's are found: the query can tell"
    found = searcher.search(SearchRequest(north, **asked))
    assert found.hits
    assert {hit.id for hit in found.hits} <= OURS
    assert found.degraded == ()


def test_scores_that_are_completed_are_of_the_tenants_products(cluster: Services, north: str, picture: bytes) -> None:
    found = Searcher(cluster).search(SearchRequest(north, text="student violin", image=picture, window=1, size=1))
    assert "completed" in {leg.status for hit in found.hits for leg in hit.legs.values()}
    assert {hit.id for hit in found.hits} <= OURS


def test_pages_and_other_weights_stay_with_the_tenant(cluster: Services, north: str) -> None:
    searcher = Searcher(cluster)
    page = searcher.search(SearchRequest(north, text="red guitar", size=2, deep=True))
    seen = [hit.id for hit in page.hits]
    while page.next is not None:
        page = searcher.search(SearchRequest(north, page=page.next))
        seen += [hit.id for hit in page.hits]
    assert set(seen) <= OURS
    assert len(seen) > 2
    again = searcher.reweigh(page.query_id, {"lexical": 1.0}, size=COUNT, hydrate=True)
    assert {hit.id for hit in again.hits} <= OURS


@pytest.mark.parametrize("given", ["words", "picture"])
def test_facets_count_the_tenants_products_alone(cluster: Services, whole: str, north: str, picture: bytes, given: str) -> None:
    searcher = Searcher(cluster)
    asked: dict[str, Any] = {"text": "violin cello guitar"} if given == "words" else {"image": picture}
    counts = {}
    for index in (whole, north):
        found = searcher.search(SearchRequest(index, facets={"attrs.tenant": {}}, size=COUNT, **asked))
        counts[index] = {one["value"]: one["count"] for one in found.facets["attrs.tenant"]["values"]}
    assert set(counts[whole]) == {"north", "south"}
    assert counts[north] == {"north": counts[whole]["north"]}


def test_the_other_tenants_products_are_not_there_by_id_either(cluster: Services, north: str) -> None:
    searcher = Searcher(cluster)
    mine, other = "north-0", "south-1"
    assert searcher.product(north, mine)["id"] == mine
    assert {hit.id for hit in searcher.search(SearchRequest(north, products=(mine,))).hits} <= OURS
    searcher.explain(SearchRequest(north, text="violin"), mine)
    for ask in (
        lambda: searcher.product(north, other),
        lambda: searcher.search(SearchRequest(north, products=(other,))),
        lambda: searcher.explain(SearchRequest(north, text="violin"), other),
    ):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.code == "product.not_found"
