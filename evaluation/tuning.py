"""Weights from judged queries, and whether they are to be believed. Pure; seeds are fixed.

    draws of weights x queries -> nDCG of each -> per fold the mean of the best draws on the other folds -> tried on the fold
        -> gain over the weights in force -> accepted if its lower bound is above 0 and the test says so
        -> of each class of query: is it worse off than now? -> then it keeps the weights in force

In force is what a search by the weight set of that name gets now: the set itself, else the default weights.

Queries that share their words are in one fold: what is tuned on a word says nothing about the same word with another photo. The
mean of the best draws stands in for the best one, which on ten queries is mostly luck. Named head queries must not get worse:
draws under which one does are left out. The weights for all queries are tuned first, then those of each class of query, which
must beat them and those in force on held-out folds (docs/adr/0019).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Final

import numpy as np
import numpy.typing as npt

from evaluation.configurations import DEFAULT
from evaluation.in_force import in_force, reached
from evaluation.kept import Scored
from evaluation.metrics import Judgements
from evaluation.results import Names
from evaluation.statistics import Difference, Estimate, difference
from evaluation.trials import Trials, drawn, of_legs
from search_api.candidates import Floats
from search_api.fusion import Method
from triptych.errors import InputError
from triptych.schema import IndexSchema, Missing

_ELITE: Final = 20
"""Draws whose mean is taken."""

SURE: Final = 0.99
"""How sure a gain must be: weights that are worse cost sales, a gain that is missed costs ten more judgements."""

WHOLE: Final = ""
"""All queries, beside the classes."""

WORSE: Final = 0.8
"""How wide the interval of a loss is that must lie below 0 for a class to be worse off: of ten classes that are not, one is
taken for such, and keeps what it has."""

_LIKELY: Final = 0.05
_SAME: Final = 1e-9
_LEAST_GROUPS: Final = 4
"""Groups of queries that a class must have to be tuned, and all queries together."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to tune. `head` are ids of queries that must not get worse; `sure` is how sure a gain must be; `name` is the weight
    set that is in force now.
    """

    k: int = 10
    judged_only: bool = False
    trials: int = 10_000
    folds: int = 5
    repeats: int = 3
    head: frozenset[str] = frozenset()
    seed: int = 1
    sure: float = SURE
    name: str = DEFAULT


@dataclass(frozen=True, slots=True)
class Tuned:
    """Weights by leg for all queries, or a class of them. `before` and `held_out` are the means of nDCG with the weights that
    it was compared with, and with tuned ones on queries that they were not tuned on; `fitted` is that on the queries
    themselves, which is too good to be true.
    """

    queries: int
    weights: Mapping[str, float]
    before: float
    held_out: float
    fitted: float
    gain: Difference
    accepted: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What the weights for all queries do to a class of them: `now` is the mean of nDCG by the weights in force, `then` that by
    the new ones on queries held out. A class that is `worse` keeps the weights in force.
    """

    queries: int
    now: float
    then: float
    gain: Difference
    worse: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tuning found: for all queries, and by class. `effects` has every class that somebody judged, where the weights for
    all queries are accepted.
    """

    whole: Tuned
    classes: Mapping[str, Tuned] = field(default_factory=dict)
    effects: Mapping[str, Effect] = field(default_factory=dict)


def tune(
    scored: Sequence[Scored],
    judgements: Judgements,
    schema: IndexSchema,
    plan: Plan,
    least: Mapping[str, float] | None = None,
) -> Outcome:
    """Tune on judged queries. `least` has what must be reached on queries held out, by class and under WHOLE: what the best
    single leg reaches there. Raises InputError `evaluation.too_few` for fewer than four queries of different words.
    """
    if len(set(_groups(scored))) < _LEAST_GROUPS:
        raise InputError(
            f"There are fewer than {_LEAST_GROUPS} judged queries of different words.",
            code="evaluation.too_few",
            field="queries",
            remedy="Judge more queries; ten are a beginning: triptych evaluate pool.",
        )
    least = least or {}
    bench = Bench.of(scored, judgements, schema, plan)
    every = np.arange(len(scored))
    held = bench.held_out(every, plan)
    before = f"the weight set {plan.name!r}" if in_force(schema, plan.name).weights != DEFAULT else "the default weights"
    whole = bench.judged(every, held, bench.base, plan, before, least.get(WHOLE, 0.0))
    rows = {
        name: np.array([n for n, one in enumerate(scored) if one.query_class == name], dtype=np.intp)
        for name in dict.fromkeys(one.query_class for one in scored)
    }
    classes: dict[str, Tuned] = {}
    for name, mine in rows.items():
        if len(mine) < len(scored) and len({bench.groups[n] for n in mine.tolist()}) >= _LEAST_GROUPS:
            gained = whole.accepted and held[mine].mean() > bench.base[mine].mean()
            compared, against = (held, "the weights tuned for all queries") if gained else (bench.base, before)
            classes[name] = bench.judged(mine, bench.held_out(mine, plan), compared, plan, against, least.get(name, 0.0))
    effects: dict[str, Effect] = {name: bench.effect(mine, held) for name, mine in rows.items()} if whole.accepted else {}
    return Outcome(whole, classes, effects)


@dataclass(frozen=True, slots=True)
class Bench:
    """The draws' values on every query. `draws` (T, L), `values` (T, Q), `base` (Q,) by the weights in force."""

    ids: tuple[str, ...]
    legs: tuple[str, ...]
    groups: tuple[Hashable, ...]
    trials: tuple[Trials, ...]
    draws: Floats
    values: Floats
    base: Floats
    telling: frozenset[str]
    """The legs that some candidate has a score in: the others' weights make no difference here."""

    sources: Mapping[str, str]
    """The input of each leg."""

    missing: Missing

    @classmethod
    def of(cls, scored: Sequence[Scored], judgements: Judgements, schema: IndexSchema, plan: Plan) -> Bench:
        """Try all draws on all queries, two at a time."""
        method = Method(missing=schema.missing)
        trials = tuple(
            Trials(one, judgements.get(one.query.id, {}), k=plan.k, method=method, judged_only=plan.judged_only)
            for one in scored
        )
        legs = tuple(dict.fromkeys(name for one in trials for name in one.names))
        draws = drawn(legs, plan.trials, seed=plan.seed)
        with ThreadPoolExecutor(2) as pool:  # numpy lets go of the interpreter while it sorts
            values = list(pool.map(lambda one: one(of_legs(draws, legs, one.names)), trials))
        way, names = in_force(schema, plan.name), Names(plan.k, judged_only=plan.judged_only)
        base = [reached(one, trial, judgements, schema, way, names) for one, trial in zip(scored, trials, strict=True)]
        groups = _groups(scored)
        ids = tuple(one.query.id for one in scored)
        scores = [(leg.name, one.candidates.raw[:, column]) for one in scored for column, leg in enumerate(one.legs)]
        telling = frozenset(name for name, raw in scores if np.isfinite(raw).any())
        sources = {leg.name: leg.source for one in scored for leg in one.legs}
        return cls(ids, legs, groups, trials, draws, np.array(values).T, np.array(base), telling, sources, schema.missing)

    def held_out(self, rows: npt.NDArray[np.intp], plan: Plan) -> Floats:
        """Each query's value by weights tuned on the other folds, the mean over the repeats; (Q,), 0 for other rows."""
        found = np.zeros(len(self.ids))
        for repeat in range(plan.repeats):
            fold = folds([self.groups[row] for row in rows.tolist()], plan.folds, seed=plan.seed + repeat)
            for number in range(max(fold) + 1):
                inside = np.array(fold) == number
                weights = self.best(rows[~inside], plan)
                for row in rows[inside].tolist():
                    found[row] += self.value(row, weights) / plan.repeats
        return found

    def best(self, rows: npt.NDArray[np.intp], plan: Plan) -> Floats:
        """The mean of the best draws on these queries, (L,); of the head queries among them none gets worse."""
        able = self.draws_allowed(rows, plan)
        means = self.values[np.ix_(able, rows)].mean(axis=1)
        order = np.argsort(-means, kind="stable")[:_ELITE]
        weights = np.asarray(self.draws[able[order]].mean(axis=0))
        if self.spoilt(rows, weights, plan):
            weights = np.asarray(self.draws[able[order[0]]])
        return weights

    def draws_allowed(self, rows: npt.NDArray[np.intp], plan: Plan) -> npt.NDArray[np.intp]:
        """The draws under which no head query gets worse; all where there is none such."""
        head = [row for row in rows.tolist() if self.ids[row] in plan.head]
        able = np.flatnonzero((self.values[:, head] >= self.base[head] - _SAME).all(axis=1))
        return able if len(able) else np.arange(len(self.draws))

    def spoilt(self, rows: npt.NDArray[np.intp], weights: Floats, plan: Plan) -> list[str]:
        """The head queries that get worse by these weights."""
        head = [row for row in rows.tolist() if self.ids[row] in plan.head]
        return [self.ids[row] for row in head if self.value(row, weights) < self.base[row] - _SAME]

    def value(self, row: int, weights: Floats) -> float:
        trial = self.trials[row]
        return float(trial(of_legs(weights[None, :], self.legs, trial.names))[0])

    def told(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The weights of the legs that tell something. What the others of an input weigh is theirs where a missing modality's
        weight goes to the other legs: so it was in the trials.
        """
        found = {name: weight for name, weight in weights.items() if name in self.telling}
        if self.missing != "renormalise":
            return found
        whole, left = (dict.fromkeys(self.sources.values(), 0.0) for _ in range(2))
        for name, weight in weights.items():
            whole[self.sources[name]] += weight
            left[self.sources[name]] += found.get(name, 0.0)
        factors = {source: whole[source] / value if value else 1.0 for source, value in left.items()}
        return {name: weight * factors[self.sources[name]] for name, weight in found.items()}

    def effect(self, rows: npt.NDArray[np.intp], held: Floats) -> Effect:
        """Whether a class gets worse by the weights for all queries: its mean on queries held out is lower, and so is the upper
        end of the difference's interval, where several queries make one. One query alone tells by itself.
        """
        now, then = self.base[rows].tolist(), held[rows].tolist()
        gain = difference(now, then, [self.groups[row] for row in rows.tolist()], confidence=WORSE)
        high = gain.estimate.mean if gain.estimate.high is None else gain.estimate.high
        return Effect(len(rows), fmean(now), fmean(then), gain, worse=high < -_SAME)

    def judged(
        self, rows: npt.NDArray[np.intp], held: Floats, compared: Floats, plan: Plan, against: str, least: float
    ) -> Tuned:
        """Tune on all these queries, and say whether held-out folds bear it out, and whether they reach the best single leg."""
        weights = self.best(rows, plan)
        groups = [self.groups[row] for row in rows.tolist()]
        plain = difference(compared[rows].tolist(), held[rows].tolist(), groups, confidence=plan.sure)
        gain = widened(plain, min(plan.folds, len(set(groups))))
        spoilt = self.spoilt(rows, weights, plan)
        low = gain.estimate.low
        proved = low is not None and low > 0 and gain.p is not None and gain.p < 1 - plan.sure
        sentences = [_gained(gain, plan.k, against)] if proved else unproved(gain, plan, against, len(rows))
        if spoilt:
            sentences.append(f"Head queries would get worse: {', '.join(spoilt)}.")
        mean = fmean(held[rows].tolist())
        if mean < least:
            sentences.append(f"The best single leg reaches {least:.3f} (chosen with hindsight): no fusion is recommended.")
        return Tuned(
            queries=len(rows),
            weights=self.told(dict(zip(self.legs, weights.tolist(), strict=True))),
            before=fmean(compared[rows].tolist()),
            held_out=mean,
            fitted=fmean(self.value(row, weights) for row in rows.tolist()),
            gain=gain,
            accepted=proved and not spoilt and mean >= least,
            sentences=tuple(sentences),
        )


def _groups(scored: Sequence[Scored]) -> tuple[Hashable, ...]:
    """What each query has in common with others that are no independent evidence: its words, else itself."""
    return tuple(" ".join(one.words.casefold().split()) or one.query.id for one in scored)


def widened(gain: Difference, number: int) -> Difference:
    """The difference with bounds for what was tuned and tried on the same queries in so many folds.

    What the folds reach is alike, for they share most of what they were tuned on, so that plain bounds are too narrow: on
    random judgements a gain seemed proved three times as often as it should. The variance is taken times 1 + k / (k - 1), in
    the manner of the corrected resampled test (Nadeau, Bengio 2003, doi:10.1023/A:1024068626366).
    """
    one = gain.estimate
    if one.low is None or one.high is None:
        return gain
    factor = (1 + number / (number - 1)) ** 0.5
    bounds = Estimate(one.mean, one.mean + factor * (one.low - one.mean), one.mean + factor * (one.high - one.mean))
    return replace(gain, estimate=bounds)


def folds(groups: Sequence[Hashable], number: int, *, seed: int) -> list[int]:
    """The fold of each query: whole groups, the larger first, each into the fold that has least."""
    dice = np.random.default_rng(seed)
    names = list(dict.fromkeys(groups))
    shuffled = [names[place] for place in dice.permutation(len(names)).tolist()]
    sizes = {name: list(groups).count(name) for name in names}
    load = [0] * min(number, len(names))
    placed: dict[Hashable, int] = {}
    for name in sorted(shuffled, key=lambda group: -sizes[group]):
        placed[name] = load.index(min(load))
        load[placed[name]] += sizes[name]
    return [placed[group] for group in groups]


def _gained(gain: Difference, k: int, against: str) -> str:
    return f"On queries held out nDCG@{k} is {gain.estimate.mean:+.3f} over {against}, {_bounds(gain)}."


def unproved(gain: Difference, plan: Plan, against: str, count: int) -> list[str]:
    """That nothing is proved, and how many judgements might prove it where it is likely.

    Of g groups of queries the signs can be turned in 2^g ways, so p is 2 / 2^g at least: too few queries prove nothing.
    """
    mean, low = gain.estimate.mean, gain.estimate.low
    sentences = [f"No gain is proved: on queries held out nDCG@{plan.k} is {mean:+.3f} to {against}, {_bounds(gain)}."]
    if mean > 0 and low is not None and gain.p is not None and gain.p < _LIKELY:
        able = 1 + math.ceil(math.log2(2 / (1 - plan.sure)))
        need = max(math.ceil(count * ((mean - low) / mean) ** 2), count + 1, able)
        sentences.append(f"It is likely, though: about {need} judged queries would prove a gain of this size.")
    return sentences


def _bounds(gain: Difference) -> str:
    low, high = gain.estimate.low, gain.estimate.high
    span = "without bounds" if low is None or high is None else f"in bounds of {low:+.3f} and {high:+.3f}"
    return f"{span} (p = {gain.p:.3f})" if gain.p is not None else span
