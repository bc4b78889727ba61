"""What Elasticsearch stores for a product. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from indexer.records import TEXT_FIELDS
from indexer.work import Embedded
from triptych.domain import GivenVector, Modality, Outcome, Product, Vector
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.encoders.base import direction
from triptych.errors import RecordError
from triptych.schema import FIELD, Space

_VERSION = 2
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


def hash_of(fields: Mapping[str, Any], vectors: str) -> str:
    """64 hex digits that change when anything that makes the document changes: its fields, or what its vectors are made of.

    `vectors` is the hash of the latter (`made_of`).
    """
    return _sha256({"version": _VERSION, "fields": fields, "vectors": vectors})


def vectors_hash(product: Product, media: Mapping[str, str], spaces: Sequence[Space]) -> str:
    """The part of the content hash that fields do not tell; kept, so that an update can make the hash of the whole anew."""
    content: dict[str, Any] = {"media": media, "spaces": {space.name: _made_by(space) for space in spaces}}
    if product.vectors:
        content["vectors"] = {name: [given.fingerprint, *given.values] for name, given in product.vectors.items()}
    return _sha256(content)


def merged(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields after an update: objects are merged, all else is replaced.

    As Elasticsearch does it: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-update
    """
    new = dict(stored)
    for name, value in changes.items():
        old = new.get(name)
        new[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return new


def placed(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of an update as they lie in the product: a dotted name is a path into it, as it is in a table's header.

    Unless the product has a field of just that name: then it is that one, for Elasticsearch takes both for the same.
    """
    new: dict[str, Any] = {}
    for name, value in changes.items():
        new = merged(new, _at(stored, name, value) if all(name.split(".")) else {name: value})
    return new


def _at(stored: object, name: str, value: object) -> dict[str, Any]:
    head, _, rest = name.partition(".")
    below = stored if isinstance(stored, Mapping) else {}
    return {name: value} if not rest or name in below else {head: _at(below.get(head), rest, value)}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two are the same JSON: 1, 1.0 and true are three values."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


def _sha256(content: object) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _made_by(space: Space) -> str | list[Any]:
    """What of a space makes its part of the document."""
    return [space.fingerprint, space.several, space.segment_seconds] if space.has_parts else space.fingerprint


def given_vector(name: str, given: GivenVector, space: Space | None) -> Vector:
    """A vector that came with a record, as the space `name` takes it. Raises RecordError `record.vector` saying what is wrong.

    For cosine it is scaled to length 1; for dot_product it must have that length; for l2_norm it stays as it is.
    """
    where = f"vectors.{name}"
    if space is None or space.kind == "fused":
        raise RecordError(
            f"{where}: the index has no space of that name that takes vectors.", code="record.vector", field=where
        )
    declared = space.encoder if space.kind == "precomputed" else space.fingerprint
    if given.fingerprint != declared and not (given.fingerprint is None and space.kind == "precomputed"):
        message = f"{where}: its fingerprint is {given.fingerprint!r}, but the space is {declared!r}."
        raise RecordError(message, code="record.vector", field=where, remedy="Embed it with the encoder of the space.")
    if len(given.values) != space.dims:
        message = f"{where}: it has {len(given.values)} numbers, but the space has {space.dims} dims."
        raise RecordError(message, code="record.vector", field=where)
    scaled = direction(given.values)
    if scaled is None:
        raise RecordError(f"{where}: it is all zeros.", code="record.vector", field=where)
    if space.similarity == "cosine":
        return scaled
    if max(map(abs, given.values)) > _LARGEST:
        raise RecordError(f"{where}: it has numbers beyond those of 32 bits.", code="record.vector", field=where)
    length = math.hypot(*given.values)
    if space.similarity == "dot_product" and abs(length - 1) > _UNIT:
        message = f"{where}: its length is {length:.4f}, but for dot_product it must be 1."
        raise RecordError(message, code="record.vector", field=where)
    return np.asarray(given.values, dtype=np.float32) if space.similarity == "l2_norm" else scaled


_UNIT = 1e-3
_LARGEST = float(np.finfo(np.float32).max)


def build(
    product: Product,
    vectors: Mapping[str, Vector],
    *,
    own: Mapping[str, Any],
    server: Server,
    parts: Mapping[str, Sequence[Embedded]] | None = None,
    under: str = FIELD,
) -> dict[str, Any]:
    """The document: the record's own fields, and in the object field `under` vectors by space, parts by field, `own` fields."""
    packed = {space: pack(vector, server) for space, vector in vectors.items()}
    nested = {field: [_part(part, server) for part in some] for field, some in (parts or {}).items()}
    return {**product.fields, under: {"key": product.id, **own, **packed, **nested}}


def _part(part: Embedded, server: Server) -> dict[str, Any]:
    start = {} if part.start is None else {"start": part.start}
    return {"vector": pack(part.vector, server), "reference": part.reference, **start}


def made_of(product: Product, media: Mapping[str, str], spaces: Sequence[Space]) -> dict[str, Any]:
    """What the vectors are made of: the hash of it all, and of each modality's media, in order, reference and digest."""
    named = {
        str(modality): [[short(one.reference), media[one.reference]] for one in product.of(modality)]
        for modality in (Modality.IMAGE, Modality.AUDIO)
    }
    return {"hash": vectors_hash(product, media, spaces), **{name: some for name, some in named.items() if some}}


def short(reference: str) -> str:
    """16 hex digits that stand for a reference."""
    return hashlib.sha256(reference.encode()).hexdigest()[:16]


def bookkeeping(
    *, digest: str, job: str, line: int, failed: Iterable[Modality | None], made: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the accounting must find again: which job wrote this content, from which line, and how it ended.

    `made` says what its vectors were made of (made_of). `failed` has an item for each part that was given up, None for one that
    is of no modality.
    """
    lost = set(failed)
    missing = sorted(modality for modality in lost if modality is not None)
    outcome = Outcome.PARTIAL if lost else Outcome.WRITTEN
    own: dict[str, Any] = {"hash": digest, "job": job, "line": line, "outcome": outcome, "missing": missing}
    return own if made is None else {**own, "made": made}
