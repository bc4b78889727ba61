"""Measures of judged rankings, by ir_measures (which asks pytrec_eval, the trec_eval everybody reports). Pure.

nDCG has linear gains and log2 discounts; for the others a grade of 1 is relevant, or of 2 where it says rel=2. A product that
nobody judged counts as not relevant; `judged_only` takes such products out of a ranking first, for judgements with gaps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import ir_measures

from evaluation.metrics import Judgements

NAMES = ("nDCG@10", "R@10", "Success@1", "Success(rel=2)@1", "Success@10", "AP")
"""The measures reported. AP is over as many products as were asked for."""

_BEST = "Success(rel=2)@1"
_SHUFFLES = 10

Rankings = Mapping[str, Sequence[str]]
"""Query id -> product ids, best first."""

PerQuery = dict[str, dict[str, float]]
"""Query id -> name of a measure -> value."""


def per_query(judgements: Judgements, rankings: Rankings, *, judged_only: bool = False) -> PerQuery:
    """Each ranking's measures. Judged queries that have no ranking count 0; a ranking that nobody judged is left out.

    `Success(rel=2)@1` is there only where what is relevant has several grades.
    """
    judged = {query: dict(judgements[query]) for query in rankings if query in judgements}
    # only the order counts: trec_eval sorts by score, and equal scores by id
    runs = {query: {product: float(-rank) for rank, product in enumerate(rankings[query])} for query in judged}
    graded = {grade for grades in judged.values() for grade in grades.values() if grade > 0}
    names = [name for name in NAMES if name != _BEST or len(graded) > 1]
    measures = {_measure(name, judged_only=judged_only): name for name in names}
    values: PerQuery = {query: {} for query in judged}
    if not judged:
        return values
    for metric in ir_measures.iter_calc(list(measures), judged, runs):
        values[metric.query_id][measures[metric.measure]] = float(metric.value)
    return values


def _measure(name: str, *, judged_only: bool) -> ir_measures.Measure:
    measure = ir_measures.parse_measure(name)
    return measure(judged_only=True) if judged_only else measure


def mean(values: PerQuery, queries: Iterable[str] | None = None) -> dict[str, float]:
    """The mean of each measure over all queries, or over those named."""
    chosen = [values[query] for query in (values if queries is None else queries) if query in values]
    return {name: fmean(each[name] for each in chosen) for name in (chosen[0] if chosen else ())}


def chance(
    judgements: Judgements, candidates: Mapping[str, Sequence[str]], *, depth: int, judged_only: bool = False
) -> dict[str, float]:
    """What guessing gets: the mean over shuffles of each query's candidate products."""
    dice = random.Random(1)  # noqa: S311  no secret
    found: list[dict[str, float]] = []
    for _ in range(_SHUFFLES):
        guessed = {query: dice.sample(products, min(depth, len(products))) for query, products in candidates.items()}
        found.append(mean(per_query(judgements, guessed, judged_only=judged_only)))
    return {name: fmean(each[name] for each in found) for name in found[0]}
