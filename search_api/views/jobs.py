"""`/v1/jobs`: submit catalogues, follow jobs, control them, and see what could not be used.

The API enters a job in the ledger and sends a message; a worker reads the catalogue. So an answer does not wait for a million
records, and nothing is lost if this process ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import orjson
from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from search_api.jobs_body import JobBody, LetterBody
from search_api.schemas import InvalidBodyError, decoded, parse
from search_api.views.search import json_response, read
from triptych.allowed_catalogues import may_be_named
from triptych.catalogues import named_index, shown, upload_location, upload_of
from triptych.elastic.attached import no_catalogue
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.errors import InputError, NotFoundError, TriptychError
from triptych.jobs.dry_runs import DryRuns
from triptych.jobs.job import Job, JobState
from triptych.jobs.letters import LetterFilter
from triptych.jobs.queue import ping, send_dry_run, send_read
from triptych.jobs.uploads import too_large
from triptych.services import Services
from triptych.settings import Settings

MOST_JOBS: Final = 200
MOST_LETTERS: Final = 1000
_FILTERS: Final = ("code", "stage", "modality", "product")

MOST_STREAMS: Final = 4
"""Clients that may follow jobs at once: each takes one of the server's threads."""

_FORM_BYTES: Final = 1_000_000
"""What a form may have beside its catalogue."""

_EVENT_SECONDS: Final = 1.0
_QUIET_SECONDS: Final = 15.0
"""Without an event for so long a comment is sent, so that nothing in between hangs up."""


def blueprint(services: Services) -> Blueprint:
    views = Blueprint("jobs", __name__, url_prefix="/v1/jobs")
    ready = threading.Event()

    @views.before_request
    def prepare() -> None:
        """The ledger is there before it is asked, also where no job was submitted yet."""
        if not ready.is_set():
            services.jobs.prepare()
            ready.set()

    _reading(views, services)
    _controlling(views, services)
    return views


def _reading(views: Blueprint, services: Services) -> None:
    """What is asked of jobs."""
    streams = threading.BoundedSemaphore(MOST_STREAMS)
    control = services.control

    @views.get("")
    def jobs() -> Response:
        size = _size(request, 20, MOST_JOBS)
        return json_response({"jobs": services.jobs.summaries(services.jobs.newest(size=size))})

    @views.get("/<job_id>")
    def job(job_id: str) -> Response:
        return json_response({**_summary(services, job_id), "reasons": control.reasons(job_id)})

    @views.get("/<job_id>/letters")
    def letters(job_id: str) -> Response:
        which, size = _which(request), _size(request, 100, MOST_LETTERS)
        return json_response({"letters": control.letters(job_id, which, size=size), "reasons": control.reasons(job_id, which)})

    @views.get("/<job_id>/records/<path:product>")
    def record(job_id: str, product: str) -> Response:
        return json_response(control.record(job_id, product).to_dict())

    @views.get("/<job_id>/export")
    def export(job_id: str) -> Response:
        lines = (orjson.dumps(letter) + b"\n" for letter in control.export(job_id, _which(request)))
        return Response(lines, content_type="application/x-ndjson")

    @views.get("/<job_id>/events")
    def events(job_id: str) -> Response:
        first = _summary(services, job_id)
        if not streams.acquire(blocking=False):
            raise TriptychError(
                f"{MOST_STREAMS} clients follow jobs already.",
                code="job.too_many_streams",
                retryable=True,
                remedy="Ask GET /v1/jobs/ID now and then.",
            )
        done = threading.Lock()

        def release() -> None:
            if done.acquire(blocking=False):  # at the end, and when the client has gone before it: whichever comes first
                streams.release()

        answer = Response(_events(services, job_id, first, release), content_type="text/event-stream")
        answer.headers["Cache-Control"] = "no-cache"
        answer.call_on_close(release)
        return answer


def _controlling(views: Blueprint, services: Services) -> None:
    """What is done to jobs."""
    control = services.control

    @views.post("")
    def submit() -> Response:
        body = _job_body(request, services.settings)
        return _tried(services, request, body) if body.dry_run else _accepted(services, _submitted(services, request, body))

    @views.delete("/<job_id>")
    def forget(job_id: str) -> Response:
        control.forget(job_id)
        return Response(status=204)

    @views.post("/<job_id>/pause")
    def pause(job_id: str) -> Response:
        return _accepted(services, control.pause(job_id))

    @views.post("/<job_id>/stop")
    def stop(job_id: str) -> Response:
        return _accepted(services, control.stop(job_id))

    @views.post("/<job_id>/resume")
    def resume(job_id: str) -> Response:
        return _accepted(services, _resumed(services, job_id))

    @views.post("/<job_id>/redrive")
    def redrive(job_id: str) -> Response:
        body = parse(LetterBody, _json(request) or {})
        redriven = control.redrive(job_id, LetterFilter(**body.model_dump(exclude={"force"})), force=body.force)
        found = {name: getattr(redriven, name) for name in ("records", "without_record", "superseded", "duplicates")}
        return _accepted(services, redriven.job, redriven=found)


def _tried(services: Services, given: Request, body: JobBody) -> Response:
    """Let a worker look at a catalogue that was sent or named; the answer says where to ask what it found."""
    services.check(read_schema(services.elasticsearch, current_version(services.elasticsearch, body.index)))
    runs = DryRuns(services.redis, services.settings)
    name = runs.open()
    source = _source(services, given, body)
    try:
        send_dry_run(services.queue, name, body.index, source, priority=body.priority)
    except BaseException:
        _forget_upload(services, source)
        raise
    answer = json_response(runs.get(name), 202)
    answer.headers["Location"] = f"/v1/dry-runs/{name}"
    return answer


def _submitted(services: Services, given: Request, body: JobBody) -> Job:
    """Enter a job for a catalogue that was sent or named, and let a worker read it. A known idempotency key gives its job."""
    key = given.headers.get("Idempotency-Key") or body.idempotency_key
    client = services.elasticsearch
    version = current_version(client, body.index)
    schema = read_schema(client, version)
    if schema.attachment is not None:
        raise no_catalogue(body.index)
    services.check(schema)
    ping(services.redis)
    known = services.jobs.of_key(body.index, key) if key is not None else None
    if known is not None:
        return known
    source = _source(services, given, body)
    try:
        job, new = _entered(services, body, version, key, source)
    except BaseException:
        if not _is_anyones(services, source, body.index, key):
            _forget_upload(services, source)
        raise
    if new:
        services.jobs.leave(job.id, job.reader, handed=True)
        send_read(services.queue, job.id, priority=job.priority, limited=job.resumable)
    else:  # another request with the same key was quicker, with an upload of its own
        _forget_upload(services, source)
    return services.jobs.get(job.id)


def _entered(services: Services, body: JobBody, version: str, key: str | None, source: Mapping[str, Any]) -> tuple[Job, bool]:
    """The job for a source, and whether it is new. The source is kept whole, as a worker reads it, and never shown."""
    place = str(source["location"])
    return services.jobs.open(
        index=version,
        alias=body.index,
        catalogue=shown(body.name or place),
        root=str(Path(place).parent) if place.startswith("/") else os.devnull,  # nothing lies below a file
        source=source,
        resumable=source.get("format") != "elasticsearch" and named_index(place) is None,
        key=key,
        priority=body.priority,
    )


def _is_anyones(services: Services, source: Mapping[str, Any], alias: str, key: str | None) -> bool:
    """Whether a job has this source although entering it raised: the answer may have been lost, not the request.

    True where nobody can tell: an upload that is left is better than a job without its catalogue.
    """
    try:
        known = services.jobs.of_key(alias, key) if key is not None else None
        jobs = [known] if known is not None else services.jobs.newest(size=MOST_JOBS)
    except TriptychError:
        return True
    return any(job.source is not None and job.source.get("location") == source["location"] for job in jobs)


def _forget_upload(services: Services, source: Mapping[str, Any]) -> None:
    """Drop what was sent for a source that nobody reads; where that fails it is left, and the error at hand counts."""
    upload = upload_of(str(source["location"]))
    if upload is not None:
        with suppress(TriptychError):
            services.uploads.forget(upload)


def _source(services: Services, given: Request, body: JobBody) -> dict[str, Any]:
    """The source's spec, as indexer.sources.spec.SourceSpec.from_dict takes it."""
    options = body.catalogue.model_dump(exclude_none=True) if body.catalogue else {}
    sent = given.files.getlist("catalogue")
    if len(sent) > 1:
        raise InvalidBodyError("A job has one catalogue.", field="catalogue", remedy="Send a job for each file.")
    file = sent[0] if sent else None
    if (file is None) == ("location" not in options):
        raise InvalidBodyError(
            "A job has either a file `catalogue` or catalogue.location.", field="catalogue", remedy="Give one of the two."
        )
    if file is not None:
        kept = services.uploads.keep(cast("BinaryIO", file.stream))
        return {**options, "location": upload_location(kept.id, file.filename or "")}
    location = str(options["location"])
    if not may_be_named(location, services.settings.catalogues):
        raise InputError(
            f"Catalogues at {shown(location)[:200]!r} may not be read over HTTP.",
            code="catalogue.not_allowed",
            field="catalogue.location",
            remedy="Send the file itself, or let the operator add the beginning of its address to TRIPTYCH_CATALOGUES.",
        )
    return {**options, "fixed": True}


def _resumed(services: Services, job: str) -> Job:
    """Go on; where the catalogue was not read to its end and nobody reads it, a worker reads on."""
    resumed = services.control.resume(job)
    if resumed.reading and resumed.reader is None:
        send_read(services.queue, job, priority=resumed.priority, limited=resumed.resumable)
    return resumed


def _job_body(given: Request, settings: Settings) -> JobBody:
    """What a request asks for; of a form, whose catalogue has at most TRIPTYCH_UPLOAD_BYTES, the part `job`."""
    most_bytes = settings.upload_bytes
    if given.mimetype != "multipart/form-data":
        return parse(JobBody, read(given, settings)[0])
    if (given.content_length or 0) > most_bytes + _FORM_BYTES:
        raise too_large(most_bytes)
    given.max_content_length = most_bytes + _FORM_BYTES  # the upload itself is counted while it is kept
    try:
        unknown = (set(given.files) - {"catalogue", "job"}) | (set(given.form) - {"job"})
    except RequestEntityTooLarge as error:
        raise too_large(most_bytes) from error
    if unknown:
        raise InvalidBodyError(
            f"The form has an unknown part {sorted(unknown)[0]!r}.",
            field=sorted(unknown)[0],
            remedy="The parts are job (JSON) and catalogue (a file).",
        )
    text = given.form.get("job") or (given.files["job"].read() if "job" in given.files else None)
    return parse(JobBody, _decoded(text))


def _json(given: Request) -> object:
    return _decoded(given.get_data())


def _decoded(text: str | bytes | None) -> object:
    return decoded(text, "body") if text else None


def _accepted(services: Services, job: Job, **more: Any) -> Response:
    answer = json_response({**services.jobs.summary(job), **more}, 202)
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return answer


def _summary(services: Services, job: str) -> dict[str, Any]:
    return services.jobs.summary(services.jobs.get(job))


def _which(given: Request) -> LetterFilter:
    return LetterFilter(**{name: given.args.get(name) for name in _FILTERS})


def _size(given: Request, default: int, most: int) -> int:
    text = given.args.get("size", str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:  # noqa: PLR2004  digits
        raise InvalidBodyError(f"size is {text[:20]!r}.", field="size", remedy=f"Give a number from 1 to {most}.")
    return int(text)


def _events(services: Services, job: str, first: dict[str, Any], release: Callable[[], None]) -> Iterator[bytes]:
    """A job's summaries whenever they change, as server-sent events, until it rests or is forgotten.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    summary, sent = first, time.monotonic()
    try:
        yield _event("progress", summary)
        while not JobState(summary["state"]).rests:
            time.sleep(_EVENT_SECONDS)
            try:
                latest = _summary(services, job)
            except NotFoundError:  # it was forgotten meanwhile; who asks anew is told so
                return
            except TriptychError as error:
                if not error.retryable:
                    raise
                latest = summary  # the ledger is away for the moment; a client that went is noticed by writing to it
            if latest != summary:
                summary, sent = latest, time.monotonic()
                yield _event("progress", summary)
            elif time.monotonic() - sent > _QUIET_SECONDS:
                sent = time.monotonic()
                yield b": still there\n\n"
        yield _event("end", summary)
    finally:
        release()


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
