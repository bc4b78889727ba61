"""The measures of rankings, by hand."""

from __future__ import annotations

from math import log2

import pytest

from evaluation.measures import NAMES, chance, mean, per_query

pytestmark = pytest.mark.unit

GRADES = {"q": {"a": 2, "b": 1, "c": 0}}


def _of(ranked: list[str], *, judged_only: bool = False) -> dict[str, float]:
    return per_query(GRADES, {"q": ranked}, judged_only=judged_only)["q"]


def test_a_ranking_by_hand() -> None:
    """b (1), x (not judged), a (2): gains 1/log2(2) + 2/log2(4) = 2, at best 2/log2(2) + 1/log2(3)."""
    found = _of(["b", "x", "a"])
    assert found == pytest.approx(
        {
            "nDCG@10": 2 / (2 + 1 / log2(3)),
            "R@10": 1.0,
            "Success@1": 1.0,
            "Success(rel=2)@1": 0.0,
            "Success@10": 1.0,
            "AP": (1 / 1 + 2 / 3) / 2,
        },
        abs=1e-4,
    )


def test_judged_only_takes_out_what_nobody_judged() -> None:
    assert _of(["x", "y", "a", "b"], judged_only=True) == pytest.approx(dict.fromkeys(NAMES, 1.0))
    assert _of(["x", "y", "a", "b"])["Success@1"] == 0.0


def test_a_product_judged_as_not_relevant_stays() -> None:
    found = _of(["c", "a", "b"], judged_only=True)
    assert found["Success@1"] == 0.0
    assert found["AP"] == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-4)


def test_the_order_counts_and_not_the_ids() -> None:
    """trec_eval orders equal scores by id: no two of ours are equal."""
    for ranked in (["a", "z"], ["a", "0"]):
        assert per_query({"q": {"a": 1}}, {"q": ranked})["q"]["Success@1"] == 1.0
    for ranked in (["z", "a"], ["0", "a"]):
        assert per_query({"q": {"a": 1}}, {"q": ranked})["q"]["Success@1"] == 0.0


def test_ten_are_looked_at() -> None:
    late = [f"x{number}" for number in range(10)] + ["a"]
    found = per_query({"q": {"a": 1}}, {"q": late})["q"]
    assert (found["nDCG@10"], found["R@10"], found["Success@10"]) == (0, 0, 0)
    assert found["AP"] == pytest.approx(1 / 11, abs=1e-4)


def test_an_empty_ranking_counts_as_zero() -> None:
    found = per_query({"q": {"a": 1}, "r": {"a": 1}}, {"q": ["a"], "r": []})
    assert found["r"] == dict.fromkeys(found["q"], 0.0)
    assert mean(found)["Success@1"] == 0.5


def test_a_ranking_that_nobody_judged_is_left_out() -> None:
    assert list(per_query({"q": {"a": 1}}, {"q": ["a"], "other": ["a"]})) == ["q"]
    assert per_query({}, {"q": ["a"]}) == {}


def test_the_best_grade_is_measured_only_where_there_are_several() -> None:
    assert "Success(rel=2)@1" not in per_query({"q": {"a": 2, "b": 0}}, {"q": ["a"]})["q"]


def test_the_mean_of_some_queries() -> None:
    values = per_query({"q": {"a": 1}, "r": {"a": 1}}, {"q": ["a"], "r": ["x"]})
    assert mean(values, ["q"])["AP"] == 1.0
    assert mean(values, []) == {}


def test_chance_is_certain_where_all_is_relevant() -> None:
    grades = {"q": {"a": 1, "b": 1}}
    assert chance(grades, {"q": ["a", "b"]}, depth=10) == pytest.approx(dict.fromkeys(set(NAMES) - {"Success(rel=2)@1"}, 1.0))


def test_chance_is_one_in_the_number_of_candidates() -> None:
    queries = [f"q{number}" for number in range(300)]
    grades = {query: {"p0": 1} for query in queries}
    candidates = {query: [f"p{number}" for number in range(20)] for query in queries}
    assert chance(grades, candidates, depth=10)["Success@1"] == pytest.approx(1 / 20, abs=0.015)
