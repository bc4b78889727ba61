"""`triptych evaluate from-clicks`: judgements from what users did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from evaluation.clicks import Estimator


@click.command("from-clicks")
@click.option("--index", "alias", required=True, metavar="NAME", help="The index whose answers are judged.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for qrels.txt and queries.jsonl."
)
@click.option("--days", type=click.IntRange(1), help="Only events of the last N days. Default: all that are kept.")
@click.option(
    "--eta", type=click.FloatRange(0, 5), help="Places are examined as position ** -ETA. Default: found from the clicks."
)
@click.option(
    "--min-sessions",
    default=10,
    show_default=True,
    type=click.IntRange(2),
    help="Sessions that acted on words that are judged.",
)
@click.option(
    "--min-examined", default=20.0, show_default=True, type=click.FloatRange(1), help="Times a product was examined, about."
)
@click.option(
    "--most-weight", default=10.0, show_default=True, type=click.FloatRange(1), help="No click weighs more, however far behind."
)
@click.option(
    "--estimator",
    default="coec",
    show_default=True,
    type=click.Choice(["coec", "ipw"]),
    help="Clicks over expected clicks, or inverse propensity weighting.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def from_clicks(
    *,
    alias: str,
    out: Path,
    days: int | None,
    eta: float | None,
    min_sessions: int,
    min_examined: float,
    most_weight: float,
    estimator: Estimator,
    as_json: bool,
) -> None:
    """Make judgements of the events that the API took, corrected for where products stood."""
    import datetime as dt  # noqa: PLC0415

    from evaluation import clicks, clicks_bias, judging  # noqa: PLC0415
    from triptych.elastic.events import EventStore  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    since = None if days is None else dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days - 1)
    with closing(EventStore(services.elasticsearch, services.settings).entries(alias, since=since)) as entries:
        answers = clicks.answers(entries)
    known = clicks_bias.harvested(clicks.seen(answers)) if eta is None else clicks_bias.Propensities(eta)
    found = clicks.judge(answers, known, clicks.Limits(min_sessions, min_examined, most_weight, estimator))
    out.mkdir(parents=True, exist_ok=True)
    judging.write(out / "qrels.txt", found.judgements)
    (out / "queries.jsonl").unlink(missing_ok=True)
    judging.write_queries(out / "queries.jsonl", found.queries)
    told = {
        "answers": len(answers), "queries": len(found.queries), "judgements": sum(map(len, found.judgements.values())),
        "few_sessions": found.few_sessions, "no_good": found.no_good, "unfit_ids": found.unfit_ids,
        "eta": round(known.eta, 4), "propensities": [None if p is None else round(p, 4) for p in known.measured],
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(told))
    else:
        _tell(told, out)


def _tell(told: Mapping[str, Any], out: Path) -> None:
    click.echo(f"{told['answers']} answers; position k is examined about k ** -{told['eta']:.2f} times as often as the first.")
    click.echo(f"{told['judgements']} judgements of {told['queries']} queries are in {out}.")
    for name, why in (
        ("few_sessions", "queries were left out: too few sessions acted on them"),
        ("no_good", "queries were left out: nothing in them was wanted"),
        ("unfit_ids", "products were left out: their ids have blanks"),
    ):
        if told[name]:
            click.echo(f"{told[name]} {why}.")
