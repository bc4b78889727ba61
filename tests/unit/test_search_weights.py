"""What each leg weighs: by inputs, by what is measured, by the class of the words, and as the user says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import an_encoded

from search_api.legs import Planned, wanted
from search_api.query import QueryClass, QueryInput, SearchRequest
from search_api.weights import LEXICAL_SHARES, SHARPNESS, class_of, default_weights, of_query, scaled, share, trust, without
from triptych.errors import QueryError
from triptych.schema import LEXICAL, IndexSchema, Level

pytestmark = pytest.mark.unit

LEGS = (LEXICAL, "text.text", "text.image", "image.image", "audio.audio")
DEFAULTS = {LEXICAL: 0.25, "text.text": 0.2, "text.image": 0.05, "image.image": 0.5}


def planned(name: str, weight: float = 1.0, source: str | None = None) -> Planned:
    """A leg of the input that its name says."""
    base = name.partition("#")[0]
    kind = "text" if base == LEXICAL else base.partition(".")[0]
    return Planned(name, source or kind + name[len(base) :], base, (QueryInput("text", text="x"),), weight)


TEXT_AND_IMAGE = [planned(name) for name in LEGS[:4]]


def level(reliability: float | None, sample: int = 100) -> Level:
    return Level(floor=0.5, sigma=0.1, reliability=reliability, sample=sample)


# Weights nobody gave


def test_every_input_has_an_equal_share() -> None:
    weights = default_weights([*TEXT_AND_IMAGE, planned("audio.audio")], {})
    assert weights == pytest.approx(dict.fromkeys(LEGS[:3], 1 / 9) | {"image.image": 1 / 3, "audio.audio": 1 / 3})


def test_within_an_input_a_leg_weighs_by_its_reliability_beyond_chance() -> None:
    levels = {
        LEXICAL: level(1.0), "text.text": level(0.604),
        "text.image": level(0.01),  # chance: 1 / 100
        "image.image": level(None),
    }  # fmt: skip
    dense = 0.6**SHARPNESS  # (.604 - .01) / (1 - .01) beyond chance
    expected = {LEXICAL: 0.5 / (1 + dense), "text.text": 0.5 * dense / (1 + dense), "text.image": 0, "image.image": 0.5}
    assert default_weights(TEXT_AND_IMAGE, levels) == pytest.approx(expected)


def test_inputs_weigh_as_they_say_and_below_zero_push_away() -> None:
    plan = [planned(LEXICAL, 2), planned("text.text", 2), planned("image.image", 1), planned("text.text#2", -1)]
    expected = {LEXICAL: 0.25, "text.text": 0.25, "image.image": 0.25, "text.text#2": -0.25}
    assert default_weights(plan, {}) == pytest.approx(expected)


def test_an_input_of_no_weight_gets_nothing() -> None:
    assert default_weights([planned(LEXICAL), planned("image.image", 0)], {}) == {LEXICAL: 1, "image.image": 0}


def test_the_second_text_is_trusted_as_the_first() -> None:
    levels = {LEXICAL: level(1.0), "text.text": level(0.01)}
    plan = [planned(name) for name in (LEXICAL, "text.text", f"{LEXICAL}#2", "text.text#2")]
    weights = default_weights(plan, levels)
    assert weights == pytest.approx({LEXICAL: 0.5, "text.text": 0, f"{LEXICAL}#2": 0.5, "text.text#2": 0})


def test_legs_that_know_nothing_share_equally() -> None:
    legs = [planned("text.text"), planned("text.image")]
    assert default_weights(legs, dict.fromkeys(LEGS, level(0.0))) == {"text.text": 0.5, "text.image": 0.5}


def test_beside_measured_legs_one_that_was_not_gets_nothing() -> None:
    weights = default_weights([planned(LEXICAL), planned("text.text"), planned("text.image")], {LEXICAL: level(0.505)})
    assert weights == pytest.approx({LEXICAL: 1, "text.text": 0, "text.image": 0})


def test_words_of_which_too_few_titles_could_tell_leave_the_other_legs_their_share() -> None:
    """A shop of fewer than ten titles: the words' level says nothing but the floor, and no vector leg has one."""
    levels = {LEXICAL: Level(floor=0.0, sigma=0.0)}
    plan = [planned(LEXICAL), planned("text.text"), planned("text.image")]
    assert default_weights(plan, levels) == pytest.approx(dict.fromkeys(LEGS[:3], 1 / 3))
    among_many = {**levels, "text.text": level(1.0)}  # of a space more products are drawn than of all
    assert default_weights(plan, among_many) == pytest.approx({LEXICAL: 0.5, "text.text": 0.5, "text.image": 0})


def test_a_measured_leg_does_not_take_the_share_of_one_whose_reliability_cannot_be_measured() -> None:
    levels = {"image.image": level(None), "image.text": level(1.0)}
    weights = default_weights([planned("image.image"), planned("image.text"), planned("image.audio")], levels)
    assert weights == pytest.approx({"image.image": 0.5, "image.text": 0.5, "image.audio": 0})


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (None, 1.0),
        (Level(floor=0, sigma=0), 1.0),
        (level(1.0, 256), 1.0),
        (level(0.55, 2), 0.1**SHARPNESS),  # chance is half
        (level(0.5, 2), 0.0),
        (level(0.2, 2), 0.0),
        (level(1.0, 1), 1.0),  # alone everybody finds themselves
        (level(1.0, 0), 1.0),
    ],
)
def test_trust_is_reliability_beyond_chance_sharpened(measured: Level | None, expected: float) -> None:
    assert trust(measured) == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(11, 300))
def test_a_leg_that_finds_more_is_trusted_no_less(one: float, other: float, sample: int) -> None:
    low, high = (trust(level(x, sample)) for x in sorted((one, other)))
    assert 0 <= low <= high <= 1


# Classes of query


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WH-1000XM4", "sku"), ("iphone13", "sku"), ("123", "sku"), (" A1 ", "sku"), ("a-1-b", "sku"),
        ("HP dv7-1211ea", "sku"), ("ps4 pro", "sku"), ("Xerox 006R90321 toner", "sku"), ("charger a52s", "sku"),
        ("16gb ddr2", "sku"), ("16gb memory", "short"), ("tv 4k 120Hz", "none"), ("10x20cm frame", "short"),
        ("a4 paper", "short"), ("case for a samsung phone a52s", "sentence"), ("3.5mm jack", "none"),
        ("iphone 13", "short"), ("shoe", "short"), ("red shoe", "short"), ("4.5", "short"), ("红鞋", "short"), ("", "short"),
        ("red leather shoe", "none"), ("one two three four five", "none"),
        ("one two three four five six", "sentence"), ("一二三四五六", "sentence"), ("shoes for a 10 km run", "sentence"),
    ],
)  # fmt: skip
def test_the_class_of_words(text: str, expected: QueryClass) -> None:
    assert class_of(text) == expected


@pytest.mark.parametrize("query_class", list(LEXICAL_SHARES))
def test_a_class_says_bm25s_share_of_the_words(query_class: QueryClass) -> None:
    levels = {LEXICAL: level(0.8), "text.text": level(0.604), "text.image": level(0.307)}  # trusts .36 and .09
    lexical = LEXICAL_SHARES[query_class]
    found = default_weights(TEXT_AND_IMAGE, levels, query_class=query_class)
    expected = {LEXICAL: lexical / 2, "text.text": (1 - lexical) * 0.4, "text.image": (1 - lexical) * 0.1, "image.image": 0.5}
    assert found == pytest.approx(expected)


def test_one_or_two_words_alone_weigh_by_reliability_and_lean_on_bm25_beside_a_picture_or_a_sound() -> None:
    levels = {LEXICAL: level(0.8), "text.text": level(0.8)}
    words = [planned(LEXICAL), planned("text.text")]
    even = {LEXICAL: 0.5, "text.text": 0.5}
    assert default_weights(words, levels, query_class="short") == pytest.approx(even)
    assert default_weights(words, levels, query_class="sku") == pytest.approx({LEXICAL: 0.9, "text.text": 0.1})
    for medium in ("image.image", "audio.audio", "image.image#2"):
        found = default_weights([*words, planned(medium)], levels, query_class="short")
        assert found == pytest.approx({LEXICAL: 0.4, "text.text": 0.1, medium: 0.5})
    for other in (planned("image.image", -1), planned("image.image", 0), planned("history.text"), planned("vector.text")):
        found = default_weights([*words, other], levels, query_class="short")
        assert found[LEXICAL] == pytest.approx(found["text.text"])


SPACE = an_encoded("text", 3)
SCHEMA = IndexSchema(
    lexical_fields=("title",),
    spaces=(SPACE,),
    levels={LEXICAL: level(0.8), "text.text": level(0.8)},
    weight_sets={"mine": {LEXICAL: 0.5}, "mine.sku": {LEXICAL: 0.7}, "mine.sentence": {LEXICAL: 0.2}},
)
SENTENCE = "shoes for a run of ten kilometres"


def of_texts(*texts: tuple[str, float], **more: Any) -> dict[str, float]:
    """The weights of a query of texts of these weights."""
    inputs = tuple(QueryInput("text", weight, text=text) for text, weight in texts)
    request = SearchRequest("shop", inputs=inputs, **more)
    return of_query(request, wanted(request, SCHEMA), SCHEMA)


def test_each_text_is_of_its_own_class() -> None:
    found = of_texts((SENTENCE, 1), ("iphone13", 1), ("WH-1000XM4", -2))
    assert found == pytest.approx({
        LEXICAL: 0.25 * 0.3, "text.text": 0.25 * 0.7, f"{LEXICAL}#2": 0.25 * 0.9, "text.text#2": 0.25 * 0.1,
        f"{LEXICAL}#3": -0.5 * 0.9, "text.text#3": -0.5 * 0.1,
    })  # fmt: skip


def test_the_class_that_a_request_gives_is_that_of_all_its_texts() -> None:
    found = {kind: of_texts((SENTENCE, 1), ("iphone13", 1), query_class=kind) for kind in ("sku", "sentence", "none", "auto")}
    assert [found[kind][LEXICAL] for kind in ("sku", "sentence", "none", "auto")] == pytest.approx([0.45, 0.15, 0.25, 0.15])
    assert [found[kind][f"{LEXICAL}#2"] for kind in ("sku", "sentence", "none", "auto")] == pytest.approx(
        [0.45, 0.15, 0.25, 0.45]
    )


@pytest.mark.parametrize(
    ("texts", "query_class", "share_of_words"),
    [
        ([("iphone13", 1)], "auto", 0.7),
        ([("iphone13", 1), (SENTENCE, 1)], "auto", 0.2),
        ([("iphone13", 1), (SENTENCE, -1)], "auto", 0.7),
        ([(SENTENCE, 1)], "sku", 0.7),
        ([("red shoe", 1)], "auto", 0.5),
    ],
)
def test_a_set_of_weights_goes_by_the_longest_text_that_is_wanted(
    texts: list[tuple[str, float]], query_class: QueryClass, share_of_words: float
) -> None:
    found = of_texts(*texts, weight_set="mine", query_class=query_class)
    assert found[LEXICAL] == pytest.approx(share_of_words)


@pytest.mark.parametrize(
    ("legs", "levels"),
    [
        ([LEXICAL], {}),  # no other leg to share with
        (["text.text", "text.image"], {}),
        ([LEXICAL, "text.text"], {LEXICAL: level(0.0), "text.text": level(0.9)}),  # BM25 finds nothing here
        ([LEXICAL, "text.text"], {LEXICAL: level(0.9), "text.text": level(0.0)}),
    ],
)
def test_a_class_does_not_lift_a_leg_that_knows_nothing(legs: list[str], levels: dict[str, Level]) -> None:
    plan = [planned(name) for name in legs]
    assert default_weights(plan, levels, query_class="sentence") == default_weights(plan, levels)


MEASURED = st.dictionaries(
    st.sampled_from(LEGS), st.builds(level, st.none() | st.floats(0, 1), st.integers(0, 300))
)  # fmt: skip
PLAN = st.lists(st.sampled_from(LEGS), min_size=1, unique=True)


@given(PLAN, MEASURED, st.sampled_from(["none", *LEXICAL_SHARES]))
def test_default_weights_add_up_to_one(names: list[str], levels: dict[str, Level], query_class: QueryClass) -> None:
    plan = [planned(name) for name in names]
    weights = default_weights(plan, levels, query_class=query_class)
    assert all(weight >= 0 for weight in weights.values())
    sources = {p.source for p in plan}
    for source in sources:
        assert math.fsum(weights[p.name] for p in plan if p.source == source) == pytest.approx(1 / len(sources))


# Weights the user gave


@pytest.mark.parametrize("leg", DEFAULTS)
def test_a_given_weight_is_a_share_of_the_whole(leg: str) -> None:
    weights = share({leg: 0.5}, DEFAULTS, LEGS)
    others = {name: weight for name, weight in DEFAULTS.items() if name != leg}
    assert weights == pytest.approx({leg: 0.5} | {n: 0.5 * w / sum(others.values()) for n, w in others.items()})


@pytest.mark.parametrize(
    ("given_weights", "expected"),
    [
        ({}, [0.25, 0.2, 0.05, 0.5]),
        ({LEXICAL: 0.0}, [0, 0.2 / 0.75, 0.05 / 0.75, 0.5 / 0.75]),
        ({"image.image": 1.0}, [0, 0, 0, 1]),
        ({"image.image": 3, LEXICAL: 1}, [0.25, 0, 0, 0.75]),
        ({"image.image": 0.5, LEXICAL: 0.5}, [0.5, 0, 0, 0.5]),
        (dict.fromkeys(DEFAULTS, 0.1), [0.25] * 4),
        ({"image.image": -0.2}, [0.4, 0.32, 0.08, -0.2]),
        ({"image.image": -3, LEXICAL: 1}, [0.25, 0, 0, -0.75]),
        ({"text.image": -0.5, LEXICAL: 0.25}, [0.25, 0.25 * 2 / 7, -0.5, 0.25 * 5 / 7]),
        ({LEXICAL: 1e308, "image.image": 1e308}, [0.5, 0, 0, 0.5]),
        ({LEXICAL: 1e308, "image.image": -1e308}, [0.5, 0, 0, -0.5]),
        ({"audio.audio": 0.9}, [0.25, 0.2, 0.05, 0.5]),  # a leg of the index that this query has not
        ({"audio.audio": 100, LEXICAL: 0.5}, [0.5, 0.4 / 3, 0.1 / 3, 1 / 3]),
    ],
)
def test_shares_by_hand(given_weights: dict[str, float], expected: list[float]) -> None:
    assert share(given_weights, DEFAULTS, LEGS) == pytest.approx(dict(zip(DEFAULTS, expected, strict=True)))


def test_a_default_below_zero_stays_below_zero() -> None:
    defaults = {LEXICAL: 0.5, "text.text": 0.25, "text.text#2": -0.25}
    assert share({LEXICAL: 0.2}, defaults, LEGS) == pytest.approx({LEXICAL: 0.2, "text.text": 0.4, "text.text#2": -0.4})


@pytest.mark.parametrize(("name", "hint"), [("image.imag", "Did you mean 'image.image'?"), ("zzz", "audio.audio")])
def test_an_unknown_leg_is_told_with_the_one_meant(name: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        share({name: 0.5}, DEFAULTS, LEGS)
    assert (caught.value.code, caught.value.field) == ("query.unknown_leg", f"weights.{name}")
    assert hint in (caught.value.remedy or "")


@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
def test_a_weight_is_a_number(value: float) -> None:
    with pytest.raises(QueryError) as caught:
        share({LEXICAL: value}, DEFAULTS, LEGS)
    assert (caught.value.code, caught.value.field) == ("query.bad_weight", f"weights.{LEXICAL}")


@pytest.mark.parametrize("given_weights", [dict.fromkeys(DEFAULTS, 0.0), dict.fromkeys(DEFAULTS, -0.1), {LEXICAL: -1.0}])
def test_something_must_weigh_above_zero(given_weights: dict[str, float]) -> None:
    with pytest.raises(QueryError) as caught:
        share(given_weights, DEFAULTS, LEGS)
    assert (caught.value.code, caught.value.field) == ("query.bad_weight", "weights")


@given(st.dictionaries(st.sampled_from(LEGS), st.floats(-1e6, 1e6)), PLAN, MEASURED)
def test_weights_add_up_to_one(given_weights: dict[str, float], names: list[str], levels: dict[str, Level]) -> None:
    defaults = default_weights([planned(name) for name in names], levels)
    try:
        weights = share(given_weights, defaults, LEGS)
    except QueryError:
        left = 1 - sum(abs(value) for name, value in given_weights.items() if name in defaults)
        others = [weight for name, weight in defaults.items() if name not in given_weights]
        assert not any(value > 0 for name, value in given_weights.items() if name in defaults)
        assert left <= 1e-9 or not any(others)
        return
    assert set(weights) == set(defaults)
    assert math.fsum(map(abs, weights.values())) == pytest.approx(1, abs=1e-9)
    for name, weight in weights.items():
        assert weight * given_weights.get(name, 0) >= 0, "a given weight keeps its sign"


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


def test_signs_are_kept_when_weights_are_scaled() -> None:
    assert scaled({"a": 3.0, "b": -1.0}) == {"a": 0.75, "b": -0.25}
