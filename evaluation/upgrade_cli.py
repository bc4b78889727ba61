"""The command `triptych reindex evaluate`, which comes into its group by entry point."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evaluation.options import FILE, FOLDER, check_installed
from triptych.errors import InputError

_SHOWN = 5


@click.command()
@click.argument("index")
@click.option("--queries", type=FILE, required=True, help="Queries, JSON lines: qid, text, image, audio.")
@click.option("--query-media", type=FOLDER, help="Folder of the queries' pictures and sounds; default that of --queries.")
@click.option("--judgements", type=FILE, help="Judgements in TREC form, to measure both versions by.")
@click.option("--k", type=click.IntRange(1, 100), default=10, show_default=True, help="So many products of each answer count.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def evaluate(index: str, *, queries: Path, query_media: Path | None, judgements: Path | None, k: int, as_json: bool) -> None:
    """Ask both versions of INDEX the same queries: how many products their answers share, and how good each is."""
    from evaluation import judged  # noqa: PLC0415
    from evaluation.versions import compare  # noqa: PLC0415
    from indexer.upgrade.starting import name_of  # noqa: PLC0415
    from search_api.searcher import Searcher  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    if judgements is not None:
        check_installed()
    services = build()
    upgrade = services.upgrades.open_of(name_of(services, index))
    known = judged.read(judgements, queries, media=query_media) if judgements is not None else None
    asked = known.queries if known is not None else tuple(judged.read_all(queries, media=query_media))
    if not asked:
        raise InputError(f"{queries} has no query.", code="evaluation.bad_queries", field="queries")
    with judged.progress("asking", quiet=as_json) as told:
        versions = (upgrade.serving, upgrade.waiting)
        grades = known.judgements if known is not None else None
        found = compare(Searcher(services), versions, asked, k=k, judgements=grades, progress=told).to_dict()
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{found['queries']} queries; of {k} products each, {found['overlap']:.0%} are in both answers")
    for query, share in list(found["overlaps"].items())[:_SHOWN]:
        click.echo(f"  {query}: {share:.0%}")
    for version, some in found["measures"].items():
        click.echo(f"{version}: " + ", ".join(f"{name} {value:.3f}" for name, value in some.items()))
