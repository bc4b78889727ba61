"""cut: batches are pieces of the stream, in order, and none too large."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.domain import Modality
from triptych.jobs.batching import CHEAP, cut

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
    assert [r for batch in cut(records, size=size, most_bytes=most, encoded=()) for r in batch.records] == records


@given(RECORDS, st.integers(1, 10), st.integers(1, 40))
def test_no_batch_is_empty_or_too_large(records: list[Any], size: int, most: int) -> None:
    for batch in cut(records, size=size, most_bytes=most):
        assert 1 <= len(batch.records) <= size * CHEAP
        assert sum(map(_weight, batch.records)) <= most or len(batch.records) == 1


@given(RECORDS, st.integers(1, 10), st.integers(1, 40))
def test_no_batch_is_cut_too_early(records: list[Any], size: int, most: int) -> None:
    batches = [batch.records for batch in cut(records, size=size, most_bytes=most)]
    for batch, following in pairwise(batches):
        assert len(batch) == size * CHEAP or sum(map(_weight, [*batch, following[0]])) > most


@pytest.mark.parametrize(
    ("texts", "shape"),
    [
        ([], []),
        (["a"], [1]),
        (["a"] * 11, [10, 1]),
        (["a" * 6, "b" * 6], [1, 1]),
        (["a" * 99, "b"], [1, 1]),
        (["é" * 5] * 2, [1, 1]),
    ],
)
def test_by_hand(texts: list[str], shape: list[int]) -> None:
    records = [{"line": n, "text": text} for n, text in enumerate(texts, 1)]
    assert [len(batch.records) for batch in cut(records, size=2, most_bytes=10)] == shape


TITLED = {"line": 1, "text": '{"id": "a", "title": "A red kettle"}'}
SEEN = {"line": 1, "text": '{"id": "a", "images": ["a.jpg"]}'}
HEARD = {"line": 1, "text": '{"id": "a", "audio": ["a.wav"]}'}
PRICED = {"line": 1, "text": '{"id": "a", "_op": "update", "price": 3}'}
GONE = {"line": 1, "text": '{"id": "a", "_op": "delete", "title": "A red kettle"}'}


@pytest.mark.parametrize(
    ("records", "encoded", "shape"),
    [
        ([TITLED] * 5, ["text"], [2, 2, 1]),
        ([TITLED] * (2 * CHEAP + 1), ["image"], [2 * CHEAP, 1]),
        ([PRICED, GONE] * (CHEAP + 1), ["text", "image", "audio"], [2 * CHEAP, 2]),
        ([SEEN, *[PRICED] * CHEAP, HEARD], ["image", "audio"], [CHEAP + 1, 1]),
        ([TITLED, *[SEEN] * 3], [], [4]),
    ],
)
def test_records_that_need_no_encoder_go_many_at_once(records: list[Any], encoded: list[str], shape: list[int]) -> None:
    batches = cut(records, size=2, most_bytes=100_000, encoded=[Modality(name) for name in encoded])
    assert [len(batch.records) for batch in batches] == shape


@pytest.mark.parametrize(
    ("records", "kind"),
    [([TITLED, PRICED], "words"), ([TITLED, HEARD], "sounds"), ([HEARD, SEEN, TITLED], "pictures"), ([GONE], "words")],
)
def test_a_batch_goes_where_its_media_are_worked_on(records: list[Any], kind: str) -> None:
    assert [batch.kind for batch in cut(records, size=9, most_bytes=100_000)] == [kind]


def test_a_stream_is_not_read_further_than_needed() -> None:
    taken = []

    def stream() -> Iterator[Any]:
        for n in range(100):
            taken.append(n)
            yield {"line": n, "text": "x"}

    next(cut(stream(), size=10, most_bytes=10))
    assert len(taken) <= 11
