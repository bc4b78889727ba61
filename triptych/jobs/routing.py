"""Which queue takes a batch, and how urgent it is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from triptych.domain import Modality, Operation
from triptych.errors import InputError
from triptych.jobs.queue import HIGHEST, PRIORITIES, WORDS

_HOLDS: Final = {
    "images": Modality.IMAGE, "audio": Modality.AUDIO,
    "title": Modality.TEXT, "description": Modality.TEXT, "category": Modality.TEXT,
}  # fmt: skip


def opened(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A record's JSON that is not yet checked; None for one that cannot be read: a dead letter, wherever it is worked on."""
    try:
        record = orjson.loads(raw.get("text", ""))
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def holds(record: Mapping[str, Any] | None) -> frozenset[Modality]:
    """What a record that is not yet checked (`opened`) has to be embedded; nothing for one that cannot be read, is deleted or
    updated."""
    if record is None or str(record.get("_op")) in {Operation.DELETE, Operation.UPDATE}:
        return frozenset()
    return frozenset(modality for name, modality in _HOLDS.items() if record.get(name))


def named(raw: Mapping[str, Any], record: Mapping[str, Any] | None) -> str | None:
    """The id of the product that a record is of, None where it has none; `record` is what is in it (`opened`)."""
    name = raw.get("product_id") or (record or {}).get("id")
    return name if isinstance(name, str) and name else None


def kind_of(holds: Collection[Modality]) -> str:
    """The queue for a batch that holds these: `pictures` if there is a picture, else `sounds` if there is one, else `words`."""
    if Modality.IMAGE in holds:
        return "pictures"
    return "sounds" if Modality.AUDIO in holds else WORDS


def priority_of(text: str) -> int:
    """A priority from its name or number. Raises InputError."""
    if text in PRIORITIES:
        return PRIORITIES[text]
    if text.isascii() and text.isdecimal() and int(text) <= HIGHEST:
        return int(text)
    raise InputError(
        f"{text!r} is no priority.",
        code="job.priority",
        field="priority",
        remedy="Give high, normal, low or a number from 0 to 9.",
    )
