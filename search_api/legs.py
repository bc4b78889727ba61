"""Which legs a query has, and the request body of each. Pure.

A query input makes one leg in every space whose encoder accepts it; words also make the `lexical` leg (BM25); all inputs
together make one leg in a fused space; a vector given directly makes one in its space. Filters go inside every leg: beside a
kNN clause they would act afterwards and could leave nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_api.query import SearchRequest
from triptych.domain import Modality, Vector
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.elastic.lexical import lexical_query
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import FIELD, KEY_FIELD, LEXICAL, IndexSchema, Space

OVERSAMPLE = 1.5
"""Candidates rescored with the float vectors, in multiples of k. 1.5 gave recall 1.000 at no visible cost (50,000 products)."""

_NUMERIC = {"long", "integer", "short", "byte", "unsigned_long", "double", "float", "half_float", "scaled_float"}
_FILTERABLE = _NUMERIC | {"keyword", "constant_keyword", "wildcard", "boolean", "date", "date_nanos", "ip", "version"}
LONGEST_LIST = 1024
"""Values of one filter."""

_TIMEOUT = "5s"
"""A leg that takes longer is dropped; the answer names it."""

_RANGE = {"gt", "gte", "lt", "lte"}
_KEYS_ONLY: Mapping[str, Any] = {
    "timeout": _TIMEOUT,
    "_source": False,
    "stored_fields": "_none_",
    "docvalue_fields": [KEY_FIELD],
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A leg before its vector is known.

    `source` is what of the query makes it, whose share of the score it divides with its other legs; `modality` is the input
    that is embedded, None for a vector given directly and for all inputs together (fused).
    """

    name: str
    source: str
    space: Space | None = None
    modality: Modality | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """One ranked list asked of Elasticsearch. `space` and `vector` are None for the lexical leg, which has `text`."""

    name: str
    space: Space | None = None
    vector: Vector | None = None
    text: str | None = None
    fields: tuple[str, ...] = ()


def wanted(request: SearchRequest, schema: IndexSchema) -> list[Planned]:
    """The legs `request` has in an index, in the order they are shown.

    Raises QueryError if an input finds no space, a vector does not fit, or there is no input at all.
    """
    if not request.modalities and not request.vectors:
        raise QueryError("The query is empty.", code="query.empty", remedy="Give at least one of text, image and audio.")
    fused = [space for space in schema.spaces if space.kind == "fused" and space.searched and _takes(space, request, schema)]
    legs: list[Planned] = []
    for modality in request.modalities:
        mine = [
            Planned(space.leg(modality), modality, space, modality)
            for space in schema.spaces
            if space.searched and modality in space.query_modalities
        ]
        if modality is Modality.TEXT and schema.lexical_fields:
            mine.insert(0, Planned(LEXICAL, modality))
        if not mine and not any(modality in part.query_modalities for space in fused for part in _parts(space, schema)):
            raise QueryError(
                f"The index {request.index!r} has no field that a query's {modality} can search.",
                code="query.no_space",
                field=modality,
            )
        legs += mine
    legs += [Planned(space.legs[0], "fused", space) for space in fused]
    for name in request.vectors:
        space = _space_for_vector(name, request, schema)
        if space.searched:
            legs.append(Planned(space.vector_leg, space.vector_leg, space))
        elif not any(name in whole.parts for whole in fused):
            raise QueryError(
                f"The space {name!r} of the index {request.index!r} is only a part of others and none of them is searched.",
                code="query.no_space",
                field=f"vectors.{name}",
            )
    return legs


def _parts(space: Space, schema: IndexSchema) -> list[Space]:
    return [part for part in schema.spaces if part.name in space.parts]


def _takes(space: Space, request: SearchRequest, schema: IndexSchema) -> bool:
    """Whether a fused space has a part that one of the query's inputs or vectors searches."""
    given = set(request.modalities)
    return any(part.name in request.vectors or given.intersection(part.query_modalities) for part in _parts(space, schema))


def _space_for_vector(name: str, request: SearchRequest, schema: IndexSchema) -> Space:
    space = schema.space_of(name)
    if space is None or space.kind == "fused":
        able = ", ".join(s.name for s in schema.spaces if s.kind != "fused") or "none"
        raise QueryError(
            f"The index {request.index!r} has no space {name!r} that a vector can search.",
            code="query.unknown_space",
            field=f"vectors.{name}",
            remedy=f"Spaces: {able}.",
        )
    values = request.vectors[name]
    if len(values) != space.dims or not any(values):
        what = f"{len(values)} numbers, not the {space.dims} of" if len(values) != space.dims else "only zeros for"
        raise QueryError(f"The vector has {what} the space {name!r}.", code="query.bad_vector", field=f"vectors.{name}")
    return space


def body(leg: Leg, filters: Sequence[Mapping[str, Any]], *, window: int, server: Server) -> dict[str, Any]:
    """The search for the `window` best products of a leg; ids only, by doc values."""
    if leg.space is None:
        ours = {"exists": {"field": KEY_FIELD}}  # a document somebody else wrote into the index has no key and no vectors
        query = {"bool": {"must": lexical_query(leg.text or "", leg.fields), "filter": [ours, *filters]}}
        return {
            **_KEYS_ONLY,
            "query": query,
            "size": window,
            "track_total_hits": True,
            "sort": _BY_SCORE_THEN_KEY,
            "track_scores": True,
        }
    knn = _knn(leg, filters, k=window, server=server)
    return {**_KEYS_ONLY, "knn": knn, "size": window, "track_total_hits": False}


_BY_SCORE_THEN_KEY = [{"_score": "desc"}, {KEY_FIELD: "asc"}]


def completion_body(leg: Leg, ids: Sequence[str], *, server: Server) -> dict[str, Any]:
    """The search for the exact scores of `ids` in a leg.

    The filter keeps the words' idf that of the whole index, and with k = number of ids makes Lucene score every one of them.
    """
    among: Mapping[str, Any] = {"terms": {KEY_FIELD: list(ids)}}
    if leg.space is None:
        query = {"bool": {"must": lexical_query(leg.text or "", leg.fields), "filter": [among]}}
        return {**_KEYS_ONLY, "query": query, "size": len(ids), "track_total_hits": False}
    return {**_KEYS_ONLY, "knn": _knn(leg, [among], k=len(ids), server=server), "size": len(ids), "track_total_hits": False}


def _knn(leg: Leg, filters: Sequence[Mapping[str, Any]], *, k: int, server: Server) -> dict[str, Any]:
    """https://www.elastic.co/docs/solutions/search/vector/knn ; rescored, so that scores are those of the float vectors.

    Elasticsearch rescores quantised fields only; the others' scores are exact by themselves.
    """
    if leg.space is None or leg.vector is None:
        raise ValueError(leg.name)
    knn: dict[str, Any] = {
        "field": leg.space.field,
        "query_vector": pack(leg.vector, server),
        "k": k,
        "num_candidates": max(100, int(k * OVERSAMPLE) + 1),
    }
    if leg.space.quantised:
        knn["rescore_vector"] = {"oversample": OVERSAMPLE}
    return {**knn, "filter": list(filters)} if filters else knn


def filter_clauses(filters: Mapping[str, Any], info: IndexInfo) -> list[dict[str, Any]]:
    """The filter clauses of `filters`, checked against the mapping. Raises QueryError naming the field."""
    clauses: list[dict[str, Any]] = []
    for name, value in filters.items():
        _check_values(name, _check_filterable(name, info), value)
        if isinstance(value, list):
            if len(value) > LONGEST_LIST:
                raise QueryError(
                    f"The filter on {name!r} has more than {LONGEST_LIST} values.",
                    code="query.bad_filter",
                    field=f"filters.{name}",
                )
            clauses.append({"terms": {name: value}})
        elif isinstance(value, Mapping):
            unknown = set(value) - _RANGE
            if unknown or not value:
                raise QueryError(
                    f"The range of {name!r} has {', '.join(sorted(unknown)) or 'no limit'}.",
                    code="query.bad_filter",
                    field=f"filters.{name}",
                    remedy="A range has gt, gte, lt or lte.",
                )
            clauses.append({"range": {name: dict(value)}})
        else:
            clauses.append({"term": {name: value}})
    return clauses


def _check_values(name: str, kind: str, value: Any) -> None:
    """Raise QueryError if a value cannot be one of a field of that type; dates and addresses are left to Elasticsearch."""
    values = value if isinstance(value, list) else value.values() if isinstance(value, Mapping) else [value]
    for one in values:
        if kind in _NUMERIC and not _is_number(one):
            wanted_kind = "a number"
        elif kind == "boolean" and one not in (True, False, "true", "false"):
            wanted_kind = "true or false"
        else:
            continue
        raise QueryError(
            f"{one!r} is not {wanted_kind}, but the field {name!r} is of type {kind}.",
            code="query.bad_filter",
            field=f"filters.{name}",
        )


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return False


def _check_filterable(name: str, info: IndexInfo) -> str:
    """The type of a field that can be filtered by. Raises QueryError for any other."""
    kind = None if name.startswith(f"{FIELD}.") else info.fields.get(name)
    if kind in _FILTERABLE:
        return str(kind)
    able = sorted(field for field, t in info.fields.items() if t in _FILTERABLE and not field.startswith(f"{FIELD}."))
    if kind is None:
        close = difflib.get_close_matches(name, able, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Fields to filter by: {', '.join(able)}."
        raise QueryError(f"The index has no field {name!r}.", code="query.unknown_field", field=f"filters.{name}", remedy=hint)
    raise QueryError(
        f"The field {name!r} is of type {kind} and cannot be filtered by.",
        code="query.not_filterable",
        field=f"filters.{name}",
        remedy=f"Fields to filter by: {', '.join(able)}.",
    )
