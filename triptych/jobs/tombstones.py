"""The ledger's tombstones: which products a job found gone or deleted while older jobs on its index had not ended.

A product that is there says itself which job wrote it last; one that is gone says nothing, and an older job that comes late
would write it again. They are kept as long as several jobs run on an index, and cleared by the last of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from triptych.elastic.bulk import bulk_index
from triptych.elastic.engine import mget
from triptych.errors import ElasticsearchError
from triptych.jobs.batches import BatchStore
from triptych.jobs.job import Job, Wanted
from triptych.jobs.ledger import every, exists, term


class TombstoneStore(BatchStore):
    """Tombstones: which jobs need them, keep, find, clear."""

    def beside(self, job: Job, versions: Sequence[str] = ()) -> tuple[bool, bool]:
        """Whether older and whether newer jobs run or wait on the same index; of those that failed or were stopped only such as
        have a batch that is still worked on. `versions` are all versions of the index, where there are several: a job that
        carries documents into one of them, and so names it, says nothing new of them."""
        on = {"terms": {"index": list(versions or (job.index,))}}
        carrying = [{"terms": {"alias": list(versions)}}] if versions else []
        others = every(on, but=[exists("finished_at"), term("id", job.id), *carrying])
        found = self._search(self._jobs, others, size=1000, sort="id:desc", source_includes=["id", "error", "wanted"])
        jobs = [hit["_source"] for hit in found]
        idle = [one["id"] for one in jobs if one.get("error") is not None or one.get("wanted") == Wanted.STOP]
        still = self.tallies(idle) if idle else {}
        names = [one["id"] for one in jobs if one["id"] not in still or still[one["id"]].running]
        return any(name < job.id for name in names), any(name > job.id for name in names)

    def newer_ended(self, job: Job, versions: Sequence[str] = ()) -> bool:
        """Whether a newer job on the same index has ended before this one: what it deleted has a tombstone still."""
        on = {"terms": {"index": list(versions or (job.index,))}}
        ended = every(on, exists("finished_at"), {"range": {"id": {"gt": job.id}}})
        return bool(self._search(self._jobs, ended, size=1, sort="_doc", source=False))

    def keep_deleted(self, index: str, products: Iterable[str], job: str) -> None:
        """Remember that `job` wants these products of an index version gone. Raises ElasticsearchError."""
        entries = {_key(index, product): {"index": index, "job": job} for product in products}
        failed = [w for w in bulk_index(self._client, self._deleted, entries).values() if w.reason] if entries else []
        if failed:
            raise ElasticsearchError(f"A deletion could not be kept: {failed[0].reason}", code="ledger.refused")

    def deleted_by(self, versions: Sequence[str], products: Iterable[str]) -> dict[str, str]:
        """The job that last wanted each of these products gone from an index, of one or several versions; what no job does is
        left out."""
        keys = {_key(index, product): product for product in products for index in versions}
        found = mget(self._client, self._deleted, list(keys), includes=["job"]) if keys else {}
        last: dict[str, str] = {}
        for key, entry in found.items():
            last[keys[key]] = max(entry["job"], last.get(keys[key], ""))
        return last

    def clear_deleted(self, index: str) -> None:
        """Forget the tombstones of an index version, when no second job runs on it any more."""
        self._delete_all(self._deleted, term("index", index))


def _key(index: str, product: str) -> str:
    return hashlib.sha256(f"{index}\0{product}".encode()).hexdigest()
