"""How good the answers are on every task of the developers' data: the baselines, ours untuned, ours tuned; a table a task.

    python benchmarks/relevance.py DATA --keep FOLDER --json FILE
    python benchmarks/relevance.py DATA --task text_icecat --task image_text_grocery

Each task's products are indexed under the profile `offline` on an Elasticsearch of our own, its queries are asked once by all
their legs, and the configurations of `triptych evaluate compare` rank the kept scores. *Tuned* are the weights that
`triptych evaluate tune` would choose on one half of the queries, tried on the other half, both ways, whether or not they would
be believed; the halves are every other query, then those that share no words, as new queries would. The bars of the summary are
those of docs/evaluation.md. `--keep` has the indices, the vectors and the scores for the next run, which then takes minutes.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
from bars import LEAST, Bar, bar, barred
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from engine import elasticsearch_node, redis_server
from evaluation.bench import Bench
from evaluation.catalogues import Data, some
from evaluation.configurations import BASELINES, BEST_LEG, OURS, Configuration
from evaluation.kept import Asked, Kept
from evaluation.measures import PerQuery
from evaluation.metrics import Judgements
from evaluation.results import Names, Result, alike, result_of
from evaluation.runs import Query
from evaluation.statistics import Difference, Estimate, difference, estimate
from evaluation.task_list import MIXED, TASKS, Task
from evaluation.tasks import CACHE_BYTES, shown
from evaluation.tuning import Bench as Draws
from evaluation.tuning import Plan, folds
from triptych import TriptychError
from triptych.settings import Settings, load

WIDTH = 128
PROFILE = "offline"
EVERYTHING = Task("image_text_everything", "the same, among 22,215 products", MIXED, folder="image_text_grocery")
"""The mixed task on one index of everything."""

ABLE: Mapping[str, Task] = {**TASKS, EVERYTHING.name: EVERYTHING}
TUNED, TUNED_ELSEWHERE = "tuned", "tuned, other words"
ONLY = "only "
"""A part of a mixed query, asked alone: `only text`."""

RR = "RR"
NEAR, MOST_TASKS = 0.02, 0.51
"""How near untuned weights must come to tuned ones, and on how many of the tasks."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a configuration reaches: nDCG@10 with its interval, the mean reciprocal rank, and what ours has over it."""

    name: str
    ndcg: Estimate
    rr: float
    ours_over: Difference | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A task's rows. `weights` are ours by leg, the mean over its queries; `best_leg` is chosen with hindsight."""

    task: str
    queries: int
    refused: int
    inputs: tuple[str, ...]
    best_leg: str
    weights: Mapping[str, float]
    rows: tuple[Row, ...]

    def of(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    @property
    def tuned(self) -> bool:
        return any(row.name == TUNED for row in self.rows)


def services(stack: ExitStack, settings: Settings, keep: Path | None) -> Settings:
    """Start an Elasticsearch and a Redis, with what the last run left in `keep`."""
    folders = [keep / name if keep else None for name in ("elasticsearch", "redis")]
    node = stack.enter_context(elasticsearch_node(settings, data_dir=folders[0]))
    redis = stack.enter_context(redis_server(settings, data_dir=folders[1], durable=keep is not None))
    changes = {"elasticsearch_url": SecretStr(node.url), "redis_url": SecretStr(redis.url), "profile": PROFILE}
    return settings.model_copy(update={**changes, "cache_bytes": max(settings.cache_bytes, CACHE_BYTES)})


def asked_of(bench: Bench, task: Task, queries: Sequence[Query], scores: Path) -> list[Asked]:
    """Every query asked once of its index, by all its legs; one answer an index."""
    recipes = {task.recipe_for(query.language).name: task.recipe_for(query.language) for query in queries}
    found = []
    for recipe in recipes.values():
        built = bench.built(PROFILE, recipe)
        mine = [replace(query, audio_as=task.audio_as) for query in queries if task.recipe_for(query.language) == recipe]
        bench.progress(f"{built.alias}: {task.name}", 0, len(mine))
        found.append(Kept(built.services, built.searcher, folder=scores).ask(built.alias, mine))
    return found


def together(parts: Sequence[Asked]) -> Asked:
    """The queries of all indices as if they were of one, for what looks at no index: the best leg, and tuning."""
    return replace(
        parts[0],
        scored=tuple(one for part in parts for one in part.scored),
        refused={query: why for part in parts for query, why in part.refused.items()},
        unanswered=tuple(query for part in parts for query in part.unanswered),
    )


def reached(parts: Sequence[Asked], judgements: Judgements, configuration: Configuration, names: Names) -> Result:
    """What a configuration reaches on all indices of a task, each ranked by its own levels."""
    if configuration.kind == BEST_LEG:
        return result_of(together(parts), judgements, configuration, names)
    results = [result_of(part, judgements, configuration, names) for part in parts]
    values = {query: each for one in results for query, each in one.values.items()}
    return Result(configuration, values, {query: ranked for one in results for query, ranked in one.rankings.items()})


def parts_alone(asked: Asked) -> list[Configuration]:
    """For queries of several inputs each input alone, by its own legs."""
    sources = {leg.name: leg.source for one in asked.scored for leg in one.legs}
    inputs = list(dict.fromkeys(sources.values()))
    return [
        Configuration(f"{ONLY}{part}", shares={name: 0.0 for name, source in sources.items() if source != part})
        for part in (inputs if len(inputs) > 1 else ())
    ]


def tuned(asked: Asked, judgements: Judgements, plan: Plan) -> dict[str, dict[str, float]]:
    """nDCG of each query by weights tuned on the other half of them; by way of halving. Nothing where one leg answers."""
    if len({leg.name for one in asked.scored for leg in one.legs}) < 2 or len(asked.scored) < 4:  # noqa: PLR2004
        return {}
    draws = Draws.of(asked.scored, judgements, asked.schema, plan)
    ways = {TUNED: [number % 2 for number in range(len(draws.ids))], TUNED_ELSEWHERE: folds(draws.groups, 2, seed=plan.seed)}
    found: dict[str, dict[str, float]] = {}
    for name, half in ways.items():
        if len(set(half)) < 2:  # noqa: PLR2004 - all queries have the same words
            continue
        found[name] = dict.fromkeys(asked.refused, 0.0)
        for mine in (0, 1):
            inside = np.array(half) == mine
            weights = draws.best(np.flatnonzero(~inside), plan)
            found[name] |= {draws.ids[row]: draws.value(row, weights) for row in np.flatnonzero(inside).tolist()}
    return found


def measured(bench: Bench, task: Task, limit: int | None, scores: Path, trials: int) -> Found:
    """A task's rows."""
    names = Names(judged_only=task.judged_only)
    queries = bench.data.queries(task)
    judgements = {
        query.id: {product: grade for product, grade in grades.items() if product not in query.exclude}
        for query in queries
        if (grades := bench.data.judgements(task).get(query.id))
    }
    parts = asked_of(bench, task, some([query for query in queries if query.id in judgements], limit), scores)
    whole = together(parts)
    configurations = [*BASELINES.values(), *parts_alone(whole), OURS]
    results = {one.name: reached(parts, judgements, one, names) for one in configurations}
    mine = results[OURS.name]
    groups = alike(whole, mine)
    rows = [row_of(name, one.values, mine.values, groups, names) for name, one in results.items()]
    bench.progress(f"{task.name}: tuning", 0, 0)
    plan = Plan(trials=trials, judged_only=task.judged_only)
    for name, found in tuned(whole, judgements, plan).items():
        values = {query: {names.main: value, RR: float("nan")} for query, value in found.items()}
        rows.append(row_of(name, values, mine.values, groups, names))
    weights = [one.defaults(part.schema) for part in parts for one in part.scored]
    return Found(
        task=task.name,
        queries=len(mine.values),
        refused=len(whole.refused),
        inputs=tuple(dict.fromkeys(leg.source for one in whole.scored for leg in one.legs)),
        best_leg=", ".join(dict.fromkeys(results[BEST_LEG].best_leg.values())),
        weights={
            leg: fmean(one.get(leg, 0.0) for one in weights) for leg in dict.fromkeys(leg for one in weights for leg in one)
        },
        rows=tuple(rows),
    )


def row_of(name: str, values: PerQuery, mine: PerQuery, groups: Sequence[Hashable], names: Names) -> Row:
    """A row; `groups` are of the queries of `mine`, in their order."""
    column = [values[query][names.main] for query in mine]
    over = None if values is mine else difference(column, [each[names.main] for each in mine.values()], groups)
    return Row(name, estimate(column, groups), fmean(values[query][RR] for query in mine), over)


def table(found: Found) -> Table:
    """A task's configurations."""
    weights = ", ".join(f"{leg} {weight:.2f}" for leg, weight in found.weights.items())
    refused = f", {found.refused} refused" if found.refused else ""
    shown_ = Table("configuration", "nDCG@10", "95 %", "MRR", "ours is over it by", "95 %", "p", title_justify="left")
    shown_.title = f"{found.task}: {found.queries} queries{refused}; ours weighs {weights}"
    for row in found.rows:
        name = f"{row.name} ({found.best_leg})" if row.name == BEST_LEG else row.name
        rr = "" if np.isnan(row.rr) else f"{row.rr:.3f}"
        over = row.ours_over
        beside = ["", "", ""] if over is None else [f"{over.estimate.mean:+.3f}", _span(over.estimate), _p(over.p)]
        shown_.add_row(
            name, f"{row.ndcg.mean:.3f}", _span(row.ndcg), rr, *beside, style="bold" if row.name == OURS.name else None
        )
    return shown_


def _span(one: Estimate) -> str:
    return "" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def overview(every: Sequence[Found]) -> Table:
    """All tasks, one a row."""
    heads = [*BASELINES, OURS.name, TUNED, TUNED_ELSEWHERE]
    shown_ = Table("task", *(head.replace("_", " ") for head in heads), title="nDCG@10", title_justify="left")
    for found in every:
        cells = {row.name: f"{row.ndcg.mean:.3f}" for row in found.rows}
        shown_.add_row(found.task, *(cells.get(head, "") for head in heads))
    return shown_


def bars_of(every: Sequence[Found]) -> list[Bar]:
    """What is asked of ours."""

    def over(names: str, found: Found) -> float:
        return found.of(OURS.name).ndcg.mean - found.of(names).ndcg.mean

    mixed = [found for found in every if len(found.inputs) > 1]
    bars = [
        bar(f"mixed tasks ({len(mixed)}), mean: ours over {name}", [fmean(over(name, found) for found in mixed)], LEAST, 0.0)
        for name in (BASELINES if mixed else ())
    ]
    bars += [bar(f"{found.task}: ours over the best leg", [over(BEST_LEG, found)], LEAST, 0.0) for found in every]
    near = [float(over(TUNED, found) >= -NEAR) for found in every if found.tuned]
    bars += [bar(f"share of {len(near)} tasks: ours within {NEAR} of tuned", [fmean(near)], LEAST, MOST_TASKS)] if near else []
    for found in mixed:
        parts = [row for row in found.rows if row.name.startswith(ONLY)]
        best = max(parts, key=lambda row: row.rr)
        bars.append(bar(f"{found.task}: MRR over {best.name}", [found.of(OURS.name).rr - best.rr], LEAST, 0.0))
    bars += [bar(f"{one.task}: ours over BM25", [over("words", one)], LEAST, 0.0) for one in every if one.task == "text_icecat"]
    return bars


def as_json(found: Found) -> dict[str, Any]:
    rows = [{**asdict(row), "rr": None if np.isnan(row.rr) else row.rr} for row in found.rows]
    return {**asdict(found), "rows": rows}


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--task", "names", multiple=True, type=click.Choice(list(ABLE)), help="A task; may be repeated. Default: all.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask only so many queries of each task: for trials.")
@click.option("--trials", default=10_000, show_default=True, help="Draws of weights to tune with.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder of indices, vectors and scores for the next run.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Also write the results to this file, after each task.")
@click.option(
    "--share", type=click.Path(path_type=Path), default=Path("/usr/share"), help="Where Debian's packages have files."
)
def main(
    *,
    data: Path,
    names: Sequence[str],
    limit: int | None,
    trials: int,
    keep: Path | None,
    report: Path | None,
    share: Path,
) -> None:
    """Measure the fusions on the tasks in DATA."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the `with` blocks stop what they started
    console = Console(width=WIDTH)
    every: list[Found] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triptych-relevance-")))
        settings = services(stack, load(), keep.resolve() if keep else None)
        bench = Bench(settings, Data(data.resolve(), share), folder, stack.enter_context(shown()), reuse=True)
        for name in names or ABLE:
            every.append(measured(bench, ABLE[name], limit, (keep or folder) / "scores", trials))
            console.print(table(every[-1]))
            if report is not None:
                report.write_text(json.dumps([as_json(found) for found in every], indent=1) + "\n", encoding="utf-8")
    limits = bars_of(every)
    console.print(overview(every), barred(limits))
    if not all(one.holds for one in limits):
        raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except (TriptychError, OSError) as problem:
        sys.exit(f"{problem}")
