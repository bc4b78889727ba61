"""Commands of upgrades: `triptych reindex start|status|promote|rollback|drop`; `evaluate` comes in by entry point."""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.job_cli import as_json as _as_json
from indexer.job_cli import describe, end_with, show_job
from indexer.progress import follow_job

if TYPE_CHECKING:  # the services load celery and elasticsearch; --help must not
    from triptych.services import Services

_GROUP = "triptych.reindex"

_losses = click.option("--accept-losses", is_flag=True, help="Swap though the other version lacks products or parts of them.")
_patience = click.option(
    "--wait", "patience", default=600.0, show_default=True, help="Seconds that batches under way may take to end."
)


class _Commands(click.Group):
    """A group that also has the commands of upper layers, which it does not know."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=_GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        mine = super().get_command(ctx, cmd_name)
        if mine is not None:
            return mine
        for point in entry_points(group=_GROUP, name=cmd_name):
            command = point.load()
            return command if isinstance(command, click.Command) else None
        return None


@click.group(cls=_Commands)
def reindex() -> None:
    """Bring an index to other encoders or another mapping without downtime."""


@reindex.command()
@click.argument("index")
@click.option("--profile", required=True, metavar="NAME", help="The profile of the new version, by name or file.")
@click.option("--mapping", type=click.Path(path_type=Path), help="Index body of the new version; default that of the old one.")
@click.option(
    "--root", type=click.Path(path_type=Path), help="Folder of media; default that of the job that wrote each product."
)
@click.option("--fit", metavar="CATALOGUE", help="Catalogue that encoders which learn learn from; default the index itself.")
@click.option(
    "--priority", default="low", show_default=True, metavar="PRIORITY", help="Of the job that fills it; see index add."
)
@click.option("--follow", is_flag=True, help="Show a progress bar and wait until the job has ended or rests.")
@_as_json
def start(
    index: str,
    *,
    profile: str,
    mapping: Path | None,
    root: Path | None,
    fit: str | None,
    priority: str,
    follow: bool,
    as_json: bool,
) -> None:
    """Make a new version of INDEX beside the one that serves, and fill it by a job. Again: go on where it was.

    The new version of an attached index is a further object field of ours in it.

    Exit code as of `index add`.
    """
    from indexer.upgrade import building, starting  # noqa: PLC0415
    from triptych.jobs.routing import priority_of  # noqa: PLC0415

    services = _services()
    wanted = starting.Wanted(profile, mapping, root, fit, priority_of(priority))
    upgrade = starting.start(services, index, wanted, quiet=as_json)
    if follow and upgrade.job is not None:
        follow_job(services, services.jobs.get(upgrade.job), quiet=as_json)
        building.settle(services, upgrade)
    data = describe(services, upgrade.job) if upgrade.job is not None else None
    if as_json:
        click.echo(json.dumps({"alias": upgrade.alias, "old": upgrade.old, "new": upgrade.new, "job": data}))
    else:
        click.echo(f"{upgrade.new} beside {upgrade.old}, which serves.")
        if data is None:
            click.echo("There is nothing to carry over.")
        else:
            show_job(data, as_json=False)
    if follow and data is not None:
        end_with(data["state"])


@reindex.command()
@click.argument("index")
@_as_json
def status(index: str, *, as_json: bool) -> None:
    """How the upgrade of INDEX stands: its versions, its job, what is left to carry over, and the API's processes."""
    from indexer.upgrade import starting  # noqa: PLC0415

    services = _services()
    found = starting.status(services, starting.name_of(services, index))
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, one in found["versions"].items():
        role = "serves" if name == found["serving"] else "waits"
        click.echo(f"{name} {role}: {one['products']} products, {one['partial']} partial ({one['profile']})")
    job = found["job"]
    if job is not None:
        click.echo(f"job {job['id']}: {job['state']}, {job['read'] - job['pending']} of {job['read']} records")
    if found["lacking"] is None:
        click.echo(f"not carried over: {found['behind']} changes" + ("" if found["state"] == "open" else f"; {found['state']}"))
    else:
        click.echo(f"the other field lacks: {', '.join(found['lacking']) or 'nothing'}")
        click.echo(f"not looked through yet: {found['behind']} writes, those of Triptych among them")
    for name, ready in found["api"].items():
        click.echo(f"API {name}: {'ready' if ready is True else ready or 'not ready yet'}")


@reindex.command()
@click.argument("index")
@_losses
@_patience
@_as_json
def promote(index: str, *, accept_losses: bool, patience: float, as_json: bool) -> None:
    """Carry over the last changes and let the new version of INDEX serve. Writes wait for a moment, searches do not."""
    from indexer.upgrade import swapping  # noqa: PLC0415
    from indexer.upgrade.starting import name_of  # noqa: PLC0415

    say = _quiet if as_json else click.echo
    services = _services()
    index = name_of(services, index)
    done = swapping.promote(services, index, accept_losses=accept_losses, patience=patience, say=say)
    _show_swapped(index, done.serving, as_json=as_json)


@reindex.command()
@click.argument("index")
@_losses
@_patience
@_as_json
def rollback(index: str, *, accept_losses: bool, patience: float, as_json: bool) -> None:
    """Let the old version of INDEX serve again, with all that was written to the new one."""
    from indexer.upgrade import swapping  # noqa: PLC0415
    from indexer.upgrade.starting import name_of  # noqa: PLC0415

    say = _quiet if as_json else click.echo
    services = _services()
    index = name_of(services, index)
    done = swapping.roll_back(services, index, accept_losses=accept_losses, patience=patience, say=say)
    _show_swapped(index, done.serving, as_json=as_json)


@reindex.command()
@click.argument("index")
@click.option(
    "--version", metavar="NAME", help="The version to delete; it must be the one that is not in use. Else it is asked."
)
@_as_json
def drop(index: str, *, version: str | None, as_json: bool) -> None:
    """Delete the version of INDEX that is not in use, and end the upgrade. There is no way back.

    Of an attached index: take the field that is not read out of all documents.
    """
    from indexer.upgrade import fields, starting  # noqa: PLC0415

    services = _services()
    index = starting.name_of(services, index)
    if version is None:
        if as_json or not sys.stdin.isatty():
            raise click.UsageError("Say which one goes: --version NAME (see `triptych reindex status`).")
        click.echo(f"Not in use is {services.upgrades.open_of(index).waiting}.")
        version = str(click.prompt("Type its name to delete it"))
    done = starting.drop(services, index, confirm=version)
    if as_json:
        click.echo(json.dumps({"alias": index, "serving": done.serving, "dropped": version}))
    elif fields.is_field(version):
        click.echo(f"{version} is taken out of all documents; {done.serving} serves.")
        click.echo("Elasticsearch cannot take a field out of a mapping: it stays there, without values.")
    else:
        click.echo(f"{version} is deleted; {done.serving} serves.")


def _show_swapped(index: str, serving: str, *, as_json: bool) -> None:
    click.echo(json.dumps({"alias": index, "serving": serving}) if as_json else f"{serving} serves {index}.")


def _quiet(_: Any) -> None:
    """Says nothing."""


def _services() -> Services:
    from triptych.services import build  # noqa: PLC0415

    return build()
