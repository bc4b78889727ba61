"""What a leg's scores mean: Elasticsearch's scores by its documented formulas, and the level from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.calibrate import Sample, level_of, measure, to_score
from triptych.domain import Modality
from triptych.encoders import registry
from triptych.encoders.base import unit
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

X, Y, DIAGONAL = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
IMAGE = registry.spec_of("image").to_space()


def _rows(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


# https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector#dense-vector-similarity


@pytest.mark.parametrize("similarity", ["cosine", "dot_product"])
def test_unit_vectors_score_half_of_one_plus_their_cosine(similarity: str) -> None:
    scores = to_score(_rows(X, DIAGONAL), _rows(X, Y, [-1.0, 0.0]), similarity)  # type: ignore[arg-type]
    assert scores == pytest.approx(np.array([[1, 0.5, 0], [0.8, 0.9, 0.2]]))


def test_cosine_does_not_depend_on_length() -> None:
    scores = to_score(_rows([3.0, 0.0]), _rows([5.0, 0.0], [0.0, 2.0], [-7.0, 0.0]), "cosine")
    assert scores == pytest.approx(np.array([[1, 0.5, 0]]))


def test_the_l2_norm_scores_one_over_one_plus_the_squared_distance() -> None:
    scores = to_score(_rows([0.0, 0.0], [1.0, 1.0]), _rows([0.0, 0.0], [3.0, 4.0]), "l2_norm")
    assert scores == pytest.approx(np.array([[1, 1 / 26], [1 / 3, 1 / 14]]))


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=6))
def test_scores_lie_between_zero_and_one(rows: list[list[float]]) -> None:
    vectors = unit(np.array(rows))
    for similarity in ("cosine", "dot_product", "l2_norm"):
        scores = to_score(vectors, vectors, similarity)  # type: ignore[arg-type]
        assert ((scores >= -1e-6) & (scores <= 1 + 1e-6)).all()
        assert scores.shape == (len(rows), len(rows))


def test_a_level_by_hand() -> None:
    """Its own product stands on the diagonal (1, .5, .5); the six other scores are the background."""
    queries = _rows(DIAGONAL, X, Y)
    documents = _rows(DIAGONAL, [0.0, 1.0], [1.0, 0.0])
    scores = [[1.0, 0.9, 0.8], [0.8, 0.5, 1.0], [0.9, 1.0, 0.5]]
    assert to_score(queries, documents, "cosine") == pytest.approx(np.array(scores))
    others = [0.9, 0.8, 0.8, 1.0, 0.9, 1.0]
    mean = sum(others) / 6
    level = level_of(queries, documents, "cosine", owners=range(len(queries)))
    assert level.floor == pytest.approx(mean)
    assert level.sigma == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in others) / 6))
    assert level.reliability == pytest.approx(1 / 3)  # only the first finds its own product first
    assert level.sample == 3


def test_a_product_does_not_count_as_its_own_background() -> None:
    level = level_of(_rows(X, Y), _rows(X, Y), "cosine")
    assert (level.floor, level.sigma, level.reliability) == (0.5, 0.0, None)


def test_reliability_is_the_share_of_titles_that_find_their_own_product_first() -> None:
    documents = np.eye(12, dtype=np.float32)
    queries = documents.copy()
    queries[:3] = unit(1 - documents[:3])  # three titles like every product better than their own
    level = level_of(queries, documents, "cosine", owners=range(12))
    assert level.reliability == pytest.approx(9 / 12)


@pytest.mark.parametrize(("ahead", "found"), [(0, 1.0), (1, 11 / 12)])
def test_the_first_is_found_and_the_second_is_not(ahead: int, found: float) -> None:
    documents = np.eye(12, dtype=np.float32)
    queries = documents.copy()
    queries[0] = [0.5, *[0.9] * ahead, *[0.1] * (11 - ahead)]
    assert level_of(queries, documents, "cosine", owners=range(12)).reliability == pytest.approx(found)


def test_two_titles_of_a_product_both_ask_for_it() -> None:
    documents = np.eye(3, dtype=np.float32)
    queries = np.concatenate([documents, documents[[1, 2, 0]]])  # the second titles all find another product
    level = level_of(queries, documents, "cosine", owners=[0, 1, 2, 0, 1, 2])
    assert (level.reliability, level.sample) == (0.5, 3)
    assert level.floor == pytest.approx((6 * 0.5 + 3 * 0.5 + 3 * 1.0) / 12)  # twelve pairs that do not belong together


def _sample(count: int) -> list[Sample]:
    rows = unit(np.random.default_rng(1).normal(size=(count, 4)))
    return [Sample(str(n), ("title",), {"image": row}) for n, row in enumerate(rows)]


@pytest.mark.parametrize(("count", "measured"), [(9, False), (10, True)])
def test_ten_products_can_tell(settings: Settings, count: int, *, measured: bool) -> None:
    level = measure(Services(settings), IMAGE, Modality.IMAGE, _sample(count))
    assert (level is not None) is measured


def test_pictures_asking_pictures_have_a_background_but_no_reliability(settings: Settings) -> None:
    level = measure(Services(settings), IMAGE, Modality.IMAGE, _sample(40))
    assert level is not None
    assert (level.reliability, level.sample) == (None, 40)
    assert 0.3 < level.floor < 0.7


def test_products_without_the_vector_do_not_count(settings: Settings) -> None:
    sample = [*_sample(9), Sample("x", ("title",), {})]
    assert measure(Services(settings), IMAGE, Modality.IMAGE, sample) is None
