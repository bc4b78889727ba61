"""From a session to ranked products: fuse, cut off, let the neighbours vote, sort, collapse, count. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from search_api import arrange, facets, normalise, votes
from search_api.answer import Hit, LegScore, MatchedMedia, Predicted, Variant
from search_api.candidates import COMPLETED, NO_MATCH, STATUSES, Candidates, Floats
from search_api.fusion import Fused, FusedLeg, Method, fuse
from search_api.query import DEFAULT_GUARD
from search_api.session import Session
from triptych.elastic.lifecycle import IndexInfo
from triptych.schema import LEXICAL


@dataclass(frozen=True, slots=True)
class Options:
    """What of a request says how to rank, checked against the index."""

    method: Method
    min_relevance: float = 0.0
    facets: tuple[facets.Facet, ...] = ()
    sort: tuple[arrange.SortField, ...] = ()
    collapse: str | None = None
    vote: votes.Vote | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """The ranking: `rows` of the candidates, best first, and for each that won over others the rows of its variants."""

    rows: list[int]
    fused: Fused
    variants: Mapping[int, tuple[int, ...]]
    relevance: Floats | None
    predicted: Predicted | None
    facets: Mapping[str, Any]
    cut: frozenset[int] = frozenset()


_NONE: Mapping[str, MatchedMedia] = {}

OPTION_NAMES = ("fusion", "mean", "missing", "guard", "min_relevance", "facets", "sort", "collapse", "vote")
"""The fields of a request that a session keeps to rank by."""


def read_options(given: Mapping[str, Any], info: IndexInfo) -> Options:
    """The options of a request (or a session), checked. Raises QueryError."""
    missing = given.get("missing") or info.schema.missing
    return Options(
        Method(
            given.get("fusion", "calibrated"),
            given.get("mean", "arithmetic"),
            missing,
            float(given.get("guard", DEFAULT_GUARD)),
        ),
        float(given.get("min_relevance", 0.0)),
        facets.read(given.get("facets") or {}, info),
        arrange.read_sort(given.get("sort") or (), info),
        arrange.read_collapse(given["collapse"], info) if given.get("collapse") is not None else None,
        votes.read_vote(given["vote"], info) if given.get("vote") is not None else None,
    )


def rank(session: Session, legs: Sequence[FusedLeg], options: Options, parts: Floats | None = None) -> Ranked:
    """Rank a session's candidates. `parts` are those of their relevance, where they are known from another ranking of them."""
    candidates = session.candidates
    fused = fuse(candidates, legs, options.method)
    parts = relevance_parts(candidates, legs, session.words) if parts is None else parts
    relevant = relevance(parts, legs, fused.weight)
    rows = fused.order
    cut: frozenset[int] = frozenset()
    if options.min_relevance > 0 and relevant is not None:
        cut = frozenset(row for row in rows if relevant[row] < options.min_relevance)
        rows = [row for row in rows if row not in cut]
    predicted, fused, rows = voted(session, legs, fused, rows, options.vote)
    values = _values(candidates) if options.sort or options.collapse or options.facets else []
    if options.sort:
        order = arrange.ordered(
            [candidates.ids[row] for row in rows],
            [float(fused.score[row]) for row in rows],
            options.sort,
            [values[row] for row in rows],
        )
        rows = [rows[place] for place in order]
    variants: dict[int, tuple[int, ...]] = {}
    counted = facets.count(options.facets, [values[row] for row in rows], session.aggregations) if options.facets else {}
    if options.collapse:
        groups = arrange.collapsed(rows, options.collapse, values)
        rows = [winner for winner, _ in groups]
        variants = {winner: others for winner, others in groups if others}
    return Ranked(rows, fused, variants, relevant, predicted, counted, cut)


def _values(candidates: Candidates) -> list[Mapping[str, Sequence[Any]]]:
    return [candidates.values.get(key, {}) for key in candidates.ids]


def relevance_parts(candidates: Candidates, legs: Sequence[FusedLeg], words: Mapping[str, int]) -> Floats:
    """Per product and leg how far it stands above what noise reaches, (n, legs), 0 to 1, whatever the weights.

    The share of queries about nothing in particular whose best score among the sampled products lies below the product's.
    BM25 is counted per word of the query.
    """
    parts = np.zeros((len(candidates), len(legs)))
    for column, leg in enumerate(legs):
        if leg.level is None or not leg.level.noise:
            continue
        raw = candidates.raw[:, column]
        per = max(words.get(leg.name, 1), 1) if leg.base == LEXICAL else 1
        part = normalise.relevance(raw / per, leg.level)
        parts[:, column] = np.where(np.isnan(part), 0.0, part)
    return parts


def relevance(parts: Floats, legs: Sequence[FusedLeg], weights: Floats) -> Floats | None:
    """The mean of a product's parts over the measured legs that seek, by weight, (n,); None where no leg was measured.

    What a visitor did before does not make a product more relevant to what he asks now.
    """
    measured = [leg.level is not None and bool(leg.level.noise) and leg.weight > 0 for leg in legs]
    asked = [yes and leg.source != "history" for yes, leg in zip(measured, legs, strict=True)]
    seeking = np.array(asked if any(asked) else measured, dtype=bool)
    counted = weights[:, seeking]
    total = counted.sum(axis=1)
    if not total.any():
        return None
    reached = (counted * parts[:, seeking]).sum(axis=1)
    return np.asarray(np.divide(reached, total, out=np.zeros_like(total), where=total > 0))


def voted(
    session: Session, legs: Sequence[FusedLeg], fused: Fused, rows: list[int], vote: votes.Vote | None
) -> tuple[Predicted | None, Fused, list[int]]:
    """What the classifiers or the neighbours of the legs elect, and the ranking it makes where the vote is used."""
    if vote is None:
        return None, fused, rows
    candidates, election = session.candidates, votes.by_classifiers(vote, session.classified)
    if election is None:
        asked = [leg.source != "history" for leg in legs]  # what a visitor did before does not say what he asks now
        alone = not any(yes and leg.weight > 0 for yes, leg in zip(asked, legs, strict=True))
        voters = [(column, leg) for column, leg in enumerate(legs) if asked[column] or alone]
        election = votes.elect(vote, [_neighbours(candidates, fused, column, leg, vote) for column, leg in voters])
    shares = {str(value): share for value, share in election.shares}
    predicted = Predicted(vote.field, election.value, election.confidence, shares, election.by, election.modalities)
    if not vote.accepts(election) or vote.use == "none":
        return predicted, fused, rows
    values = _values(candidates)
    elected = {row for row in rows if vote.won(election, values[row].get(vote.field, ()))}
    if vote.use == "filter":
        return predicted, fused, [row for row in rows if row in elected]
    boost = np.zeros_like(fused.score)
    boost[sorted(elected)] = vote.boost * election.confidence
    score = fused.score + boost
    boosted = replace(fused, score=score, boost=boost)
    order = sorted(rows, key=lambda row: (int(candidates.round[row]), -score[row], candidates.ids[row]))
    return predicted, boosted, order


def _neighbours(
    candidates: Candidates, fused: Fused, column: int, leg: FusedLeg, vote: votes.Vote
) -> tuple[float, list[tuple[float, Sequence[Any]]]]:
    """A leg's weight and its best hits: normalised score and values of the field, best first.

    Of a leg that pushes away the best of what the others found, as its own list may be one product.
    """
    rank, raw = candidates.rank[:, column], candidates.raw[:, column]
    known = ~np.isnan(raw) & (candidates.status[:, column] != NO_MATCH)
    there = known if leg.pushes else (rank > 0) & (rank <= vote.neighbours)
    near = np.flatnonzero(there & (candidates.round == 0) & candidates.own)
    near = near[np.argsort(-raw[near] if leg.pushes else rank[near], kind="stable")][: vote.neighbours]
    scores = fused.normalised[near, column].tolist()
    values = [candidates.values.get(candidates.ids[row], {}).get(vote.field, ()) for row in near.tolist()]
    return leg.weight, list(zip(scores, values, strict=True))


def hit(
    session: Session,
    ranked: Ranked,
    row: int,
    product: Mapping[str, Any] | None,
    *,
    highlight: Mapping[str, Sequence[str]] | None = None,
    media: Mapping[str, MatchedMedia] | None = None,
) -> Hit:
    """One hit as it is answered. `media` names the best of several media, by leg."""
    candidates, fused = session.candidates, ranked.fused
    key = candidates.ids[row]
    relevant = None if ranked.relevance is None else round(float(ranked.relevance[row]), 4)
    variants = tuple(Variant(candidates.ids[other], float(fused.score[other])) for other in ranked.variants.get(row, ()))
    scores = leg_scores(candidates, fused, row, media or {})
    boost = boost_of(fused, row)
    return Hit(key, float(fused.score[row]), product, scores, relevant, variants, highlight or {}, boost)


def boost_of(fused: Fused, row: int) -> float:
    """What a vote added to one product's score."""
    return 0.0 if fused.boost is None else float(fused.boost[row])


def leg_scores(
    candidates: Candidates, fused: Fused, row: int, media: Mapping[str, MatchedMedia] = _NONE
) -> dict[str, LegScore]:
    """Each leg's part in one product's score. `media` names the best of several media, by leg."""
    columns = zip(
        candidates.legs,
        candidates.raw[row].tolist(),
        fused.normalised[row].tolist(),
        fused.weight[row].tolist(),
        candidates.status[row].tolist(),
        candidates.rank[row].tolist(),
        fused.scales.floor.tolist(),
        fused.scales.top.tolist(),
        strict=True,
    )
    return {
        leg: LegScore(
            raw=None if math.isnan(raw) else raw,
            normalised=normalised,
            weight=weight,
            contribution=weight * normalised,
            completed=status == COMPLETED,
            status=STATUSES[status],
            floor=floor,
            top=top,
            rank=rank or None,
            matched_media=media.get(leg),
        )
        for leg, raw, normalised, weight, status, rank, floor, top in columns
    }
