"""Spaces of every kind on a real node: every index type and similarity, fused, precomputed, learned, cached."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import SHOP, Command

from indexer import calibrate, levels, pipeline, reach
from search_api import Searcher, SearchRequest
from triptych.domain import Modality, Outcome
from triptych.elastic.lifecycle import create_version, read_schema, spaces_schema
from triptych.encoders.base import Input, unit
from triptych.encoders.registry import spaces_of
from triptych.errors import EncoderError, NotFoundError, QueryError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

TYPES = ["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat"]
SIMILARITIES = ["cosine", "dot_product", "l2_norm"]
DIMS = 64
PRODUCTS = 60
BASE = {
    "mappings": {
        "properties": {"title": {"properties": {"en": {"type": "text"}}}},
        "_meta": {"triptych": {"lexical_fields": ["title.en"]}},
    }
}


def precomputed_profile() -> str:
    """A space for every index type and similarity."""
    lines = ["description: every index", "spaces:"]
    for kind in TYPES:
        for similarity in SIMILARITIES:
            lines += [
                f"  {kind}_{similarity}:",
                f"    {{family: precomputed, fingerprint: made, dims: {DIMS}, licence: none,",
                f"     similarity: {similarity}, index: {kind}}}",
            ]
    return "\n".join(lines)


def vectors(similarity: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    random = np.random.default_rng(len(similarity))
    rows = random.normal(size=(PRODUCTS, DIMS)).astype(np.float32)
    return rows if similarity == "l2_norm" else unit(rows)


def with_profile(services: Services, text: str, folder: Path) -> Services:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return Services(services.settings.model_copy(update={"profile": str(path)}))


def fill(services: Services, name: str, records: Sequence[dict[str, Any]], *, root: Path = SHOP) -> tuple[str, pipeline.Result]:
    """An index of the profile in force with these records in it, measured."""
    schema = spaces_schema(spaces_of(services.profile, services.settings), "0", profile=services.profile.name)
    version = create_version(services.elasticsearch, name, BASE, schema)
    return version, write(services, version, records, root=root)


def write(
    services: Services, version: str, records: Sequence[dict[str, Any]], *, root: Path = SHOP, job: str = "1"
) -> pipeline.Result:
    raw = [{"line": number, "text": json.dumps(record)} for number, record in enumerate(records, start=1)]
    schema = read_schema(services.elasticsearch, version)
    result = pipeline.run(raw, pipeline.Target(version, schema, root, job), services)
    calibrate.calibrate(services, version)
    return result


@pytest.fixture(params=["9.5", "8.19"], scope="module")
def cluster(request: pytest.FixtureRequest) -> Services:
    found: Services = request.getfixturevalue("services" if request.param == "9.5" else "oldest_services")
    return found


def test_scores_of_every_index_type_and_similarity_are_exact(cluster: Services, own_id: str, tmp_path: Path) -> None:
    mine = with_profile(cluster, precomputed_profile(), tmp_path)
    made = {similarity: vectors(similarity) for similarity in SIMILARITIES}
    records = [
        {
            "id": f"p{number}",
            "title": {"en": f"thing {number}"},
            "vectors": {f"{k}_{s}": made[s][number].tolist() for k in TYPES for s in SIMILARITIES},
        }
        for number in range(PRODUCTS)
    ]
    name = f"types-{own_id}"
    version, result = fill(mine, name, records)
    assert set(result.outcomes) == {Outcome.WRITTEN}, result.dead_letters[:1]
    measured = read_schema(cluster.elasticsearch, version).levels
    assert {leg: level.reached for leg, level in measured.items() if leg != "lexical"} == {
        f"vector.{kind}_{similarity}": None if kind.endswith("flat") else 1.0 for kind in TYPES for similarity in SIMILARITIES
    }
    searcher = Searcher(mine)
    for kind in TYPES:
        for similarity in SIMILARITIES:
            query = made[similarity][7] + np.float32(0.1)
            query = query if similarity == "l2_norm" else unit(query[None])[0]
            wanted = levels.to_score(query[None], made[similarity], similarity)[0]  # type: ignore[arg-type]
            request = SearchRequest(name, vectors={f"{kind}_{similarity}": query.tolist()}, text="thing 3", size=20, window=20)
            hits = searcher.search(request).hits
            leg = f"vector.{kind}_{similarity}"
            for hit in hits:
                assert hit.legs[leg].raw == pytest.approx(wanted[int(hit.id[1:])], abs=1e-4), (kind, similarity, hit.id)
            assert {hit.legs[leg].status for hit in hits} <= {"retrieved", "completed"}
            assert any(hit.id == "p7" for hit in hits)


FEW = """
description: words everywhere, pictures here and there
spaces:
  words: {family: precomputed, fingerprint: made, dims: 64, licence: none}
  looks: {family: precomputed, fingerprint: made, dims: 64, licence: none}
"""


def test_a_space_that_few_products_have_is_measured_on_all_of_those(services: Services, own_id: str, tmp_path: Path) -> None:
    """A sample of the whole catalogue would have 16 of the 20 pictures in it, or of a larger catalogue none."""
    mine = with_profile(services, FEW, tmp_path)
    random = np.random.default_rng(3)
    records = [
        {
            "id": f"p{number:03}",
            "title": {"en": f"thing {number}"},
            "vectors": {
                "words": unit(random.normal(size=(1, 64)))[0].tolist(),
                **({"looks": unit(random.normal(size=(1, 64)))[0].tolist()} if number % 20 == 0 else {}),
            },
        }
        for number in range(400)
    ]
    version, _ = fill(mine, f"few-{own_id}", records)
    found = read_schema(mine.elasticsearch, version).levels
    assert {name: level.sample for name, level in found.items()} == {
        "lexical": calibrate.SAMPLE, "vector.words": calibrate.SAMPLE, "vector.looks": 20,
    }  # fmt: skip


def test_products_that_no_search_reaches_are_told(
    services: Services, own_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors that the index does not have stand for those that its graph does not lead to."""
    mine = with_profile(services, FEW, tmp_path)
    there = [unit(np.random.default_rng(n).normal(size=(1, 64)).astype(np.float32))[0] for n in range(40)]
    records = [{"id": f"p{n}", "title": {"en": "thing"}, "vectors": {"words": v.tolist()}} for n, v in enumerate(there[:30])]
    version, _ = fill(mine, f"reach-{own_id}", records)
    space = read_schema(mine.elasticsearch, version).space_of("words")
    assert space is not None
    assert reach.reached(mine, version, space, there[:9]) is None, "too few tell nothing"
    assert reach.reached(mine, version, space, there[:30]) == 1
    assert not caplog.records
    assert reach.reached(mine, version, space, there) == 0.75
    assert "reach 75 % of 40 sampled products" in caplog.text
    assert f"POST /{version}/_forcemerge" in caplog.text


FUSED = """
description: one field for everything
spaces:
  text: {family: transformers_text, model: multilingual-e5-small, documents: text, queries: [text], dims: 384, index: none,
         licence: MIT, options: {query_prompt: "query: ", document_prompt: "passage: "}}
  image: {family: efficientnet_lite, model: efficientnet-lite0, documents: image, queries: [image], dims: 1280, index: none,
          licence: Apache-2.0}
  everything: {family: fused, parts: {text: 0.6, image: 0.4}, dims: 1664, licence: MIT}
"""


def test_a_fused_space_is_one_field_that_words_and_pictures_search(
    services: Services, own_id: str, shop_products: list[dict[str, Any]], tmp_path: Path
) -> None:
    mine = with_profile(services, FUSED, tmp_path)
    records = [{**product, "audio": []} for product in shop_products[:12]]
    name = f"fused-{own_id}"
    version, result = fill(mine, name, records)
    assert set(result.outcomes) == {Outcome.WRITTEN}
    mapping = services.elasticsearch.indices.get_mapping(index=version)[version]["mappings"]
    fields = {
        field for field, data in mapping["properties"]["triptych"]["properties"].items() if data["type"] == "dense_vector"
    }
    assert fields == {"everything"}
    picture = (SHOP / records[0]["images"][0]).read_bytes()
    searcher = Searcher(mine)
    for query in (
        {"text": records[0]["title"]["en"]},
        {"image": picture},
        {"text": records[0]["title"]["en"], "image": picture},
    ):
        best = searcher.search(SearchRequest(name, weights={"everything": 1}, **query)).hits[0]
        assert best.id == records[0]["id"]
        assert set(best.legs) <= {"lexical", "everything"}
    encoders = mine.encoders(read_schema(services.elasticsearch, version))
    words = encoders["text"].embed_queries([records[0]["title"]["en"]], Modality.TEXT)[0]
    hit = next(h for h in searcher.search(SearchRequest(name, text=records[0]["title"]["en"])).hits if h.id == records[0]["id"])
    stored = encoders["text"].embed_documents(
        [pipeline.documents.passage(pipeline.parse({"line": 1, "text": json.dumps(records[0])}))]
    )[0]  # type: ignore[arg-type]
    # words meet the words' part of a document of length 1 made of .6 and .4: cos = .6 cos_words / sqrt(.6^2 + .4^2)
    assert hit.legs["everything"].raw == pytest.approx((1 + 0.6 * float(words @ stored) / np.sqrt(0.52)) / 2, abs=1e-4)


def test_vectors_that_come_with_the_record_are_checked(services: Services, own_id: str, tmp_path: Path) -> None:
    house = "  house: {family: precomputed, fingerprint: clip-3, dims: 4, licence: ours, documents: image}"
    profile = f"description: given\nspaces:\n{house}\n"
    mine = with_profile(services, profile, tmp_path)
    cases: dict[str, Any] = {
        "good": [1, 0, 0, 0],
        "declared": {"values": [0, 2, 0, 0], "fingerprint": "clip-3"},
        "short": [1, 0],
        "zeros": [0, 0, 0, 0],
        "foreign": {"values": [1, 0, 0, 0], "fingerprint": "clip-2"},
    }
    records = [{"id": key, "title": {"en": key}, "vectors": {"house": value}} for key, value in cases.items()]
    records.append({"id": "nowhere", "title": {"en": "x"}, "vectors": {"attic": [1.0]}})
    name = f"given-{own_id}"
    version, result = fill(mine, name, records)
    assert result.outcomes == [Outcome.WRITTEN] * 2 + [Outcome.PARTIAL] * 4
    assert {(letter.product_id, letter.code, letter.reference) for letter in result.dead_letters} == {
        (key, "record.vector", "vectors.house") for key in ("short", "zeros", "foreign")
    } | {("nowhere", "record.vector", "vectors.attic")}
    source = services.elasticsearch.get(index=version, id="good")["_source"]
    assert "vectors" not in source
    searcher = Searcher(mine)
    found = searcher.search(SearchRequest(name, vectors={"house": [0.0, 1.0, 0.0, 0.0]}))
    assert found.hits[0].id == "declared"
    assert found.hits[0].legs["vector.house"].raw == pytest.approx(1, abs=1e-5)
    for bad, code in (({"house": [1.0]}, "query.bad_vector"), ({"cellar": [1.0]}, "query.unknown_space")):
        with pytest.raises(QueryError) as error:
            searcher.search(SearchRequest(name, vectors=bad))
        assert error.value.code == code


def test_a_change_of_price_embeds_nothing(
    services: Services, own_id: str, shop_products: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [dict(product) for product in shop_products[40:46]]
    version, first = fill(services, f"price-{own_id}", records)
    assert set(first.outcomes) == {Outcome.WRITTEN}
    embedded: list[Input] = []
    for encoder in services.encoders(read_schema(services.elasticsearch, version)).values():
        monkeypatch.setattr(type(encoder), "embed_documents", lambda _, inputs: embedded.extend(inputs))
    for record in records:
        record["price"] = 1.0
    copies = [{**record, "id": f"{record['id']}-again"} for record in records]  # re-listed under another id
    again = write(services, version, [*records, *copies], job="2")
    assert (set(again.outcomes), embedded) == ({Outcome.WRITTEN}, [])
    services.elasticsearch.indices.refresh(index=version)
    assert services.elasticsearch.count(index=version, query={"term": {"price": 1.0}})["count"] == 12


def test_what_encoders_learn_is_found_by_every_machine(
    command: Command,
    services: Services,
    own_id: str,
    start_worker: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The profile `classical`, by the commands, with a worker; the searching process is another machine, as far as files go."""
    name = f"learned-{own_id}"
    # a ledger of its own: the session's worker has another profile and must not take these batches up
    prefix = f"classical-{own_id}-"
    queue = {"TRIPTYCH_PROFILE": "classical", "TRIPTYCH_QUEUE": f"classical-{own_id}", "TRIPTYCH_SYSTEM_PREFIX": prefix}
    done = command("index", "create", name, check=False, **queue)
    assert (done.returncode, "encoder.not_fitted" in done.stderr, "--fit" in done.stderr) == (1, True, True)
    made = command.json("index", "create", name, "--fit", str(SHOP / "catalogue.jsonl"), **queue)
    with start_worker(**queue):
        job = command.json("index", "add", name, str(SHOP / "catalogue.jsonl"), "--follow", **queue)
    assert (job["read"], job["dead"]) == (131, 0)
    elsewhere = Services(
        services.settings.model_copy(
            update={"profile": "classical", "system_prefix": prefix, "data_dir": tmp_path_factory.mktemp("elsewhere")}
        )
    )
    searcher = Searcher(elsewhere)
    assert searcher.search(SearchRequest(name, text="cello")).hits[0].id == "demo-001"
    picture = (SHOP / "images" / "demo-001-1.jpg").read_bytes()
    assert searcher.search(SearchRequest(name, image=picture)).hits[0].id == "demo-001"
    schema = read_schema(services.elasticsearch, made["version"])
    assert all(space.fitted for space in schema.spaces if space.name == "text")
    assert services.profile_of(schema).name == "classical"  # that in force here is another
    with pytest.raises(EncoderError) as error:
        Services(services.settings).check(schema.model_copy(update={"profile": "theirs.yaml"}))
    assert "TRIPTYCH_PROFILE=theirs.yaml" in str(error.value.remedy)


def test_what_was_learned_and_lost_is_said(services: Services, tmp_path: Path) -> None:
    alone = Services(services.settings.model_copy(update={"data_dir": tmp_path}))
    with pytest.raises(NotFoundError) as error:
        alone.fitted("0" * 64)
    assert error.value.code == "encoder.fitted_missing"


def test_a_profile_with_a_mistake_is_named_by_its_line(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(FUSED.replace("dims: 1664", "dims: 1665"), encoding="utf-8")
    done = command("index", "create", "any", check=False, TRIPTYCH_PROFILE=str(path))
    assert (done.returncode, "shop.yaml, line 8" in done.stderr, "profile.invalid" in done.stderr) == (1, True, True)


def test_settings_of_a_session_know_their_profile() -> None:
    assert Settings(profile="light").active_profile == "light"
