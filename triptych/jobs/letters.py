"""The ledger's dead letters: kept with the whole record, listed, counted, and read out however many there are."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from triptych.domain import DeadLetter
from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import translated
from triptych.elastic.engine import close_point_in_time, open_point_in_time
from triptych.errors import ElasticsearchError
from triptych.jobs.job import Job
from triptych.jobs.ledger import Ledger, every, now, term
from triptych.logs import about

log = logging.getLogger(__name__)

_PAGE: Final = 50
"""Letters in one answer: each may hold a record of a megabyte."""

_ASKED: Final = 1000
"""Products looked for at once."""
_MOST_OF_ONE: Final = 1000
"""Letters of one record: each of its media may leave one, and one for its being written."""

_KEPT: Final = "10m"
_MOST_BYTES: Final = 20_000_000
"""Of one bulk request."""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are meant: those with all the values given; None: any."""

    code: str | None = None
    stage: str | None = None
    modality: str | None = None
    product: str | None = None

    def to_query(self, job: str) -> dict[str, Any]:
        fields = {"code": self.code, "stage": self.stage, "modality": self.modality, "product_id": self.product}
        return every(term("job", job), *(term(name, value) for name, value in fields.items() if value is not None))


ALL: Final = LetterFilter()


class LetterStore(Ledger):
    """Dead letters: bury, unbury, list, count, export."""

    def bury(self, job: Job, letters: Sequence[DeadLetter], *, attempt: int) -> None:
        """Keep dead letters. Their ids say which they are, so that a batch done twice buries none twice."""
        own = {"job": job.id, "index": job.alias, "attempt": attempt, "at": now()}
        some: dict[str, dict[str, Any]] = {}
        size = 0
        for letter in letters:
            _say(letter)
            some[letter_id(job.id, letter)] = {**asdict(letter), **own}
            size += len(letter.record or "") + 500
            if size > _MOST_BYTES:
                self._keep(some)
                some, size = {}, 0
        self._keep(some)

    def unbury(self, job: str, lines: Sequence[int]) -> None:
        """Drop the dead letters of the records of these lines: another attempt at their batch left them."""
        self._delete_all(self._dead, every(term("job", job), {"terms": {"line": list(lines)}}))

    def _keep(self, entries: dict[str, dict[str, Any]]) -> None:
        failed = [w for w in bulk_index(self._client, self._dead, entries).values() if w.reason] if entries else []
        if failed:
            raise ElasticsearchError(f"A dead letter could not be kept: {failed[0].reason}", code="ledger.refused")

    def dead_letters(self, job: str, *, which: LetterFilter = ALL, size: int = 1000) -> list[dict[str, Any]]:
        """The dead letters of a job in the catalogue's order, at most `size`, without their records."""
        self._refresh(self._dead)
        hits = self._search(self._dead, which.to_query(job), size=size, sort="line:asc", source_excludes=["record"])
        return [hit["_source"] for hit in hits]

    def dead_before(self, aliases: Sequence[str], job: str, products: Sequence[str]) -> dict[str, str]:
        """Of each of these products the latest job older than `job` that has a dead letter of it; others are left out.

        Letters of the latest second may not be seen, unless their job has ended.
        """
        found: dict[str, str] = {}
        for start in range(0, len(products), _ASKED):
            some = list(products[start : start + _ASKED])
            query = every({"terms": {"index": list(aliases)}}, {"terms": {"product_id": some}}, {"range": {"job": {"lt": job}}})
            latest = self._search(
                self._dead, query, size=len(some), sort="job:desc", collapse={"field": "product_id"},
                source_includes=["product_id", "job"],
            )  # fmt: skip
            found |= {hit["_source"]["product_id"]: hit["_source"]["job"] for hit in latest}
        return found

    def oldest_dead(self, aliases: Sequence[str]) -> str | None:
        """The oldest job that has a dead letter of an index, None where there is no letter. All that are kept are seen."""
        self._refresh(self._dead)
        query = every({"terms": {"index": list(aliases)}})
        hits = self._search(self._dead, query, size=1, sort="job:asc", source_includes=["job"])
        return str(hits[0]["_source"]["job"]) if hits else None

    def letters_at(self, job: str, line: int) -> list[dict[str, Any]]:
        """The dead letters of the record of one line of a job, without the record."""
        self._refresh(self._dead)
        at = every(term("job", job), term("line", line))
        hits = self._search(self._dead, at, size=_MOST_OF_ONE, sort="at:asc", source_excludes=["record"])
        return [hit["_source"] for hit in hits]

    def reasons(self, job: str, *, which: LetterFilter = ALL) -> list[dict[str, Any]]:
        """How many dead letters there are of each `code`, `stage` and `modality` (None: the whole record), most first."""
        names = ("code", "stage", "modality")
        sources = [{name: {"terms": {"field": name, "missing_bucket": name == "modality"}}} for name in names]
        by = {"size": 1000, "sources": sources}
        self._refresh(self._dead)
        with translated():
            answer = self._client.search(
                index=self._dead, query=which.to_query(job), size=0, aggs={"reasons": {"composite": by}}
            )
        found = [{**b["key"], "letters": b["doc_count"]} for b in answer["aggregations"]["reasons"]["buckets"]]
        return sorted(found, key=lambda row: (-row["letters"], row["code"]))

    def all_letters(self, job: str, *, which: LetterFilter = ALL) -> Iterator[dict[str, Any]]:
        """Every dead letter of a job with its whole record, in the catalogue's order, as they are now.

        `record` is None where the record itself could not be read (too long, not UTF-8).
        """
        self._refresh(self._dead)
        pit = open_point_in_time(self._client, self._dead, seconds=600)
        after: dict[str, Any] = {}
        try:
            while True:
                with translated():
                    answer = self._client.search(
                        pit={"id": pit, "keep_alive": _KEPT},
                        query=which.to_query(job),
                        size=_PAGE,
                        sort=[{"line": "asc"}, {"_shard_doc": "asc"}],
                        track_total_hits=False,
                        **after,
                    )
                hits = answer["hits"]["hits"]
                yield from (hit["_source"] for hit in hits)
                if len(hits) < _PAGE:
                    return
                after = {"search_after": hits[-1]["sort"]}
        finally:
            close_point_in_time(self._client, pit)

    def dead_records(self, job: str, *, which: LetterFilter = ALL) -> Iterator[dict[str, Any]]:
        """One dead letter for each record that has any, in the catalogue's order, as `all_letters` gives them."""
        line = None
        for letter in self.all_letters(job, which=which):
            if letter["line"] != line:
                line = letter["line"]
                yield letter


def _say(letter: DeadLetter) -> None:
    """One line of the log, which names the product; job and batch are put on it by whoever works on them."""
    with about(**({} if letter.product_id is None else {"product": letter.product_id}), line=letter.line):
        log.info("dead letter: %s (%s)", " ".join(letter.message.split())[:500], letter.code)


def usable(letter: dict[str, Any]) -> bool:
    """Whether a letter's record can be submitted again: it is there, and as the catalogue had it."""
    if not letter.get("record") or letter["stage"] == "read":
        return False
    try:
        return isinstance(orjson.loads(letter["record"]), dict)
    except orjson.JSONDecodeError:
        return False


def letter_id(job: str, letter: DeadLetter) -> str:
    """`_id` of a dead letter: the same part of the same record at the same stage has one."""
    part = f"{letter.modality or 'record'}-{letter.reference or ''}-{letter.stage}"
    return f"{job}-{letter.line}-{uuid.uuid5(uuid.NAMESPACE_OID, part).hex[:12]}"
