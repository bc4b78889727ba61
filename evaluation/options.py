"""Options that the commands of evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.errors import TriptychError

if TYPE_CHECKING:
    from evaluation.configurations import Configuration

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


FRESH = click.option("--fresh", is_flag=True, help="Ask every query again, also those whose scores are kept.")


def check_installed() -> None:
    """Raise TriptychError `evaluation.not_installed` where the library of measures is missing."""
    if find_spec("ir_measures") is None:
        raise TriptychError(
            "ir_measures is not installed.", code="evaluation.not_installed", remedy="pip install 'triptych[evaluation]'"
        )


def check_windows(configurations: Iterable[Configuration], window: int) -> None:
    """Raise UsageError where a configuration looks at more hits of a leg than are asked for: its name would not be true."""
    for one in configurations:
        if one.window > window:
            lacking = f"{one.name} looks at {one.window} hits of each leg, and {window} are asked for"
            raise click.UsageError(f"{lacking}: it needs --window {one.window}.")


def of_queries(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is asked of which index."""
    options = [
        click.option("--queries", required=True, type=FILE, help="Queries as JSON lines: qid, text, image, audio, lang ..."),
        click.option("--index", "alias", required=True, metavar="NAME", help="The index that is asked."),
        click.option(
            "--query-media", type=FOLDER, help="Folder of the queries' pictures and sounds; default: the queries' own."
        ),
        click.option("--window", default=100, show_default=True, type=click.IntRange(1, 1000), help="Hits each leg returns."),
        FRESH,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is measured and where it is shown."""
    options = [
        click.option(
            "-k", "--cut-off", "k", default=10, show_default=True, type=click.IntRange(1, 100), help="Cut-off of measures."
        ),
        click.option("--judged-only", is_flag=True, help="Take products that nobody judged out of the rankings first."),
        click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a report as one HTML file."),
        click.option("--media", type=FOLDER, help="The catalogue's folder: the report then shows its pictures."),
        click.option("--json", "as_json", is_flag=True, help="Print as JSON."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
