"""One scale for all legs: 0 at the measured floor, 1 at the best of this query, and noise is not stretched."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search_api.normalise import calibrated
from triptych.schema import LEXICAL, Level

pytestmark = pytest.mark.unit

LEVEL = Level(floor=0.7, sigma=0.05, reliability=0.5, sample=256)


def _normalised(leg: str, raw: list[float], level: Level | None) -> list[float]:
    scale = calibrated(leg, raw, level)
    return [scale(x) for x in raw]


@pytest.mark.parametrize(
    ("leg", "raw", "level", "expected"),
    [
        ("text.text", [0.9, 0.8, 0.7], LEVEL, [1, 0.5, 0]),
        ("text.text", [0.9, 0.65], LEVEL, [1, -0.25]),
        (LEXICAL, [10, 5, 0], None, [1, 0.5, 0]),
        (LEXICAL, [10, 5, 0], Level(floor=0, sigma=0), [1, 0.5, 0]),
        ("text.text", [1.0, 0.75, 0.5], None, [1, 0.5, 0]),
    ],
    ids=["measured", "below the floor", "words", "words, measured", "unmeasured"],
)
def test_by_hand(leg: str, raw: list[float], level: Level | None, expected: list[float]) -> None:
    assert _normalised(leg, raw, level) == pytest.approx(expected)


@pytest.mark.parametrize(("leg", "score"), [(LEXICAL, 3.2), ("text.text", 0.93)])
def test_one_hit_is_the_best(leg: str, score: float) -> None:
    assert _normalised(leg, [score], LEVEL if leg != LEXICAL else None) == [1.0]


def test_equal_scores_are_all_the_best() -> None:
    assert _normalised(LEXICAL, [2.0, 2.0, 2.0], None) == [1.0, 1.0, 1.0]
    assert _normalised("text.text", [0.9, 0.9], LEVEL) == [1.0, 1.0]


def test_words_that_match_nothing_are_worth_nothing() -> None:
    assert _normalised(LEXICAL, [0.0, 0.0], None) == [0.0, 0.0]


@pytest.mark.parametrize("leg", [LEXICAL, "text.text"])
@pytest.mark.parametrize("level", [None, LEVEL])
def test_no_hit_at_all_still_makes_a_scale(leg: str, level: Level | None) -> None:
    scale = calibrated(leg, [], level)
    assert scale.top > scale.floor
    assert scale(scale.floor) == 0


@pytest.mark.parametrize(
    ("best", "worth"), [(0.7, 0.0), (0.71, 0.1), (0.75, 0.5), (0.79, 0.9), (0.8, 1.0), (0.85, 1.0), (0.99, 1.0)]
)
def test_a_best_within_two_sigma_of_the_floor_is_not_stretched_to_one(best: float, worth: float) -> None:
    assert _normalised("text.text", [best], LEVEL) == pytest.approx([worth])


def test_a_floor_above_all_scores_rewards_nobody() -> None:
    assert _normalised("text.text", [0.7, 0.65, 0.6], LEVEL) == pytest.approx([0, -0.5, -1])


def test_an_unmeasured_leg_below_its_floor_does_not_swamp_the_others() -> None:
    """Fewer than ten sounds, all pointing away from the query: a cosine of -.2 is no reason for a score of minus thousands."""
    assert all(-1 <= x <= 0 for x in _normalised("audio.audio", [0.45, 0.4, 0.35], None))


def test_an_unmeasured_leg_barely_above_its_floor_is_not_stretched_either() -> None:
    assert all(-1 <= x <= 1 for x in _normalised("audio.audio", [0.501, 0.45, 0.4], None))


@pytest.mark.parametrize(
    ("leg", "level", "measured"), [(LEXICAL, None, True), ("text.text", LEVEL, True), ("text.text", None, False)]
)
def test_explain_can_say_whether_the_floor_was_measured(leg: str, level: Level | None, *, measured: bool) -> None:
    assert calibrated(leg, [0.5], level).measured is measured


SCORES = st.lists(st.floats(0, 50), min_size=1, max_size=20)
LEVELS = st.none() | st.builds(Level, floor=st.floats(0, 1), sigma=st.floats(0, 0.5))
LEG_NAMES = st.sampled_from([LEXICAL, "text.text", "image.image"])


@given(LEG_NAMES, SCORES, LEVELS)
def test_a_better_score_never_becomes_a_worse_one(leg: str, raw: list[float], level: Level | None) -> None:
    values = _normalised(leg, sorted(raw), level)
    assert values == sorted(values)


@given(LEG_NAMES, SCORES, LEVELS)
def test_nothing_is_better_than_one(leg: str, raw: list[float], level: Level | None) -> None:
    values = _normalised(leg, raw, level)
    assert max(values) <= 1
    assert all(map(math.isfinite, values))


@given(LEG_NAMES, SCORES, LEVELS)
def test_the_best_is_one_where_it_stands_out(leg: str, raw: list[float], level: Level | None) -> None:
    scale = calibrated(leg, raw, level)
    assume(max(raw) > scale.floor + 1.01)  # two sigma are at most 1
    assert scale(max(raw)) == 1


@given(LEG_NAMES, SCORES, LEVELS, st.floats(0, 50))
def test_a_worse_candidate_does_not_move_the_others(leg: str, raw: list[float], level: Level | None, other: float) -> None:
    assume(other <= max(raw))
    assert calibrated(leg, [*raw, other], level) == calibrated(leg, raw, level)
