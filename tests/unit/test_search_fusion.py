"""From the legs' scores to one score, by hand and against a reference that is written here anew."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import a_table

from search_api.candidates import NO_MATCH, NOT_RETRIEVED
from search_api.fusion import FusedLeg, Method, averaged, fuse, reweighed
from search_api.query import FusionMethod, Mean
from triptych.schema import LEXICAL, Level, Missing

pytestmark = pytest.mark.unit

UNIT = Level(floor=0.0, sigma=0.0)
"""A score between 0 and 1 normalises to itself where the best is 1."""


def leg(name: str, weight: float, source: str = "text", level: Level | None = UNIT, base: str = "") -> FusedLeg:
    return FusedLeg(name, source, base or name, weight, level)


def scores(table: Any, legs: Sequence[FusedLeg], **method: Any) -> dict[str, float]:
    fused = fuse(table, legs, Method(**method))
    return {key: float(fused.score[row]) for row, key in enumerate(table.ids)}


def order(table: Any, legs: Sequence[FusedLeg], **method: Any) -> list[str]:
    return [table.ids[row] for row in fuse(table, legs, Method(**method)).order]


WORDS, PICTURE = leg("one", 0.4, base=LEXICAL, level=None), leg("two", 0.6, "image", Level(floor=0.5, sigma=0.1))


def test_three_products_by_hand() -> None:
    table = a_table({"a": [8.0, 0.6], "b": [2.0, 0.9], "c": [0.0, None]}, status={"c": [NO_MATCH, 3]})
    fused = fuse(table, [WORDS, PICTURE], Method())
    # the photo cannot be answered by c: two sigmas below the floor, (0.3 - 0.5) / (0.9 - 0.5)
    assert list(fused.score) == pytest.approx([0.4 + 0.6 * 0.25, 0.4 * 0.25 + 0.6, 0.6 * -0.5], abs=1e-6)
    assert [table.ids[row] for row in fused.order] == ["b", "a", "c"]
    assert fused.normalised.tolist() == [pytest.approx(row, abs=1e-6) for row in ([1, 0.25], [0.25, 1], [0, -0.5])]
    assert fused.scales.floor.tolist() == [0, 0.5]
    assert fused.scales.top.tolist() == pytest.approx([8, 0.9])


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        ("arithmetic", 0.25 * 0.4 + 0.75 * 0.8),
        ("geometric", 0.4**0.25 * 0.8**0.75),
        ("harmonic", 1 / (0.25 / 0.4 + 0.75 / 0.8)),
    ],
)
def test_means_by_hand(mean: Mean, expected: float) -> None:
    table = a_table({"a": [0.4, 0.8], "b": [1.0, 1.0]})
    assert scores(table, [leg("one", 0.25), leg("two", 0.75)], mean=mean) == pytest.approx({"a": expected, "b": 1}, rel=1e-6)


@pytest.mark.parametrize(("mean", "expected"), [("geometric", 0.01**0.5), ("harmonic", 1 / (0.5 / 0.01 + 0.5))])
def test_a_leg_that_gives_nothing_does_not_wipe_out_the_others(mean: Mean, expected: float) -> None:
    table = a_table({"a": [0.0, 1.0], "b": [1.0, 0.005]})
    found = scores(table, [leg("one", 0.5), leg("two", 0.5)], mean=mean)
    assert found == pytest.approx({"a": expected, "b": expected})


def test_a_leg_below_zero_pushes_away() -> None:
    table = a_table({"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [0.5, 0.25]})
    legs = [leg("one", 0.75), leg("two", -0.25, "text#2")]
    assert scores(table, legs) == pytest.approx({"a": 0.75, "b": 0.5, "c": 0.75 * 0.5 - 0.25 * 0.25})


SPREAD = math.sqrt(2 / 3)
"""The sigma of 1, 2 and 3."""


@pytest.mark.parametrize(
    ("method", "scaled"),
    [
        ("calibrated", [1 / 3, 2 / 3, 1]),
        ("min_max", [0, 0.5, 1]),
        ("z_score", [-1 / SPREAD, 0, 1 / SPREAD]),
        ("dbsf", [(-1 / SPREAD + 3) / 6, 0.5, (1 / SPREAD + 3) / 6]),
        ("l2", [1 / math.sqrt(14), 2 / math.sqrt(14), 3 / math.sqrt(14)]),
        ("tm2c2", [1 / 3, 2 / 3, 1]),
        ("rrf", [1 / 63, 1 / 62, 1 / 61]),
    ],
)
def test_a_leg_below_zero_by_hand_under_every_method(method: FusionMethod, scaled: list[float]) -> None:
    """What is pushed away most has least of it: one leg lists a, b, c from worst to best, the other the other way round."""
    table = a_table({"a": [1.0, 3.0], "b": [2.0, 2.0], "c": [3.0, 1.0]})
    legs = [leg("one", 0.75, base=LEXICAL, level=None), leg("two", -0.25, "text#2", None, LEXICAL)]
    low, middle, high = scaled
    expected = {"a": 0.75 * low - 0.25 * high, "b": 0.5 * middle, "c": 0.75 * high - 0.25 * low}
    assert scores(table, legs, fusion=method) == pytest.approx(expected)
    assert order(table, legs, fusion=method) == ["c", "b", "a"]


# What a product lacks


LEGS = [leg("one", 0.2), leg("two", 0.3), leg("three", 0.5, "image")]
FULL = [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("missing", "row", "expected"),
    [
        ("renormalise", [0.5, None, 0.8], 0.5 * 0.5 + 0.5 * 0.8),  # the words' whole share goes to the leg that is there
        # the picture cannot be answered: two sigmas below the floor, and sigma is 0 here
        ("renormalise", [0.5, 0.25, None], 0.2 * 0.5 + 0.3 * 0.25),
        ("renormalise", [None, None, 0.8], 0.5 * 0.8),
        ("renormalise", [None, None, None], 0),
        ("zero", [0.5, None, 0.8], 0.2 * 0.5 + 0.5 * 0.8),
        ("zero", [0.5, 0.25, None], 0.2 * 0.5 + 0.3 * 0.25),
        ("background", [0.5, None, 0.8], 0.2 * 0.5 + 0.5 * 0.8),  # calibrated: a match that means nothing is 0
    ],
)
def test_what_a_lack_costs(missing: Missing, row: list[float | None], expected: float) -> None:
    table = a_table({"a": row, "full": FULL})
    assert scores(table, LEGS, missing=missing) == pytest.approx({"a": expected, "full": 1}, abs=1e-6)


def test_what_no_leg_of_an_input_can_answer_counts_two_sigmas_below_the_floor() -> None:
    """A product without a picture must not stand above those whose picture is just not the one sought."""
    level = Level(floor=0.6, sigma=0.05)
    table = a_table({"lacks": [0.4, None], "other": [0.4, 0.58], "full": [1.0, 1.0]})
    legs = [leg("one", 0.5), leg("two", 0.5, "image", level)]
    found = scores(table, legs)
    assert found["lacks"] == pytest.approx(0.2 - 0.5 * 0.1 / 0.4)
    assert found["lacks"] < found["other"]
    assert scores(table, legs, missing="zero")["lacks"] == pytest.approx(0.2)


def test_background_under_tm2c2_is_what_meaningless_cosines_get() -> None:
    level = Level(floor=0.6, sigma=0.05)
    table = a_table({"a": [0.4, None], "full": [1.0, 0.8]})
    legs = [leg("one", 0.5), leg("two", 0.5, "image", level)]
    found = scores(table, legs, fusion="tm2c2", missing="background")
    assert found["a"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.6 / 0.8)
    assert scores(table, legs, fusion="tm2c2", missing="zero")["a"] == pytest.approx(0.2)


@pytest.mark.parametrize("mean", get_args(Mean))
@pytest.mark.parametrize("missing", get_args(Missing))
def test_a_lack_is_never_a_reward(mean: Mean, missing: Missing) -> None:
    """Without its picture a product cannot score above itself with a picture that is as good as its words."""
    table = a_table({"both": [0.6, 0.6, 0.6], "lacks": [0.6, 0.6, None], "full": FULL})
    found = scores(table, LEGS, mean=mean, missing=missing)
    assert found["lacks"] < found["both"]


METHODS = [name for name in get_args(FusionMethod) if name != "native"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", ["renormalise", "zero"])
def test_a_lack_is_no_reward_beside_pictures_below_the_mean(method: FusionMethod, missing: Missing) -> None:
    """Nor above itself with any of the pictures there are, though most of them are worse than their mean."""
    pictures = {"a": 0.9, "b": 0.12, "c": 0.11, "d": 0.1, "e": 0.05, "f": 0.1, "g": 0.12, "h": 0.1, "i": 0.1, "j": 0.1}
    table = a_table({**{key: [0.6, 0.6, x] for key, x in pictures.items()}, "lacks": [0.6, 0.6, None]})
    found = scores(table, LEGS, fusion=method, missing=missing)
    assert all(found["lacks"] <= found[key] + 1e-9 for key in pictures)


def test_under_z_score_a_lack_counts_as_the_worst_picture() -> None:
    table = a_table({"a": [0.5, 0.9], "b": [0.5, 0.5], "c": [0.5, 0.1], "lacks": [0.5, None]})
    legs = [leg("one", 0.5), leg("two", 0.5, "image")]
    for missing in ("renormalise", "zero"):
        found = scores(table, legs, fusion="z_score", missing=missing)
        assert found["lacks"] == pytest.approx(found["c"]) == pytest.approx(0.5 * -math.sqrt(1.5))
    pushed = scores(table, [leg("one", 0.5), leg("two", -0.5, "image")], fusion="z_score")
    assert pushed["lacks"] == pytest.approx(0), "what is pushed away and is not there counts as the mean"


def test_under_dbsf_a_lack_counts_as_an_outlier_below_three_sigma() -> None:
    table = a_table({**{f"{n:02}": [0.5, 0.9] for n in range(20)}, "far": [0.5, 0.1], "lacks": [0.5, None]})
    found = scores(table, [leg("one", 0.5), leg("two", 0.5, "image")], fusion="dbsf")
    assert found["lacks"] == pytest.approx(found["far"])
    assert found["far"] < 0.25, "0.5 is what all equal words are worth, and less than nothing is added"


def test_a_lack_of_what_is_pushed_away_is_no_reward_either() -> None:
    """Two legs of one input, one of them given a weight below 0: it must not give its weight to the other."""
    table = a_table({"lacks": [0.5, None], "clean": [0.5, 0.0], "full": [1.0, 1.0]})
    found = scores(table, [leg("one", 0.5), leg("two", -0.5)])
    assert found["lacks"] == pytest.approx(found["clean"]) == pytest.approx(0.25)


def test_what_was_not_asked_for_counts_nothing_under_every_policy() -> None:
    table = a_table({"a": [0.5, 0.0, 0.8], "full": FULL}, status={"a": [0, NOT_RETRIEVED, 0]})
    for missing in get_args(Missing):
        assert scores(table, LEGS, missing=missing)["a"] == pytest.approx(0.2 * 0.5 + 0.5 * 0.8)


# The order


def test_ties_are_ordered_by_id() -> None:
    table = a_table({"c": [1.0], "a": [1.0], "b": [2.0], "B": [1.0], "\U0001f600": [1.0], "\uffff": [1.0]})
    assert order(table, [leg("one", 1.0)]) == ["b", "B", "a", "c", "\uffff", "\U0001f600"]


def test_later_rounds_stand_behind_whatever_their_score() -> None:
    table = a_table({"z": [0.1], "m": [0.2], "a": [1.0], "k": [0.2], "b": [0.9]}, rounds={"a": 1, "k": 1, "b": 2})
    assert table.ids == ("m", "z", "a", "k", "b")
    assert order(table, [leg("one", 1.0)]) == ["m", "z", "a", "k", "b"]


def test_ties_of_a_later_round_are_ordered_by_id_too() -> None:
    table = a_table({"z": [0.5], "y": [0.5], "b": [0.5], "a": [0.5]}, rounds={"a": 1, "b": 1})
    assert order(table, [leg("one", 1.0)]) == ["y", "z", "a", "b"]


def test_a_later_round_does_not_move_the_first() -> None:
    """Pages beyond the window: what was shown must stay where it was shown."""
    first: dict[str, Sequence[float | None]] = {"a": [0.9, 0.50], "b": [0.7, 0.66], "c": [0.4, 0.9]}
    later: dict[str, Sequence[float | None]] = {"x": [0.05, 0.89], "y": [0.39, 0.01], "z": [0.85, 0.3], "w": [0.88, 0.2]}
    legs = [leg("one", 0.5), leg("two", 0.5, "image")]
    before = a_table(first)
    after = a_table({**first, **later}, rounds=dict.fromkeys(later, 1), tops=before.tops)
    assert order(after, legs)[:3] == order(before, legs)
    old, new = scores(before, legs), scores(after, legs)
    assert {key: new[key] for key in old} == old


def test_no_candidate_no_hit() -> None:
    fused = fuse(a_table({}, legs=("one",)), [leg("one", 1.0)], Method())
    assert (fused.order, fused.score.shape) == ([], (0,))


def test_other_weights_leave_everything_else() -> None:
    assert reweighed([WORDS, PICTURE], {"one": 0.9, "two": 0.1}) == [
        replace(WORDS, weight=0.9), replace(PICTURE, weight=0.1),
    ]  # fmt: skip


# Of all tables

GRID = st.integers(0, 64).map(lambda n: n / 64)
CELL = st.none() | GRID


def rows_of(cells: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, tuple[Any, ...]]]:
    return st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(cells, cells, cells), min_size=1, max_size=8)


WEIGHTS = st.tuples(*[st.floats(0.05, 1)] * 3).map(lambda w: [x / sum(w) for x in w])
LEVELS = (UNIT, Level(floor=0.4, sigma=0.1), None)


_LACK = "lack"


def legs_of(weights: Sequence[float]) -> list[FusedLeg]:
    """Words (BM25) and a vector leg of one input, and an unmeasured leg of another."""
    return [
        leg("one", weights[0], "text", None, LEXICAL),
        leg("two", weights[1], "text", LEVELS[1]),
        leg("three", weights[2], "image", None),
    ]


def reference(
    rows: dict[str, tuple[float | None, ...]], legs: Sequence[FusedLeg], method: FusionMethod, mean: Mean, missing: Missing
) -> dict[str, float]:
    """The same by floats, lists and the statistics module."""
    columns = [_column({key: row[n] for key, row in rows.items()}, one, method) for n, one in enumerate(legs)]
    found = {}
    for key, row in rows.items():
        weights = [one.weight for one in legs]
        if missing == "renormalise":
            for source in {one.source for one in legs}:
                mine = [n for n, one in enumerate(legs) if one.source == source]
                there = [n for n in mine if row[n] is not None]
                if there:
                    whole, left = sum(weights[n] for n in mine), sum(weights[n] for n in there)
                    for n in mine:
                        weights[n] = weights[n] * whole / left if n in there else 0.0
        lacks = {"renormalise": _LACK, "zero": "0", "background": ""}[missing]
        values = [column[key if row[n] is not None else lacks] for n, column in enumerate(columns)]
        found[key] = _mean(values, weights, mean)
    return found


def _mean(values: Sequence[float], weights: Sequence[float], mean: Mean) -> float:
    if mean == "arithmetic":
        return math.fsum(w * x for w, x in zip(weights, values, strict=True))
    least = [max(x, 0.01) for x in values]
    whole = sum(weights)
    if mean == "geometric":
        return float(math.prod(x ** (w / whole) for w, x in zip(weights, least, strict=True)))
    return whole / math.fsum(w / x for w, x in zip(weights, least, strict=True))


def _column(raw: dict[str, float | None], one: FusedLeg, method: FusionMethod) -> dict[str, float]:
    """Normalised by id; under "" what a meaningless match gets, under "0" nothing, and what no leg of an input can answer."""
    known = {key: x for key, x in raw.items() if x is not None}
    nothing = 0.0 if one.base == LEXICAL else (one.level or Level(floor=0.5, sigma=0.25)).floor
    if method == "rrf":
        better = {key: sum(other > x for other in known.values()) for key, x in known.items()}
        return {"": 0.0, "0": 0.0, _LACK: 0.0, **{key: 1 / (61 + n) for key, n in better.items()}}
    lack = 0.0
    xs = list(known.values())
    if method == "calibrated":
        level = one.level or (Level(floor=0, sigma=0) if one.base == LEXICAL else Level(floor=0.5, sigma=0.25))
        low, high = level.floor, level.floor + max(2 * level.sigma, 1e-6 if one.base == LEXICAL else 0.01)
        high = max([high, *xs])
        equal = 0.0
        lack = -2 * level.sigma / (high - low)
    elif not xs:
        low, high, equal = 0.0, 1.0, 0.0
    elif method == "min_max":
        low, high, equal = min(xs), max(xs), 1.0
    elif method in {"l2", "tm2c2"}:
        low, high, equal = 0.0, math.hypot(*xs) if method == "l2" else max(xs), 0.0
    else:
        middle, sigma = statistics.fmean(xs), statistics.pstdev(xs)
        low, high = (middle, middle + sigma) if method == "z_score" else (middle - 3 * sigma, middle + 3 * sigma)
        equal = 0.0 if method == "z_score" else 0.5
    if high <= low:
        return {"": 0.0, "0": 0.0, _LACK: lack, **dict.fromkeys(known, equal)}
    scaled = {key: (x - low) / (high - low) for key, x in known.items()}
    least = 0.0 if method == "calibrated" else min([0.0, *scaled.values()])
    return {"0": least, _LACK: lack if method == "calibrated" else least, "": (nothing - low) / (high - low), **scaled}


COMBINATIONS = list(
    itertools.product(["calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf"], get_args(Mean), get_args(Missing))
)


def agrees(
    rows: dict[str, tuple[float | None, ...]], weights: list[float], method: FusionMethod, mean: Mean, missing: Missing
) -> None:
    # words have a score of every product: 0 where none of them occurs
    known = {key: (row[0] or 0.0, *row[1:]) for key, row in rows.items()}
    legs = legs_of(weights)
    found = scores(a_table(known), legs, fusion=method, mean=mean, missing=missing)
    assert found == pytest.approx(reference(known, legs, method, mean, missing), rel=1e-9, abs=1e-9)


@given(rows_of(GRID), WEIGHTS, st.sampled_from(COMBINATIONS))
@hypothesis.settings(max_examples=120)
def test_with_everything_known_as_the_reference_says(rows: Any, weights: list[float], way: Any) -> None:
    agrees(rows, weights, *way)


@given(rows_of(CELL), WEIGHTS, st.sampled_from(COMBINATIONS))
@hypothesis.settings(max_examples=120)
def test_with_lacks_as_the_reference_says(rows: Any, weights: list[float], way: Any) -> None:
    agrees(rows, weights, *way)


@pytest.mark.parametrize(("method", "mean", "missing"), COMBINATIONS)
def test_every_way_to_fuse_as_the_reference_says(method: FusionMethod, mean: Mean, missing: Missing) -> None:
    """None of the 63 is left to chance: three tables each, with lacks."""
    chance = np.random.default_rng(7)
    for count in (2, 5, 9):
        cells = [[None if chance.random() < 0.25 else float(chance.integers(0, 65)) / 64 for _ in LEVELS] for _ in range(count)]
        weights = chance.random(3) + 0.1
        rows = {chr(97 + n): tuple(row) for n, row in enumerate(cells)}
        agrees(rows, [float(w / weights.sum()) for w in weights], method, mean, missing)


@given(rows_of(CELL), WEIGHTS, st.sampled_from(get_args(Missing)), st.sampled_from(["calibrated", "min_max", "l2", "rrf"]))
def test_contributions_add_up_to_the_score(
    rows: dict[str, tuple[float | None, ...]], weights: list[float], missing: Missing, method: FusionMethod
) -> None:
    fused = fuse(a_table(rows), legs_of(weights), Method(method, missing=missing))
    for row in range(len(rows)):
        parts = [float(w * x) for w, x in zip(fused.weight[row], fused.normalised[row], strict=True)]
        assert math.fsum(parts) == pytest.approx(float(fused.score[row]), abs=1e-12)
    assert (np.abs(fused.weight).sum(axis=1) <= 1 + 1e-9).all()


@given(rows_of(CELL), WEIGHTS)
def test_all_candidates_come_best_first(rows: dict[str, tuple[float | None, ...]], weights: list[float]) -> None:
    table = a_table(rows)
    fused = fuse(table, legs_of(weights), Method())
    shown = [(-fused.score[row], table.ids[row]) for row in fused.order]
    assert sorted(fused.order) == list(range(len(rows)))
    assert shown == sorted(shown)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from(get_args(Mean)), st.sampled_from(get_args(Missing)))
def test_identical_rows_get_identical_scores(seed: int, count: int, mean: Mean, missing: Missing) -> None:
    """To the last bit, wherever they stand in the table: else ties would not go by id."""
    chance = np.random.default_rng(seed)
    width = int(chance.integers(1, 12))
    row = [None if chance.random() < 0.3 else float(chance.random()) for _ in range(width)]
    weights = chance.random(width)
    names = [f"leg{n}" for n in range(width)]
    legs = [leg(name, float(weights[n] / weights.sum()), f"input{n % 3}") for n, name in enumerate(names)]
    table = a_table({f"{n:02}": row for n in range(count)}, legs=names)
    fused = fuse(table, legs, Method("calibrated", mean, missing))
    assert len(set(fused.score.tolist())) == 1
    assert fused.order == list(range(count))


@given(rows_of(CELL), WEIGHTS, st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_a_candidate_that_is_best_in_no_leg_moves_no_score(
    rows: dict[str, tuple[float | None, ...]], weights: list[float], shares: tuple[float, float, float]
) -> None:
    """A wider window adds the worse ones and changes nothing under calibrated."""
    before = a_table(rows)
    newcomer = [share * max((r[n] or 0.0 for r in rows.values()), default=0.0) for n, share in enumerate(shares)]
    after = a_table({**rows, "newcomer": newcomer}, tops=before.tops)
    old, new = scores(before, legs_of(weights)), scores(after, legs_of(weights))
    assert {key: new[key] for key in old} == old


def test_the_mean_of_no_weight_at_all_is_nothing() -> None:
    for mean in get_args(Mean):
        assert averaged(np.array([[0.5, 0.5]]), np.array([[0.0, 0.0]]), mean).tolist() == [0.0]
