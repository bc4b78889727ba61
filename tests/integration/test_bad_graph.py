"""A graph (HNSW) that does not lead to most products, on a real node: it is told, and what is scored is scored exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import SHOP
from test_spaces import BASE, with_profile, write

from search_api import Searcher, SearchRequest
from triptych.elastic.lifecycle import create_version, read_schema, spaces_schema
from triptych.encoders.base import unit
from triptych.encoders.registry import spaces_of
from triptych.schema import LEAST_REACHED
from triptych.services import Services

pytestmark = pytest.mark.integration

PRODUCTS, DIMS = 3000, 64
WORST = {"m": 2, "ef_construction": 2}
"""Two neighbours each, chosen of two: Elasticsearch's defaults are 16 of 100."""

PROFILE = f"""
description: one space whose graph is bad
spaces:
  words: {{family: precomputed, fingerprint: made, dims: {DIMS}, licence: none, index: hnsw}}
"""


def badly_built(services: Services, name: str) -> str:
    """An empty version whose graph will be bad: one as Triptych makes it, made anew with other numbers for the graph."""
    client = services.elasticsearch
    schema = spaces_schema(spaces_of(services.profile, services.settings), "0", profile=services.profile.name)
    usual = create_version(client, name, BASE, schema)
    mapping: dict[str, Any] = client.indices.get_mapping(index=usual)[usual]["mappings"]
    mapping["properties"]["triptych"]["properties"]["words"]["index_options"] |= WORST
    version = f"{usual}-bad"
    client.indices.create(index=version, mappings=mapping)
    return version


def test_a_graph_that_leads_to_few_products(
    services: Services, own_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = with_profile(services, PROFILE, tmp_path)
    rows = unit(np.random.default_rng(1).normal(size=(PRODUCTS, DIMS)).astype(np.float32))
    records = [
        {"id": f"p{number}", "title": {"en": f"thing word{number}"}, "vectors": {"words": row.tolist()}}
        for number, row in enumerate(rows)
    ]
    version = badly_built(mine, f"graph-{own_id}")
    write(mine, version, records, root=SHOP)

    told = read_schema(mine.elasticsearch, version).levels["vector.words"].reached
    assert told is not None
    assert told < LEAST_REACHED / 2
    assert "of its graph cannot be reached" in caplog.text

    searcher, lost = Searcher(mine), 0
    asked = range(0, PRODUCTS, 100)
    for number in asked:
        request = SearchRequest(version, text=f"word{number}", vectors={"words": rows[number].tolist()}, size=1)
        (hit,) = searcher.search(request).hits
        assert hit.id == f"p{number}"
        assert hit.legs["vector.words"].raw == pytest.approx(1.0, abs=1e-5), "its vector is the query's"
        lost += hit.legs["vector.words"].completed
    assert lost > len(asked) / 2, "the graph did not lead to these, and they have their exact score all the same"

    proof = searcher.search(replace(request, certify=True)).certified
    assert proof is not None
    assert (proof["proved"], proof["reached"]) == (False, told), "what the graph may hide cannot be ruled out"
    assert proof["bound"] is None or proof["bound"] < proof["last_score"], "else the widest window would be the reason"
