"""Products made by a random generator, with their vectors: an index of them needs no encoder and is filled in one bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr

from triptych.elastic.bulk import bulk_index
from triptych.elastic.engine import pack
from triptych.elastic.lifecycle import create_version, spaces_schema
from triptych.encoders.registry import spaces_of
from triptych.schema import IndexSchema, Level
from triptych.services import Services

Array = npt.NDArray[np.float64]

DIMS: Final = {"words": 16, "picture": 12, "sound": 8}
KINDS: Final = {"words": "text", "picture": "image", "sound": "audio"}
VOCABULARY: Final = ("red", "blue", "green", "horn", "drum", "violin", "lamp", "shoe", "hat", "boat", "rare")
COLOURS: Final = ("red", "blue", "green")

LEVELS: Final = {
    "lexical": Level(floor=0.0, sigma=0.2, reliability=0.9, sample=100, noise=tuple(n / 10 for n in range(11)), top=1.5),
    "vector.words": Level(floor=0.5, sigma=0.08, sample=100, noise=tuple(0.5 + n / 25 for n in range(11))),
    "vector.picture": Level(floor=0.52, sigma=0.11, sample=100, noise=tuple(0.5 + n / 25 for n in range(11))),
}
"""`vector.sound` was not measured."""

PROPERTIES: Final[Mapping[str, Any]] = {
    "title": {
        "properties": {
            "en": {"type": "text", "analyzer": "whitespace", "fields": {"raw": {"type": "keyword"}}},
            "de": {"type": "text", "analyzer": "whitespace"},
        }
    },
    "colour": {"type": "keyword"}, "brand": {"type": "keyword"}, "price": {"type": "double"}, "stock": {"type": "integer"},
    "sold": {"type": "boolean"}, "made": {"type": "date"}, "from": {"type": "ip"}, "place": {"type": "geo_point"},
    "note": {"type": "text"},
}  # fmt: skip

ANALYSIS: Final = {
    "filter": {"alike": {"type": "synonym_graph", "synonyms": ["horn, trumpet"], "lenient": True}},
    "analyzer": {"synonyms": {"tokenizer": "whitespace", "filter": ["alike"]}},
}


@dataclass(frozen=True, slots=True)
class Thing:
    """A product: its words, and per space none, one or several vectors."""

    id: str
    title: str
    vectors: Mapping[str, Array]
    fields: Mapping[str, Any] = field(default_factory=dict)


def profile(index_types: Mapping[str, str] | None = None) -> str:
    """A profile of three spaces whose vectors come with the products."""
    lines = ["description: made", "spaces:"]
    for name, dims in DIMS.items():
        kind = (index_types or {}).get(name, "hnsw")
        lines.append(f"  {name}: {{family: precomputed, fingerprint: made, dims: {dims}, licence: none,")
        lines.append(f"    documents: {KINDS[name]}, index: {kind}}}")
    return "\n".join(lines)


def services_of(services: Services, folder: Path, text: str | None = None, **changes: Any) -> Services:
    """The services with a profile of their own (by default the made one), and other settings."""
    path = folder / "made.yaml"
    path.write_text(text or profile(), encoding="utf-8")
    if "redis_url" in changes:
        changes["redis_url"] = SecretStr(changes["redis_url"])
    if "elasticsearch_url" in changes:
        changes["elasticsearch_url"] = SecretStr(changes["elasticsearch_url"])
    return Services(services.settings.model_copy(update={"profile": str(path), **changes}))


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def things(count: int = 300, *, seed: int = 7, best: Sequence[str] = ("picture",)) -> list[Thing]:
    """Products of which a quarter lacks the words' vector, a third the others; the last ten are copies of the first ten.

    In the spaces of `best` a fifth of the products has two or three pictures.
    """
    chance = np.random.default_rng(seed)
    made: list[Thing] = []
    for number in range(count - 10):
        title = " ".join(chance.choice(VOCABULARY[:-1], size=int(chance.integers(1, 9))))
        title += " rare" if number % 97 == 3 else ""
        vectors = {}
        for name, dims in DIMS.items():
            if chance.random() < (0.25 if name == "words" else 0.33):
                continue
            several = int(chance.integers(2, 4)) if name in best and chance.random() < 0.3 else 1
            vectors[name] = unit(chance.normal(size=(several, dims)) + 0.4).astype(np.float32).astype(np.float64)
        fields = {
            "colour": COLOURS[number % 3], "brand": f"brand {number % 17}", "price": float(chance.integers(1, 500)),
            "stock": number % 5, "sold": bool(number % 2), "made": f"20{number % 20 + 10}-01-01",
            "from": f"10.0.0.{number % 250}", "place": {"lat": 50 + number / 100, "lon": 13.0},
        }  # fmt: skip
        made.append(Thing(f"p{number:03}", title, vectors, fields))
    return made + [Thing(f"q{n:03}", made[n].title, made[n].vectors, made[n].fields) for n in range(10)]


def document(thing: Thing, services: Services, best: Sequence[str] = ()) -> dict[str, Any]:
    """What lies in Elasticsearch for a product."""
    ours: dict[str, Any] = {"key": thing.id, "job": "1", "hash": "0", "outcome": "written", "line": 1}
    for name, rows in thing.vectors.items():
        packed = [pack(row.astype(np.float32), services.server) for row in rows]
        if name in best and len(packed) > 1:
            ours[f"{name}_parts"] = [{"vector": one, "reference": f"{n}.jpg"} for n, one in enumerate(packed)]
        else:
            ours[name] = packed[0]
    return {"id": thing.id, "title": {"en": thing.title}, **thing.fields, "triptych": ours}


def create(
    services: Services,
    name: str,
    products: Sequence[Thing] = (),
    *,
    shards: int = 1,
    best: Sequence[str] = ("picture",),
    levels: Mapping[str, Level] = LEVELS,
    said: Mapping[str, Any] | None = None,
    **more: Any,
) -> str:
    """An index with these products in it; returns its version. `said` is what its mapping says beside its lexical fields."""
    spaces = spaces_of(services.profile, services.settings)
    spaces = [space.model_copy(update={"several": "best"}) if space.name in best else space for space in spaces]
    schema = spaces_schema(spaces, "0", profile=services.profile.name)
    base = {
        "settings": {"number_of_shards": shards, "number_of_replicas": 0, "analysis": ANALYSIS},
        "mappings": {"properties": dict(PROPERTIES), "_meta": {"triptych": {"lexical_fields": ["title.en"], **(said or {})}}},
    }
    version = create_version(services.elasticsearch, name, base, schema)
    keep(services, version, IndexSchema(levels=levels, **more))
    write(services, version, products, best=best)
    return version


def keep(services: Services, version: str, changes: IndexSchema) -> None:
    """Change what an index says of itself by the fields that `changes` sets."""
    mapping = services.elasticsearch.indices.get_mapping(index=version)[version]["mappings"]
    given = changes.model_dump(mode="json", exclude_unset=True)
    meta = {**mapping["_meta"], "triptych": {**mapping["_meta"]["triptych"], **given}}
    services.elasticsearch.indices.put_mapping(index=version, meta=meta)


def write(services: Services, version: str, products: Sequence[Thing], *, best: Sequence[str] = ("picture",)) -> None:
    if products:
        written = bulk_index(services.elasticsearch, version, {one.id: document(one, services, best) for one in products})
        assert all(one.reason is None for one in written.values()), next(iter(written.values()))
    services.elasticsearch.indices.refresh(index=version)


def vector(space: str, seed: int) -> list[float]:
    """A query's vector."""
    made = unit(np.random.default_rng(seed).normal(size=DIMS[space]) + 0.4)
    return [float(x) for x in made.astype(np.float32)]
