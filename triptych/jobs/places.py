"""Where a record stands in a job: found by its product or its line, among the names that a batch keeps of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from triptych.domain import Outcome
from triptych.jobs.job import BatchState, batch_id
from triptych.jobs.ledger import Ledger, every, term

_MOST: Final = 100
"""Batches looked at that name one product: a catalogue has an id once, and may repeat it by mistake."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in a job: its line, its product, its batch with that one's state and attempts, and how it ended.

    `outcome` is None while the batch is not done, and `failure` says why an earlier attempt at it failed.
    """

    line: int
    product: str | None
    batch: int
    state: BatchState
    attempts: int
    outcome: Outcome | None
    failure: str | None = None


LETTERS: Final[Mapping[Outcome, str]] = {
    Outcome.WRITTEN: "w", Outcome.UNCHANGED: "u", Outcome.PARTIAL: "p", Outcome.DELETED: "x", Outcome.DEAD: "d",
}  # fmt: skip
OF_LETTER: Final = {letter: outcome for outcome, letter in LETTERS.items()}


class PlaceStore(Ledger):
    """Finds records."""

    def places_of(self, job: str, product: str) -> list[Place]:
        """Where records of a product stand in a job, in the catalogue's order; more than one where its id is there twice."""
        self._refresh(self._records)
        wanted = every(term("job", job), term("products", product))
        named_ = ["number", "products", "lines", "records.line"]  # the last of entries of older versions
        hits = self._search(self._records, wanted, size=_MOST, sort="number:asc", source_includes=named_)
        return [place for hit in hits for place in self._places(job, hit["_source"]) if place.product == product]

    def place_at(self, job: str, line: int) -> Place | None:
        """Where the record of a line stands in a job; None where no batch has that line."""
        self._refresh(self._batches)
        wanted = every(term("job", job), {"range": {"last_line": {"gte": line}}})
        hits = self._search(self._batches, wanted, size=1, sort="last_line:asc", source_includes=["body"])
        body = hits[0]["_source"].get("body") if hits else None
        found = self._places(job, self._read(self._records, body).source) if body else []
        return next((place for place in found if place.line == line), None)

    def _places(self, job: str, names: Mapping[str, Any]) -> list[Place]:
        entry = self._read(self._batches, batch_id(job, names["number"])).source
        lines = names.get("lines") or [record["line"] for record in names["records"]]
        ends: Sequence[Outcome | None] = [OF_LETTER[letter] for letter in entry.get("ends", "")] or [None] * len(lines)
        state, attempts = BatchState(entry["state"]), int(entry["attempts"])
        each = zip(lines, names["products"], ends, strict=True)
        return [
            Place(line, product, entry["number"], state, attempts, end, entry.get("failure")) for line, product, end in each
        ]
