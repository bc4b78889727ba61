"""How a bulk is cut, and what is sent again: against a client that plays a server with too much to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self, cast

import orjson
import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError, Elasticsearch
from hypothesis import given
from hypothesis import strategies as st

from triptych.elastic.bulk import Limits, Lines, Version, Write, bulk, fitting
from triptych.elastic.client import DECODER
from triptych.errors import ElasticsearchError

QUICK = Limits(size=1000, documents=8, patience=5, first_wait=0.001, longest_wait=0.002)


@dataclass
class Node:
    """`status(ids, attempt)` says the status of a whole request, or of each item by id."""

    status: Callable[[list[str]], int | dict[str, int]]
    requests: list[list[str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def options(self, **_: Any) -> Self:
        return self

    def bulk(self, *, index: str, operations: bytes) -> SimpleNamespace:  # noqa: ARG002
        metas = [
            line for line in map(orjson.loads, operations.splitlines()) if set(line) & {"index", "create", "update", "delete"}
        ]
        actions = [next(iter(meta)) for meta in metas]
        ids = [meta[action]["_id"] for meta, action in zip(metas, actions, strict=True)]
        self.requests.append(ids)
        self.sizes.append(len(operations))
        given_ = self.status(ids)
        if isinstance(given_, int) and given_ != 200:
            meta = ApiResponseMeta(given_, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "localhost", 9200))
            raise ApiError("refused", meta, {"error": "no"})
        items = []
        for key, action in zip(ids, actions, strict=True):
            status = given_.get(key, 201) if isinstance(given_, dict) else 201
            items.append({action: {"_id": key, "status": status, **({"error": {"reason": "r"}} if status >= 400 else {})}})
        decoder = DECODER.get()
        assert decoder is not None
        return SimpleNamespace(body=decoder.decode(orjson.dumps({"errors": False, "items": items})))


def _writes(number: int, size: int = 10) -> list[Write]:
    return [Write(str(n), "index", {"x": "y" * size}) for n in range(number)]


def _bulk(node: Node, writes: list[Write], limits: Limits = QUICK) -> dict[str, Any]:
    return bulk(cast("Elasticsearch", node), "i", writes, limits)


@given(st.lists(st.integers(1, 50)), st.integers(1, 10), st.integers(1, 100))
def test_a_piece_is_within_both_limits_and_as_large_as_they_let_it(sizes: list[int], documents: int, size: int) -> None:
    number = fitting([Lines("", b"x" * one) for one in sizes], documents, size)
    assert number >= min(1, len(sizes))
    assert number <= documents
    assert number <= 1 or sum(sizes[:number]) <= size
    if number < min(documents, len(sizes)):
        assert sum(sizes[: number + 1]) > size


@given(st.integers(0, 40), st.integers(1, 200), st.data())
def test_every_document_is_told_of_once_and_written_in_order(number: int, size: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.sampled_from([str(n) for n in range(number)]))) if number else set()
    node = Node(lambda _: dict.fromkeys(bad, 400))
    done = _bulk(node, _writes(number, size))
    assert list(done) == [str(n) for n in range(number)]
    assert {key for key, one in done.items() if one.reason} == bad
    assert [key for ids in node.requests for key in ids] == list(done)
    assert all(total <= QUICK.size or len(ids) == 1 for total, ids in zip(node.sizes, node.requests, strict=True))


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_gets_half_as_many_each_time_down_to_one(status: int) -> None:
    node = Node(lambda ids: status if len(ids) > 1 else 200)
    done = _bulk(node, _writes(8))
    assert [len(ids) for ids in node.requests] == [8, 4, 2, *[1] * 8]
    assert all(one.reason is None for one in done.values())


def test_only_the_items_refused_for_load_are_sent_again() -> None:
    left = {"2": 2, "5": 1}

    def status(ids: list[str]) -> dict[str, int]:
        busy = {key: 429 for key in ids if left.get(key, 0) > 0}
        for key in busy:
            left[key] -= 1
        return busy

    node = Node(status)
    assert len(_bulk(node, _writes(6))) == 6
    assert node.requests == [["0", "1", "2", "3", "4", "5"], ["2", "5"], ["2"]]


def test_a_body_too_large_is_halved_at_once_and_one_that_is_too_large_alone_is_refused() -> None:
    node = Node(lambda ids: 413 if len(ids) > 2 or "3" in ids else 200)
    done = _bulk(node, _writes(4), Limits(patience=0))  # no patience: nothing was waited for
    assert {key: one.status for key, one in done.items()} == {"0": 201, "1": 201, "2": 201, "3": 413}
    assert done["3"].reason


def test_patience_has_an_end_and_the_error_says_that_it_may_be_tried_again() -> None:
    with pytest.raises(ElasticsearchError, match="too busy to write 3") as raised:
        _bulk(Node(lambda _: 429), _writes(3), Limits(patience=0.05, first_wait=0.01))
    assert raised.value.retryable
    assert raised.value.code == "elasticsearch.busy"


def test_other_refusals_of_a_request_are_raised() -> None:
    with pytest.raises(ElasticsearchError) as raised:
        _bulk(Node(lambda _: 403), _writes(1))
    assert raised.value.code == "elasticsearch.forbidden"


def test_a_write_names_the_version_it_was_decided_on() -> None:
    lines = Write("a", "update", {"doc": {}}, Version(7, 1)).lines()
    assert [orjson.loads(line) for line in lines.text.splitlines()] == [
        {"update": {"_id": "a", "if_seq_no": 7, "if_primary_term": 1}},
        {"doc": {}},
    ]
    assert Write("a", "delete").lines().text.count(b"\n") == 1
