"""Commands of indexing: `triptych index create|add`; others of `index` are in `index_cli`, those of jobs in `job_cli`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from indexer.index_cli import diff, template
from indexer.job_cli import as_json as _as_json
from indexer.job_cli import describe, end_with, job, show_job
from indexer.progress import follow_job
from indexer.sources.options import source_options
from indexer.sources.spec import SourceSpec
from triptych.errors import InputError

if TYPE_CHECKING:  # the services load celery and elasticsearch; --help must not
    from indexer.dry_run import Report

_NICE: Final = 10
"""How far reading a catalogue stands back behind other processes; 19 is the most (setpriority(2))."""

__all__ = ["default_mapping", "follow_job", "index", "job"]


@click.group()
def index() -> None:
    """Create an index and add catalogues to it."""


index.add_command(diff)
index.add_command(template)


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
    metavar="CATALOGUE",
    help="Catalogue that encoders which learn (those of the profile `classical`, say) learn from; any that `add` takes.",
)
@source_options
@_as_json
def create(name: str, mapping: Path | None, catalogue: str | None, *, as_json: bool, **options: Any) -> None:
    """Create the index version NAME-<time> behind the alias NAME, with a vector field per space of the profile in force.

    The options from --format to --root say how the catalogue of --fit is read, as with `triptych index add`.
    """
    given = sorted(option for option, value in options.items() if value is not None)
    if catalogue is None and given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is of the catalogue of --fit, which is not given.")
    from indexer.fit import fit_shown  # noqa: PLC0415
    from indexer.sources.source import open_source  # noqa: PLC0415
    from triptych.elastic.lifecycle import check_new, create_version, read_mapping_file  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    base = read_mapping_file(mapping or default_mapping())
    check_new(services.elasticsearch, name, reserved=services.settings.system_prefix)
    source = open_source(SourceSpec(catalogue, **options), services) if catalogue is not None else None
    learned = fit_shown(services, source, quiet=as_json) if source is not None else {}
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
@click.option("--follow", is_flag=True, help="Show a progress bar and wait until the job has ended or rests.")
@click.option(
    "--priority",
    default="normal",
    show_default=True,
    metavar="PRIORITY",
    help="high, normal, low, or a number from 0 to 9: jobs of higher priority are worked on first.",
)
@click.option("--idempotency-key", "key", metavar="KEY", help="Make one job for this key, however often it is submitted.")
@_as_json
def add(
    name: str,
    catalogue: str,
    *,
    dry_run: bool,
    follow: bool,
    priority: str,
    key: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Submit CATALOGUE as a job into the index NAME.

    CATALOGUE is a file of JSON, JSON lines, CSV, TSV or Parquet (compressed or not; local, http://, s3:// or gs://), a
    folder of media, an index as elasticsearch:INDEX, or - for stdin.

    Exit code 0: submitted (with --follow: every record is searchable); 3: the job ended with dead letters; 4: it was
    paused or stopped; 1: it failed, or had failed where --idempotency-key is that of an earlier job.
    """
    from indexer.sources.source import open_source  # noqa: PLC0415
    from indexer.submit import submit  # noqa: PLC0415
    from triptych.jobs.routing import priority_of  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    source = open_source(SourceSpec(catalogue, **options), services)
    if dry_run:
        from indexer import dry_run as trial  # noqa: PLC0415

        _show_report(trial.dry_run(source, name, services), as_json=as_json)
        return
    _stand_back()
    entered = submit(source, name, services, key=key, priority=priority_of(priority))
    if follow:
        follow_job(services, entered, quiet=as_json)
    data = describe(services, entered.id)
    show_job(data, as_json=as_json)
    if entered.error is not None and not as_json:  # the job of an earlier submit with this key: nothing is read now
        click.echo(
            f"Nothing was submitted: {key!r} is the key of job {entered.id}, which failed. Go on with it "
            f"(triptych job resume {entered.id}), or forget it or take another key to submit anew.",
            err=True,
        )
    if follow or entered.error is not None:
        end_with(data["state"])


def _stand_back() -> None:
    """Leave the processor to the workers of this machine: they work on what is read already while the rest is read.

    On two cores a batch took .53 s while a catalogue was read, and .36 s after that (docs/adr/0029-ends-behind.md).
    """
    if hasattr(os, "nice"):
        os.nice(_NICE)


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
