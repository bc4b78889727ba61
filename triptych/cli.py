"""The root command. Sub-commands come in by the entry point group `triptych.commands`; nothing heavy loads for --help."""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import entry_points
from typing import Any

import click

import triptych
from triptych.errors import TriptychError
from triptych.logs import calm


class _Commands(click.Group):
    """A group whose commands are the installed entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(point.name for point in entry_points(group="triptych.commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for point in entry_points(group="triptych.commands", name=cmd_name):
            command = point.load()
            return command if isinstance(command, click.Command) else None
        return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(triptych.__version__, prog_name="triptych")
@click.option("-v", "--verbose", count=True, help="Say more: -v for steps, -vv for everything.")
def root(verbose: int) -> None:
    """Multimodal product search (text, image, audio) for the Elasticsearch you already run."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    calm(level)


def main() -> None:
    """Run the command line; one of our errors becomes one clear line and exit code 1 (2 for wrong usage, click's own)."""
    try:
        root()
    except TriptychError as error:
        if "--json" in sys.argv:
            click.echo(json.dumps(problem(error)))
        click.secho(f"error: {error.message}", fg="red", err=True)
        if error.remedy:
            click.echo(f"  {error.remedy}", err=True)
        click.echo(f"  ({error.code})", err=True)
        sys.exit(1)


def problem(error: TriptychError) -> dict[str, Any]:
    """An error as `--json` shows it."""
    return {"code": error.code, "message": error.message, "field": error.field, "remedy": error.remedy}
