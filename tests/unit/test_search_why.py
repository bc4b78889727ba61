"""Why a product stands where it stands: reasons with stable codes, and lifts that really lift."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, get_args

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import a_table

from search_api import ranking
from search_api.answer import Degraded
from search_api.candidates import COMPLETED, NO_MODALITY, RETRIEVED
from search_api.fusion import FusedLeg, Method
from search_api.query import FusionMethod
from search_api.ranking import Options, read_options
from search_api.session import Session
from search_api.weights import share
from search_api.why import explanation, fell_short, lifts
from triptych.elastic.lifecycle import IndexInfo
from triptych.schema import LEXICAL, IndexSchema, Level

pytestmark = pytest.mark.unit

NOISY = Level(floor=0.0, sigma=0.0, reliability=0.75, sample=9, noise=tuple(n / 10 for n in range(11)))
LEGS = (
    FusedLeg("one", "text", LEXICAL, 0.5, NOISY),
    FusedLeg("two", "text", "text.text", 0.25, NOISY),
    FusedLeg("three", "image", "image.image", 0.25, None),
)
INFO = IndexInfo("shop-1", IndexSchema(), {"brand": "keyword", "price": "double"})
SHOWN = {"window": 100, "complete": True, "exact": True}
PLAIN = Options(Method())


def a_session(rows: Any, legs: tuple[FusedLeg, ...] = LEGS, **more: Any) -> Session:
    table = a_table(rows, legs=[leg.name for leg in legs], **more)
    return Session("q", "shop", "shop-1", table, legs, SHOWN)


def options(**given_: Any) -> Options:
    return read_options(given_, INFO)


# The picture of c is the best there is, its words are the worst
ROWS = {"a": [1.0, 0.9, 0.5], "b": [0.9, 1.0, 0.5], "c": [0.1, 0.1, 1.0]}


def codes(found: dict[str, Any]) -> list[str]:
    return [reason["reason"] for reason in found["reasons"]]


# Reasons


def test_a_product_that_is_outranked() -> None:
    found = fell_short(a_session(ROWS), PLAIN, "c", passes=True, size=2)
    assert (found["rank"], found["shown"], codes(found)) == (3, False, ["outranked"])
    assert "2 products score higher; the answer shows 2." in found["reasons"][0]["message"]
    # .5 is the unmeasured picture's floor, 1 its top
    assert found["score"] == pytest.approx(0.075 + 0.25, abs=1e-6)
    assert (found["last_shown"]["id"], found["last_shown"]["score"]) == ("b", pytest.approx(0.7, abs=1e-6))
    assert found["gap"] == pytest.approx(0.7 - 0.325, abs=1e-6)
    assert found["legs"]["three"]["contribution"] == pytest.approx(0.25)
    assert found["last_shown"]["legs"]["three"]["contribution"] == pytest.approx(0)
    assert found["relevance"] == pytest.approx(0.1)


def test_a_product_that_is_shown_needs_no_reason() -> None:
    found = fell_short(a_session(ROWS), PLAIN, "a", passes=True, size=2)
    assert (found["rank"], found["shown"], found["reasons"], found["lifts"]) == (1, True, [], {})
    last = fell_short(a_session(ROWS), PLAIN, "b", passes=True, size=2)
    assert "last_shown" not in last, "it is the last itself"
    assert "gap" not in last


def test_a_product_that_the_filters_keep_out() -> None:
    found = fell_short(a_session(ROWS), PLAIN, "a", passes=False, size=2)
    assert (found["shown"], codes(found), found["lifts"]) == (False, ["filtered"], {})


def test_a_product_that_no_leg_returned() -> None:
    """Its score would do, but within the window no leg has it: it is not in the answer, and no other share brings it in."""
    session = a_session({**ROWS, "z": [1.0, 1.0, 1.0]}, status={"z": [COMPLETED] * 3}, extra=["z"])
    found = fell_short(session, PLAIN, "z", passes=True, size=2)
    assert (found["shown"], codes(found), found["rank"]) == (False, ["outside_window"], 1)
    assert "among its best 100" in found["reasons"][0]["message"]
    assert (found["lifts"], found["lifts_unfinished"]) == ({}, [])
    assert found["explain"]["candidates"] == 3
    below = a_session({**ROWS, "z": [0.1, 0.1, 0.1]}, status={"z": [COMPLETED] * 3}, extra=["z"])
    assert fell_short(below, PLAIN, "z", passes=True, size=2)["lifts"] == {}


FUSIONS = [name for name in get_args(FusionMethod) if name != "native"]


@pytest.mark.parametrize("way", [{}, {"collapse": "brand"}, {"vote": {"field": "brand", "use": "boost", "min_confidence": 0}}])
@pytest.mark.parametrize("extra", [[9.0, 9.0, 9.0], [0.95, 0.5, 0.7], [0.0, 0.0, 0.0], [0.9, None, 0.5]], ids=repr)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_explained_does_not_change_the_answer(fusion: str, extra: list[float | None], way: dict[str, Any]) -> None:
    """Scales, ranks and the last product shown are those of the answer, which knows nothing of a product that no leg found."""
    values = {name: {"brand": ["xy"[name in "az"]]} for name in "abcz"}
    ask = options(fusion=fusion, **way)
    tops = [1.0, 1.0, 1.0]
    legs = (*LEGS[:2], replace(LEGS[2], weight=-0.25))
    # the leg that pushes away names its best, which it may explain
    ranks = {"z": [0, 0, 1]}
    answer = a_session(ROWS, legs, values=values, tops=tops)
    session = a_session({**ROWS, "z": extra}, legs, values=values, tops=tops, extra=["z"], rank=ranks)
    shown = ranking.rank(answer, legs, ask)
    for size in (1, 2, 3):
        found = fell_short(session, ask, "z", passes=True, size=size)
        last = shown.rows[min(size, len(shown.rows)) - 1]
        assert "outside_window" in codes(found)
        assert found["last_shown"]["id"] == answer.candidates.ids[last]
        assert found["last_shown"]["score"] == float(shown.fused.score[last])
        assert found["gap"] == pytest.approx(float(shown.fused.score[last]) - found["score"])
        assert found["explain"] == explanation(answer, shown, ask)
        for name, leg in found["last_shown"]["legs"].items():
            assert leg["contribution"] == ranking.leg_scores(answer.candidates, shown.fused, last)[name].contribution


def test_a_product_below_the_relevance_asked_for() -> None:
    found = fell_short(a_session(ROWS), options(min_relevance=0.5), "c", passes=True, size=2)
    assert (found["rank"], found["shown"], codes(found)) == (None, False, ["below_relevance"])


def test_a_product_for_which_a_variant_stands() -> None:
    values = {"a": {"brand": ["x"]}, "b": {"brand": ["x"]}, "c": {"brand": ["y"]}}
    found = fell_short(a_session(ROWS, values=values), options(collapse="brand"), "b", passes=True, size=2)
    assert (found["rank"], found["shown"], codes(found)) == (None, False, ["collapsed"])
    assert "'a'" in found["reasons"][0]["message"]


def test_a_product_that_the_neighbours_voted_out() -> None:
    values = {"a": {"brand": ["x"]}, "b": {"brand": ["x"]}, "c": {"brand": ["y"]}}
    vote = {"field": "brand", "use": "filter", "min_confidence": 0}
    found = fell_short(a_session(ROWS, values=values), options(vote=vote), "c", passes=True, size=2)
    assert (found["rank"], found["shown"], codes(found)) == (None, False, ["other_value"])


def test_several_reasons_are_all_told() -> None:
    session = a_session({**ROWS, "z": [0.05, None, None]}, status={"z": [COMPLETED, NO_MODALITY, NO_MODALITY]}, extra=["z"])
    found = fell_short(session, options(min_relevance=0.5), "z", passes=False, size=1)
    assert codes(found) == ["filtered", "outside_window", "below_relevance"]


# Lifts


def place(session: Session, options_: Options, name: str, to: float, row: int) -> int | None:
    """The place of a row where the leg has this share and the others keep their proportions: by `weights.share`."""
    weights = share({name: to}, {leg.name: leg.weight for leg in session.legs}, [])
    legs = tuple(replace(leg, weight=weights[leg.name]) for leg in session.legs)
    rows = ranking.rank(session, legs, options_).rows
    return rows.index(row) if row in rows else None


def test_a_lift_is_the_nearest_share_that_does_it() -> None:
    """c passes b where p > 2 x .9 (1 - p) / 3 + (1 - p) / 3 - ... : with the words at two to one, from p = .465 on."""
    session = a_session(ROWS)
    found = lifts(session, PLAIN, 2, 2)[0]
    words = (0.9 * 2 + 1.0) / 3  # b by its words: two thirds BM25, one third vectors
    exact = (words - 0.1) / (words - 0.1 + 1)
    assert found["three"] == {"share": pytest.approx(exact, abs=0.005), "from": 0.25}
    assert found["three"]["share"] >= exact
    assert place(session, PLAIN, "three", found["three"]["share"] - 0.005, 2) == 2
    assert found["two"] is None, "its own words do not lift it whatever they weigh"


WAYS = st.sampled_from([
    {}, {"collapse": "brand"}, {"sort": ["price"]}, {"min_relevance": 0.4}, {"mean": "harmonic"}, {"missing": "zero"},
    {"vote": {"field": "brand", "use": "filter", "min_confidence": 0}}, {"collapse": "brand", "min_relevance": 0.3},
])  # fmt: skip
CELL = st.none() | st.integers(0, 16).map(lambda n: n / 16)


@hypothesis.settings(max_examples=20)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=2, max_size=5), st.integers(1, 3), WAYS, st.sampled_from([0.3, -0.2]))
def test_lifts_really_lift(rows: Any, size: int, way: dict[str, Any], third: float) -> None:
    if "mean" in way and third < 0:
        third = -third
    legs = (LEGS[0], LEGS[1], replace(LEGS[2], weight=third))
    whole = sum(abs(leg.weight) for leg in legs)
    shared = tuple(replace(leg, weight=leg.weight / whole) for leg in legs)
    values = {chr(97 + n): {"brand": ["xy"[n % 2]], "price": [float(n * 7 % 5)]} for n in range(len(rows))}
    session = a_session({chr(97 + n): row for n, row in enumerate(rows)}, shared, values=values)
    row = len(rows) - 1
    for name, found in lifts(session, options(**way), row, size)[0].items():
        if found is not None:
            reached = place(session, options(**way), name, found["share"], row)
            assert reached is not None
            assert reached < size


def test_a_leg_without_a_share_is_not_asked() -> None:
    """What only legs without a share found is no candidate: at a share of 1 the leg itself must have found it."""
    close = {"a": [1.0, 1.0, 0.0], "b": [0.5, 0.5, 0.9], "c": [0.0, 0.0, 0.9005]}
    assert lifts(a_session(close), PLAIN, 2, 1)[0]["three"] == {"share": 1.0, "from": 0.25}
    unreturned = a_session(close, status={"c": [RETRIEVED, RETRIEVED, COMPLETED]}, rank={"c": [3, 3, 0]})
    assert lifts(unreturned, PLAIN, 2, 1)[0]["three"] is None
    closer = {**close, "c": [0.498, 0.498, 0.9005]}
    near = a_session(closer, status={"c": [RETRIEVED, RETRIEVED, COMPLETED]}, rank={"c": [3, 3, 0]})
    assert near.legs[2].weight < lifts(near, PLAIN, 2, 1)[0]["three"]["share"] <= 0.995


def test_a_leg_that_pushes_away_can_push_less() -> None:
    legs = (replace(LEGS[0], weight=0.5), replace(LEGS[1], weight=-0.5, source="text#2"))
    session = a_session({"a": [0.6, 0.0], "b": [1.0, 1.0]}, legs)
    found = lifts(session, PLAIN, 1, 1)[0]
    # b leads where 1 - p - p > .6 (1 - p) with p what is pushed: p < 2 / 7
    assert found["two"]["from"] == -0.5
    assert found["two"]["share"] == pytest.approx(-2 / 7, abs=0.006)


def test_a_query_of_one_leg_has_no_other_share_to_give() -> None:
    session = a_session({"a": [0.1], "b": [1.0]}, (replace(LEGS[0], weight=1.0),))
    assert lifts(session, PLAIN, 0, 1) == ({}, [])


def test_no_lift_leaves_nothing_above_zero() -> None:
    """Such weights would be refused: "No leg of this query weighs more than 0"."""
    legs = (replace(LEGS[0], weight=0.5), replace(LEGS[1], weight=-0.5, source="text#2"))
    session = a_session({"a": [1.0, 1.0], "b": [0.0, 0.0]}, legs)
    # as it is, both score 0 and a comes first by its id
    found = lifts(session, PLAIN, 1, 1)[0]
    assert found["one"] is None or found["one"]["share"] > 0


# Explanation


def test_how_the_legs_were_used() -> None:
    session = a_session(ROWS)
    session = replace(session, degraded=(Degraded("audio.audio", "elasticsearch.busy", "It was busy."),))
    found = explanation(session, ranking.rank(session, LEGS, PLAIN), PLAIN)
    assert {name: found[name] for name in ("index", "fusion", "mean", "missing", "window", "completed", "exact")} == {
        "index": "shop-1", "fusion": "calibrated", "mean": "arithmetic", "missing": "renormalise", "window": 100,
        "completed": True, "exact": True,
    }  # fmt: skip
    assert found["candidates"] == 3
    assert found["failed"] == {"audio.audio": "It was busy."}
    assert found["legs"]["one"] == {
        "weight": 0.5, "floor": 0.0, "top": 1.0, "measured": True, "reliability": 0.75, "input": "text",
    }  # fmt: skip
    assert found["legs"]["three"] == {
        "weight": 0.25, "floor": 0.5, "top": 1.0, "measured": False, "reliability": None, "input": "image",
    }  # fmt: skip


def test_what_lifts_is_found_soon_even_among_many() -> None:
    """Four hundred candidates, five legs, facets and a product that nothing lifts: every share of every leg is tried."""
    chance = np.random.default_rng(3)
    names = [f"leg{n}" for n in range(5)]
    legs = tuple(FusedLeg(name, f"input{n % 2}", name, 0.2, NOISY) for n, name in enumerate(names))
    rows = {f"{n:03}": [float(x) for x in chance.random(5)] for n in range(400)}
    session = a_session({**rows, "zzz": [0.0] * 5}, legs)
    assert lifts(session, PLAIN, 400, 10, seconds=60) == (dict.fromkeys(names), [])
    started = time.monotonic()
    found, untried = lifts(session, PLAIN, 400, 10, seconds=0)
    assert (found, untried[-1]) == (dict.fromkeys(names), names[-1]), "what there was no time for is named"
    assert time.monotonic() - started < 1
