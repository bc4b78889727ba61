"""All documents of an index, in pages of one point in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from elasticsearch import Elasticsearch

from triptych.elastic.engine import Moment, close_point_in_time, msearch, open_point_in_time
from triptych.errors import ElasticsearchError

_PAGE: Final = 100
"""Documents in one answer: it lies in memory as a whole, and a document may have megabytes."""

_KEPT_SECONDS: Final = 300
"""How long the point in time is kept after each page: whoever takes the documents may have to wait between them."""


def scan(
    client: Elasticsearch, index: str, *, query: Mapping[str, Any] | None = None, excludes: tuple[str, ...] = ()
) -> Iterator[Mapping[str, Any]]:
    """The hits (`_id`, `_source`) of all documents that `query` finds, as the index is now; changes made later are not seen.

    The order is that of the shards and holds within one call only. The point in time is opened at once, so an index that is not
    there is noticed here. Raises ElasticsearchError.
    https://www.elastic.co/docs/reference/elasticsearch/rest-apis/paginate-search-results#search-after
    """
    pit = open_point_in_time(client, index, seconds=_KEPT_SECONDS)
    body: dict[str, Any] = {
        "size": _PAGE,
        "query": dict(query or {"match_all": {}}),
        "sort": ["_shard_doc"],
        "track_total_hits": False,
        "_source": {"excludes": list(excludes)},
    }
    return _pages(client, pit, body)


def _pages(client: Elasticsearch, pit: str, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    after: Mapping[str, Any] = {}
    try:
        while True:
            (found,) = msearch(client, "", [{**body, **after}], moment=Moment(pit, _KEPT_SECONDS))
            if isinstance(found, ElasticsearchError):
                raise found
            yield from found.hits
            if len(found.hits) < body["size"]:
                return
            after = {"search_after": found.hits[-1]["sort"]}
    finally:
        close_point_in_time(client, pit)
