"""Votes: what the neighbours of all legs, or trained classifiers, say the query is. Pure.

Each leg's best products vote on the value of a field, such as the category: decisions are fused, not scores. A neighbour's vote
weighs as much as it stands out, in the manner of Dudani's rule (S. A. Dudani, "The Distance-Weighted k-Nearest-Neighbor Rule",
IEEE Transactions on Systems, Man, and Cybernetics SMC-6(4), 1976, https://doi.org/10.1109/TSMC.1976.5408784), with the
normalised score in place of his distance.

Where the profile names classifiers of the field (`classify`), they decide from the query alone, and no neighbour is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from search_api.classify import Classified
from search_api.filters import VALUES, Use, kind_of, number_of, shown
from triptych.elastic.lifecycle import IndexInfo
from triptych.encoders.trained_classifier import parts_of
from triptych.errors import QueryError

MOST_NEIGHBOURS: Final = 1000
USES: Final = ("none", "boost", "filter")
VOTERS: Final = ("neighbours", "classifiers")

VoteUse = Literal["none", "boost", "filter"]
"""What becomes of an election: nothing but its result, products of the winner are raised, or all others are left out."""

By = Literal["neighbours", "classifiers"]
"""Who says it."""

USE = Use(VALUES, "voted on", "query.bad_vote")

Neighbour = tuple[float, Sequence[Any]]
"""A product's normalised score in a leg, and its values of the field."""


@dataclass(frozen=True, slots=True)
class Election:
    """How the neighbours voted.

    `shares` are all values with their share of the votes, greatest first; `value` is the winner, None where nobody has a share;
    `confidence` is its share. By classifiers the shares are probabilities, and `modalities` what each said alone.
    """

    shares: tuple[tuple[Any, float], ...] = ()
    value: Any = None
    confidence: float = 0.0
    by: By = "neighbours"
    modalities: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """Which field is voted on by how many neighbours of each leg, and what becomes of it, if it is sure enough.

    `by` None: by classifiers where the profile names some that know the query's inputs, else by the neighbours.
    """

    field: str
    neighbours: int = 20
    use: VoteUse = "none"
    boost: float = 0.2
    min_confidence: float = 0.5
    by: By | None = None

    def accepts(self, election: Election) -> bool:
        """Whether the winner is sure enough to be used."""
        return bool(election.shares) and election.value is not None and election.confidence >= self.min_confidence

    def won(self, election: Election, values: Sequence[Any]) -> bool:
        """Whether a product of these values of the field has the winner. Classifiers name a category by its whole path."""
        if election.by == "neighbours":
            return election.value in values
        have = {str(value).casefold() for value in values}
        return all(part.casefold() in have for part in parts_of(self.field, election.value))


def read_vote(vote: Mapping[str, Any], info: IndexInfo) -> Vote:
    """The vote of a request. Raises QueryError that names the field."""
    known = Vote.__dataclass_fields__
    for name in vote:
        if name not in known:
            raise _bad(f"A vote has no {shown(name)}.", f"vote.{name}", f"It has {', '.join(known)}.")
    field, default = vote.get("field"), Vote("")
    if not isinstance(field, str):
        raise _bad("A vote needs a field.", "vote.field", "Name the field that is voted on, such as category.")
    kind_of(field, info, USE, where="vote.field")
    neighbours, use = vote.get("neighbours", default.neighbours), vote.get("use", default.use)
    if isinstance(neighbours, bool) or not isinstance(neighbours, int) or not 1 <= neighbours <= MOST_NEIGHBOURS:
        raise _bad(f"neighbours is {shown(neighbours)}.", "vote.neighbours", f"Give 1 to {MOST_NEIGHBOURS}.")
    if use not in USES:
        raise _bad(f"use is {shown(use)}.", "vote.use", f"Give one of {', '.join(USES)}.")
    by = vote.get("by")
    if by is not None and by not in VOTERS:
        raise _bad(f"by is {shown(by)}.", "vote.by", f"Give one of {', '.join(VOTERS)}, or leave it out.")
    boost, min_confidence = (_share(name, vote.get(name, getattr(default, name))) for name in ("boost", "min_confidence"))
    return Vote(field, neighbours, cast("VoteUse", use), boost, min_confidence, cast("By | None", by))


def by_classifiers(vote: Vote, classified: Classified | None) -> Election | None:
    """What the classifiers elect; None where the neighbours are to be asked."""
    if classified is None or not classified.shares or classified.field != vote.field or vote.by == "neighbours":
        return None
    return Election(classified.shares, *classified.shares[0], by="classifiers", modalities=classified.modalities)


def _share(name: str, given: object) -> float:
    number = None if isinstance(given, str) else number_of(given)
    if number is None or not 0 <= number <= 1:
        raise _bad(f"{name} is {shown(given)}.", f"vote.{name}", "Give a number from 0 to 1.")
    return float(number)


def elect(vote: Vote, legs: Sequence[tuple[float, Sequence[Neighbour]]]) -> Election:
    """What the neighbours elect. `legs` are each leg's weight and its neighbours, best first.

    The best `vote.neighbours` of a leg that score above 0 divide its weight by their scores, and each divides its part among
    its values. A leg of negative weight votes against; no share falls below 0. A share is of all votes that legs of positive
    weight have: a neighbour without a value votes for nothing, and so lowers the confidence.
    """
    totals: defaultdict[Any, float] = defaultdict(float)
    cast_for = 0.0
    for weight, neighbours in legs:
        voters = [(score, tuple(dict.fromkeys(values))) for score, values in neighbours[: vote.neighbours] if score > 0]
        whole = sum(score for score, _ in voters)
        if not voters or not weight:
            continue
        cast_for += max(0.0, weight)
        for score, values in voters:
            for value in values:
                totals[value] += weight * (score / whole) / len(values)
    shares = [(value, min(1.0, max(0.0, total) / cast_for) if cast_for else 0.0) for value, total in totals.items()]
    shares.sort(key=lambda one: (-one[1], one[0]))
    if not shares or shares[0][1] <= 0:
        return Election(tuple(shares))
    return Election(tuple(shares), *shares[0])


def _bad(message: str, where: str, remedy: str) -> QueryError:
    return QueryError(message, code="query.bad_vote", field=where, remedy=remedy)
