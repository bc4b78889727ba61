"""Wider windows: for pages beyond the first window, and for an answer that is proved to be the best there is.

Both ask all legs again for twice as many hits, in one point in time, and complete what is new. Deep pages rank what a wider
window adds behind what was shown already, so that nothing repeats. A certified answer ranks all together and widens until no
product unseen can enter it: Fagin's threshold algorithm (Fagin, Lotem, Naor 2003, doi:10.1016/S0022-0000(03)00026-6), with
the last score of each leg's list as the most that an unseen product can have there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from search_api import ranking
from search_api.asking import Elastic, Run
from search_api.candidates import NOT_RETRIEVED, Candidates
from search_api.fusion import FusedLeg, Method, fuse, group_of
from search_api.legs import Leg
from search_api.normalise import calibrated_scale
from search_api.session import Session
from search_api.words import TextOptions
from triptych.schema import LEAST_REACHED, LEXICAL, IndexSchema

WIDEST: Final = 10_000
"""Elasticsearch's own limit of a search's hits and of a kNN search's candidates."""


def bound(candidates: Candidates, legs: Sequence[FusedLeg], method: Method) -> float:
    """The most that a product which no leg returned can score; minus infinity where every leg returned all it has.

    In a leg whose list goes on it can have the list's last score; in one whose list ended it has nothing: for words a true 0,
    for vectors no such modality. A leg that pushes away can do no better than not apply. Where weights are given on to an
    input's other legs, an input's mean is at most the best of its legs.
    """
    if np.isnan(candidates.lasts).all():
        return -np.inf
    most: dict[str, list[tuple[float, float]]] = {}
    for column, leg in enumerate(legs):
        own, words = float(candidates.tops[column]), leg.base == LEXICAL
        floor, top = calibrated_scale(leg.level, own, lexical=words, guard=method.guard)
        last = float(candidates.lasts[column])
        reached = last if leg.weight > 0 else 0.0  # 0: the least score there is
        best = 0.0 if np.isnan(reached) else (reached - floor) / (top - floor)
        most.setdefault(group_of(leg), []).append((leg.weight, best))
    whole = 0.0
    for parts in most.values():
        if method.missing == "renormalise":
            share = sum(weight for weight, _ in parts)
            whole += max(0.0, *(share * best for _, best in parts))
        else:
            whole += sum(max(0.0, weight * best) for weight, best in parts)
    return whole


def certified(
    elastic: Elastic, run: Run, candidates: Candidates, legs: Sequence[FusedLeg], method: Method
) -> tuple[Candidates, dict[str, Any]]:
    """Widen until the best `size` products are proved; the candidates, and what it took.

    The proof holds as far as the legs' lists do: a kNN search of a graph (hnsw) may itself have missed a product. `reached`
    says how often that was so when the legs were measured; below LEAST_REACHED nothing is proved.
    """
    size, window, rounds = run.request.size, run.request.window, 1
    reached = min((leg.level.reached for leg in legs if leg.level and leg.level.reached is not None), default=None)
    while True:
        fused = fuse(candidates, legs, method)
        scores = np.sort(fused.score[candidates.own])[::-1]
        least = float(scores[size - 1]) if len(scores) >= size else -np.inf
        if not _whole(candidates):  # the completion failed: what is shown has not its true score
            return candidates, {"proved": False, "size": size, "window": window, "rounds": rounds}
        most = bound(candidates, legs, method)
        enough = most < least or most == -np.inf
        if enough or window >= WIDEST:
            return candidates, {
                "proved": enough and (reached is None or reached >= LEAST_REACHED),
                "size": size,
                "window": window,
                "rounds": rounds,
                "reached": reached,
                "bound": None if most == -np.inf else round(most, 6),
                "last_score": None if least == -np.inf else round(least, 6),
            }
        window, rounds = min(window * 2, WIDEST), rounds + 1
        candidates = elastic.widened(run, candidates, window=window, behind=False)
        if len(candidates.legs) != len(legs):
            return candidates, {"proved": False, "size": size, "window": window, "rounds": rounds}


def kept(run: Run, window: int) -> dict[str, Any]:
    """What was asked of Elasticsearch, as JSON, for later pages."""
    return {
        "window": window,
        "pit": run.pit,
        "filters": run.filters,
        "legs": [
            {
                "name": leg.name,
                "space": leg.space.name if leg.space else None,
                "vector": None if leg.vector is None else base64.b64encode(leg.vector.astype("<f4").tobytes()).decode("ascii"),
                "text": leg.text,
                "fields": list(leg.fields),
                "options": asdict(leg.options),
                "seeks": leg.seeks,
            }
            for leg in run.legs
        ],
    }


def legs_of(asked: Mapping[str, Any], schema: IndexSchema) -> list[Leg]:
    """The legs that `kept` wrote down."""
    return [
        Leg(
            one["name"],
            schema.space_of(one["space"]) if one["space"] else None,
            None if one["vector"] is None else np.frombuffer(base64.b64decode(one["vector"]), dtype="<f4").astype(np.float32),
            one["text"],
            tuple(one["fields"]),
            TextOptions(**{**one["options"], "fields": tuple(one["options"]["fields"])}),
            one["seeks"],
        )
        for one in asked["legs"]
    ]


def deepened(elastic: Elastic, run: Run, candidates: Candidates, window: int) -> tuple[Candidates, int]:
    """The candidates with those of a window twice as wide behind them; the window now, the same as before at the end.

    Where a leg or the completion fails the pages end: without the one all scores would move, and what the other left open a
    later completion would fill, which moves what was shown.
    """
    completes = run.request.complete
    if window >= WIDEST or np.isnan(candidates.lasts).all() or (completes and not _whole(candidates)):
        return candidates, window
    wider = min(window * 2, WIDEST)
    found = elastic.widened(run, candidates, window=wider, behind=True)
    if found.legs != candidates.legs or (completes and not _whole(found)):
        return candidates, window
    return found, wider


def deep_enough(elastic: Elastic, run: Run, session: Session, options: ranking.Options, count: int) -> Session:
    """The session with more than `count` products to show, or all there are: widened as often as that takes."""
    asked = dict(session.asked or {})
    while len(ranking.rank(session, session.legs, options).rows) <= count and goes_on(session):
        candidates, window = deepened(elastic, run, session.candidates, asked["window"])
        asked |= {"window": window, "ended": window == asked["window"]}
        session = replace(session, candidates=candidates, asked=dict(asked))
    return replace(session, degraded=tuple(dict.fromkeys([*session.degraded, *run.degraded])))


def _whole(candidates: Candidates) -> bool:
    """Whether every score is known."""
    return not (candidates.status == NOT_RETRIEVED).any()


def goes_on(session: Session) -> bool:
    """Whether pages go beyond the window, and a wider one may find more."""
    asked, candidates = session.asked, session.candidates
    if (
        asked is None
        or asked["pit"] is None
        or asked.get("ended")
        or asked["window"] >= WIDEST
        or np.isnan(candidates.lasts).all()
    ):
        return False
    return _whole(candidates) or not session.options.get("complete", True)


def cost(session: Session) -> dict[str, Any] | None:
    """What paging beyond the window costs: the window by now, the products read, and whether more may follow."""
    if not session.asked or session.asked["pit"] is None:
        return None
    window = int(session.asked["window"])
    rounds = int(session.candidates.round.max(initial=0)) + 1
    return {
        "window": window,
        "rounds": rounds,
        "searches": 2 * rounds,
        "products": len(session.candidates),
        "more": goes_on(session),
    }
