"""Results on the terminal and as JSON. Pure but for printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.comparing import Verdict
from evaluation.judged import Judged
from evaluation.kept import Asked
from evaluation.metrics import Judgements
from evaluation.results import Group, Names, Result, alike, groups_of, worst
from evaluation.statistics import Estimate, estimate
from evaluation.tuning import Outcome
from evaluation.weighing import CLASSES, kept

WORST = 10
_WIDTH = 150  # of tables that are no terminal's


def console() -> Console:
    """The terminal; what is written to a file has room for its columns."""
    found = Console()
    return found if found.is_terminal else Console(width=_WIDTH)


def estimates(asked: Asked, result: Result, names: Names) -> dict[str, Estimate]:
    """Every measure's mean with its interval."""
    groups = alike(asked, result)
    return {name: estimate(result.column(name), groups) for name in names.shown}


def interval(one: Estimate) -> str:
    """.712 [.650, .771]"""
    span = "" if one.low is None or one.high is None else f" [{one.low:.3f}, {one.high:.3f}]"
    return f"{one.mean:.3f}{span}"


def run_json(asked: Asked, judged: Judged, result: Result, names: Names) -> dict[str, Any]:
    """What `triptych evaluate run --json` prints."""
    return {
        "index": asked.alias,
        "version": asked.version,
        "configuration": result.configuration.name,
        "queries": len(result.values),
        "from_disk": asked.from_disk,
        "refused": dict(asked.refused),
        "unjudged": list(judged.unjudged),
        "not_in_index": list(asked.absent),
        "judged_only": names.judged_only,
        "measures": {name: asdict(one) for name, one in estimates(asked, result, names).items()},
        "groups": [asdict(group) for group in groups_of(asked, result, names.shown)],
        "per_query": result.values,
        "rankings": {query: list(ranked[: names.k]) for query, ranked in result.rankings.items()},
    }


def run_tables(asked: Asked, judged: Judged, result: Result, names: Names) -> None:
    """A run on the terminal: measures, groups, the worst queries."""
    out = console()
    out.print(_heading(asked, judged, result), markup=False)
    measures = Table("measure", "mean [95 %]", title=result.configuration.name, title_justify="left")
    for name, one in estimates(asked, result, names).items():
        measures.add_row(name, interval(one))
    out.print(measures)
    groups = groups_of(asked, result, names.shown)
    if groups:
        out.print(group_table(groups, names))
    out.print(worst_table(asked, judged.judgements, result, names))


def _heading(asked: Asked, judged: Judged, result: Result) -> str:
    parts = [f"{len(result.values)} judged queries of {asked.version}"]
    parts += [f"{asked.from_disk} from kept scores"] if asked.from_disk else []
    parts += [f"{len(asked.refused)} refused, which count 0"] if asked.refused else []
    parts += [f"{len(judged.unjudged)} left out because nobody judged them"] if judged.unjudged else []
    return " ".join(["; ".join(parts) + ".", *lacking(asked)])


def lacking(asked: Asked) -> list[str]:
    """A sentence where judged products are not in the index."""
    count = len(asked.absent)
    are = "1 judged product is" if count == 1 else f"{count} judged products are"
    return [f"{are} not in the index, which no configuration can find."] if count else []


def group_table(groups: Sequence[Group], names: Names) -> Table:
    columns = names.shown[:6]
    found = Table("of the queries", "number", *columns, title="By group", title_justify="left")
    for group in groups:
        found.add_row(escape(group.name), str(group.queries), *(f"{group.estimates[name].mean:.3f}" for name in columns))
    return found


def worst_table(asked: Asked, judgements: Judgements, result: Result, names: Names) -> Table:
    """The queries that are answered worst, with what they got and what was wanted."""
    words = {one.query.id: one.words for one in asked.scored}
    kinds = {one.query.id: one.query.kind for one in asked.scored}
    found = Table(
        "query", "kind", "words", names.main, "first", "best judged, not shown", title="Worst queries", title_justify="left"
    )
    for query in worst(result, names.main, WORST):
        ranked = list(result.rankings[query])[: names.k]
        grades = judgements.get(query, {})
        lost = sorted((key for key, grade in grades.items() if grade > 0 and key not in ranked), key=lambda key: -grades[key])
        cells = [query, kinds.get(query, "refused"), words.get(query, ""), f"{result.values[query][names.main]:.3f}"]
        cells += [", ".join(f"{key} ({grades.get(key, '-')})" for key in ranked[:2])]
        found.add_row(*map(escape, [*cells, ", ".join(f"{key} ({grades[key]})" for key in lost[:2])]))
    return found


def verdict_json(asked: Asked, verdict: Verdict, results: Sequence[Result], names: Names) -> dict[str, Any]:
    """What `triptych evaluate compare --json` prints."""
    behind = {rival.name: rival for rival in verdict.rivals}
    return {
        "index": asked.alias,
        "version": asked.version,
        "queries": len(verdict.best.values),
        "from_disk": asked.from_disk,
        "not_in_index": list(asked.absent),
        "measure": names.main,
        "best": verdict.best.configuration.name,
        "recommended": None if verdict.recommended is None else verdict.recommended.name,
        "sure": verdict.sure,
        "sentences": list(verdict.sentences),
        "over_best_leg": asdict(verdict.over_best_leg),
        "configurations": [
            {
                "name": one.configuration.name,
                "measures": {name: asdict(value) for name, value in estimates(asked, one, names).items()},
                "best_leg": dict(one.best_leg),
                "behind": asdict(behind[one.configuration.name].behind) if one.configuration.name in behind else None,
                "p": behind[one.configuration.name].p if one.configuration.name in behind else None,
                "per_query": one.values,
            }
            for one in results
        ],
    }


def verdict_table(verdict: Verdict, names: Names) -> Table:
    """All configurations, best first."""
    found = Table(
        "configuration", f"{names.main} [95 %]", "behind the best [95 %]", "p", "won / lost / tied", "MRR", f"R@{names.k}"
    )
    for name, one, result, behind, p in _rows(verdict):
        fuses = result.configuration.fuses
        cells = [interval(one), "" if behind is None else _signed(behind.estimate), "" if p is None else f"{p:.3f}"]
        counts = "" if behind is None else f"{behind.losses} / {behind.wins} / {behind.ties}"
        more = [f"{result.mean('RR'):.3f}", f"{result.mean(f'R@{names.k}'):.3f}"]
        style = "bold" if result is verdict.best else None if fuses else "dim"
        found.add_row(escape(name), *cells, counts, *more, style=style)
    return found


def _rows(verdict: Verdict) -> list[Any]:
    rows: list[Any] = [(verdict.best.configuration.name, verdict.estimate, verdict.best, None, None)]
    rows += [(rival.name, rival.estimate, rival.result, rival.behind, rival.p) for rival in verdict.rivals]
    return sorted(rows, key=lambda row: -row[1].mean)


def _signed(one: Estimate) -> str:
    span = "" if one.low is None or one.high is None else f" [{one.low:+.3f}, {one.high:+.3f}]"
    return f"{one.mean:+.3f}{span}"


def verdict_tables(asked: Asked, judged: Judged, verdict: Verdict, names: Names) -> None:
    """A comparison on the terminal."""
    out = console()
    out.print(_heading(asked, judged, verdict.best), markup=False)
    out.print(verdict_table(verdict, names))
    for sentence in verdict.sentences:
        out.print(sentence, markup=False)


def weights_table(before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    """A change of weights, leg by leg."""
    found = Table("leg", "now", "then")
    for leg in dict.fromkeys([*before, *after]):
        cells = [f"{some[leg]:.3f}" if leg in some else "" for some in (before, after)]
        found.add_row(escape(leg), *cells)
    return found


def effects_table(outcome: Outcome, name: str) -> Table:
    """What new weights for all queries do to each class of them, and what a class gets."""
    stay = kept(outcome)
    found = Table(
        "class",
        "queries",
        "now",
        "by the new weights, held out",
        "difference [80 %]",
        "gets",
        title="By class",
        title_justify="left",
    )
    for key in CLASSES:
        one = outcome.effects.get(key)
        cells = ["0", "", "", ""]
        if one is not None:
            cells = [str(one.queries), f"{one.now:.3f}", f"{one.then:.3f}", _signed(one.gain.estimate)]
        own = key in outcome.classes and outcome.classes[key].accepted
        why = "nobody judged it" if one is None else "it would be worse off"
        gets = f"what it has ({name}.{key}): {why}" if key in stay else f"weights of its own ({name}.{key})" if own else name
        found.add_row(key, *cells, escape(gets))
    return found
