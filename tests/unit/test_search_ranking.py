"""From a session to ranked products: relevance, cut-off, votes, sort, collapse and facets together."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import a_table

from search_api.answer import MatchedMedia, Variant
from search_api.candidates import COMPLETED, NO_MATCH, NOT_RETRIEVED
from search_api.degrading import unmeasured
from search_api.fusion import FusedLeg, Method
from search_api.ranking import Options, Ranked, hit, rank, read_options, relevance, relevance_parts
from search_api.session import Session
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import LEXICAL, IndexSchema, Level

pytestmark = pytest.mark.unit

DECILES = tuple(n / 10 for n in range(11))
FIELDS = {"brand": "keyword", "price": "double", "title": "text", "sold": "boolean"}
INFO = IndexInfo("shop-1", IndexSchema(), FIELDS)
UNIT = Level(floor=0.0, sigma=0.0)
NOISY = Level(floor=0.0, sigma=0.0, noise=DECILES)
"""Noise reaches x at best in the share x of the queries, so that the relevance of a score is the score."""


def leg(name: str = "one", weight: float = 1.0, source: str = "text", level: Level | None = NOISY, base: str = "") -> FusedLeg:
    return FusedLeg(name, source, base or name, weight, level)


def a_session(rows: Any, *legs: FusedLeg, words: dict[str, int] | None = None, found: Any = None, **more: Any) -> Session:
    table = a_table(rows, legs=[one.name for one in legs], **more)
    return Session("q", "shop", "shop-1", table, legs, {}, words=words or {}, aggregations=found)


def options(**given_: Any) -> Options:
    return read_options(given_, INFO)


def ranked(session: Session, **given_: Any) -> Ranked:
    return rank(session, session.legs, options(**given_))


def ids(session: Session, found: Ranked) -> list[str]:
    return [session.candidates.ids[row] for row in found.rows]


def variants(session: Session, found: Ranked) -> dict[str, list[str]]:
    names = session.candidates.ids
    return {names[winner]: [names[row] for row in others] for winner, others in found.variants.items()}


ROWS = {"a": [1.0], "b": [0.8], "c": [0.6], "d": [0.4], "e": [0.2]}
VALUES = {
    "a": {"brand": ["x"], "price": [50.0]}, "b": {"brand": ["x"], "price": [10.0]}, "c": {"brand": ["y"], "price": [20.0]},
    "d": {"brand": ["y"], "price": [5.0]}, "e": {"brand": [], "price": [1.0]},
}  # fmt: skip


# Relevance


def of(session: Session) -> list[float] | None:
    found = ranked(session).relevance
    return None if found is None else [float(x) for x in found]


def test_relevance_is_the_mean_over_the_legs_by_weight() -> None:
    legs = leg("one", 0.25), leg("two", 0.75, "image")
    assert of(a_session({"a": [0.4, 0.8], "b": [1.0, 0.0], "c": [1.0, 1.0]}, *legs)) == pytest.approx([0.7, 0.25, 1.0])


def test_words_are_counted_per_word() -> None:
    """Noise was measured per word of the query: .6 for two words is as much as .3 for one."""
    session = a_session({"a": [0.6], "b": [0.0]}, leg(base=LEXICAL), words={"one": 2}, status={"b": [NO_MATCH]})
    assert of(session) == pytest.approx([0.3, 0])


def test_legs_that_were_not_measured_or_push_away_say_nothing() -> None:
    legs = leg("one", 0.4), leg("two", 0.4, level=UNIT, source="image"), leg("three", -0.2, "text#2")
    assert of(a_session({"a": [0.5, 1.0, 1.0]}, *legs)) == pytest.approx([0.5])


def test_without_a_measured_leg_there_is_no_relevance_and_no_cut() -> None:
    session = a_session(ROWS, leg(level=UNIT))
    found = ranked(session, min_relevance=0.9)
    assert (found.relevance, ids(session, found), found.cut) == (None, ["a", "b", "c", "d", "e"], frozenset())
    assert [(one.name, one.code) for one in unmeasured(session.legs, 0.9)] == [("relevance", "relevance.not_measured")]
    assert unmeasured(session.legs, 0.0) == (), "nobody asked"
    measured = (*session.legs, leg("two", 0.5))
    assert unmeasured(measured, 0.9) == ()
    assert unmeasured((*session.legs, leg("two", -0.5)), 0.9), "what pushes away says nothing"


def test_a_lack_is_no_relevance() -> None:
    """The photo cannot be answered by what has no picture; its words alone would be relevant."""
    legs = leg("one", 0.5), leg("two", 0.5, "image")
    assert of(a_session({"a": [0.8, None], "b": [1.0, 1.0]}, *legs)) == pytest.approx([0.4, 1.0])


def test_what_noise_would_reach_is_cut_off() -> None:
    session = a_session({"a": [1.0], "b": [0.5], "c": [0.4375], "d": [0.0]}, leg())
    found = ranked(session, min_relevance=0.5)
    assert ids(session, found) == ["a", "b"], "at least so much, .5 included"
    assert {session.candidates.ids[row] for row in found.cut} == {"c", "d"}


@given(st.lists(st.none() | st.floats(-1, 3, width=32), min_size=1, max_size=8))
def test_relevance_is_a_share(raw: list[float | None]) -> None:
    table = a_table({str(n): [x, 0.5] for n, x in enumerate(raw)})
    session = Session("q", "s", "v", table, (leg("one", 0.5), leg("two", 0.5, "image")), {})
    found = rank(session, session.legs, options()).relevance
    assert found is not None
    assert ((found >= 0) & (found <= 1)).all()
    parts = relevance_parts(table, session.legs, {})
    again = relevance(parts, session.legs, rank(session, session.legs, options()).fused.weight)
    assert again is not None
    assert again.tolist() == found.tolist()


# Sort, collapse, facets


def test_what_was_found_is_sorted() -> None:
    session = a_session(ROWS, leg(), values=VALUES)
    assert ids(session, ranked(session, sort=["price"])) == ["e", "d", "b", "c", "a"]
    assert ids(session, ranked(session, sort=[{"brand": "asc"}, "score"])) == ["a", "b", "c", "d", "e"]


def test_one_for_each_value_and_its_variants() -> None:
    session = a_session(ROWS, leg(), values=VALUES)
    found = ranked(session, collapse="brand")
    assert ids(session, found) == ["a", "c", "e"], "one without a brand stands alone"
    assert variants(session, found) == {"a": ["b"], "c": ["d"]}


def test_cut_off_sort_collapse_and_facets_together() -> None:
    """Cut off first (e), then sorted by price (d b c a), then one a brand: the cheapest, d of y and b of x."""
    session = a_session(ROWS, leg(), values=VALUES)
    found = ranked(session, min_relevance=0.4, sort=["price"], collapse="brand", facets={"brand": {}})
    assert ids(session, found) == ["d", "b"]
    assert variants(session, found) == {"d": ["c"], "b": ["a"]}
    assert found.facets["brand"]["values"] == [
        {"value": "x", "count": 2, "matched": None}, {"value": "y", "count": 2, "matched": None},
    ]  # fmt: skip


# Votes

LEGS = leg("one", 0.5), leg("two", 0.5, "image")
TWO = {"a": [1.0, 0.2], "b": [0.5, 0.4], "c": [0.4, 1.0], "d": [0.3, 0.5]}
BRANDS = {"a": {"brand": ["x"]}, "b": {"brand": ["y"]}, "c": {"brand": ["y"]}, "d": {"brand": ["z"]}}


def voting(use: str, **more: Any) -> tuple[Session, Ranked]:
    """The best two of each leg vote: a and b of the first (1 : .5), c and d of the second (1 : .5)."""
    session = a_session(TWO, *LEGS, values=BRANDS)
    vote = {"field": "brand", "neighbours": 2, "use": use, "min_confidence": 0.0, **more}
    return session, ranked(session, vote=vote)


SHARE_OF_Y = 0.5 * (0.5 / 1.5) + 0.5 * (1 / 1.5)


def test_an_election_alone_changes_nothing() -> None:
    session, found = voting("none")
    assert ids(session, found) == ["c", "a", "b", "d"]
    assert found.predicted is not None
    assert (found.predicted.field, found.predicted.value) == ("brand", "y")
    assert found.predicted.confidence == pytest.approx(SHARE_OF_Y, abs=1e-6)
    assert found.predicted.shares == pytest.approx({"y": SHARE_OF_Y, "x": 1 / 3, "z": 0.5 * 0.5 / 1.5}, abs=1e-6)


def test_the_winners_products_are_raised_by_boost_times_confidence() -> None:
    session, found = voting("boost", boost=0.5)
    assert ids(session, found) == ["c", "b", "a", "d"]
    scores = dict(zip(session.candidates.ids, found.fused.score.tolist(), strict=True))
    more = 0.5 * SHARE_OF_Y
    assert scores == pytest.approx({"a": 0.6, "b": 0.45 + more, "c": 0.7 + more, "d": 0.4}, abs=1e-6)


def test_all_but_the_winners_products_are_left_out() -> None:
    session, found = voting("filter")
    assert ids(session, found) == ["c", "b"]


def test_a_vote_that_is_not_sure_enough_is_not_used() -> None:
    session, found = voting("filter", min_confidence=0.6)
    assert ids(session, found) == ["c", "a", "b", "d"]
    assert found.predicted is not None
    assert found.predicted.value == "y", "but it is told"


def test_what_is_elected_is_collapsed_by_its_new_order() -> None:
    session = a_session(TWO, *LEGS, values=BRANDS)
    vote = {"field": "brand", "neighbours": 2, "use": "boost", "boost": 1, "min_confidence": 0}
    found = ranked(session, vote=vote, collapse="brand")
    assert ids(session, found) == ["c", "a", "d"]
    assert [session.candidates.ids[row] for row in found.variants[found.rows[0]]] == ["b"]


AGAINST = FusedLeg("three", "text#2", "three", -0.5, NOISY, pushes=True)


def test_what_pushes_away_votes_against_its_best_candidates_whatever_its_own_list_holds() -> None:
    """a and b of the first; d and c, which it did not return, of the second."""
    rows = {"a": [1.0, 0.1], "b": [0.5, 0.2], "c": [0.4, 0.3], "d": [0.3, 0.6]}
    session = a_session(
        rows, leg("one", 0.5), AGAINST, values=BRANDS, rank={"a": [1, 1], "b": [2, 0], "c": [3, 0], "d": [4, 0]}
    )
    found = ranked(session, vote={"field": "brand", "neighbours": 2}).predicted
    assert found is not None
    assert found.shares == pytest.approx({"x": 2 / 3, "y": 1 / 3 - 1 / 3, "z": 0}, abs=1e-6)


def test_words_that_push_away_vote_against_nothing_where_they_do_not_occur() -> None:
    rows = {"a": [1.0, 0.0], "b": [0.5, None]}
    status = {"a": [0, NO_MATCH], "b": [0, NOT_RETRIEVED]}
    session = a_session(rows, leg("one", 0.5), AGAINST, values=BRANDS, status=status)
    found = ranked(session, vote={"field": "brand", "neighbours": 2}).predicted
    assert found is not None
    assert found.shares == pytest.approx({"x": 2 / 3, "y": 1 / 3}, abs=1e-6)


def test_a_history_votes_only_where_nothing_else_is_asked() -> None:
    history, pushes = leg("two", 0.5, "history"), FusedLeg("three", "text#2", "three", -0.5, NOISY, pushes=True)
    for legs, elected in (((LEGS[0], history), "x"), ((pushes, history), "y")):
        found = ranked(a_session(TWO, *legs, values=BRANDS), vote={"field": "brand", "neighbours": 2}).predicted
        assert found is not None
        assert found.value == elected


# Hits


def test_a_hit_says_what_it_is_made_of() -> None:
    legs = leg("one", 0.25, base=LEXICAL, level=None), leg("two", 0.75, "audio", Level(floor=0.5, sigma=0.1))
    session = a_session(
        {"a": [8.0, None], "b": [2.0, 0.7], "c": [0.0, 0.9]}, *legs,
        status={"c": [NO_MATCH, 0], "b": [COMPLETED, 0]}, rank={"b": [0, 2]},
    )  # fmt: skip
    found = ranked(session)
    one = hit(session, found, 1, {"title": "B"}, highlight={"title": ["<em>B</em>"]}, media={"two": MatchedMedia("b.wav", 5.0)})
    assert (one.id, one.product, one.relevance, one.variants) == ("b", {"title": "B"}, None, ())
    assert one.highlight == {"title": ["<em>B</em>"]}
    assert one.score == pytest.approx(0.25 * 0.25 + 0.75 * 0.5, abs=1e-6)
    words, sound = one.legs["one"], one.legs["two"]
    assert (words.raw, words.completed, words.status, words.rank) == (2.0, True, "completed", None)
    assert words.matched_media is None
    assert (words.floor, words.top, words.normalised, words.weight) == (0.0, 8.0, 0.25, 0.25)
    assert (sound.status, sound.rank, sound.matched_media) == ("retrieved", 2, MatchedMedia("b.wav", 5.0))
    assert (sound.floor, sound.top, sound.normalised) == pytest.approx((0.5, 0.9, 0.5), abs=1e-6)
    assert math.fsum(part.contribution for part in one.legs.values()) == pytest.approx(one.score)
    lacking = hit(session, found, 0, None).legs["two"]
    assert (lacking.raw, lacking.status) == (None, "no_modality")
    assert (lacking.normalised, lacking.contribution) == pytest.approx((-0.5, -0.375), abs=1e-6)
    assert hit(session, found, 2, None).legs["one"].status == "no_match"


def test_a_hit_has_its_variants_with_their_scores() -> None:
    session = a_session(ROWS, leg(), values=VALUES)
    found = ranked(session, collapse="brand")
    (variant,) = hit(session, found, found.rows[0], None).variants
    assert variant == Variant("b", float(found.fused.score[1]))
    assert variant.score == pytest.approx(0.8)


def test_without_completion_a_gap_is_told_apart() -> None:
    session = a_session({"a": [1.0, 0.0], "b": [0.5, 1.0]}, *LEGS, status={"a": [0, NOT_RETRIEVED]})
    part = hit(session, ranked(session), 0, None).legs["two"]
    assert (part.raw, part.status, part.contribution, part.rank) == (None, "not_retrieved", 0.0, None)


# Options


def test_options_of_nothing_are_the_defaults_of_the_index() -> None:
    schema = IndexSchema(missing="background")
    assert read_options({}, IndexInfo("v", schema, {})) == Options(Method("calibrated", "arithmetic", "background"))
    assert read_options({"missing": "zero"}, IndexInfo("v", schema, {})).method.missing == "zero"


def test_all_options_are_read() -> None:
    found = options(
        fusion="rrf", mean="arithmetic", missing="zero", min_relevance=0.5, facets={"brand": {"size": 3}},
        sort=[{"price": "desc"}], collapse="brand", vote={"field": "sold"},
    )  # fmt: skip
    assert found.method == Method("rrf", "arithmetic", "zero")
    assert (found.min_relevance, found.collapse) == (0.5, "brand")
    assert [facet.field for facet in found.facets] == ["brand"]
    assert [(one.field, one.descending) for one in found.sort] == [("price", True)]
    assert found.vote is not None
    assert found.vote.field == "sold"


@pytest.mark.parametrize("name", ["facets", "sort", "collapse", "vote"])
def test_a_field_of_another_kind_is_refused(name: str) -> None:
    given_: Any = {"facets": {"title": {}}, "sort": ["title"], "collapse": "title", "vote": {"field": "title"}}[name]
    with pytest.raises(QueryError) as caught:
        options(**{name: given_})
    assert (caught.value.field or "").startswith(name)
