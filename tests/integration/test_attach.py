"""An index of somebody else's: attached, filled, searched, kept up with and left again, and all else in it as it was."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from attach_shop import MAPPINGS, TEXT, hashes, make, product_of, state
from opened import open_contexts
from processes import SHOP

from indexer.attach import attaching, flow, watching
from indexer.attach.pace import paced
from indexer.attach.plan import Plan
from indexer.attach.wanted import Wanted
from indexer.attach.watching import look_through
from indexer.calibrate import calibrate
from indexer.pipeline import Result
from indexer.work import Target
from search_api import Searcher, SearchRequest
from triptych.domain import Outcome
from triptych.elastic.lifecycle import describe, read_schema, write_weight_sets
from triptych.errors import InputError, NotFoundError, TriptychError
from triptych.services import Services

pytestmark = pytest.mark.integration

COUNT = 12
WANTED = Wanted(TEXT, ("image_url",), ("preview_url",), root=str(SHOP))
REGIMES: Mapping[str, Mapping[str, Any]] = {"stored": {}, "synthetic": {"index.mapping.source.mode": "synthetic"}}


@pytest.fixture(scope="module")
def products(shop_products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [product_of(record, number) for number, record in enumerate(shop_products[:COUNT])]


@pytest.fixture(scope="module")
def new(services: Services, products: list[dict[str, Any]]) -> Iterator[Callable[..., str]]:
    """`new(settings=..., **mapping)`: the name of a shop's index."""
    made: list[str] = []

    def create(**more: Any) -> str:
        made.append(f"owned-{uuid.uuid4().hex[:8]}")
        make(services.elasticsearch, made[-1], products, **more)
        return made[-1]

    yield create
    services.elasticsearch.indices.delete(index=",".join(made), ignore_unavailable=True)


def attached(services: Services, index: str, wanted: Wanted = WANTED) -> Plan:
    made = attaching.planned(services, index, wanted, tried=0)
    attaching.attach(services, made)
    return made


def filled(services: Services, index: str, **more: Any) -> Result:
    """The job of filling, run here in one batch."""
    schema = read_schema(services.elasticsearch, index)
    records = list(attaching.source_of(services, index, schema).records())
    return flow.run(records, Target(index, schema, SHOP, uuid.uuid4().hex), services, **more)


def own(services: Services, index: str, key: str, name: str = "triptych") -> dict[str, Any]:
    return dict(services.elasticsearch.get(index=index, id=key)["_source"].get(name) or {})


@pytest.fixture(scope="module")
def shop(services: Services, new: Callable[..., str]) -> str:
    """An attached and filled index. Read only."""
    index = new()
    attached(services, index, Wanted(TEXT, ("image_url",), ("preview_url",), id="sku", object_field="ours", root=str(SHOP)))
    assert set(filled(services, index).outcomes) == {Outcome.WRITTEN}
    calibrate(services, index)
    return index


# Nothing else is touched


@pytest.mark.parametrize("regime", REGIMES)
def test_documents_mapping_and_settings_are_as_before_after_all_of_it(
    services: Services, new: Callable[..., str], regime: str
) -> None:
    index, client = new(settings=REGIMES[regime]), services.elasticsearch
    before, (mapping, settings) = hashes(client, index, services.server), state(services, index)
    attached(services, index)
    assert filled(services, index).outcomes == [Outcome.WRITTEN] * COUNT
    assert hashes(client, index, services.server, without="triptych") == before
    assert hashes(client, index, services.server) != before
    now, settings_now = state(services, index)
    assert settings_now == settings
    assert {name: one for name, one in now["properties"].items() if name != "triptych"} == mapping["properties"]
    assert {name: one for name, one in now.items() if name != "properties"} == {
        name: one for name, one in mapping.items() if name != "properties"
    }
    assert filled(services, index).outcomes == [Outcome.UNCHANGED] * COUNT
    assert attaching.detach(services, index) == COUNT
    assert hashes(client, index, services.server) == before
    with pytest.raises(NotFoundError, match="no Triptych fields"):
        read_schema(client, index)
    with pytest.raises(NotFoundError) as raised:
        attaching.detach(services, index)
    assert raised.value.code == "attach.not_attached"
    assert client.search(index=index, query={"knn": {"field": "own_vector", "query_vector": [0.5, 0.25], "k": 3}})["hits"][
        "hits"
    ]


def test_an_index_that_keeps_a_part_of_its_source_is_refused(services: Services, new: Callable[..., str]) -> None:
    index = new(_source={"excludes": ["tags"]})
    made = attaching.planned(services, index, WANTED, tried=0)
    assert [one.code for one in made.refusals] == ["attach.partial_source"]
    with pytest.raises(InputError) as raised:
        attaching.attach(services, made)
    assert raised.value.code == "attach.partial_source"
    assert "triptych" not in state(services, index)[0]["properties"]


# Filling beside the owner


def test_the_owners_writes_win_and_are_embedded_too(services: Services, new: Callable[..., str]) -> None:
    index, client = new(), services.elasticsearch
    attached(services, index)
    rounds = []

    def meanwhile() -> bool:
        if not rounds:
            client.update(index=index, id="d0", doc={"price": 1.5})
            client.update(index=index, id="d1", doc={"title": "Entirely another thing"})
            client.delete(index=index, id="d2")
        rounds.append(1)
        return True

    result = filled(services, index, still_ours=meanwhile)
    assert len(rounds) == 2
    assert sorted(result.outcomes) == sorted([Outcome.DELETED, *[Outcome.WRITTEN] * (COUNT - 1)])
    assert client.get(index=index, id="d0")["_source"]["price"] == 1.5
    assert client.get(index=index, id="d1")["_source"]["title"] == "Entirely another thing"
    assert not client.exists(index=index, id="d2")
    client.indices.refresh(index=index)
    assert filled(services, index).outcomes == [Outcome.UNCHANGED] * (COUNT - 1)


def test_who_changes_a_document_each_time_keeps_it(services: Services, new: Callable[..., str]) -> None:
    index, client = new(), services.elasticsearch
    attached(services, index)

    def meanwhile() -> bool:
        client.update(index=index, id="d0", doc={"price": float(uuid.uuid4().int % 1000) + 0.5})
        return True

    result = filled(services, index, still_ours=meanwhile)
    assert [letter.code for letter in result.dead_letters] == ["attach.kept_changing"]
    assert own(services, index, "d0") == {}


def test_a_picture_that_is_away_makes_a_product_partial_once(services: Services, new: Callable[..., str]) -> None:
    index, client = new(), services.elasticsearch
    attached(services, index)
    client.update(index=index, id="d0", doc={"image_url": "images/none.jpg"}, refresh=True)
    first = filled(services, index)
    assert sorted(first.outcomes) == [Outcome.PARTIAL, *[Outcome.WRITTEN] * (COUNT - 1)]
    assert [(letter.product_id, letter.code) for letter in first.dead_letters] == [("d0", "media.not_found")]
    version = client.get(index=index, id="d0")["_version"]
    again = filled(services, index)
    assert sorted(again.outcomes) == [Outcome.PARTIAL, *[Outcome.UNCHANGED] * (COUNT - 1)]
    assert client.get(index=index, id="d0")["_version"] == version, "partial in the same way: nothing is written"
    client.update(index=index, id="d0", doc={"image_url": None}, refresh=True)
    assert Outcome.WRITTEN in filled(services, index).outcomes
    assert own(services, index, "d0")["outcome"] == "written"


def test_a_catalogue_cannot_be_added(services: Services, shop: str) -> None:
    schema = read_schema(services.elasticsearch, shop)
    records = [{"line": 1, "text": '{"id": "d0", "title": "Mine"}'}, {"line": 2, "text": "[]"}]
    result = flow.run(records, Target(shop, schema, SHOP, "job"), services)
    assert {letter.code for letter in result.dead_letters} == {"attach.no_catalogue"}
    assert result.outcomes == [Outcome.DEAD, Outcome.DEAD]


def test_documents_are_written_at_the_pace_that_is_asked_for(services: Services) -> None:
    waits: list[float] = []
    key = f"{services.settings.queue}:pace:{uuid.uuid4().hex}"
    pieces = [len(piece) for piece in paced(range(7), services.redis, key, 3.0, sleep=waits.append)]
    pieces += [len(piece) for piece in paced([1, 2], services.redis, key, 0.5, sleep=waits.append)]
    assert pieces == [3, 3, 1, 1, 1]
    assert waits == pytest.approx([0, 1, 2, 7 / 3, 13 / 3], abs=0.9)
    assert [list(piece) for piece in paced([1, 2], services.redis, key, None)] == [[1, 2]]


# Keeping up


def test_a_round_embeds_what_is_new_changed_or_written_anew_and_rests_then(services: Services, new: Callable[..., str]) -> None:
    index, client = new(), services.elasticsearch
    attached(services, index)
    assert look_through(services, index).outcomes == {Outcome.WRITTEN: COUNT}
    assert look_through(services, index).outcomes == {Outcome.UNCHANGED: COUNT}, "our own writes"
    assert look_through(services, index).seen == 0
    before = own(services, index, "d1")["hash"]
    whole = client.get(index=index, id="d0", source_excludes="triptych")["_source"]
    client.index(index=index, id="d0", document=whole)
    client.update(index=index, id="d1", doc={"title": "Another title"})
    client.update(index=index, id="d3", doc={"price": 2.5})
    client.index(index=index, id="new", document={"sku": "NEW", "title": "A new thing"})
    client.delete(index=index, id="d2")
    assert own(services, index, "d0") == {}
    found = look_through(services, index)
    assert found.outcomes == {Outcome.WRITTEN: 3, Outcome.UNCHANGED: 1}
    assert own(services, index, "d1")["hash"] != before
    assert own(services, index, "d0")["key"] == "d0"
    assert own(services, index, "new")["outcome"] == "written"
    assert look_through(services, index).outcomes == {Outcome.UNCHANGED: 3}
    assert look_through(services, index, sweep=True).outcomes == {Outcome.UNCHANGED: COUNT}


def test_documents_that_come_to_share_an_id_push_no_product_from_its_page(services: Services, new: Callable[..., str]) -> None:
    """`attach` refuses such an index; the owner may make it one later."""
    index, client = new(), services.elasticsearch
    attached(services, index, Wanted(TEXT, id="sku"))
    filled(services, index)
    for number in range(4):
        client.index(index=index, id=f"more{number}", document={"sku": "SKU-000", "title": "zanzibar zanzibar"})
    client.index(index=index, id="alone", document={"sku": "ALONE", "title": "zanzibar"})
    look_through(services, index)
    client.indices.refresh(index=index)
    searcher = Searcher(services)
    answer = searcher.search(SearchRequest(index, text="zanzibar", weights={"lexical": 1}, size=2))
    assert sorted(hit.id for hit in answer.hits) == ["ALONE", "SKU-000"]
    assert all(hit.product for hit in answer.hits)


@pytest.mark.parametrize("by", [{}, {"sweep": True}, {"changed_at": "updated_at"}])
def test_what_breaks_leaves_no_point_in_time_behind(
    services: Services, new: Callable[..., str], monkeypatch: pytest.MonkeyPatch, by: dict[str, Any]
) -> None:
    index = new(properties={**MAPPINGS["properties"], "updated_at": {"type": "date"}})
    attached(services, index)
    small = Services(services.settings.model_copy(update={"batch_size": 2}))

    def broken(*_: Any, **__: Any) -> Any:
        assert open_contexts(services, index) > 0
        raise InputError("Broken.", code="broken")

    with monkeypatch.context() as during:
        during.setattr(watching, "_take", broken)
        with pytest.raises(InputError, match="Broken"):
            look_through(small, index, **by)
        assert open_contexts(services, index) == 0
    monkeypatch.setattr(small.jobs, "open", broken)
    with pytest.raises(InputError, match="Broken"):
        attaching.fill(small, index)
    assert open_contexts(services, index) == 0


def test_who_may_not_see_sequence_numbers_goes_by_the_owners_dates(services: Services, new: Callable[..., str]) -> None:
    index, client = new(properties={**MAPPINGS["properties"], "updated_at": {"type": "date"}}), services.elasticsearch
    attached(services, index)
    look = functools.partial(look_through, services, index, changed_at="updated_at")
    assert look().outcomes == {Outcome.WRITTEN: COUNT}, "the first round has no time yet and sees all"
    now, minute = int(time.time() * 1000), 60_000
    for key, ago in (("d0", 10 * minute), ("d1", 5 * minute)):
        client.update(index=index, id=key, doc={"title": "Another title", "updated_at": now - ago}, refresh=True)
    assert look().outcomes == {Outcome.WRITTEN: 2, Outcome.UNCHANGED: COUNT - 2}, "no document had a date before"
    client.update(index=index, id="d1", doc={"title": "A third title", "updated_at": now - 4 * minute}, refresh=True)
    client.update(index=index, id="d2", doc={"title": "Nobody noted when"}, refresh=True)
    assert look().outcomes == {Outcome.WRITTEN: 1}
    client.update(index=index, id="d3", doc={"title": "To come", "updated_at": now + 60 * minute}, refresh=True)
    assert look().outcomes == {Outcome.WRITTEN: 1, Outcome.UNCHANGED: 1}
    client.update(index=index, id="d4", doc={"title": "Now", "updated_at": now + 1000}, refresh=True)
    found = look()
    assert (found.outcomes, found.news) == ({Outcome.WRITTEN: 1, Outcome.UNCHANGED: 1}, True)
    assert not look().news
    with pytest.raises(InputError, match="no date") as raised:
        look_through(services, index, changed_at="title")
    assert raised.value.field == "changed_at"


# Searching


def test_words_and_pictures_find_the_owners_documents(services: Services, shop: str, products: list[dict[str, Any]]) -> None:
    searcher = Searcher(services)
    cello = (SHOP / products[0]["image_url"]).read_bytes()
    found = searcher.search(SearchRequest(shop, text="full-size cello", image=cello, explain=True, highlight=True))
    assert found.hits[0].id == "SKU-000"
    assert found.degraded == ()
    assert set(found.hits[0].legs) >= {"lexical", "text.text", "image.image"}
    assert "ours" not in (found.hits[0].product or {})
    assert (found.hits[0].product or {})["title"] == products[0]["title"]
    assert any("<em>" in part for marked in found.hits[0].highlight.values() for part in marked)
    alike = searcher.search(SearchRequest(shop, products=("SKU-000",), with_vectors=True))
    assert "SKU-000" not in [hit.id for hit in alike.hits]
    assert alike.hits
    native = searcher.search(SearchRequest(shop, text="cello", fusion="native"))
    assert native.hits[0].id == "SKU-000"
    assert "ours" not in (native.hits[0].product or {})
    assert searcher.product(shop, "SKU-001")["product"]["sku"] == "SKU-001"
    with pytest.raises(NotFoundError):
        searcher.product(shop, "d0")


def test_the_owners_fields_filter_count_sort_and_collapse(services: Services, shop: str) -> None:
    request = SearchRequest(
        shop, text="music", filters={"tags": "t1"}, facets={"brand": {}, "attributes.colour": {}}, sort=[{"price": "desc"}],
        collapse="sku", text_options=SearchRequest().text_options,
    )  # fmt: skip
    found = Searcher(services).search(request)
    assert {hit.id for hit in found.hits} == {f"SKU-{number:03d}" for number in range(1, COUNT, 3)}
    prices = [hit.product["price"] for hit in found.hits if hit.product]
    assert prices == sorted(prices, reverse=True)
    assert found.facets["brand"]["values"]
    with pytest.raises(TriptychError) as raised:
        Searcher(services).search(SearchRequest(shop, text="x", filters={"ours.key": "x"}))
    assert raised.value.code == "query.unknown_field"


def test_levels_are_measured_and_kept_beside_the_index(services: Services, shop: str) -> None:
    before = state(services, shop)[0].get("_meta")
    info = describe(services.elasticsearch, shop)
    assert info.schema.levels["lexical"].reliability is not None
    write_weight_sets(services.elasticsearch, shop, {"words": {"lexical": 1.0}})
    assert describe(services.elasticsearch, shop).schema.weight_sets == {"words": {"lexical": 1.0}}
    assert state(services, shop)[0].get("_meta") == before


def test_the_owners_own_query_can_stand_in_for_the_words(services: Services, shop: str) -> None:
    searcher = Searcher(services)
    tuned = {
        "function_score": {
            "query": {"match": {"title": "cello"}},
            "functions": [{"filter": {"term": {"sku": "SKU-001"}}, "weight": 50}],
            "boost_mode": "sum",
        }
    }
    wide = {"bool": {"should": [tuned, {"term": {"sku": {"value": "SKU-001", "boost": 90}}}]}}
    only = {"lexical": 1.0}
    assert searcher.search(SearchRequest(shop, text="cello", weights=only)).hits[0].id == "SKU-000"
    for request in (SearchRequest(shop, text="cello", weights=only, lexical_query=wide, highlight=True, explain=True),
                    SearchRequest(shop, text="cello", weights=only, lexical_query=wide, fusion="native")):  # fmt: skip
        assert searcher.search(request).hits[0].id == "SKU-001"
    filtered = searcher.search(SearchRequest(shop, text="cello", lexical_query=wide, filters={"sku": "SKU-000"}))
    assert [hit.id for hit in filtered.hits] == ["SKU-000"]
    with pytest.raises(TriptychError) as raised:
        searcher.search(SearchRequest(shop, text="cello", lexical_query={"mtch": {"title": "x"}}))
    assert (raised.value.code, raised.value.field) == ("query.bad_lexical_query", "lexical_query")
