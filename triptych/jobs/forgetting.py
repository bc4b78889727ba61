"""The ledger without a job: all its entries go, and only that its id was given is kept.

The id matters: products name the job that wrote them, and a newer job must have a greater one, whatever its machine's clock
says. So the greatest forgotten id of an alias, and of the redrives of a job, is kept among the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triptych.elastic.client import translated
from triptych.errors import ElasticsearchError, InputError
from triptych.jobs.job import Job, JobState, Tally, redrive_number, root_of
from triptych.jobs.ledger import Entry, Ledger, term


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many entries of a job were deleted."""

    job: str
    batches: int
    dead_letters: int


class Forgetting(Ledger):
    """Deletes entries."""

    def erase(self, entry: Entry | None, job: str) -> Forgotten:
        """Delete a job's entry, if it is there, and all that belongs to it. Raises ElasticsearchError."""
        if entry is not None:
            self._keep_id(root_of(job) if redrive_number(job) else str(entry.source["alias"]), job)
            with translated():
                self._client.delete(
                    index=self._jobs, id=entry.id, if_seq_no=entry.seq_no, if_primary_term=entry.primary_term, refresh=True
                )
        own = term("job", job)
        self._delete_all(self._keys, own)  # first: no key may lead to a job that is half gone
        self._delete_all(self._records, own)
        return Forgotten(job, self._delete_all(self._batches, own), self._delete_all(self._dead, own))

    def entry_of(self, job: str) -> Entry | None:
        """A job's entry with its place, None where there is none."""
        try:
            return self._read(self._jobs, job)
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                return None
            raise

    def last_forgotten(self, alias: str) -> str:
        """The greatest id of a forgotten job of `alias`, or redrive of the job of that id; "" where there is none."""
        try:
            return str(self._read(self._keys, _last_id(alias)).source["last"])
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                return ""
            raise

    def _keep_id(self, alias: str, job: str) -> None:
        def greater(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            return {"last": job} if entry["last"] < job else None

        if not self._create(self._keys, _last_id(alias), {"last": job}):
            self._change(self._keys, _last_id(alias), greater)


def check_forgettable(job: Job, tally: Tally) -> None:
    """Raise InputError `job.not_ended` for a job of which something may still come."""
    state = job.state(tally)
    read_on = state is JobState.STOPPED and job.reading and job.reader is not None
    if read_on or not (state.ended or state is JobState.STOPPED):
        how = "still read" if read_on else str(state)
        raise InputError(
            f"Job {job.id} is {how} and cannot be forgotten.",
            code="job.not_ended",
            field="job",
            remedy=f"Stop it first: triptych job stop {job.id}",
        )


def _last_id(alias: str) -> str:
    return f"last-{alias}"
