"""Attaching on the oldest server, which keeps every byte of `_source` as it was sent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attach_shop import hashes, make, product_of, state
from processes import SHOP
from upgrade_place import OUTLINES

from indexer.attach import attaching, flow
from indexer.attach.wanted import Wanted
from indexer.upgrade import starting, swapping
from indexer.work import Target
from search_api import Searcher, SearchRequest
from triptych.domain import Outcome
from triptych.elastic.lifecycle import read_schema
from triptych.services import Services

pytestmark = pytest.mark.integration

WANTED = Wanted(("title^2", "description"), ("image_url",), root=str(SHOP))
COUNT = 4


@pytest.fixture(scope="module")
def products(shop_products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [product_of(record, number) for number, record in enumerate(shop_products[:COUNT])]


@pytest.fixture(scope="module")
def oldest(oldest_services: Services) -> Services:
    """With a queue of its own: no process of an API reports there, which could only be one of the other server's."""
    own = {"system_prefix": "old-attach-", "queue": f"old-attach-{uuid.uuid4().hex[:8]}"}
    return Services(oldest_services.settings.model_copy(update=own))


def attach_and_fill(services: Services, index: str) -> list[Outcome]:
    attaching.attach(services, attaching.planned(services, index, WANTED, tried=0))
    schema = read_schema(services.elasticsearch, index)
    records = list(attaching.source_of(services, index, schema).records())
    return flow.run(records, Target(index, schema, SHOP, uuid.uuid4().hex), services).outcomes


def test_vectors_of_the_owner_are_not_shown_unasked(oldest: Services, products: list[dict[str, Any]]) -> None:
    """This server gives them with `_source`; some are not even searched."""
    index, client = f"owned-{uuid.uuid4().hex[:8]}", oldest.elasticsearch
    make(client, index, [])
    bare = {"type": "dense_vector", "dims": 2, "index": False}
    more = {
        "bare_vector": bare,
        "weights": {"type": "sparse_vector"},
        "deep": {"properties": {"vector": bare, "word": {"type": "keyword"}}},
    }
    client.indices.put_mapping(index=index, properties=more)
    owned = {"bare_vector": [1.0, 2.0], "weights": {"a": 0.5}, "deep": {"vector": [1.0, 2.0], "word": "w"}}
    client.index(index=index, id="d0", document={**products[0], "blob": {}, **owned}, refresh=True)
    assert attach_and_fill(oldest, index) == [Outcome.WRITTEN]
    client.indices.refresh(index=index)
    searcher = Searcher(oldest)
    hidden = {"triptych", "own_vector", "bare_vector", "weights"}
    shown = [
        searcher.search(SearchRequest(index, text="cello")).hits[0].product,
        searcher.search(SearchRequest(index, text="cello", fusion="native")).hits[0].product,
        searcher.search(SearchRequest(index, text="cello", fields=("*", "own_vector"))).hits[0].product,
        searcher.product(index, "d0")["product"],
    ]
    for product in shown:
        assert product is not None
        assert not hidden & set(product)
        assert (product["title"], product["deep"]) == (products[0]["title"], {"word": "w"})
    for fusion in ("calibrated", "native"):
        asked = searcher.search(SearchRequest(index, text="cello", with_vectors=True, fusion=fusion)).hits[0].product
        assert asked is not None
        assert hidden <= set(asked)
        assert asked["own_vector"] == products[0]["own_vector"]


@pytest.mark.parametrize("regime", [{}, {"index.mapping.source.mode": "synthetic"}], ids=["stored", "synthetic"])
def test_every_byte_is_as_before_on_the_oldest_server(
    oldest: Services, products: list[dict[str, Any]], regime: Mapping[str, Any]
) -> None:
    index, client = f"owned-{uuid.uuid4().hex[:8]}", oldest.elasticsearch
    make(client, index, products, settings=regime)
    before, mapping = hashes(client, index, oldest.server), state(oldest, index)[0]
    assert attach_and_fill(oldest, index) == [Outcome.WRITTEN] * COUNT
    assert hashes(client, index, oldest.server, without="triptych") == before
    client.indices.refresh(index=index)
    found = Searcher(oldest).search(SearchRequest(index, text="cello"))
    assert found.hits[0].id == "d0"
    assert "triptych" not in (found.hits[0].product or {})
    assert attaching.detach(oldest, index) == COUNT
    assert hashes(client, index, oldest.server) == before
    now = state(oldest, index)[0]
    assert {name: one for name, one in now["properties"].items() if name != "triptych"} == mapping["properties"]


def test_elasticsearch_has_a_notation_of_its_own_and_keeps_values_kinds_and_order(oldest: Services) -> None:
    index, client = f"owned-{uuid.uuid4().hex[:8]}", oldest.elasticsearch
    make(client, index, [])
    sent = b'{ "title": "caf\\u00e9",  "price": 1e3, "blob": {"z": 1, "a": [1.0, 1, true, null, -0.0, 12345678.9]} }'
    client.bulk(index=index, operations=[b'{"index":{"_id":"d0"}}', sent], refresh=True)
    before = client.get(index=index, id="d0")["_source"]
    assert attach_and_fill(oldest, index) == [Outcome.WRITTEN]
    attaching.detach(oldest, index)
    after = client.get(index=index, id="d0")["_source"]
    assert json.dumps(after) == json.dumps(before), "order and kinds too"


def test_a_final_pipeline_is_not_run_by_leaving(oldest: Services, products: list[dict[str, Any]]) -> None:
    """There is no ingest in this node: a document written whole would fail."""
    index, client = f"owned-{uuid.uuid4().hex[:8]}", oldest.elasticsearch
    make(client, index, products[:1])
    assert attach_and_fill(oldest, index) == [Outcome.WRITTEN]
    client.indices.put_settings(index=index, settings={"index.final_pipeline": "stamp"})
    attaching.detach(oldest, index)
    source = client.get(index=index, id="d0")["_source"]
    assert source.pop("triptych") is None
    assert source["title"] == products[0]["title"]


def test_a_second_field_is_filled_read_and_dropped_on_the_oldest_server(
    oldest: Services, products: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker: the rounds of the swap fill it."""
    monkeypatch.setattr(starting, "SETTLE_SECONDS", 0)
    index, client = f"owned-{uuid.uuid4().hex[:8]}", oldest.elasticsearch
    make(client, index, products)
    before = hashes(client, index, oldest.server)
    assert attach_and_fill(oldest, index) == [Outcome.WRITTEN] * COUNT
    (tmp_path / "outlines.yaml").write_text(OUTLINES, encoding="utf-8")
    upgrade = starting.start(oldest, index, starting.Wanted(str(tmp_path / "outlines.yaml")), quiet=True)
    assert upgrade.job is not None
    oldest.control.stop(upgrade.job)
    oldest.upgrades.update(upgrade, job=None, pending=None, seen={upgrade.old: {}})
    assert swapping.promote(oldest, index, accept_losses=False, say=lambda _: None).serving == f"{index}#triptych_v2"
    found = Searcher(oldest).search(SearchRequest(index, text="cello", image=(SHOP / products[0]["image_url"]).read_bytes()))
    assert (found.index_version, found.hits[0].id) == (upgrade.new, "d0")
    assert set(found.hits[0].legs) == {"lexical", "image.image", "image.colour"}
    assert not {"triptych", "triptych_v2"} & set(found.hits[0].product or {})
    starting.drop(oldest, index, confirm=upgrade.old)
    assert hashes(client, index, oldest.server, without="triptych_v2") == before
    assert attaching.detach(oldest, index) == COUNT
    assert hashes(client, index, oldest.server) == before
