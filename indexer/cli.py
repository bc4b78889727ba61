"""Commands of indexing: `triptych index create|add`, `triptych job list|show`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.sources.options import source_options
from indexer.sources.spec import SourceSpec
from triptych.errors import InputError

if TYPE_CHECKING:  # the services load celery and elasticsearch; --help must not
    from indexer.dry_run import Report
    from triptych.jobs.job import Job
    from triptych.services import Services

_FOLLOW_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0
_SHOWN_LETTERS = 20
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group()
def index() -> None:
    """Create an index and add catalogues to it."""


@index.command()
@click.argument("name")
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Index body, as mappings/products.json (the default, which is installed).",
)
@click.option(
    "--fit",
    "catalogue",
    type=click.Path(path_type=Path),
    help="Catalogue that encoders which learn (those of the profile `classical`, say) learn from.",
)
@_as_json
def create(name: str, mapping: Path | None, catalogue: Path | None, *, as_json: bool) -> None:
    """Create the index version NAME-<time> behind the alias NAME, with a vector field per space of the profile in force."""
    from indexer.fit import fit_shown  # noqa: PLC0415
    from triptych.elastic.lifecycle import check_new, create_version, read_mapping_file  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    base = read_mapping_file(mapping or default_mapping())
    check_new(services.elasticsearch, name, reserved=services.settings.system_prefix)
    learned = fit_shown(services, catalogue, quiet=as_json) if catalogue is not None else {}
    version = create_version(
        services.elasticsearch, name, base, services.schema(learned), reserved=services.settings.system_prefix
    )
    if as_json:
        click.echo(json.dumps({"alias": name, "version": version}))
    else:
        click.echo(f"Created {version} behind the alias {name}.")


def default_mapping() -> Path:
    """mappings/products.json: in the installed package, or beside it in a checkout."""
    import triptych  # noqa: PLC0415

    package = Path(triptych.__file__).parent
    for folder in (package / "mappings", package.parent / "mappings"):
        if (folder / "products.json").is_file():
            return folder / "products.json"
    raise InputError("mappings/products.json is not installed.", code="mapping.unreadable", remedy="Give --mapping FILE.")


@index.command()
@click.argument("name")
@click.argument("catalogue")
@source_options
@click.option("--dry-run", is_flag=True, help="Enter no job: count the records, check the first ones, estimate the rest.")
@click.option(
    "--priority",
    default="normal",
    show_default=True,
    metavar="PRIORITY",
    help="high, normal, low, or a number from 0 to 9: jobs of higher priority are worked on first.",
)
@click.option("--follow", is_flag=True, help="Show a progress bar and wait until the job has ended.")
@_as_json
def add(name: str, catalogue: str, *, dry_run: bool, priority: str, follow: bool, as_json: bool, **options: Any) -> None:
    """Submit CATALOGUE as a job into the index NAME.

    CATALOGUE is a file of JSON lines, CSV, TSV or Parquet (compressed or not; local, http://, s3:// or gs://), a folder of
    media, an index as elasticsearch:INDEX, or - for stdin.

    Exit code 0: submitted (with --follow: every record is searchable); 3: the job ended with dead letters; 1: it failed.
    """
    from indexer.routing import priority_of  # noqa: PLC0415
    from indexer.sources.source import open_source  # noqa: PLC0415
    from indexer.submit import submit  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    source = open_source(SourceSpec(catalogue, **options), services)
    if dry_run:
        from indexer import dry_run as trial  # noqa: PLC0415

        _show_report(trial.dry_run(source, name, services), as_json=as_json)
        return
    entered = submit(source, name, services, priority=priority_of(priority))
    if follow:
        follow_job(services, entered, quiet=as_json)
    data = describe(services, entered.id)
    _show(data, as_json=as_json)
    if follow and data["state"] != "completed":
        raise SystemExit(1 if data["state"] == "failed" else 3)


def _show_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return

    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"

    click.echo(f"records:          {report.records}")
    click.echo(f"bad records:      {listed(report.bad)}")
    click.echo(f"checked:          the first {report.checked} valid records")
    click.echo(f"  media:          {listed(report.media)}; of these not to be had: {listed(report.bad_media)}")
    if report.embed_seconds_estimate is None or report.vector_bytes_estimate is None:
        return
    click.echo(f"Estimates for about {report.valid_estimate} valid records, from {report.timed} that were embedded:")
    click.echo(f"  embedding:      {report.embed_seconds_estimate / 60:.1f} min with one process on this machine")
    click.echo(f"  vectors:        {report.vector_bytes_estimate / 1e6:.1f} MB on disk, for each copy")


def follow_job(services: Services, entered: Job, *, quiet: bool = False, check: Callable[[], None] = lambda: None) -> None:
    """Show a job's progress until it has ended; say so when no worker takes it. `check` is called at each step, may raise."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    started = time.monotonic()
    warned = quiet
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("queued", total=None)
        while True:
            check()
            current = services.jobs.get(entered.id)
            counts = services.jobs.counts(entered.id)
            outcomes = {
                "written": counts.written,
                "unchanged": counts.unchanged,
                "partial": counts.partial,
                "dead": counts.dead,
            }
            said = ", ".join(f"{number} {name}" for name, number in outcomes.items() if number)
            progress.update(bar, total=counts.read or None, completed=counts.ended, description=said or "queued")
            if current.state(counts).ended:
                return
            if not warned and not counts.ended and time.monotonic() - started > _PATIENCE_SECONDS:
                warned = True
                if not services.queue.control.ping(timeout=1.0):
                    progress.console.print("No worker answers yet. Start one in another terminal: triptych worker")
            time.sleep(_FOLLOW_SECONDS)


@click.group()
def job() -> None:
    """See how indexing jobs went."""


@job.command("list")
@_as_json
def list_jobs(*, as_json: bool) -> None:
    """The newest jobs."""
    from triptych.services import build  # noqa: PLC0415

    services = build()
    rows = [_summary(services, found) for found in services.jobs.newest()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("job", "state", "index", "read", "written", "unchanged", "partial", "dead", "pending", "submitted")
    for row in rows:
        numbers = (str(row[k]) for k in ("read", "written", "unchanged", "partial", "dead", "pending"))
        table.add_row(row["id"], row["state"], row["alias"], *numbers, row["submitted_at"])
    Console().print(table)


@job.command()
@click.argument("job_id", metavar="ID")
@_as_json
def show(job_id: str, *, as_json: bool) -> None:
    """The counters and the dead letters of job ID. The four outcomes and `pending` add up to the records read."""
    from triptych.services import build  # noqa: PLC0415

    _show(describe(build(), job_id), as_json=as_json)


def _summary(services: Services, found: Job) -> dict[str, Any]:
    counts = services.jobs.counts(found.id)
    return {**found.to_dict(), "state": str(found.state(counts)), **asdict(counts), "pending": counts.pending}


def describe(services: Services, job_id: str) -> dict[str, Any]:
    """A job with its state, counters and dead letters, as `--json` prints it."""
    return {**_summary(services, services.jobs.get(job_id)), "letters": services.jobs.dead_letters(job_id)}


def _show(data: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    counts = Table("read", "written", "unchanged", "partial", "dead", "pending")
    counts.add_row(*(str(data[k]) for k in ("read", "written", "unchanged", "partial", "dead", "pending")))
    console.print(f"job {data['id']}: [bold]{data['state']}[/bold] — {data['catalogue']} into {data['index']}")
    if data["error"]:
        console.print(f"[red]{data['error']}[/red]")
    console.print(counts)
    if not data["letters"]:
        return
    letters = Table("line", "product", "part", "file", "stage", "reason", title="dead letters")
    for letter in data["letters"][:_SHOWN_LETTERS]:
        cells = [letter["product_id"], letter["modality"] or "record", letter["reference"], letter["stage"]]
        letters.add_row(str(letter["line"]), *(c or "" for c in cells), f"{letter['message']} ({letter['code']})")
    console.print(letters)
    if len(data["letters"]) > _SHOWN_LETTERS:
        console.print(f"... and {len(data['letters']) - _SHOWN_LETTERS} more: triptych job show {data['id']} --json")
