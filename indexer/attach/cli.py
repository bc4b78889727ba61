"""Commands of attached indices: `triptych attach`, `triptych detach`, `triptych attached list|watch`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexer.job_cli import as_json as _as_json
from indexer.job_cli import describe, end_with, show_job
from indexer.progress import follow_job
from triptych.errors import TriptychError

if TYPE_CHECKING:  # the services load celery and elasticsearch; --help must not
    from triptych.services import Services


@click.command()
@click.argument("index")
@click.option("--text", metavar="FIELD[^BOOST],...", help="Fields of words, the title first: title^2,description.")
@click.option("--image", metavar="FIELD,...", help="Fields that refer to pictures: a URL, or a path below --root.")
@click.option("--audio", metavar="FIELD,...", help="Fields that refer to sounds.")
@click.option("--id", "id_field", metavar="FIELD", help="The field that names a product; default _id.")
@click.option("--profile", metavar="NAME", help="The profile whose encoders are used; default the one in force.")
@click.option("--name", default="triptych", show_default=True, metavar="FIELD", help="The object field that holds all of ours.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder that pictures and sounds are relative to.")
@click.option("--max-docs-per-second", "most", type=float, metavar="N", help="Write so many documents a second at most.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--follow", is_flag=True, help="Show a progress bar and wait until the job has ended or rests.")
@_as_json
def attach(
    index: str,
    *,
    text: str | None,
    image: str | None,
    audio: str | None,
    id_field: str | None,
    profile: str | None,
    name: str,
    root: Path | None,
    most: float | None,
    dry_run: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """Make INDEX, which somebody else fills, searchable by pictures, sounds and meaning, and leave all else in it as it is.

    Our fields are added to its mapping under one object field, and a job fills them in every document. Again with other fields:
    what changed is embedded again.

    Exit code as of `index add`; 1 where the plan has a refusal.
    """
    from indexer.attach import attaching, shown  # noqa: PLC0415
    from indexer.attach.wanted import Wanted, fields_in  # noqa: PLC0415

    services = _services(profile)
    folder = str(root.resolve()) if root is not None else None
    wanted = Wanted(fields_in(text), fields_in(image), fields_in(audio), id_field, name, folder, most)
    made = attaching.planned(services, index, wanted, tried=attaching.TRIED if dry_run else 0)
    if dry_run and as_json:
        click.echo(json.dumps(made.to_dict()))
        sys.exit(1 if made.refusals else 0)
    if not as_json:
        shown.plan(made)
    if profile is not None and profile != _services(None).settings.active_profile:
        click.echo(f"Workers, watchers and the API must run with TRIPTYCH_PROFILE={profile}.", err=True)
    made.check()
    if dry_run:
        return
    attaching.attach(services, made)
    entered = attaching.fill(services, made.index)
    if follow:
        follow_job(services, entered, quiet=as_json)
    data = describe(services, entered.id)
    show_job(data, as_json=as_json)
    if follow:
        end_with(data["state"])


@click.command()
@click.argument("index")
@click.option("--max-docs-per-second", "most", type=float, metavar="N", help="Write so many documents a second at most.")
@_as_json
def detach(index: str, *, most: float | None, as_json: bool) -> None:
    """Take our object fields out of every document of INDEX and forget the index. Its mapping keeps the empty fields."""
    from indexer.attach import attaching  # noqa: PLC0415

    written = attaching.detach(_services(None), index, most_per_second=most)
    if as_json:
        click.echo(json.dumps({"index": index, "written": written}))
        return
    click.echo(f"{written} documents of {index} are as before. Elasticsearch cannot take a field out of a mapping:")
    click.echo("ours stays there, without values.")


@click.group()
def attached() -> None:
    """Look after attached indices."""


@attached.command("list")
@_as_json
def list_attached(*, as_json: bool) -> None:
    """The attached indices, and what is read of each."""
    from triptych.elastic import attached as kept  # noqa: PLC0415

    services = _services(None)
    home = kept.home_of(services.settings.system_prefix)
    rows = []
    for name in kept.names(services.elasticsearch, home):
        both = kept.both(services.elasticsearch, home, name)
        if both and both[0].attachment is not None:
            ours = {"object_field": both[0].object_field, "beside": [one.object_field for one in both[1:]]}
            rows.append({"index": name, **ours, "profile": both[0].profile, **both[0].attachment.model_dump(mode="json")})
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        fields = ", ".join([*row["text"], *row["image"], *row["audio"]])
        under = " beside ".join([row["object_field"], *row["beside"]])
        click.echo(f"{row['index']}: {fields} ({row['profile']}, under {under})")


@attached.command()
@click.argument("index")
@click.option("--once", is_flag=True, help="One round, then end.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds between two rounds.")
@click.option("--sweep", is_flag=True, help="Begin with a round over all documents.")
@click.option("--changed-at", metavar="FIELD", help="Go by this date, where the index's sequence numbers may not be seen.")
@_as_json
def watch(index: str, *, once: bool, every: float, sweep: bool, changed_at: str | None, as_json: bool) -> None:
    """Embed documents of INDEX that its owner added or changed, and give back our field to those he wrote anew.

    Runs until Ctrl-C. A service that is away is waited for.
    """
    from indexer.attach.watching import look_through  # noqa: PLC0415

    services = _services(None)
    while True:
        try:
            found = look_through(services, index, sweep=sweep, changed_at=changed_at)
        except TriptychError as error:
            if once or not error.retryable:
                raise
            click.echo(f"{error} Trying again in {every:g} s.", err=True)
        else:
            sweep = False
            if as_json and (once or found.news):
                click.echo(json.dumps(found.to_dict()))
            elif found.news or once:
                click.echo(", ".join(f"{number} {name}" for name, number in found.to_dict().items() if number) or "nothing new")
        if once:
            return
        time.sleep(every)


def _services(profile: str | None) -> Services:
    from triptych.services import build  # noqa: PLC0415
    from triptych.settings import load  # noqa: PLC0415

    settings = load()
    return build(settings if profile is None else settings.model_copy(update={"profile": profile}))
