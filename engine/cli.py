"""Commands `triptych up` and `triptych down`: parse, call engine.up, print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # --help must not load these
    from engine.state import Kind
    from engine.up import Outcome

_WANTED = ("elasticsearch", "redis")


def _kinds(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Parse --only."""
    names = tuple(dict.fromkeys(name.strip() for name in (value or ",".join(_WANTED)).split(",")))
    wrong = [name for name in names if name not in _WANTED]
    if wrong:
        raise click.BadParameter(f"{', '.join(map(repr, wrong))}: choose from {', '.join(_WANTED)}", context, parameter)
    return names


@click.command()
@click.option("--es-version", metavar="VERSION", help="9.5.3 (default) or 8.19.21; 9.5, 8.19 and 8.19.x are understood.")
@click.option("--nodes", type=click.IntRange(1, 9), help="Elasticsearch nodes in one cluster (default 1).")
@click.option("--security/--no-security", default=None, help="User, password and API keys (default: no).")
@click.option("--only", callback=_kinds, metavar="NAMES", help="elasticsearch, redis, or both with a comma (default both).")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Elasticsearch's port; default any free one.")
@click.option("--redis-port", type=click.IntRange(0, 65535), default=0, help="Redis's port; default any free one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--export", "as_export", is_flag=True, help='Print shell lines: eval "$(triptych up --export)".')
def up(
    *,
    es_version: str | None,
    nodes: int | None,
    security: bool | None,
    only: tuple[Kind, ...],
    port: int,
    redis_port: int,
    as_json: bool,
    as_export: bool,
) -> None:
    """Start a local Elasticsearch and Redis (no Docker, no root) that stay until `triptych down`.

    The first time, the server's files (about 140 MB) are downloaded and unpacked. Data is kept from one `up` to the next.
    """
    from engine.up import Request, start  # noqa: PLC0415
    from triptych.settings import load  # noqa: PLC0415

    request = Request(kinds=only, version=es_version, nodes=nodes, security=security, port=port, redis_port=redis_port)
    with _spinner() as say:
        outcome = start(load(), request, say)
    if as_json:
        click.echo(json.dumps({**outcome.state.as_json(), "started": list(outcome.started)}))
    elif as_export:
        click.echo("\n".join(_exports(outcome)))
    else:
        _table(outcome)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def down(*, as_json: bool) -> None:
    """Stop what `triptych up` started. The data stays for the next `up`."""
    from engine.up import stop  # noqa: PLC0415
    from triptych.settings import load  # noqa: PLC0415

    with _spinner() as say:
        ended = stop(load(), say)
    if as_json:
        click.echo(json.dumps({"stopped": [{"name": service.name, "pid": service.pid} for service in ended]}))
        return
    for service in ended:
        click.echo(f"Stopped {service.kind} {service.version} ({service.name}, pid {service.pid}).")
    if not ended:
        click.echo("Nothing was running.")


@contextmanager
def _spinner() -> Iterator[Callable[[str], None]]:
    """Yields `say(text)`: a spinner on stderr where that is a terminal, else one line per step."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: click.echo(f"{text} ...", err=True)
        return
    status = console.status("")

    def say(text: str) -> None:
        if text.startswith("Preparing"):  # a download draws its own bar, and two live displays cannot share a terminal
            console.print(f"{text} ...")
        else:
            status.update(f"{text} ...")
            status.start()

    try:
        yield say
    finally:
        status.stop()


def _exports(outcome: Outcome) -> list[str]:
    document = outcome.state.as_json()
    names = ("elasticsearch_url", "elasticsearch_user", "elasticsearch_password", "redis_url")
    return [f"export TRIPTYCH_{name.upper()}={shlex.quote(document[name])}" for name in names if name in document]


def _table(outcome: Outcome) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    for heading in ("service", "version", "address", "pid"):
        table.add_column(heading, no_wrap=True)
    for service in outcome.state.services:
        label = service.kind if service.kind == service.name else f"{service.kind} {service.name}"
        table.add_row(label, service.version, service.url or "not ready", str(service.pid))
    console = Console()
    console.print(table)
    if outcome.state.user:
        console.print(f"user {outcome.state.user}, password {outcome.state.password}", highlight=False, markup=False)
    console.print("Started; `triptych down` stops it." if outcome.started else "Already running; nothing was started.")
