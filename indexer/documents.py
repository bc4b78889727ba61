"""What Elasticsearch stores for a product. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from indexer.records import TEXT_FIELDS
from triptych.domain import Modality, Outcome, Product, Vector
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.schema import FIELD, Space

_VERSION = 1
"""Raise it when documents are built in another way: the content hashes change and everything is written again."""


def passage(product: Product) -> str:
    """The words of a product that are embedded: its titles in all languages, its category path, its descriptions.

    Titles come first so that an encoder's longest input cuts off descriptions, not languages. On the demo shop (English and
    Chinese) this order finds English and Chinese words at hit@5 1.00; the category path alone lifts English hit@1 by .1.
    """
    title, description = (
        " ".join(text.strip() for text in product.texts.get(name, {}).values() if text.strip()) for name in TEXT_FIELDS
    )
    category = " > ".join(part.strip() for part in product.category if part.strip())
    return ". ".join(part for part in (title, category, description) if part)


def content_hash(product: Product, media: Mapping[str, str], spaces: Sequence[Space]) -> str:
    """64 hex digits that change when anything that makes the document changes.

    `media` maps a reference to the sha256 of its bytes, or to an error's code where it could not be had.
    """
    content = {
        "version": _VERSION,
        "fields": product.fields,
        "media": media,
        "spaces": {space.name: space.fingerprint for space in spaces},
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def build(
    product: Product,
    vectors: Mapping[str, Vector],
    *,
    own: Mapping[str, Any],
    server: Server,
) -> dict[str, Any]:
    """The document: the record's own fields, and under `triptych` our vectors (by space) and bookkeeping (`own`)."""
    packed = {space: pack(vector, server) for space, vector in vectors.items()}
    return {**product.fields, FIELD: {"key": product.id, **own, **packed}}


def bookkeeping(*, digest: str, job: str, line: int, failed: Iterable[Modality]) -> dict[str, Any]:
    """What the accounting must find again: which job wrote this content, from which line, and how it ended."""
    missing = sorted(set(failed))
    outcome = Outcome.PARTIAL if missing else Outcome.WRITTEN
    return {"hash": digest, "job": job, "line": line, "outcome": outcome, "missing": missing}
