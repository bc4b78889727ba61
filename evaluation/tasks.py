"""Ask the tasks of the developers' data on a real Elasticsearch, and print how good the answers are.

    python -m evaluation.tasks DATA --task image_grocery --profile offline --profile classical --json FILE

Where TRIPTYCH_ELASTICSEARCH_URL and TRIPTYCH_REDIS_URL are set, those services are used and none is started; a Redis that stays
keeps the vectors for the next run.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click
from pydantic import SecretStr
from rich.console import Console
from rich.progress import MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Shown
from rich.table import Table

from engine import elasticsearch_node, redis_server
from evaluation.bench import Bench, Built, Progress, ask, legs_of
from evaluation.catalogues import Data, some
from evaluation.measures import NAMES, PerQuery, chance, mean, per_query
from evaluation.metrics import Judgements
from evaluation.runs import Query
from evaluation.task_list import TASKS, Task
from triptych import TriptychError
from triptych.settings import Settings, load

WIDTH = 150  # of the table, also in a file
CHANCE, ALL_LEGS = "chance", "all"
CACHE_BYTES = 2_000_000_000
"""Of vectors kept by the Redis that is started here: all tasks of both profiles need a tenth of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One task's measures under a profile, by all legs of its queries as the product weighs them, or by one leg alone."""

    task: str
    profile: str
    legs: str
    queries: int
    measures: Mapping[str, float]
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    refused: int = 0
    median_ms: float | None = None
    index_seconds: float | None = None


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--task", "names", multiple=True, type=click.Choice(list(TASKS)), help="A task; may be repeated. Default: all.")
@click.option("--profile", "profiles", multiple=True, default=("offline",), help="A profile; may be repeated.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Also write the results to this file, after each task.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask only so many queries of each task: for trials.")
@click.option("--legs/--no-legs", default=True, help="Also ask each leg alone (the default).")
@click.option(
    "--share", type=click.Path(path_type=Path), default=Path("/usr/share"), help="Where Debian's packages have files."
)
def main(
    *,
    data: Path,
    names: Sequence[str],
    profiles: Sequence[str],
    report: Path | None,
    limit: int | None,
    legs: bool,
    share: Path,
) -> None:
    """Evaluate Triptych on the tasks in DATA."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the `with` blocks stop what they started
    tasks = [TASKS[name] for name in names] or list(TASKS.values())
    console = Console(width=WIDTH)
    rows: list[Row] = []
    with ExitStack() as stack:
        settings = services(stack, load())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triptych-evaluation-")))
        bench = Bench(settings, Data(data.resolve(), share), folder, stack.enter_context(shown()))
        for task in tasks:
            found = list(evaluate(bench, task, profiles, limit=limit, legs=legs))
            rows += found
            console.print(table(found))
            if report is not None:
                report.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    console.print(table(rows))
    console.print(group_table(rows))


def services(stack: ExitStack, settings: Settings) -> Settings:
    """Start what the user has not: the settings with the addresses of both services."""
    changes: dict[str, Any] = {"cache_bytes": max(settings.cache_bytes, CACHE_BYTES)}
    if settings.elasticsearch_url is None:
        changes["elasticsearch_url"] = SecretStr(stack.enter_context(elasticsearch_node(settings)).url)
    if settings.redis_url is None:
        changes["redis_url"] = SecretStr(stack.enter_context(redis_server(settings)).url)
    return settings.model_copy(update=changes)


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress on the terminal."""
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Shown(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=None)
        yield lambda what, done, of: progress.update(bar, description=what, completed=done, total=of or None)


def evaluate(bench: Bench, task: Task, profiles: Sequence[str], *, limit: int | None, legs: bool) -> Iterator[Row]:
    """The rows of a task: chance, then each profile by all legs and by each leg alone."""
    judgements = bench.data.judgements(task)
    queries = some([query for query in bench.data.queries(task) if query.id in judgements], limit)
    candidates = {
        query.id: [p for p in bench.catalogue(task.recipe_for(query.language)).ids if p not in query.exclude]
        for query in queries
    }
    guessed = chance(judgements, candidates, depth=task.depth, judged_only=task.judged_only)
    yield Row(task.name, CHANCE, "", len(queries), guessed)
    for profile in profiles:
        parts = parts_of(bench, task, profile, queries)
        yield row(task, profile, ALL_LEGS, judgements, [(built, mine, None) for built, mine in parts], bench.progress)
        built, mine = parts[0]
        names = legs_of(built, task, mine[0]) if legs and task.audio_as == "sound" else []
        for leg in names if len(names) > 1 else []:
            asked = [(built, mine, {leg: 1.0}) for built, mine in parts]
            yield row(task, profile, leg, judgements, asked, bench.progress)


def parts_of(bench: Bench, task: Task, profile: str, queries: Sequence[Query]) -> list[tuple[Built, list[Query]]]:
    """The indices of a task, each with the queries that are asked of it."""
    recipes = {task.recipe_for(query.language).name: task.recipe_for(query.language) for query in queries}
    return [
        (bench.built(profile, recipe), [query for query in queries if task.recipe_for(query.language) == recipe])
        for recipe in recipes.values()
    ]


def row(
    task: Task,
    profile: str,
    legs: str,
    judgements: Judgements,
    asked: Sequence[tuple[Built, Sequence[Query], Mapping[str, float] | None]],
    progress: Progress,
) -> Row:
    """Ask all of a task's queries and measure the answers."""
    answers = [ask(built, task, queries, weights=weights, progress=progress) for built, queries, weights in asked]
    rankings = {query: ranked for some_ in answers for query, ranked in some_.rankings.items()}
    values = per_query(judgements, rankings, judged_only=task.judged_only)
    took = [ms for some_ in answers for ms in some_.took_ms]
    return Row(
        task=task.name,
        profile=profile,
        legs=legs,
        queries=len(values),
        measures=mean(values),
        groups=grouped(values, [query for _, queries, _ in asked for query in queries]),
        refused=sum(len(some_.refused) for some_ in answers),
        median_ms=median(took) if took else None,
        index_seconds=sum(built.seconds for built, _, _ in asked) if legs == ALL_LEGS else None,
    )


def grouped(values: PerQuery, queries: Sequence[Query]) -> dict[str, dict[str, float]]:
    """The measures per language and per tag, where there are several."""
    members: dict[str, list[str]] = {}
    for query in queries:
        for name in [query.language, ", ".join(query.tags)]:
            if name:
                members.setdefault(name, []).append(query.id)
    return {name: mean(values, ids) for name, ids in members.items()} if len(members) > 1 else {}


def table(rows: Sequence[Row]) -> Table:
    """Task x profile, and each leg alone."""
    found = Table("task", "profile", "legs", "queries", *_HEADS, "refused", "ms", title="Tasks", title_justify="left")
    last = ""
    for one in rows:
        if one.task != last:
            found.add_section()
        style = "dim" if one.legs not in {"", ALL_LEGS} else None
        took = "" if one.median_ms is None else f"{one.median_ms:.0f}"
        shown_ = [*_cells(one.measures), str(one.refused or ""), took]
        found.add_row("" if one.task == last else one.task, one.profile, one.legs, str(one.queries), *shown_, style=style)
        last = one.task
    return found


def group_table(rows: Sequence[Row]) -> Table:
    """Each task's languages and tags, by all legs."""
    found = Table("task", "profile", "of the queries", *_HEADS, title="By language and tag", title_justify="left")
    for one in rows:
        if one.groups and one.legs == ALL_LEGS:
            found.add_section()
            for name, measures in one.groups.items():
                found.add_row(one.task, one.profile, name, *_cells(measures))
    return found


_HEADS = [name.replace("Success", "S") for name in NAMES]


def _cells(measures: Mapping[str, float]) -> list[str]:
    return [f"{measures[name]:.3f}" if name in measures else "" for name in NAMES]


if __name__ == "__main__":
    try:
        main()
    except (TriptychError, OSError) as problem:
        sys.exit(f"{problem}")
