"""Measures at a cut-off: by hand, and against scikit-learn, which counts in its own way."""

from __future__ import annotations

from dataclasses import replace
from math import log2

import numpy as np
import pytest
from judged_toys import a_random, an_asked

from evaluation.configurations import BASELINES, BEST_LEG, OURS, alone
from evaluation.kept import Asked, Scored
from evaluation.results import Names, alike, best_legs, groups_of, measured, result_of, worst

pytestmark = pytest.mark.unit


def _tagged(asked: Asked, tag: str) -> tuple[Scored, ...]:
    return tuple(replace(one, query=replace(one.query, tags=(tag,))) for one in asked.scored)


GRADES = {"q": {"a": 2, "b": 1, "c": 0, "d": 1}}


def test_a_ranking_by_hand() -> None:
    """x (not judged), a (2), c (0), b (1) and the cut-off 3: a and c are inside, b and d are not."""
    found = measured(GRADES, {"q": ["x", "a", "c", "b"]}, Names(3))["q"]
    assert found == pytest.approx(
        {
            "nDCG@3": (2 / log2(3)) / (2 + 1 / log2(3) + 1 / log2(4)),
            "RR": 1 / 2,
            "P@3": 1 / 3,
            "R@3": 1 / 3,
            "Success@1": 0.0,
            "Success@3": 1.0,
            "F1@3": 1 / 3,
            "accuracy@3": 1 / 4,
            "AP": (1 / 2 + 2 / 4) / 3,
            "Bpref": (1 + (1 - 1 / 1)) / 3,
            "Judged@3": 2 / 3,
        },
        abs=1e-4,
    )


def test_judged_only_takes_out_what_nobody_judged() -> None:
    found = measured(GRADES, {"q": ["x", "a", "y", "c", "b"]}, Names(2, judged_only=True))["q"]
    assert (found["RR"], found["P@2"], found["R@2"]) == pytest.approx((1.0, 1 / 2, 1 / 3))
    assert found["Judged@2"] == 0.5
    assert (found["F1@2"], found["accuracy@2"]) == pytest.approx((2 / 5, 1 / 4))


def test_a_short_ranking_has_the_harmonic_mean_of_its_precision_and_recall() -> None:
    """a alone, cut-off 3: P 1/3, R 1/3."""
    assert measured(GRADES, {"q": ["a"]}, Names(3))["q"]["F1@3"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn import metrics

    dice = np.random.default_rng(seed)
    products = [f"p{number:02}" for number in range(40)]
    grades = {key: int(dice.integers(0, 3)) for key in dice.permutation(products)[:15].tolist()} | {"p00": 2}
    ranked = [str(key) for key in dice.permutation(products)]
    found = measured({"q": grades}, {"q": ranked}, Names(10))["q"]
    gains = [grades.get(product, 0) for product in products]
    relevant = [gain > 0 for gain in gains]
    scores = [-float(ranked.index(product)) for product in products]
    inside = [product in ranked[:10] for product in products]
    assert found["nDCG@10"] == pytest.approx(metrics.ndcg_score([gains], [scores], k=10), abs=1e-4)
    assert found["AP"] == pytest.approx(metrics.average_precision_score(relevant, scores), abs=1e-4)
    assert found["P@10"] == pytest.approx(metrics.precision_score(relevant, inside), abs=1e-4)
    assert found["R@10"] == pytest.approx(metrics.recall_score(relevant, inside), abs=1e-4)
    assert found["F1@10"] == pytest.approx(metrics.f1_score(relevant, inside), abs=1e-4)
    first = [product == next(key for key in ranked if grades.get(key, 0) > 0) for product in products]
    assert found["RR"] == pytest.approx(metrics.label_ranking_average_precision_score([first], [scores]), abs=1e-4)


def test_refused_queries_count_zero_and_unjudged_ones_do_not_count() -> None:
    asked = an_asked([a_random("q0", seed=1), a_random("q1", seed=2)], refused={"q2": "query.nothing_recognised"})
    result = result_of(asked, {"q0": {"p001": 1}, "q2": {"p001": 1}}, OURS, Names())
    assert set(result.values) == {"q0", "q2"}
    assert result.values["q2"]["nDCG@10"] == 0


def test_refused_queries_count_zero_in_their_groups_and_are_alike_too() -> None:
    asked = an_asked([a_random("q0", seed=1, words="red"), a_random("q1", seed=2, words="old")], {"q2": "x"}, words="Red")
    best = result_of(asked, {"q0": {"p001": 1}}, OURS, Names()).rankings["q0"][0]
    result = result_of(asked, {"q0": {best: 1}, "q1": {"p001": 1}, "q2": {"p001": 1}}, OURS, Names())
    asked = replace(asked, unanswered=(replace(asked.unanswered[0], tags=("head",)),))
    kinds = {group.name: (group.queries, group.estimates["RR"]) for group in groups_of(asked, result, ["RR"])}
    assert [query.id for query in asked.queries] == ["q0", "q1", "q2"]
    assert kinds == {}, "one kind, one class, one tag"
    asked = replace(asked, unanswered=(replace(asked.unanswered[0], tags=("other",)),), scored=_tagged(asked, "head"))
    found = {group.name: group for group in groups_of(asked, result, ["RR"])}
    assert found["tag other"].estimates["RR"].mean == 0
    assert alike(asked, result).count("red") == 2


def test_the_interval_of_a_group_takes_queries_of_the_same_words_together() -> None:
    some = [a_random(f"q{n}", seed=n, words="red") for n in range(4)]
    asked = an_asked([*some, a_random("r", seed=9, words="a b c d e f g")])
    result = result_of(asked, {one.query.id: {"p001": 1} for one in asked.scored}, OURS, Names())
    short = next(group for group in groups_of(asked, result, ["RR"]) if group.name == "class short")
    assert (short.queries, short.estimates["RR"].low) == (4, None)


def test_the_best_leg_is_chosen_for_each_mix_of_legs() -> None:
    asked = an_asked([a_random("q0", seed=1), a_random("q1", seed=2)])
    judgements = {one.query.id: {alone(one, "text.text")[0]: 1} for one in asked.scored}
    assert best_legs(asked, judgements, Names()) == {"lexical + text.text + image.image": "text.text"}
    result = result_of(asked, judgements, BASELINES[BEST_LEG], Names())
    assert result.mean("nDCG@10") == 1.0


def test_what_a_query_excludes_counts_in_no_ranking() -> None:
    first = alone(a_random("q0", seed=1), "lexical")[0]
    asked = an_asked([a_random("q0", seed=1, exclude=(first,))])
    for name in ("words", "best_leg", "bool", "rrf"):
        assert first not in result_of(asked, {"q0": {first: 1}}, BASELINES[name], Names()).rankings["q0"]


def test_queries_of_the_same_words_are_alike() -> None:
    asked = an_asked([a_random(f"q{n}", seed=n, words=words) for n, words in enumerate(["Red  shoe", "red shoe", ""])])
    result = result_of(asked, {f"q{n}": {"p001": 1} for n in range(3)}, OURS, Names())
    assert alike(asked, result) == ["red shoe", "red shoe", "q2"]


def test_groups_are_told_apart_and_the_worst_come_first() -> None:
    asked = an_asked([a_random("q0", seed=1, words="red"), a_random("q1", seed=2, words="a b c d e f g")])
    best = result_of(asked, {"q0": {"p999": 1}, "q1": {"p001": 1}}, OURS, Names()).rankings["q1"][0]
    result = result_of(asked, {"q0": {"p999": 1}, "q1": {best: 1}}, OURS, Names())
    means = {group.name: group.estimates["nDCG@10"].mean for group in groups_of(asked, result, ["nDCG@10"])}
    assert means == {"class short": 0.0, "class sentence": 1.0}
    assert worst(result, "nDCG@10", 1) == ["q0"]
