"""Which queue takes a batch, and how urgent it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from triptych.errors import InputError
from triptych.jobs.queue import HIGHEST, PRIORITIES, WORDS


def kind_of(batch: Iterable[Mapping[str, Any]]) -> str:
    """`pictures` if any record names a picture, else `sounds` if any names a sound, else `words`."""
    kind = WORDS
    for raw in batch:
        try:
            record = orjson.loads(raw.get("text", ""))
        except orjson.JSONDecodeError:
            continue  # it becomes a dead letter, wherever it is worked on
        if not isinstance(record, dict):
            continue
        if record.get("images"):
            return "pictures"
        if record.get("audio"):
            kind = "sounds"
    return kind


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
