"""Measure what each leg's scores mean on this catalogue (`schema.Level`), without any judgement.

A sample of products is drawn. Each product's title asks every words leg, each product's own picture or sound asks the legs of
its modality. The scores between a query and the *other* products are the background: their mean is the leg's floor, their
standard deviation its sigma. The share of titles that find their own product first is the leg's reliability.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.records import TEXT_FIELDS
from triptych.domain import Modality, Vectors
from triptych.elastic.client import translated
from triptych.elastic.engine import Found, msearch, unpack
from triptych.elastic.lexical import lexical_query
from triptych.elastic.lifecycle import read_schema, write_levels
from triptych.encoders import fused
from triptych.encoders.base import Encoder, unit
from triptych.errors import ElasticsearchError
from triptych.schema import FIELD, LEXICAL, IndexSchema, Level, Similarity, Space
from triptych.services import Services

SAMPLE = 256
"""Products drawn. 256 x 255 pairs give the mean of a cosine to about 0.001."""

_ENOUGH = 10
_TIES = 100  # variants of one title that may stand before the product itself with the same score
_SAME = 1e-6
_TITLES = 2  # of a product with titles in many languages; which ones depends on its id, so every language gets its turn
_SEED = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn product: its id, some of its titles, its vectors by space."""

    id: str
    titles: tuple[str, ...]
    vectors: Mapping[str, npt.NDArray[np.float32]]


def calibrate(services: Services, index: str) -> IndexSchema:
    """Measure the levels of all legs of `index` and keep them in its `_meta`. Legs with too few products get none."""
    with translated():
        services.elasticsearch.indices.refresh(index=index)
    schema = read_schema(services.elasticsearch, index)
    sample = draw(services, index, schema)
    levels: dict[str, Level] = {}
    if LEXICAL in schema.legs:
        levels[LEXICAL] = Level(floor=0.0, sigma=0.0, **_lexical_reliability(services, index, schema, sample))
    encoders = services.encoders(schema)
    for space in (space for space in schema.spaces if space.searched):
        levels |= measured(space, schema, encoders, sample)
    return write_levels(services.elasticsearch, index, levels)


def draw(services: Services, index: str, schema: IndexSchema) -> list[Sample]:
    """SAMPLE products at random."""
    fields = [space.field for space in schema.spaces if space.searched]
    source: dict[str, Any] = {"includes": [*(f"{name}.*" for name in TEXT_FIELDS), *fields]}
    if services.server.hides_vectors:
        source["exclude_vectors"] = False
    query = {
        "function_score": {"query": {"exists": {"field": f"{FIELD}.key"}}, "random_score": {"seed": _SEED, "field": "_seq_no"}}
    }
    with translated():
        answer = services.elasticsearch.search(index=index, query=query, size=SAMPLE, source=source)
    return [_sample(hit) for hit in answer["hits"]["hits"]]


def _sample(hit: Mapping[str, Any]) -> Sample:
    source = hit["_source"]
    texts = [source.get(name) or {} for name in TEXT_FIELDS]
    titles = [text for text in (texts[0] or texts[1]).values() if text.strip()]
    first = zlib.crc32(hit["_id"].encode()) % max(len(titles), 1)
    chosen = [*titles[first:], *titles[:first]][:_TITLES]
    vectors = {name: unpack(value) for name, value in source.get(FIELD, {}).items() if isinstance(value, list | str)}
    return Sample(hit["_id"], tuple(title[:500] for title in chosen), vectors)


def measured(space: Space, schema: IndexSchema, encoders: Mapping[str, Encoder], sample: Sequence[Sample]) -> dict[str, Level]:
    """The levels of a space's legs; a leg that fewer than ten products can tell of has none."""
    levels: dict[str, Level | None] = {}
    for modality in space.query_modalities:
        levels[space.leg(modality)] = measure(space, modality, schema, encoders, sample)
    if space.kind == "fused":
        levels[space.legs[0]] = _by_titles(space, sample, lambda titles: _fused_queries(space, schema, encoders, titles))
        levels[space.legs[0]] = levels[space.legs[0]] or _among_documents(space, sample)
    else:
        levels[space.vector_leg] = _among_documents(space, sample)
    return {leg: level for leg, level in levels.items() if level is not None}


def measure(
    space: Space, modality: Modality, schema: IndexSchema, encoders: Mapping[str, Encoder], sample: Sequence[Sample]
) -> Level | None:
    """The level of the leg that a query's `modality` makes in `space`; None if fewer than ten products can tell."""
    if modality is Modality.TEXT:
        encoder = encoders[space.name]
        return _by_titles(space, sample, lambda titles: encoder.embed_queries(titles, Modality.TEXT))
    if modality is space.document_modality:
        return _among_documents(space, sample)
    # a picture asks a space of words: the product's own picture can, where the same encoder put it into another space
    twin = next((s for s in schema.spaces if s.fingerprint == space.fingerprint and s.document_modality is modality), None)
    able = [s for s in sample if twin is not None and space.name in s.vectors and twin.name in s.vectors]
    if twin is None or len(able) < _ENOUGH:
        return None
    queries = np.stack([s.vectors[twin.name] for s in able])
    documents = np.stack([s.vectors[space.name] for s in able])
    return level_of(queries, documents, space.similarity, owners=range(len(able)))


def _among_documents(space: Space, sample: Sequence[Sample]) -> Level | None:
    """What products' own vectors score among each other."""
    documents = [s.vectors[space.name] for s in sample if space.name in s.vectors]
    return level_of(np.stack(documents), np.stack(documents), space.similarity) if len(documents) >= _ENOUGH else None


def _by_titles(space: Space, sample: Sequence[Sample], embed: Callable[[list[str]], Vectors]) -> Level | None:
    """What titles score: as queries, `embed` makes vectors of them, zeros where it cannot."""
    able = [s for s in sample if space.name in s.vectors and s.titles]
    if len(able) < _ENOUGH:
        return None
    owners = [number for number, s in enumerate(able) for _ in s.titles]
    queries = embed([title for s in able for title in s.titles])
    there: npt.NDArray[np.bool_] = np.asarray(queries.any(axis=1))
    if there.sum() < _ENOUGH:
        return None
    documents = np.stack([s.vectors[space.name] for s in able])
    asking = [owner for owner, is_there in zip(owners, there.tolist(), strict=True) if is_there]
    return level_of(queries[there], documents, space.similarity, owners=asking)


def _fused_queries(space: Space, schema: IndexSchema, encoders: Mapping[str, Encoder], titles: list[str]) -> Vectors:
    """Titles as queries of a fused space, by those of its parts that words search; zeros where there are none."""
    dims = {s.name: s.dims for s in schema.spaces}
    asked = [s for s in schema.spaces if s.name in space.parts and Modality.TEXT in s.query_modalities]
    found = {s.name: encoders[s.name].embed_queries(titles, Modality.TEXT) for s in asked}
    rows = np.zeros((len(titles), space.dims), dtype=np.float32)
    for number in range(len(titles)):
        parts = {name: vectors[number] for name, vectors in found.items() if vectors[number].any()}
        whole = fused.combine(space, parts, dims)
        if whole is not None:
            rows[number] = whole
    return rows


def level_of(queries: Vectors, documents: Vectors, similarity: Similarity, *, owners: Sequence[int] | None = None) -> Level:
    """The level of (q, dims) queries against (n, dims) documents. Pure.

    `owners` names the document each query was made of. None: the queries are the documents themselves, which tells the
    background but not whether one finds itself.
    """
    scores = to_score(queries, documents, similarity)
    own = np.arange(len(scores)) if owners is None else np.asarray(owners)
    rows = np.arange(len(scores))
    mine = scores[rows, own]
    background = np.ones(scores.shape, dtype=bool)
    background[rows, own] = False
    others = scores[background]
    found_first = (scores > mine[:, None] + _SAME).sum(axis=1) == 0
    return Level(
        floor=float(others.mean()),
        sigma=float(others.std()),
        reliability=None if owners is None else float(found_first.mean()),
        sample=len(documents),
    )


def to_score(queries: Vectors, documents: Vectors, similarity: Similarity) -> npt.NDArray[np.float32]:
    """Elasticsearch's score of every pair, shape (queries, documents).

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector#dense-vector-similarity
    """
    if similarity == "cosine":
        queries, documents = unit(queries), unit(documents)
    dots = queries @ documents.T
    if similarity == "l2_norm":
        squared = (queries**2).sum(1)[:, None] + (documents**2).sum(1)[None, :] - 2 * dots
        return np.asarray(1 / (1 + np.maximum(squared, 0)), dtype=np.float32)
    return np.asarray((1 + dots) / 2, dtype=np.float32)


def _lexical_reliability(services: Services, index: str, schema: IndexSchema, sample: Sequence[Sample]) -> dict[str, Any]:
    """How many titles find their own product among the sample by words alone."""
    asked = [(s.id, title) for s in sample for title in s.titles]
    among = {"ids": {"values": [s.id for s in sample if s.titles]}}
    if len(among["ids"]["values"]) < _ENOUGH:
        return {}
    bodies = [
        {
            "query": {"bool": {"must": lexical_query(title, schema.lexical_fields), "filter": among}},
            "size": _TIES,
            "_source": False,
        }
        for _, title in asked
    ]
    answers = msearch(services.elasticsearch, index, bodies)
    found = [_first(answer, key) for (key, _), answer in zip(asked, answers, strict=True)]
    return {"reliability": sum(found) / len(found), "sample": len(among["ids"]["values"])}


def _first(answer: Found | ElasticsearchError, key: str) -> bool:
    """Whether the product stands first, or level with the first. Raises the error of a search that failed."""
    if isinstance(answer, ElasticsearchError):
        raise answer
    best = answer.hits[0]["_score"] if answer.hits else 0.0
    return any(hit["_id"] == key and hit["_score"] >= best * (1 - _SAME) for hit in answer.hits)
