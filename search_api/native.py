"""`native` fusion: one request, a bool of the words and a kNN clause per vector leg, added up by Elasticsearch. Body is pure.

For those who need one round trip. The price: a product counts 0 in a leg that did not return it, scores depend on the window,
and no leg's part is known. Scores of BM25 have another size than those of vectors, so each clause is boosted by weight / (top
- floor) of its measured level: without it the words would decide alone (BM25 runs to 10 and more, a cosine to 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_api import arrange
from search_api.answer import Hit, Recognised, SearchResult
from search_api.asking import Elastic, Run, name_of, source_of
from search_api.facets import count as counted
from search_api.legs import Asked, Leg, highlighting, knn, lexical, ours
from search_api.ranking import Options
from search_api.weights import without
from triptych.elastic.lexical import words_in
from triptych.errors import QueryError
from triptych.schema import Level

_SIGMAS = 6.0
"""Where a good match lies above the floor of a vector leg whose top was not measured, in sigmas."""


def native_body(run: Run, options: Options, boosts: Mapping[str, float], asked: Asked) -> dict[str, Any]:
    """The one search. https://www.elastic.co/docs/solutions/search/vector/knn#_combine_approximate_knn_with_other_features"""
    request = run.request
    words = [_boosted(lexical(leg), boosts[leg.name]) for leg in run.legs if leg.space is None]
    clauses: list[Any] = []
    for leg in run.legs:
        if leg.space is not None:
            clause = knn(leg, asked, k=asked.window, boost=boosts[leg.name])
            clauses += clause if isinstance(clause, list) else [clause]
    found: dict[str, Any] = {
        "size": request.size,
        "_source": source_of(run.info, asked.server, request.fields, with_vectors=request.with_vectors),
        "timeout": f"{asked.timeout_ms}ms",
        "docvalue_fields": [asked.key],
    }
    if words:
        query = words[0] if len(words) == 1 else {"bool": {"should": words}}
        found["query"] = {"bool": {"must": query, "filter": [ours(asked.key), *asked.filters]}}
    if clauses:
        found["knn"] = clauses if len(clauses) > 1 else clauses[0]
    if options.sort:
        found |= {"sort": [_sorted(one) for one in options.sort], "track_scores": True}
    if asked.aggregations:
        found["aggregations"] = dict(asked.aggregations)
    if request.highlight and words:
        found["highlight"] = highlighting([leg for leg in run.legs if leg.space is None], run.info.most_marked)
    return found


def boost(leg: Leg, level: Level | None) -> float:
    """What one unit of Elasticsearch's score counts: 1 / (top - floor) of the leg's level; 1 where nothing was measured."""
    if level is None:
        return 1.0
    if leg.space is None:
        return 1.0 if level.top is None else 1 / max(level.top * words_in(leg.text or ""), 1e-6)
    top = level.floor + _SIGMAS * level.sigma if level.top is None else level.top
    return 1 / max(top - level.floor, 0.01)


def _sorted(field: arrange.SortField) -> dict[str, Any]:
    order = "desc" if field.descending else "asc"
    return {"_score": order} if field.field == arrange.SCORE else {field.field: {"order": order, "missing": "_last"}}


def _boosted(query: dict[str, Any], boost_: float) -> dict[str, Any]:
    return {"bool": {"must": query, "boost": boost_}}


def natively(elastic: Elastic, run: Run, options: Options, recognised: Mapping[str, Recognised]) -> SearchResult:
    """The answer of one request."""
    request = run.request
    levels = run.info.schema.levels
    plan = {planned.name: planned for planned in run.plan}
    if any(weight < 0 for weight in run.weights.values()):
        raise QueryError(
            "fusion native is a sum of boosts and takes no weight below 0.",
            code="query.not_native",
            field="weights",
            remedy="Use another fusion.",
        )
    live = {leg.name for leg in run.legs}
    weights = without(run.weights, [name for name in run.weights if name not in live])
    boosts = {leg.name: weights[leg.name] * boost(leg, levels.get(plan[leg.name].base)) for leg in run.legs}
    found = elastic.search(run, native_body(run, options, boosts, elastic.asked(run, request.window)))
    hits = tuple(
        Hit(name_of(hit, run.info.schema), float(hit["_score"] or 0.0), hit["_source"], {}, highlight=hit.get("highlight", {}))
        for hit in found.hits
    )
    explained = {"index": run.info.version, "fusion": "native", "window": request.window, "weights": weights}
    return SearchResult(
        query_id=run.query_id,
        took_ms=round(run.deadline.took * 1000, 1),
        total_matched=found.total,
        hits=hits,
        reachable=len(hits),
        degraded=tuple(run.degraded),
        recognised=recognised,
        facets=counted(options.facets, [], found.aggregations) if options.facets else {},
        explain=explained if request.explain else None,
        index_version=run.info.version,
        index=request.index,
    )
