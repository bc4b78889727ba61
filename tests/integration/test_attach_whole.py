"""What an owner of an attached index may do to our field without knowing: write back what he was shown, copy it, route it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attach_shop import TEXT, make, product_of
from processes import SHOP

from indexer import pipeline
from indexer.attach import attaching, flow
from indexer.attach.inspection import inspect
from indexer.attach.wanted import Wanted
from indexer.attach.watching import look_through
from indexer.work import Target
from triptych.domain import Outcome
from triptych.elastic import attached
from triptych.elastic.lifecycle import read_schema
from triptych.errors import InputError, NotFoundError
from triptych.services import Services

pytestmark = pytest.mark.integration

COUNT = 4
WANTED = Wanted(TEXT, ("image_url",), ("preview_url",), root=str(SHOP))


@pytest.fixture
def shop(services: Services, shop_products: list[dict[str, Any]]) -> Iterator[str]:
    """An attached index on one shard, whose d0 has two pictures and d1 one that is away."""
    index = f"owned-{uuid.uuid4().hex[:8]}"
    products = [product_of(record, number) for number, record in enumerate(shop_products[:COUNT])]
    products[0]["image_url"] = [products[0]["image_url"], products[1]["image_url"]]
    products[1]["image_url"] = "images/away.jpg"
    make(services.elasticsearch, index, products, settings={"number_of_shards": 1})
    attaching.attach(services, attaching.planned(services, index, WANTED, tried=0))
    assert look_through(services, index).outcomes == {Outcome.WRITTEN: COUNT - 1, Outcome.PARTIAL: 1}
    assert look_through(services, index).outcomes == {Outcome.UNCHANGED: COUNT - 1, Outcome.PARTIAL: 1}
    yield index
    services.elasticsearch.indices.delete(index=index)


def having(services: Services, index: str, space: str = "text") -> set[str]:
    """The documents with a vector in a space."""
    client, field = services.elasticsearch, f"triptych.{space}"
    client.indices.refresh(index=index)
    query: dict[str, Any] = {"exists": {"field": field}}
    if space.endswith("_parts"):
        query = {"nested": {"path": field, "query": {"exists": {"field": f"{field}.vector"}}}}
    return {hit["_id"] for hit in client.search(index=index, query=query, source=False)["hits"]["hits"]}


@pytest.mark.parametrize("by", [{}, {"sweep": True}], ids=["round", "sweep"])
def test_who_writes_back_what_he_was_shown_gets_the_vectors_back(services: Services, shop: str, by: dict[str, Any]) -> None:
    """From 9.2 on `_source` is shown with our bookkeeping and without vectors."""
    client = services.elasticsearch
    spaces = ("text", "image", "image_words", "image_parts", "audio")
    before = {space: having(services, shop, space) for space in spaces}
    assert before["image_parts"] == {"d0"}
    for key in ("d0", "d1", "d2"):
        shown = client.get(index=shop, id=key)["_source"]
        client.index(index=shop, id=key, document={**shown, "price": 7})
    assert having(services, shop) == {"d3"}
    found = look_through(services, shop, **by)
    assert (found.outcomes[Outcome.WRITTEN], found.outcomes[Outcome.PARTIAL]) == (2, 1)
    assert {space: having(services, shop, space) for space in spaces} == before
    assert client.get(index=shop, id="d0")["_source"]["price"] == 7
    again = look_through(services, shop).outcomes
    assert again == {Outcome.UNCHANGED: 2, Outcome.PARTIAL: 1}, "our own writes"
    assert look_through(services, shop).seen == 0


def test_a_copy_of_a_document_is_a_product_of_its_own(services: Services, shop: str) -> None:
    client = services.elasticsearch
    client.index(index=shop, id="copy", document=client.get(index=shop, id="d2")["_source"])
    assert look_through(services, shop).outcomes == {Outcome.WRITTEN: 1}
    assert client.get(index=shop, id="copy")["_source"]["triptych"]["key"] == "copy"
    assert "copy" in having(services, shop)


def test_vectors_that_cannot_be_made_are_not_made_for_ever(
    services: Services, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = pipeline.fill

    def without_words(work: list[Any], *more: Any) -> None:
        fill(work, *more)
        for item in work:
            item.vectors.pop("text", None)

    client = services.elasticsearch
    client.index(index=shop, id="words", document={"sku": "W", "title": "Only words"})
    with monkeypatch.context() as during:
        during.setattr(pipeline, "fill", without_words)
        assert look_through(services, shop).outcomes == {Outcome.WRITTEN: 1}
        assert look_through(services, shop).outcomes == {Outcome.UNCHANGED: 1}
        assert look_through(services, shop).seen == 0


def test_what_a_round_wrote_is_found_though_the_owner_never_refreshes(services: Services, shop: str) -> None:
    client = services.elasticsearch
    client.indices.put_settings(index=shop, settings={"refresh_interval": "-1"})
    client.index(index=shop, id="banana", document={"sku": "B", "title": "Purple banana"})
    assert look_through(services, shop).outcomes == {Outcome.WRITTEN: 1}
    query = {"bool": {"filter": [{"ids": {"values": ["banana"]}}, {"exists": {"field": "triptych.text"}}]}}
    assert client.count(index=shop, query=query)["count"] == 1


def test_a_document_with_a_routing_of_its_own_is_said_and_stays_as_it_is(services: Services, shop: str) -> None:
    client = services.elasticsearch
    client.index(index=shop, id="routed", routing="r", document={"sku": "R", "title": "Routed"})
    found = look_through(services, shop)
    assert found.outcomes == {Outcome.DEAD: 1}
    assert found.dead_letters == {"attach.routing": 1}
    shown = client.get(index=shop, id="d2")["_source"]
    client.index(index=shop, id="routed", routing="r", document=shown)  # so it has our field
    attaching.detach(services, shop)
    left = client.get(index=shop, id="routed", routing="r")
    assert left["_routing"] == "r"
    assert "triptych" not in left["_source"]


def test_an_index_whose_documents_must_have_a_routing_is_refused(services: Services) -> None:
    index, client = f"owned-{uuid.uuid4().hex[:8]}", services.elasticsearch
    make(client, index, [], _routing={"required": True})
    try:
        with pytest.raises(InputError) as refused:
            attaching.attach(services, attaching.planned(services, index, WANTED, tried=0))
        assert refused.value.code == "attach.routing"
    finally:
        client.indices.delete(index=index)


def test_a_slow_batch_writes_nothing_more_once_the_index_is_left(
    services: Services, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pieces are a second apart, or more."""
    attaching.detach(services, shop)
    slow = Wanted(WANTED.text, root=WANTED.root, most_per_second=1)
    attaching.attach(services, attaching.planned(services, shop, slow, tried=0))
    schema = read_schema(services.elasticsearch, shop)
    records = list(attaching.source_of(services, shop, schema).records())
    monkeypatch.setattr(flow, "paced", leaving_after_one(services, shop))
    with pytest.raises(pipeline.LeaseLostError):
        flow.run(records, Target(shop, schema, SHOP, "slow"), services)
    assert having(services, shop) == set()


def leaving_after_one(services: Services, index: str) -> Callable[..., Iterator[list[Any]]]:
    """Pieces of one document; the owner detaches after the first."""

    def paced(items: list[Any], *_: Any) -> Iterator[list[Any]]:
        yield items[:1]
        attaching.detach(services, index)
        for one in items[1:]:
            yield [one]

    return paced


def test_what_was_made_by_which_encoders_is_seen_before_attaching_again(services: Services, shop: str) -> None:
    found = inspect(services.elasticsearch, shop, services.server)
    schema = read_schema(services.elasticsearch, shop)
    assert (found.under, found.profile) == ("triptych", schema.profile)
    assert found.made_by == {space.name: space.fingerprint for space in schema.spaces}


@pytest.mark.parametrize("external", [False, True])
def test_small_versions_of_the_owners_own_are_told_before_attaching(services: Services, *, external: bool) -> None:
    """An update of ours makes 7 of 6, and the owner's own 7 is refused then."""
    index, client = f"owned-{uuid.uuid4().hex[:8]}", services.elasticsearch
    make(client, index, [], settings={"number_of_shards": 2})
    for number in range(6):
        more: dict[str, Any] = {"version": number + 1, "version_type": "external"} if external else {}
        client.index(index=index, id=str(number), document={"title": "A thing"}, refresh=True, **more)
    client.update(index=index, id="1", doc={"title": "Another"}, refresh=True)
    try:
        made = attaching.planned(services, index, WANTED, tried=0)
        assert ("external_versions" in [one.code for one in made.risks]) is external
    finally:
        client.indices.delete(index=index)


@pytest.mark.parametrize("anew", [False, True], ids=["deleted", "made anew"])
def test_an_index_that_its_owner_deleted_is_forgotten_by_detaching(services: Services, *, anew: bool) -> None:
    index, client = f"owned-{uuid.uuid4().hex[:8]}", services.elasticsearch
    make(client, index, [])
    attaching.attach(services, attaching.planned(services, index, WANTED, tried=0))
    client.indices.delete(index=index)
    if anew:
        make(client, index, [])
    home = attached.home_of(services.settings.system_prefix)
    assert index in attached.names(client, home)
    assert attaching.detach(services, index) == 0
    assert index not in attached.names(client, home)
    with pytest.raises(NotFoundError):
        attaching.detach(services, index)
    client.indices.delete(index=index, ignore_unavailable=True)
