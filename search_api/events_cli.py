"""`triptych events`: what is kept of users' events, and deleting it."""

from __future__ import annotations

import json

import click


@click.group()
def events() -> None:
    """Events: what users did with answers."""


@events.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(*, as_json: bool) -> None:
    """Show how many events are kept of each day."""
    from dataclasses import asdict  # noqa: PLC0415

    from triptych.elastic.events import EventStore  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    days = EventStore(services.elasticsearch, services.settings).days()
    if as_json:
        click.echo(json.dumps({"days": [asdict(day) for day in days]}))
        return
    for day in days:
        click.echo(f"{day.date}: {', '.join(f'{kind} {number}' for kind, number in sorted(day.kinds.items())) or 'nothing'}")
    if not days:
        click.echo("No events are kept.")


@events.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def expire(*, as_json: bool) -> None:
    """Delete the days that are older than TRIPTYCH_EVENTS_DAYS. Workers do it too, every hour."""
    from triptych.elastic.events import EventStore  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    deleted = EventStore(services.elasticsearch, services.settings).expire()
    click.echo(json.dumps({"deleted": deleted}) if as_json else f"{len(deleted)} days are deleted.")


@events.command()
@click.argument("session")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def forget(session: str, *, as_json: bool) -> None:
    """Delete the events of SESSION, as far as they can still be told to be its."""
    from triptych.elastic.events import EventStore  # noqa: PLC0415
    from triptych.events import Pseudonyms  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    names = Pseudonyms(services.redis, services.settings).known(session)
    deleted = EventStore(services.elasticsearch, services.settings).forget(names)
    click.echo(json.dumps({"deleted": deleted}) if as_json else f"{deleted} events are deleted.")
