"""The catalogues of the fault harness: products whose whole content follows from their number and the catalogue's edition."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Products `first` to `last` in an edition; of those whose number `every` divides, each has a picture at `url`."""

    first: int
    last: int
    edition: str = "a"
    url: str | None = None
    every: int = 10

    def __len__(self) -> int:
        return self.last - self.first

    def pictured(self, number: int) -> bool:
        return self.url is not None and number % self.every == 0

    def record(self, number: int) -> dict[str, Any]:
        record = {
            "id": f"n-{number}",
            "title": {"en": f"Thing {number} of edition {self.edition}"},
            "edition": self.edition,
            "price": number / 8,
            "vectors": {"given": vector(number, self.edition)},
        }
        return record | ({"images": [f"{self.url}?n={number}"]} if self.pictured(number) else {})

    def write(self, path: Path) -> Path:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(self.record(number)) + "\n" for number in range(self.first, self.last))
        return path

    def expected(self) -> dict[str, dict[str, Any]]:
        """The documents by id, without Triptych's own field but with the vectors."""
        return {f"n-{number}": self.record(number) for number in range(self.first, self.last)}


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
