"""Verdicts: a fusion below the best single leg is not recommended, and what is not proved is not said."""

from __future__ import annotations

import pytest

from evaluation.comparing import judge, with_baselines
from evaluation.configurations import BASELINES, OURS, Configuration
from evaluation.results import Result

pytestmark = pytest.mark.unit

NAME = "nDCG@10"


def _result(configuration: Configuration, values: list[float], leg: str = "") -> Result:
    per_query = {f"q{number}": {NAME: value, "RR": value, "R@10": value} for number, value in enumerate(values)}
    return Result(configuration, per_query, {query: [] for query in per_query}, {"mix": leg} if leg else {})


LEG = [0.1, 0.5, 0.3, 0.6, 0.2, 0.5, 0.4, 0.3, 0.2, 0.6]
BELOW = [value - 0.05 for value in LEG]
ABOVE = [value + 0.2 + 0.01 * number for number, value in enumerate(LEG)]
ABOUT = [value + (0.1 if number % 2 else -0.09) for number, value in enumerate(LEG)]


def _verdict(*fusions: tuple[str, list[float]]):  # type: ignore[no-untyped-def]
    results = [_result(Configuration(name), values) for name, values in fusions]
    results.append(_result(BASELINES["best_leg"], LEG, "lexical"))
    return judge(results, NAME, list(range(len(LEG))))


def test_a_fusion_below_the_best_leg_is_not_recommended() -> None:
    verdict = _verdict(("one", BELOW), ("two", [value - 0.1 for value in LEG]))
    assert verdict.recommended is None
    assert not verdict.sure
    assert verdict.sentences[0].startswith(
        "No fusion is recommended: the best of them, one, reaches nDCG@10 0.320, the best single"
    )
    assert verdict.best.configuration.name == "one"


def test_a_fusion_that_is_surely_better_is_recommended() -> None:
    verdict = _verdict(("one", ABOVE), ("two", BELOW))
    assert verdict.recommended is not None
    assert (verdict.recommended.name, verdict.sure) == ("one", True)
    assert [rival.name for rival in verdict.rivals] == ["best_leg", "two"]
    assert verdict.over_best_leg.estimate.mean == pytest.approx(0.245)
    assert "Not proved" not in " ".join(verdict.sentences)


def test_what_is_not_proved_is_said() -> None:
    verdict = _verdict(("one", ABOUT), ("two", [value - 0.001 for value in ABOUT]))
    assert verdict.recommended is not None
    assert not verdict.sure
    assert "It is not proved that it is better than that leg" in verdict.sentences[1]


def test_a_rival_that_is_level_is_named() -> None:
    verdict = _verdict(("one", ABOVE), ("two", [value + (0.02 if n % 2 else -0.03) for n, value in enumerate(ABOVE)]))
    assert verdict.sentences[-1] == "Not proved to be worse than it, all comparisons together: two."


def test_the_probabilities_are_corrected_for_their_number() -> None:
    verdict = _verdict(("one", ABOVE), ("two", BELOW), ("three", BELOW))
    raw = max(rival.behind.p or 0 for rival in verdict.rivals)
    assert verdict.rivals[-1].p == pytest.approx(min(1, raw * 3), abs=1e-3)


def test_a_verdict_needs_a_fusion_and_the_best_leg() -> None:
    with pytest.raises(ValueError, match="best single leg"):
        judge([_result(OURS, LEG)], NAME, list(range(len(LEG))))


def test_every_baseline_is_compared_once() -> None:
    chosen = with_baselines([BASELINES["rrf"], OURS, Configuration("mine")])
    names = [one.name for one in chosen]
    assert len(names) == len(set(names))
    assert set(names) == {*BASELINES, "triptych", "mine"}


def test_a_fusion_that_is_only_level_with_the_best_leg_is_not_recommended() -> None:
    verdict = _verdict(("one", LEG), ("two", BELOW))
    assert verdict.recommended is None
    assert not verdict.sure
    assert verdict.sentences[0].startswith("No fusion is recommended: the best of them, one, reaches nDCG@10 0.370")


def test_the_best_of_many_is_sure_only_by_the_corrected_probability() -> None:
    """Eight wins of ten are p < .05 alone, and not where nine more that are level were compared."""
    near = [value + (0.05 if number not in {3, 7} else -0.03) for number, value in enumerate(LEG)]
    alone = _verdict(("one", near))
    assert alone.sure
    rivals = [[value + (0.01 if (place + n) % 2 else -0.011) for place, value in enumerate(near)] for n in range(9)]
    many = _verdict(("one", near), *((f"no{n}", values) for n, values in enumerate(rivals)))
    assert many.recommended is not None
    assert not many.sure
    assert many.over_best_leg.p == next(rival.p for rival in many.rivals if rival.name == "best_leg")
    assert "It is not proved" in many.sentences[1]
