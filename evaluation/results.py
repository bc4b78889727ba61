"""What a configuration reaches on judged queries: measures per query, their means with intervals, and groups of queries. Pure.

Measures are those of ir_measures, accuracy that of scikit-learn. Queries that were refused count 0. With sparse judgements
look at bpref, at Judged@k (how much of what is shown was judged at all) and at the measures of judged products only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import ir_measures
from sklearn.metrics import accuracy_score  # type: ignore[import-untyped]

from evaluation.configurations import BEST_LEG, Configuration, alone, ranking
from evaluation.kept import Asked, Scored
from evaluation.measures import PerQuery, Rankings
from evaluation.metrics import Judgements
from evaluation.statistics import Estimate, estimate
from search_api.weights import class_of

ACCURACY, F1 = "accuracy", "F1"


@dataclass(frozen=True, slots=True)
class Names:
    """The measures at a cut-off: `main` decides which configuration is best."""

    k: int = 10
    judged_only: bool = False

    @property
    def main(self) -> str:
        return f"nDCG@{self.k}"

    @property
    def library(self) -> tuple[str, ...]:
        """Those that ir_measures knows by these names."""
        k = self.k
        return (f"nDCG@{k}", "RR", f"P@{k}", f"R@{k}", "Success@1", f"Success@{k}", "AP", "Bpref", f"Judged@{k}")

    @property
    def shown(self) -> tuple[str, ...]:
        return (*self.library[:6], f"{F1}@{self.k}", f"{ACCURACY}@{self.k}", *self.library[6:])


@dataclass(frozen=True, slots=True)
class Result:
    """What a configuration reaches. `best_leg` has the leg chosen for each mix of legs, where the configuration asks for it."""

    configuration: Configuration
    values: PerQuery
    rankings: Rankings
    best_leg: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[float]:
        """A measure of every query, in the order of the queries."""
        return [each[name] for each in self.values.values()]

    def mean(self, name: str) -> float:
        return fmean(self.column(name)) if self.values else 0.0


def measured(judgements: Judgements, rankings: Rankings, names: Names) -> PerQuery:
    """The measures of each ranking; a ranking whose query nobody judged is left out.

    Precision and recall at k are P and R; F1 is their harmonic mean; accuracy is the share of the judged products that stand on
    the right side of the cut-off: relevant ones among the k best, others not. Of judged products only, all but Judged look at
    the k best of those.
    """
    judged = {query: dict(judgements[query]) for query in rankings if query in judgements}
    runs = {query: {product: float(-rank) for rank, product in enumerate(rankings[query])} for query in judged}
    found: PerQuery = {query: dict.fromkeys(names.shown, 0.0) for query in judged}
    library = {_measure(name, judged_only=names.judged_only): name for name in names.library}
    there = [query for query, ranked in runs.items() if ranked]  # an empty ranking counts 0
    some = {query: judged[query] for query in there}
    if there:
        for one in ir_measures.iter_calc(list(library), some, {query: runs[query] for query in there}):
            found[one.query_id][library[one.measure]] = float(one.value)
    for query, grades in judged.items():
        mine = found[query]
        both = mine[f"P@{names.k}"] + mine[f"R@{names.k}"]
        mine[f"{F1}@{names.k}"] = 2 * mine[f"P@{names.k}"] * mine[f"R@{names.k}"] / both if both else 0.0
        ranked = [product for product in rankings[query] if product in grades or not names.judged_only]
        inside = set(ranked[: names.k])
        relevant = [grade > 0 for grade in grades.values()]
        mine[f"{ACCURACY}@{names.k}"] = float(accuracy_score(relevant, [product in inside for product in grades]))
    return found


def _measure(name: str, *, judged_only: bool) -> Any:
    """bpref and Judged look at judgements in their own way."""
    measure = ir_measures.parse_measure(name)
    return measure(judged_only=True) if judged_only and not name.startswith(("Bpref", "Judged")) else measure


def result_of(asked: Asked, judgements: Judgements, configuration: Configuration, names: Names) -> Result:
    """Rank the queries by a configuration and measure the rankings."""
    chosen = best_legs(asked, judgements, names) if configuration.kind == BEST_LEG else {}
    rankings: dict[str, Sequence[str]] = dict.fromkeys(asked.refused, ())
    for one in asked.scored:
        if chosen:
            rankings[one.query.id] = _without(one, alone(one, chosen[_legs(one)], configuration.window))
        else:
            rankings[one.query.id] = ranking(one, configuration, asked.schema)
    return Result(configuration, measured(judgements, rankings, names), rankings, chosen)


def best_legs(asked: Asked, judgements: Judgements, names: Names) -> dict[str, str]:
    """For each mix of legs that queries have, the leg that is best on them all. It is chosen with hindsight, on the very
    queries it is measured on: a fusion that is not above it is not worth its legs.
    """
    found: dict[str, str] = {}
    for mix in dict.fromkeys(_legs(one) for one in asked.scored):
        some = [one for one in asked.scored if _legs(one) == mix]
        reached: dict[str, float] = {}
        for leg in some[0].legs:
            values = measured(judgements, {one.query.id: _without(one, alone(one, leg.name)) for one in some}, names)
            reached[leg.name] = fmean(each[names.main] for each in values.values()) if values else 0.0
        found[mix] = max(reached, key=lambda name: reached[name])
    return found


def _legs(one: Scored) -> str:
    return " + ".join(leg.name for leg in one.legs)


def _without(one: Scored, ids: Sequence[str]) -> list[str]:
    return [product for product in ids if product not in one.query.exclude]


@dataclass(frozen=True, slots=True)
class Group:
    """Queries that have something in common: their kind, class, language or a tag."""

    name: str
    queries: int
    estimates: Mapping[str, Estimate]


def groups_of(asked: Asked, result: Result, names: Sequence[str]) -> list[Group]:
    """The means per kind of query (words, picture, ...), class of its words, language and tag, where there are several.

    Refused queries count 0 in each; where no words were typed their class is `refused`.
    """
    classes: dict[str, str] = {query.id: class_of(query.text) for query in asked.unanswered if query.text}
    classes |= {one.query.id: one.query_class for one in asked.scored}
    same = dict(zip(result.values, alike(asked, result), strict=True))
    found: list[Group] = []
    for what, parts in (
        ("kind", lambda query: [query.kind]),
        ("class", lambda query: [classes.get(query.id, "refused")]),
        ("language", lambda query: [query.language] if query.language else []),
        ("tag", lambda query: list(query.tags)),
    ):
        members: dict[str, list[str]] = {}
        for query in asked.queries:
            for part in parts(query) if query.id in result.values else []:
                members.setdefault(part, []).append(query.id)
        if len(members) > 1:
            found += [
                _group(f"{what} {name}", {query: same[query] for query in ids}, result, names) for name, ids in members.items()
            ]
    return found


def _group(name: str, same: Mapping[str, Hashable], result: Result, names: Sequence[str]) -> Group:
    """`same` has the members, and what each has in common with others."""
    together = list(same.values())
    return Group(name, len(same), {one: estimate([result.values[query][one] for query in same], together) for one in names})


def alike(asked: Asked, result: Result) -> list[Hashable]:
    """For each measured query what it has in common with others that must not count as independent: its words, else itself."""
    words = {query.id: query.text or "" for query in asked.unanswered} | {one.query.id: one.words for one in asked.scored}
    return [" ".join(words.get(query, "").casefold().split()) or query for query in result.values]


def worst(result: Result, name: str, number: int) -> list[str]:
    """The ids of the queries that are answered worst."""
    return sorted(result.values, key=lambda query: (result.values[query][name], query))[:number]
