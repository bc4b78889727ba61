"""Which fusion, and which weights, on one index of everything: words and a photo asked of 22,215 products.

    python -m evaluation.mixed DATA --json FILE
    python -m evaluation.mixed DATA --index NAME

Every query is asked once. Its candidates have the exact score of every leg, so all methods and weights are tried on them
without asking again. Where TRIPTYCH_ELASTICSEARCH_URL is set, an index NAME that is there already is asked and none is built.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import get_args

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.bench import Bench, Progress, index, request, there
from evaluation.catalogues import Data, some
from evaluation.measures import mean, per_query
from evaluation.metrics import Judgements
from evaluation.runs import Query
from evaluation.task_list import MIXED, TASKS, Task
from evaluation.tasks import WIDTH, services, shown
from search_api.candidates import NO_MODALITY, NOT_RETRIEVED, Candidates, Floats
from search_api.fusion import FusedLeg, Method, averaged, fuse, renormalised, reweighed
from search_api.legs import wanted
from search_api.query import FusionMethod, Mean, SearchRequest
from search_api.searcher import Searcher
from search_api.weights import class_of, default_weights
from triptych import TriptychError
from triptych.schema import Level
from triptych.services import Services
from triptych.settings import load

TASK, PROFILE = "image_text_grocery", "offline"
MEASURE, DEPTH = "nDCG@10", 10
STEPS = 10
"""Tuning tries all weights in steps of one tenth: 286 for four legs."""

EQUAL, RELIABILITY, DEFAULT = "equal", "reliability", "default"
TUNED, TUNED_ELSEWHERE = "tuned", "other words"
"""The same weight for every leg; by input and measured reliability; the same with the class of the query, which is what a user
gets who gives no weights; chosen on every other query, or on the half of the queries that has other words, and tried on the
rest."""

FUSIONS: Sequence[FusionMethod] = ("calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf")
ARITHMETIC: Mean = "arithmetic"
BELOW_0: Sequence[FusionMethod] = ("z_score", "rrf")
"""Fusions that have the arithmetic mean only."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query's candidates, its legs, their weights by how they were chosen, and what `native` answers under these."""

    id: str
    words: str
    exclude: frozenset[str]
    candidates: Candidates
    legs: tuple[FusedLeg, ...]
    weights: Mapping[str, Mapping[str, float]]
    native: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to fuse."""

    method: Method
    complete: bool

    def seen(self, candidates: Candidates) -> Candidates:
        """The scores this scheme knows."""
        return candidates if self.complete else uncompleted(candidates)


NATIVE = Scheme(Method("native"), complete=False)
"""Asked of Elasticsearch itself, under the weights that nobody tuned: it keeps no scores to tune on."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a scheme reaches: nDCG@10 by how the weights were chosen; of `native` where they were not tuned."""

    scheme: Scheme
    reached: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LegRow:
    """A leg: its measured reliability among so many products, its default weight (the mean over the queries), and it alone."""

    leg: str
    reliability: float | None
    sample: int
    weight: float
    alone: float


def uncompleted(candidates: Candidates) -> Candidates:
    """The candidates as they are without completion. Pure."""
    late = candidates.rank == 0
    raw = np.where(late, np.nan, candidates.raw)
    return replace(candidates, raw=raw, status=np.where(late, NOT_RETRIEVED, candidates.status).astype(np.uint8))


def leaving_out(asked: Asked, prefix: str) -> Asked:
    """The query without the products whose id begins so."""
    others = {product for product in asked.candidates.ids if product.startswith(prefix)}
    return replace(asked, exclude=asked.exclude | others)


def ranking(asked: Asked, scheme: Scheme, weights: Mapping[str, float]) -> list[str]:
    """The product ids a query gets, best first."""
    order = fuse(scheme.seen(asked.candidates), reweighed(asked.legs, weights), scheme.method).order
    return [product for row in order if (product := asked.candidates.ids[row]) not in asked.exclude]


def alone(asked: Asked, leg: int) -> list[str]:
    """What one leg returns by itself."""
    rank = asked.candidates.rank[:, leg]
    found = sorted(np.flatnonzero(rank).tolist(), key=lambda row: int(rank[row]))
    return [product for row in found if (product := asked.candidates.ids[row]) not in asked.exclude]


def measured(judgements: Judgements, rankings: Mapping[str, Sequence[str]]) -> float:
    """The mean nDCG@10."""
    return mean(per_query(judgements, rankings))[MEASURE]


class Tuner:
    """nDCG@10 of one query and scheme under any weights, quickly: scores are normalised once."""

    def __init__(self, asked: Asked, scheme: Scheme, grades: Mapping[str, int]) -> None:
        seen = scheme.seen(asked.candidates)
        allowed = np.array([product not in asked.exclude for product in seen.ids])
        self._mean = scheme.method.mean
        self._normalised = fuse(seen, asked.legs, scheme.method).normalised[allowed]
        self._lacking = (seen.status == NO_MODALITY)[allowed]
        self._renormalise = scheme.method.missing == "renormalise" and bool(self._lacking.any())
        self._sources = [leg.source for leg in asked.legs]
        gains = np.array([max(0, grades.get(product, 0)) for product in seen.ids], dtype=float)
        self._gains = gains[allowed]
        self._best = _discounted(np.sort([max(0, grade) for grade in grades.values()])[::-1].astype(float))

    def __call__(self, weights: Floats) -> float:
        spread = np.broadcast_to(weights, self._normalised.shape)
        if self._renormalise:
            spread = renormalised(spread, self._lacking, self._sources)
        score = averaged(self._normalised, spread, self._mean)
        order = np.argsort(-score, kind="stable")[:DEPTH]  # candidates are sorted by id, which breaks ties
        return _discounted(self._gains[order]) / self._best if self._best else 0.0


def _discounted(gains: Floats) -> float:
    top = gains[:DEPTH]
    return float((top / np.log2(np.arange(2, len(top) + 2))).sum())


def simplex(legs: int) -> list[tuple[float, ...]]:
    """All weights of so many legs in steps of 1/STEPS that add up to 1."""
    cuts = itertools.combinations(range(STEPS + legs - 1), legs - 1)
    ends = [(-1, *cut, STEPS + legs - 1) for cut in cuts]
    return [tuple((b - a - 1) / STEPS for a, b in itertools.pairwise(end)) for end in ends]


def halves(asked: Sequence[Asked], kind: str) -> tuple[list[int], list[int]]:
    """Numbers of the queries in two halves: every other one, or those of every other words, which is harder. Pure."""
    words = list(dict.fromkeys(one.words for one in asked))
    groups = [number if kind == TUNED else words.index(one.words) for number, one in enumerate(asked)]
    return [n for n, group in enumerate(groups) if group % 2 == 0], [n for n, group in enumerate(groups) if group % 2]


def tuned(asked: Sequence[Asked], judgements: Judgements, scheme: Scheme) -> dict[str, dict[str, Mapping[str, float]]]:
    """Weights by way of halving and query id: those that are best for the other half of the queries."""
    grid = simplex(len(asked[0].legs))
    tuners = [Tuner(one, scheme, judgements[one.id]) for one in asked]
    values = np.array([[tuner(np.array(weights)) for tuner in tuners] for weights in grid])
    names = [leg.name for leg in asked[0].legs]
    found: dict[str, dict[str, Mapping[str, float]]] = {TUNED: {}, TUNED_ELSEWHERE: {}}
    for kind, weights in found.items():
        parts = halves(asked, kind)
        for half, other in (parts, parts[::-1]):
            best = grid[int(values[:, other].mean(axis=1).argmax())] if other else [1 / len(names)] * len(names)
            weights |= {asked[number].id: dict(zip(names, best, strict=True)) for number in half}
    return found


def schemes() -> list[Scheme]:
    """Every method with and without completion, and what products without a picture may count."""
    ways = [
        Method(fusion, mean) for mean in get_args(Mean) for fusion in FUSIONS if mean == ARITHMETIC or fusion not in BELOW_0
    ]
    found = [Scheme(way, complete) for way in ways for complete in (True, False)]
    return [*found, Scheme(Method(missing="zero"), True), Scheme(Method(missing="background"), True)]


def ask(searcher: Searcher, alias: str, task: Task, queries: Sequence[Query], progress: Progress) -> list[Asked]:
    """Ask every query once, by all its legs."""
    found = []
    schema = searcher.info(alias).schema
    for number, query in enumerate(queries):
        progress(f"{alias}: {task.name}", number, len(queries))
        given = request(alias, task, query)
        plan = wanted(given, schema)
        even = {planned.name: 1 / len(plan) for planned in plan}  # a leg that weighs 0 is not asked
        session = searcher.scored(*searcher.planned(replace(given, weights=even)))
        if session.degraded:
            raise TriptychError(f"{query.id}: {session.degraded[0].message}", code="evaluation.degraded")
        weights = {
            EQUAL: even,
            RELIABILITY: default_weights(plan, schema.levels),
            DEFAULT: default_weights(plan, schema.levels, query_class=class_of(query.text or "")),
        }
        native = {kind: natively(searcher, replace(given, weights=some)) for kind, some in weights.items()}
        exclude = frozenset(query.exclude)
        found.append(Asked(query.id, query.text or "", exclude, session.candidates, session.legs, weights, native))
    return found


def natively(searcher: Searcher, given: SearchRequest) -> list[str]:
    """The product ids that `native` answers, best first."""
    return [hit.id for hit in searcher.search(replace(given, fusion="native", fields=("id",))).hits]


def native_row(asked: Sequence[Asked], judgements: Judgements) -> Row:
    """What `native` reaches."""
    kept = {
        kind: {one.id: [product for product in one.native[kind] if product not in one.exclude] for one in asked}
        for kind in asked[0].native
    }
    return Row(NATIVE, {kind: measured(judgements, rankings) for kind, rankings in kept.items()})


def evaluate(asked: Sequence[Asked], judgements: Judgements, progress: Progress) -> Iterator[Row]:
    """What each scheme reaches."""
    every = schemes()
    for number, scheme in enumerate(every):
        progress(f"{scheme.method.fusion} {scheme.method.mean}", number, len(every))
        chosen = {kind: {one.id: one.weights[kind] for one in asked} for kind in asked[0].weights}
        chosen |= tuned(asked, judgements, scheme)
        reached = {
            kind: measured(judgements, {one.id: ranking(one, scheme, weights[one.id]) for one in asked})
            for kind, weights in chosen.items()
        }
        yield Row(scheme, reached)
    yield native_row(asked, judgements)


def leg_rows(asked: Sequence[Asked], judgements: Judgements) -> list[LegRow]:
    """Each leg by itself."""
    rows = []
    for number, leg in enumerate(asked[0].legs):
        weight = float(np.mean([one.weights[DEFAULT][leg.name] for one in asked]))
        reached = measured(judgements, {one.id: alone(one, number) for one in asked})
        known = leg.level or Level(floor=0, sigma=0)
        rows.append(LegRow(leg.name, known.reliability, known.sample, weight, reached))
    return rows


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--index", "alias", default="eval-mixed", help="The index: asked if it is there, built if not.")
@click.option(
    "--without", help="Leave products whose id begins so out of the rankings, such as st-: stamps that nobody judged."
)
@click.option("--limit", type=click.IntRange(min=1), help="Ask only so many queries: for trials.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Also write the results to this file.")
@click.option("--share", type=click.Path(path_type=Path), default=Path("/usr/share"), help="Where Debian's packages are.")
def main(*, data: Path, alias: str, without: str | None, limit: int | None, report: Path | None, share: Path) -> None:
    """Compare fusions on one index of 22,215 products made of DATA."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the `with` blocks stop what they started
    task, source = TASKS[TASK], Data(data.resolve(), share)
    judgements = source.judgements(task)
    queries = some([query for query in source.queries(task) if query.id in judgements], limit)
    with ExitStack() as stack:
        settings = services(stack, load()).model_copy(update={"profile": PROFILE})
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triptych-evaluation-")))
        bench = Bench(settings, source, folder, stack.enter_context(shown()))
        searcher, seconds = asking(bench, alias)
        asked = ask(searcher, alias, task, queries, bench.progress)
        asked = [leaving_out(one, without) for one in asked] if without else asked
        legs = leg_rows(asked, judgements)
        rows = list(evaluate(asked, judgements, bench.progress))
    console = Console(width=WIDTH)
    console.print(leg_table(legs), table(rows))
    if report is not None:
        parts = {"legs": [asdict(leg) for leg in legs], "rows": [asdict(row) for row in rows]}
        found = {"task": TASK, "queries": len(asked), "without": without, "index_seconds": seconds, **parts}
        report.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def asking(bench: Bench, alias: str) -> tuple[Searcher, float | None]:
    """What answers the queries, and the seconds that indexing took where the index was not there."""
    services_ = Services(bench.settings)
    if searcher := there(services_, alias):
        return searcher, None
    built = index(services_, bench.catalogue(MIXED), alias, bench.progress)
    return built.searcher, built.seconds


def leg_table(rows: Sequence[LegRow]) -> Table:
    found = Table("leg", "reliability", "among", "default weight", f"{MEASURE} alone", title="Legs", title_justify="left")
    for row in rows:
        reliability = "" if row.reliability is None else f"{row.reliability:.3f}"
        found.add_row(row.leg, reliability, str(row.sample or ""), f"{row.weight:.3f}", f"{row.alone:.3f}")
    return found


def table(rows: Sequence[Row]) -> Table:
    heads = (EQUAL, RELIABILITY, DEFAULT, TUNED, TUNED_ELSEWHERE)
    found = Table("fusion", "mean", "missing", "completed", *heads, title=MEASURE, title_justify="left")
    for row in rows:
        cells = [f"{row.reached[head]:.3f}" if head in row.reached else "" for head in heads]
        method, complete = row.scheme.method, row.scheme.complete
        found.add_row(method.fusion, method.mean, method.missing if complete else "", "yes" if complete else "no", *cells)
    return found


if __name__ == "__main__":
    try:
        main()
    except (TriptychError, OSError) as problem:
        sys.exit(f"{problem}")
