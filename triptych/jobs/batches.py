"""The ledger's batches: who works on which, and what came of it.

An entry says how a batch stands, and once it is done how each of its records ended, a letter each. Its records lie beside it,
in another index, until it is done, and after that their lines and their products' ids: a worker's sign of life rewrites the
entry and not a megabyte of records. No entry holds a time that another machine would have to believe: whether a
worker still lives is seen from its entry changing (`watch`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, Final

from triptych.closing import until_closed
from triptych.domain import Outcome
from triptych.elastic.client import translated
from triptych.elastic.scan import scan
from triptych.errors import ElasticsearchError, TriptychError
from triptych.jobs.claims import Claim, Read, Whole, at_once
from triptych.jobs.job import Batch, BatchState, Counts, DeadRows, EndedBatch, Tally, batch_id
from triptych.jobs.ledger import Entry, Ledger, every, exists, term
from triptych.jobs.packing import packed, unpacked
from triptych.jobs.places import LETTERS
from triptych.jobs.routing import named, opened

_MOST_SEEN: Final = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch's entry as a sweeper saw it: it is the same one as long as `seq_no` is."""

    job: str
    number: int
    entry: Entry

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def batch(self) -> Batch:
        """What its message is sent by: the batch without its records."""
        return _unfilled(self.entry.source)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a catalogue is entered: the number of the next batch, and the last line that is in one."""

    number: int = 0
    line: int = 0


class BatchStore(Ledger):
    """Batches: enter, claim, give back, finish, count."""

    def add(self, batch: Batch, body: str | None = None) -> None:
        """Enter a batch, before its message is sent. Raises TriptychError (`job.taken_over`) if there is one of that number.

        `body` names its records, and by that this entry: whoever tries again after an error gives the same.
        """
        body = body or uuid.uuid4().hex
        self._create(self._records, body, {**_named(batch), "packed": packed(batch.records)})
        entry = {
            "job": batch.job, "number": batch.number, "state": BatchState.QUEUED, "attempts": 0, "body": body,
            "kind": batch.kind, "priority": batch.priority,
            "last_line": batch.records[-1]["line"] if batch.records else 0, **asdict(Counts(read=len(batch.records))),
        }  # fmt: skip
        if not self._create(self._batches, batch.id, entry):
            if self._read(self._batches, batch.id).source.get("body") == body:
                return  # it is this one: the answer to the first try was lost, and the client tried again
            self._drop_records(body)
            raise taken_over(batch.job)

    def position(self, job: str) -> Position:
        """How far the catalogue of `job` is entered."""
        self._refresh(self._batches)
        hits = self._search(
            self._batches, term("job", job), size=1, sort="number:desc", source_includes=["number", "last_line"]
        )
        return Position(hits[0]["_source"]["number"] + 1, hits[0]["_source"]["last_line"]) if hits else Position()

    def claim(self, job: str, number: int, owner: str, begun: Callable[[Read], Read] = at_once) -> Claim | None:
        """Take a batch that is queued; None if it is done or somebody has it. Whether its job runs is for the caller to see.

        `begun` is given what reads the records, and gives what waits for them: they may be read while the caller does something
        else.
        """
        found = self._read(self._batches, batch_id(job, number))
        entry = found.source
        if entry["state"] != BatchState.QUEUED:
            return None
        attempts = entry["attempts"] + 1
        changes = {"state": BatchState.RUNNING, "owner": owner, "attempts": attempts, "beat": 0}
        buried = attempts > 1 or bool(entry.get("buried"))
        batch = replace(
            _unfilled(entry), attempts=attempts, failure=entry.get("failure"), progress=entry.get("progress"),
            deleting=tuple(entry.get("deleting") or ()),
        )  # fmt: skip
        whole = begun(lambda: self._filled(batch, entry))
        until = self._lease_end()
        taken = self._write(self._batches, found, changes)
        return Claim(job, number, attempts, owner, taken, until, whole, buried) if taken is not None else None

    def _lease_end(self) -> float:
        """Until when an entry stays this process's that it writes now: half a lease from before the write is asked for.

        A sweeper gives a batch back when it saw the same entry for a whole lease of its own clock; the other half is for a
        clock that runs slower, and for what is done after looking.
        """
        return time.monotonic() + self._settings.batch_lease_seconds / 2

    def holds(self, claim: Claim) -> bool:
        """Whether the batch is this process's still. Asks nobody as long as a sign of life is young enough to tell."""
        return time.monotonic() < claim.until or self.renew(claim)

    def renew(self, claim: Claim) -> bool:
        """The worker's sign of life; False if the batch was given to another worker."""
        return self._change_own(claim, lambda entry: {"beat": entry.get("beat", 0) + 1})

    def release(self, claim: Claim) -> bool:
        """Give an unfinished batch back, so that the next message may start it at once; it does not count as an attempt."""
        changes = {"state": BatchState.QUEUED, "attempts": claim.attempts - 1, "buried": claim.buried}
        released = self._change_own(claim, lambda _: changes)
        with claim.lock:
            claim.entry, claim.until = None, 0.0  # whoever asks now is told that it is not ours any more
        return released

    def note(self, claim: Claim, reason: str) -> bool:
        """Keep why an attempt at a batch failed, for the dead letters if no later one succeeds."""
        return self._change_own(claim, lambda _: {"failure": reason[:500]})

    def keep(self, claim: Claim, progress: Mapping[str, Any]) -> bool:
        """Keep how far a batch came that is worked on record by record. False if another worker has it."""
        return self._change_own(claim, lambda entry: {"progress": progress, "beat": entry.get("beat", 0) + 1})

    def keep_deleting(self, claim: Claim, lines: Collection[int]) -> bool:
        """Keep which lines' products are about to be deleted: when they are gone, nothing else tells another attempt by whom.

        False if another worker has the batch.
        """
        return self._change_own(claim, lambda entry: {"deleting": sorted({*(entry.get("deleting") or ()), *lines})})

    def finish(self, claim: Claim, counts: Counts, outcomes: Sequence[Outcome]) -> bool:
        """Mark a batch done with its counts and the outcomes of its records, in order. False if another worker has it and
        counts it.
        """
        ends = {"ends": "".join(LETTERS[outcome] for outcome in outcomes), "dead_rows": astuple(DeadRows.of(outcomes))}
        nothing: dict[str, Any] = {"records": [], "progress": None, "deleting": None}
        changes = {"state": BatchState.DONE, **nothing, **ends, **asdict(counts)}
        return self._change_own(claim, lambda _: changes)

    def keep_names(self, claim: Claim) -> None:
        """Keep of a done batch's records their lines and their products. Where that is not reached, the whole records stay."""
        whole = claim.whole()
        if whole.records is not None:
            self._write(self._records, whole.records, _named(whole.batch))  # not of a job forgotten since

    def give_back(self, seen: Seen) -> bool:
        """Take a batch from a worker that gives no sign of life, unless it gave one since `seen`. The attempt counts."""
        return self._write(self._batches, seen.entry, {"state": BatchState.QUEUED, "owner": None}) is not None

    def forget(self, job: str, number: int) -> None:
        """Drop a batch whose job was deleted; one that is gone too is no error."""
        with translated():
            self._client.options(ignore_status=404).delete(index=self._batches, id=batch_id(job, number))

    def running(self) -> list[Seen]:
        """Batches somebody works on, those first that have not changed for longest; at most 1000."""
        return self._seen(every(term("state", BatchState.RUNNING)))

    def queued(self, jobs: Sequence[str], kinds: Collection[str]) -> list[Seen]:
        """Batches of `jobs` and `kinds` nobody works on, those first that have not changed for longest; at most 1000."""
        if not jobs or not kinds:
            return []
        of_older_versions = every(but=[exists("kind")])  # their entries' kinds cannot be searched for
        of_kinds = {"bool": {"should": [{"terms": {"kind": list(kinds)}}, of_older_versions]}}
        found = self._seen(every(term("state", BatchState.QUEUED), {"terms": {"job": list(jobs)}}, of_kinds))
        return [one for one in found if one.batch.kind in kinds]

    def queued_of(self, job: str) -> Generator[Batch, None, None]:
        """All queued batches of a job, however many, without their records. Whoever may not come to the end closes it."""
        self._refresh(self._batches)
        query = every(term("job", job), term("state", BatchState.QUEUED))
        hits = scan(self._client, self._batches, query=query, excludes=("records",))
        return until_closed((_unfilled(hit["_source"]) for hit in hits), hits.close)

    def tallies(self, jobs: Sequence[str]) -> dict[str, Tally]:
        """Counters and running batches of each of `jobs`, exact at this moment."""
        sums: dict[str, Any] = {name: {"sum": {"field": name}} for name in Counts.__dataclass_fields__}
        each = {**sums, "running": {"filter": term("state", BatchState.RUNNING)}}
        by_job = {"jobs": {"terms": {"field": "job", "size": max(len(jobs), 1)}, "aggs": each}}
        self._refresh(self._batches)
        with translated():
            answer = self._client.search(index=self._batches, query={"terms": {"job": list(jobs)}}, size=0, aggs=by_job)
        found = {
            bucket["key"]: Tally(
                Counts(**{name: int(bucket[name]["value"]) for name in sums}), int(bucket["running"]["doc_count"])
            )
            for bucket in answer["aggregations"]["jobs"]["buckets"]
        }
        return {job: found.get(job, Tally()) for job in jobs}

    def totals(self) -> Counts:
        """Counters over all jobs of the ledger, as of Elasticsearch's last refresh."""
        names = tuple(Counts.__dataclass_fields__)
        sums = {name: {"sum": {"field": name}} for name in names}
        with translated():
            answer = self._client.search(index=self._batches, size=0, aggs=sums, ignore_unavailable=True)
        found = answer.body.get("aggregations", {})
        return Counts(**{name: int(found.get(name, {}).get("value") or 0) for name in names})

    def tally(self, job: str) -> Tally:
        """The job's counters and running batches, exact at this moment."""
        return self.tallies([job])[job]

    def counts(self, job: str) -> Counts:
        """The job's counters, exact at this moment."""
        return self.tally(job).counts

    def latest(self, job: str, *, after: int, size: int) -> tuple[list[EndedBatch], int, int]:
        """What the breaker judges by: the latest done batches, all dead records, and the place of the latest change.

        Only changes after the place `after` in the ledger's order are taken; it is the order of the index's one shard.
        """
        self._refresh(self._batches)
        query = every(term("job", job), term("state", BatchState.DONE), {"range": {"_seq_no": {"gt": after}}})
        with translated():
            answer = self._client.search(
                index=self._batches,
                query=query,
                size=min(size, _MOST_SEEN),
                sort="_seq_no:desc",
                source_includes=["number", "dead_rows", *Counts.__dataclass_fields__],
                seq_no_primary_term=True,
                aggs={"dead": {"sum": {"field": "dead"}}},
            )
        hits = answer["hits"]["hits"]
        place = hits[0]["_seq_no"] if hits else after
        return [_ended(hit["_source"]) for hit in hits], int(answer["aggregations"]["dead"]["value"]), place

    def _seen(self, query: Mapping[str, Any]) -> list[Seen]:
        self._refresh(self._batches)
        hits = self._search(self._batches, query, size=_MOST_SEEN, sort="_seq_no:asc", seq_no_primary_term=True)
        return [
            Seen(
                hit["_source"]["job"],
                hit["_source"]["number"],
                Entry(hit["_id"], hit["_source"], hit["_seq_no"], hit["_primary_term"]),
            )
            for hit in hits
        ]

    def _filled(self, batch: Batch, entry: Mapping[str, Any]) -> Whole:
        """A batch with its records and their products' ids; the ids are not known of one that an older version entered."""
        if not entry.get("body"):
            return Whole(replace(batch, records=tuple(entry["records"])), None)
        found = self._read(self._records, entry["body"])
        whole = found.source
        records = unpacked(whole["packed"]) if "packed" in whole else tuple(whole["records"])  # an older version packed nothing
        place = Entry(found.id, {}, found.seq_no, found.primary_term)  # the packed records need not stay in memory
        return Whole(replace(batch, records=records, products=tuple(whole.get("products", ()))), place)

    def _drop_records(self, body: str) -> None:
        try:
            with translated():
                self._client.delete(index=self._records, id=body)
        except ElasticsearchError as error:
            if error.code != "elasticsearch.not_found":
                raise

    def _change_own(self, claim: Claim, decide: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bool:
        """Change a batch this process has; False if it has it no more."""

        def mine(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            ours = entry["state"] == BatchState.RUNNING and entry["owner"] == claim.owner
            return dict(decide(entry)) if ours else None

        with claim.lock:
            until = self._lease_end()
            if claim.entry is not None:
                claim.entry = self._write(self._batches, claim.entry, decide(claim.entry.source))
            changed = claim.entry is not None or self._change(self._batches, batch_id(claim.job, claim.number), mine)
            claim.until = until if changed else 0.0
            return changed


def _unfilled(entry: Mapping[str, Any]) -> Batch:
    """The batch of an entry, without its records. Entries of older versions say neither kind nor priority."""
    known = {name: entry[name] for name in ("kind", "priority") if name in entry}
    return Batch(entry["job"], entry["number"], (), **known)


def _named(batch: Batch) -> dict[str, Any]:
    """What stays known of a batch's records: their lines and their products."""
    lines = [record["line"] for record in batch.records]
    return {"job": batch.job, "number": batch.number, "products": _names(batch), "lines": lines}


def _names(batch: Batch) -> list[str | None]:
    """The ids of a batch's products, in order."""
    return list(batch.products) or [named(raw, opened(raw)) for raw in batch.records]


def _ended(entry: Mapping[str, Any]) -> EndedBatch:
    """A done batch of its entry. Those of older versions do not say which of their records died, unless all did."""
    counts = Counts(**{name: entry[name] for name in Counts.__dataclass_fields__})
    all_dead = counts.dead if counts.dead == counts.ended else 0
    return EndedBatch(entry["number"], counts, DeadRows(*entry.get("dead_rows", [all_dead] * 3)))


def taken_over(job: str) -> TriptychError:
    """The error of a reader whose catalogue another process reads on."""
    return TriptychError(f"Another process reads the catalogue of job {job} now.", code="job.taken_over")
