"""From query to ranked products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_api.query import Hit, LegScore, SearchRequest, SearchResult

if TYPE_CHECKING:
    from search_api.searcher import Searcher

__all__ = ["Hit", "LegScore", "SearchRequest", "SearchResult", "Searcher"]


def __getattr__(name: str) -> Any:
    """`Searcher` comes on demand: it brings elasticsearch, celery and the encoders' registry."""
    if name == "Searcher":
        from search_api.searcher import Searcher  # noqa: PLC0415

        return Searcher
    raise AttributeError(name)
