"""The options of commands that read a catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from triptych.catalogues import FORMATS, MOST_SLICES, SLICES

_OPTIONS = (
    click.option("--format", type=click.Choice(FORMATS), help="What the catalogue is; by default its name says it."),
    click.option("--columns", metavar="COLUMN=FIELD,...", help="Rename columns: 'sku=id,name=title.en,photo=images,notes='."),
    click.option(
        "--separator", metavar="TEXT", help="What divides several pictures, sounds or categories in a cell; default |."
    ),
    click.option("--delimiter", metavar="CHAR", help="What divides the cells of CSV; default a comma."),
    click.option("--quote", metavar="CHAR", help='What quotes the cells of CSV and TSV; default "; `none` for nothing.'),
    click.option("--encoding", metavar="NAME", help="Encoding of CSV and TSV; default utf-8."),
    click.option("--query", metavar="JSON", help="Only the documents of an index that this query finds."),
    click.option(
        "--slices",
        type=click.IntRange(1, MOST_SLICES),
        metavar="N",
        help=f"Parts of an index that are read side by side; default {SLICES}.",
    ),
    click.option("--id-template", metavar="TEXT", help="Ids of a folder's media, of {stem}, {name}, {parent}, {path}."),
    click.option("--title-template", metavar="TEXT", help="Titles of a folder's media, likewise."),
    click.option("--root", metavar="FOLDER", help="Folder that pictures and sounds are relative to; default the catalogue's."),
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of SourceSpec, by the same names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
