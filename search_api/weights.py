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

from search_api.fusion import FusedLeg, reweighed
from search_api.legs import OF_PRODUCTS, Planned
from search_api.query import QueryClass, SearchRequest
from search_api.wellformed import finite
from triptych.elastic.lexical import LONGEST, words_in
from triptych.errors import QueryError
from triptych.schema import LEXICAL, IndexSchema, Level

SHARPNESS = 2
"""How much less a leg weighs that finds less: the square, as independent noisy measurements are weighted by the square of their
signal to noise. On the demo shop words against pictures (ConSE) find a quarter of the products first and get .03 of the words'
share; there every weight up to .06 keeps Chinese words at hit@5 1.00 (docs/adr/0003)."""

LEXICAL_SHARES: Final[Mapping[QueryClass, float]] = {"sku": 0.9, "short": 0.8, "sentence": 0.3}
"""BM25's share of the words, by class of query: starting guesses (../fusion in docs/architecture.md)."""

_BESIDE_MEDIA: Final = frozenset({"short"})
"""The classes whose share holds beside a picture or a sound only. That says what kind of thing is meant, as the vector of the
words does, and one or two words add what must be in the text: "red". Where such words stand alone they name the kind, which
vectors know as well as BM25 does, and the measured reliabilities decide (docs/adr/0003)."""

_MEDIA: Final = frozenset({"image", "audio"})

_SHORT, _SENTENCE = 2, 6


_MODEL: Final = re.compile(r"(?<!\S)(?!\d[\dx.,]*[^\W\d_]{0,3}(?!\S))(?=\S*\d)(?=\S*[^\W\d_])[\w./-]{3,}(?!\S)")
"""A word of letters and digits that is no number with its unit: dv7-1211ea, ps4; not 16gb, 350MHz, 10x20cm."""


def class_of(text: str) -> QueryClass:
    """The class of a query's words: `sku` (one word with a digit in it, or up to five of which one is a model's number),
    `short` (one or two words), `sentence` (six and more).

    Anything else is `none`: the measured reliabilities alone decide.
    """
    words = words_in(text)
    if words <= 1 + text.count("-") and re.search(r"\d", text) and " " not in text.strip():
        return "sku"
    if words < _SENTENCE and _MODEL.search(text[:LONGEST]):
        return "sku"
    if words <= _SHORT:
        return "short"
    return "sentence" if words >= _SENTENCE else "none"


def default_weights(
    plan: Sequence[Planned], levels: Mapping[str, Level], *, query_class: QueryClass | Mapping[str, QueryClass] = "none"
) -> dict[str, float]:
    """Weights nobody gave, by leg; the sum of their absolute values is 1. Each text may have a class of its own, by source."""
    given = {p.source: p.weight for p in plan}
    whole = sum(abs(weight) for weight in given.values())
    beside = any(p.source.partition("#")[0] in _MEDIA and p.weight > 0 for p in plan)
    weights: dict[str, float] = {}
    for source, weight in given.items():
        mine = _trusts([p for p in plan if p.source == source], levels)
        kind = query_class if isinstance(query_class, str) else query_class.get(source, "none")
        if kind in LEXICAL_SHARES and (beside or kind not in _BESIDE_MEDIA):
            mine = _by_class(mine, [p for p in plan if p.source == source], LEXICAL_SHARES[kind])
        total = sum(mine.values())
        share = weight / whole if whole else 1 / len(given)
        for name, value in mine.items():
            weights[name] = share * (value / total if total else 1 / len(mine))
    return weights


def _trusts(plan: Sequence[Planned], levels: Mapping[str, Level]) -> dict[str, float]:
    """The trust of an input's legs. Where some were measured, one without a level (too few products have its vector) gets 0."""
    any_measured = any(p.base in levels and levels[p.base].measured for p in plan)
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


def of_query(request: SearchRequest, plan: Sequence[Planned], schema: IndexSchema) -> dict[str, float]:
    """The weights of a query's legs: those it gives, over those of its weight set, over the default ones. Raises QueryError."""
    given = dict(request.weights)
    if request.weight_set is not None:
        kept = of_set(schema.weight_sets, request.weight_set, _class_of_all(request))
        if kept is None:
            able = ", ".join(schema.weight_sets) or "none; make one with `triptych weights set`"
            raise QueryError(
                f"The index {request.index!r} has no weight set {request.weight_set!r}.",
                code="query.unknown_weight_set",
                field="weight_set",
                remedy=f"Weight sets: {able}.",
            )
        given = {**kept, **given}
    defaults = default_weights(plan, schema.levels, query_class=_classes(request, plan))
    if not given:
        return share({}, defaults, ())
    of_products = [f"{kind}.{space.name}" for kind in sorted(OF_PRODUCTS) for space in schema.spaces if space.searched]
    return share(given, defaults, (*schema.legs, *of_products))  # a visitor may have no history, a product no picture


def _classes(request: SearchRequest, plan: Sequence[Planned]) -> QueryClass | Mapping[str, QueryClass]:
    """The class that the request gives, or that of each text, by source."""
    if request.query_class != "auto":
        return request.query_class
    texts = {p.source: p.inputs[0].text for p in plan if p.source.partition("#")[0] == "text"}
    return {source: class_of(text) for source, text in texts.items()}


def _class_of_all(request: SearchRequest) -> QueryClass:
    """The class that a set of weights is chosen by: that of the longest text that is wanted, where the request gives none."""
    if request.query_class != "auto":
        return request.query_class
    wanted = [one.text for one in request.all_inputs() if one.kind == "text" and one.weight > 0]
    return class_of(max(wanted, key=len)) if wanted else "none"


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
        if not finite(value):
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


def again(legs: Sequence[FusedLeg], given: Mapping[str, float]) -> tuple[FusedLeg, ...]:
    """The legs of an answer under other weights, as of `share`. Raises QueryError for a leg the query has not, and for one that
    was asked to push away and is to seek.
    """
    names = [leg.name for leg in legs]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise QueryError(
            f"The query has no leg {unknown[0]!r}.",
            code="query.unknown_leg",
            field=f"weights.{unknown[0]}",
            remedy=f"Legs: {', '.join(names)}.",
        )
    never = next((leg.name for leg in legs if leg.pushes and given.get(leg.name, 0) > 0), None)
    if never is not None:
        raise QueryError(
            f"The leg {never!r} was asked to push away: what it finds was not looked for.",
            code="query.not_sought",
            field=f"weights.{never}",
            remedy="Search again with this weight.",
        )
    return tuple(reweighed(legs, share(given, {leg.name: leg.weight for leg in legs}, names)))


def of_set(sets: Mapping[str, Mapping[str, float]], name: str, query_class: str) -> Mapping[str, float] | None:
    """The shares of a weight set for a class of query: those of `name.class` where there is such a set, else those of `name`.

    Where only other classes have a set of their own the query has the default weights. None: there is no such set.
    """
    for one in (f"{name}.{query_class}", name):
        if one in sets:
            return sets[one]
    return {} if any(one.startswith(f"{name}.") for one in sets) else None


def scaled(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights whose absolute values add up to 1, in the same proportions."""
    total = sum(abs(weight) for weight in weights.values())
    return {name: weight / total if total else 1 / len(weights) for name, weight in weights.items()}


def without(weights: Mapping[str, float], dropped: Sequence[str]) -> dict[str, float]:
    """The weights when legs fell out: the others keep their proportions and add up to 1 again."""
    return scaled({name: weight for name, weight in weights.items() if name not in dropped})
