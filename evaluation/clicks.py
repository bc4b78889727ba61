"""Judgements from what users do: clicks corrected for the place they were made at. Pure.

    entries (what answers showed, what users did) -> answers -> propensities (clicks_bias) -> relevance -> grades

What stands first is clicked because it stands first. Under the position-based model a product is clicked where it is both
examined, with a probability that only its position decides (the propensity p), and relevant. Two estimators of the relevance:

coec  what a product gained over the examinations it had, the sum of its propensities: clicks over expected clicks (Zhang and
      Jones 2007, "Comparing Click Logs and Editorial Labels for Training Query Rewriting", Query Log Analysis workshop of WWW)
ipw   the mean over all answers of what it gained, each gain times 1 / p: inverse propensity weighting (Joachims, Swaminathan
      and Schnabel 2017, doi:10.1145/3018661.3018699)

Both expect the relevance itself where the propensities are right. In ipw one click far behind counts as much as many in front,
so it varies more: `coec` is the default. No propensity counts as less than 1 / `weight`, and products that were hardly examined
are not judged: there the correction adds more noise than it takes bias away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from evaluation.clicks_bias import Propensities, Seen
from evaluation.judging import fit, id_of
from evaluation.metrics import Judgements
from triptych.elastic.events import SHOWN

GAINS: Final[Mapping[str, float]] = {"purchase": 3.0, "cart": 2.0, "click": 1.0, "dismiss": -1.0}
"""What the strongest thing that a user did with a product of an answer counts; see `_gain`."""

_BEST: Final = 3
"""The highest grade: of products with at least half of the relevance of the query's best; 2: a quarter, 1: an eighth."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer to `words` showed: of each product its position, from 1, and what came of it (0: nothing).

    `session` is None where nobody did anything with it.
    """

    words: str
    shown: Mapping[str, int]
    gains: Mapping[str, float]
    session: str | None = None


Estimator = Literal["coec", "ipw"]
"""How relevance is told from gains and propensities; see above."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is believed: words that `sessions` different sessions acted on, products that were examined some `examined` times.

    No click weighs more than `weight`. 20: with fewer, corrected clicks of a simulated user ordered products no better than
    clicks as they are (tests/unit/test_evaluation_clicks.py has the user).
    """

    sessions: int = 10
    examined: float = 20.0
    weight: float = 10.0
    estimator: Estimator = "coec"


@dataclass(frozen=True, slots=True)
class FromClicks:
    """Judgements made of answers, their queries as JSON lines, and what was left out and why."""

    judgements: Judgements
    queries: tuple[Mapping[str, str], ...]
    relevance: Mapping[str, Mapping[str, float]]
    few_sessions: int = 0
    no_good: int = 0
    unfit_ids: int = 0


@dataclass(slots=True)
class _Open:
    """An answer while its entries are read, in whatever order."""

    words: str = ""
    at: str = ""
    shown: dict[str, int] = field(default_factory=dict)
    done: dict[str, set[str]] = field(default_factory=dict)
    session: str | None = None


def answers(entries: Iterable[Mapping[str, Any]]) -> list[Answer]:
    """The answers whose words are kept.

    Of a session's several answers to the same words only the last counts, so that nobody makes a product good by clicking all
    day; what is done with a product that the answer did not show does not count. Where an answer has views, what stands behind
    the last product that came into sight, or was acted on, counts as not shown.
    """
    found: dict[str, _Open] = {}
    for entry in entries:
        if entry.get("query_id") is None:
            continue
        one = found.setdefault(entry["query_id"], _Open())
        if entry["kind"] == SHOWN:
            first = entry.get("offset", 0) + 1
            for position, product in enumerate(entry["products"], start=first):
                one.shown[product] = min(position, one.shown.get(product, position))
            one.words = one.words or " ".join(str(entry.get("words") or "").casefold().split())
            one.at = max(one.at, entry["at"])
        else:
            one.done.setdefault(entry["product"], set()).add(entry["kind"])
            one.session = entry["session"]
    last: dict[tuple[str, str], _Open] = {}
    for key, one in found.items():
        if one.words and one.shown:
            mine = (one.words, one.session or f"no session: {key}")
            if mine not in last or last[mine].at < one.at:
                last[mine] = one
    return [_closed(one) for one in last.values()]


def _closed(one: _Open) -> Answer:
    done = {product: kinds for product, kinds in one.done.items() if product in one.shown}
    seen = one.shown
    if any("view" in kinds for kinds in done.values()):
        end = max(one.shown[product] for product in done)
        seen = {product: position for product, position in one.shown.items() if position <= end}
    gains = {product: gain for product, kinds in done.items() if (gain := _gain(kinds))}
    return Answer(one.words, seen, gains, one.session)


def _gain(kinds: set[str]) -> float:
    """The strongest counts; a product that was looked at and then dismissed is not wanted."""
    strong = max((GAINS[kind] for kind in kinds if kind in GAINS), default=0.0)
    return GAINS["dismiss"] if "dismiss" in kinds and strong <= GAINS["click"] else strong


def seen(given: Iterable[Answer]) -> list[Seen]:
    """Each product of each answer, and whether it was clicked, or more."""
    return [
        Seen(one.words, product, position, one.gains.get(product, 0.0) > 0)
        for one in given
        for product, position in one.shown.items()
    ]


def judge(given: Sequence[Answer], propensities: Propensities, limits: Limits | None = None) -> FromClicks:
    """Judgements of all words that enough sessions acted on."""
    limits = limits or Limits()
    by_words: dict[str, list[Answer]] = {}
    for one in given:
        by_words.setdefault(one.words, []).append(one)
    judgements: dict[str, dict[str, int]] = {}
    queries: list[Mapping[str, str]] = []
    relevant: dict[str, Mapping[str, float]] = {}
    few = no_good = unfit = 0
    for words, mine in sorted(by_words.items()):
        if len({one.session for one in mine if one.session is not None}) < limits.sessions:
            few += 1
            continue
        values = relevance(mine, propensities, limits)
        plain = {product: value for product, value in values.items() if fit(product)}
        unfit += len(values) - len(plain)
        grades = graded(plain)
        if not any(grades.values()):
            no_good += 1
            continue
        name = id_of(words)
        judgements[name], relevant[name] = grades, plain
        queries.append({"qid": name, "text": words})
    return FromClicks(judgements, tuple(queries), relevant, few, no_good, unfit)


def relevance(mine: Sequence[Answer], propensities: Propensities, limits: Limits) -> dict[str, float]:
    """The relevance of each product that answers to the same words let be examined often enough, by `limits.estimator`."""
    gained: dict[str, float] = {}
    shown: dict[str, int] = {}
    examined: dict[str, float] = {}
    inverse = limits.estimator == "ipw"
    for one in mine:
        for product, position in one.shown.items():
            p = max(propensities.at(position), 1 / limits.weight)
            gained[product] = gained.get(product, 0.0) + one.gains.get(product, 0.0) / (p if inverse else 1)
            shown[product] = shown.get(product, 0) + 1
            examined[product] = examined.get(product, 0.0) + p
    whole: Mapping[str, float] = shown if inverse else examined
    return {product: gained[product] / whole[product] for product, times in examined.items() if times >= limits.examined}


def graded(values: Mapping[str, float]) -> dict[str, int]:
    """Grades 0 to 3 by halving from the best of the query: how often people act at all differs from query to query."""
    best = max(values.values(), default=0.0)
    if best <= 0:
        return dict.fromkeys(values, 0)
    return {
        product: next((_BEST - n for n in range(_BEST) if value >= best / 2 ** (n + 1)), 0) for product, value in values.items()
    }
