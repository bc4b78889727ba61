"""Progress and cards on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from training.catalogue import Progress as Told

_WIDTH = 150  # of tables that are no terminal's


@contextmanager
def bars(*, quiet: bool) -> Iterator[Told]:
    """A bar for each thing that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        known: dict[str, Any] = {}

        def told(what: str, done: int, of: int | None) -> None:
            if what not in known:
                known[what] = progress.add_task(what, total=of)
            progress.update(known[what], completed=done, total=of)

        yield told


def show(card: Mapping[str, Any]) -> None:
    """What was trained, how good it is, and how a profile names it."""
    found = Console()
    out = found if found.is_terminal else Console(width=_WIDTH)
    training = card["training"]
    took = f"{training['read_and_embed_seconds']} s to read and embed, {training['train_seconds']} s to train"
    out.print(
        f"{card['kind']} {card['name']}: best epoch {training['best_epoch']} of {training['epochs']}; {took}", markup=False
    )
    for side, measures in card["metrics"].items():
        if measures:
            out.print(_table(side, measures))
    for name, value in card["compression"].items():
        out.print(f"{name}: {value}", markup=False)
    if card.get("profile"):
        out.print(f"In a profile, under {card['section']}:", markup=False)
        out.print(card["profile"], markup=False, highlight=False)


def _table(side: str, measures: Mapping[str, Mapping[str, float]]) -> Table:
    columns = list(dict.fromkeys(name for row in measures.values() for name in row))
    table = Table(side, *columns)
    for name, row in measures.items():
        table.add_row(name, *(str(row.get(column, "")) for column in columns))
    return table
