"""Give every candidate every leg's exact score.

A leg returns only its best; a product another leg found gets 0 from it everywhere else, although its true score may lie just
below the cut. Here the union of all candidates is completed: one more `_msearch` asks each leg for the scores it did not give.
Three cases stay apart: *completed* (the score is known now), *no_match* (the words do not occur: a true 0) and *no_modality*
(the product has no such vector).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search_api.legs import Leg
from triptych.elastic.engine import Found
from triptych.errors import ElasticsearchError
from triptych.schema import KEY_FIELD

RETRIEVED, COMPLETED, NO_MATCH, NO_MODALITY = "retrieved", "completed", "no_match", "no_modality"


@dataclass(frozen=True, slots=True)
class Score:
    """A candidate's score in a leg, as Elasticsearch gave it, and how it came about; `raw` is None for no_modality."""

    raw: float | None
    status: str


LegScores = Mapping[str, Score]
"""One leg's scores by product id."""


def scores_of(found: Found) -> dict[str, float]:
    """Product id -> score of one answer."""
    return {hit["fields"][KEY_FIELD][0]: float(hit["_score"]) for hit in found.hits}


def missing(legs: Sequence[Leg], retrieved: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Per leg the candidates it did not return, sorted. Pure."""
    candidates = {key for scores in retrieved.values() for key in scores}
    gaps = {leg.name: sorted(candidates - set(retrieved[leg.name])) for leg in legs}
    return {name: ids for name, ids in gaps.items() if ids}


def complete(
    legs: Sequence[Leg],
    retrieved: Mapping[str, Mapping[str, float]],
    ask: Callable[[Mapping[str, list[str]]], Mapping[str, Found | ElasticsearchError]],
) -> tuple[dict[str, LegScores], dict[str, ElasticsearchError]]:
    """All scores of all candidates by leg, and the legs whose completion failed (their scores would be untrue: drop them).

    `ask` sends the completion searches: ids by leg -> answer by leg.
    """
    gaps = missing(legs, retrieved)
    answers = ask(gaps) if gaps else {}
    whole: dict[str, LegScores] = {}
    failed: dict[str, ElasticsearchError] = {}
    for leg in legs:
        answer = answers.get(leg.name)
        if isinstance(answer, ElasticsearchError):
            failed[leg.name] = answer
            continue
        late = scores_of(answer) if answer is not None else {}
        scores = {key: Score(raw, RETRIEVED) for key, raw in retrieved[leg.name].items()}
        for key in gaps.get(leg.name, ()):
            scores[key] = _late(late, key, leg)
        whole[leg.name] = scores
    return whole, failed


def _late(late: Mapping[str, float], key: str, leg: Leg) -> Score:
    if key in late:
        return Score(late[key], COMPLETED)
    return Score(0.0, NO_MATCH) if leg.space is None else Score(None, NO_MODALITY)
