"""What each leg weighs. Pure.

The share of the score is given to the query's inputs first (words, picture, sound; equal parts, or by the inputs' own weights),
then within an input to its legs by their measured reliability: two legs of words that agree must not outvote the one leg of the
picture, and a leg that knows nothing of this catalogue weighs next to nothing. The sum of all |weight| is 1; the legs of an
input with a weight below zero weigh below zero.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from search_api.legs import Planned
from search_api.query import QueryClass
from triptych.elastic.lexical import words_in
from triptych.errors import QueryError
from triptych.schema import LEXICAL, Level

SHARPNESS = 2
"""How much less a leg weighs that finds less: the square, as independent noisy measurements are weighted by the square of their
signal to noise. On the demo shop words against pictures (ConSE) find a quarter of the products first and get .03 of the words'
share; there every weight up to .06 keeps Chinese words at hit@5 1.00 (docs/adr/0003)."""

LEXICAL_SHARES: Final[Mapping[QueryClass, float]] = {"sku": 0.9, "short": 0.8, "sentence": 0.3}
"""BM25's share of the words, by class of query: starting guesses (../fusion in docs/architecture.md)."""

_SHORT, _SENTENCE = 2, 6


def class_of(text: str) -> QueryClass:
    """The class of a query's words: `sku` (one word with a digit in it), `short` (one or two words), `sentence` (six and more).

    Anything else is `none`: the measured reliabilities alone decide.
    """
    words = words_in(text)
    if words <= 1 + text.count("-") and re.search(r"\d", text) and " " not in text.strip():
        return "sku"
    if words <= _SHORT:
        return "short"
    return "sentence" if words >= _SENTENCE else "none"


def default_weights(
    plan: Sequence[Planned], levels: Mapping[str, Level], *, query_class: QueryClass = "none"
) -> dict[str, float]:
    """Weights nobody gave, by leg; the sum of their absolute values is 1."""
    given = {p.source: p.weight for p in plan}
    whole = sum(abs(weight) for weight in given.values())
    weights: dict[str, float] = {}
    for source, weight in given.items():
        mine = _trusts([p for p in plan if p.source == source], levels)
        if query_class in LEXICAL_SHARES:
            mine = _by_class(mine, [p for p in plan if p.source == source], LEXICAL_SHARES[query_class])
        total = sum(mine.values())
        share = weight / whole if whole else 1 / len(given)
        for name, value in mine.items():
            weights[name] = share * (value / total if total else 1 / len(mine))
    return weights


def _trusts(plan: Sequence[Planned], levels: Mapping[str, Level]) -> dict[str, float]:
    """The trust of an input's legs. Where some were measured, one that was not (too few products have its vector) gets 0."""
    any_measured = any(p.base in levels for p in plan)
    return {p.name: trust(levels.get(p.base)) if p.base in levels or not any_measured else 0.0 for p in plan}


def _by_class(trusts: Mapping[str, float], plan: Sequence[Planned], lexical: float) -> dict[str, float]:
    """BM25 gets its class's share if it is to be trusted at all, the other legs divide the rest by their trust."""
    words = [p.name for p in plan if p.base == LEXICAL]
    others = sum(value for name, value in trusts.items() if name not in words)
    if len(words) != 1 or not others or not trusts[words[0]]:
        return dict(trusts)
    return {name: lexical if name in words else (1 - lexical) * value / others for name, value in trusts.items()}


def trust(level: Level | None) -> float:
    """A leg's reliability beyond chance, 0 to 1, to the power SHARPNESS; 1 where it was not measured."""
    if level is None or level.reliability is None:
        return 1.0
    if level.sample <= 1:
        return 1.0
    chance = 1 / level.sample
    return float(max(0.0, (level.reliability - chance) / (1 - chance)) ** SHARPNESS)


def share(given: Mapping[str, float], defaults: Mapping[str, float], known: Sequence[str]) -> dict[str, float]:
    """The weights of a query's legs: what the user gave is a leg's share of the score, the others divide what is left.

    {"image.image": 0.5} means: half of the score is the picture's; below zero a leg pushes away what it matches. Given weights
    whose absolute values add up to 1 or more leave nothing to the legs not named, and are scaled to add up to 1. A weight for a
    leg of the index that this query does not have is ignored. Raises QueryError for a leg the index has not (`known`), or no
    weight above zero.
    """
    for name, value in given.items():
        if name not in known and name not in defaults:
            able = list(dict.fromkeys([*defaults, *known]))
            close = difflib.get_close_matches(name, able, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Legs of this index: {', '.join(able)}."
            raise QueryError(f"There is no leg {name!r}.", code="query.unknown_leg", field=f"weights.{name}", remedy=hint)
        if not abs(value) < float("inf"):
            raise QueryError(
                f"The weight of {name!r} is {value}.",
                code="query.bad_weight",
                field=f"weights.{name}",
                remedy="Give a number.",
            )
    largest = max([1.0, *(abs(given[name]) for name in defaults if name in given)])  # first: their sum must not overflow
    used = {name: float(given[name]) / largest for name in defaults if name in given}
    left = max(0.0, 1.0 - sum(abs(value) for value in used.values()))
    rest = {name: weight for name, weight in defaults.items() if name not in used}
    spread = sum(abs(weight) for weight in rest.values())
    weights = {name: used[name] if name in used else left * (rest[name] / spread if spread else 0.0) for name in defaults}
    if not any(weight > 0 for weight in weights.values()):
        raise QueryError(
            "No leg of this query weighs more than 0.",
            code="query.bad_weight",
            field="weights",
            remedy="Give one a weight above 0.",
        )
    return scaled(weights)


def scaled(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights whose absolute values add up to 1, in the same proportions."""
    total = sum(abs(weight) for weight in weights.values())
    return {name: weight / total if total else 1 / len(weights) for name, weight in weights.items()}


def without(weights: Mapping[str, float], dropped: Sequence[str]) -> dict[str, float]:
    """The weights when legs fell out: the others keep their proportions and add up to 1 again."""
    return scaled({name: weight for name, weight in weights.items() if name not in dropped})
