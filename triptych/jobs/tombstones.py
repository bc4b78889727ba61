"""The ledger's tombstones: which products a job found gone or deleted that an older one may still write.

A product that is there says itself which job wrote it last; one that is gone says nothing, and an older job that comes late
would write it again. They are kept as long as such a job, or a dead letter of one, is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import translated
from triptych.elastic.engine import mget
from triptych.errors import ElasticsearchError
from triptych.jobs.batches import BatchStore
from triptych.jobs.forgetting import Forgetting
from triptych.jobs.job import Job, Tally
from triptych.jobs.ledger import every, exists, term

_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Beside:
    """The other jobs of an index as one of them sees them.

    `older` is the greatest id of the older ones that may still write, be it after somebody resumed them; "" where there is
    none. `newer`: there are newer ones, in whatever state, or were. `alone`: none of them, older or newer, may still write.
    """

    older: str = ""
    newer: bool = False
    alone: bool = True


class TombstoneStore(BatchStore, Forgetting):
    """Tombstones: which jobs need them, keep, find, clear."""

    def beside(self, job: Job, versions: Sequence[str] = ()) -> Beside:
        """The other jobs on the same index.

        `versions` are all versions of the index, where there are several: a job that carries documents into one of them, and so
        names it, says nothing new of them.
        """
        on = {"terms": {"index": list(versions or (job.index,))}}
        carrying = [{"terms": {"alias": list(versions)}}] if versions else []
        with translated():
            answer = self._client.search(
                index=self._jobs,
                query=every(on, but=[term("id", job.id), *carrying]),
                post_filter=every(but=[exists("finished_at")]),
                aggs={"newer": {"filter": {"range": {"id": {"gt": job.id}}}}},
                size=_MOST,
                sort="id:desc",
                source_excludes=["source"],
            )
        found = [Job.from_dict(hit["_source"]) for hit in answer["hits"]["hits"]]
        idle = [one.id for one in found if not one.may_write(Tally())]
        tallies = self.tallies(idle) if idle else {}
        may = [one.id for one in found if one.may_write(tallies.get(one.id, Tally()))]
        newer = answer["aggregations"]["newer"]["doc_count"] > 0 or self.last_forgotten(job.alias) > job.id
        return Beside(max((name for name in may if name < job.id), default=""), newer, alone=not may)

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

    def clear_deleted(self, index: str, *, until: str | None = None) -> None:
        """Forget the tombstones of an index version, of jobs up to `until` or of all, as no older job may come any more."""
        up_to = [] if until is None else [{"range": {"job": {"lte": until}}}]
        self._delete_all(self._deleted, every(term("index", index), *up_to))


def _key(index: str, product: str) -> str:
    return hashlib.sha256(f"{index}\0{product}".encode()).hexdigest()
