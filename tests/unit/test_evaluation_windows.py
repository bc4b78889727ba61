"""Windows tried on kept scores."""

from __future__ import annotations

import pytest
from judged_toys import LEGS, a_random, a_scored, an_asked

from evaluation.configurations import OURS
from evaluation.results import Names
from evaluation.windows import told, windows

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
    assert [one.window for one in found] == [10, 20, 50, _USUAL]
    by_window = {one.window: one for one in found}
    assert by_window[10].mean == 0
    assert by_window[20].mean == by_window[_USUAL].mean == pytest.approx(1)
    assert by_window[10].gain.estimate.mean == pytest.approx(-1)
    assert by_window[_USUAL].p is None
    assert told(found, "nDCG@10").endswith("None is proved to be better than the usual one.")
    small = windows(an_asked(scored), {one.query.id: {"wanted": 1} for one in scored}, OURS, Names(10), 10)
    assert [(one.window, one.p) for one in small] == [(10, None)]


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
    assert "Search with a window of 10: +" in told(found, "nDCG@10")


def test_random_queries_prefer_no_window() -> None:
    scored = [a_random(f"q{n}", seed=n) for n in range(12)]
    found = windows(an_asked(scored), {one.query.id: {"p001": 1} for one in scored}, OURS, Names(10), 25)
    assert [one.window for one in found] == [10, 20, 25]
    assert "None is proved" in told(found, "nDCG@10")
