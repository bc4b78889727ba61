"""Cut a stream of records into batches by what they cost. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triptych.domain import Modality
from triptych.jobs.routing import holds, kind_of, named, opened

CHEAP: Final = 32
"""So many records that need no encoder weigh as much as one that does: a price, a deletion, vectors that come with it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The records of one batch, in order, with the ids of their products, and the kind of queue that takes it
    (`routing.kind_of`)."""

    kind: str
    records: tuple[Mapping[str, Any], ...]
    products: tuple[str | None, ...] = ()


def cut(
    records: Iterable[Mapping[str, Any]], *, size: int, most_bytes: int, encoded: Collection[Modality] = tuple(Modality)
) -> Iterator[Cut]:
    """Batches of at most `size` records and, unless one record alone is larger, at most `most_bytes` of their text.

    Of records that hold nothing of a modality that is `encoded` there are CHEAP times as many: the round trips a batch needs
    would take longer than its work.
    """
    batch: list[Mapping[str, Any]] = []
    names: list[str | None] = []
    kinds: set[Modality] = set()
    filled = cost = 0
    for record in records:
        inside = opened(record)
        seen = holds(inside)
        weight, price = len(record.get("text", "").encode()), 1 if seen.isdisjoint(encoded) else CHEAP
        if batch and (cost + price > size * CHEAP or filled + weight > most_bytes):
            yield Cut(kind_of(kinds), tuple(batch), tuple(names))
            batch, names, kinds, filled, cost = [], [], set(), 0, 0
        batch.append(record)
        names.append(named(record, inside))
        kinds |= seen
        filled += weight
        cost += price
    if batch:
        yield Cut(kind_of(kinds), tuple(batch), tuple(names))
