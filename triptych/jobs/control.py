"""Control of jobs, for commands, HTTP and programs: `services.control.pause(job)` and so on.

Each function says what is wanted in the job's entry; workers look at it before they take a batch. So control needs no worker
to be reachable, and holds after any restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import orjson

from triptych.catalogues import upload_of
from triptych.elastic.attached import field_of, index_of
from triptych.elastic.client import Client
from triptych.elastic.engine import mget
from triptych.elastic.lifecycle import current_version
from triptych.errors import InputError, QueueError, TriptychError
from triptych.jobs import batching, breaker, records
from triptych.jobs import job as states
from triptych.jobs.forgetting import Forgotten, check_forgettable
from triptych.jobs.heartbeat import heartbeat
from triptych.jobs.job import Batch, Counts, Job, JobState
from triptych.jobs.letters import ALL, LetterFilter, usable
from triptych.jobs.queue import Queue, offer_batch, send_batch, send_finish
from triptych.jobs.records import Record
from triptych.jobs.store import JobStore
from triptych.jobs.uploads import Uploads
from triptych.schema import FIELD
from triptych.settings import Settings


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did: the new job, how many records it has, and how many were left out.

    `without_record`: the record was never read (too long, not UTF-8) or is no JSON. `superseded`: a newer job wrote, saw or
    deleted the product since, and the old record would undo that. `duplicates`: a record whose id another line has.
    """

    job: Job
    records: int
    without_record: int
    superseded: int
    duplicates: int


class Control:
    """Pause, stop, resume and redrive jobs. Share one between threads."""

    def __init__(self, jobs: JobStore, queue: Queue, client: Client, settings: Settings) -> None:
        self._jobs, self._queue, self._client, self._settings = jobs, queue, client, settings

    def pause(self, job: str) -> Job:
        """Let running batches end and start no more, until `resume`. The catalogue is read on meanwhile, by a worker for a
        quarter of TRIPTYCH_TASK_SECONDS.

        Raises NotFoundError, and InputError if the job has ended (`job.ended`) or is stopped (`job.stopped`).
        """
        return self._jobs.turn(job, states.pause)

    def stop(self, job: str) -> Job:
        """Let running batches end, start no more, and read no more of the catalogue. What is not started stays `pending`.

        Raises NotFoundError, and InputError if the job has ended (`job.ended`).
        """
        return self._jobs.turn(job, states.stop)

    def resume(self, job: str) -> Job:
        """Go on with a job that was paused or stopped, or that failed for a cause that is mended, exactly where it was.

        Sends its queued batches again. If the job comes back with `reading` true, its catalogue was not read to its end: where
        nobody reads it, `indexer.submit.resume` reads on. Dead records so far no longer count for pausing it.

        Raises NotFoundError, QueueError, and InputError if the job is completed (`job.ended`) or half read from a source that
        cannot be read again (`job.not_resumable`).
        """
        place = self._jobs.latest(job, after=-1, size=1)[2]
        resumed = self._jobs.turn(job, lambda found: replace(states.resume(found), judged_from=place))
        with closing(self._jobs.queued_of(job)) as queued:
            for batch in queued:
                send_batch(self._queue, job, batch.number, kind=batch.kind, priority=batch.priority)
        if not resumed.reading and self._jobs.counts(job).pending == 0:
            send_finish(self._queue, job)
        return resumed

    def judge(self, job: Job) -> str | None:
        """Pause a job of whose records too many end badly; gives the reason, None if it goes on."""
        limits = breaker.Limits.of(self._settings)
        recent, dead, _ = self._jobs.latest(job.id, after=self._jobs.get(job.id).judged_from, size=limits.looked_at)
        because = breaker.judge(recent, dead, limits)
        if because is None:
            return None
        self._jobs.turn(job.id, lambda now: states.pause(now, because) if now.runs else now)
        return because

    def forget(self, job: str) -> Forgotten:
        """Delete a job that has ended or is stopped from the ledger: its entry, batches, records, dead letters, key and upload.

        What it wrote stays in the index. Raises NotFoundError, and InputError if it may go on (`job.not_ended`).
        """
        entry = self._jobs.entry_of(job)
        if entry is None:  # whoever forgot it may have been lost in the middle
            done = self._jobs.erase(None, job)
            if not (done.batches or done.dead_letters):
                self._jobs.get(job)
            return done
        found = Job.from_dict(entry.source)
        check_forgettable(found, self._jobs.tally(job))
        done = self._jobs.erase(entry, job)
        upload = upload_of(str((found.source or {}).get("location", "")))
        if upload is not None:
            Uploads(self._client, self._settings).forget(upload)
        return done

    def state(self, job: str) -> JobState:
        """The state of a job at this moment. Raises NotFoundError."""
        return self._jobs.state(job)

    def counts(self, job: str) -> Counts:
        """The counters of a job at this moment."""
        return self._jobs.counts(job)

    def letters(self, job: str, which: LetterFilter = ALL, *, size: int = 1000) -> list[dict[str, Any]]:
        """The first `size` dead letters of a job, in the catalogue's order, without their records. Raises NotFoundError."""
        self._jobs.get(job)
        return self._jobs.dead_letters(job, which=which, size=size)

    def record(self, job: str, which: str | int) -> Record:
        """What became of the record of a product (its id) or of a line (its number) in a job.

        Raises NotFoundError `job.not_found`, `job.record_not_found`.
        """
        return records.find(self._jobs, self._client, self._jobs.get(job), which)

    def reasons(self, job: str, which: LetterFilter = ALL) -> list[dict[str, Any]]:
        """How many dead letters of a job there are of each code, stage and modality, most first. Raises NotFoundError."""
        self._jobs.get(job)
        return self._jobs.reasons(job, which=which)

    def export(self, job: str, which: LetterFilter = ALL) -> Iterator[dict[str, Any]]:
        """All dead letters of a job with their whole records. Raises NotFoundError at once."""
        self._jobs.get(job)
        return self._jobs.all_letters(job, which=which)

    def export_records(self, job: str, which: LetterFilter = ALL) -> Iterator[str]:
        """Each record that has a dead letter, once, as the catalogue had it. Those that could not be read are left out."""
        self._jobs.get(job)
        return (letter["record"] for letter in self._jobs.dead_records(job, which=which) if usable(letter))

    def redrive(self, job: str, which: LetterFilter = ALL, *, force: bool = False) -> Redriven:
        """Try the records of a job's dead letters again, in a new job into the same alias, under their old lines.

        Mend the cause first. The records are as old as they were: what a newer job wrote, left as it was or deleted stays. With
        `force` they count as those of a job submitted now, and win.
        Records that have a dead letter `record.duplicate_id` are left out unless `which` asks for them.
        Without Redis the batches wait in the ledger. Raises NotFoundError, and InputError if there is nothing to redrive
        (`job.nothing_to_redrive`).
        """
        old = self._jobs.get(job)
        version = current_version(self._client, old.alias)
        skipped = {"without_record": 0, "superseded": 0, "duplicates": 0}
        found = self._redrivable(old, which, None if force else version, skipped)
        first = next(found, None)
        if first is None:
            raise InputError(
                f"Job {job} has no such dead letter whose record can be tried again.",
                code="job.nothing_to_redrive",
                field="job",
                remedy=f"See `triptych job letters {job}`.",
            )
        new, _ = self._jobs.open(
            index=version,
            alias=old.alias,
            catalogue=old.catalogue,
            root=old.root,
            redrive_of=old.id,
            behind=None if force else old.id,
            priority=old.priority,
        )
        number = self._enter(new, chain([first], found))
        self._jobs.leave(new.id, new.reader, reading=False)
        if self._jobs.counts(new.id).pending == 0:
            with suppress(QueueError):  # a sweeper closes it
                send_finish(self._queue, new.id)
        return Redriven(self._jobs.get(new.id), number, **skipped)

    def _enter(self, new: Job, found: Iterator[dict[str, Any]]) -> int:
        """Enter and send the batches of a redrive; how many records it is."""
        entered = 0
        size, most = self._settings.batch_size, self._settings.batch_bytes
        alive = heartbeat(
            lambda: self._jobs.see(new.id, new.reader), seconds=self._settings.batch_lease_seconds / 3, what=f"job {new.id}"
        )
        try:
            with alive:
                for number, batch in enumerate(batching.cut(found, size=size, most_bytes=most)):
                    made = Batch(new.id, number, batch.records, kind=batch.kind, priority=new.priority, products=batch.products)
                    self._jobs.add(made)
                    offer_batch(self._queue, new.id, number, kind=batch.kind, priority=new.priority)
                    entered += len(batch.records)
        except TriptychError as error:
            self._jobs.leave(new.id, new.reader, error=f"Redriving stopped: {error}")
            raise
        return entered

    def _redrivable(
        self, old: Job, which: LetterFilter, version: str | None, skipped: dict[str, int]
    ) -> Iterator[dict[str, Any]]:
        """The records to try again; with a `version` without those whose products a newer job had there."""
        page: list[dict[str, Any]] = []
        for letter in self._jobs.dead_records(old.id, which=which):
            if letter["code"] == "record.duplicate_id" and which.code != "record.duplicate_id":
                skipped["duplicates"] += 1
            elif not usable(letter):
                skipped["without_record"] += 1
            else:
                page.append(letter)
            if len(page) == self._settings.batch_size:
                yield from self._current(page, old, version, skipped)
                page = []
        yield from self._current(page, old, version, skipped)

    def _current(
        self, letters: list[dict[str, Any]], old: Job, version: str | None, skipped: dict[str, int]
    ) -> Iterator[dict[str, Any]]:
        """The records of `letters` whose products no job newer than `old` wrote, saw or deleted, as far as can be told now.

        Workers look again when they write.
        """
        ids = {letter["line"]: orjson.loads(letter["record"]).get("id") for letter in letters}
        named = [name for name in ids.values() if isinstance(name, str) and name]
        latest = self._latest(named, version) if version is not None else {}
        for letter in letters:
            if latest.get(str(ids[letter["line"]]), "") > old.id:  # job ids sort by time
                skipped["superseded"] += 1
            else:
                yield {"line": letter["line"], "text": letter["record"]}

    def _latest(self, products: list[str], version: str) -> dict[str, str]:
        """The newest job that wrote, saw or deleted each of these products of an index version, where one did."""
        ours = field_of(version) or FIELD
        known = mget(self._client, index_of(version), products, includes=[f"{ours}.job", f"{ours}.seen"])
        there = {key: states.latest_of(source.get(ours, {})) for key, source in known.items()}
        return {**self._jobs.deleted_by((version,), [key for key in products if key not in known]), **there}
