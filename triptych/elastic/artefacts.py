"""Files kept beside the indices, in an index of Triptych's own: what encoders learned from a catalogue.

A file is cut into documents, because Elasticsearch takes requests of at most 100 MB (http.max_content_length). Its sha256 is
its name, so a file is written once and never changed, and every worker can check what it read.
"""

from __future__ import annotations

import base64
import hashlib

from elasticsearch import Elasticsearch

from triptych.elastic import own
from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import translated
from triptych.elastic.engine import mget
from triptych.errors import ElasticsearchError, NotFoundError

PIECE = 4_000_000
"""Bytes of a file in one document."""

_MAPPINGS = {
    "dynamic": False,
    "properties": {"sha256": {"type": "keyword"}, "pieces": {"type": "integer"}, "data": {"type": "binary"}},
}


def put(client: Elasticsearch, index: str, data: bytes) -> str:
    """Keep a file; returns its sha256. Raises ElasticsearchError."""
    own.ensure(client, index, _MAPPINGS)
    name = hashlib.sha256(data).hexdigest()
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)] or [b""]
    for number, piece in enumerate(pieces):
        document = {"sha256": name, "pieces": len(pieces), "data": base64.b64encode(piece).decode("ascii")}
        written = bulk_index(client, index, {_id(name, number): document})[_id(name, number)]
        if written.reason is not None:
            raise ElasticsearchError(f"A file could not be kept in {index}: {written.reason}")
    return name


def get(client: Elasticsearch, index: str, sha256: str) -> bytes:
    """A file by its sha256. Raises NotFoundError `encoder.fitted_missing` if it is not there whole."""
    with translated():
        there = bool(client.indices.exists(index=index))
    first = mget(client, index, [_id(sha256, 0)]).get(_id(sha256, 0)) if there else None
    pieces = [first] if first else []
    for number in range(1, first["pieces"] if first else 0):
        pieces += mget(client, index, [_id(sha256, number)]).values()
    data = b"".join(base64.b64decode(piece["data"]) for piece in pieces)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise NotFoundError(
            f"What an encoder learned ({sha256[:16]}...) is not in {index}.",
            code="encoder.fitted_missing",
            remedy="Create the index again with: triptych index create NAME --fit CATALOGUE",
        )
    return data


def _id(sha256: str, number: int) -> str:
    return f"{sha256}-{number:04d}"
