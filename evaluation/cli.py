"""Commands of evaluation: `triptych evaluate run|compare`; tuning and judging stand in modules of their own."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evaluation.clicks_cli import from_clicks
from evaluation.collect_cli import collect
from evaluation.judge_cli import import_, judge, pool
from evaluation.options import FILE, check_installed, check_windows, measuring, of_queries
from evaluation.tune_cli import tune


@click.group()
def evaluate() -> None:
    """Measure and improve how good the answers are, by judged queries."""
    check_installed()


@evaluate.command()
@click.argument("judgements", type=FILE)
@of_queries
@click.option(
    "--configuration",
    "text",
    default="triptych",
    show_default=True,
    help="How it is fused (see compare); default: as a user gets it.",
)
@measuring
def run(
    judgements: Path,
    *,
    queries: Path,
    alias: str,
    query_media: Path | None,
    window: int,
    fresh: bool,
    text: str,
    k: int,
    judged_only: bool,
    html: Path | None,
    media: Path | None,
    as_json: bool,
) -> None:
    """Measure the answers to judged queries. JUDGEMENTS is a file in TREC form: query, 0, product, grade."""
    from evaluation import judged, shown  # noqa: PLC0415
    from evaluation.configurations import BASELINES, BEST_LEG, parse  # noqa: PLC0415
    from evaluation.results import Names, result_of  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    given = judged.read(judgements, queries, media=query_media)
    asked = judged.ask(services, alias, given, window=window, fresh=fresh, quiet=as_json)
    names = Names(k, judged_only=judged_only)
    configuration = parse(text, asked.schema)
    check_windows([configuration], window)
    result = result_of(asked, given.judgements, configuration, names)
    if as_json:
        click.echo(json.dumps(shown.run_json(asked, given, result, names)))
    else:
        shown.run_tables(asked, given, result, names)
    if html is not None:
        from evaluation.report import View, write  # noqa: PLC0415

        other = result_of(asked, given.judgements, BASELINES[BEST_LEG], names)
        write(html, View(services, asked, given.judgements, names, media), [result, other])


@evaluate.command()
@click.argument("judgements", type=FILE)
@click.argument("configurations", nargs=-1)
@of_queries
@measuring
def compare(
    judgements: Path,
    configurations: tuple[str, ...],
    *,
    queries: Path,
    alias: str,
    query_media: Path | None,
    window: int,
    fresh: bool,
    k: int,
    judged_only: bool,
    html: Path | None,
    media: Path | None,
    as_json: bool,
) -> None:
    """Compare CONFIGURATIONS with what other engines do and with each leg alone, on judged queries.

    A configuration is triptych (the default weights), set:NAME (a weight set of the index), leg:NAME, one of words, best_leg,
    bool, min_max_10, min_max_100, rrf, l2, dbsf, or settings as fusion=rrf,complete=no,weights=equal,image.image=0.5.
    """
    from evaluation import comparing, judged, shown  # noqa: PLC0415
    from evaluation.configurations import parse  # noqa: PLC0415
    from evaluation.results import Names, alike, result_of  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    given = judged.read(judgements, queries, media=query_media)
    asked = judged.ask(services, alias, given, window=window, fresh=fresh, quiet=as_json)
    names = Names(k, judged_only=judged_only)
    chosen = comparing.with_baselines([parse(text, asked.schema) for text in configurations])
    check_windows(chosen, window)
    results = [result_of(asked, given.judgements, one, names) for one in chosen]
    verdict = comparing.judge(results, names.main, alike(asked, results[0]))
    if as_json:
        click.echo(json.dumps(shown.verdict_json(asked, verdict, results, names)))
    else:
        shown.verdict_tables(asked, given, verdict, names)
    if html is not None:
        from evaluation.report import View, write  # noqa: PLC0415

        write(html, View(services, asked, given.judgements, names, media), results, verdict)


for _command in (tune, pool, judge, collect, import_, from_clicks):
    evaluate.add_command(_command)
