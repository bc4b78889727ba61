"""Weights, and the score they make."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_api.completion import COMPLETED, NO_MATCH, NO_MODALITY, RETRIEVED, LegScores, Score
from search_api.fusion import SHARPNESS, default_weights, fuse, share, trust, without
from search_api.normalise import Scale, calibrated
from triptych.domain import Modality
from triptych.errors import QueryError
from triptych.schema import LEXICAL, Level

pytestmark = pytest.mark.unit

LEGS = (LEXICAL, "text.text", "text.image", "image.image", "audio.audio")
TEXT_AND_IMAGE = [(name, Modality(name.partition(".")[0] if "." in name else "text")) for name in LEGS[:4]]
DEFAULTS = {LEXICAL: 0.25, "text.text": 0.2, "text.image": 0.05, "image.image": 0.5}


# Weights nobody gave


def test_every_input_has_an_equal_share() -> None:
    weights = default_weights([*TEXT_AND_IMAGE, ("audio.audio", Modality.AUDIO)], {})
    assert weights == pytest.approx(dict.fromkeys(LEGS[:3], 1 / 9) | {"image.image": 1 / 3, "audio.audio": 1 / 3})


def test_within_an_input_a_leg_weighs_by_its_reliability_beyond_chance() -> None:
    levels = {
        LEXICAL: Level(floor=0, sigma=0, reliability=1.0, sample=100),
        "text.text": Level(floor=0.9, sigma=0.01, reliability=0.604, sample=100),
        "text.image": Level(floor=0.9, sigma=0.01, reliability=0.01, sample=100),  # chance: 1 / 100
        "image.image": Level(floor=0.5, sigma=0.1, reliability=None, sample=100),
    }
    dense = 0.6**SHARPNESS  # (.604 - .01) / (1 - .01) beyond chance
    expected = {LEXICAL: 0.5 / (1 + dense), "text.text": 0.5 * dense / (1 + dense), "text.image": 0, "image.image": 0.5}
    assert default_weights(TEXT_AND_IMAGE, levels) == pytest.approx(expected)


def test_legs_that_know_nothing_share_equally() -> None:
    useless = Level(floor=0.5, sigma=0.1, reliability=0.0, sample=100)
    legs = [("text.text", Modality.TEXT), ("text.image", Modality.TEXT)]
    assert default_weights(legs, dict.fromkeys(LEGS, useless)) == {"text.text": 0.5, "text.image": 0.5}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (None, 1.0),
        (Level(floor=0, sigma=0), 1.0),
        (Level(floor=0, sigma=0, reliability=1.0, sample=256), 1.0),
        (Level(floor=0, sigma=0, reliability=0.55, sample=2), 0.1**SHARPNESS),  # chance is half
        (Level(floor=0, sigma=0, reliability=0.5, sample=2), 0.0),
        (Level(floor=0, sigma=0, reliability=0.2, sample=2), 0.0),
        (Level(floor=0, sigma=0, reliability=1.0, sample=1), 1.0),  # alone everybody finds themselves
        (Level(floor=0, sigma=0, reliability=1.0, sample=0), 1.0),
    ],
)
def test_trust_is_reliability_beyond_chance_sharpened(level: Level | None, expected: float) -> None:
    assert trust(level) == pytest.approx(expected)


MEASURED = st.dictionaries(
    st.sampled_from(LEGS),
    st.builds(
        Level,
        floor=st.floats(0, 1), sigma=st.floats(0, 1), reliability=st.none() | st.floats(0, 1), sample=st.integers(0, 300),
    ),
)  # fmt: skip


@given(st.lists(st.sampled_from(TEXT_AND_IMAGE), min_size=1, unique=True), MEASURED)
def test_default_weights_add_up_to_one(legs: list[tuple[str, Modality]], levels: dict[str, Level]) -> None:
    weights = default_weights(legs, levels)
    assert math.fsum(weights.values()) == pytest.approx(1, abs=1e-9)
    assert all(weight >= 0 for weight in weights.values())
    inputs = {modality for _, modality in legs}
    for modality in inputs:
        assert sum(weights[name] for name, owner in legs if owner is modality) == pytest.approx(1 / len(inputs))


# Weights the user gave


@pytest.mark.parametrize("leg", DEFAULTS)
def test_a_given_weight_is_a_share_of_the_whole(leg: str) -> None:
    weights = share({leg: 0.5}, DEFAULTS, LEGS)
    assert weights[leg] == pytest.approx(0.5, abs=1e-12)
    others = {name: weight for name, weight in weights.items() if name != leg}
    kept = {name: DEFAULTS[name] for name in others}
    assert others == pytest.approx({name: 0.5 * weight / sum(kept.values()) for name, weight in kept.items()})


@pytest.mark.parametrize(
    ("given_weights", "expected"),
    [
        ({}, DEFAULTS),
        ({LEXICAL: 0.0}, {LEXICAL: 0, "text.text": 0.2 / 0.75, "text.image": 0.05 / 0.75, "image.image": 0.5 / 0.75}),
        ({"image.image": 1.0}, {LEXICAL: 0, "text.text": 0, "text.image": 0, "image.image": 1}),
        ({"image.image": 3, LEXICAL: 1}, {LEXICAL: 0.25, "text.text": 0, "text.image": 0, "image.image": 0.75}),
        ({"image.image": 0.5, LEXICAL: 0.5}, {LEXICAL: 0.5, "text.text": 0, "text.image": 0, "image.image": 0.5}),
        (dict.fromkeys(DEFAULTS, 0.1), dict.fromkeys(DEFAULTS, 0.25)),
    ],
)
def test_shares_by_hand(given_weights: dict[str, float], expected: dict[str, float]) -> None:
    assert share(given_weights, DEFAULTS, LEGS) == pytest.approx(expected)


def test_a_leg_of_the_index_that_this_query_has_not_is_ignored() -> None:
    assert share({"audio.audio": 0.9}, DEFAULTS, LEGS) == pytest.approx(DEFAULTS)


@pytest.mark.parametrize(("name", "hint"), [("image.imag", "Did you mean 'image.image'?"), ("zzz", "audio.audio")])
def test_an_unknown_leg_is_told_with_the_one_meant(name: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        share({name: 0.5}, DEFAULTS, LEGS)
    assert (caught.value.code, caught.value.field) == ("query.unknown_leg", f"weights.{name}")
    assert hint in (caught.value.remedy or "")


@pytest.mark.parametrize("value", [-0.1, -math.inf, math.inf, math.nan])
def test_a_weight_is_a_number_from_zero_up(value: float) -> None:
    with pytest.raises(QueryError) as caught:
        share({LEXICAL: value}, DEFAULTS, LEGS)
    assert (caught.value.code, caught.value.field) == ("query.bad_weight", f"weights.{LEXICAL}")


def test_something_must_weigh() -> None:
    with pytest.raises(QueryError) as caught:
        share(dict.fromkeys(DEFAULTS, 0.0), DEFAULTS, LEGS)
    assert (caught.value.code, caught.value.field) == ("query.bad_weight", "weights")


@given(st.dictionaries(st.sampled_from(LEGS), st.floats(0, 1e6)), MEASURED)
def test_weights_add_up_to_one(given_weights: dict[str, float], levels: dict[str, Level]) -> None:
    defaults = default_weights(TEXT_AND_IMAGE, levels)
    try:
        weights = share(given_weights, defaults, LEGS)
    except QueryError:
        assert all(weight == 0 for weight in given_weights.values())
        return
    assert set(weights) == set(defaults)
    assert math.fsum(abs(weight) for weight in weights.values()) == pytest.approx(1, abs=1e-9)


def test_enormous_weights_add_up_to_one_too() -> None:
    weights = share({LEXICAL: 1e308, "image.image": 1e308}, DEFAULTS, LEGS)
    assert math.fsum(weights.values()) == pytest.approx(1)


# Legs that fell out


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        ([], DEFAULTS),
        (["image.image"], {LEXICAL: 0.5, "text.text": 0.4, "text.image": 0.1}),
        (["audio.audio"], DEFAULTS),
        ([LEXICAL, "text.text", "text.image"], {"image.image": 1.0}),
        (list(DEFAULTS), {}),
    ],
)
def test_the_others_keep_their_proportions(dropped: list[str], expected: dict[str, float]) -> None:
    assert without(DEFAULTS, dropped) == pytest.approx(expected)


def test_when_all_the_weight_fell_out_the_rest_share_equally() -> None:
    assert without({"a": 1.0, "b": 0.0, "c": 0.0}, ["a"]) == {"b": 0.5, "c": 0.5}


# The score


def _scores(**legs: dict[str, float | None]) -> dict[str, LegScores]:
    return {
        name.replace("_", "."): {key: Score(raw, NO_MODALITY if raw is None else RETRIEVED) for key, raw in leg.items()}
        for name, leg in legs.items()
    }


def test_three_products_by_hand() -> None:
    scores: dict[str, LegScores] = {
        LEXICAL: {"a": Score(8.0, RETRIEVED), "b": Score(2.0, COMPLETED), "c": Score(0.0, NO_MATCH)},
        "image.image": {"a": Score(0.6, COMPLETED), "b": Score(0.9, RETRIEVED), "c": Score(None, NO_MODALITY)},
    }
    scales = {LEXICAL: Scale(0.0, 8.0, measured=True), "image.image": Scale(0.5, 0.9, measured=True)}
    fused = fuse(scores, scales, {LEXICAL: 0.4, "image.image": 0.6})
    assert [(f.id, pytest.approx(f.score)) for f in fused] == [("b", 0.4 * 0.25 + 0.6), ("a", 0.4 + 0.6 * 0.25), ("c", 0.0)]
    picture = fused[0].legs["image.image"]
    assert (picture.raw, picture.normalised, picture.weight, picture.contribution) == pytest.approx((0.9, 1.0, 0.6, 0.6))
    assert (picture.completed, picture.status) == (False, RETRIEVED)
    assert (fused[0].legs[LEXICAL].completed, fused[0].legs[LEXICAL].status) == (True, COMPLETED)
    assert (fused[2].legs[LEXICAL].raw, fused[2].legs[LEXICAL].status) == (0.0, NO_MATCH)
    assert (fused[2].legs["image.image"].raw, fused[2].legs["image.image"].contribution) == (None, 0.0)


def test_ties_are_ordered_by_id() -> None:
    scores = _scores(lexical={"c": 1.0, "a": 1.0, "b": 2.0, "B": 1.0})
    fused = fuse(scores, {LEXICAL: Scale(0, 2, measured=True)}, {LEXICAL: 1.0})
    assert [f.id for f in fused] == ["b", "B", "a", "c"]


def test_no_candidate_no_hit() -> None:
    assert fuse({LEXICAL: {}}, {LEXICAL: Scale(0, 1, measured=True)}, {LEXICAL: 1.0}) == []


RAW = st.none() | st.floats(0, 1)
TABLE = st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.floats(0, 30), RAW, RAW), min_size=1, max_size=12)
NAMES = (LEXICAL, "text.text", "image.image")
LEVELS = {"text.text": Level(floor=0.4, sigma=0.1), "image.image": Level(floor=0.2, sigma=0.05)}
WEIGHTS = st.tuples(*[st.floats(0.01, 1)] * 3).map(lambda w: {n: x / sum(w) for n, x in zip(NAMES, w, strict=True)})


def _columns(table: dict[str, tuple[float | None, ...]]) -> dict[str, LegScores]:
    return {
        name: {key: Score(row[place], RETRIEVED if row[place] is not None else NO_MODALITY) for key, row in table.items()}
        for place, name in enumerate(NAMES)
    }


def _scales(scores: dict[str, LegScores]) -> dict[str, Scale]:
    return {n: calibrated(n, (s.raw for s in leg.values() if s.raw is not None), LEVELS.get(n)) for n, leg in scores.items()}


@given(TABLE, WEIGHTS)
def test_contributions_add_up_to_the_score(table: dict[str, tuple[float | None, ...]], weights: dict[str, float]) -> None:
    scores = _columns(table)
    scales = _scales(scores)
    for f in fuse(scores, scales, weights):
        assert math.fsum(leg.contribution for leg in f.legs.values()) == pytest.approx(f.score, abs=1e-9)
        for name, leg in f.legs.items():
            assert leg.weight == weights[name]
            assert leg.contribution == pytest.approx(leg.weight * leg.normalised, abs=1e-9)
            expected = 0.0 if leg.raw is None else (leg.raw - scales[name].floor) / (scales[name].top - scales[name].floor)
            assert leg.normalised == pytest.approx(expected, abs=1e-9)
        assert f.score <= 1 + 1e-9


@given(TABLE, WEIGHTS)
def test_all_candidates_come_best_first(table: dict[str, tuple[float | None, ...]], weights: dict[str, float]) -> None:
    scores = _columns(table)
    fused = fuse(scores, _scales(scores), weights)
    assert sorted(f.id for f in fused) == sorted(table)
    assert [(-f.score, f.id) for f in fused] == sorted((-f.score, f.id) for f in fused)


@given(TABLE, WEIGHTS, st.data())
def test_under_given_scales_a_score_does_not_depend_on_who_else_is_there(
    table: dict[str, tuple[float | None, ...]], weights: dict[str, float], data: st.DataObject
) -> None:
    scores = _columns(table)
    scales = _scales(scores)
    whole = {f.id: f for f in fuse(scores, scales, weights)}
    some = data.draw(st.sets(st.sampled_from(sorted(table)), min_size=1))
    for f in fuse(_columns({key: table[key] for key in some}), scales, weights):
        assert f == whole[f.id]


@given(TABLE, WEIGHTS, st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_a_candidate_that_is_best_in_no_leg_moves_no_score(
    table: dict[str, tuple[float | None, ...]], weights: dict[str, float], shares: tuple[float, float, float]
) -> None:
    """The scales depend on the candidates by their best only: a wider window adds the worse ones and changes nothing."""
    before = _columns(table)
    newcomer = tuple(
        share * max((s.raw for s in before[name].values() if s.raw is not None), default=0.0)
        for name, share in zip(NAMES, shares, strict=True)
    )
    after = _columns({**table, "newcomer": newcomer})
    then = {f.id: f for f in fuse(after, _scales(after), weights)}
    for f in fuse(before, _scales(before), weights):
        assert then[f.id] == f


@given(st.floats(0, 1), st.floats(0, 1), st.integers(11, 300))
def test_a_leg_that_finds_more_is_trusted_no_less(one: float, other: float, sample: int) -> None:
    low, high = sorted((one, other))
    trusts = [trust(Level(floor=0, sigma=0, reliability=x, sample=sample)) for x in (low, high)]
    assert 0 <= trusts[0] <= trusts[1] <= 1
