"""What a lack counts in an index: said by its mapping, used by its searches, kept by its next version."""

from __future__ import annotations

from pathlib import Path

import made_shop
import pytest

from search_api import QueryInput, Searcher, SearchRequest
from triptych.elastic.bodies import index_body
from triptych.elastic.lifecycle import body_of, describe
from triptych.schema import FIELD
from triptych.services import Services

pytestmark = pytest.mark.integration

INPUTS = (
    QueryInput("text", text="red horn"),
    QueryInput("vector", space="picture", vector=made_shop.vector("picture", 1)),
)


def test_an_index_says_what_a_lack_counts(services: Services, own_id: str, tmp_path: Path) -> None:
    mine = made_shop.services_of(services, tmp_path)
    name = f"lacks-{own_id}"
    version = made_shop.create(mine, name, made_shop.things(60), said={"missing": "zero"})
    try:
        info = describe(mine.elasticsearch, name)
        assert info.schema.missing == "zero"
        searcher = Searcher(mine)
        found = searcher.search(SearchRequest(name, inputs=INPUTS, size=60, explain=True))
        assert (found.explain or {})["missing"] == "zero"
        lacking = [hit.legs["vector.picture"] for hit in found.hits if hit.legs["vector.picture"].status == "no_modality"]
        assert len(lacking) > 5
        assert {leg.contribution for leg in lacking} == {0.0}
        other = searcher.search(SearchRequest(name, inputs=INPUTS, size=60, missing="renormalise"))
        below = [hit.legs["vector.picture"] for hit in other.hits if hit.legs["vector.picture"].status == "no_modality"]
        assert max(leg.contribution for leg in below) < 0, "a query may say otherwise"
        copied = index_body(body_of(mine.elasticsearch, version), info.schema.model_copy(update={"missing": "renormalise"}))
        assert copied["mappings"]["_meta"][FIELD]["missing"] == "zero"
    finally:
        mine.elasticsearch.indices.delete(index=version)
