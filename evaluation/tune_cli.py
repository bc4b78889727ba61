"""`triptych evaluate tune`: weights from judged queries, or from the catalogue itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evaluation.options import FILE, FOLDER, FRESH
from triptych.errors import InputError, TriptychError

if TYPE_CHECKING:
    from evaluation.judged import Judged
    from evaluation.kept import Asked, Scored
    from evaluation.tried import Tried
    from evaluation.tuning import Outcome, Plan, Tuned
    from triptych.schema import IndexSchema
    from triptych.services import Services


def _set_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """A name that means nothing else in a configuration."""
    from evaluation.configurations import WEIGHINGS  # noqa: PLC0415

    if name in WEIGHINGS:
        raise click.BadParameter(f"{name!r} means something else in a configuration: weights={name}.")
    return name


@click.command()
@click.argument("judgements", type=FILE, required=False)
@click.option("--queries", type=FILE, help="Queries as JSON lines: qid, text, image, audio, lang ...")
@click.option("--index", "alias", required=True, metavar="NAME", help="The index whose weights are tuned.")
@click.option("--query-media", type=FOLDER, help="Folder of the queries' pictures and sounds; default: the queries' own.")
@click.option("--self", "by_itself", is_flag=True, help="Without judgements: parts of titles must find their own product.")
@click.option("--sample", default=100, show_default=True, type=click.IntRange(10, 256), help="Products that --self asks by.")
@click.option("--name", default="tuned", show_default=True, callback=_set_name, help="The weight set that is written.")
@click.option("--head", multiple=True, metavar="QID", help="A query that must not get worse; may repeat. Also: the tag head.")
@click.option("--window", default=100, show_default=True, type=click.IntRange(1, 1000), help="Hits each leg returns.")
@FRESH
@click.option("-k", "--cut-off", "k", default=10, show_default=True, type=click.IntRange(1, 100), help="Cut-off of nDCG.")
@click.option("--judged-only", is_flag=True, help="Take products that nobody judged out of the rankings first.")
@click.option("--trials", default=10_000, show_default=True, type=click.IntRange(50, 1_000_000), help="Weights that are tried.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2, 20), help="Parts, each held out in turn.")
@click.option(
    "--confidence", default=0.99, show_default=True, type=click.FloatRange(0.5, 0.999), help="How sure a gain must be."
)
@click.option("--dry-run", is_flag=True, help="Show the change and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def tune(
    judgements: Path | None,
    *,
    queries: Path | None,
    alias: str,
    query_media: Path | None,
    by_itself: bool,
    sample: int,
    name: str,
    head: tuple[str, ...],
    window: int,
    fresh: bool,
    k: int,
    judged_only: bool,
    trials: int,
    folds: int,
    confidence: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Tune the legs' weights on judged queries (JUDGEMENTS, TREC form), and keep them with the index if they are better.

    Only what is better on queries held out is written: by its lower bound, by a test, and without making a head query worse.
    """
    from evaluation import judged, tried, tuning, weighing  # noqa: PLC0415
    from evaluation.shown import lacking  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    given = _given(services, judgements, queries, alias, query_media, sample if by_itself else 0)
    asked = judged.ask(services, alias, given, window=window, fresh=fresh, quiet=as_json)
    heads = {*head, *(query.id for query in asked.queries if "head" in query.tags)}
    unknown = sorted(heads - {query.id for query in asked.queries})
    if unknown:
        raise InputError(f"There is no judged query {unknown[0]!r}.", code="evaluation.bad_queries", field="head")
    plan = tuning.Plan(k, judged_only, trials, folds, head=frozenset(heads), sure=confidence, name=name)
    least = _best_legs(asked, given, plan)
    outcome = tuning.tune(asked.scored, given.judgements, asked.schema, plan, least)
    sets = weighing.sets_of(outcome, name, asked.schema)
    fields = _fields(asked, given, plan, sets, window)
    if sets and not dry_run:
        _write(services, asked, sets, name)
    written = sorted(sets) if not dry_run else []
    if as_json:
        legs = {"best_leg": least[tuning.WHOLE], "best_leg_of_class": {key: least[key] for key in outcome.classes}}
        told = {**_json(outcome), **legs, "sets": sets, "written": written}
        told |= {f"{field}s": [asdict(one) for one in some] for field, some in fields.items()}
        click.echo(json.dumps({**told, "version": asked.version, "not_in_index": list(asked.absent)}))
    else:
        for sentence in lacking(asked):
            click.echo(sentence)
        _show(outcome, asked.schema, sets, written=written, name=name)
        for field, some in fields.items():
            click.echo(tried.told(some, field, f"nDCG@{k}"))


def _given(
    services: Services, judgements: Path | None, queries: Path | None, alias: str, media: Path | None, sample: int
) -> Judged:
    """The judged queries: read, or made of the catalogue."""
    from evaluation import judged, selfmade  # noqa: PLC0415
    from search_api.searcher import Searcher  # noqa: PLC0415

    if sample and judgements is None and queries is None:
        return selfmade.queries(services, Searcher(services).info(alias), sample)
    if sample or judgements is None or queries is None:
        raise click.UsageError("Give JUDGEMENTS and --queries, or --self alone.")
    return judged.read(judgements, queries, media=media)


def _best_legs(asked: Asked, given: Judged, plan: Plan) -> dict[str, float]:
    """What the best single leg reaches on the queries that are tuned on: on all of them, and on those of each class."""
    from evaluation.tuning import WHOLE  # noqa: PLC0415

    parts: dict[str, list[Scored]] = {WHOLE: list(asked.scored)}
    for one in asked.scored:
        parts.setdefault(one.query_class, []).append(one)
    return {key: _best_leg(replace(asked, scored=tuple(some)), given, plan) for key, some in parts.items() if some}


def _best_leg(asked: Asked, given: Judged, plan: Plan) -> float:
    from statistics import fmean  # noqa: PLC0415

    from evaluation.configurations import BASELINES, BEST_LEG  # noqa: PLC0415
    from evaluation.results import Names, result_of  # noqa: PLC0415

    names = Names(plan.k, judged_only=plan.judged_only)
    values = result_of(asked, given.judgements, BASELINES[BEST_LEG], names).values
    return fmean(values[one.query.id][names.main] for one in asked.scored)


def _fields(
    asked: Asked, given: Judged, plan: Plan, sets: Mapping[str, Mapping[str, float]], depth: int
) -> dict[str, list[Tried]]:
    """What each window and each guard reaches by the weights as they would be once these sets are written."""
    from evaluation.in_force import in_force  # noqa: PLC0415
    from evaluation.results import Names  # noqa: PLC0415
    from evaluation.tried import guards, windows  # noqa: PLC0415
    from evaluation.weighing import merged  # noqa: PLC0415

    schema = asked.schema.model_copy(update={"weight_sets": merged(asked.schema.weight_sets, sets, plan.name)})
    names, way, then = Names(plan.k, judged_only=plan.judged_only), in_force(schema, plan.name), replace(asked, schema=schema)
    return {
        "window": windows(then, given.judgements, way, names, depth),
        "guard": guards(then, given.judgements, way, names),
    }


def _write(services: Services, asked: Asked, sets: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Put the sets beside those that the index has now: others may have written some while queries were asked and tuned on.

    Raises TriptychError `evaluation.index_changed` where the name stands for another version now.
    """
    from evaluation.weighing import merged  # noqa: PLC0415
    from triptych.elastic.lifecycle import describe, write_weight_sets  # noqa: PLC0415

    now = describe(services.elasticsearch, asked.alias)
    if now.version != asked.version:
        raise TriptychError(
            f"{asked.alias!r} was {asked.version} when it was asked and is {now.version} now.",
            code="evaluation.index_changed",
            remedy="Tune again: these weights were made of another version's scores.",
            retryable=True,
        )
    write_weight_sets(services.elasticsearch, now.version, merged(now.schema.weight_sets, sets, name))


def _json(outcome: Outcome) -> dict[str, Any]:
    return {
        "whole": asdict(outcome.whole),
        "classes": {name: asdict(one) for name, one in outcome.classes.items()},
        "effects": {name: asdict(one) for name, one in outcome.effects.items()},
    }


def _show(
    outcome: Outcome,
    schema: IndexSchema,
    sets: Mapping[str, Mapping[str, float]],
    *,
    written: Sequence[str],
    name: str,
) -> None:
    from evaluation.shown import console, effects_table, weights_table  # noqa: PLC0415
    from evaluation.weighing import defaults, kept  # noqa: PLC0415
    from search_api.weights import of_set  # noqa: PLC0415

    out = console()
    for title, one in {"all queries": outcome.whole, **outcome.classes}.items():
        out.print(f"[bold]{title}[/bold] ({one.queries}): {_figures(one)}")
        for sentence in one.sentences:
            out.print(f"  {sentence}", markup=False)
    if outcome.whole.accepted:
        out.print(effects_table(outcome, name))
    stay = {f"{name}.{key}" for key in kept(outcome)}
    for key, shares in sets.items():
        if key not in stay:
            before = of_set(schema.weight_sets, name, key.removeprefix(name).removeprefix(".")) or defaults(schema)
            out.print(f"\nWeight set {key}:", markup=False)
            out.print(weights_table(before, shares))
    if written:
        out.print(f"Written: {', '.join(written)}. Search with weight_set {name!r}.", markup=False)
    else:
        out.print("Nothing is written." if sets else "Nothing is written: keep the weights you have.")


def _figures(one: Tuned) -> str:
    return f"before {one.before:.3f}, tuned on others {one.held_out:.3f}, on themselves {one.fitted:.3f}"
