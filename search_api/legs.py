"""Which legs a query has, and the request body of each. Pure.

A query input makes one leg in every space whose encoder accepts it; words also make the `lexical` leg (BM25); all inputs
together make one leg in a fused space; a vector given directly makes one in its space; products ("like these") and those that
a visitor had to do with (`history`) make one in every space they have vectors in. Filters go inside every leg: beside a kNN
clause they would act afterwards and could leave nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search_api.query import QueryInput, SearchRequest
from search_api.words import TextOptions, words_query
from triptych.domain import Modality, Vector
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.errors import EncoderError, QueryError
from triptych.schema import KEY_FIELD, LEXICAL, IndexSchema, Space

OVERSAMPLE = 1.5
"""Candidates rescored with the float vectors, in multiples of k. 1.5 gave recall 1.000 at no visible cost (50,000 products)."""

OF_PRODUCTS = frozenset({"products", "history"})
"""The kinds of inputs whose vectors are those of products of the index."""

_MOST_CANDIDATES = 10_000
"""Of a kNN search, by Elasticsearch's own limit."""

_LEAST_CANDIDATES = 100

_KEYS_ONLY: Mapping[str, Any] = {"_source": False, "stored_fields": "_none_"}


@dataclass(frozen=True, slots=True)
class Planned:
    """A leg before its vector is known.

    `source` is the input that makes it, whose share of the score (`weight`) it divides with its other legs; `base` is the name
    its level is kept under: `text.text` for the second text's `text.text#2`. `inputs` are what is embedded.
    """

    name: str
    source: str
    base: str
    inputs: tuple[QueryInput, ...]
    weight: float = 1.0
    space: Space | None = None

    @property
    def modality(self) -> Modality | None:
        """The modality that is embedded; None for vectors given directly or of products, and all inputs together (fused)."""
        return self.inputs[0].modality if len(self.inputs) == 1 and not self.fused else None

    @property
    def fused(self) -> bool:
        return self.space is not None and self.space.kind == "fused" and self.inputs[0].kind not in OF_PRODUCTS


@dataclass(frozen=True, slots=True)
class Leg:
    """One ranked list asked of Elasticsearch. `space` and `vector` are None for a lexical leg, which has `text`.

    A leg that does not `seek` pushes products away, or reranks them: its hits are no candidates, and where scores are completed
    only its best one is asked for.
    """

    name: str
    space: Space | None = None
    vector: Vector | None = field(default=None, repr=False)
    text: str | None = None
    fields: tuple[str, ...] = ()
    options: TextOptions = field(default_factory=TextOptions)
    seeks: bool = True


def wanted(request: SearchRequest, schema: IndexSchema) -> list[Planned]:
    """The legs `request` has in an index, in the order they are shown.

    Raises QueryError if an input finds no space, a vector does not fit, or there is no input at all, and EncoderError if the
    query was made for other encoders.
    """
    _check_fingerprints(request, schema)
    inputs = request.all_inputs()
    if not inputs:
        raise QueryError("The query is empty.", code="query.empty", remedy="Give at least one of text, image and audio.")
    fused = [s for s in schema.spaces if s.kind == "fused" and s.searched and _takes(s, inputs, schema)]
    legs: list[Planned] = []
    counted: Counter[str] = Counter()
    for one in inputs:
        kind = f"vector.{one.space}" if one.kind == "vector" else str(one.kind)
        counted[kind] += 1
        suffix = f"#{counted[kind]}" if counted[kind] > 1 else ""
        legs += _legs_of(one, kind + suffix, suffix, schema, fused, request.index)
    together = tuple(one for one in inputs if one.kind not in OF_PRODUCTS and one.weight > 0)
    share = sum(one.weight for one in together) / len(together) if together else 1.0
    whole = [Planned(space.legs[0], "fused", space.legs[0], together, share, space) for space in fused]
    places = [n for n, leg in enumerate(legs) if leg.modality is None]
    at = places[0] if places else len(legs)
    return [*legs[:at], *whole, *legs[at:]]


def _check_fingerprints(request: SearchRequest, schema: IndexSchema) -> None:
    for name, wanted_ in request.fingerprints.items():
        space = schema.space_of(name)
        if space is None or wanted_ not in (space.fingerprint, space.encoder if space.kind == "precomputed" else None):
            there = "no such space" if space is None else f"vectors of {space.fingerprint} in it"
            raise EncoderError(
                f"The query is for vectors of {wanted_!r} in the space {name!r}, but {request.index!r} has {there}.",
                code="encoder.fingerprint_mismatch",
                field=f"fingerprints.{name}",
                remedy="Embed the query with the encoder that fills the index now.",
            )


def _legs_of(
    one: QueryInput, source: str, suffix: str, schema: IndexSchema, fused: Sequence[Space], index: str
) -> list[Planned]:
    """The legs of one input beside those of the fused spaces."""
    if one.kind == "vector":
        return _of_vector(one, source, suffix, schema, fused, index)
    if one.kind in OF_PRODUCTS:
        mine = [space for space in schema.spaces if space.searched]
        return [Planned(f"{one.kind}.{s.name}{suffix}", source, _background(s), (one,), one.weight, s) for s in mine]
    modality = one.modality
    if modality is None:
        raise ValueError(one.kind)
    legs = [
        Planned(space.leg(modality) + suffix, source, space.leg(modality), (one,), one.weight, space)
        for space in schema.spaces
        if space.searched and modality in space.query_modalities
    ]
    if modality is Modality.TEXT and schema.lexical_fields:
        legs.insert(0, Planned(LEXICAL + suffix, source, LEXICAL, (one,), one.weight))
    if not legs and not any(modality in part.query_modalities for space in fused for part in _parts(space, schema)):
        raise QueryError(
            f"The index {index!r} has no field that a query's {modality} can search.", code="query.no_space", field=one.where
        )
    return legs


def _background(space: Space) -> str:
    """The leg whose level says what products score among each other in a space."""
    return space.legs[0] if space.kind == "fused" else space.vector_leg


def _of_vector(
    one: QueryInput, source: str, suffix: str, schema: IndexSchema, fused: Sequence[Space], index: str
) -> list[Planned]:
    space = _space_for_vector(one, schema, index)
    if space.searched:
        return [Planned(space.vector_leg + suffix, source, space.vector_leg, (one,), one.weight, space)]
    if any(space.name in whole.parts for whole in fused):
        return []
    raise QueryError(
        f"The space {space.name!r} of the index {index!r} is only a part of others and none of them is searched.",
        code="query.no_space",
        field=one.where,
    )


def _parts(space: Space, schema: IndexSchema) -> list[Space]:
    return [part for part in schema.spaces if part.name in space.parts]


def _takes(space: Space, inputs: Sequence[QueryInput], schema: IndexSchema) -> bool:
    """Whether a fused space has a part that one of the query's inputs or vectors searches."""
    seeking = [one for one in inputs if one.weight > 0]
    given = {one.modality for one in seeking}
    spaces = {one.space for one in seeking if one.kind == "vector"}
    return any(part.name in spaces or given.intersection(part.query_modalities) for part in _parts(space, schema))


def _space_for_vector(one: QueryInput, schema: IndexSchema, index: str) -> Space:
    space = schema.space_of(one.space)
    if space is None or space.kind == "fused":
        able = ", ".join(s.name for s in schema.spaces if s.kind != "fused") or "none"
        raise QueryError(
            f"The index {index!r} has no space {one.space!r} that a vector can search.",
            code="query.unknown_space",
            field=one.where,
            remedy=f"Spaces: {able}.",
        )
    if len(one.vector) != space.dims or not any(one.vector):
        what = f"{len(one.vector)} numbers, not the {space.dims} of" if len(one.vector) != space.dims else "only zeros for"
        raise QueryError(f"The vector has {what} the space {one.space!r}.", code="query.bad_vector", field=one.where)
    return space


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every leg: how many hits (`window`), under which filters, with which doc values beside the key.

    Quantised scores are made exact with the float vectors if `exact`. `key` is the field that names a product. `completes`
    says whether the scores that a leg does not return are asked for afterwards.
    """

    server: Server
    window: int
    filters: Sequence[Mapping[str, Any]] = ()
    values: Sequence[Any] = ()
    exact: bool = True
    timeout_ms: int = 5000
    aggregations: Mapping[str, Any] = field(default_factory=dict)
    key: str = KEY_FIELD
    completes: bool = True


def body(leg: Leg, asked: Asked) -> dict[str, Any]:
    """The search for the best products of a leg; ids only, by doc values. Of a leg that does not seek the best product will do
    where all other scores are completed.
    """
    window = asked.window if leg.seeks or not asked.completes else 1
    common = {**_KEYS_ONLY, "timeout": f"{asked.timeout_ms}ms", "docvalue_fields": [asked.key, *asked.values], "size": window}
    if leg.space is not None:
        return {**common, **_nearest(leg, knn(leg, asked, k=window)), "track_total_hits": False}
    found = {
        **common,
        "query": {"bool": {"must": lexical(leg), "filter": [ours(asked.key), *asked.filters]}},
        "track_total_hits": leg.seeks,
    }
    return {**found, "aggregations": dict(asked.aggregations)} if asked.aggregations and leg.seeks else found


def counting_body(legs: Sequence[Leg], asked: Asked) -> dict[str, Any] | None:
    """The search that counts what matches any of several texts, and their facets; without words facets over everything that
    passes the filters. None where nothing is to be counted but what the leg of the only text counts itself.
    """
    words = [leg for leg in legs if leg.space is None and leg.seeks]
    if len(words) == 1 or not (words or asked.aggregations):
        return None
    query: dict[str, Any] = {"filter": [ours(asked.key), *asked.filters]}
    if words:
        query["must"] = {"bool": {"should": [lexical(leg) for leg in words], "minimum_should_match": 1}}
    counted = {"query": {"bool": query}, "size": 0, "timeout": f"{asked.timeout_ms}ms", "track_total_hits": bool(words)}
    return {**counted, "aggregations": dict(asked.aggregations)} if asked.aggregations else counted


def ours(key: str) -> dict[str, Any]:
    """The filter of our products: a document somebody else wrote into the index has no key and no vectors."""
    return {"exists": {"field": key}}


def completion_body(leg: Leg, ids: Sequence[str], asked: Asked) -> dict[str, Any]:
    """The search for the exact scores of `ids` in a leg.

    The filter keeps the words' idf that of the whole index, and with k = number of ids makes Lucene score every one of them.
    """
    among: Mapping[str, Any] = {"terms": {asked.key: list(ids)}}
    common = {
        **_KEYS_ONLY,
        "timeout": f"{asked.timeout_ms}ms",
        "docvalue_fields": [asked.key, *asked.values],
        "size": len(ids),
        "track_total_hits": False,
    }
    if leg.space is None:
        return {**common, "query": {"bool": {"must": lexical(leg), "filter": [among]}}}
    only = Asked(asked.server, len(ids), [among], exact=asked.exact, key=asked.key)
    return {**common, **_nearest(leg, knn(leg, only, k=len(ids), completes=True))}


def _nearest(leg: Leg, clauses: Any) -> dict[str, Any]:
    """A kNN search as a query where it is one clause: it spares the phase that gathers the nearest of all shards first, a
    tenth to a fifth of the server's time (20,000 products, four legs). Two clauses, and their inner hits, only add up at the
    top.

    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-knn-query
    """
    if leg.space is not None and leg.space.has_parts:
        return {"knn": clauses}
    return {"query": {"knn": clauses}}


def lexical(leg: Leg) -> dict[str, Any]:
    return words_query(leg.text or "", leg.fields, leg.options)


def highlighting(words: Sequence[Leg], most: int) -> dict[str, Any]:
    """The part of a search that marks the words found, as HTML. The products' own text is escaped.

    A text is read up to `most` characters, as the index allows: without saying so, a longer one fails the whole search.
    """
    fields: dict[str, Any] = {name.partition("^")[0]: {} for leg in words for name in leg.fields}
    query = {"bool": {"should": [lexical(leg) for leg in words]}}
    shown = {"encoder": "html", "number_of_fragments": 3, "max_analyzed_offset": most}
    return {"fields": fields, "highlight_query": query, **shown}


def knn(leg: Leg, asked: Asked, *, k: int, completes: bool = False, boost: float = 1.0) -> Any:
    """https://www.elastic.co/docs/solutions/search/vector/knn ; rescored, so that scores are those of the float vectors.

    Elasticsearch rescores quantised fields only; the others' scores are exact by themselves. A space with several media per
    product has two clauses: a product's vector stands in one of the two fields, so the sum of both is its score. Of the parts
    more are filtered than k, so that a completion asks for all candidates there are, to be exact.
    """
    if leg.space is None or leg.vector is None:
        raise ValueError(leg.name)
    clause: dict[str, Any] = {
        "field": leg.space.field,
        "query_vector": pack(leg.vector, asked.server),
        "k": k,
        "num_candidates": min(max(_LEAST_CANDIDATES, int(k * OVERSAMPLE) + 1), _MOST_CANDIDATES),
    }
    if asked.filters:
        clause["filter"] = list(asked.filters)
    if boost != 1:
        clause["boost"] = boost
    whole = {"rescore_vector": {"oversample": OVERSAMPLE}} if leg.space.quantised and asked.exact else {}
    if not leg.space.has_parts:
        return {**clause, **whole}
    parts = {**clause, "field": leg.space.parts_vector}
    if completes:
        parts["num_candidates"] = _MOST_CANDIDATES
    return [{**clause, **whole}, parts]


def quantised(leg: Leg, *, exact: bool) -> bool:
    """Whether a leg's scores are those of shortened vectors: its index holds such, and they are not scored again."""
    return leg.space is not None and leg.space.quantised and not exact


def best_part_body(leg: Leg, ids: Sequence[str], asked: Asked) -> dict[str, Any]:
    """The search that names the best of several media of `ids` in a leg.

    Inner hits cost more than the search itself, so they are asked for the products of a page only (docs/adr/0009).
    """
    only = Asked(asked.server, len(ids), [{"terms": {asked.key: list(ids)}}], exact=asked.exact, key=asked.key)
    _, parts = knn(leg, only, k=len(ids), completes=True)
    common = {**_KEYS_ONLY, "docvalue_fields": [asked.key], "size": len(ids), "track_total_hits": False}
    return {**common, "knn": {**parts, "inner_hits": _best_part(leg)}}


def _best_part(leg: Leg) -> dict[str, Any]:
    if leg.space is None:
        raise ValueError(leg.name)
    fields = [f"{leg.space.parts_field}.reference", f"{leg.space.parts_field}.start"]
    return {"name": leg.space.parts_field, "size": 1, "_source": False, "docvalue_fields": fields}
