"""The connection's pure parts: what a server can do, what an error body says, which errors may be tried again."""

from __future__ import annotations

from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, ConnectionTimeout, HttpHeaders, NodeConfig
from elasticsearch import ApiError

from triptych.elastic.client import Server, translated
from triptych.elastic.reasons import reason_of
from triptych.errors import ElasticsearchError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("version", "base64_vectors", "hides_vectors"),
    [
        ("8.19.0", False, False),
        ("9.0.4", False, False),
        ("9.1.0", False, False),
        ("9.2.0", False, True),
        ("9.3.0-SNAPSHOT", True, True),
        ("9.3.0", True, True),
        ("9.10.1", True, True),
        ("10.0.0", True, True),
    ],
)
def test_what_a_server_can_do(version: str, *, base64_vectors: bool, hides_vectors: bool) -> None:
    server = Server(version, "node", "cluster")
    assert (server.base64_vectors, server.hides_vectors) == (base64_vectors, hides_vectors)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"type": "t", "reason": "the reason"}}, "the reason"),
        ({"error": {"type": "only_a_type"}}, "only_a_type"),
        ({"error": {"reason": "all shards failed", "root_cause": [{"reason": "the root"}]}}, "the root"),
        ({"error": {"reason": "all shards failed", "root_cause": []}}, "all shards failed"),
        ({"error": {"reason": "outer", "caused_by": {"type": "t", "reason": "inner"}}}, "inner"),
        (
            {"error": {"reason": "outer", "root_cause": [{"reason": "outer"}], "caused_by": {"reason": "inner"}}},
            "inner",
        ),
        (
            {
                "error": {
                    "reason": "1",
                    "caused_by": {"reason": "2", "caused_by": {"reason": "3", "caused_by": {"reason": "4"}}},
                }
            },
            "4",
        ),
        ({"error": {"reason": "outer", "caused_by": {"type": "no reason"}}}, "outer"),
        ({"error": "a sentence"}, "a sentence"),
        ({"type": "mapper_parsing_exception", "reason": "bare"}, "bare"),
        ("not JSON", "not JSON"),
        (None, "None"),
    ],
)
def test_the_innermost_cause_tells_most(body: object, reason: str) -> None:
    assert reason_of(body) == reason


def _raised(status: int, body: Any) -> ElasticsearchError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "localhost", 9200))
    with pytest.raises(ElasticsearchError) as caught, translated():
        raise ApiError("refused", meta, body)
    assert isinstance(caught.value.__cause__, ApiError)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "elasticsearch.bad_request", False),
        (401, "elasticsearch.forbidden", False),
        (403, "elasticsearch.forbidden", False),
        (404, "elasticsearch.not_found", False),
        (409, "elasticsearch.conflict", False),
        (408, "elasticsearch.busy", True),
        (429, "elasticsearch.busy", True),
        (500, "elasticsearch.refused", False),
        (502, "elasticsearch.busy", True),
        (503, "elasticsearch.busy", True),
        (504, "elasticsearch.busy", True),
    ],
)
def test_a_refusal_is_translated_by_its_status(status: int, code: str, *, retryable: bool) -> None:
    error = _raised(status, {"error": {"reason": "the reason"}})
    assert (error.code, error.retryable) == (code, retryable)
    assert "the reason" in error.message


def test_a_client_that_is_too_new_is_told_what_to_install() -> None:
    error = _raised(400, {"error": {"type": "media_type_header_exception", "reason": "Invalid media-type value"}})
    assert error.code == "elasticsearch.client_too_new"
    assert "elasticsearch>=8.19,<9" in (error.remedy or "")


def test_a_server_that_was_away_may_be_tried_again() -> None:
    with pytest.raises(ElasticsearchError) as caught, translated():
        raise ConnectionTimeout("timed out")
    assert (caught.value.code, caught.value.retryable) == ("elasticsearch.unavailable", True)


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        _ = 1 / 0
