"""Intervals and tests, by hand where all ways can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.statistics import Difference, Estimate, difference, estimate, holm

pytestmark = pytest.mark.unit


def test_four_wins_of_four_are_two_ways_of_sixteen() -> None:
    found = difference([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4])
    assert found.p == pytest.approx(2 / 16)
    assert (found.wins, found.losses, found.ties) == (4, 0, 0)
    assert found.estimate.mean == pytest.approx(0.25)


def test_alike_queries_count_as_one_group() -> None:
    """Eight queries of two words are two groups: both signs alike in two ways of four."""
    first, second = [0.0] * 8, [0.5] * 8
    assert difference(first, second, [0, 0, 0, 0, 1, 1, 1, 1]).p == pytest.approx(2 / 4)
    assert difference(first, second).p == pytest.approx(2 / 256)


def test_no_difference_is_certain_chance_and_one_value_tells_nothing() -> None:
    assert difference([0.3, 0.3], [0.3, 0.3]) == Difference(Estimate(0.0, 0.0, 0.0), 1.0, 0, 0, 2)
    assert difference([0.0], [1.0]) == Difference(Estimate(1.0), None, 1, 0, 0)
    with pytest.raises(ValueError, match="no value"):
        estimate([])


def test_an_interval_holds_the_mean_of_the_population_about_as_often_as_it_says() -> None:
    dice = np.random.default_rng(7)
    inside = 0
    for _ in range(100):
        found = estimate(dice.normal(0.5, 0.2, size=40).tolist())
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.5 <= found.high
    assert 86 <= inside <= 100


def test_groups_make_an_interval_wider() -> None:
    values = [0.1] * 10 + [0.9] * 10
    single, grouped = estimate(values), estimate(values, [0] * 10 + [1] * 10)
    assert grouped.low == pytest.approx(0.1)
    assert single.low is not None
    assert single.low > 0.2


def test_probabilities_of_several_comparisons_by_hand() -> None:
    """0.01 x 3, then 0.03 x 2, then 0.04 x 1, which must not fall below the one before."""
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
