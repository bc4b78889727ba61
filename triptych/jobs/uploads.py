"""Catalogues that were sent over HTTP, kept in Elasticsearch until their job has read them.

Any worker may read an upload, on any machine, and begin again after a fault; Elasticsearch is the durable store at hand
(docs/adr/0001). One index, `<prefix>uploads`; an upload is so many documents of at most PART bytes, in base64.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import re
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from triptych.elastic import own
from triptych.elastic.client import Client, translated
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.jobs.ledger import STAMP
from triptych.settings import Settings

PART: Final = 4_000_000
"""Bytes of one document: with base64 far below the 100 MB that Elasticsearch takes in a request."""

_KEPT_PARTS: Final = 6
"""Parts held while an upload is read: a table by columns goes to and fro in it."""

_BUFFER: Final = 1 << 16
_MOST: Final = 1000

_STAMPED: Final = re.compile(r"\d{8}t\d{6}-[0-9a-f]{32}")
"""The id of an upload: when it was kept, in UTC, and what makes it unique."""

_MAPPING: Final[dict[str, Any]] = {
    "dynamic": False,
    "properties": {"upload": {"type": "keyword"}, "number": {"type": "integer"}, "data": {"type": "binary"}},
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A catalogue that was kept."""

    id: str
    bytes: int


def too_large(most: int) -> InputError:
    """The error of a catalogue that has more bytes than may be sent."""
    return InputError(
        f"The catalogue has more than the {most} bytes allowed.",
        code="upload.too_large",
        field="catalogue",
        remedy="Give its address in place of the file, or raise TRIPTYCH_UPLOAD_BYTES.",
    )


class Uploads:
    """Keeps and reads uploads. The client is safe to share between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._most = client, settings.upload_bytes
        self._index = f"{settings.system_prefix}uploads"

    def keep(self, stream: BinaryIO) -> Upload:
        """Keep what `stream` gives. Raises InputError `upload.empty` or `upload.too_large`, and then keeps nothing of it."""
        own.ensure(self._client, self._index, _MAPPING)
        name, total = f"{dt.datetime.now(dt.UTC):{STAMP}}-{uuid.uuid4().hex}", 0
        try:
            for number, data in enumerate(iter(lambda: _filled(stream), b"")):
                total += len(data)
                self._check(total)
                part = {"upload": name, "number": number, "data": base64.b64encode(data).decode("ascii")}
                with translated():
                    self._client.index(index=self._index, id=_part_id(name, number), document=part)
            self._check(total)
        except BaseException:
            self.forget(name)
            raise
        return Upload(name, total)

    def _check(self, total: int) -> None:
        if not total:
            raise InputError("The catalogue is empty.", code="upload.empty", field="catalogue")
        if total > self._most:
            raise too_large(self._most)

    def open(self, name: str) -> BinaryIO:
        """The bytes of an upload, as a stream that can be sought in and holds a few parts at a time.

        Reading raises NotFoundError `upload.not_found`.
        """
        return cast("BinaryIO", io.BufferedReader(_Parts(self, name), _BUFFER))

    def part(self, name: str, number: int) -> bytes | None:
        """One part; None behind the last."""
        try:
            with translated():
                found = self._client.get(index=self._index, id=_part_id(name, number))
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                return None
            raise
        return base64.b64decode(found["_source"]["data"])

    def parts(self, name: str) -> int:
        """How many parts an upload has, 0 where there is none."""
        with translated():
            self._client.indices.refresh(index=self._index, ignore_unavailable=True)
            found = self._client.count(index=self._index, query={"term": {"upload": name}}, ignore_unavailable=True)
        return int(found["count"])

    def older_than(self, seconds: float) -> set[str]:
        """Uploads that were kept so long ago, by the clocks of those who kept them and of this machine; some of them."""
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
        with translated():
            answer = self._client.search(
                index=self._index,
                size=0,
                query={"range": {"upload": {"lt": f"{before:{STAMP}}"}}},
                aggs={"uploads": {"terms": {"field": "upload", "size": _MOST, "order": {"_key": "desc"}}}},
                ignore_unavailable=True,
            )
        found = answer.body.get("aggregations", {}).get("uploads", {}).get("buckets", [])
        return {bucket["key"] for bucket in found if _STAMPED.fullmatch(bucket["key"])}  # older versions' have no time

    def forget(self, name: str) -> None:
        """Delete an upload; one that is gone is no error."""
        number = self.parts(name)
        with translated():
            client = self._client.options(ignore_status=404)
            for part in reversed(range(number)):  # the first goes last: while one is left, all those before it are
                client.delete(index=self._index, id=_part_id(name, part))


def _part_id(name: str, number: int) -> str:
    return f"{name}-{number:06d}"


def _filled(stream: BinaryIO) -> bytes:
    """The next PART bytes, fewer at the end: a stream of a socket gives less than it is asked for."""
    data = b""
    while len(data) < PART and (more := stream.read(PART - len(data))):
        data += more
    return data


class _Parts(io.RawIOBase):
    """The bytes of an upload. All parts but the last are as long as the first; the latest few are kept."""

    def __init__(self, uploads: Uploads, name: str) -> None:
        self._uploads, self._name = uploads, name
        self._place = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._each = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence)
        place = offset + (self._size() if start is None else start)
        if place < 0:
            raise ValueError("before the beginning")
        self._place = place
        return place

    def readinto(self, buffer: Any) -> int:
        self._begin()
        number, at = divmod(self._place, self._each)
        data = memoryview(self._part(number) or b"")[at:]
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        self._place += count
        return count

    def _begin(self) -> None:
        if self._each:
            return
        first = self._part(0)
        if first is None:
            raise NotFoundError(
                "The upload is no longer there.", code="upload.not_found", field="catalogue", remedy="Send it again."
            )
        self._each = len(first)

    def _size(self) -> int:
        self._begin()
        last = self._uploads.parts(self._name) - 1
        return last * self._each + len(self._part(last) or b"")

    def _part(self, number: int) -> bytes | None:
        if number not in self._kept:
            data = self._uploads.part(self._name, number)
            if data is None:
                return None
            self._kept[number] = data
            if len(self._kept) > _KEPT_PARTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]
