"""The choice among similar products, and what counts as bought together. By hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_api.answer import Hit, LegScore
from search_api.complementary import Counts
from search_api.schemas import InvalidBodyError, parse
from search_api.similar import SimilarRequest, chosen, likeness_of
from search_api.similar_query import SimilarQuery
from triptych.schema import Space

pytestmark = pytest.mark.unit

SCORES = np.array([1.0, 0.9, 0.8, 0.3])
TWINS = np.array([[1.0, 1.0, 0.0, 0.2], [1.0, 1.0, 0.0, 0.2], [0.0, 0.0, 1.0, 0.2], [0.2, 0.2, 0.2, 1.0]])
"""The second is the first once more."""


def order(values: list[tuple[str, ...]] | None = None, **options: Any) -> list[int]:
    return chosen(SCORES, TWINS, values or [()] * 4, SimilarRequest("shop", "p", **options))


# Diversity


def test_without_diversity_the_best_come_first() -> None:
    assert order() == [0, 1, 2, 3]


def test_a_twin_of_what_is_shown_comes_late() -> None:
    """By hand at .5: second .5 x .9 - .5 x 1 = -.05, third .4 - 0; then last .15 - .1 = .05 against -.05."""
    assert order(diversity=0.5) == [0, 2, 3, 1]
    assert order(diversity=0.5, size=2) == [0, 2]


def test_a_little_diversity_changes_nothing_that_is_far_apart() -> None:
    """By hand at .05: second .855 - .05 = .805, third .76."""
    assert order(diversity=0.05) == [0, 1, 2, 3]


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    diversity=st.floats(0, 1),
    cap=st.none() | st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_everything_is_chosen_once_and_no_value_too_often(
    scores: list[float], diversity: float, cap: int | None, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    ordered = np.array(sorted(scores, reverse=True))
    likeness = chance.random((len(scores), len(scores)))
    values = [(f"v{chance.integers(3)}",) for _ in scores]
    request = SimilarRequest("shop", "p", diversity=diversity, cap=cap, cap_field="brand" if cap else None)
    found = chosen(ordered, likeness, values, request)
    assert found[0] == 0
    assert len(set(found)) == len(found)
    counts = {value: sum(values[place][0] == value for place in found) for (value,) in values}
    assert all(cap is None or count <= cap for count in counts.values())
    if cap is None:
        assert len(found) == min(len(scores), request.size)


# Caps


def test_no_value_is_shown_more_often_than_its_cap() -> None:
    brands = [("a",), ("a",), ("a",), ("b",)]
    assert order(brands, cap=1, cap_field="brand") == [0, 3]
    assert order(brands, cap=2, cap_field="brand") == [0, 1, 3]
    assert order(brands, cap=2, cap_field="brand", size=2) == [0, 1]


def test_products_without_a_value_are_not_capped_and_of_several_values_each_counts() -> None:
    assert order([("a", "b"), ("b",), (), ()], cap=1, cap_field="tag") == [0, 2, 3]


# Likeness


def space(name: str, **more: Any) -> Space:
    return Space(name=name, encoder="e", fingerprint="f", dims=2, **more)


def hit(key: str, **weights: float) -> Hit:
    legs = {
        f"products.{name}": LegScore(0.9, 1.0, weight, weight, False, "retrieved", floor=0.5, top=1.0)
        for name, weight in weights.items()
    }
    return Hit(key, 1.0, None, legs)


def vectors(**some: list[float]) -> dict[str, Any]:
    return {name: np.array(values) for name, values in some.items()}


def test_likeness_is_the_score_that_one_would_have_as_the_like_of_the_other() -> None:
    """By hand: cosines 1 and 0, scores (1 + cosine) / 2, floor .5 and top 1: in image 1, in text 0; weights .75 and .25."""
    hits = [hit("a", image=0.75, text=0.25), hit("b", image=0.75, text=0.25)]
    some = {"a": vectors(image=[1, 0], text=[1, 0]), "b": vectors(image=[2, 0], text=[0, 3])}
    found = likeness_of(hits, some, [space("image"), space("text")])
    assert found == pytest.approx(np.array([[1.0, 0.75], [0.75, 1.0]]))


def test_only_spaces_that_both_have_count() -> None:
    hits = [hit("a", image=0.75, text=0.25), hit("b", text=1.0), hit("c")]
    some = {"a": vectors(image=[1, 0], text=[1, 0]), "b": vectors(text=[1, 0])}
    found = likeness_of(hits, some, [space("image"), space("text")])
    assert found[0, 1] == pytest.approx(1.0)
    assert found[:, 2] == pytest.approx([0, 0, 0])


def test_distances_are_scored_as_elasticsearch_does() -> None:
    """By hand: distance 1, 1 / (1 + 1) = .5, the floor; distance 0 is 1."""
    some = {"a": vectors(image=[1, 0]), "b": vectors(image=[2, 0])}
    found = likeness_of([hit("a", image=1), hit("b", image=1)], some, [space("image", similarity="l2_norm")])
    assert found == pytest.approx(np.array([[1.0, 0.0], [0.0, 1.0]]))


# Bought together


def test_lift_and_surety_by_hand() -> None:
    """Of 100 sessions 10 bought this, 20 that, 8 both: lift 8 x 100 / 200. The ratio by R's formula, 2 sum O ln(O / E)."""
    counts = Counts(both=8, first=10, second=20, whole=100)
    assert counts.lift == pytest.approx(4.0)
    observed, expected = np.array([8, 2, 12, 78.0]), np.array([2, 8, 18, 72.0])
    assert counts.surety == pytest.approx(2 * (observed * np.log(observed / expected)).sum())
    assert Counts(2, 10, 20, 100).surety == pytest.approx(0, abs=1e-9)


def test_many_that_go_together_are_surer_than_one_that_does() -> None:
    once, often = Counts(3, 300, 3, 1000), Counts(200, 300, 300, 1000)
    assert once.lift > often.lift
    assert often.surety > once.surety


# The query string


def test_a_query_string_is_read() -> None:
    given = {
        "index": "shop",
        "size": "3",
        "weights": '{"products.image": 0.5}',
        "filters": '{"colour": "red"}',
        "spaces": "image,text",
    }
    request = parse(SimilarQuery, given).to_request("p/1")
    assert request == SimilarRequest(
        "shop", "p/1", size=3, weights={"products.image": 0.5}, filters={"colour": "red"}, spaces=("image", "text")
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", "0"), ("size", "x"), ("diversity", "1.5"), ("diversity", "nan"), ("weights", "{"), ("weights", '{"a": "b"}'),
        ("filters", "[]"), ("cap", "0"), ("complementary", "51"), ("sice", "3"),
    ],
)  # fmt: skip
def test_a_bad_query_string_says_where(name: str, value: str) -> None:
    with pytest.raises(InvalidBodyError) as caught:
        parse(SimilarQuery, {"index": "shop", name: value})
    assert isinstance(caught.value.__cause__, ValidationError)
    assert (caught.value.field or "").split(".")[0] == name
