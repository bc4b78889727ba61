"""From query to ranked products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_api.answer import Hit, LegScore, SearchResult
from search_api.query import QueryInput, SearchRequest
from search_api.words import TextOptions

if TYPE_CHECKING:
    from search_api.searcher import Searcher

__all__ = ["Hit", "LegScore", "QueryInput", "SearchRequest", "SearchResult", "Searcher", "TextOptions"]


def __getattr__(name: str) -> Any:
    """`Searcher` comes on demand: it brings elasticsearch, celery and the encoders' registry."""
    if name == "Searcher":
        from search_api.searcher import Searcher  # noqa: PLC0415

        return Searcher
    raise AttributeError(name)
