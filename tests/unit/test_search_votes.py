"""Votes: what a request may ask for, and who wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_api.votes import Election, Neighbour, Vote, elect, read_vote
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import IndexSchema

pytestmark = pytest.mark.unit

INFO = IndexInfo("i", IndexSchema(), {"category": "keyword", "sold": "boolean", "price": "double", "triptych.key": "keyword"})
VOTE = Vote("category", neighbours=3)


def test_a_vote_has_defaults() -> None:
    assert read_vote({"field": "category"}, INFO) == Vote("category", 20, "none", 0.2, 0.5)
    whole = {"field": "sold", "neighbours": 1, "use": "filter", "boost": 1, "min_confidence": 0}
    assert read_vote(whole, INFO) == Vote("sold", 1, "filter", 1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "code", "field", "said"),
    [
        ({"field": "categories"}, "query.unknown_field", "field", "Did you mean 'category'?"),
        ({"field": "triptych.key"}, "query.unknown_field", "field", "Fields that can be voted on: category, sold."),
        ({"field": "price"}, "query.bad_vote", "field", "of type double and cannot be voted on"),
        ({"field": None}, "query.bad_vote", "field", "needs a field"),
        ({"neighbors": 5}, "query.bad_vote", "neighbors", "It has field, neighbours, use, boost, min_confidence"),
        ({"neighbours": 0}, "query.bad_vote", "neighbours", "Give 1 to 1000"),
        ({"neighbours": True}, "query.bad_vote", "neighbours", "Give 1 to 1000"),
        ({"neighbours": 2.0}, "query.bad_vote", "neighbours", "Give 1 to 1000"),
        ({"use": "maybe"}, "query.bad_vote", "use", "none, boost, filter"),
        ({"use": []}, "query.bad_vote", "use", "none, boost, filter"),
        ({"boost": -0.1}, "query.bad_vote", "boost", "from 0 to 1"),
        ({"boost": float("nan")}, "query.bad_vote", "boost", "from 0 to 1"),
        ({"min_confidence": "0.5"}, "query.bad_vote", "min_confidence", "from 0 to 1"),
        ({"min_confidence": 1.1}, "query.bad_vote", "min_confidence", "from 0 to 1"),
    ],
    ids=repr,
)
def test_a_bad_vote_is_refused_with_its_field(changes: dict[str, Any], code: str, field: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        read_vote({"field": "category", **changes}, INFO)
    assert (caught.value.code, caught.value.field) == (code, f"vote.{field}")
    assert said in str(caught.value)
    assert caught.value.remedy


def shares(election: Election) -> dict[Any, float]:
    return dict(election.shares)


def test_each_leg_divides_its_weight_by_the_scores_of_its_neighbours() -> None:
    words: list[Neighbour] = [(1.0, ["hat"]), (0.6, ["shoe"]), (0.4, ["hat"]), (0.3, ["drum"])]  # only three vote
    picture: list[Neighbour] = [(0.5, ["shoe", "hat"]), (0.0, ["drum"]), (-0.2, ["drum"])]
    election = elect(VOTE, [(0.75, words), (0.25, picture)])
    assert shares(election) == pytest.approx({"hat": 0.75 * 0.7 + 0.125, "shoe": 0.75 * 0.3 + 0.125})
    assert election.value == "hat"
    assert election.confidence == pytest.approx(0.65)
    assert VOTE.accepts(election)
    assert not Vote("category", min_confidence=0.66).accepts(election)


def test_a_leg_of_negative_weight_votes_against() -> None:
    likes: list[Neighbour] = [(1.0, ["hat"]), (1.0, ["shoe"])]
    election = elect(VOTE, [(0.5, likes), (-0.5, [(0.8, ["hat"])])])
    assert shares(election) == {"shoe": 0.5, "hat": 0.0}
    assert (election.value, election.confidence) == ("shoe", 0.5)
    narrow = elect(VOTE, [(0.5, [(1.0, ["hat"])]), (-0.49, [(1.0, ["hat"])])])
    assert narrow.confidence == pytest.approx(0.02)


def test_who_has_no_value_votes_for_nothing() -> None:
    election = elect(Vote("category"), [(1.0, [*[(1.0, [])] * 19, (1.0, ["hat"])])])
    assert (election.value, election.confidence) == ("hat", pytest.approx(0.05))


@pytest.mark.parametrize(
    "legs",
    [[], [(1.0, [])], [(1.0, [(0.0, ["hat"])])], [(1.0, [(0.9, [])])], [(0.0, [(1.0, ["hat"])])], [(-1.0, [(1.0, ["hat"])])],
     [(1.0, [(float("nan"), ["hat"])])]],
)  # fmt: skip
def test_without_votes_nobody_wins(legs: list[tuple[float, list[Neighbour]]]) -> None:
    election = elect(VOTE, legs)
    assert (election.value, election.confidence) == (None, 0.0)
    assert not Vote("category", min_confidence=0).accepts(election)


def test_ties_go_by_the_value() -> None:
    assert elect(VOTE, [(1.0, [(0.5, ["shoe"]), (0.5, ["hat"])])]).shares == (("hat", 0.5), ("shoe", 0.5))
    twice = elect(VOTE, [(1.0, [(0.5, ["hat", "hat", "shoe"])])])
    assert twice.shares == (("hat", 0.5), ("shoe", 0.5)), "a value given twice is one"


def test_false_can_win() -> None:
    election = elect(Vote("sold"), [(1.0, [(1.0, [False])])])
    assert election.value is False
    assert Vote("sold").accepts(election)


LEG = st.tuples(
    st.floats(-1, 1), st.lists(st.tuples(st.floats(-1, 1), st.lists(st.sampled_from("abcd"), max_size=3)), max_size=8)
)


@given(st.lists(LEG, max_size=4), st.integers(1, 6))
def test_shares_are_a_distribution_in_order(legs: list[tuple[float, list[Neighbour]]], neighbours: int) -> None:
    election = elect(Vote("category", neighbours), legs)
    given_shares = [share for _, share in election.shares]
    assert all(0 <= share <= 1 for share in given_shares)
    assert sum(given_shares) <= 1 + 1e-9
    assert given_shares == sorted(given_shares, reverse=True)
    assert election.confidence == (given_shares[0] if election.value is not None else 0)
    if all(weight >= 0 for weight, _ in legs) and all(values for _, leg in legs for _, values in leg) and given_shares:
        assert sum(given_shares) == pytest.approx(1) or max(weight for weight, _ in legs) < 1e-300
