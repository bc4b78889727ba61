"""What a leg's scores mean: Elasticsearch's scores by its documented formulas, and the level from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import IMAGE as PICTURE
from toys import a_fused, a_precomputed, an_encoded, offline_spaces

from indexer.calibrate import Sample, found_by_another, lexical_noise, measure, measured, same_titles
from indexer.levels import deciles, level_of, to_score
from triptych.domain import Modality
from triptych.encoders import fused
from triptych.encoders.base import unit
from triptych.schema import IndexSchema, Space

pytestmark = pytest.mark.unit

X, Y, DIAGONAL = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
SCHEMA = IndexSchema(spaces=offline_spaces())
IMAGE = SCHEMA.spaces[1]


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
def test_ten_products_can_tell(count: int, *, measured: bool) -> None:
    level = measure(IMAGE, Modality.IMAGE, SCHEMA, {}, _sample(count))
    assert (level is not None) is measured


def test_pictures_asking_pictures_have_a_background_but_no_reliability() -> None:
    level = measure(IMAGE, Modality.IMAGE, SCHEMA, {}, _sample(40))
    assert level is not None
    assert (level.reliability, level.sample) == (None, 40)
    assert 0.3 < level.floor < 0.7


def _with_pictures(count: int, *, apart: float) -> list[Sample]:
    """Products of two pictures each, the second so far from the first."""
    rng = np.random.default_rng(5)
    first = unit(rng.normal(size=(count, 8)))
    second = unit(first + apart * unit(rng.normal(size=(count, 8))))
    return [Sample(str(n), (f"title {n}",), {"image": np.stack([first[n], second[n]])}) for n in range(count)]


@pytest.mark.parametrize(("apart", "least", "most"), [(0.1, 1.0, 1.0), (20.0, 0.0, 0.3)])
def test_reliability_of_pictures_is_that_of_another_picture_of_the_product(apart: float, least: float, most: float) -> None:
    level = measure(IMAGE, Modality.IMAGE, SCHEMA, {}, _with_pictures(30, apart=apart))
    assert level is not None
    assert level.reliability is not None
    assert least <= level.reliability <= most
    alone = measure(IMAGE, Modality.IMAGE, SCHEMA, {}, _with_pictures(9, apart=apart) + _sample_of_eight(21))
    assert alone is not None
    assert alone.reliability is None, "nine products with another picture tell nothing"


def _sample_of_eight(count: int) -> list[Sample]:
    rows = unit(np.random.default_rng(6).normal(size=(count, 8)))
    return [Sample(f"one-{n}", (f"thing {n}",), {"image": row}) for n, row in enumerate(rows)]


def test_the_same_picture_twice_tells_nothing() -> None:
    assert found_by_another(IMAGE, _with_pictures(30, apart=0.0)) is None


def test_products_without_the_vector_do_not_count() -> None:
    sample = [*_sample(9), Sample("x", ("title",), {})]
    assert measure(IMAGE, Modality.IMAGE, SCHEMA, {}, sample) is None


# Legs of each kind of space


def _no_network(space: Space) -> fused.Join:
    raise AssertionError(space)


class _Titles:
    """Finds a product's own vector by its title, which is its number; words beyond 99 say nothing to it."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def embed_queries(self, inputs: list[str], modality: Modality) -> np.ndarray:
        assert modality is Modality.TEXT
        nothing = np.zeros(self._rows.shape[1], dtype=np.float32)
        return np.array([self._rows[int(title)] if int(title) < 100 else nothing for title in inputs], dtype=np.float32)


ROWS = unit(np.random.default_rng(2).normal(size=(100, 3)))
OTHER_ROWS = unit(np.random.default_rng(3).normal(size=(100, 3)))
WORDS = an_encoded("words", 3)
PICTURES = an_encoded("pictures", 3, fingerprint=WORDS.fingerprint, document_modality=PICTURE)
WORDS_BY_PICTURES = WORDS.model_copy(update={"query_modalities": (Modality.TEXT, Modality.IMAGE)})
OWN = a_precomputed("own", 3)
ALL = a_fused({"words": 0.6, "own": 0.8}, 6)


def _drawn(count: int, *names: str, start: int = 0) -> list[Sample]:
    held = {"words": ROWS, "pictures": OTHER_ROWS, "own": OTHER_ROWS, "all": np.hstack([0.6 * ROWS, 0.8 * OTHER_ROWS])}
    return [Sample(f"p{n}", (str(n),), {name: held[name][n] for name in names}) for n in range(start, start + count)]


def test_every_leg_of_a_space_has_its_level() -> None:
    levels = measured(WORDS, IndexSchema(spaces=(WORDS,)), {"words": _Titles(ROWS)}, {}, _drawn(20, "words"))  # type: ignore[dict-item]
    assert set(levels) == {"text.text", "vector.words"}
    assert (levels["text.text"].reliability, levels["text.text"].sample) == (1.0, 20)
    assert (levels["vector.words"].reliability, levels["vector.words"].sample) == (None, 20)


def test_a_precomputed_space_has_the_background_of_its_own_vectors() -> None:
    levels = measured(OWN, IndexSchema(spaces=(OWN,)), {}, {}, _drawn(20, "own"))
    assert set(levels) == {"vector.own"}
    assert levels["vector.own"].reliability is None
    assert measured(OWN, IndexSchema(spaces=(OWN,)), {}, {}, _drawn(9, "own")) == {}


def test_a_fused_space_is_asked_by_titles_in_the_parts_that_words_search() -> None:
    schema = IndexSchema(spaces=(WORDS, OWN, ALL))
    levels = measured(
        ALL, schema, {"words": _Titles(ROWS)}, fused.joins_of(schema, _no_network), _drawn(20, "words", "own", "all")
    )  # type: ignore[dict-item]
    assert set(levels) == {"all"}
    queries = np.hstack([ROWS[:20], np.zeros((20, 3), np.float32)])
    documents = np.hstack([0.6 * ROWS[:20], 0.8 * OTHER_ROWS[:20]])
    expected = level_of(queries, documents, "cosine", owners=range(20))
    assert levels["all"].floor == pytest.approx(expected.floor, abs=1e-5)
    assert levels["all"].reliability == expected.reliability


def test_a_fused_space_that_no_words_search_has_a_background_only() -> None:
    own = a_precomputed("words", 3)
    schema = IndexSchema(spaces=(own, OWN, ALL))
    levels = measured(ALL, schema, {}, fused.joins_of(schema, _no_network), _drawn(20, "words", "own", "all"))
    assert (levels["all"].reliability, levels["all"].sample) == (None, 20)


def test_pictures_that_ask_words_are_measured_where_one_encoder_embeds_both() -> None:
    schema = IndexSchema(spaces=(WORDS_BY_PICTURES, PICTURES))
    level = measure(WORDS_BY_PICTURES, Modality.IMAGE, schema, {}, _drawn(20, "words", "pictures"))
    assert level == level_of(OTHER_ROWS[:20], ROWS[:20], "cosine", owners=range(20))
    stranger = PICTURES.model_copy(update={"fingerprint": "other"})
    schema = IndexSchema(spaces=(WORDS_BY_PICTURES, stranger))
    assert measure(WORDS_BY_PICTURES, Modality.IMAGE, schema, {}, _drawn(20, "words", "pictures")) is None


def test_titles_that_say_nothing_do_not_ask() -> None:
    sample = [*_drawn(15, "words"), *[Sample(f"x{n}", ("100",), {"words": ROWS[n]}) for n in range(20, 30)]]
    level = measure(WORDS, Modality.TEXT, IndexSchema(spaces=(WORDS,)), {"words": _Titles(ROWS)}, sample)  # type: ignore[dict-item]
    assert level is not None
    assert (level.reliability, level.sample) == (1.0, 25)


# Noise: what a match that means nothing reaches at best


def _circle(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_noise_is_the_best_score_of_the_others_per_query() -> None:
    """Twelve on a circle, 30 degrees apart: the best other of each has a cosine of cos 30."""
    rows = _circle([30 * n for n in range(12)])
    level = level_of(rows, rows, "cosine")
    assert level.noise == pytest.approx([(1 + math.cos(math.radians(30))) / 2] * 11, abs=1e-5)


def test_noise_is_told_by_deciles() -> None:
    assert deciles(np.arange(101.0)) == tuple(float(x) for x in range(0, 101, 10))
    assert deciles(np.array([*range(101), -np.inf])) == deciles(np.arange(101.0))  # a query without a stranger


@pytest.mark.parametrize(("count", "measured"), [(9, False), (10, True)])
def test_noise_wants_ten_queries(count: int, *, measured: bool) -> None:
    assert bool(deciles(np.array([*np.ones(count), *[-np.inf] * 90]))) is measured


@pytest.mark.parametrize(("apart", "counts"), [(1.0, False), (4.0, True)])
def test_a_product_of_almost_the_same_vector_is_a_variant_and_no_noise(apart: float, *, counts: bool) -> None:
    rows = _circle([angle for n in range(12) for angle in (30 * n, 30 * n + apart)])
    level = level_of(rows, rows, "cosine")
    nearest = apart if counts else 30 - apart
    assert level.noise[-1] == pytest.approx((1 + math.cos(math.radians(nearest))) / 2, abs=1e-5)


def test_a_product_of_the_same_title_is_a_variant_and_no_noise() -> None:
    rows = _circle([30 * n for n in range(12)])
    sample = [Sample(str(n), (), {}, frozenset({f"shoe {n // 2}"})) for n in range(12)]
    same = same_titles(sample)
    assert same.sum() == 24
    level = level_of(rows, rows, "cosine", owners=range(12), same=same)
    assert level.noise == pytest.approx(
        [(1 + math.cos(math.radians(30))) / 2] * 11, abs=1e-5
    )  # the neighbour to the other side
    all_same = np.ones((12, 12), dtype=bool)
    assert level_of(rows, rows, "cosine", owners=range(12), same=all_same).noise == ()


def test_products_without_a_title_are_no_variants_of_each_other() -> None:
    assert same_titles([Sample("a", (), {}), Sample("b", (), {})]).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("hits", "noise"),
    [
        ([("own", 9.0), ("variant", 8.0), ("other", 6.0), ("another", 3.0)], 3.0),
        ([("other", 6.0), ("own", 5.0)], 3.0),
        ([("own", 9.0), ("variant", 8.0)], 0.0),
        ([], 0.0),
    ],
    ids=["of four", "own is second", "none but variants", "no hit"],
)
def test_the_noise_of_words_is_the_best_other_score_a_word(hits: list[tuple[str, float]], noise: float) -> None:
    shoe, hat = frozenset({"red shoe"}), frozenset({"hat"})
    names = {"own": shoe, "variant": shoe | hat, "other": hat, "another": frozenset()}
    answer = [{"_id": key, "_score": score} for key, score in hits]
    assert lexical_noise(answer, Sample("own", ("Red shoe",), {}, shoe), "Red shoe", names) == noise


def test_a_title_without_words_has_no_noise() -> None:
    assert lexical_noise([], Sample("own", ("!",), {}), "!", {}) == -math.inf


# Several parts


def test_a_product_scores_by_its_best_part() -> None:
    documents = [_rows(X, Y), np.array(DIAGONAL, dtype=np.float32)]
    level = level_of(_rows(Y, X), documents, "cosine", owners=[0, 1])
    assert level.floor == pytest.approx((0.9 + 1.0) / 2)  # Y against DIAGONAL; X against the first of two parts
    assert (level.reliability, level.sample) == (0.5, 2)


def test_the_first_part_asks() -> None:
    rows = unit(np.random.default_rng(5).normal(size=(12, 4)))
    sample = [Sample(str(n), (), {"image": np.stack([row, -row])}) for n, row in enumerate(rows)]
    level = measure(IMAGE, Modality.IMAGE, SCHEMA, {}, sample)
    assert level is not None
    assert level.model_copy(update={"reliability": None}) == level_of(rows, [np.stack([row, -row]) for row in rows], "cosine")
    assert level.floor > 0.5
