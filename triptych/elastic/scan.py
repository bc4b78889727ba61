"""All documents of an index, in pages of one point in time; several parts of it side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

from elasticsearch import Elasticsearch

from triptych.closing import until_closed
from triptych.elastic.engine import Moment, close_point_in_time, msearch, open_point_in_time
from triptych.errors import ElasticsearchError

_PAGE: Final = 100
"""Documents in one answer: it lies in memory as a whole, and a document may have megabytes."""

_AHEAD: Final = 200
"""Documents of all slices together that are read ahead at most, so that memory does not grow with their number."""

_KEPT_SECONDS: Final = 300
"""How long the point in time is kept after each page: whoever takes the documents may have to wait between them."""

Hits = Generator[Mapping[str, Any], None, None]
"""What a scan gives, to be closed by whoever may not come to its end."""

_Page = list[Mapping[str, Any]]


def scan(
    client: Elasticsearch,
    index: str,
    *,
    query: Mapping[str, Any] | None = None,
    excludes: tuple[str, ...] = (),
    includes: tuple[str, ...] | None = None,
    slices: int = 1,
    shard: int | None = None,
) -> Hits:
    """The hits (`_id`, `_source`) of all documents that `query` finds, as the index is now; changes made later are not seen.

    `includes` and `excludes` say what of a document is given, `shard` that only one of the shards is looked through.
    With `slices` the index is read in so many parts side by side, a page of each in turn, while the pages before are taken.
    The order is that of the shards and holds within one call only. The point in time is opened at once, so an index that is not
    there is noticed here, and let go at the end or when what is returned is closed: whoever may not come to the end closes it
    (`contextlib.closing`). Raises ElasticsearchError.
    https://www.elastic.co/docs/reference/elasticsearch/rest-apis/paginate-search-results#slice-scroll
    """
    pit = open_point_in_time(client, index, seconds=_KEPT_SECONDS, shard=shard)
    body: dict[str, Any] = {
        "size": _PAGE if slices == 1 else max(1, min(_PAGE, _AHEAD // slices)),
        "query": dict(query or {"match_all": {}}),
        "sort": ["_shard_doc"],
        "track_total_hits": False,
        "_source": {"excludes": list(excludes)} | ({} if includes is None else {"includes": list(includes)}),
    }
    if includes == ():
        body["_source"] = False
    bodies = [body if slices == 1 else {**body, "slice": {"id": number, "max": slices}} for number in range(slices)]
    return until_closed(_documents(client, pit, bodies), lambda: close_point_in_time(client, pit))


def one_by_one(scans: Iterable[Hits]) -> Hits:
    """The hits of one scan after the other. Each is begun when its turn comes."""
    for hits in scans:
        with closing(hits):
            yield from hits


def _documents(client: Elasticsearch, pit: str, bodies: list[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    with ThreadPoolExecutor(len(bodies), thread_name_prefix="scan") as pool:
        try:
            waiting = deque((body, pool.submit(_page, client, pit, body)) for body in bodies)
            while waiting:
                body, coming = waiting.popleft()
                hits = coming.result()
                if len(hits) == body["size"]:
                    after = {**body, "search_after": hits[-1]["sort"]}
                    waiting.append((after, pool.submit(_page, client, pit, after)))
                yield from hits
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _page(client: Elasticsearch, pit: str, body: Mapping[str, Any]) -> _Page:
    (found,) = msearch(client, "", [body], moment=Moment(pit, _KEPT_SECONDS))
    if isinstance(found, ElasticsearchError):
        raise found
    return list(found.hits)
