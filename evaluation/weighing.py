"""Tuned weights as a weight set of the index: every leg named, and classes of query as sets of their own. Pure.

A weight set gives legs their shares, and what is left goes to the legs it does not name. So a set names all legs that words,
a picture and a sound make: those tuned, and those that no judged query had with their default proportions, each input like the
others. All shares together stay below 1, so that what else is given (products, vectors) is not silenced, and no input's shares
are all 0, or a search by that input alone would have nothing to rank by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from evaluation.tuning import Outcome
from search_api.legs import Planned, wanted
from search_api.query import QueryClass, SearchRequest
from search_api.weights import default_weights, of_set
from triptych.errors import QueryError
from triptych.schema import IndexSchema

CLASSES: Final = tuple(name for name in get_args(QueryClass) if name != "auto")

_ANY = (SearchRequest(text="x"), SearchRequest(image=b"x"), SearchRequest(audio=b"x"))
_SHARE, _WHOLE = 0.5, 0.8
"""What an input has of the score in the mean, and all of them together at most."""

_LEAST = 0.01
"""What an input has at least: next to nothing beside others, and enough to be searched by alone."""

_DIGITS = 4


def every_leg(schema: IndexSchema) -> list[Planned]:
    """The legs that words, a picture and a sound make in an index."""
    legs: list[Planned] = []
    for request in _ANY:
        try:
            legs += wanted(request, schema)
        except QueryError:  # the index has nothing that such an input could search
            continue
    return list({leg.name: leg for leg in legs}.values())


def defaults(schema: IndexSchema) -> dict[str, float]:
    """The default weights as a set would name them: by measured reliability, inputs alike."""
    return completed({}, schema)


def completed(weights: Mapping[str, float], schema: IndexSchema) -> dict[str, float]:
    """Weights by leg as shares of a set: all legs named. An input that has weights keeps their sum, divided among all its legs;
    the other inputs have the mean of these sums. An input whose legs weigh next to nothing gets _LEAST, by known proportions.
    """
    plan = every_leg(schema)
    known = default_weights(plan, schema.levels)
    mine = {source: [leg.name for leg in plan if leg.source == source] for source in _sources(plan)}
    given = {
        source: _divided(weights, names, known) for source, names in mine.items() if any(name in weights for name in names)
    }
    sums = [sum(shares.values()) for shares in given.values()]
    usual = sum(sums) / len(sums) if any(sums) else 1.0
    found = {source: given.get(source) or _known(names, known, usual) for source, names in mine.items()}
    scale = min(_SHARE * len(found), _WHOLE) / (sum(sum(shares.values()) for shares in found.values()) or 1.0)
    shares: dict[str, float] = {}
    for source, names in mine.items():
        scaled = {name: value * scale for name, value in found[source].items()}
        shares |= scaled if sum(scaled.values()) >= _LEAST else _known(names, known, _LEAST)
    return {name: round(value, _DIGITS) for name, value in shares.items()}


def _divided(weights: Mapping[str, float], names: Sequence[str], known: Mapping[str, float]) -> dict[str, float]:
    """The weights of an input's legs, with the part of those that have none taken from the others by the known proportions."""
    total, base = sum(known[name] for name in names), sum(known[name] for name in names if name in weights)
    whole = sum(weights.get(name, 0.0) for name in names)
    part = base / total if base else 1.0
    return {name: weights[name] * part if name in weights else whole * known[name] / total if base else 0.0 for name in names}


def _known(names: Sequence[str], known: Mapping[str, float], whole: float) -> dict[str, float]:
    """An input's sum by the known proportions of its legs; even where nothing is known."""
    total = sum(known[name] for name in names)
    return {name: whole * (known[name] / total if total else 1 / len(names)) for name in names}


def _sources(plan: list[Planned]) -> list[str]:
    return list(dict.fromkeys(leg.source for leg in plan))


def sets_of(outcome: Outcome, name: str, schema: IndexSchema) -> dict[str, dict[str, float]]:
    """The weight sets to write: `name`, if tuning is to be believed, and `name.class` for each class that has its own.

    A class that `name` would make worse, or that nobody judged, gets what is in force as a set of its own: without shares where
    that is the default weights. A search by `name` takes its class's set, else `name`, else the default weights
    (`search_api.weights.of_set`).
    """
    sets: dict[str, dict[str, float]] = {}
    if outcome.whole.accepted:
        sets[name] = completed(outcome.whole.weights, schema)
        sets |= {f"{name}.{key}": dict(of_set(schema.weight_sets, name, key) or {}) for key in kept(outcome)}
    own = {key: one for key, one in outcome.classes.items() if one.accepted}
    return sets | {f"{name}.{key}": completed(one.weights, schema) for key, one in own.items()}


def kept(outcome: Outcome) -> list[str]:
    """The classes that keep the weights in force beside new weights for all queries."""
    if not outcome.whole.accepted:
        return []
    able = [key for key in CLASSES if key not in outcome.effects or outcome.effects[key].worse]
    return [key for key in able if key not in outcome.classes or not outcome.classes[key].accepted]


def merged(
    old: Mapping[str, Mapping[str, float]], new: Mapping[str, Mapping[str, float]], name: str
) -> dict[str, Mapping[str, float]]:
    """The sets of an index with those that are written now. A new `name` takes the place of the old one and of its classes';
    new sets of classes leave what else there is.
    """
    stale = {key for key in old if key.startswith(f"{name}.")} if name in new else set()
    return {**{key: shares for key, shares in old.items() if key not in stale}, **new}
