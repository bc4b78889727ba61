"""`triptych evaluate collect`: the judgements that were made over HTTP, as files."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option("--index", "alias", required=True, metavar="NAME", help="The index whose products were judged.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for qrels.txt and queries.jsonl."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def collect(*, alias: str, out: Path, as_json: bool) -> None:
    """Write the judgements that the API was given (POST /v1/judgements, the bench) as files for the other commands."""
    from evaluation import judging  # noqa: PLC0415
    from triptych.elastic.judgements import JudgementStore  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    found = JudgementStore(services.elasticsearch, services.settings).read(alias)
    graded = {one.qid: {product: grade for product, grade in one.grades.items() if grade is not None} for one in found}
    out.mkdir(parents=True, exist_ok=True)
    judging.write(out / "qrels.txt", graded)
    (out / "queries.jsonl").unlink(missing_ok=True)
    judging.write_queries(out / "queries.jsonl", [one.query for one in found])
    media = [str(one.query[kind]) for one in found for kind in ("image", "audio") if kind in one.query]
    told = {"queries": len(found), "judgements": sum(map(len, graded.values())), "media": media}
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{told['judgements']} judgements of {told['queries']} queries are in {out}.")
    if media:
        click.echo(f"Put beside them: {', '.join(media)}.")
