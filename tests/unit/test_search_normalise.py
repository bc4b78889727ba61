"""The scores of the legs on one scale: each method by hand, and what becomes of lists that have no width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import a_table

from search_api.candidates import NO_MATCH, NOT_RETRIEVED
from search_api.normalise import UNMEASURED, Scales, calibrated_scale, normalise, relevance
from search_api.query import FusionMethod
from triptych.schema import Level

pytestmark = pytest.mark.unit

LEVEL = Level(floor=0.7, sigma=0.05, reliability=0.5, sample=256)
METHODS: tuple[FusionMethod, ...] = ("calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf")


def scaled(
    raw: Sequence[float | None], method: FusionMethod, level: Level | None = None, *, lexical: bool = False, **more: Any
) -> list[float]:
    """One leg's scores of the products a, b, c ... on the scale of `method`."""
    table = a_table({chr(97 + n): [x] for n, x in enumerate(raw)}, **more)
    values, _ = normalise(table, method, [level], [lexical])
    return [float(x) for x in values[:, 0]]


def scales(
    raw: Sequence[float | None], method: FusionMethod, level: Level | None = None, *, lexical: bool = False, **more: Any
) -> Scales:
    return normalise(a_table({chr(97 + n): [x] for n, x in enumerate(raw)}, **more), method, [level], [lexical])[1]


SIGMA = math.sqrt(2 / 3)
"""Of 0.25, 0.5 and 0.75, in multiples of 0.25."""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("calibrated", [0.1, 0.2, 0.3]),  # BM25: floor 0, top 2.5, which a fourth product had
        ("min_max", [0, 0.5, 1]),
        ("z_score", [-1 / SIGMA, 0, 1 / SIGMA]),
        ("dbsf", [(-1 / SIGMA + 3) / 6, 0.5, (1 / SIGMA + 3) / 6]),
        ("l2", [1 / math.sqrt(14), 2 / math.sqrt(14), 3 / math.sqrt(14)]),
        ("tm2c2", [1 / 3, 2 / 3, 1]),
        ("rrf", [1 / 63, 1 / 62, 1 / 61]),
    ],
)
def test_three_products_by_hand(method: FusionMethod, expected: list[float]) -> None:
    assert scaled([0.25, 0.5, 0.75], method, lexical=True, tops=[2.5]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "alone"),
    [("min_max", 1), ("z_score", 0), ("dbsf", 0.5), ("l2", 1), ("tm2c2", 1), ("rrf", 1 / 61), ("calibrated", 1)],
)
def test_one_hit(method: FusionMethod, alone: float) -> None:
    assert scaled([0.875], method, LEVEL) == pytest.approx([alone])


@pytest.mark.parametrize(
    ("method", "each"),
    [("min_max", 1), ("z_score", 0), ("dbsf", 0.5), ("l2", 1 / math.sqrt(3)), ("tm2c2", 1), ("calibrated", 1)],
)
def test_equal_scores_are_worth_the_same(method: FusionMethod, each: float) -> None:
    assert scaled([0.875] * 3, method, LEVEL) == pytest.approx([each] * 3)


def test_equal_scores_share_a_rank() -> None:
    assert scaled([0.5, 0.875, 0.5], "rrf") == [1 / 62, 1 / 61, 1 / 62]
    assert scaled([0.5, 0.25, 0.5, 0.125], "rrf") == [1 / 61, 1 / 63, 1 / 61, 1 / 64]


def test_copies_whose_scores_elasticsearch_rounded_otherwise_share_a_rank() -> None:
    """It sums a product's dimensions in another order by where it lies, so the last bits of float32 differ."""
    one = float(np.nextafter(np.float32(0.75), np.float32(1)))
    assert scaled([0.75, one, 0.9, 0.7], "rrf") == [1 / 62, 1 / 62, 1 / 61, 1 / 64]
    assert scaled([0.75, 0.7501], "rrf") == [1 / 62, 1 / 61]


@pytest.mark.parametrize(("other", "rank"), [(0.9, 1), (0.75, 1), (0.6, 2), (0.5, 2), (0.4, 3)])
def test_what_no_leg_found_is_ranked_and_moves_nobody(other: float, rank: int) -> None:
    assert scaled([0.75, 0.5, other], "rrf", extra=["c"]) == [1 / 61, 1 / 62, 1 / (60 + rank)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("other", [0.0, 0.8, 9.0])
def test_what_no_leg_found_makes_no_scale(method: FusionMethod, other: float) -> None:
    tops = [0.875]
    apart, beside = (
        scales([0.75, 0.875], method, LEVEL, tops=tops),
        scales([0.75, 0.875, other], method, LEVEL, tops=tops, extra=["c"]),
    )
    for name in ("floor", "top", "background", "lack"):
        assert getattr(apart, name).tolist() == getattr(beside, name).tolist()


@pytest.mark.parametrize("method", [name for name in METHODS if name not in {"rrf", "min_max", "dbsf"}])
def test_words_that_match_nothing_are_worth_nothing(method: FusionMethod) -> None:
    assert scaled([0, 0], method, lexical=True, status={"a": [NO_MATCH], "b": [NO_MATCH]}) == [0, 0]


def test_a_product_whose_words_do_not_match_has_no_rank() -> None:
    """It would be ranked by its id: the least id would stand next to the one that matches."""
    found = scaled([0, 4.5, 0], "rrf", lexical=True, status={"a": [NO_MATCH], "c": [NO_MATCH]})
    assert found[1] == pytest.approx(1 / 61)
    assert all(math.isnan(x) or x == 0 for x in (found[0], found[2]))


@pytest.mark.parametrize("method", METHODS)
def test_without_candidates_there_is_still_a_scale(method: FusionMethod) -> None:
    values, scale = normalise(a_table({}, legs=("one",)), method, [LEVEL], [False])
    assert values.shape == (0, 1)
    assert np.isfinite([scale.floor, scale.top, scale.background]).all()
    assert scale.top[0] >= scale.floor[0]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_known_is_no_number_and_does_not_count(method: FusionMethod) -> None:
    apart = scaled([0.875, 0.75], method, LEVEL)
    beside = scaled([0.875, 0.75, None, 0.8], method, LEVEL, status={"d": [NOT_RETRIEVED]}, tops=[0.875])
    assert beside[:2] == pytest.approx(apart)
    assert all(map(math.isnan, beside[2:]))


# Calibrated


@pytest.mark.parametrize(
    ("raw", "level", "lexical", "expected"),
    [
        ([0.9, 0.8, 0.7], LEVEL, False, [1, 0.5, 0]),
        ([0.9, 0.65], LEVEL, False, [1, -0.25]),
        ([10, 5, 0], None, True, [1, 0.5, 0]),
        ([10, 5, 0], Level(floor=0, sigma=0), True, [1, 0.5, 0]),
        ([1.0, 0.75, 0.5], None, False, [1, 0.5, 0]),
    ],
    ids=["measured", "below the floor", "words", "words, measured", "unmeasured"],
)
def test_calibrated_by_hand(raw: list[float | None], level: Level | None, lexical: bool, expected: list[float]) -> None:
    assert scaled(raw, "calibrated", level, lexical=lexical) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("best", "worth"), [(0.7, 0.0), (0.71, 0.1), (0.75, 0.5), (0.79, 0.9), (0.8, 1.0), (0.85, 1.0), (0.99, 1.0)]
)
def test_a_best_within_two_sigma_of_the_floor_is_not_stretched_to_one(best: float, worth: float) -> None:
    assert scaled([best], "calibrated", LEVEL) == pytest.approx([worth], abs=1e-5)


def test_another_guard_stretches_less_or_more() -> None:
    table, half = a_table({"a": [0.55], "b": [0.5]}), Level(floor=0.5, sigma=0.05)

    def best(guard: float) -> float:
        return float(normalise(table, "calibrated", [half], [False], guard=guard)[0][0, 0])

    assert [best(guard) for guard in (0.0, 1.0, 2.0, 4.0)] == pytest.approx([1, 1, 0.5, 0.25], abs=1e-5)
    lacks = [float(normalise(table, "calibrated", [half], [False], guard=guard)[1].lack[0]) for guard in (0.0, 4.0)]
    assert lacks == pytest.approx([-2.0, -0.5], abs=1e-4), "two sigma below the floor, whatever the guard"


def test_a_level_without_width_does_not_drown_the_others() -> None:
    """A catalogue of equal products: sigma 0. The scale is never narrower than .01."""
    flat = Level(floor=0.7, sigma=0.0)
    assert calibrated_scale(flat, 0.7, lexical=False) == pytest.approx((0.7, 0.71))
    assert scaled([0.69], "calibrated", flat) == pytest.approx([-1], abs=1e-4)


def test_an_unmeasured_leg_is_the_cosine_itself() -> None:
    assert (UNMEASURED.floor, UNMEASURED.sigma) == (0.5, 0.25)
    assert scaled([0.45, 0.4, 0.501], "calibrated") == pytest.approx([-0.1, -0.2, 0.002], abs=1e-6)


@pytest.mark.parametrize("lexical", [True, False])
@pytest.mark.parametrize("level", [None, LEVEL])
def test_a_leg_that_found_nothing_has_a_scale(level: Level | None, lexical: bool) -> None:
    floor, top = calibrated_scale(level, math.nan, lexical=lexical)
    assert floor < top < math.inf


def test_a_leg_that_pushes_away_is_scaled_by_its_best_hit_though_that_is_no_candidate() -> None:
    """Such a leg is asked for its best score alone: 0.9 belongs to nobody in the table."""
    assert scaled([0.8, 0.75], "calibrated", LEVEL, tops=[0.9]) == pytest.approx([0.5, 0.25], abs=1e-6)


@pytest.mark.parametrize(
    ("method", "background"),
    [("calibrated", 0), ("min_max", -0.2), ("l2", 0.7 / math.hypot(0.9, 0.75)), ("tm2c2", 0.7 / 0.9), ("rrf", 0)],
)
def test_background_is_what_a_match_that_means_nothing_gets(method: FusionMethod, background: float) -> None:
    raw = [0.75, 0.9] if method != "min_max" else [0.725, 0.85]
    assert scales(raw, method, LEVEL).background[0] == pytest.approx(background, abs=1e-5)
    assert scales([3, 4], method, None, lexical=True).background[0] == pytest.approx(-3 if method == "min_max" else 0), (
        "for words nothing is 0"
    )


# Of all lists

SCORES = st.lists(st.integers(0, 400).map(lambda n: n / 64), min_size=1, max_size=20)
LEVELS = st.none() | st.builds(Level, floor=st.floats(0, 1), sigma=st.floats(0, 0.5))


@given(SCORES, LEVELS, st.booleans(), SCORES)
def test_calibrated_does_not_depend_on_the_other_rows(
    raw: list[float], level: Level | None, lexical: bool, others: list[float]
) -> None:
    top = max(*raw, *others)
    alone = scaled([*raw], "calibrated", level, lexical=lexical, tops=[top])
    beside = scaled([*raw, *others], "calibrated", level, lexical=lexical, tops=[top])
    assert beside[: len(raw)] == alone


@given(SCORES, LEVELS, st.booleans(), st.sampled_from(METHODS))
def test_a_better_score_never_becomes_a_worse_one(
    raw: list[float], level: Level | None, lexical: bool, method: FusionMethod
) -> None:
    values = scaled([*sorted(raw)], method, level, lexical=lexical)
    assert all(map(math.isfinite, values))
    pairs = list(zip(sorted(raw), values, strict=True))
    for (low, less), (high, more) in itertools.pairwise(pairs):
        assert less <= more + 1e-12
        assert less == more or low != high


@given(SCORES, LEVELS, st.booleans(), st.sampled_from(["calibrated", "min_max", "l2", "tm2c2", "rrf"]))
def test_nothing_is_better_than_one(raw: list[float], level: Level | None, lexical: bool, method: FusionMethod) -> None:
    assert max(scaled([*raw], method, level, lexical=lexical)) <= 1 + 1e-12


# Relevance

DECILES = Level(floor=0.5, sigma=0.1, noise=tuple(n / 10 for n in range(11)))


@pytest.mark.parametrize(("raw", "expected"), [(-1.0, 0), (0.0, 0), (0.25, 0.25), (0.3, 0.3), (1.0, 1), (7.0, 1)])
def test_relevance_is_the_share_of_noise_below(raw: float, expected: float) -> None:
    assert float(relevance(raw, DECILES)) == pytest.approx(expected)


def test_relevance_between_deciles_of_unequal_width() -> None:
    noise = (0.0, *[0.5] * 9, 1.0)  # nine tenths of the queries reach .5 or less
    level = Level(floor=0, sigma=0, noise=noise)
    assert float(relevance(0.25, level)) == pytest.approx(0.05)
    assert float(relevance(0.75, level)) == pytest.approx(0.95)
