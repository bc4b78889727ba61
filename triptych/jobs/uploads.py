"""Catalogues that were sent over HTTP, kept in Elasticsearch until their job has read them.

Any worker may read an upload, on any machine, and begin again after a fault; Elasticsearch is the durable store at hand
(docs/adr/0001). One index, `<prefix>uploads`; an upload is so many documents of at most PART bytes, in base64.
"""

from __future__ import annotations

import base64
import io
import uuid
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from triptych.elastic.client import Client, translated
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.settings import Settings

PART: Final = 4_000_000
"""Bytes of one document: with base64 far below the 100 MB that Elasticsearch takes in a request."""

_MAPPING: Final[dict[str, Any]] = {
    "dynamic": False,
    "properties": {"upload": {"type": "keyword"}, "number": {"type": "integer"}, "data": {"type": "binary"}},
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A catalogue that was kept."""

    id: str
    bytes: int


class Uploads:
    """Keeps and reads uploads. The client is safe to share between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._most = client, settings.upload_bytes
        self._index = f"{settings.system_prefix}uploads"

    def keep(self, stream: BinaryIO) -> Upload:
        """Keep what `stream` gives. Raises InputError `upload.empty` or `upload.too_large`, and then keeps nothing of it."""
        self._prepare()
        name, total = uuid.uuid4().hex, 0
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
            raise InputError(
                f"The catalogue has more than the {self._most} bytes allowed.",
                code="upload.too_large",
                field="catalogue",
                remedy="Give its address in place of the file, or raise TRIPTYCH_UPLOAD_BYTES.",
            )

    def open(self, name: str) -> BinaryIO:
        """The bytes of an upload, as a stream that holds one part at a time. Raises NotFoundError `upload.not_found`."""
        return cast("BinaryIO", io.BufferedReader(_Parts(self, name), PART))

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

    def forget(self, name: str) -> None:
        """Delete an upload; one that is gone is no error."""
        with translated():
            client, number = self._client.options(ignore_status=404), 0
            while client.delete(index=self._index, id=_part_id(name, number)).get("result") == "deleted":
                number += 1

    def _prepare(self) -> None:
        try:
            with translated():
                if not self._client.indices.exists(index=self._index):
                    shards = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
                    self._client.indices.create(index=self._index, settings=shards, mappings=_MAPPING)
        except ElasticsearchError as error:
            if "already exists" not in error.message:  # another process was quicker
                raise


def _part_id(name: str, number: int) -> str:
    return f"{name}-{number:06d}"


def _filled(stream: BinaryIO) -> bytes:
    """The next PART bytes, fewer at the end: a stream of a socket gives less than it is asked for."""
    data = b""
    while len(data) < PART and (more := stream.read(PART - len(data))):
        data += more
    return data


class _Parts(io.RawIOBase):
    """The bytes of an upload, part by part."""

    def __init__(self, uploads: Uploads, name: str) -> None:
        self._uploads, self._name = uploads, name
        self._number, self._left = 0, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            data = self._uploads.part(self._name, self._number)
            if data is None:
                if not self._number:
                    raise NotFoundError(
                        "The upload is no longer there.", code="upload.not_found", field="catalogue", remedy="Send it again."
                    )
                return 0
            self._number, self._left = self._number + 1, memoryview(data)
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count
