"""Judgements from clicks, against a simulated user whose taste and whose laziness are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from evaluation import clicks, clicks_bias
from evaluation.clicks import Answer, Limits
from evaluation.clicks_bias import Propensities, Seen
from triptych.errors import InputError

pytestmark = pytest.mark.unit

ETA = 1.0
QUERIES, PRODUCTS, ANSWERS = 25, 12, 300
FLAT = Propensities(eta=0.0)
"""No correction: what is judged are the rates of clicks as they are."""


class Users:
    """A position-based model: place k is examined with probability k ** -ETA, what is examined is clicked as it is relevant.

    Three rankings, each the truth under `noise`, answer in turn.
    """

    def __init__(self, noise: float, seed: int = 1) -> None:
        self.chance = np.random.default_rng(seed)
        self.truth = self.chance.beta(1, 3, size=(QUERIES, PRODUCTS))
        strayed = self.truth + self.chance.normal(scale=noise, size=(3, QUERIES, PRODUCTS))
        self.rankings = np.argsort(-strayed, axis=2)

    def answers(self, *, eta: float = ETA, count: int = ANSWERS) -> list[Answer]:
        return [answer for query in range(QUERIES) for answer in self.answers_to(query, eta=eta, count=count)]

    def answers_to(self, query: int, *, eta: float, count: int) -> list[Answer]:
        made = []
        for number in range(count):
            order = self.rankings[self.chance.integers(len(self.rankings)), query]
            examined = self.chance.random(PRODUCTS) < np.arange(1, PRODUCTS + 1.0) ** -eta
            clicked = examined & (self.chance.random(PRODUCTS) < self.truth[query, order])
            shown = {f"p{product}": place for place, product in enumerate(order, start=1)}
            gains = {f"p{product}": 1.0 for product, yes in zip(order, clicked, strict=True) if yes}
            made.append(Answer(f"query {query:02}", shown, gains, f"s{number}"))
        return made

    def nearness(self, given: list[Answer], propensities: Propensities, limits: Limits | None = None) -> float:
        """Kendall's tau of what is judged with the truth, the mean over the queries."""
        found = clicks.judge(given, propensities, limits).relevance
        assert len(found) == QUERIES
        taus = [
            kendalltau(self.truth[query], [values[f"p{product}"] for product in range(PRODUCTS)]).statistic
            for query, (_, values) in enumerate(sorted(found.items()))
        ]
        return float(np.mean(taus))


@pytest.fixture(scope="module", params=[0.3, 1.0], ids=["good rankings", "poor rankings"])
def users(request: pytest.FixtureRequest) -> Users:
    return Users(request.param)


@pytest.fixture(scope="module")
def given(users: Users) -> list[Answer]:
    return users.answers()


@pytest.fixture(scope="module")
def measured(given: list[Answer]) -> Propensities:
    return clicks_bias.harvested(clicks.seen(given))


# What a place is worth


def test_the_bias_of_places_is_found_from_clicks_alone(measured: Propensities) -> None:
    found = np.array([measured.at(place) for place in range(1, 11)])
    assert np.abs(np.log(found * np.arange(1, 11))).mean() < 0.15
    assert measured.eta == pytest.approx(ETA, abs=0.15)


def test_no_bias_is_found_where_there_is_none(users: Users) -> None:
    assert clicks_bias.harvested(clicks.seen(users.answers(eta=0.0, count=100))).eta == pytest.approx(0, abs=0.1)


def test_places_behind_those_that_were_measured_follow_the_power_law(measured: Propensities) -> None:
    assert measured.at(50) == pytest.approx(50**-measured.eta)
    assert measured.at(PRODUCTS + 1) == pytest.approx((PRODUCTS + 1) ** -measured.eta)  # nothing ever stood there


def test_products_that_never_moved_tell_nothing_of_places() -> None:
    still = [Seen("hat", f"p{place}", place, clicked=place == 1) for place in range(1, 11) for _ in range(1000)]
    with pytest.raises(InputError, match="Only 0 clicks") as caught:
        clicks_bias.harvested(still)
    assert caught.value.code == "evaluation.too_few_clicks"


# What a product is worth


def test_corrected_judgements_are_nearer_to_the_truth_than_clicks(
    users: Users, given: list[Answer], measured: Propensities
) -> None:
    """Kendall's tau with the truth (one seed): good rankings .775 by clicks, .827 corrected; poor ones .703 and .824."""
    raw, corrected = users.nearness(given, FLAT), users.nearness(given, measured)
    known = users.nearness(given, Propensities(ETA))
    print(f"tau: clicks {raw:.3f}, corrected {corrected:.3f}, by the true propensities {known:.3f}")
    assert corrected > raw + 0.04
    assert corrected > known - 0.03


def test_corrected_judgements_tell_better_how_much_better_another_ranking_is() -> None:
    """The DCG of the best ranking over that of what was shown: 1.14 in truth, by clicks 1.00, corrected 1.14."""
    users = Users(1.0, seed=3)
    users.rankings = users.rankings[[0, 0, 0, 0, 1]]  # four of five answers are by the same ranking
    given = users.answers(count=2 * ANSWERS)
    best = np.argsort(-users.truth, axis=1)

    def ratio(judgements: Mapping[str, Mapping[str, int]]) -> float:
        grades = np.array([[judgements[name][f"p{product}"] for product in range(PRODUCTS)] for name in sorted(judgements)])
        discounts = 1 / np.log2(np.arange(2, PRODUCTS + 2))
        of = [(np.take_along_axis(grades, order, axis=1) * discounts).sum() for order in (users.rankings[0], best)]
        return float(of[1] / of[0])

    truth = ratio(
        {f"{query:02}": clicks.graded({f"p{n}": v for n, v in enumerate(row)}) for query, row in enumerate(users.truth)}
    )
    raw = ratio(clicks.judge(given, FLAT).judgements)
    corrected = ratio(clicks.judge(given, clicks_bias.harvested(clicks.seen(given))).judgements)
    print(f"DCG of the best ranking over what was shown: truth {truth:.3f}, clicks {raw:.3f}, corrected {corrected:.3f}")
    assert abs(corrected - truth) < abs(raw - truth) / 2


def one(**gains: float) -> Answer:
    return Answer("hat", {"a": 1, "b": 2, "c": 4}, gains, "s")


def test_what_was_bought_is_worth_more_than_what_was_carted_than_what_was_clicked() -> None:
    """By hand, with eta 1: a 40 x 1 / 40, b 10 x 3 / 20, c 5 x 2 / 10, over their examinations."""
    many = [one(a=1.0) for _ in range(25)] + [one(b=3.0) for _ in range(10)] + [one(c=2.0) for _ in range(5)]
    found = clicks.relevance(many, Propensities(1.0), Limits(examined=10))
    assert found == pytest.approx({"a": 25 / 40, "b": 30 / 20, "c": 10 / 10})
    assert clicks.graded(found) == {"a": 2, "b": 3, "c": 3}


def test_inverse_propensity_weighting_weighs_each_click_by_its_place() -> None:
    """By hand, with eta 1, of 40 answers: a 10 / 1, b 10 x 2, c 5 x 4 and with a floor of 1 / 2 only 5 x 2."""
    many = [one(a=1.0) for _ in range(10)] + [one(b=1.0) for _ in range(10)] + [one(c=1.0) for _ in range(5)] + [one()] * 15
    limits = Limits(examined=10, estimator="ipw")
    found = clicks.relevance(many, Propensities(1.0), limits)
    assert found == pytest.approx({"a": 10 / 40, "b": 20 / 40, "c": 20 / 40})
    assert clicks.relevance(many, Propensities(1.0), replace(limits, weight=2))["c"] == pytest.approx(10 / 40)
    moved = [Answer("hat", {"a": 1}, {"a": 1.0}, "s")] * 10 + [Answer("hat", {"a": 4}, {"a": 1.0}, "s")] * 10
    moved += [Answer("hat", {"a": 4}, {}, "s")] * 20
    coec, ipw = (clicks.relevance(moved, Propensities(1.0), Limits(examined=1, estimator=way))["a"] for way in ("coec", "ipw"))
    assert (coec, ipw) == (pytest.approx(20 / 17.5), pytest.approx(50 / 40)), "they differ where a product moved"


def test_both_estimators_are_nearer_to_the_truth_than_clicks(users: Users, given: list[Answer], measured: Propensities) -> None:
    taus = {way: users.nearness(given, measured, Limits(estimator=way)) for way in ("coec", "ipw")}
    print(f"tau: {taus}")
    assert min(taus.values()) > users.nearness(given, FLAT) + 0.02
    assert taus["coec"] > taus["ipw"]


def test_no_click_weighs_more_than_it_may() -> None:
    far = [Answer("hat", {"a": 1, "z": 50}, {"z": 1.0}, "s") for _ in range(10)]
    assert clicks.relevance(far, Propensities(1.0), Limits(examined=0, weight=5))["z"] == pytest.approx(5)
    assert clicks.relevance(far, Propensities(1.0), Limits(examined=0, weight=50))["z"] == pytest.approx(50)


def test_what_was_hardly_examined_is_not_judged() -> None:
    many = [one(a=1.0) for _ in range(30)]
    assert set(clicks.relevance(many, Propensities(1.0), Limits(examined=10))) == {"a", "b"}


def test_grades_halve_from_the_best_and_what_is_not_wanted_has_none() -> None:
    values = {"a": 0.8, "b": 0.41, "c": 0.21, "d": 0.11, "e": 0.09, "f": 0.0, "g": -0.5}
    assert clicks.graded(values) == {"a": 3, "b": 3, "c": 2, "d": 1, "e": 0, "f": 0, "g": 0}
    assert clicks.graded({"a": -1.0, "b": 0.0}) == {"a": 0, "b": 0}


# Which queries are judged


def by(sessions: int, words: str = "red hat", product: str = "a") -> list[Answer]:
    return [Answer(words, {product: 1, "b": 2}, {product: 1.0}, f"s{n}") for n in range(sessions)]


def test_words_that_few_sessions_asked_by_are_left_out_and_never_written() -> None:
    found = clicks.judge([*by(9, "my own secret"), *by(20)], Propensities(1.0), Limits(examined=1))
    assert [query["text"] for query in found.queries] == ["red hat"]
    assert (found.few_sessions, list(found.judgements)) == (1, [found.queries[0]["qid"]])


def test_words_of_which_nothing_was_wanted_are_left_out() -> None:
    cold = [Answer("hat", {"a": 1}, {"a": -1.0}, f"s{n}") for n in range(20)]
    found = clicks.judge(cold, Propensities(1.0), Limits(examined=1))
    assert (found.no_good, dict(found.judgements)) == (1, {})


def test_ids_that_judgements_cannot_hold_are_counted() -> None:
    found = clicks.judge([*by(20, product="a b"), *by(20, "hat")], Propensities(1.0), Limits(examined=1))
    assert found.unfit_ids == 1
    assert all(" " not in product for grades in found.judgements.values() for product in grades)


# From entries to answers


def shown(query_id: str, *products: str, at: str = "2026-11-29T10:00:00.000Z", **more: Any) -> dict[str, Any]:
    return {"kind": "shown", "query_id": query_id, "products": list(products), "at": at, "words": "Red  Hat", **more}


def done(kind: str, query_id: str | None, product: str, session: str = "s") -> dict[str, Any]:
    return {"kind": kind, "query_id": query_id, "product": product, "session": session, "at": "2026-11-29T10:01:00.000Z"}


def gains(*entries: Mapping[str, Any]) -> Mapping[str, float]:
    (answer,) = clicks.answers(entries)
    return answer.gains


def test_pages_of_an_answer_are_one_answer_and_its_words_are_as_everybody_writes_them() -> None:
    entries = [{**shown("q", "c", offset=2), "words": None}, done("click", "q", "c"), shown("q", "a", "b")]
    assert clicks.answers(entries) == [Answer("red hat", {"a": 1, "b": 2, "c": 3}, {"c": 1.0}, "s")]


def test_the_strongest_counts() -> None:
    whole = [shown("q", "a", "b", "c", "d"), done("click", "q", "a"), done("purchase", "q", "a"), done("cart", "q", "a")]
    whole += [done("click", "q", "b"), done("dismiss", "q", "b"), done("purchase", "q", "c"), done("dismiss", "q", "c")]
    assert gains(*whole, done("view", "q", "d")) == {"a": 3.0, "b": -1.0, "c": 3.0}


def test_what_the_answer_did_not_show_does_not_count() -> None:
    assert gains(shown("q", "a"), done("click", "q", "z")) == {}


@pytest.mark.parametrize(
    "entries",
    [
        [done("click", "q", "a")],
        [done("purchase", None, "a")],
        [{**shown("q", "a"), "words": None}, done("click", "q", "a")],
    ],
    ids=["nothing shown", "no answer", "no words"],
)
def test_what_belongs_to_no_words_is_no_answer(entries: list[dict[str, Any]]) -> None:
    assert clicks.answers(entries) == []


def test_what_stands_behind_the_last_thing_in_sight_was_not_shown() -> None:
    entries = [shown("q", "a", "b", "c", "d"), done("view", "q", "a"), done("view", "q", "b")]
    assert clicks.answers(entries)[0].shown == {"a": 1, "b": 2}
    assert clicks.answers([*entries, done("click", "q", "c")])[0].shown == {"a": 1, "b": 2, "c": 3}


def test_a_session_that_asks_all_day_counts_once() -> None:
    """Its last answer; answers that nobody acted on count each."""
    robot = [
        e
        for n in range(50)
        for e in (shown(f"q{n:02}", "a", "b", at=f"2026-11-29T10:{n:02}:00Z"), done("click", f"q{n:02}", "b"))
    ]
    found = clicks.answers([*robot, shown("x", "a"), shown("y", "a")])
    assert sorted(one.session or "" for one in found) == ["", "", "s"]
