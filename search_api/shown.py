"""Answers on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search_api.answer import LegScore, SearchResult
from search_api.similar import SimilarResult
from search_api.weights import trust
from triptych.schema import LEAST_REACHED, IndexSchema


def result(answer: SearchResult, *, explain: bool) -> None:
    """An answer as a table; with `explain` a column per leg: contribution (weight x normalised score)."""
    console = Console()
    legs = list(answer.hits[0].legs) if answer.hits else []
    relevant = any(hit.relevance is not None for hit in answer.hits)
    table = Table("#", "score", *(["relevance"] if relevant else []), "id", "title", "price", *(legs if explain else ()))
    table.columns[3 if relevant else 2].no_wrap = True  # an id is copied whole
    for rank, hit in enumerate(answer.hits, start=1):
        product = hit.product or {}
        cells = [str(rank), f"{hit.score:.3f}"]
        cells += ["" if hit.relevance is None else f"{hit.relevance:.2f}"] if relevant else []
        more = f" (+{len(hit.variants)} variants)" if hit.variants else ""
        cells += [escape(hit.id), escape(title_of(product)) + more, escape(str(product.get("price", "")))]
        cells += [_cell(hit.legs[leg]) for leg in legs] if explain else []
        table.add_row(*cells)
    for name, heard in answer.recognised.items():
        console.print(f"{name}: [bold]{escape(heard.text)}[/bold] ({heard.language}, {heard.confidence:.0%} sure)")
    if answer.predicted is not None and answer.predicted.value is not None:
        by = " sure, by classifiers" if answer.predicted.by == "classifiers" else " of the votes"
        sure = f"{answer.predicted.confidence:.0%}{by}"
        console.print(f"{answer.predicted.field}: [bold]{escape(str(answer.predicted.value))}[/bold] ({sure})")
    console.print(table)
    console.print(
        f"{len(answer.hits)} of {answer.total_matched} products in {answer.took_ms:.0f} ms; {answer.reachable} can be paged to",
        style="dim",
    )
    for name, counted in answer.facets.items():
        values = ", ".join(f"{one['value']} {one['count']}" for one in counted.get("values", ()))
        ranges = ", ".join(f"{one['from']} to {one['to']}: {one['count']}" for one in counted.get("ranges", ()))
        console.print(f"{name}: {values or ranges or counted}", markup=False)
    if answer.certified:
        console.print(_proof(answer.certified), style="dim")
    if answer.next:
        console.print(f"next page: --page {answer.next}", style="dim", soft_wrap=True)
    for one in answer.degraded:
        console.print(f"[yellow]{escape(one.name)} was left out: {escape(one.message)}[/yellow]")


def _proof(certified: Mapping[str, Any]) -> str:
    window, reached = f"within a window of {certified['window']}", certified.get("reached")
    if certified["proved"]:
        return f"proved {window}"
    why = f": searches reach {100 * reached:.0f} % of the products" if reached is not None and reached < LEAST_REACHED else ""
    return f"not proved {window}{why}"


def similar(answer: SimilarResult) -> None:
    """Products like a product, and what is bought together with it."""
    console = Console()
    table = Table("#", "score", "id", "title", "price")
    for rank, hit in enumerate(answer.hits, start=1):
        product = hit.product or {}
        table.add_row(
            str(rank), f"{hit.score:.3f}", escape(hit.id), escape(title_of(product)), escape(str(product.get("price", "")))
        )
    console.print(table)
    for one in answer.degraded:
        console.print(f"[yellow]{escape(one.name)} was left out: {escape(one.message)}[/yellow]")
    if answer.complementary is None:
        return
    bought = Table("bought together", "title", "sessions", "share", "lift")
    for each in answer.complementary.products:
        cells = (escape(each.id), escape(title_of(each.product)), str(each.sessions), f"{each.share:.0%}", f"{each.lift:.1f}")
        bought.add_row(*cells)
    console.print(answer.complementary.message if answer.complementary.reason else bought)


def _cell(leg: LegScore) -> str:
    if leg.raw is None:
        return "-"
    return f"{leg.contribution:.2f} ({leg.weight:.2f} x {leg.normalised:.2f}){'*' if leg.completed else ''}"


def title_of(product: Mapping[str, Any]) -> str:
    """A title to show, in whatever languages there are."""
    title = product.get("title") or ""
    return " / ".join(title.values()) if isinstance(title, dict) else str(title)


def why(reasons: Mapping[str, Any]) -> None:
    """Why a product stands where it stands."""
    console = Console()
    place = f"rank {reasons['rank']}" if reasons["rank"] else "no rank"
    console.print(f"[bold]{escape(reasons['id'])}[/bold]: {place}, score {reasons['score']:.3f}")
    for reason in reasons["reasons"]:
        console.print(f"  {reason['reason']}: {reason['message']}", markup=False)
    last = reasons.get("last_shown")
    table = Table(
        "leg", "weight", "normalised", "contribution", *(["of the last shown"] if last else []), "share that lifts it"
    )
    for name, leg in reasons["legs"].items():
        lift = reasons["lifts"].get(name)
        cells = [name, f"{leg['weight']:.2f}", f"{leg['normalised']:.2f}", f"{leg['contribution']:.3f}"]
        cells += [f"{last['legs'][name]['contribution']:.3f}"] if last else []
        table.add_row(*cells, f"{lift['share']:.2f}" if lift else "?" if name in reasons.get("lifts_unfinished", ()) else "")
    console.print(table)


def weight_sets(schema: IndexSchema) -> None:
    """The weight sets of an index, beside what is measured of each leg."""
    table = Table("leg", "reliability", "trust", "reached", *schema.weight_sets)
    for leg in schema.legs:
        level = schema.levels.get(leg)
        measured = "" if level is None or level.reliability is None else f"{level.reliability:.2f}"
        shares = [f"{some[leg]:g}" if leg in some else "" for some in schema.weight_sets.values()]
        reached = "" if level is None or level.reached is None else f"{100 * level.reached:.0f} %"
        table.add_row(leg, measured, f"{trust(level):.2f}" if measured else "", reached, *shares)
    Console().print(table)
