"""How long tuning takes on kept leg scores: 100 queries and 10,000 weights, folds, repeats and classes included.

    python benchmarks/tuning.py
    python benchmarks/tuning.py --queries 100 --trials 10000 --rounds 3 --json FILE

The queries are made up: legs that agree in nothing, which is the slowest case, for nearly every product could be among the best
under some weights. No service is needed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from bars import MOST, bar, barred
from rich.console import Console

from evaluation.kept import Scored
from evaluation.runs import Query
from evaluation.tuning import Plan, tune
from search_api.candidates import LegHits, complete, gather
from search_api.fusion import FusedLeg
from triptych.schema import IndexSchema, Level

MOST_SECONDS = 10.0
WINDOW = 100
_SIGMA = 0.05
LEGS = (
    FusedLeg("lexical", "text", "lexical", 0.0, Level(floor=0.0, sigma=0.0)),
    FusedLeg("text.text", "text", "text.text", 0.0, Level(floor=0.4, sigma=_SIGMA)),
    FusedLeg("text.image", "text", "text.image", 0.0, Level(floor=0.4, sigma=_SIGMA)),
    FusedLeg("image.image", "image", "image.image", 0.0, Level(floor=0.45, sigma=_SIGMA)),
)


def a_query(number: int) -> tuple[Scored, dict[str, int]]:
    """About 300 candidates of four legs, a quarter of them without a picture, and 30 judgements."""
    dice = np.random.default_rng(number)
    ids = [f"p{n:04}" for n in range(400)]
    scores = {leg.name: dict(zip(ids, dice.random(len(ids)).tolist(), strict=True)) for leg in LEGS}
    for name in ("text.image", "image.image"):
        scores[name] = {key: value for key, value in scores[name].items() if int(key[1:]) % 4}
    best = {name: sorted(some, key=some.__getitem__, reverse=True) for name, some in scores.items()}
    first, late = (
        {name: LegHits(tuple(keys[part]), tuple(scores[name][key] for key in keys[part])) for name, keys in best.items()}
        for part in (slice(WINDOW), slice(WINDOW, None))
    )
    found = complete(gather(list(scores), first, sources=list(scores), full=WINDOW), late, words=["lexical"])
    grades = {str(key): int(dice.integers(0, 3)) for key in dice.permutation(found.ids)[:30]}
    return Scored(Query(f"q{number}"), found, LEGS, f"word {number}"), grades


@click.command()
@click.option("--queries", default=100, show_default=True)
@click.option("--trials", default=10_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path), help="Also write the results to this file.")
def main(*, queries: int, trials: int, rounds: int, report: Path | None) -> None:
    """Time tuning."""
    made = [a_query(number) for number in range(queries)]
    scored, judgements = [one for one, _ in made], {one.query.id: grades for one, grades in made}
    wall, cpu = [], []
    for _ in range(rounds):
        began, spent = time.perf_counter(), time.process_time()
        tune(scored, judgements, IndexSchema(lexical_fields=("title",)), Plan(trials=trials))
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
    bars = [
        bar(f"seconds for {queries} queries, {trials} weights", wall, MOST, MOST_SECONDS),
        bar("seconds of the processor, on two cores", cpu, MOST, 2 * MOST_SECONDS),
    ]
    Console(width=120).print(barred(bars))
    if report is not None:
        report.write_text(json.dumps([{**asdict(one), "holds": one.holds} for one in bars], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
