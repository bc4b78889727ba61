"""Commands of jobs: `triptych job list|show|record|watch|pause|resume|stop|letters|export|redrive|forget`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from indexer.progress import follow_job

if TYPE_CHECKING:  # the services load celery and elasticsearch; --help must not
    from rich.console import Console

    from triptych.jobs.letters import LetterFilter
    from triptych.services import Services

_SHOWN_LETTERS = 20
_NUMBERS = ("read", "written", "unchanged", "partial", "deleted", "dead", "pending")
_EXIT_CODES = {"failed": 1, "completed_with_dead_letters": 3, "paused": 4, "stopped": 4}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_the_job = click.argument("job_id", metavar="ID")


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which dead letters are meant."""
    for option, text in (
        ("--product", "Only those of the product of this id."),
        ("--modality", "Only those of text, image or audio."),
        ("--stage", "Only those of this stage: read, parse, fetch, decode, embed, write or run."),
        ("--code", "Only those of this error code, as media.not_found."),
    ):
        command = click.option(option, help=text)(command)
    return command


def _which(code: str | None, stage: str | None, modality: str | None, product: str | None) -> LetterFilter:
    from triptych.jobs.letters import LetterFilter  # noqa: PLC0415

    return LetterFilter(code, stage, modality, product)


def _services() -> Services:
    from triptych.services import build  # noqa: PLC0415

    return build()


@click.group()
def job() -> None:
    """Follow and control indexing jobs, and look after their dead letters."""


@job.command("list")
@as_json
def list_jobs(*, as_json: bool) -> None:
    """The newest jobs."""
    services = _services()
    rows = services.jobs.summaries(services.jobs.newest())
    if as_json:
        click.echo(json.dumps(rows))
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    for heading in ("job", "state", "index", "read", "of these"):  # an id is copied whole, however narrow the terminal is
        table.add_column(heading, no_wrap=heading in {"job", "read"}, overflow="fold")
    for row in rows:
        ended = ", ".join(f"{row[name]} {name}" for name in _NUMBERS[1:] if row[name])
        table.add_row(row["id"], row["state"], row["alias"], str(row["read"]), ended)
    _console().print(table)


@job.command()
@_the_job
@as_json
def show(job_id: str, *, as_json: bool) -> None:
    """The counters and the dead letters of job ID. The four outcomes and `pending` add up to the records read."""
    show_job(describe(_services(), job_id), as_json=as_json)


@job.command()
@_the_job
@click.argument("product", metavar="[PRODUCT]", required=False)
@click.option("--line", type=click.IntRange(1), metavar="N", help="The record of this line of the catalogue instead.")
@as_json
def record(job_id: str, product: str | None, *, line: int | None, as_json: bool) -> None:
    """What became of the record of PRODUCT, or of a line, in job ID: state, stage, attempt, content hash, and why."""
    which = product if line is None else line
    if which is None or (product is not None and line is not None):
        raise click.UsageError("Say which record: PRODUCT, or --line N.")
    found = _services().control.record(job_id, which)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    later = f" by job {found.overtaken_by}" if found.overtaken_by else ""
    ended = f" (it ended as {found.outcome})" if found.outcome not in (None, found.state) else ""
    click.echo(f"line {found.line}, product {found.product or '-'}: {found.state}{later}{ended}")
    click.echo(f"stage {found.stage}, attempt {found.attempt}, batch {found.batch}, content hash {found.hash or '-'}")
    if found.lines:
        click.echo(f"the same id is on line {', '.join(map(str, found.lines))} too")
    if found.failure:
        click.echo(f"an earlier attempt failed: {found.failure}")
    for why in found.reasons:
        part = " ".join(text for text in (why["modality"], why["reference"]) if text)
        click.echo(f"{why['stage']}{' of ' + part if part else ''}: {why['message']} ({why['code']})")


@job.command()
@_the_job
@as_json
def watch(job_id: str, *, as_json: bool) -> None:
    """Show the progress of job ID until it has ended or rests. Ctrl-C ends the watching, not the job.

    Exit code 0: every record is searchable; 3: there are dead letters; 4: it was paused or stopped; 1: it failed.
    """
    services = _services()
    follow_job(services, services.jobs.get(job_id), quiet=as_json)
    data = describe(services, job_id)
    show_job(data, as_json=as_json)
    end_with(data["state"])


@job.command()
@_the_job
@as_json
def pause(job_id: str, *, as_json: bool) -> None:
    """Let running batches of job ID end and start no more, until `triptych job resume ID`."""
    services = _services()
    services.control.pause(job_id)
    show_job(describe(services, job_id), as_json=as_json)


@job.command()
@_the_job
@as_json
def stop(job_id: str, *, as_json: bool) -> None:
    """Let running batches of job ID end, start no more, and read no more of its catalogue."""
    services = _services()
    services.control.stop(job_id)
    show_job(describe(services, job_id), as_json=as_json)


@job.command()
@_the_job
@as_json
def resume(job_id: str, *, as_json: bool) -> None:
    """Go on with job ID exactly where it was, after a pause, a stop or a failure that is mended.

    If its catalogue was not read to its end and nobody reads it, this command reads the rest.
    """
    from indexer import submit  # noqa: PLC0415

    services = _services()
    submit.resume(job_id, services)
    show_job(describe(services, job_id), as_json=as_json)


@job.command()
@_the_job
@_filters
@as_json
def letters(
    job_id: str, *, code: str | None, stage: str | None, modality: str | None, product: str | None, as_json: bool
) -> None:
    """The dead letters of job ID: how many for which reason, and the first of them."""
    services = _services()
    which = _which(code, stage, modality, product)
    data = {"reasons": services.control.reasons(job_id, which), "letters": services.control.letters(job_id, which)}
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False))
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table("reason", "stage", "part", "letters", title="reasons")
    for row in data["reasons"]:
        table.add_row(row["code"], row["stage"], row["modality"] or "record", str(row["letters"]))
    _console().print(table)
    _show_letters(data["letters"], sum(row["letters"] for row in data["reasons"]), job_id)


@job.command()
@_the_job
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--records", "only_records", is_flag=True, help="Write the records alone, to be corrected and submitted again.")
@_filters
@as_json
def export(
    job_id: str,
    file: Path | None,
    *,
    only_records: bool,
    code: str | None,
    stage: str | None,
    modality: str | None,
    product: str | None,
    as_json: bool,
) -> None:
    """Write all dead letters of job ID as JSON lines into FILE, or to stdout, each with its whole record."""
    services = _services()
    which = _which(code, stage, modality, product)
    if only_records:
        lines = services.control.export_records(job_id, which)
    else:
        lines = (json.dumps(letter, ensure_ascii=False) for letter in services.control.export(job_id, which))
    number = 0
    with _opened(file) as target:
        for line in lines:
            target.write(f"{line}\n")
            number += 1
    what = "records" if only_records else "dead letters"
    if as_json and file:
        click.echo(json.dumps({"file": str(file), "lines": number}))
    else:
        click.echo(f"{number} {what} of job {job_id}", err=True)


@job.command()
@_the_job
@click.option("--follow", is_flag=True, help="Show a progress bar and wait until the new job has ended or rests.")
@click.option("--force", is_flag=True, help="Let the records win over what newer jobs wrote or deleted.")
@_filters
@as_json
def redrive(
    job_id: str,
    *,
    follow: bool,
    force: bool,
    code: str | None,
    stage: str | None,
    modality: str | None,
    product: str | None,
    as_json: bool,
) -> None:
    """Try the records of the dead letters of job ID again, in a new job. Mend the cause first.

    The records are as old as they were: what newer jobs wrote or deleted since stays, unless --force is given.
    """
    services = _services()
    done = services.control.redrive(job_id, _which(code, stage, modality, product), force=force)
    if follow:
        follow_job(services, done.job, quiet=as_json)
    left_out = {name: value for name, value in asdict(done).items() if name != "job"}
    data = {**describe(services, done.job.id), "redriven": left_out}
    if not as_json:
        said = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in left_out.items() if number)
        click.echo(f"Redrive of job {job_id}: {said}.")
    show_job(data, as_json=as_json)
    if follow:
        end_with(data["state"])


@job.command()
@_the_job
@as_json
def forget(job_id: str, *, as_json: bool) -> None:
    """Delete job ID, which has ended or is stopped, from the ledger: counters, batches, dead letters with their records, key.

    What it wrote stays in the index. Its dead letters cannot be exported or redriven any more.
    """
    done = _services().control.forget(job_id)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(f"Forgot job {job_id}: {done.batches} batches, {done.dead_letters} dead letters.")


def describe(services: Services, job_id: str) -> dict[str, Any]:
    """A job with its state, counters and up to 1000 dead letters, as `--json` prints it. Raises NotFoundError."""
    return {**services.jobs.summary(services.jobs.get(job_id)), "letters": services.jobs.dead_letters(job_id)}


def end_with(state: str) -> None:
    """End the process with the exit code that says how a followed job stands."""
    if state in _EXIT_CODES:
        sys.exit(_EXIT_CODES[state])


def show_job(data: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a job as `describe` gives it."""
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False))
        return
    from rich.table import Table  # noqa: PLC0415

    console = _console()
    counts = Table(*_NUMBERS)
    counts.add_row(*(str(data[name]) for name in _NUMBERS))
    console.print(f"job {data['id']}: {data['state']} — {data['catalogue']} into {data['index']}")
    for why in (data["error"], data["paused_because"]):
        if why:
            console.print(why, style="red")
    console.print(counts)
    _show_letters(data["letters"], data["dead_letters"], data["id"])


def _opened(file: Path | None) -> IO[str]:
    """The file to write into, or stdout. Raises click.FileError."""
    try:
        return cast("IO[str]", click.open_file(str(file or "-"), "w", encoding="utf-8"))
    except OSError as error:
        raise click.FileError(str(file), hint=error.strerror) from error


def _console() -> Console:
    """Prints what others wrote as it is: an id, a path or a reason may look like markup."""
    from rich.console import Console  # noqa: PLC0415

    return Console(markup=False)


def _show_letters(found: list[dict[str, Any]], number: int, job_id: str) -> None:
    if not found:
        return
    from rich.table import Table  # noqa: PLC0415

    console = _console()
    table = Table("line", "product", "part", "file", "stage", "reason", title="dead letters")
    for letter in found[:_SHOWN_LETTERS]:
        cells = [letter["product_id"], letter["modality"] or "record", letter["reference"], letter["stage"]]
        table.add_row(str(letter["line"]), *(c or "" for c in cells), f"{letter['message']} ({letter['code']})")
    console.print(table)
    if number > _SHOWN_LETTERS:
        console.print(f"... and {number - _SHOWN_LETTERS} more: triptych job export {job_id}")
