"""The ledger: jobs, batches and dead letters, kept in Elasticsearch, which is the durable store at hand.

Indices of one shard each, `<prefix>jobs`, `<prefix>batches`, `<prefix>records`, `<prefix>dead-letters`, `<prefix>keys`,
`<prefix>deleted`. Every change of an entry is guarded by `if_seq_no`, so two processes never both win.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any, Final

from triptych.elastic.client import translated
from triptych.elastic.scan import scan
from triptych.errors import ElasticsearchError, NotFoundError
from triptych.jobs.batches import Position, Seen
from triptych.jobs.claims import Claim
from triptych.jobs.forgetting import Forgetting
from triptych.jobs.job import Job, JobState, Tally, Wanted, redrive_id, redrive_number, root_of
from triptych.jobs.ledger import STAMP, every, exists, now, term
from triptych.jobs.letters import LetterStore, letter_id
from triptych.jobs.places import PlaceStore
from triptych.jobs.tombstones import TombstoneStore

__all__ = ["Claim", "JobStore", "Position", "Seen", "letter_id", "now"]

_HALF_MADE_SECONDS: Final = 2.0
_MOST_ERROR: Final = 1000
_PAGE: Final = 200
_TRIES: Final = 20


class JobStore(TombstoneStore, LetterStore, PlaceStore, Forgetting):
    """Reads and writes the ledger. One per process; the client is safe to share between threads."""

    def open(  # noqa: PLR0913
        self,
        *,
        index: str,
        alias: str,
        catalogue: str,
        root: str,
        source: Mapping[str, Any] | None = None,
        resumable: bool = False,
        key: str | None = None,
        redrive_of: str | None = None,
        behind: str | None = None,
        priority: int = 5,
    ) -> tuple[Job, bool]:
        """Begin a job over `catalogue`, whose media lie under `root`, into the index version `index` behind `alias`.

        It is newer than all jobs of the alias, or with `behind` only than that one and its redrives.
        Returns the job and whether it is new. There is one job for each `key` of an alias: whoever comes second, be it at the
        same instant, gets the first one's.
        """
        self.prepare()
        job = Job(
            id=self._new_id(alias, behind), index=index, alias=alias, catalogue=catalogue, root=root, submitted_at=now(),
            source=source, resumable=resumable, reader=uuid.uuid4().hex, key=key, redrive_of=redrive_of,
            priority=priority,
        )  # fmt: skip
        if key is not None and not self._first(alias, key, job):
            found = self.of_key(alias, key)
            if found is not None:
                return found, False
        for _ in range(_TRIES):
            if self._create(self._jobs, job.id, job.to_dict(), refresh=True) or self.get(job.id).reader == job.reader:
                return job, True
            job = replace(job, id=self._new_id(alias, behind))  # another redrive of the same job was quicker
        raise ElasticsearchError(f"No id can be found for a job of {alias!r}.", code="elasticsearch.conflict")

    def _first(self, alias: str, key: str, job: Job) -> bool:
        """Take a key for a job; False if another job has it. Our own entry is there if the answer to the first try was lost."""
        entry = {"job": job.id, "entry": job.to_dict()}
        name = _key_id(alias, key)
        return self._create(self._keys, name, entry) or self._read(self._keys, name).source["job"] == job.id

    def of_key(self, alias: str, key: str) -> Job | None:
        """The job that was submitted to `alias` with this idempotency key, None where there is none."""
        try:
            found = self._read(self._keys, _key_id(alias, key)).source
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                return None
            raise
        until = time.monotonic() + _HALF_MADE_SECONDS
        while time.monotonic() < until:
            try:
                return self.get(found["job"])
            except NotFoundError:
                time.sleep(0.05)
        # whoever took the key was lost before it entered the job: it is entered now, with nobody reading it
        self._create(self._jobs, found["job"], {**found["entry"], "reader": None}, refresh=True)
        return self.get(found["job"])

    def _new_id(self, alias: str, behind: str | None) -> str:
        """An id that sorts after those of all jobs of the alias, whatever this machine's clock says; or after those of the job
        `behind` and its redrives, and before all newer ones."""
        if behind is not None:
            return self._redrive_id(root_of(behind))
        stamp = f"{dt.datetime.now(dt.UTC):{STAMP}}"
        self._refresh(self._jobs)
        latest = self._search(self._jobs, term("alias", alias), size=1, sort="id:desc", source_includes=["id"])
        newest = max([hit["_source"]["id"] for hit in latest] + [self.last_forgotten(alias)])[: len(stamp)]
        if newest >= stamp:
            last = dt.datetime.strptime(newest, STAMP).replace(tzinfo=dt.UTC)
            stamp = f"{last + dt.timedelta(seconds=1):{STAMP}}"
        return f"{stamp}-{uuid.uuid4().hex[:6]}"

    def _redrive_id(self, job: str) -> str:
        self._refresh(self._jobs)
        own = {"range": {"id": {"gt": f"{job}-", "lt": f"{job}."}}}  # "." comes next after "-"
        latest = self._search(self._jobs, own, size=1, sort="id:desc", source_includes=["id"])
        newest = max([hit["_source"]["id"] for hit in latest] + [self.last_forgotten(job)])
        return redrive_id(job, redrive_number(newest) + 1)

    def get(self, job: str) -> Job:
        """The job of that id. Raises NotFoundError."""
        try:
            return Job.from_dict(self._read(self._jobs, job).source)
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                raise NotFoundError(
                    f"There is no job {job!r}.", code="job.not_found", field="job", remedy="See `triptych job list`."
                ) from error
            raise

    def newest(self, *, size: int = 20) -> list[Job]:
        """The jobs submitted last, the last one first."""
        return self._jobs_where({"match_all": {}}, size=size, sort="submitted_at:desc,id:desc")

    def state(self, job: str) -> JobState:
        """The state of a job at this moment. Raises NotFoundError."""
        tally = self.tally(job)
        return self.get(job).state(tally)

    def summary(self, job: Job) -> dict[str, Any]:
        """A job with its state and counters, as commands print it. How it is read stays out."""
        return self.summaries([job])[0]

    def summaries(self, jobs: list[Job]) -> list[dict[str, Any]]:
        """`summary` of several jobs, in one request."""
        tallies = self.tallies([job.id for job in jobs])
        return [_summary(job, tallies[job.id]) for job in jobs]

    def update(self, job: str, **changes: Any) -> None:
        """Change fields of a job (reading, finished_at, error)."""
        with translated():
            self._client.update(index=self._jobs, id=job, doc=_short(changes), refresh=True, retry_on_conflict=5)

    def keep_source(self, job: Job, source: Mapping[str, Any]) -> None:
        """Keep only `source` of how a job's catalogue was read, in its entry and beside its idempotency key."""
        self._change(self._jobs, job.id, lambda _: {"source": dict(source)})
        if job.key is None:
            return

        def without(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            return {"entry": {**entry["entry"], "source": dict(source)}} if entry.get("job") == job.id else None

        self._change(self._keys, _key_id(job.alias, job.key), without)

    def turn(self, job: str, decide: Callable[[Job], Job]) -> Job:
        """Change a job to what `decide` makes of it as it is now, however many others change it too; gives it as it then is.

        Raises NotFoundError, and what `decide` raises.
        """
        self.get(job)
        made: list[Job] = []

        def changes(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            before = Job.from_dict(entry)
            made[:] = [decide(before)]
            return made[0].to_dict() if made[0] != before else None

        self._change(self._jobs, job, changes, refresh=True)
        return made[0]

    # The process that reads a job's catalogue

    def see(self, job: str, reader: str | None) -> None:
        """The reader's sign of life; none if another process reads now."""

        def beat(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            return {"beat": entry.get("beat", 0) + 1} if entry.get("reader") == reader else None

        self._change(self._jobs, job, beat)

    def take_over(self, job: Job) -> Job | None:
        """Become the reader of a job's catalogue, unless its reader gave a sign of life, or another one came, since `job`."""
        reader = uuid.uuid4().hex

        def mine(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            same = entry["reading"] and entry.get("reader") == job.reader and entry.get("beat", 0) == job.beat
            return {"reader": reader} if same else None

        return self.get(job.id) if self._change(self._jobs, job.id, mine, refresh=True) else None

    def leave(self, job: str, reader: str | None, **changes: Any) -> None:
        """Stop being the reader, with other changes; nothing if another process reads now."""

        def left(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            return {"reader": None, **_short(changes)} if entry.get("reader") == reader else None

        self._change(self._jobs, job, left, refresh=True)

    # For sweepers

    def active(self) -> list[str]:
        """Ids of the jobs whose batches may run, oldest first; at most 1000."""
        held = {"terms": {"wanted": ["pause", "stop"]}}
        query = every(but=[exists("finished_at"), exists("error"), held])
        return [job.id for job in self._jobs_where(query, size=1000, sort="id:asc")]

    def unfinished(self) -> Iterator[list[Job]]:
        """All jobs that are read whole but neither closed nor failed, oldest first and some at a time.

        Paused and stopped ones too: of those the last batch may have ended since.
        """
        return self._pages(every(term("reading", False), but=[exists("finished_at"), exists("error")]))

    def may_write(self, version: str) -> bool:
        """Whether a job that names an index version itself runs, or may go on after a pause."""
        ended = [exists("finished_at"), exists("error"), term("wanted", Wanted.STOP)]
        return bool(self._jobs_where(every(term("alias", version), but=ended), size=1, sort="id:asc"))

    def unread(self) -> list[Job]:
        """All jobs that run and whose catalogues are not read to their end, oldest first."""
        held = {"terms": {"wanted": ["pause", "stop"]}}
        return [job for page in self._pages(every(term("reading", True), but=[exists("error"), held])) for job in page]

    def unread_locations(self) -> set[str]:
        """Where the catalogues lie of all jobs that are not read whole, whatever state they are in."""
        jobs = (job for page in self._pages(every(term("reading", True))) for job in page)
        return {_location(job.source) for job in jobs}

    def half_made_locations(self) -> set[str]:
        """Where the catalogues lie of jobs that have an idempotency key and are not entered: whoever comes with it does so."""
        self._refresh(self._keys)
        with closing(scan(self._client, self._keys)) as hits:
            kept = (hit["_source"] for hit in hits)
            held = {one["job"]: _location(one["entry"].get("source")) for one in kept if "entry" in one}
        return {location for job, location in held.items() if location and self.entry_of(job) is None}

    def _pages(self, query: Mapping[str, Any]) -> Iterator[list[Job]]:
        after: dict[str, Any] = {}
        while page := self._jobs_where(query, size=_PAGE, sort="id:asc", **after):
            yield page
            after = {"search_after": [page[-1].id]}

    def _jobs_where(self, query: Mapping[str, Any], *, size: int, sort: str, **more: Any) -> list[Job]:
        return [Job.from_dict(hit["_source"]) for hit in self._search(self._jobs, query, size=size, sort=sort, **more)]


def _short(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of a job whose `error` the ledger can find: it has no keyword of what is longer (ledger.py)."""
    error = changes.get("error")
    return {**changes, "error": error[:_MOST_ERROR]} if isinstance(error, str) else dict(changes)


def _location(source: Mapping[str, Any] | None) -> str:
    return str((source or {}).get("location", ""))


def _summary(job: Job, tally: Tally) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in job.to_dict().items()
        if name not in ("source", "stamp", "reader", "handed", "beat", "judged_from", "first")
    }
    return {
        **kept,
        "state": str(job.state(tally)),
        **asdict(tally.counts),
        "pending": tally.counts.pending,
        "running_batches": tally.running,
    }


def _key_id(alias: str, key: str) -> str:
    return hashlib.sha256(f"{alias}\0{key}".encode()).hexdigest()
