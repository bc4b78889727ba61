"""Commands of API keys: `triptych key create|list|revoke`."""

from __future__ import annotations

import getpass
import json
import logging
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # brings elasticsearch; --help must not
    from triptych.access import ApiKey, KeyStore

audit = logging.getLogger("triptych.audit")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group()
def key() -> None:
    """Make, list and revoke the keys that the HTTP API asks for (TRIPTYCH_API_KEYS)."""


@key.command()
@click.option("--name", required=True, help="What the key is for, as shop-front: shown in lists and in the audit log.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(["search", "index", "admin"]),
    help="What it may do; may repeat. admin includes the others.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="Days it is in force; default: until it is revoked.")
@as_json
def create(*, name: str, scopes: tuple[str, ...], days: int | None, as_json: bool) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    made, text = _store().create(name, scopes, days=days)
    _noted("key created", made)
    if as_json:
        click.echo(json.dumps({**made.shown(), "key": text}))
        return
    click.echo(text)
    until = f"until {made.expires_at}" if made.expires_at else "until it is revoked"
    click.echo(f"{made.name}: {', '.join(made.scopes)}, {until}. It is not shown again.", err=True)


@key.command("list")
@as_json
def list_keys(*, as_json: bool) -> None:
    """All keys ever made, newest first."""
    import datetime as dt  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC)
    rows = [{**one.shown(), "in_force": one.holds(now)} for one in _store().all()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("id", "name", "scopes", "in force", "made", "until", "revoked")
    for row in rows:
        table.add_row(
            row["id"], row["name"], ", ".join(row["scopes"]), "yes" if row["in_force"] else "no",
            row["created_at"], row["expires_at"] or "", row["revoked_at"] or "",
        )  # fmt: skip
    Console(markup=False).print(table)


@key.command()
@click.argument("key_id", metavar="ID")
@as_json
def revoke(key_id: str, *, as_json: bool) -> None:
    """Put the key ID out of force for ever. The API takes it for 15 s at most after that."""
    revoked = _store().revoke(key_id)
    _noted("key revoked", revoked)
    click.echo(json.dumps(revoked.shown()) if as_json else f"{revoked.name} ({revoked.id}) is revoked.")


def _noted(what: str, key: ApiKey) -> None:
    """A line of the audit log, as requests leave (search_api.access_audit)."""
    from triptych.logs import about, set_up  # noqa: PLC0415
    from triptych.settings import load  # noqa: PLC0415

    set_up(load(), level=logging.WARNING)
    audit.setLevel(logging.INFO)
    with about(key=key.id, key_name=key.name, scopes=list(key.scopes), user=getpass.getuser()):
        audit.info(what)


def _store() -> KeyStore:
    from triptych.access import KeyStore  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    return KeyStore(services.elasticsearch, services.settings)
