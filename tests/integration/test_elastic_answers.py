"""The real client over libcurl: answers and errors of a real node, and of hosts that do not answer as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch, ElasticsearchWarning, NotFoundError
from plain_server import PlainServer, http, plain_server
from processes import free_port
from pydantic import SecretStr

from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import Serializer, connect
from triptych.elastic.curl import CurlNode
from triptych.elastic.engine import Found, msearch, search
from triptych.errors import ElasticsearchError
from triptych.settings import Settings

pytestmark = pytest.mark.integration

SCORED: dict[str, Any] = {"_source": False, "docvalue_fields": ["key"]}
WORDS = {"match": {"title": "shoes"}}
NAMED = {"bool": {"must": WORDS, "filter": {"exists": {"field": "key"}}}}


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Elasticsearch]:
    client = connect(settings)
    yield client
    client.close()


@pytest.fixture(scope="module")
def filled(client: Elasticsearch, run_id: str) -> str:
    name = f"answers-{run_id}"
    properties = {"key": {"type": "keyword"}, "title": {"type": "text"}, "price": {"type": "double"}}
    client.indices.create(index=name, mappings={"properties": properties})
    bulk_index(client, name, {str(n): {"key": f"k{n}", "title": f"shoes {n}", "price": n} for n in range(5)})
    client.index(index=name, id="nameless", document={"title": "shoes"})
    client.indices.refresh(index=name)
    return name


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[tuple[Elasticsearch, PlainServer]]:
    """A client of a server that answers what the test says."""
    with plain_server() as server:
        address = SecretStr(f"http://127.0.0.1:{server.port}")
        client = connect(settings.model_copy(update={"elasticsearch_url": address, "elasticsearch_timeout_seconds": 1.0}))
        yield client, server
        client.close()


def json(status: int, body: bytes) -> bytes:
    return http(status, body, b"X-Elastic-Product: Elasticsearch", b"Content-Type: application/json")


def test_error_bodies(client: Elasticsearch, filled: str) -> None:
    with pytest.raises(BadRequestError) as bad:
        client.search(index=filled, query={"nonsense": {}})
    assert "unknown query [nonsense]" in str(bad.value.body)
    with pytest.raises(NotFoundError) as none:
        client.get(index=filled, id="none")
    assert none.value.body["found"] is False
    assert not client.exists(index=filled, id="none")
    assert client.exists(index=filled, id="1")
    for call in (
        lambda: msearch(client, f"{filled}-none", [{}]),
        lambda: msearch(client, f"{filled}-none", [{}], key="key"),
        lambda: search(client, f"{filled}-none", {}),
    ):
        assert code_of(call) == ("elasticsearch.not_found", False)


def code_of(call: Callable[[], Any]) -> tuple[str, bool]:
    """The error that a call raises, or gives for its first search."""
    try:
        found = call()[0]
    except ElasticsearchError as error:
        found = error
    return found.code, found.retryable


def test_an_id_of_two_dots_is_no_path(client: Elasticsearch, filled: str) -> None:
    with pytest.raises((BadRequestError, NotFoundError)):
        client.delete(index=filled, id="..")
    assert client.indices.exists(index=filled)


@pytest.mark.parametrize("values", [False, True])
def test_scored_answers_are_those_of_the_plain_ones(client: Elasticsearch, filled: str, *, values: bool) -> None:
    bodies = [
        {"query": NAMED, "size": 3, **SCORED, "aggs": {"dear": {"max": {"field": "price"}}}},
        {"query": {"range": {"price": {"gt": "dear"}}}},
        {"query": WORDS, "size": 0, "track_total_hits": False},
        {"query": {"term": {"key": "none"}}, **SCORED},
        {"query": NAMED, "size": 2, "track_total_hits": 2, **SCORED},
    ]
    plain, scored = msearch(client, filled, bodies), msearch(client, filled, bodies, key="key", values=values)
    for one, other in zip(plain, scored, strict=True):
        if isinstance(one, ElasticsearchError):
            assert isinstance(other, ElasticsearchError)
            assert (one.code, one.message, one.retryable) == (other.code, other.message, other.retryable)
            continue
        assert isinstance(other, Found)
        assert (one.total, one.aggregations) == (other.total, other.aggregations)
        assert other.hits == ()
        assert other.scores == tuple(hit["_score"] for hit in one.hits)
        assert other.ids == tuple(hit["fields"]["key"][0] for hit in one.hits if "fields" in hit)
        assert list(other.values) == ([hit["fields"] for hit in one.hits] if values else [])
    first, failed = scored[0], scored[1]
    assert isinstance(first, Found)
    assert (first.total, first.aggregations, len(first.ids)) == (5, {"dear": {"value": 4.0}}, 3)
    assert isinstance(failed, ElasticsearchError)
    assert "dear" in failed.message
    assert failed.code == "elasticsearch.bad_request"


@pytest.mark.parametrize("scored", [False, True])
def test_hits_without_a_score(client: Elasticsearch, filled: str, *, scored: bool) -> None:
    """Whoever wants the scores of a sorted search has to hear of it, rather than get no hits."""
    body = {"query": WORDS, "sort": ["price"], **SCORED}
    if scored:
        for unscored_or_nameless in (body, {"query": {"ids": {"values": ["nameless"]}}, **SCORED}):
            with pytest.raises(ElasticsearchError, match="form"):
                msearch(client, filled, [unscored_or_nameless], key="key")
    else:
        (found,) = msearch(client, filled, [body])
        assert isinstance(found, Found)
        assert len(found.hits) == 6


@pytest.mark.parametrize("scored", [False, True])
def test_incomplete_answers_are_errors(elsewhere: tuple[Elasticsearch, PlainServer], *, scored: bool) -> None:
    """What a node says when shards fail or time runs out, which a small healthy one does not."""
    client, server = elsewhere
    shards = b'"_shards":{"total":2,"successful":%d,"skipped":0,"failed":%d}'
    hits = (
        b'"hits":{"total":{"value":1,"relation":"eq"},"max_score":1.0,"hits":[{"_id":"1","_score":1,"fields":{"key":["k"]}}]}'
    )
    one = b'{"took":1,"timed_out":%s,' + shards + b"," + hits + b',"status":200}'
    error = b'{"error":{"root_cause":[],"type":"t","reason":"all shards failed"},"status":503}'
    answers = [one % (b"false", 2, 0), one % (b"true", 2, 0), one % (b"false", 1, 1), error]
    server.answers["/x/_msearch"] = json(200, b'{"took":1,"responses":[' + b",".join(answers) + b"]}")
    good, *bad = msearch(client, "x", [{}] * 4, key="key" if scored else None)
    assert isinstance(good, Found)
    assert good.total == 1
    found = [(e.code, e.retryable) for e in bad if isinstance(e, ElasticsearchError)]
    assert found == [("elasticsearch.incomplete", True)] * 2 + [("elasticsearch.busy", True)]


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize(
    "answer",
    [json(200, b'{"responses": [{"sta'), json(200, b""), json(200, b"\xff"), json(200, b"{}"), json(503, b'{"error": "away"}'),
     http(502, b"<html>bad gateway</html>", b"Content-Type: text/html"), None],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_of_ours(
    elsewhere: tuple[Elasticsearch, PlainServer], answer: bytes | None, *, scored: bool
) -> None:
    client, server = elsewhere
    server.answers["/x/_msearch"] = answer
    with pytest.raises(ElasticsearchError) as caught:
        msearch(client, "x", [{}], key="key" if scored else None, seconds=1)
    assert caught.value.retryable


def test_a_search_answered_by_what_does_not_say_it_is_elasticsearch(elsewhere: tuple[Elasticsearch, PlainServer]) -> None:
    client, server = elsewhere
    server.answers["/x/_search"] = http(200, b"{}", b"Content-Type: application/json")
    with pytest.raises(ElasticsearchError) as caught:
        search(client, "x", {})
    assert caught.value.code == "elasticsearch.unsupported"


def test_warnings_of_a_search_are_passed_on(elsewhere: tuple[Elasticsearch, PlainServer]) -> None:
    client, server = elsewhere
    body = b'{"took":1,"timed_out":false,"_shards":{"failed":0},"hits":{"hits":[]}}'
    headers = (b"X-Elastic-Product: Elasticsearch", b"Content-Type: application/json", b'Warning: 299 Elasticsearch-9 "old"')
    server.answers["/x/_search"] = http(200, body, *headers)
    with pytest.warns(ElasticsearchWarning, match="old"):
        search(client, "x", {})


def test_a_host_that_is_dead_is_left_out(settings: Settings, filled: str) -> None:
    addresses = [f"http://127.0.0.1:{free_port()}", settings.elasticsearch_address]
    client = Elasticsearch(addresses, node_class=CurlNode, max_retries=2, serializer=Serializer())
    for _ in range(6):
        assert client.count(index=filled)["count"] == 6
    dead = Elasticsearch(addresses[:1], node_class=CurlNode, max_retries=2)
    with pytest.raises(Exception, match=r"Connection refused|Failed to connect|Could not connect"):
        dead.info()
    client.close()
    dead.close()
