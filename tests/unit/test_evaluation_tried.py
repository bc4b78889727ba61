"""Windows and guards tried on kept scores."""

from __future__ import annotations

import pytest
from judged_toys import LEGS, a_random, a_scored, an_asked

from evaluation.configurations import OURS, Configuration
from evaluation.results import Names
from evaluation.tried import GUARDS, guards, told, windows

pytestmark = pytest.mark.unit

_USUAL = 100


def test_a_window_that_finds_more_is_told() -> None:
    """Each leg gives the wanted product its place 15: only together it is the best, and ten hits of each leg do not have it."""
    scored = []
    for number in range(12):
        scores = {leg.name: {f"{leg.name}-{n}" if n != 15 else "wanted": 1 - n / 200 for n in range(30)} for leg in LEGS[:2]}
        every = dict.fromkeys([product for some in scores.values() for product in some], 0.0)
        whole = {name: {**every, **some} for name, some in scores.items()}
        scored.append(a_scored(f"q{number}", whole, words=f"words {number}", legs=LEGS[:2], window=120))
    found = windows(an_asked(scored), {one.query.id: {"wanted": 1} for one in scored}, OURS, Names(10), 120)
    assert [one.value for one in found] == [10, 20, 50, _USUAL]
    by_window = {one.value: one for one in found}
    assert by_window[10].mean == 0
    assert by_window[20].mean == by_window[_USUAL].mean == pytest.approx(1)
    assert by_window[10].gain.estimate.mean == pytest.approx(-1)
    assert by_window[_USUAL].p is None
    assert told(found, "window", "nDCG@10").endswith("None is proved to be better than the usual one.")
    small = windows(an_asked(scored), {one.query.id: {"wanted": 1} for one in scored}, OURS, Names(10), 10)
    assert [(one.value, one.p) for one in small] == [(10, None)]


def test_what_a_large_window_adds_may_be_harm() -> None:
    """In a window of ten the product that is 15th in both legs is no candidate, and in its place the right one is first."""
    scored = []
    for number in range(12):
        scores = {
            leg.name: {"right" if n == 0 else "wrong" if n == 15 else f"{leg.name}-{n}": 1 - n / 200 for n in range(30)}
            for leg in LEGS[:2]
        }
        scores["text.text"]["right"] = 0.6
        every = dict.fromkeys([product for some in scores.values() for product in some], 0.0)
        whole = {name: {**every, **some} for name, some in scores.items()}
        scored.append(a_scored(f"q{number}", whole, words=f"words {number}", legs=LEGS[:2], window=100))
    found = windows(an_asked(scored), {one.query.id: {"right": 1} for one in scored}, OURS, Names(10), 100)
    assert "Search with a window of 10: +" in told(found, "window", "nDCG@10")


def test_random_queries_prefer_no_window() -> None:
    scored = [a_random(f"q{n}", seed=n) for n in range(12)]
    found = windows(an_asked(scored), {one.query.id: {"p001": 1} for one in scored}, OURS, Names(10), 25)
    assert [one.value for one in found] == [10, 20, 25]
    assert "None is proved" in told(found, "window", "nDCG@10")


def test_a_guard_that_keeps_noise_down_is_told() -> None:
    """Nothing stands out among the pictures: their best is 3 sigma above the floor, and stretched to 1 it beats the words."""
    scored = []
    for number in range(12):
        words = {"right": 0.9, "wrong": 0.3, **{f"other-{n}": 0.05 for n in range(9)}, "top": 1.0}
        pictures = {"right": 0.45, "wrong": 0.6, **{f"other-{n}": 0.45 for n in range(9)}, "top": 0.3}
        legs = (LEGS[0], LEGS[2])
        scored.append(a_scored(f"q{number}", {"lexical": words, "image.image": pictures}, words=f"w {number}", legs=legs))
    way = Configuration("even", weights="equal")
    found = guards(an_asked(scored), {one.query.id: {"right": 1} for one in scored}, way, Names(1))
    assert [one.value for one in found] == list(GUARDS)
    assert [one.mean for one in found] == [0, 0, 0, 0, 0, 0, 1]
    assert told(found, "guard", "nDCG@1").startswith("nDCG@1 by the guard (0: 0.000, 1: 0.000, 1.5: 0.000, 2: 0.000")
    assert "Search with a guard of 6: +1.000" in told(found, "guard", "nDCG@1")
