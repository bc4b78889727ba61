"""Servers that are no Elasticsearch of ours: each is refused in words that say what to do, and is not asked again in vain."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from plain_server import PlainServer, http, plain_server

from triptych.elastic.client import Client, connect, ping, server, translated
from triptych.errors import ElasticsearchError
from triptych.settings import Settings

pytestmark = pytest.mark.integration

JSON = b"Content-Type: application/json"
ELASTIC = b"X-Elastic-Product: Elasticsearch"


@pytest.fixture
def other() -> Iterator[tuple[Client, PlainServer]]:
    """A client of a server over sockets that answers as the test says."""
    with plain_server() as state, connect(Settings(elasticsearch_url=f"http://127.0.0.1:{state.port}")) as client:
        yield client, state


def root(number: str, **more: str) -> bytes:
    version = {"number": number, "lucene_version": "9.12.1", **more}
    return json.dumps({"name": "n", "cluster_name": "c", "version": version, "tagline": "The OpenSearch Project"}).encode()


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (http(200, root("3.1.0", distribution="opensearch"), JSON), "elasticsearch.unsupported", "opensearch"),
        (http(200, root("7.10.2", distribution="opensearch"), JSON), "elasticsearch.unsupported", "opensearch"),
        (http(200, root("7.10.2"), JSON), "elasticsearch.unsupported", "before 7.14"),
        (http(200, b"<html>welcome</html>", b"Content-Type: text/html"), "elasticsearch.unsupported", "not Elasticsearch"),
        (http(200, root("7.17.29"), JSON, ELASTIC), "elasticsearch.too_old", "7.17.29"),
        (http(200, root("8.18.8"), JSON, ELASTIC), "elasticsearch.too_old", "8.18.8"),
        (http(200, root("8.11.0", build_flavor="serverless"), JSON, ELASTIC), "elasticsearch.unsupported", "serverless"),
    ],
    ids=["opensearch 3", "opensearch in disguise", "before 7.14", "a web server", "7.17", "8.18", "serverless"],
)
def test_a_server_that_does_not_fit_is_refused(other: tuple[Client, PlainServer], answer: bytes, code: str, words: str) -> None:
    client, state = other
    state.answers["/"] = answer
    for ask in (ping, server):
        with pytest.raises(ElasticsearchError, match=words) as caught:
            ask(client)
        assert (caught.value.code, caught.value.retryable) == (code, False)
        assert caught.value.remedy
    assert [asked.target for asked in state.seen] == ["/", "/"], "asked once each, and nothing after that"


@pytest.mark.parametrize(("headers", "code"), [((), "elasticsearch.unsupported"), ((ELASTIC,), "elasticsearch.too_old")])
def test_a_server_that_does_not_know_the_clients_media_type(
    other: tuple[Client, PlainServer], headers: tuple[bytes, ...], code: str
) -> None:
    """OpenSearch, and Elasticsearch before 7.16, refuse a request with a body of the media type of later clients."""
    client, state = other
    sentence = "Content-Type header [application/vnd.elasticsearch+json; compatible-with=8] is not supported"
    state.answers["/x/_search"] = http(406, json.dumps({"error": sentence, "status": 406}).encode(), JSON, *headers)
    with pytest.raises(ElasticsearchError) as caught, translated():
        client.search(index="x", query={"match_all": {}})
    assert (caught.value.code, caught.value.retryable) == (code, False)
