"""Several media per product, as they lie in a real index: what is stored, what a search of it finds, what is measured."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import spaces_here

from indexer import calibrate, pipeline
from triptych.domain import Modality, Outcome, Vector
from triptych.elastic.engine import pack, unpack
from triptych.elastic.lifecycle import create_version, read_mapping_file, read_schema, spaces_schema
from triptych.encoders.base import unit
from triptych.media.decode import decode
from triptych.schema import LEXICAL, Space
from triptych.services import Services

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
RATE = 16_000
PICTURES = [f"images/demo-{number:03d}-1.jpg" for number in range(1, 15)]

SEVERAL = [PICTURES[1], *PICTURES[12:]]
"""The pictures of p1; p0 to p11 have one each of the first twelve."""


@pytest.fixture(params=["9.5", "8.19"], scope="module")
def cluster(request: pytest.FixtureRequest) -> Services:
    found: Services = request.getfixturevalue("services" if request.param == "9.5" else "oldest_services")
    return found


def _tone(path: Path, *pitches: float) -> None:
    """A sound of 3 s for each pitch."""
    times = np.arange(3 * RATE) / RATE
    samples = np.concatenate([np.sin(2 * np.pi * pitch * times) + 0.3 * np.sin(4 * np.pi * pitch * times) for pitch in pitches])
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 12_000).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    (folder / "images").mkdir()
    for name in PICTURES:
        shutil.copyfile(SHOP / name, folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    _tone(folder / "low.wav", 110)
    _tone(folder / "both.wav", 110, 1760)
    return folder


def _records() -> list[dict[str, Any]]:
    """p1 has three pictures and a sound in two segments, p2 two pictures of which one is broken, the others one of each."""
    one = [{"id": f"p{n}", "title": {"en": f"thing number {n}"}, "images": [PICTURES[n]]} for n in range(12)]
    one[1] |= {"images": SEVERAL, "audio": ["both.wav"]}
    one[2] |= {"images": [PICTURES[2], "broken.jpg"], "audio": ["low.wav"]}
    return one


@pytest.fixture(scope="module")
def index(cluster: Services, folder: Path, run_id: str) -> str:
    best = {"several": "best", "segment_seconds": 3.0}
    spaces = [s.model_copy(update=best) if s.name in {"image", "audio"} else s for s in spaces_here(cluster)]
    schema = spaces_schema(spaces, "0")
    version = create_version(
        cluster.elasticsearch, f"several-{run_id}", read_mapping_file(ROOT / "mappings" / "products.json"), schema
    )
    raw = [{"line": number, "text": json.dumps(record)} for number, record in enumerate(_records(), start=1)]
    first = pipeline.run(raw, pipeline.Target(version, schema, folder, "1"), cluster)
    assert [n for n, outcome in enumerate(first.outcomes) if outcome != Outcome.WRITTEN] == [2]
    assert first.outcomes[2] == Outcome.PARTIAL
    again = pipeline.run(raw, pipeline.Target(version, schema, folder, "2"), cluster)  # its vectors come from the cache
    assert again.outcomes == [Outcome.PARTIAL if n == 2 else Outcome.UNCHANGED for n in range(12)]
    measured = calibrate.calibrate(cluster, version).levels
    assert {level.reached for leg, level in measured.items() if leg != "lexical"} == {1.0}
    return version


def _stored(cluster: Services, index: str, key: str) -> dict[str, Any]:
    source = {"exclude_vectors": False} if cluster.server.hides_vectors else True
    (hit,) = cluster.elasticsearch.search(index=index, query={"ids": {"values": [key]}}, source=source)["hits"]["hits"]
    return dict(hit["_source"]["triptych"])


def _pictures(cluster: Services, folder: Path, names: list[str]) -> list[Vector]:
    schema = spaces_schema(spaces_here(cluster), "0")
    pictures = [decode((folder / name).read_bytes(), Modality.IMAGE, cluster.settings) for name in names]
    return list(cluster.encoders(schema)["image"].embed_documents(pictures))


def _space(cluster: Services, index: str, name: str) -> Space:
    space = read_schema(cluster.elasticsearch, index).space_of(name)
    assert space is not None
    return space


def test_one_picture_is_a_plain_vector_and_several_are_parts(cluster: Services, index: str, folder: Path) -> None:
    plain, several = _stored(cluster, index, "p0"), _stored(cluster, index, "p1")
    assert "image" in plain
    assert "image_parts" not in plain
    assert "image" not in several
    assert [part["reference"] for part in several["image_parts"]] == SEVERAL
    expected = _pictures(cluster, folder, [PICTURES[0], *SEVERAL])
    stored = [plain["image"], *(part["vector"] for part in several["image_parts"])]
    for vector, found in zip(expected, stored, strict=True):
        assert unpack(found) == pytest.approx(vector, abs=1e-3)
    assert "image_words" in several  # a space of means has its one vector as ever


def test_what_is_left_of_several_pictures_still_names_its_own(cluster: Services, index: str) -> None:
    ours = _stored(cluster, index, "p2")
    assert (ours["outcome"], ours["missing"]) == ("partial", ["image"])
    assert "image" not in ours
    (part,) = ours["image_parts"] if isinstance(ours["image_parts"], list) else [ours["image_parts"]]
    assert part["reference"] == PICTURES[2]


def test_a_long_sound_is_in_segments_and_a_short_one_whole(cluster: Services, index: str) -> None:
    long, short = _stored(cluster, index, "p1"), _stored(cluster, index, "p2")
    assert [(part["reference"], part["start"]) for part in long["audio_parts"]] == [("both.wav", 0), ("both.wav", 3)]
    assert "audio" not in long
    assert "audio_parts" not in short
    low, high = (unpack(part["vector"]) for part in long["audio_parts"])
    assert float(low @ unpack(short["audio"])) > 0.95  # the same tone
    assert float(high @ unpack(short["audio"])) < 0.8


@pytest.mark.parametrize("among", [None, ["p0", "p1", "p2", "p5"]], ids=["a search", "a completion"])
def test_one_search_finds_both_kinds_and_names_the_part(
    cluster: Services, index: str, folder: Path, among: list[str] | None
) -> None:
    """The score of the inner hit is exact, whichever part the quantised search chose (docs/adr/0009-several-media.md)."""
    space = _space(cluster, index, "image")
    made = dict(zip(PICTURES, _pictures(cluster, folder, PICTURES), strict=True))
    pictures = {record["id"]: [name for name in record["images"] if name in made] for record in _records()}
    query = unit(made[PICTURES[13]] + 0.2 * made[PICTURES[0]])
    clause: dict[str, Any] = {
        "query_vector": pack(query, cluster.server), "k": 12, "num_candidates": 100, "rescore_vector": {"oversample": 1.5},
    }  # fmt: skip
    if among:
        clause["filter"] = [{"terms": {"triptych.key": among}}]
    inner = {"size": 1, "_source": False, "docvalue_fields": [f"{space.parts_field}.reference"]}
    clauses = [{**clause, "field": space.field}, {**clause, "field": space.parts_vector, "inner_hits": inner}]
    hits = cluster.elasticsearch.search(index=index, knn=clauses, size=12)["hits"]["hits"]
    assert {hit["_id"] for hit in hits} == set(among or pictures)
    assert hits[0]["_id"] == "p1"
    for hit in hits:
        exact = {name: (1 + float(query @ made[name])) / 2 for name in pictures[hit["_id"]]}
        found = hit.get("inner_hits", {}).get(space.parts_field, {}).get("hits", {}).get("hits", [])
        assert bool(found) is (hit["_id"] in {"p1", "p2"})
        assert (found or [hit])[0]["_score"] == pytest.approx(max(exact.values()), abs=1e-3)
        if found:
            assert found[0]["fields"][f"{space.parts_field}.reference"] == [max(exact, key=lambda name: exact[name])]


def test_levels_tell_what_strangers_reach(cluster: Services, index: str) -> None:
    levels = read_schema(cluster.elasticsearch, index).levels
    assert levels["image.image"].sample == 12
    for leg in (LEXICAL, "text.text", "image.image"):
        noise = levels[leg].noise
        assert len(noise) == 11
        assert list(noise) == sorted(noise)
    assert levels["image.image"].floor < levels["image.image"].noise[5] < 1
    assert levels[LEXICAL].noise[10] > 0  # "thing" and "number" stand in every title
