"""Commands of judging: `triptych evaluate pool|judge|import`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evaluation.options import FILE, of_queries

OUT = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("configurations", nargs=-1)
@of_queries
@click.option("--judgements", type=FILE, help="What is judged already, and need not be judged again.")
@click.option("--depth", default=10, show_default=True, type=click.IntRange(1, 1000), help="Products of each ranking.")
@click.option("--out", required=True, type=OUT, help="The list, as CSV with an empty column rating.")
def pool(
    configurations: tuple[str, ...],
    *,
    queries: Path,
    alias: str,
    query_media: Path | None,
    window: int,
    fresh: bool,
    judgements: Path | None,
    depth: int,
    out: Path,
) -> None:
    """List the products to judge: what CONFIGURATIONS, ours and the usual fusions show first and nobody judged."""
    from evaluation import judged, judging  # noqa: PLC0415
    from evaluation.comparing import with_baselines  # noqa: PLC0415
    from evaluation.configurations import parse, ranking  # noqa: PLC0415
    from search_api.shown import title_of  # noqa: PLC0415
    from triptych.elastic.attached import index_of  # noqa: PLC0415
    from triptych.elastic.engine import mget  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    given = judged.Judged({}, tuple(judged.read_all(queries, media=query_media)))
    asked = judged.ask(services, alias, given, window=window, fresh=fresh)
    known = {} if judgements is None else judging.known(judgements)
    ways = [one for one in with_baselines([parse(text, asked.schema) for text in configurations]) if one.kind != "best_leg"]
    rankings = [{one.query.id: ranking(one, way, asked.schema) for one in asked.scored} for way in ways]
    todo = judging.pool(rankings, known, depth)
    ids = sorted({product for products in todo.values() for product in products})
    titles: dict[str, str] = {}
    for at in range(0, len(ids), 500):
        found = mget(services.elasticsearch, index_of(asked.version), ids[at : at + 500], includes=["title"])
        titles |= {key: title_of(source) for key, source in found.items()}
    rows = judging.pool_rows(todo, {one.query.id: one.words for one in asked.scored}, titles)
    judging.write_pool(out, rows)
    click.echo(f"{len(rows)} products of {len(todo)} queries are to be judged: {out}.")


@click.command()
@click.argument("judgements", type=OUT)
@click.argument("query", required=False)
@click.argument("product", required=False)
@click.argument("grade", required=False, type=click.IntRange(0, 10))
@click.option("--pool", "todo", type=FILE, help="Go through a list of `triptych evaluate pool`, or take the ratings filled in.")
def judge(judgements: Path, query: str | None, product: str | None, grade: int | None, todo: Path | None) -> None:
    """Add a judgement to JUDGEMENTS (TREC form): QUERY, PRODUCT and GRADE, 0 for not relevant; or those of a list.

    With --pool products without a rating are asked for one by one: a grade, s to skip, q to stop.
    """
    from evaluation import judging  # noqa: PLC0415

    if todo is None:
        if query is None or product is None or grade is None:
            raise click.UsageError("Give QUERY, PRODUCT and GRADE, or --pool.")
        old = judging.add(judgements, query, product, grade)
        click.echo(f"{query} {product}: {grade}{'' if old is None else f', was {old}'}")
        return
    if query is not None:
        raise click.UsageError("Give either a judgement or --pool.")
    rows = judging.read_pool(todo)
    filled = judging.filled_in(rows)
    judging.add_all(judgements, filled)
    count = sum(map(len, filled.values()))
    for row in rows:
        rating = row["rating"].strip() or _asked(row)
        if rating == "q":
            break
        if rating != "s" and row["docid"] not in filled.get(row["query_id"], {}):
            judging.add(judgements, row["query_id"], row["docid"], judging.grade_of(rating, row["docid"]))
            count += 1
    click.echo(f"{count} judgements are in {judgements}.")


def _asked(row: dict[str, str]) -> str:
    """A grade from the terminal, s or q."""
    click.echo(f"\n{row.get('query') or row['query_id']}\n  {row.get('title') or ''}  ({row['docid']})")
    answers = click.Choice([*(str(grade) for grade in range(4)), "s", "q"])
    return str(click.prompt("  grade", type=answers))


@click.command("import")
@click.argument("file", type=FILE)
@click.option("--out", required=True, type=OUT, help="The judgements, in TREC form.")
@click.option("--queries-out", type=OUT, help="The queries of a Quepid export, as JSON lines.")
@click.option(
    "--relevant-from",
    "least",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100),
    help="The lowest rating that is relevant: it becomes grade 1, lower ones 0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def import_(file: Path, *, out: Path, queries_out: Path | None, least: int, as_json: bool) -> None:
    """Import judgements: FILE in TREC form, or ratings that Quepid exported as CSV. They are put over those OUT has."""
    from evaluation import judging  # noqa: PLC0415

    quepid = file.suffix.lower() == ".csv"
    found = judging.read_quepid(file) if quepid else judging.Imported(judging.known(file), ())
    judging.add_all(out, judging.relevant_from(found.judgements, least))
    if quepid and queries_out is not None:
        judging.write_queries(queries_out, found.queries)
    told = {
        "judgements": sum(map(len, found.judgements.values())),
        "queries": len(found.judgements),
        "skipped": found.skipped,
        "unfit_ids": found.unfit_ids,
    }
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{told['judgements']} judgements of {told['queries']} queries; {found.skipped} rows had no rating.")
    if found.unfit_ids:
        click.echo(f"{found.unfit_ids} rows were left out: the ids of their products have blanks.")
