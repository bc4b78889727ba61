"""The hits of a page: the products of a session's ranking as they are now. What was deleted meanwhile is not among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from search_api import ranking
from search_api.answer import Hit
from search_api.asking import Elastic, Page, Run
from search_api.ranking import Ranked
from search_api.session import Session

_FIRST: Final = 10
_MOST: Final = 1000
"""Variants that are asked for at first, of each group, and at most at once, of all groups."""

_Ask = Callable[[Sequence[int]], Page]


def hits_of_page(elastic: Elastic, run: Run, session: Session, ranked: Ranked, offset: int, size: int) -> tuple[list[Hit], int]:
    """`size` hits from `offset` on, and where they end: the next ones have the room of those that were deleted.

    Where others with the same value of the field that is collapsed by are still there, the best of them has its place.
    """
    hits: list[Hit] = []
    shown = session.options

    def ask(rows: Sequence[int]) -> Page:
        return elastic.page(
            run,
            [session.candidates.ids[row] for row in rows],
            fields=shown.get("fields"),
            with_vectors=bool(shown.get("with_vectors")),
            highlight=bool(shown.get("highlight")),
        )

    while len(hits) < size and offset < len(ranked.rows):
        rows = ranked.rows[offset : offset + size - len(hits)]
        offset += len(rows)
        page = ask(rows)
        found = {row: _hit(session, ranked, row, page) for row in rows}
        found |= _stand_ins(ask, session, ranked, [row for row in rows if found[row] is None])
        hits += [hit for row in rows if (hit := found[row]) is not None]
    return hits, offset


def _hit(session: Session, ranked: Ranked, row: int, page: Page) -> Hit | None:
    """The hit of a product, if it is still there."""
    key = session.candidates.ids[row]
    if key not in page.products:
        return None
    return ranking.hit(session, ranked, row, page.products[key], highlight=page.highlights[key], media=page.media.get(key))


def _stand_ins(ask: _Ask, session: Session, ranked: Ranked, gone: Sequence[int]) -> dict[int, Hit | None]:
    """For winners that are gone the best of their variants that is still there, with the lower ones as its variants."""
    found: dict[int, Hit | None] = {}
    left, at = [row for row in gone if row in ranked.variants], 0
    while left:
        many = max(1, min(at or _FIRST, _MOST // len(left)))
        tried = {row: ranked.variants[row][at : at + many] for row in left}
        page = ask([other for others in tried.values() for other in others])
        for row, others in tried.items():
            for place, other in enumerate(others, at + 1):
                below = replace(ranked, variants={other: ranked.variants[row][place:]})
                if (hit := _hit(session, below, other, page)) is not None:
                    found[row] = hit
                    break
        at += many
        left = [row for row in left if row not in found and len(ranked.variants[row]) > at]
    return found
