"""How the places of answers are counted: block by block, so memory does not grow with queries times products."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from training.measuring import first_places

pytestmark = pytest.mark.unit


def test_places_by_hand() -> None:
    documents = np.eye(3, dtype=np.float32)
    queries = np.array([[0.9, 0.1, 0], [0.5, 0.5, 0], [0, 0, 1], [1, 0, 0]], dtype=np.float32)
    answers = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    found = first_places(queries, documents, answers.__getitem__)
    assert found.places.tolist() == [2, 2, 1], "equal scores count against it; the last has no answer"
    assert found.answers.tolist() == [1, 1, 1]
    assert first_places(queries[:0], documents, answers[:0].__getitem__).measures()["queries"] == 0


def test_memory_holds_the_answers_of_one_block() -> None:
    random = np.random.default_rng(0)
    queries, documents = (random.normal(size=(4096, 4)).astype(np.float32) for _ in range(2))
    own = np.arange(4096)
    tracemalloc.start()
    found = first_places(queries, documents, lambda some: own[some, None] == own[None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.places) == 4096
    assert peak < 40e6, "512 x 4096 scores, places and answers; all answers and scores would be 80 MB"
