"""Every candidate gets every leg's score, the ways to have none stay apart, and a session keeps all of it to the last bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import IMAGE, a_table, an_encoded

from search_api.answer import MatchedMedia
from search_api.candidates import (
    COMPLETED,
    NO_MATCH,
    NO_MODALITY,
    NOT_RETRIEVED,
    RETRIEVED,
    STATUSES,
    Candidates,
    LegHits,
    complete,
    gather,
    hits_of,
    joined,
    media_of,
    single,
    together,
)
from search_api.fusion import FusedLeg, Method, fuse
from triptych.elastic.engine import Found
from triptych.schema import KEY_FIELD, LEXICAL

pytestmark = pytest.mark.unit

SEEN = "image.image"
WORDS = LegHits(("both", "words"), (2.0, 1.0))
PICTURE = LegHits(("both", "seen", "seen2"), (0.9, 0.8, 0.7))


def gathered(retrieved: Mapping[str, LegHits], *, full: int = 10, **more: Any) -> Candidates:
    return gather(list(retrieved), retrieved, sources=more.pop("sources", list(retrieved)), full=full, **more)


def column(table: Candidates, leg: str) -> dict[str, tuple[float | None, str, int]]:
    """Per product: score, status, rank."""
    at = table.legs.index(leg)
    rows = zip(table.raw[:, at].tolist(), table.status[:, at].tolist(), table.rank[:, at].tolist(), strict=True)
    cells = [(None if math.isnan(raw) else raw, STATUSES[status], rank) for raw, status, rank in rows]
    return dict(zip(table.ids, cells, strict=True))


def test_statuses_are_named_in_their_order() -> None:
    names = [STATUSES[n] for n in (RETRIEVED, COMPLETED, NO_MATCH, NO_MODALITY, NOT_RETRIEVED)]
    assert names == ["retrieved", "completed", "no_match", "no_modality", "not_retrieved"]


# Gather


def test_what_the_legs_returned() -> None:
    table = gathered({LEXICAL: WORDS, SEEN: PICTURE}, full=3)
    assert (table.legs, table.ids) == ((LEXICAL, SEEN), ("both", "seen", "seen2", "words"))
    assert column(table, LEXICAL) == {
        "both": (2.0, "retrieved", 1), "words": (1.0, "retrieved", 2),
        "seen": (None, "not_retrieved", 0), "seen2": (None, "not_retrieved", 0),
    }  # fmt: skip
    assert table.tops.tolist() == [2.0, float(np.float32(0.9))]
    assert np.isnan(table.lasts[0]), "two of three: the list of words has ended"
    assert table.lasts[1] == np.float32(0.7), "three of three: more may follow"
    assert (table.ended(LEXICAL), table.ended(SEEN)) == (True, False)
    assert table.round.tolist() == [0, 0, 0, 0]
    assert table.missing() == {LEXICAL: ["seen", "seen2"], SEEN: ["words"]}
    assert len(table) == 4


@pytest.mark.parametrize(
    ("words", "picture", "gaps"),
    [
        ({"a": 2.0}, {"a": 0.9}, {}),
        ({}, {"z": 0.9, "a": 0.8}, {LEXICAL: ["a", "z"]}),
        ({}, {}, {}),
    ],
)
def test_what_is_missing(words: dict[str, float], picture: dict[str, float], gaps: dict[str, list[str]]) -> None:
    legs = {LEXICAL: LegHits(tuple(words), tuple(words.values())), SEEN: LegHits(tuple(picture), tuple(picture.values()))}
    assert gathered(legs).missing() == gaps


def test_what_a_leg_that_pushes_away_returns_is_no_candidate() -> None:
    table = gathered({LEXICAL: WORDS, f"{LEXICAL}#2": LegHits(("bad",), (9.0,))}, sources=[LEXICAL], full=2)
    assert table.ids == ("both", "words")
    assert table.tops.tolist() == [2.0, 9.0], "but its best score makes its scale"
    assert table.missing() == {f"{LEXICAL}#2": ["both", "words"]}
    full = gathered({LEXICAL: WORDS, f"{LEXICAL}#2": LegHits(("bad", "words"), (9.0, 8.0))}, sources=[LEXICAL], full=2)
    assert np.isnan(full.lasts).tolist() == [False, True], "more of what it finds would be no candidates either"


def test_a_product_to_explain_is_a_candidate_that_no_leg_returned() -> None:
    table = gathered({LEXICAL: WORDS}, extra=["asked", "words"])
    assert table.ids == ("asked", "both", "words")
    assert column(table, LEXICAL)["asked"] == (None, "not_retrieved", 0)
    assert column(table, LEXICAL)["words"] == (1.0, "retrieved", 2)
    assert table.extra == {"asked"}
    assert not table.ended(LEXICAL), "a list says nothing of what it was not to find"
    assert table.own.tolist() == [False, True, True]
    assert table.found().ids == ("both", "words")
    assert table.found().raw.tolist() == table.raw[1:].tolist()
    pushed = gathered({LEXICAL: WORDS, f"{LEXICAL}#2": LegHits(("bad",), (9.0,))}, sources=[LEXICAL], extra=["bad"])
    assert pushed.extra == {"bad"}, "a leg that pushes away finds nothing"


def test_values_are_kept() -> None:
    words = LegHits(("words",), (1.0,), {"words": {"price": [1.0]}})
    table = gathered({LEXICAL: words, SEEN: LegHits(PICTURE.ids, PICTURE.scores, {"seen": {"price": [5.0]}})})
    assert table.values == {"words": {"price": [1.0]}, "seen": {"price": [5.0]}}


# Complete


def test_the_cases_stay_apart() -> None:
    table = gathered({LEXICAL: WORDS, SEEN: PICTURE})
    late = {LEXICAL: LegHits(("seen2",), (0.5,)), SEEN: LegHits()}
    done = complete(table, late, words=[LEXICAL])
    assert column(done, LEXICAL) == {
        "both": (2.0, "retrieved", 1), "words": (1.0, "retrieved", 2),
        "seen": (0.0, "no_match", 0), "seen2": (0.5, "completed", 0),
    }  # fmt: skip
    assert column(done, SEEN)["words"] == (None, "no_modality", 0)
    assert done.missing() == {}
    assert table.missing() != {}, "the candidates before are as they were"


def test_a_leg_whose_completion_did_not_come_keeps_its_gaps() -> None:
    done = complete(gathered({LEXICAL: WORDS, SEEN: PICTURE}), {SEEN: LegHits()}, words=[LEXICAL])
    assert done.missing() == {LEXICAL: ["seen", "seen2"]}


def test_completion_brings_values() -> None:
    first = LegHits(("seen",), (0.8,), {"seen": {"price": [5.0]}})
    late = LegHits(("words",), (0.4,), {"words": {"price": [1.0]}})
    done = complete(gathered({LEXICAL: LegHits(("words",), (1.0,)), SEEN: first}), {SEEN: late}, words=[LEXICAL])
    assert done.values == {"seen": {"price": [5.0]}, "words": {"price": [1.0]}}


def test_two_answers_of_a_leg_are_one() -> None:
    first, more = LegHits(("a",), (0.5,), {"a": {"price": [2.0]}}), LegHits(("b",), (0.7,), {"b": {"price": [1.0]}})
    assert together(None, first) is first
    assert together(first, more) == LegHits(("a", "b"), (0.5, 0.7), {"a": {"price": [2.0]}, "b": {"price": [1.0]}})


def test_a_leg_that_failed_leaves_nothing_but_its_candidates() -> None:
    table = gathered({LEXICAL: WORDS, SEEN: PICTURE, "text.text": LegHits(("both",), (0.6,))}, full=1).without([SEEN])
    assert (table.legs, table.ids) == ((LEXICAL, "text.text"), ("both", "seen", "seen2", "words"))
    assert column(table, "text.text")["both"] == (float(np.float32(0.6)), "retrieved", 1)
    assert (table.tops.tolist(), table.lasts.tolist()) == ([2.0, float(np.float32(0.6))], [1.0, float(np.float32(0.6))])


SOME = st.dictionaries(st.sampled_from("abcdefg"), st.floats(0, 9, width=32), max_size=7)


@given(SOME, SOME, SOME, st.sets(st.sampled_from("abcdefg")))
def test_every_candidate_has_a_score_in_every_leg(
    words: dict[str, float], picture: dict[str, float], sound: dict[str, float], known: set[str]
) -> None:
    given_ = {LEXICAL: words, SEEN: picture, "audio.audio": sound}
    best_first = {leg: sorted(some, key=lambda key: (-some[key], key)) for leg, some in given_.items()}
    table = gathered({leg: LegHits(tuple(ids), tuple(given_[leg][i] for i in ids)) for leg, ids in best_first.items()})
    assert set(table.ids) == {*words, *picture, *sound}
    gaps = table.missing()
    assert all(not set(ids) & set(given_[leg]) for leg, ids in gaps.items())
    late = {leg: LegHits(tuple(i for i in ids if i in known), (0.25,) * len(set(ids) & known)) for leg, ids in gaps.items()}
    done = complete(table, late, words=[LEXICAL])
    assert done.missing() == {}
    for leg in done.legs:
        for key, (raw, status, rank) in column(done, leg).items():
            assert (rank > 0) == (status == "retrieved") == (key in given_[leg])
            assert rank == 0 or best_first[leg][rank - 1] == key
            assert (raw is None) == (status == "no_modality")
            assert (status == "no_modality") == (key not in given_[leg] and key not in known and leg != LEXICAL)
            assert status != "no_match" or raw == 0


# Joined


def test_what_a_wider_window_adds_stands_behind() -> None:
    first = gathered({LEXICAL: WORDS, SEEN: PICTURE}, full=2)
    more = gathered({LEXICAL: LegHits(("both", "new"), (7.0, 6.0)), SEEN: LegHits(("alpha", "both"), (0.95, 0.9))}, full=2)
    both = joined(first, more, behind=True)
    assert both.ids == ("both", "seen", "seen2", "words", "alpha", "new")
    assert both.round.tolist() == [0, 0, 0, 0, 1, 1]
    assert both.tops.tolist() == first.tops.tolist(), "scores must not move"
    assert both.lasts.tolist() == more.lasts.tolist()
    assert column(both, LEXICAL)["both"] == (2.0, "retrieved", 1), "what was known stays"
    third = joined(both, gathered({LEXICAL: LegHits(("last",), (1.0,)), SEEN: LegHits()}), behind=True)
    assert third.round.tolist() == [0, 0, 0, 0, 1, 1, 2]


def test_for_a_proof_all_stand_together() -> None:
    both = joined(gathered({LEXICAL: WORDS}), gathered({LEXICAL: LegHits(("new",), (1.5,))}), behind=False)
    assert both.round.tolist() == [0, 0, 0]


def test_what_is_explained_and_found_by_a_wider_window_is_found() -> None:
    first = gather([LEXICAL], {LEXICAL: WORDS}, sources=[LEXICAL], full=2, extra=["late", "never"])
    more = {LEXICAL: LegHits(("both", "words", "late"), (7.0, 6.0, 5.0))}
    both = joined(first, gather([LEXICAL], more, sources=[LEXICAL], full=4, extra=first.ids), behind=False)
    assert both.ids == ("both", "late", "never", "words")
    assert both.extra == {"never"}
    assert column(both, LEXICAL)["late"] == (5.0, "retrieved", 3)


def test_ties_of_a_wider_window_go_by_id_whenever_they_were_found() -> None:
    """Certified: what was found later stands among the rest, so an equal score of a lesser id stands first."""
    first, more = LegHits(("m", "z"), (2.0, 1.0)), LegHits(("m", "a", "z"), (2.0, 1.0, 1.0))
    both = joined(gathered({LEXICAL: first}), gathered({LEXICAL: more}), behind=False)
    fused = fuse(both, [FusedLeg(LEXICAL, "text", LEXICAL, 1.0)], Method())
    assert [both.ids[row] for row in fused.order] == ["m", "a", "z"]


# Hits of Elasticsearch

BEST = an_encoded("image", 3, document_modality=IMAGE, query_modalities=(IMAGE,), several="best")


def hit(key: str, score: float, inner: Any = None, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"_score": score, "fields": {KEY_FIELD: [key], **values}}
    if inner is not None:
        found["inner_hits"] = {"triptych.image_parts": {"hits": {"hits": inner}}}
    return found


def part(score: float, reference: str | None = None, start: float | None = None) -> dict[str, Any]:
    fields = {"triptych.image_parts.reference": [reference]} if reference is not None else {}
    return {"_score": score, "fields": fields | ({"triptych.image_parts.start": [start]} if start is not None else {})}


def test_hits_are_read_by_product() -> None:
    found = Found((), 2, ids=("p1", "p2"), scores=(2.5, 1.0))
    assert hits_of(found) == LegHits(("p1", "p2"), (2.5, 1.0))


def test_values_are_read_where_asked_for() -> None:
    values = [{"price": [5.0], "brand": ["x"]}, {}]
    found = hits_of(Found((), 2, ids=("p1", "p2"), scores=(2.5, 1.0), values=values), ["price"])
    assert found.values == {"p1": {"price": [5.0]}, "p2": {"price": ()}}


def test_the_best_of_several_media_is_named() -> None:
    hits = [
        hit("p1", 0.95, [part(0.95, "1.jpg")]), hit("p2", 0.90, []), hit("p3", 0.85, [part(0.85, "3.wav", 2.5)]),
        hit("p4", 0.8), hit("p5", 0.7, [part(0.7)]), hit("p6", 0.6, [part(0.6, "6.wav", 0.0)]),
    ]  # fmt: skip
    assert media_of(Found(hits, 6), BEST) == {
        "p1": MatchedMedia("1.jpg"), "p3": MatchedMedia("3.wav", 2.5), "p5": MatchedMedia(""), "p6": MatchedMedia("6.wav", 0.0),
    }  # fmt: skip


# Scores are float32


@given(st.lists(st.floats(0, 1e30), max_size=5))
def test_scores_are_what_elasticsearch_has_not_what_json_says(scores: Sequence[float]) -> None:
    expected = [struct.unpack("<f", struct.pack("<f", x))[0] for x in scores]
    assert single(np.array(scores, dtype=float)).tolist() == expected


def test_every_way_into_the_table_makes_float32() -> None:
    """0.1 in JSON is no float32; two spellings of one score must be one."""
    tenth = float(np.float32(0.1))
    table = gathered({SEEN: LegHits(("a",), (0.1,)), "text.text": LegHits(("b",), (0.1,))}, full=1)
    done = complete(table, {SEEN: LegHits(("b",), (0.10000000149011612,))}, words=[])
    assert done.raw[:, 0].tolist() == [tenth, tenth]
    assert (done.tops.tolist(), done.lasts.tolist()) == ([tenth, tenth], [tenth, tenth])


def test_a_toy_table_is_like_a_gathered_one() -> None:
    toy = a_table({"b": [1.0, 0.5], "a": [2.0, None]}, legs=(LEXICAL, SEEN))
    real = complete(
        gathered({LEXICAL: LegHits(("a", "b"), (2.0, 1.0)), SEEN: LegHits(("b",), (0.5,))}), {SEEN: LegHits()}, words=[]
    )
    for name in ("raw", "status", "rank", "tops", "lasts", "round"):
        np.testing.assert_array_equal(getattr(toy, name), getattr(real, name))
    assert (toy.ids, toy.legs) == (real.ids, real.legs)
