"""Uploads that nobody will read: the process that kept them was lost before a job or a dry run took them over.

Also what is left of one whose reader, or whose job's deletion, was lost in the middle.
"""

from __future__ import annotations

import logging
from typing import Final

from triptych.catalogues import upload_of
from triptych.jobs.store import JobStore
from triptych.jobs.uploads import Uploads

log = logging.getLogger(__name__)

ORPHAN_SECONDS: Final = 86_400.0
"""Age at which an upload without a job is dropped. A dry run waits for an hour at most, and no clock is wrong by a day."""


def drop_orphans(jobs: JobStore, uploads: Uploads, *, seconds: float = ORPHAN_SECONDS) -> list[str]:
    """Delete the uploads older than `seconds` that no job reads or will read; their ids. Raises ElasticsearchError."""
    old = uploads.older_than(seconds)
    orphans = old - {upload_of(location) for location in jobs.unread_locations()} if old else old
    if orphans:  # the only reason to look through all keys
        orphans -= {upload_of(location) for location in jobs.half_made_locations()}
    for name in sorted(orphans):
        log.warning("the upload %s has no job; dropping it", name)
        uploads.forget(name)
    return sorted(orphans)
