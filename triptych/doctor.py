"""`triptych doctor`: is everything here that a search and a job need? One line per check, with the remedy where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triptych.errors import TriptychError

if TYPE_CHECKING:
    from triptych.services import Services


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what, whether it is as it should be, what was seen, what to do otherwise."""

    what: str
    ok: bool
    seen: str
    remedy: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def doctor(*, as_json: bool) -> None:
    """Check settings, packages, Elasticsearch, Redis, workers and encoders. Exit code 1 if something is missing."""
    checks = list(examine())
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks]))
    else:
        _show(checks)
    if not all(check.ok for check in checks):
        raise SystemExit(1)


def examine() -> Iterator[Check]:
    """All checks, in the order a person would look."""
    from triptych.services import build  # noqa: PLC0415

    yield from _packages()
    try:
        services = build()
    except TriptychError as error:
        yield Check("settings", ok=False, seen=error.message, remedy=error.remedy)
        return
    yield Check("settings", ok=True, seen=f"data in {services.settings.data_dir}")
    yield _asked("elasticsearch", lambda: f"{services.server.version} ({services.server.cluster})")
    yield _asked(
        "redis", lambda: f"answers ({services.redis.info('server')['redis_version']})", before=services.pings()["redis"]
    )
    if services.settings.cache_url is not None:
        yield _asked("cache", lambda: _cache(services))
    yield _asked("workers", lambda: _workers(services), before=services.pings()["redis"])
    yield from _encoders(services)


def _cache(services: Services) -> str:
    services.cache.ping()
    return f"answers ({services.cache.held / 1e6:.1f} MB of vectors)"


def _encoders(services: Services) -> Iterator[Check]:
    """The profile in force, and whether each of its spaces can be filled on this machine."""
    from triptych.encoders.cli import rows_of  # noqa: PLC0415

    try:
        profile = services.profile
        rows = rows_of(profile, services.settings)
    except TriptychError as error:
        yield Check("profile", ok=False, seen=error.message, remedy=error.remedy)
        return
    yield Check("profile", ok=True, seen=f"{profile.name}: {profile.description}")
    for row in rows:
        seen = f"{row['name']}, {row['licence']}" if row["prepared"] else f"{row['name']} is not prepared"
        remedy = None if row["prepared"] else "Run: triptych encoders prepare"
        yield Check(f"encoder {row['space']}", ok=row["prepared"], seen=seen, remedy=remedy)


def _packages() -> Iterator[Check]:
    """`indexer` and `search_api` are generic names: say whose they are."""
    home = Path(__file__).resolve().parent.parent
    for name in ("indexer", "search_api"):
        spec = find_spec(name)
        where = Path(spec.origin).resolve().parent if spec and spec.origin else None
        ours = where is not None and where.parent == home
        remedy = None if ours else "Install Triptych in an environment of its own: another package of this name hides ours."
        yield Check(f"package {name}", ok=ours, seen=str(where or "not found"), remedy=remedy)


def _asked(what: str, look: Callable[[], str], *, before: Callable[[], object] | None = None) -> Check:
    from triptych.jobs.queue import translated  # noqa: PLC0415

    try:
        if before is not None:
            before()
        with translated():
            return Check(what, ok=True, seen=look())
    except TriptychError as error:
        return Check(what, ok=False, seen=error.message, remedy=error.remedy)


def _workers(services: Services) -> str:
    """The workers that take from our queue; another application's on the same Redis do not count."""
    queues = services.queue.control.inspect(timeout=1.0).active_queues() or {}
    ours = sorted(name for name, taken in queues.items() if any(q["name"] == services.settings.queue for q in taken))
    if not ours:
        raise TriptychError("No worker answers.", code="worker.none", remedy="Start one: triptych worker")
    return ", ".join(ours)


def _show(checks: list[Check]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("", "check", "seen", "remedy")
    for check in checks:
        mark = Text("ok", style="green") if check.ok else Text("no", style="red")
        table.add_row(mark, check.what, check.seen, check.remedy or "")
    Console(markup=False).print(table)  # triptych[offline] is no markup
