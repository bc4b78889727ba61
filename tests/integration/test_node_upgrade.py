"""Upgrades of a cluster: an index made on 8.19 is opened, searched and written on by 9.x, and by nodes of both at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import BadRequestError
from processes import ROOT, SHOP
from pydantic import SecretStr

from engine import ElasticsearchNode, elasticsearch_node, redis_server
from engine.build import prepare_home
from engine.java import find_java
from engine.node import Membership, NodePlan, attached
from engine.process import free_ports
from engine.versions import release
from indexer import pipeline
from search_api import Searcher, SearchRequest
from triptych.domain import Outcome
from triptych.elastic.client import Server, ping
from triptych.elastic.engine import pack, unpack
from triptych.elastic.lifecycle import create_version, current_version, read_mapping_file, read_schema
from triptych.elastic.products import vectors_of
from triptych.encoders import profiles
from triptych.encoders.prepare import prepare
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

INDEX = "shop"
OLD, NEW = "8.19.x", "9.5.3"
QUERIES = ("cello", "student violin", "red")


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    base = Settings()
    prepare(profiles.read("offline"), base)
    with redis_server(base) as redis:
        yield base.model_copy(update={"redis_url": SecretStr(redis.url)})


@contextmanager
def served(settings: Settings, *nodes: ElasticsearchNode) -> Iterator[Services]:
    urls = SecretStr(",".join(node.url for node in nodes))
    services = Services(settings.model_copy(update={"elasticsearch_url": urls}))
    with services.elasticsearch:
        yield services


def fill(services: Services, products: Sequence[dict[str, Any]], *, job: str) -> list[Outcome]:
    version = current_version(services.elasticsearch, INDEX)
    records = [{"line": n, "text": json.dumps(product)} for n, product in enumerate(products, start=1)]
    schema = read_schema(services.elasticsearch, version)
    done = pipeline.run(records, pipeline.Target(version, schema, SHOP, job), services).outcomes
    services.elasticsearch.indices.refresh(index=version)
    return done


def answers(services: Services) -> dict[str, dict[str, float]]:
    """What each query finds, with scores."""
    searcher = Searcher(services)
    found = {text: searcher.search(SearchRequest(INDEX, text=text, size=5)) for text in QUERIES}
    assert all(result.degraded == () for result in found.values())
    return {text: {hit.id: hit.score for hit in result.hits} for text, result in found.items()}


def vectors(services: Services, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    version = current_version(services.elasticsearch, INDEX)
    schema = read_schema(services.elasticsearch, version)
    found = vectors_of(services.elasticsearch, version, ids, schema, services.server)
    return {key: {space: unpack(vector) for space, vector in some.items()} for key, some in found.items()}


def test_an_index_made_on_the_oldest_server_lives_on_after_the_upgrade(
    settings: Settings, shop_products: list[dict[str, Any]], tmp_path: Path
) -> None:
    products = shop_products[:4]
    ids = [product["id"] for product in products]
    with elasticsearch_node(settings, version=OLD, data_dir=tmp_path) as node, served(settings, node) as old:
        create_version(old.elasticsearch, INDEX, read_mapping_file(ROOT / "mappings" / "products.json"), old.schema())
        assert fill(old, products[:3], job="first") == [Outcome.WRITTEN] * 3
        job, _ = old.jobs.open(index=current_version(old.elasticsearch, INDEX), alias=INDEX, catalogue="a", root="/")
        before, kept, schema = answers(old), vectors(old, ids[:3]), read_schema(old.elasticsearch, INDEX)
    with elasticsearch_node(settings, version=NEW, data_dir=tmp_path) as node, served(settings, node) as new:
        assert new.server.version == NEW
        assert read_schema(new.elasticsearch, INDEX) == schema
        assert new.jobs.get(job.id) == job
        after = answers(new)
        assert after.keys() == before.keys()
        for text, scores in before.items():
            assert after[text] == pytest.approx(scores, abs=2e-3), text
        for key, spaces in vectors(new, ids[:3]).items():
            for space, vector in spaces.items():
                assert np.array_equal(vector, kept[key][space]), (key, space)
        assert fill(new, products[:3], job="second") == [Outcome.UNCHANGED] * 3
        changed = [{**products[0], "price": 1.0}, products[3]]  # a partial one, and one whose vectors come in base64
        assert fill(new, changed, job="third") == [Outcome.WRITTEN] * 2
        assert Searcher(new).search(SearchRequest(INDEX, products=(ids[0],))).hits[0].id in ids
        there = vectors(new, ids)
        assert there.keys() == set(ids)
        assert np.array_equal(there[ids[0]]["text"], kept[ids[0]]["text"])
        assert np.linalg.norm(there[ids[3]]["text"]) == pytest.approx(1, abs=1e-5)


@contextmanager
def half_upgraded(settings: Settings, folder: Path) -> Iterator[tuple[ElasticsearchNode, ElasticsearchNode]]:
    """One cluster of two nodes, the old one and the new one, as it is for a while when nodes are upgraded one by one."""
    names = ("old", "new")
    membership = Membership(names, tuple(free_ports(2)))
    nodes = []
    for name, version in zip(names, (OLD, NEW), strict=True):
        chosen = release(version)
        java = find_java(settings, chosen.java)
        home = prepare_home(chosen, settings.engine_dir, java)
        extra = {"cluster.initial_master_nodes": "old"}
        plan = NodePlan(name, chosen.version, home, folder / name, java, membership=membership, extra=extra)
        nodes.append(ElasticsearchNode(plan, attached))
    old, new = nodes
    try:
        old.start()
        old.wait_ready()
        new.start()
        new.wait_ready(2)
        yield old, new
    finally:
        for node in (new, old):
            node.kill()


def test_while_nodes_of_both_versions_are_there_triptych_speaks_as_the_oldest_does(
    settings: Settings, shop_products: list[dict[str, Any]], tmp_path: Path
) -> None:
    base = read_mapping_file(ROOT / "mappings" / "products.json")
    there = {"routing.allocation.require._name": "old", "auto_expand_replicas": "false", "number_of_replicas": 0}
    with half_upgraded(settings, tmp_path) as (old, new), served(settings, new, old) as both, served(settings, new) as newest:
        assert ping(newest.elasticsearch).version == NEW, "what it is asked for is new"
        assert both.server.version == newest.server.version == old.version
        create_version(newest.elasticsearch, INDEX, {**base, "settings": {**base["settings"], **there}}, newest.schema())
        with pytest.raises(
            BadRequestError, match="document_parsing_exception"
        ):  # what a guess by the node that answers would send
            newest.elasticsearch.index(
                index=INDEX, document={"triptych": {"text": pack(np.ones(384, np.float32), Server(NEW, "", ""))}}
            )
        assert fill(newest, shop_products[:2], job="first") == [Outcome.WRITTEN] * 2
        assert answers(both).keys() == answers(newest).keys()
        assert vectors(newest, [shop_products[0]["id"]])
