"""Which configuration is best, by how much, and how sure that is. Pure.

A fusion is recommended only where its mean is above that of the best single leg: else its legs cost time and spoil answers.
What is recommended is the best mean; every other is compared with it by a paired test over groups of queries that share their
words, with the probabilities of all comparisons corrected together (Holm). So is that with the best single leg: the best of
many fusions is above it by chance more often than one fusion is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from evaluation.configurations import BASELINES, BEST_LEG, OURS, Configuration
from evaluation.results import Result
from evaluation.statistics import CONFIDENCE, Difference, Estimate, difference, estimate, holm

SIGNIFICANT = 1 - CONFIDENCE
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Rival:
    """A configuration beside the best one. `behind` is what the best has over it; `p` is corrected for all comparisons."""

    result: Result
    estimate: Estimate
    behind: Difference
    p: float | None

    @property
    def name(self) -> str:
        return self.result.configuration.name


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do. `recommended` is None where no fusion is worth its legs; `sure` says whether the best fusion is proved to
    be above the best single leg; the `p` of `over_best_leg` is corrected for all comparisons.
    """

    best: Result
    estimate: Estimate
    rivals: tuple[Rival, ...]
    over_best_leg: Difference
    recommended: Configuration | None
    sure: bool
    sentences: tuple[str, ...]


def with_baselines(given: Sequence[Configuration]) -> list[Configuration]:
    """The configurations given, ours, and all baselines, each once."""
    found = {one.name: one for one in (*given, OURS, *BASELINES.values())}
    return list(found.values())


def judge(results: Sequence[Result], name: str, groups: Sequence[Hashable]) -> Verdict:
    """The verdict by the measure `name`. `results` are of the same queries and have one of `best_leg`; `groups` are of these
    queries. Raises ValueError without a fusion or without `best_leg`.
    """
    leg = next((one for one in results if one.configuration.kind == BEST_LEG), None)
    fusions = [one for one in results if one.configuration.fuses]
    if leg is None or not fusions:
        raise ValueError("a verdict needs a fusion and the best single leg")
    best = max(fusions, key=lambda one: one.mean(name))
    others = [one for one in results if one is not best]
    behind = [difference(one.column(name), best.column(name), groups) for one in others]
    corrected = holm([one.p for one in behind])
    rivals = tuple(
        sorted(
            (
                Rival(one, estimate(one.column(name), groups), by, p)
                for one, by, p in zip(others, behind, corrected, strict=True)
            ),
            key=lambda rival: -rival.estimate.mean,
        )
    )
    place = next(number for number, one in enumerate(others) if one is leg)
    over = replace(behind[place], p=corrected[place])
    worth = best.mean(name) > leg.mean(name) + _SAME
    sure = worth and over.p is not None and over.p < SIGNIFICANT
    chosen = best.configuration if worth else None
    sentences = _sentences(best, leg, rivals, over, name) if worth else _not_worth(best, leg, over, name)
    return Verdict(best, estimate(best.column(name), groups), rivals, over, chosen, sure, tuple(sentences))


def _legs(leg: Result) -> str:
    return ", ".join(sorted(set(leg.best_leg.values()))) or leg.configuration.name


def _not_worth(best: Result, leg: Result, over: Difference, name: str) -> list[str]:
    """That no fusion is worth its legs."""
    mine, single = f"{name} {best.mean(name):.3f}", f"the best single leg ({_legs(leg)}) {leg.mean(name):.3f}"
    return [
        f"No fusion is recommended: the best of them, {best.configuration.name}, reaches {mine}, {single}.",
        f"That is {_by(over)}. Search by that leg alone, or tune the weights: triptych evaluate tune.",
    ]


def _sentences(best: Result, leg: Result, rivals: Sequence[Rival], over: Difference, name: str) -> list[str]:
    """The verdict in words, where a fusion is above the best leg."""
    mean, single, mine, legs = best.mean(name), leg.mean(name), best.configuration.name, _legs(leg)
    sentences = [f"{mine} is best: {name} {mean:.3f}, {_by(over)} against the best single leg ({legs}, {single:.3f})."]
    if over.p is None or over.p >= SIGNIFICANT:
        sentences.append("It is not proved that it is better than that leg: judge more queries before you rely on it.")
    fusions = [rival for rival in rivals if rival.result.configuration.fuses]
    level = [rival.name for rival in fusions if rival.p is None or rival.p >= SIGNIFICANT]
    if fusions:
        sentences.append(f"The next fusion, {fusions[0].name}, is {_by(fusions[0].behind)} behind.")
    if level:
        sentences.append(f"Not proved to be worse than it, all comparisons together: {', '.join(level)}.")
    return sentences


def _by(over: Difference) -> str:
    """A difference in words: +.021 [-.003, .045], p = .08."""
    one = over.estimate
    span = "" if one.low is None or one.high is None else f" [{one.low:+.3f}, {one.high:+.3f}]"
    chance = "" if over.p is None else f", p = {over.p:.3f}"
    return f"{one.mean:+.3f}{span}{chance}"
