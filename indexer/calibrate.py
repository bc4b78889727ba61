"""Measure what each leg's scores mean on this catalogue (`schema.Level`), without any judgement.

A sample of products is drawn, and for a space that not all of them have one more of those that have it. Each product's title
asks every words leg, each product's own picture or sound asks the legs of its modality. The scores between a query and the
*other* products are the background: their mean is the leg's floor, their standard deviation its sigma. The share of titles that
find their own product first is the leg's reliability; of pictures it is the share of first pictures that find their product
first by its other ones. The best of the others per query is what a match that means nothing
reaches: its deciles are the leg's noise.
`reached` says whether searches of a leg reach the products at all (reach.py).
A product with several parts scores by the best of them, as in a search; the first of them asks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.attach.reading import titles_of
from indexer.levels import ALIKE, ENOUGH, SAME, deciles, level_of
from indexer.reach import hits_of, reached
from indexer.records import TEXT_FIELDS
from triptych.domain import Modality, Vector, Vectors
from triptych.elastic.attached import index_of, version_of
from triptych.elastic.client import translated
from triptych.elastic.engine import unpack
from triptych.elastic.lexical import lexical_query, words_in
from triptych.elastic.lifecycle import read_schema, write_levels
from triptych.encoders.base import Encoder, unit
from triptych.encoders.fused import Join
from triptych.schema import LEXICAL, IndexSchema, Level, Space
from triptych.services import Services

SAMPLE = 256
"""Products drawn. 256 x 255 pairs give the mean of a cosine to about 0.001."""

_TIES = 100  # variants of one title that may stand before the product itself with the same score
_TITLES = 2  # of a product with titles in many languages; which ones depends on its id, so every language gets its turn
_SEED = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn product: its id, some of its titles, its vectors by space, `names`: all its titles, to know variants by.

    The vectors of a space are one, of shape (dims,), or those of several parts, (parts, dims).
    """

    id: str
    titles: tuple[str, ...]
    vectors: Mapping[str, Vectors]
    names: frozenset[str] = frozenset()

    def first(self, space: str) -> Vector:
        vectors = self.vectors[space]
        return vectors if vectors.ndim == 1 else np.asarray(vectors[0])


def calibrate(services: Services, version: str) -> IndexSchema:
    """Measure the levels of all legs of an index version and keep them in its `_meta`. Legs with too few products get none."""
    index = index_of(version)
    with translated():
        services.elasticsearch.indices.refresh(index=index)
    schema = read_schema(services.elasticsearch, version)
    if schema.attachment is not None:
        version = version_of(index, schema.object_field)  # searches may read another field when all is measured
    sample = draw(services, index, schema)
    levels: dict[str, Level] = {}
    if LEXICAL in schema.legs:
        levels[LEXICAL] = _lexical_level(services, index, schema, sample)
    encoders, joins = services.encoders(schema), services.joins(schema)
    for space in (space for space in schema.spaces if space.searched):
        everywhere = all(space.name in s.vectors for s in sample)
        drawn = sample if everywhere else draw(services, index, schema, space)
        found = reached(services, index, space, [s.vectors[space.name] for s in drawn if space.name in s.vectors])
        mine = measured(space, schema, encoders, joins, drawn)
        levels |= {leg: level.model_copy(update={"reached": found}) for leg, level in mine.items()}
    return write_levels(services.elasticsearch, version, levels)


def draw(services: Services, index: str, schema: IndexSchema, space: Space | None = None) -> list[Sample]:
    """SAMPLE products at random, of those that have a vector in `space`.

    In a catalogue of which one product in ten has a picture, a sample of all would tell of pictures by a handful.
    """
    fields = [space.field for space in schema.spaces if space.searched]
    fields += [space.parts_vector for space in schema.spaces if space.has_parts]
    source: dict[str, Any] = {"includes": [*_text_paths(schema), *fields]}
    if services.server.hides_vectors:
        source["exclude_vectors"] = False
    query = {"function_score": {"query": _having(space, schema), "random_score": {"seed": _SEED, "field": "_seq_no"}}}
    with translated():
        answer = services.elasticsearch.search(index=index, query=query, size=SAMPLE, source=source)
    return [_sample(hit, schema) for hit in answer["hits"]["hits"]]


def _text_paths(schema: IndexSchema) -> list[str]:
    paths = schema.attachment.text if schema.attachment else TEXT_FIELDS
    return [*(paths if schema.attachment else ()), *(f"{path}.*" for path in paths)]


def _having(space: Space | None, schema: IndexSchema) -> dict[str, Any]:
    """The products that have a vector, or several, in a space; without one all that are ours."""
    if space is None:
        return {"exists": {"field": schema.key_field}}
    several = {"nested": {"path": space.parts_field, "query": {"exists": {"field": space.parts_vector}}}}
    ways = [{"exists": {"field": space.field}}, *([several] if space.has_parts else [])]
    return {"bool": {"should": ways}}


def _sample(hit: Mapping[str, Any], schema: IndexSchema) -> Sample:
    source = hit["_source"]
    if schema.attachment is not None:
        titles = titles_of(source, schema.attachment)
    else:
        texts = [source.get(name) or {} for name in TEXT_FIELDS]
        titles = [text for text in (texts[0] or texts[1]).values() if text.strip()]
    first = zlib.crc32(hit["_id"].encode()) % max(len(titles), 1)
    chosen = [*titles[first:], *titles[:first]][:_TITLES]
    names = frozenset(" ".join(title.split()).casefold() for title in titles)
    stored, vectors = source.get(schema.object_field, {}), {}
    for space in schema.spaces:
        if space.parts_name in stored:
            parts = stored[space.parts_name]  # a list of one comes back as it was written, or as that one
            some = parts if isinstance(parts, list) else [parts]
            vectors[space.name] = np.stack([unpack(part["vector"]) for part in some])
        elif space.name in stored:
            vectors[space.name] = unpack(stored[space.name])
    return Sample(hit["_id"], tuple(title[:500] for title in chosen), vectors, names)


def measured(
    space: Space, schema: IndexSchema, encoders: Mapping[str, Encoder], joins: Mapping[str, Join], sample: Sequence[Sample]
) -> dict[str, Level]:
    """The levels of a space's legs; a leg that fewer than ten products can tell of has none."""
    levels: dict[str, Level | None] = {}
    for modality in space.query_modalities:
        levels[space.leg(modality)] = measure(space, modality, schema, encoders, sample)
    if space.kind == "fused":
        join = joins[space.name]
        levels[space.legs[0]] = _by_titles(space, sample, lambda titles: _fused_queries(space, schema, encoders, join, titles))
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
        level = _among_documents(space, sample)
        own = found_by_another(space, sample) if modality is Modality.IMAGE else None
        return level if level is None or own is None else level.model_copy(update={"reliability": own})
    # a picture asks a space of words: the product's own picture can, where the same encoder put it into another space
    twin = next((s for s in schema.spaces if s.fingerprint == space.fingerprint and s.document_modality is modality), None)
    able = [s for s in sample if twin is not None and space.name in s.vectors and twin.name in s.vectors]
    if twin is None or len(able) < ENOUGH:
        return None
    queries = np.stack([s.first(twin.name) for s in able])
    return level_of(
        queries, [s.vectors[space.name] for s in able], space.similarity, owners=range(len(able)), same=same_titles(able)
    )


def _among_documents(space: Space, sample: Sequence[Sample]) -> Level | None:
    """What products' own vectors score among each other."""
    able = [s for s in sample if space.name in s.vectors]
    if len(able) < ENOUGH:
        return None
    queries = np.stack([s.first(space.name) for s in able])
    return level_of(queries, [s.vectors[space.name] for s in able], space.similarity, same=same_titles(able))


def found_by_another(space: Space, sample: Sequence[Sample]) -> float | None:
    """The share of products that their first picture finds first by their other ones. Pure.

    None where fewer than ten have others that are not the same picture again. Segments of a sound are no other sound, so it is
    not asked of sounds.
    """
    having = [s for s in sample if space.name in s.vectors]
    whole = [np.atleast_2d(s.vectors[space.name]) for s in having]
    rest = [rows[unit(rows) @ unit(rows[0]) < ALIKE] for rows in whole]
    asking = [number for number, others in enumerate(rest) if len(others)]
    if len(asking) < ENOUGH:
        return None
    queries = np.stack([whole[number][0] for number in asking])
    documents = [others if len(others) else rows for rows, others in zip(whole, rest, strict=True)]
    return level_of(queries, documents, space.similarity, owners=asking, same=same_titles(having)).reliability


def same_titles(sample: Sequence[Sample]) -> npt.NDArray[np.bool_]:
    """Which products share a title with which, shape (n, n): variants of one product."""
    holders: dict[str, list[int]] = {}
    for number, s in enumerate(sample):
        for name in s.names:
            holders.setdefault(name, []).append(number)
    same = np.eye(len(sample), dtype=bool)
    for numbers in holders.values():
        same[np.ix_(numbers, numbers)] = True
    return same


def _by_titles(space: Space, sample: Sequence[Sample], embed: Callable[[list[str]], Vectors]) -> Level | None:
    """What titles score: as queries, `embed` makes vectors of them, zeros where it cannot."""
    able = [s for s in sample if space.name in s.vectors and s.titles]
    if len(able) < ENOUGH:
        return None
    owners = [number for number, s in enumerate(able) for _ in s.titles]
    queries = embed([title for s in able for title in s.titles])
    there: npt.NDArray[np.bool_] = np.asarray(queries.any(axis=1))
    if there.sum() < ENOUGH:
        return None
    asking = [owner for owner, is_there in zip(owners, there.tolist(), strict=True) if is_there]
    return level_of(
        queries[there], [s.vectors[space.name] for s in able], space.similarity, owners=asking, same=same_titles(able)
    )


def _fused_queries(
    space: Space, schema: IndexSchema, encoders: Mapping[str, Encoder], join: Join, titles: list[str]
) -> Vectors:
    """Titles as queries of a fused space, by those of its parts that words search; zeros where there are none."""
    asked = [s for s in schema.spaces if s.name in space.parts and Modality.TEXT in s.query_modalities]
    found = {s.name: encoders[s.name].embed_queries(titles, Modality.TEXT) for s in asked}
    things = [{name: rows[n] for name, rows in found.items() if rows[n].any()} for n in range(len(titles))]
    nothing = np.zeros(space.dims, dtype=np.float32)
    return np.array([nothing if row is None else row for row in join(things)])


def _lexical_level(services: Services, index: str, schema: IndexSchema, sample: Sequence[Sample]) -> Level:
    """How many titles find their own product among the sample by words alone, and what other products reach."""
    among = [s for s in sample if s.titles]
    if len(among) < ENOUGH:
        return Level(floor=0.0, sigma=0.0)
    asked = [(s, title) for s in among for title in s.titles]
    ids = {"ids": {"values": [s.id for s in among]}}
    bodies = [
        {
            "query": {"bool": {"must": lexical_query(title, schema.lexical_fields), "filter": ids}},
            "size": _TIES,
            "_source": False,
        }
        for _, title in asked
    ]
    hits = list(hits_of(services, index, bodies))
    found = [_first(some, s.id) for (s, _), some in zip(asked, hits, strict=True)]
    names = {s.id: s.names for s in among}
    best = [lexical_noise(some, s, title, names) for (s, title), some in zip(asked, hits, strict=True)]
    own = [score for (s, title), some in zip(asked, hits, strict=True) if (score := _own_score(some, s.id, title)) is not None]
    return Level(
        floor=0.0,
        sigma=0.0,
        reliability=sum(found) / len(found),
        sample=len(among),
        noise=deciles(np.array(best)),
        top=float(np.median(own)) if len(own) >= ENOUGH else None,
    )


def _own_score(hits: Sequence[Mapping[str, Any]], key: str, title: str) -> float | None:
    """What a title gives its own product, per word; None where it is not among the hits."""
    score = next((hit["_score"] for hit in hits if hit["_id"] == key), None)
    return None if score is None else float(score) / max(words_in(title), 1)


def lexical_noise(hits: Sequence[Mapping[str, Any]], asking: Sample, title: str, names: Mapping[str, frozenset[str]]) -> float:
    """The best score of a product that is not the asking one nor a variant of it, per word of the title. Pure."""
    words = words_in(title)
    if not words:
        return -math.inf
    best = (hit["_score"] for hit in hits if hit["_id"] != asking.id and not names[hit["_id"]] & asking.names)
    return float(max(best, default=0.0)) / words


def _first(hits: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether the product stands first, or level with the first."""
    best = hits[0]["_score"] if hits else 0.0
    return any(hit["_id"] == key and hit["_score"] >= best * (1 - SAME) for hit in hits)
