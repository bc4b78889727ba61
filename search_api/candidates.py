"""The exact score of every candidate in every leg, as arrays.

A leg returns only its best; a product another leg found gets 0 from it everywhere else, although its true score may lie just
below the cut. Here the union of all candidates is completed: one more `_msearch` asks each leg for the scores it did not give.
The cases stay apart: *completed* (the score is known now), *no_match* (the words do not occur: a true 0), *no_modality* (the
product has no such vector), and *not_retrieved* where completion was not asked for or failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from search_api.answer import MatchedMedia
from triptych.elastic.engine import Found
from triptych.schema import Space

STATUSES: Final = ("retrieved", "completed", "no_match", "no_modality", "not_retrieved")
RETRIEVED, COMPLETED, NO_MATCH, NO_MODALITY, NOT_RETRIEVED = range(5)

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Values = Mapping[str, Sequence[Any]]
"""The doc values of one product that an answer needs (to sort, collapse, count or vote by), by field."""


@dataclass(frozen=True, slots=True)
class LegHits:
    """What one search of a leg gave: ids best first, their scores, and doc values where asked for."""

    ids: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    values: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidates:
    """n products x L legs.

    `ids` are in the order of the rounds they were found in, and sorted within one; `raw` (n, L) holds Elasticsearch's scores,
    NaN where there is none to know; `status` (n, L) indexes STATUSES; `rank` (n, L) is the place in the leg's own list, from
    1, 0 where the leg did not return the product; `tops` (L,) is the best score of each leg's own list, NaN where it is
    empty; `lasts` (L,) the worst of a list that was full (more may follow), NaN where nothing follows; `round` (n,) counts
    widenings. `extra` are those that no leg found, to be explained: no scale, rank or vote is made of them.
    """

    legs: tuple[str, ...]
    ids: tuple[str, ...]
    raw: Floats
    status: npt.NDArray[np.uint8]
    rank: npt.NDArray[np.int32]
    tops: Floats
    lasts: Floats
    round: npt.NDArray[np.int32]
    values: Mapping[str, Values] = field(default_factory=dict)
    extra: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def own(self) -> npt.NDArray[np.bool_]:
        """Which a leg found, (n,)."""
        if not self.extra:
            return np.ones(len(self), dtype=bool)
        return np.array([key not in self.extra for key in self.ids], dtype=bool)

    def found(self) -> Candidates:
        """Those that a leg found."""
        if not self.extra:
            return self
        rows = np.flatnonzero(self.own)
        ids = tuple(self.ids[row] for row in rows)
        kept = {name: getattr(self, name)[rows] for name in ("raw", "status", "rank", "round")}
        return replace(self, ids=ids, extra=frozenset(), **kept)

    def ended(self, leg: str) -> bool:
        """Whether a leg's list ended within its window and is all that it has. Of `extra` candidates no list says anything."""
        return not self.extra and bool(np.isnan(self.lasts[self.legs.index(leg)]))

    def missing(self) -> dict[str, list[str]]:
        """Per leg the candidates whose score is not known yet."""
        gaps = {name: np.flatnonzero(self.status[:, number] == NOT_RETRIEVED) for number, name in enumerate(self.legs)}
        return {name: [self.ids[row] for row in rows.tolist()] for name, rows in gaps.items() if len(rows)}

    def without(self, dropped: Sequence[str]) -> Candidates:
        """The candidates without the legs that failed; those that only such a leg found stay, with their other scores."""
        if not dropped:
            return self
        kept = [number for number, name in enumerate(self.legs) if name not in dropped]
        return replace(
            self,
            legs=tuple(self.legs[number] for number in kept),
            raw=np.ascontiguousarray(self.raw[:, kept]),
            status=np.ascontiguousarray(self.status[:, kept]),
            rank=np.ascontiguousarray(self.rank[:, kept]),
            tops=self.tops[kept],
            lasts=self.lasts[kept],
        )


def hits_of(found: Found, fields: Sequence[str] = ()) -> LegHits:
    """The hits of one search of a leg, with the values of `fields`."""
    if not fields:
        return LegHits(found.ids, found.scores)
    values = {name: {f: some.get(f, ()) for f in fields} for name, some in zip(found.ids, found.values, strict=True)}
    return LegHits(found.ids, found.scores, values)


def media_of(found: Found, space: Space) -> dict[str, MatchedMedia]:
    """The best of several media of each product that a search of a leg's parts named."""
    named: dict[str, MatchedMedia] = {}
    for hit in found.hits:
        inner = hit.get("inner_hits", {}).get(space.parts_field, {}).get("hits", {}).get("hits", [])
        if inner:
            fields = inner[0].get("fields", {})
            reference, start = fields.get(f"{space.parts_field}.reference"), fields.get(f"{space.parts_field}.start")
            named[hit["fields"][space.key_field][0]] = MatchedMedia(
                reference[0] if reference else "", start[0] if start else None
            )
    return named


def together(first: LegHits | None, more: LegHits) -> LegHits:
    """Two answers of a leg to different ids as one."""
    if first is None:
        return more
    return LegHits(first.ids + more.ids, first.scores + more.scores, {**first.values, **more.values})


def gather(
    legs: Sequence[str], retrieved: Mapping[str, LegHits], *, sources: Sequence[str], full: int, extra: Sequence[str] = ()
) -> Candidates:
    """The candidates that the legs of `sources` found (and `extra` ones), with the scores that are known so far.

    A leg that pushes products away is no source. `full` is the window: a source's list of that length may go on.
    """
    found = set().union(*(retrieved[name].ids for name in sources))
    unfound = frozenset(extra) - found
    ids = tuple(sorted(found | unfound))
    shape = (len(ids), len(legs))
    raw, rank = np.full(shape, np.nan), np.zeros(shape, dtype=np.int32)
    lists = [retrieved[name] for name in legs]
    row, column, scores, place = placed(lists, ids)
    raw[row, column], rank[row, column] = scores, place + 1
    tops = np.array([max(hits.scores, default=np.nan) for hits in lists])
    goes_on = [name in sources and 0 < len(hits.scores) >= full for name, hits in zip(legs, lists, strict=True)]
    lasts = np.array([hits.scores[-1] if more else np.nan for more, hits in zip(goes_on, lists, strict=True)])
    values: dict[str, Values] = {}
    for hits in lists:
        values |= hits.values
    status = np.where(rank > 0, RETRIEVED, NOT_RETRIEVED).astype(np.uint8)
    raw, tops, lasts = single(raw), single(tops), single(lasts)
    rounds = np.zeros(len(ids), dtype=np.int32)
    return Candidates(tuple(legs), ids, raw, status, rank, tops, lasts, rounds, values, unfound)


def placed(lists: Sequence[LegHits], ids: Sequence[str]) -> tuple[Places, Places, Floats, Places]:
    """Of all hits of several lists that are among `ids`: the row of the id, the number of the list, the score, and the place in
    the list, from 0.
    """
    rows = dict(zip(ids, range(len(ids)), strict=True))
    row = np.array([rows.get(key, -1) for hits in lists for key in hits.ids], dtype=np.intp)
    column = np.repeat(np.arange(len(lists)), [len(hits.ids) for hits in lists])
    scores = np.array([score for hits in lists for score in hits.scores], dtype=np.float64)
    place = np.array([number for hits in lists for number in range(len(hits.ids))], dtype=np.intp)
    known = row >= 0
    return (row, column, scores, place) if known.all() else (row[known], column[known], scores[known], place[known])


def complete(candidates: Candidates, late: Mapping[str, LegHits], *, words: Sequence[str]) -> Candidates:
    """The candidates with the scores that completion found.

    What a leg in `late` does not name does not match it: for `words` (BM25) a true 0, else the product has no such modality.
    A leg with gaps that `late` lacks keeps them.
    """
    columns = [number for number, name in enumerate(candidates.legs) if name in late]
    lists = [late[candidates.legs[number]] for number in columns]
    gaps = np.zeros(candidates.status.shape, dtype=bool)
    gaps[:, columns] = candidates.status[:, columns] == NOT_RETRIEVED
    said = np.array([name in words for name in candidates.legs])
    raw = np.where(gaps, np.where(said, 0.0, np.nan), candidates.raw)
    status = np.where(gaps, np.where(said, NO_MATCH, NO_MODALITY), candidates.status).astype(np.uint8)
    row, number, scores, _ = placed(lists, candidates.ids)
    column = np.array(columns, dtype=np.intp)[number]
    new = gaps[row, column]
    row, column = row[new], column[new]
    raw[row, column], status[row, column] = scores[new], COMPLETED
    values = dict(candidates.values)
    for hits in lists:
        values |= hits.values
    return replace(candidates, raw=single(raw), status=status, values=values)


def single(scores: Floats) -> Floats:
    """Scores as Elasticsearch has them, float32; what JSON says of them has other digits, and a session keeps these."""
    return scores.astype(np.float32).astype(np.float64)


def joined(first: Candidates, more: Candidates, *, behind: bool) -> Candidates:
    """`first` and those of `more` that it has not; `behind`: as a further round, which ranks after the first whatever its
    scores.

    `tops` stay those of the first: scores must not move. An `extra` one that a leg found now is one of them.
    """
    extra = first.extra & more.extra
    first = replace(first, extra=first.extra - extra).found()
    known = set(first.ids)
    new = [row for row, key in enumerate(more.ids) if key not in known]
    ids = first.ids + tuple(more.ids[row] for row in new)
    last = int(first.round.max(initial=0)) + behind
    rounds = np.concatenate([first.round, np.full(len(new), last, dtype=np.int32)])
    order = sorted(range(len(ids)), key=lambda row: (rounds[row], ids[row]))
    return Candidates(
        first.legs,
        tuple(ids[row] for row in order),
        np.concatenate([first.raw, more.raw[new]])[order],
        np.concatenate([first.status, more.status[new]])[order],
        np.concatenate([first.rank, more.rank[new]])[order],
        first.tops,
        more.lasts,
        rounds[order],
        {**first.values, **more.values},
        extra,
    )
