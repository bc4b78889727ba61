"""The oldest Elasticsearch that is supported, 8.19: no base64 vectors, vectors in `_source`; the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import spaces_here

from indexer import pipeline
from search_api import Searcher, SearchRequest
from triptych.domain import Modality, Outcome
from triptych.elastic.lifecycle import create_version, describe, read_mapping_file, spaces_schema
from triptych.encoders.base import Input
from triptych.media.decode import decode
from triptych.schema import IndexSchema
from triptych.services import Services

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
SPACES = {"text.text": "text", "text.image": "image_words", "image.image": "image", "audio.audio": "audio"}
CELLO, VIOLIN = "demo-001", "demo-002"


@pytest.fixture(scope="module")
def oldest(oldest_services: Services) -> Services:
    return Services(oldest_services.settings.model_copy(update={"system_prefix": "old-"}))


@pytest.fixture(scope="module")
def index(oldest: Services, shop_products: list[dict[str, Any]]) -> str:
    """An index with two products, each with a picture and a sound."""
    schema = spaces_schema(spaces_here(oldest), "0")
    version = create_version(oldest.elasticsearch, "shop", read_mapping_file(ROOT / "mappings" / "products.json"), schema)
    records = [{"line": n, "text": json.dumps(product)} for n, product in enumerate(shop_products[:2], start=1)]
    result = pipeline.run(records, pipeline.Target(version, schema, SHOP, "job"), oldest)
    assert result.outcomes == [Outcome.WRITTEN, Outcome.WRITTEN]
    oldest.elasticsearch.indices.refresh(index=version)
    again = pipeline.run(records, pipeline.Target(version, schema, SHOP, "another job"), oldest)
    assert again.outcomes == [Outcome.UNCHANGED, Outcome.UNCHANGED]
    return "shop"


def test_server_is_known_for_what_it_can(oldest: Services) -> None:
    assert oldest.server.version.startswith("8.19.")
    assert not oldest.server.base64_vectors
    assert not oldest.server.hides_vectors


def test_vectors_are_lists_of_numbers(oldest: Services, index: str) -> None:
    source = oldest.elasticsearch.get(index=index, id=CELLO)["_source"]["triptych"]
    for space in spaces_here(oldest):
        assert isinstance(source[space.name], list)
        assert len(source[space.name]) == space.dims
        assert np.linalg.norm(source[space.name]) == pytest.approx(1, abs=1e-5)


def test_scores_are_exact_on_the_oldest_server(oldest: Services, index: str) -> None:
    """Window 1: each leg returns one product, the other one's score is completed."""
    picture = (SHOP / "images" / f"{VIOLIN}-1.jpg").read_bytes()
    sound = (SHOP / "audio" / f"{CELLO}.ogg").read_bytes()
    searcher = Searcher(oldest)
    text = "student violin"
    whole = searcher.search(SearchRequest(index, text=text, image=picture, audio=sound, size=2, window=2))
    assert whole.degraded == ()
    assert [hit.id for hit in searcher.search(SearchRequest(index, text=text)).hits] == [VIOLIN, CELLO]
    inputs: dict[Modality, Input] = {
        Modality.TEXT: text,
        Modality.IMAGE: decode(picture, Modality.IMAGE, oldest.settings),
        Modality.AUDIO: decode(sound, Modality.AUDIO, oldest.settings),
    }
    exact = {}
    for leg, space in SPACES.items():
        modality = Modality(leg.partition(".")[0])
        query = oldest.encoders(IndexSchema())[space].embed_queries([inputs[modality]], modality)[0]
        for key in (CELLO, VIOLIN):
            ours = oldest.elasticsearch.get(index=index, id=key)["_source"]["triptych"]
            rows = [ours[space]] if space in ours else [part["vector"] for part in ours[f"{space}_parts"]]
            exact[key, leg] = (1 + float(max(np.asarray(row) @ query for row in rows))) / 2
    narrow = searcher.search(SearchRequest(index, text=text, image=picture, audio=sound, size=1, window=1))
    assert "completed" in {leg.status for leg in narrow.hits[0].legs.values()}
    for hit in (*whole.hits, *narrow.hits):
        for leg in SPACES:
            assert hit.legs[leg].raw == pytest.approx(exact[hit.id, leg], abs=1e-4), (leg, hit.id)
        assert sum(leg.contribution for leg in hit.legs.values()) == pytest.approx(hit.score)


def test_filters_and_products_on_the_oldest_server(oldest: Services, index: str, shop_products: list[dict[str, Any]]) -> None:
    searcher = Searcher(oldest)
    result = searcher.search(SearchRequest(index, text="cello", filters={"price": {"lt": 500}}))
    assert [hit.id for hit in result.hits] == [VIOLIN]
    assert searcher.product(index, CELLO) == {"id": CELLO, "product": shop_products[0]}
    assert describe(oldest.elasticsearch, index).fields["triptych.image"] == "dense_vector"
