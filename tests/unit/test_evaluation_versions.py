"""Two versions side by side: what overlap counts, and in which order queries are told."""

from __future__ import annotations

import pytest

from evaluation.versions import Comparison, overlap

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("one", "other", "k", "share"),
    [
        (["a", "b"], ["b", "a"], 2, 1.0),
        (["a", "b"], ["a", "c"], 2, 0.5),
        (["a", "b", "c"], ["c", "d", "e"], 2, 0.0),
        (["a"], ["a", "b", "c", "d"], 4, 0.25),
        ([], ["a"], 3, 0.0),
        ([], [], 3, 1.0),
    ],
    ids=["other order", "half", "only the first k", "shorter", "empty", "both empty"],
)
def test_overlap(one: list[str], other: list[str], k: int, share: float) -> None:
    assert overlap(one, other, k) == share
    assert overlap(other, one, k) == share


def test_the_query_that_changed_most_is_told_first() -> None:
    found = Comparison("v1", "v2", 2, {"same": (["a", "b"], ["a", "b"]), "new": (["a", "b"], ["c", "b"])}, {}).to_dict()
    assert list(found["overlaps"].items()) == [("new", 0.5), ("same", 1.0)]
    assert (found["overlap"], found["queries"], found["serving"], found["waiting"]) == (0.75, 2, "v1", "v2")
