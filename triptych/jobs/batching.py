"""Cut a stream of records into batches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def cut(records: Iterable[Mapping[str, Any]], *, size: int, most_bytes: int) -> Iterator[list[Mapping[str, Any]]]:
    """Batches of at most `size` records and, unless one record alone is larger, at most `most_bytes` of their text."""
    batch: list[Mapping[str, Any]] = []
    filled = 0
    for record in records:
        weight = len(record.get("text", "").encode())
        if batch and (len(batch) == size or filled + weight > most_bytes):
            yield batch
            batch, filled = [], 0
        batch.append(record)
        filled += weight
    if batch:
        yield batch
