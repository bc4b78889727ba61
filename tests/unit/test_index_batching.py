"""cut: batches are pieces of the stream, in order, and none too large."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.jobs.batching import cut

pytestmark = pytest.mark.unit


def _weight(record: Any) -> int:
    return len(record.get("text", "").encode())


RECORDS = st.lists(
    st.builds(lambda text: {"line": 1, "text": text}, st.text(max_size=12))
    | st.just({"line": 1, "code": "record.not_utf8", "message": "No."}),
    max_size=40,
)


@given(RECORDS, st.integers(1, 10), st.integers(1, 40))
def test_nothing_is_lost_doubled_or_moved(records: list[Any], size: int, most: int) -> None:
    assert [r for batch in cut(records, size=size, most_bytes=most) for r in batch] == records


@given(RECORDS, st.integers(1, 10), st.integers(1, 40))
def test_no_batch_is_empty_or_too_large(records: list[Any], size: int, most: int) -> None:
    for batch in cut(records, size=size, most_bytes=most):
        assert 1 <= len(batch) <= size
        assert sum(map(_weight, batch)) <= most or len(batch) == 1


@given(RECORDS, st.integers(1, 10), st.integers(1, 40))
def test_no_batch_is_cut_too_early(records: list[Any], size: int, most: int) -> None:
    batches = list(cut(records, size=size, most_bytes=most))
    for batch, following in pairwise(batches):
        assert len(batch) == size or sum(map(_weight, [*batch, following[0]])) > most


@pytest.mark.parametrize(
    ("texts", "shape"),
    [
        ([], []),
        (["a"], [1]),
        (["a"] * 5, [2, 2, 1]),
        (["a" * 6, "b" * 6], [1, 1]),
        (["a" * 99, "b"], [1, 1]),
        (["é" * 5] * 2, [1, 1]),
    ],
)
def test_by_hand(texts: list[str], shape: list[int]) -> None:
    records = [{"line": n, "text": text} for n, text in enumerate(texts, 1)]
    assert [len(batch) for batch in cut(records, size=2, most_bytes=10)] == shape


def test_a_stream_is_not_read_further_than_needed() -> None:
    taken = []

    def stream() -> Iterator[Any]:
        for n in range(100):
            taken.append(n)
            yield {"line": n, "text": ""}

    next(cut(stream(), size=10, most_bytes=10))
    assert len(taken) <= 11
