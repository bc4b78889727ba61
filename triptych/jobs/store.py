"""The ledger: jobs, batches and dead letters, kept in Elasticsearch, which is the durable store at hand.

Three indices, `<prefix>jobs`, `<prefix>batches` and `<prefix>dead-letters`. A batch's entry holds its records until it is done
and its counts afterwards. Every change of a batch's state is guarded by `if_seq_no`, so two workers never both win.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from triptych.domain import DeadLetter
from triptych.elastic.client import Client, translated
from triptych.elastic.engine import bulk_index
from triptych.errors import ElasticsearchError, NotFoundError
from triptych.jobs.job import Batch, BatchState, Counts, Job, batch_id
from triptych.settings import Settings

_KEYWORD = {"type": "keyword", "ignore_above": 1024}
_MAPPINGS: Mapping[str, Any] = {
    "jobs": {
        "id": _KEYWORD, "index": _KEYWORD, "alias": _KEYWORD, "catalogue": _KEYWORD, "root": _KEYWORD,
        "submitted_at": {"type": "date"}, "finished_at": {"type": "date"}, "reading": {"type": "boolean"},
        "error": _KEYWORD, "seen_at": {"type": "double"},
    },
    "batches": {
        "job": _KEYWORD, "number": {"type": "long"}, "state": _KEYWORD, "owner": _KEYWORD, "attempts": {"type": "integer"},
        "lease_until": {"type": "double"}, "queued_at": {"type": "double"}, "records": {"type": "object", "enabled": False},
        **{name: {"type": "long"} for name in Counts.__dataclass_fields__},
    },
    "dead-letters": {
        "job": _KEYWORD, "index": _KEYWORD, "code": _KEYWORD, "message": {"type": "text"}, "stage": _KEYWORD,
        "line": {"type": "long"}, "product_id": _KEYWORD, "modality": _KEYWORD, "reference": _KEYWORD,
        "record": {"type": "keyword", "index": False, "doc_values": False}, "at": {"type": "date"},
        "attempt": {"type": "integer"},
    },
}  # fmt: skip


_TRIES = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch whose lease this process has, as `owner` (unique to the process and the attempt)."""

    batch: Batch
    owner: str


class Lost(NamedTuple):
    """A batch whose message is to be sent again."""

    job: str
    number: int
    kind: str = "words"
    priority: int = 5


class JobStore:
    """Reads and writes the ledger. One per process; the client is safe to share between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._jobs, self._batches, self._dead = (settings.system_prefix + name for name in ("jobs", "batches", "dead-letters"))

    def prepare(self) -> None:
        """Create the ledger's indices where they are missing."""
        for name, properties in _MAPPINGS.items():
            index = self._settings.system_prefix + name
            try:
                with translated():
                    if not self._client.indices.exists(index=index):
                        self._client.indices.create(
                            index=index,
                            settings={"number_of_shards": 1, "auto_expand_replicas": "0-1"},
                            mappings={"dynamic": False, "properties": properties},
                        )
            except ElasticsearchError as error:
                if "already exists" not in error.message:  # another process was quicker
                    raise

    # Jobs

    def open(self, *, index: str, alias: str, catalogue: str, root: str, priority: int = 5) -> Job:
        """Begin a job over `catalogue`, whose media lie under `root`, into the index version `index` behind `alias`."""
        self.prepare()
        name = f"{dt.datetime.now(dt.UTC):%Y%m%dt%H%M%S}-{uuid.uuid4().hex[:6]}"
        job = Job(id=name, index=index, alias=alias, catalogue=catalogue, root=root, submitted_at=now(), priority=priority)
        self._put_job(job)
        return job

    def _put_job(self, job: Job) -> None:
        with translated():
            entry = {**job.to_dict(), "seen_at": time.time()}
            self._client.index(index=self._jobs, id=job.id, document=entry, refresh=True)

    def get(self, job: str) -> Job:
        """The job of that id. Raises NotFoundError."""
        try:
            with translated():
                found = self._client.get(index=self._jobs, id=job)
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                raise NotFoundError(
                    f"There is no job {job!r}.", code="job.not_found", field="job", remedy="See `triptych job list`."
                ) from error
            raise
        return Job.from_dict(found["_source"])

    def newest(self, *, size: int = 20) -> list[Job]:
        """The newest jobs, newest first."""
        return [
            Job.from_dict(h["_source"])
            for h in self._search(self._jobs, {"match_all": {}}, size=size, sort="submitted_at:desc")
        ]

    def update(self, job: str, **changes: Any) -> None:
        """Change fields of a job (reading, finished_at, error)."""
        with translated():
            self._client.update(index=self._jobs, id=job, doc=changes, refresh=True, retry_on_conflict=5)

    def unfinished(self) -> list[Job]:
        """Jobs that are read whole but neither closed nor failed, oldest first."""
        query = {"bool": {"filter": [{"term": {"reading": False}}], "must_not": [_exists("finished_at"), _exists("error")]}}
        hits = self._search(self._jobs, query, size=100, sort="submitted_at:asc")
        return [Job.from_dict(h["_source"]) for h in hits]

    def abandoned(self, *, seconds: float) -> list[Job]:
        """Jobs still being read whose submitter gave no sign of life (`see`) for so long."""
        before = {"range": {"seen_at": {"lt": time.time() - seconds}}}
        query = {"bool": {"filter": [{"term": {"reading": True}}, before], "must_not": [_exists("error")]}}
        return [Job.from_dict(h["_source"]) for h in self._search(self._jobs, query, size=100, sort="submitted_at:asc")]

    def see(self, job: str) -> None:
        """The submitter's sign of life."""
        self.update(job, seen_at=time.time())

    def counts(self, job: str) -> Counts:
        """The job's counters, exact at this moment."""
        sums = {name: {"sum": {"field": name}} for name in Counts.__dataclass_fields__}
        with translated():
            self._client.indices.refresh(index=self._batches)
            answer = self._client.search(index=self._batches, query={"term": {"job": job}}, size=0, aggs=sums)
        return Counts(**{name: int(answer["aggregations"][name]["value"]) for name in sums})

    # Batches

    def add(self, batch: Batch) -> None:
        """Enter a batch, before its message is sent."""
        entry = {
            "job": batch.job, "number": batch.number, "state": BatchState.QUEUED, "attempts": 0, "queued_at": time.time(),
            "kind": batch.kind, "priority": batch.priority,
            "records": list(batch.records), **asdict(Counts(read=len(batch.records))),
        }  # fmt: skip
        with translated():
            self._client.index(index=self._batches, id=batch.id, document=entry)

    def claim(self, job: str, number: int, owner: str) -> Claim | None:
        """Take the lease of a batch; None if it is done, or another worker has it and its lease still runs."""
        found = self._entry(batch_id(job, number))
        entry = found["_source"]
        if entry["state"] == BatchState.DONE:
            return None
        if entry["state"] == BatchState.RUNNING and entry["lease_until"] > time.time():
            return None
        attempts = entry["attempts"] + 1
        changes = {"state": BatchState.RUNNING, "owner": owner, "attempts": attempts, "lease_until": self._lease()}
        claim = Claim(Batch(job, number, tuple(entry["records"]), attempts, entry.get("failure")), owner)
        return claim if self._write(found, changes) else None

    def renew(self, claim: Claim) -> bool:
        """Prolong the lease; False if it was lost to another worker."""
        return self._change(claim, {"lease_until": self._lease()})

    def release(self, claim: Claim) -> bool:
        """Give an unfinished batch back, so that the next message may start it at once; it does not count as an attempt."""
        back = {"state": BatchState.QUEUED, "queued_at": time.time(), "attempts": claim.batch.attempts - 1}
        return self._change(claim, back)

    def note(self, claim: Claim, reason: str) -> bool:
        """Keep why an attempt at a batch failed, for the dead letters if no later one succeeds."""
        return self._change(claim, {"failure": reason[:500]})

    def finish(self, claim: Claim, counts: Counts) -> bool:
        """Mark a batch done with its counts and drop its records. False if the lease was lost: another worker counts it."""
        return self._change(claim, {"state": BatchState.DONE, "records": [], **asdict(counts)})

    def forget(self, job: str, number: int) -> None:
        """Drop a batch whose job was deleted."""
        with translated():
            self._client.delete(index=self._batches, id=batch_id(job, number))

    def _entry(self, key: str) -> dict[str, Any]:
        with translated():
            return dict(self._client.get(index=self._batches, id=key))

    def _change(self, claim: Claim, changes: Mapping[str, Any]) -> bool:
        """Change a batch this process has the lease of; False if it has it no more."""
        for _ in range(_TRIES):
            found = self._entry(claim.batch.id)
            if found["_source"]["state"] != BatchState.RUNNING or found["_source"]["owner"] != claim.owner:
                return False
            if self._write(found, changes):
                return True  # else our own heartbeat was quicker, or another worker took the batch: look again
        return False

    def _write(self, found: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write a batch's entry with `changes` unless somebody changed it since it was read."""
        try:
            with translated():
                self._client.index(
                    index=self._batches,
                    id=found["_id"],
                    document={**found["_source"], **changes},
                    if_seq_no=found["_seq_no"],
                    if_primary_term=found["_primary_term"],
                )
        except ElasticsearchError as error:
            if error.code == "elasticsearch.conflict":
                return False
            raise
        return True

    def _lease(self) -> float:
        return time.time() + self._settings.batch_lease_seconds

    def lost(self, *, queue_empty: bool) -> list[Lost]:
        """Batches that nobody works on: the lease ran out, or queued while the queue is empty.

        Those of failed jobs are left alone. At most 1000, oldest first.
        """
        at = time.time()
        stale = [{"bool": {"filter": [{"term": {"state": BatchState.RUNNING}}, {"range": {"lease_until": {"lt": at}}}]}}]
        if queue_empty:
            since = at - self._settings.batch_lease_seconds
            stale.append(
                {"bool": {"filter": [{"term": {"state": BatchState.QUEUED}}, {"range": {"queued_at": {"lt": since}}}]}}
            )
        failed = self._search(self._jobs, _exists("error"), size=1000, sort="submitted_at:desc", fields=["id"])
        query = {"bool": {"should": stale, "minimum_should_match": 1}}
        query["bool"]["must_not"] = [{"terms": {"job": [h["_source"]["id"] for h in failed]}}]
        with translated():
            self._client.indices.refresh(index=self._batches)
        hits = self._search(self._batches, query, size=1000, sort="queued_at:asc", fields=Lost._fields)
        return [Lost(**h["_source"]) for h in hits]

    # Dead letters

    def bury(self, job: Job, letters: Sequence[DeadLetter], *, attempt: int) -> None:
        """Keep dead letters. Their ids say which they are, so that a batch done twice buries none twice."""
        entries = {}
        for letter in letters:
            key = letter_id(job.id, letter)
            record = letter.record[:8000] if letter.record else None
            entries[key] = {
                **asdict(letter),
                "record": record,
                "job": job.id,
                "index": job.alias,
                "attempt": attempt,
                "at": now(),
            }
        if entries:
            failed = [w for w in bulk_index(self._client, self._dead, entries).values() if w.reason]
            if failed:
                raise ElasticsearchError(f"A dead letter could not be kept: {failed[0].reason}", code="ledger.refused")

    def dead_letters(self, job: str, *, size: int = 1000) -> list[dict[str, Any]]:
        """The dead letters of a job in the catalogue's order, at most `size`."""
        with translated():
            self._client.indices.refresh(index=self._dead)
        return [h["_source"] for h in self._search(self._dead, {"term": {"job": job}}, size=size, sort="line:asc")]

    def _search(
        self, index: str, query: Mapping[str, Any], *, size: int, sort: str, fields: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        with translated():
            answer = self._client.search(
                index=index, query=query, size=size, sort=sort, source_includes=fields, ignore_unavailable=True
            )
        return list(answer["hits"]["hits"])


def letter_id(job: str, letter: DeadLetter) -> str:
    """`_id` of a dead letter: the same part of the same record at the same stage has one."""
    part = f"{letter.modality or 'record'}-{letter.reference or ''}-{letter.stage}"
    return f"{job}-{letter.line}-{uuid.uuid5(uuid.NAMESPACE_OID, part).hex[:12]}"


def _exists(field: str) -> dict[str, Any]:
    return {"exists": {"field": field}}


def now() -> str:
    """This moment in UTC, ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
