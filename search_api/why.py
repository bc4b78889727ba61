"""Answers to "why": how the legs were used, and why a product stands where it stands, or in no answer. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

import numpy as np

from search_api import ranking
from search_api.candidates import NO_MATCH, NO_MODALITY, Candidates, Floats
from search_api.fusion import FusedLeg
from search_api.ranking import Options, Ranked
from search_api.session import Session
from search_api.weights import scaled

_STEPS: Final = 200
"""Shares of a leg that are tried between 0 and 1."""

LIFTS_SECONDS: Final = 1.0
"""How long `lifts` may take for all legs together."""


def explanation(session: Session, ranked: Ranked, options: Options) -> dict[str, Any]:
    """How the legs were used, for people who ask why."""
    scales = ranked.fused.scales
    legs = {
        leg.name: {
            "weight": leg.weight,
            "floor": float(scales.floor[column]),
            "top": float(scales.top[column]),
            "measured": leg.level is not None and leg.level.measured,
            "reliability": None if leg.level is None else leg.level.reliability,
            "input": leg.source,
        }
        for column, leg in enumerate(session.legs)
    }
    return {
        "index": session.version,
        "fusion": options.method.fusion,
        "mean": options.method.mean,
        "missing": options.method.missing,
        "guard": options.method.guard,
        "window": session.options["window"],
        "completed": session.options["complete"],
        "exact": session.options["exact"],
        "candidates": int(session.candidates.own.sum()),
        "legs": legs,
        "failed": {one.name: one.message for one in session.degraded},
    }


def fell_short(
    session: Session, options: Options, product: str, *, passes: bool, size: int, deep: bool = False
) -> dict[str, Any]:
    """Why a product stands where it stands: its rank, its legs beside those of the last product shown, and what would lift it.

    `product` is among the session's candidates, whether a leg found it or not; where none did, its rank is the place that its
    score would have, and no share of a leg brings it in. `deep`: pages go on beyond the window.

    `reasons` lists what kept it out, in plain words with a stable name: filtered, outside_window, below_relevance, collapsed,
    other_value (a vote filtered it), outranked.
    `lifts` has per leg the share of the score nearest to today's (the other legs keep their proportions) at which the product
    would come among the first `size`, and None where no share does it. `lifts_unfinished` names those it had no time for.
    """
    ranked = ranking.rank(session, session.legs, options)
    row = session.candidates.ids.index(product)
    there = product not in session.candidates.extra
    place = ranked.rows.index(row) if row in ranked.rows else None
    reasons = _reasons(session, ranked, row, options, passes=passes, size=size, deep=deep)
    last = _last_shown(session, ranked, options, size)
    score = float(ranked.fused.score[row])
    shown = passes and there and place is not None and place < size
    found = {
        "query_id": session.id,
        "id": product,
        "shown": shown,
        "rank": None if place is None else place + 1,
        "score": score,
        "boost": ranking.boost_of(ranked.fused, row),
        "relevance": None if ranked.relevance is None else round(float(ranked.relevance[row]), 4),
        "reasons": reasons,
        "legs": _legs(session, ranked, row),
        "explain": explanation(session, ranked, options),
    }
    if last is not None and last != row:
        found["last_shown"] = {
            "id": session.candidates.ids[last],
            "score": float(ranked.fused.score[last]),
            "boost": ranking.boost_of(ranked.fused, last),
            "legs": _legs(session, ranked, last),
        }
        found["gap"] = float(ranked.fused.score[last]) - score
    liftable = passes and there and not shown
    found["lifts"], found["lifts_unfinished"] = lifts(session, options, row, size) if liftable else ({}, [])
    return found


def _last_shown(session: Session, ranked: Ranked, options: Options, size: int) -> int | None:
    """The row of the last product of the answer, which knows nothing of a product that no leg found."""
    candidates, rows = session.candidates, ranked.rows
    if candidates.extra:
        answer = replace(session, candidates=candidates.found())
        shown = ranking.rank(answer, session.legs, options).rows
        rows = [candidates.ids.index(answer.candidates.ids[row]) for row in shown[:size]]
    return rows[min(size, len(rows)) - 1] if rows else None


def _legs(session: Session, ranked: Ranked, row: int) -> dict[str, dict[str, Any]]:
    return {leg: asdict(score) for leg, score in ranking.leg_scores(session.candidates, ranked.fused, row).items()}


def _outside(session: Session, row: int, *, passes: bool, deep: bool) -> str:
    """Why no leg found a product, and what can be done."""
    certified = session.certified or {}
    window = certified.get("window", session.options["window"])
    none = f"No leg has it among its best {window}"
    if not passes:
        return f"{none}: legs look only among products that the filters let pass."
    status = session.candidates.status[row]
    seeking = [status[number] for number, leg in enumerate(session.legs) if not leg.pushes]
    if all(one in (NO_MATCH, NO_MODALITY) for one in seeking):
        return f"{none}: it has nothing that a leg looks for, in a window of any size."
    if deep:
        return f"{none}: the first pages do not hold it. Later pages of this deep answer look beyond."
    if certified.get("proved"):
        return f"{none}: it would not even be a candidate, and it is proved that none beyond comes among the first."
    return f"{none}: it would not even be a candidate. Raise window."


def _reasons(
    session: Session, ranked: Ranked, row: int, options: Options, *, passes: bool, size: int, deep: bool
) -> list[dict[str, Any]]:
    place = ranked.rows.index(row) if row in ranked.rows else None
    reasons: list[dict[str, Any]] = []
    if not passes:
        reasons.append({"reason": "filtered", "message": "The query's filters do not let it pass."})
    if session.candidates.ids[row] in session.candidates.extra:
        reasons.append({"reason": "outside_window", "message": _outside(session, row, passes=passes, deep=deep)})
    if row in ranked.cut:
        reasons.append({"reason": "below_relevance", "message": "Its relevance lies below min_relevance."})
    winner = next((w for w, others in ranked.variants.items() if row in others), None)
    if winner is not None:
        message = f"A better variant stands for it: {session.candidates.ids[winner]!r}."
        reasons.append({"reason": "collapsed", "message": message})
    elif place is None and row not in ranked.cut:
        reasons.append({"reason": "other_value", "message": "The vote keeps only another value of the field."})
    elif place is not None and place >= size:
        before = "products come before it in the order of sort" if options.sort else "products score higher"
        reasons.append({"reason": "outranked", "message": f"{place} {before}; the answer shows {size}."})
    return reasons


def lifts(
    session: Session, options: Options, row: int, size: int, *, seconds: float = LIFTS_SECONDS
) -> tuple[dict[str, Any], list[str]]:
    """Per leg the share of the score nearest to today's that brings a candidate among the first `size`.

    A leg that pushes away is tried from -1 to 0: what it finds was not looked for. A leg without a share is not asked: at 1 the
    leg itself must have found the product, at 0 another one. A query of one leg has no other share to give. The second part
    names the legs of which not all shares were tried in time; they are None in the first.
    """
    found: dict[str, Any] = {}
    unfinished: list[str] = []
    options = replace(options, facets=())  # they count, and do not rank
    parts = ranking.relevance_parts(session.candidates, session.legs, session.words)
    until = time.monotonic() + seconds
    for leg in session.legs if len(session.legs) > 1 else ():
        found[leg.name] = None
        least, most = -1 if leg.weight < 0 else 0, 0 if leg.pushes else 1
        shares = np.linspace(least, most, _STEPS * (most - least) + 1).tolist()
        for share in sorted(shares, key=partial(_distance, leg.weight)):
            if time.monotonic() > until:
                unfinished.append(leg.name)
                break
            legs = _with_share(session.legs, leg.name, share)
            if _possible(legs, options) and _comes_in(session, legs, options, row, size, parts):
                found[leg.name] = {"share": round(share, 4), "from": round(leg.weight, 4)}
                break
    return found, unfinished


def _comes_in(session: Session, legs: Sequence[FusedLeg], options: Options, row: int, size: int, parts: Floats) -> bool:
    """Whether a candidate is among the first `size` under these weights, weighed anew and searched anew."""
    comes = row in ranking.rank(session, legs, options, parts).rows[:size]
    live = [leg for leg in legs if leg.weight]
    if not comes or len(live) == len(legs):
        return comes
    asked = replace(session, candidates=_found_by(session.candidates, live))
    rows = ranking.rank(asked, live, options).rows[:size]
    return session.candidates.ids[row] in [asked.candidates.ids[place] for place in rows]


def _found_by(candidates: Candidates, legs: Sequence[FusedLeg]) -> Candidates:
    """The candidates where only these legs are asked."""
    names = [leg.name for leg in legs]
    left = candidates.without([name for name in candidates.legs if name not in names])
    sought = [number for number, leg in enumerate(legs) if not leg.pushes]
    unfound = np.flatnonzero(~(left.rank[:, sought] > 0).any(axis=1)).tolist()
    return replace(left, extra=left.extra | {left.ids[row] for row in unfound}).found()


def _distance(now: float, share: float) -> float:
    return abs(share - now)


def _possible(legs: Sequence[FusedLeg], options: Options) -> bool:
    """Whether a query may have these weights."""
    if options.method.mean != "arithmetic" and any(one.weight < 0 for one in legs):
        return False
    return any(one.weight > 0 for one in legs)


def _with_share(legs: Sequence[FusedLeg], name: str, share: float) -> list[FusedLeg]:
    rest = scaled({leg.name: leg.weight for leg in legs if leg.name != name})
    left = 1 - abs(share)
    return [replace(leg, weight=share if leg.name == name else left * rest[leg.name]) for leg in legs]
