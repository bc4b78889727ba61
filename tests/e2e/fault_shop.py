"""The catalogues of the fault harness: products whose whole content follows from their number and the catalogue's edition."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych.elastic.engine import unpack
from triptych.schema import FIELD

DIMS = 16
PROFILE = """description: vectors that come with the record, and pictures by colour
spaces:
  given: {family: precomputed, fingerprint: fault-1, documents: text, dims: 16, licence: none}
  colour: {family: colour_histogram, documents: image, queries: [image], dims: 114, licence: none needed}
"""
OUTCOMES = ("written", "unchanged", "partial", "dead", "deleted")
POISONED_EVERY = 50

_KINDS = 6
_DELETED, _UPDATED, _SAME = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Products `first` to `last` in an edition; of those whose number `every` divides, each has a picture at `url`.

    `mixed`: of six products one is deleted, of one only price and stock are changed, and one is as in edition "a".
    """

    first: int
    last: int
    edition: str = "a"
    url: str | None = None
    every: int = 10
    mixed: bool = False

    def __len__(self) -> int:
        return self.last - self.first

    def numbers(self) -> range:
        return range(self.first, self.last)

    def pictured(self, number: int) -> bool:
        return self.url is not None and number % self.every == 0

    def record(self, number: int) -> dict[str, Any]:
        kind = number % _KINDS if self.mixed else None
        key = f"n-{number}"
        if kind == _DELETED:
            return {"id": key, "_op": "delete"}
        if kind == _UPDATED:
            return {"id": key, "_op": "update", "price": number / 8 + 1, "stock": number % 7}
        return self._whole(number, "a" if kind == _SAME else self.edition)

    def _whole(self, number: int, edition: str) -> dict[str, Any]:
        record = {
            "id": f"n-{number}",
            "title": {"en": f"Thing {number} of edition {edition}"},
            "edition": edition,
            "price": number / 8,
            "vectors": {"given": vector(number, edition)},
        }
        return record | ({"images": [f"{self.url}?n={number}"]} if self.pictured(number) else {})

    def write(self, path: Path) -> Path:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(self.record(number)) + "\n" for number in self.numbers())
        return path

    def after(self, before: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """What an index holds after this catalogue that held `before`: documents by id, without Triptych's own field but with
        the vectors."""
        shelf = dict(before)
        for number in self.numbers():
            record = self.record(number)
            operation, key = record.pop("_op", "put"), record["id"]
            if operation == "delete":
                shelf.pop(key, None)
            else:
                shelf[key] = record if operation == "put" else {**shelf[key], **record}
        return shelf


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a job met, beside its catalogue.

    `before` is what the index held, of which `half` lacked pictures; `older` and `newer` are catalogues of jobs that ran at the
    same time; pictures may have been `sick`, or `poisoned`.
    """

    before: Mapping[str, Mapping[str, Any]]
    half: Collection[str] = ()
    older: Sequence[Catalogue] = ()
    newer: Sequence[Catalogue] = ()
    sick: bool = False
    poisoned: bool = False


def may_end(catalogue: Catalogue, number: int, met: Circumstances) -> set[str]:
    """The outcomes that a record may have; mostly there is one. Pure."""
    record = catalogue.record(number)
    key, operation = record["id"], record.get("_op", "put")
    held = met.before.get(key)
    if operation == "delete":
        return {"unchanged"} if held is None else {"deleted"}
    if operation == "update":
        changes = {name: value for name, value in record.items() if name != "_op"}
        return {"unchanged"} if held is not None and {**held, **changes} == held else {"written"}
    if met.poisoned and catalogue.pictured(number) and number % POISONED_EVERY == 0:
        return {"partial"}
    may = {"unchanged"} if held == record and key not in met.half else {"written"}
    if met.sick and catalogue.pictured(number):
        may |= {"partial"}
    if any(number in other.numbers() for other in met.newer):
        may |= {"unchanged"}
    if any(number in other.numbers() and other.record(number) == record for other in met.older):
        may |= {"unchanged", "written"}
    return may


def bounds(catalogue: Catalogue, met: Circumstances) -> dict[str, tuple[int, int]]:
    """Of each outcome how many records must end so, and how many may. Pure."""
    each = [may_end(catalogue, number, met) for number in catalogue.numbers()]
    return {name: (sum(may == {name} for may in each), sum(name in may for may in each)) for name in OUTCOMES}


def vector(number: int, edition: str) -> list[float]:
    """A vector of length 1 that is like no other's."""
    made = [math.sin((number + 1) * (place + 1) + len(edition) + ord(edition[0])) for place in range(DIMS)]
    length = math.hypot(*made)
    return [round(x / length, 6) for x in made]


@dataclass(frozen=True, slots=True)
class Differences:
    """What is wrong with an index: ids that are missing, there twice or not wanted, and those with other content."""

    missing: Sequence[str]
    surplus: Sequence[str]
    wrong: Sequence[str]


def compare(hits: Iterable[Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]], partial: set[str]) -> Differences:
    """The documents of an index against what it should hold. `partial` are those that may lack their picture. Pure."""
    seen: set[str] = set()
    surplus, wrong = [], []
    for hit in hits:
        source = hit["_source"]
        key = str(source.get("id"))
        if key in seen or key not in expected:
            surplus.append(key)
        elif not _same(source, expected[key], may_lack=key in partial):
            wrong.append(key)
        seen.add(key)
    return Differences(sorted(expected.keys() - seen), surplus, wrong)


def _same(source: Mapping[str, Any], record: Mapping[str, Any], *, may_lack: bool) -> bool:
    fields = {name: value for name, value in source.items() if name != FIELD}
    own = source[FIELD]
    given = own.get("given")
    close = given is not None and np.allclose(unpack(given), record["vectors"]["given"], atol=1e-5)
    pictured = "images" not in record or may_lack or "colour" in own
    return fields == {name: value for name, value in record.items() if name != "vectors"} and close and pictured
