"""Media by reference: a file beside the catalogue, a `data:` URI, a URL, or an object in a bucket.

    reference -> its kind -> the digest of its bytes (a conditional request: an unchanged one is not fetched)
                          -> its bytes, when they must be embedded (from the spool, if the digest needed them already)

Files are read for their digests and, beyond the first HELD_BYTES, again when they are decoded. What comes over the network is
fetched by a few threads, as a batch waits mostly for servers, and is spooled on disk: memory holds one medium per thread. A
batch has a bound of time for all its media together: many hosts that drip must not hold it for hours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import redis

from triptych.domain import Media
from triptych.errors import MediaError
from triptych.media.data_uri import decode_data_uri, is_data_uri
from triptych.media.fetch import fetch
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.buckets import BUCKETS, Buckets
from triptych.media.remote.deadline import Deadline
from triptych.media.remote.known import Known, KnownMedia
from triptych.media.remote.slots import Slots
from triptych.media.remote.spool import Spool
from triptych.media.remote.urls import HTTP_PORTS, scheme_of
from triptych.media.remote.web import Fetched, Web
from triptych.settings import Settings

HELD_BYTES = 8_000_000
"""Bytes of a batch's files that are held from their digest until they are decoded. To read one again takes .2 ms."""

AT_ONCE = 8
"""Media of a batch fetched at once, from all hosts together."""


class Source(Protocol):
    """Where media come from over the network."""

    def get(self, reference: str, known: Known | None, until: Deadline) -> Fetched | None:
        """The bytes; None if they are those of `known`. Waits for others' requests and hosts' rests at most `until`.

        Raises MediaError.
        """


class Fetcher:
    """Fetches media. Share one between threads; it keeps what hosts asked for and how they did."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self.settings = settings
        self.known = KnownMedia(client, settings)
        allowed = Allowed.of(settings)
        web, buckets = Web(settings, allowed, Slots(client, settings)), Buckets(settings, allowed)
        self._sources: dict[str, Source] = {**dict.fromkeys(HTTP_PORTS, web), **dict.fromkeys(BUCKETS, buckets)}

    @contextmanager
    def batch(self, root: Path) -> Iterator[BatchMedia]:
        """The media of one batch whose files lie under `root`; what was spooled of them is gone afterwards."""
        with Spool(self.settings.fetch_spool_bytes) as spool:
            yield BatchMedia(self, root, spool)

    def source(self, media: Media) -> Source | None:
        """Where a medium comes from; None for files and `data:` URIs, which are here."""
        return self._sources.get(scheme_of(media.reference) or "")


class BatchMedia:
    """The media of one batch: their digests, then the bytes of those that must be embedded."""

    def __init__(self, fetcher: Fetcher, root: Path, spool: Spool) -> None:
        self._fetcher, self._root, self._spool = fetcher, root, spool
        self._left = fetcher.settings.fetch_batch_seconds
        self._held: dict[Media, bytes] = {}
        self._room = 0

    def digests(self, media: Iterable[Media]) -> dict[Media, str | MediaError]:
        """The sha256 of each medium's bytes, or why it cannot be had. Those of the network are fetched side by side."""
        self._held, self._room = {}, HELD_BYTES  # of the piece before, what nobody decoded
        wanted = list(dict.fromkeys(media))
        remote = [one for one in wanted if self._fetcher.source(one) is not None]
        found = {one: self._digest(one) for one in wanted if self._fetcher.source(one) is None}
        if remote:
            threads = ThreadPoolExecutor(min(AT_ONCE, len(remote)), thread_name_prefix="fetch")
            with self._counted() as deadline, threads as pool, _ended_early(deadline):
                found.update(zip(remote, pool.map(lambda one: self._digest(one, deadline), remote), strict=True))
        return found

    @contextmanager
    def _counted(self) -> Iterator[Deadline]:
        """What is fetched in the block takes of the batch's time; the deadline is when that is used up."""
        deadline = Deadline(self._left)
        try:
            yield deadline
        finally:
            self._left = deadline.left

    def data(self, media: Media) -> bytes:
        """The bytes of a medium. Raises MediaError, whose `field` is the modality."""
        source = self._fetcher.source(media)
        try:
            if source is None:
                return self._held.pop(media, None) or self._local(media)
            spooled = self._spool.get(media.reference)
            if spooled is not None:
                return spooled
            with self._counted() as deadline:
                self._check_time(media, deadline)
                return self._keep(media, source.get(media.reference, None, deadline)).data
        except MediaError as error:
            error.field = media.modality
            raise

    def _check_time(self, media: Media, deadline: Deadline) -> None:
        if deadline.left <= 0:
            raise MediaError(
                f"{media.reference[:200]!r} was not fetched: the media of its batch took more than "
                f"{self._fetcher.settings.fetch_batch_seconds:g} s together.",
                code="media.batch_timeout",
                remedy="Redrive it later, or raise TRIPTYCH_FETCH_BATCH_SECONDS.",
                retryable=True,
            )

    def _digest(self, media: Media, deadline: Deadline | None = None) -> str | MediaError:
        source = self._fetcher.source(media)
        try:
            if source is None:
                return _sha256(self._hold(media, self._local(media)))
            deadline = deadline or Deadline(self._left)
            self._check_time(media, deadline)
            known = self._fetcher.known.get(media.reference)
            got = source.get(media.reference, known, deadline)
            if got is None and known is not None:
                self._fetcher.known.put(media.reference, known)  # used now: not the oldest any more
                return known.sha256
            return _sha256(self._keep(media, got).data)
        except MediaError as error:
            error.field = media.modality
            return error

    def _local(self, media: Media) -> bytes:
        most = self._fetcher.settings.media_bytes
        if is_data_uri(media.reference):
            return decode_data_uri(media.reference, most_bytes=most)
        return fetch(media, root=self._root, most_bytes=most)

    def _hold(self, media: Media, data: bytes) -> bytes:
        """Hold the bytes for whoever decodes them, if there is room."""
        if len(data) <= self._room:
            self._held[media] = data
            self._room -= len(data)
        return data

    def _keep(self, media: Media, got: Fetched | None) -> Fetched:
        """Spool what was fetched, and remember it for the next job."""
        if got is None:  # only what is known can be unchanged
            raise MediaError(f"{media.reference[:200]!r} gave nothing.", code="media.empty")
        self._spool.put(media.reference, got.data)
        known = Known(_sha256(got.data), got.place, got.etag, got.last_modified)
        self._fetcher.known.put(media.reference, known)
        return got


@contextmanager
def _ended_early(deadline: Deadline) -> Iterator[None]:
    """Where the block is cut off (the worker must stop, the batch's time is up), its threads wait for no host any more."""
    try:
        yield
    except BaseException:
        deadline.end()
        raise


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
