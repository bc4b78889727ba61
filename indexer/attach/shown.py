"""A plan on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from indexer.attach.plan import Cost, Plan
from indexer.attach.wanted import Finding


def plan(made: Plan) -> None:
    """What attaching comes to, as tables."""
    console = Console()
    how = made.schema.attachment
    console.print(f"[bold]{escape(made.index)}[/bold], our fields under [bold]{made.schema.object_field}[/bold]")
    if how is not None:
        table = Table("what", "of the fields")
        table.add_row("words searched", escape(", ".join(made.schema.lexical_fields)))
        table.add_row("words embedded", escape(", ".join(how.text)))
        table.add_row("pictures", escape(", ".join(how.image)))
        table.add_row("sounds", escape(", ".join(how.audio)))
        table.add_row("id", escape(how.id or "_id"))
        console.print(table)
    table = Table("space", "encoder", "of", "dims", "index")
    for space in made.schema.spaces:
        of = str(space.document_modality or "all")
        table.add_row(space.name, escape(space.encoder), of, str(space.dims), space.index_type)
    console.print(table)
    console.print(_costs(made.cost))
    for title, style, some in (("refused", "red", made.refusals), ("risk", "yellow", made.risks), ("note", "dim", made.notes)):
        for one in some:
            console.print(_line(title, style, one), soft_wrap=True)


def _line(title: str, style: str, one: Finding) -> str:
    remedy = f" {escape(one.remedy)}" if one.remedy else ""
    return f"[{style}]{title}[/{style}] {escape(one.message)}{remedy} ({one.code})"


def _costs(cost: Cost) -> Table:
    table = Table("cost", "of all documents")
    table.add_row("documents", str(cost.documents))
    having = ", ".join(f"{number} with {kind}" for kind, number in cost.having.items())
    table.add_row("of the sample", f"{cost.sampled}: {having}")
    table.add_row("vectors on disk, each copy", f"{cost.disk_bytes / 1e6:.1f} MB")
    table.add_row("memory for searching, each copy", f"{cost.memory_bytes / 1e6:.1f} MB")
    if cost.seconds is not None:
        table.add_row("time, one worker process like this", f"{cost.seconds / 60:.1f} min (from {cost.timed} documents)")
    for code, number in (cost.bad_media or {}).items():
        table.add_row(f"media not to be had ({code})", f"{number} of those {cost.timed} documents")
    return table
