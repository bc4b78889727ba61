"""One HTML file that says how good the answers are, and where they are not: for a meeting, without any other file."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np

from evaluation import plots
from evaluation.comparing import Verdict
from evaluation.configurations import BEST_LEG, TRIPTYCH
from evaluation.explained import of_configuration, of_measure
from evaluation.kept import Asked, Scored
from evaluation.metrics import Judgements
from evaluation.pictures import Pictures
from evaluation.results import Names, Result, alike, groups_of, worst
from evaluation.shown import WORST, estimates, interval, lacking
from evaluation.statistics import estimate
from evaluation.trials import Trials
from search_api.fusion import Method
from search_api.shown import title_of
from triptych.elastic.attached import index_of
from triptych.elastic.engine import mget
from triptych.services import Services

_CASES: Final = 5
"""Wins and losses that are shown."""

_HITS: Final = 5
_STEPS: Final = 20
_CORNERS: Final = 3


def write(path: Path, view: View, results: Sequence[Result], verdict: Verdict | None = None) -> None:
    """Write the report. The first of `results`, or what the verdict calls best, is shown against the best single leg."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    ours = verdict.best if verdict is not None else results[0]
    other = next((one for one in results if one.configuration.kind == BEST_LEG), results[-1])
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html").render(view.values(ours, other, results, verdict))
    path.write_text(page, encoding="utf-8")


class View:
    """What the page shows, as values and SVG. `media` is the catalogue's folder; without it products have no pictures."""

    def __init__(
        self, services: Services, asked: Asked, judgements: Judgements, names: Names, media: Path | None = None
    ) -> None:
        self._services, self._asked, self._judgements, self._names = services, asked, judgements, names
        self._pictures = Pictures(services, media)
        self._scored = {one.query.id: one for one in asked.scored}
        self._products: dict[str, dict[str, Any]] = {}

    def values(self, ours: Result, other: Result, results: Sequence[Result], verdict: Verdict | None) -> dict[str, Any]:
        """All values of the template."""
        main = self._names.main
        gains = self._gains(ours, other)
        wins = [query for query, gain in sorted(gains, key=lambda one: -one[1]) if gain > 0][:_CASES]
        losses = [query for query, gain in sorted(gains, key=lambda one: one[1]) if gain < 0][:_CASES]
        bad = worst(ours, main, WORST)
        self._fetch([*wins, *losses, *bad], (ours, other))
        return {
            "index": self._asked.alias,
            "version": self._asked.version,
            "made": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "queries": len(ours.values),
            "refused": dict(self._asked.refused),
            "lacking": lacking(self._asked),
            "main": main,
            "judged_only": self._names.judged_only,
            "ours": ours.configuration.name,
            "other": self._named(other),
            "sentences": [] if verdict is None else list(verdict.sentences),
            "sure": verdict is not None and verdict.sure,
            "ways": [(one.configuration.name, of_configuration(one.configuration.name)) for one in results],
            "recommended": verdict is not None and verdict.recommended is not None,
            "verdict": verdict is not None,
            "comparison": plots.intervals(self._rows(results), f"{main} of each configuration, with 95 % intervals"),
            "measures": [
                (name, interval(one), of_measure(name)) for name, one in estimates(self._asked, ours, self._names).items()
            ],
            "groups": [
                (g.name, g.queries, [f"{g.estimates[name].mean:.3f}" for name in self._names.shown[:6]])
                for g in groups_of(self._asked, ours, self._names.shown[:6])
            ],
            "group_measures": self._names.shown[:6],
            "deltas": plots.deltas(gains, f"{main} of {ours.configuration.name} less that of {self._named(other)}, per query"),
            "counts": Counter("won" if gain > 0 else "lost" if gain < 0 else "tied" for _, gain in gains),
            "legs": self._legs(),
            "surface": self._surface(),
            "wins": [self._case(query, ours, other) for query in wins],
            "losses": [self._case(query, ours, other) for query in losses],
            "worst": [self._case(query, ours, other) for query in bad],
            "per_query": [self._line(query, gain, ours, other) for query, gain in sorted(gains, key=lambda one: one[1])],
        }

    def _named(self, result: Result) -> str:
        legs = ", ".join(sorted(set(result.best_leg.values())))
        return f"the best single leg ({legs})" if legs else result.configuration.name

    def _gains(self, ours: Result, other: Result) -> list[tuple[str, float]]:
        main = self._names.main
        return [(query, ours.values[query][main] - other.values[query][main]) for query in ours.values]

    def _rows(self, results: Sequence[Result]) -> list[Any]:
        groups = alike(self._asked, results[0])
        rows = [(one, estimate(one.column(self._names.main), groups)) for one in results]
        rows.sort(key=lambda row: -row[1].mean)
        kinds = {TRIPTYCH: "ours"}
        return [(one.configuration.name, mean, kinds.get(one.configuration.name, "other")) for one, mean in rows]

    def _legs(self) -> list[dict[str, Any]]:
        """How each leg scores what is relevant and what is not, and where its floor stands."""
        found = []
        for name in dict.fromkeys(leg.name for one in self._asked.scored for leg in one.legs):
            relevant, others = self._scores_of(name)
            level = next((leg.level for one in self._asked.scored for leg in one.legs if leg.name == name), None)
            floor, sigma = (None, 0.0) if level is None else (level.floor, level.sigma)
            above = fmean(score > floor for score in relevant) if relevant and floor is not None else None
            found.append(
                {
                    "name": name,
                    "plot": plots.distribution(relevant, others, floor, sigma, f"Scores of {name}"),
                    "relevant": len(relevant),
                    "others": len(others),
                    "above": above,
                    "reliability": None if level is None else level.reliability,
                }
            )
        return found

    def _scores_of(self, leg: str) -> tuple[list[float], list[float]]:
        relevant: list[float] = []
        others: list[float] = []
        for one in self._asked.scored:
            columns = [number for number, some in enumerate(one.legs) if some.name == leg]
            grades = self._judgements.get(one.query.id, {})
            for column in columns:
                for product, score in zip(one.candidates.ids, one.candidates.raw[:, column].tolist(), strict=True):
                    if not np.isnan(score):
                        (relevant if grades.get(product, 0) > 0 else others).append(score)
        return relevant, others

    def _surface(self) -> dict[str, Any] | None:
        """The measure over the weights of the commonest mix of legs: a curve for two, a triangle for the heaviest three."""
        mixes = Counter(tuple(leg.name for leg in one.legs) for one in self._asked.scored if len(one.legs) > 1)
        if not mixes:
            return None
        legs = mixes.most_common(1)[0][0]
        some = [one for one in self._asked.scored if tuple(leg.name for leg in one.legs) == legs]
        usual = {name: fmean(one.defaults(self._asked.schema)[name] for one in some) for name in legs}
        three = sorted(legs, key=lambda name: -usual[name])[:_CORNERS]
        rest = {name: usual[name] for name in legs if name not in three}
        shares = _grid(len(three))
        left = 1 - sum(rest.values())
        draws = [[left * part[three.index(name)] if name in three else rest[name] for name in legs] for part in shares]
        values = self._reached(some, np.array(draws))
        title = f"{self._names.main} of {len(some)} queries by the weights of {', '.join(three)}"
        mark = [usual[name] for name in three]
        if len(three) < _CORNERS:
            plot = plots.curve(three, [(part[0], value) for part, value in zip(shares, values, strict=True)], mark[0], title)
        else:
            points = [((a, b, c), value) for (a, b, c), value in zip(shares, values, strict=True)]
            plot = plots.triangle(three, points, mark, title)
        best = max(zip(values, shares, strict=True))
        return {
            "plot": plot,
            "queries": len(some),
            "rest": rest,
            "best": best[0],
            "at": list(zip(three, best[1], strict=True)),
            "least": min(values),
        }

    def _reached(self, some: Sequence[Scored], draws: Any) -> list[float]:
        method = Method(missing=self._asked.schema.missing)
        total = np.zeros(len(draws))
        for one in some:
            grades = self._judgements.get(one.query.id, {})
            total += Trials(one, grades, k=self._names.k, method=method, judged_only=self._names.judged_only)(draws)
        return [float(value) for value in total / len(some)]

    def _fetch(self, queries: Sequence[str], results: Sequence[Result]) -> None:
        """The products that are shown."""
        ids = {product for query in queries for one in results for product in one.rankings[query][:_HITS]}
        ids |= {product for query in queries for product in self._wanted(query)}
        index, ours = index_of(self._asked.version), self._asked.schema.object_fields
        self._products = mget(self._services.elasticsearch, index, sorted(ids), excludes=ours)

    def _wanted(self, query: str) -> list[str]:
        """The best judged products of a query."""
        grades = self._judgements.get(query, {})
        relevant = [product for product, grade in grades.items() if grade > 0]
        return sorted(relevant, key=lambda product: (-grades[product], product))[:_HITS]

    def _case(self, query: str, ours: Result, other: Result) -> dict[str, Any]:
        """A query with what each of two ways shows first, and what was wanted."""
        one, main = self._scored.get(query), self._names.main
        return {
            "id": query,
            "words": "" if one is None else one.words,
            "kind": "refused" if one is None else one.query.kind,
            "picture": None if one is None or one.query.image is None else self._pictures.of_file(one.query.image),
            "ours": f"{ours.values[query][main]:.3f}",
            "other": f"{other.values[query][main]:.3f}",
            "ours_hits": [self._hit(query, product) for product in ours.rankings[query][:_HITS]],
            "other_hits": [self._hit(query, product) for product in other.rankings[query][:_HITS]],
            "wanted": [self._hit(query, product) for product in self._wanted(query)],
        }

    def _line(self, query: str, gain: float, ours: Result, other: Result) -> dict[str, Any]:
        """A query's row of the table of all: what both reach, and what ours shows first."""
        one, main = self._scored.get(query), self._names.main
        first = next(iter(ours.rankings[query]), None)
        grade = None if first is None else self._judgements.get(query, {}).get(first)
        return {
            "id": query,
            "words": "" if one is None else one.words,
            "kind": "refused" if one is None else one.query.kind,
            "values": [f"{ours.values[query][main]:.3f}", f"{other.values[query][main]:.3f}", f"{gain:+.3f}"],
            "first": "nothing" if first is None else f"{first} ({'not judged' if grade is None else f'grade {grade}'})",
        }

    def _hit(self, query: str, product: str) -> dict[str, Any]:
        source: Mapping[str, Any] = self._products.get(product, {})
        return {
            "id": product,
            "title": title_of(source) or product,
            "grade": self._judgements.get(query, {}).get(product),
            "picture": self._pictures.of_product(source),
        }


def _grid(legs: int) -> list[tuple[float, ...]]:
    """Shares of two or three legs in equal steps."""
    if legs < _CORNERS:
        return [(step / _STEPS, 1 - step / _STEPS) for step in range(_STEPS + 1)]
    steps = range(_STEPS + 1)
    return [(a / _STEPS, b / _STEPS, (_STEPS - a - b) / _STEPS) for a in steps for b in range(_STEPS + 1 - a)]
