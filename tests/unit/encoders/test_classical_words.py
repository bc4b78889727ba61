"""Bags of words, TF-IDF and word vectors, on corpora small enough to work out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file

from triptych.domain import Modality
from triptych.encoders.base import Encoder, EncoderSpec, Family, Fitted, Setup, called
from triptych.encoders.classical import bag_of_words, vector_file, word_vectors, words
from triptych.encoders.classical.families import BAG_OF_WORDS, WORD_VECTORS
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_SHOP = [
    "Red felt hat. A warm hat of red wool.",
    "Blue cotton shirt with short sleeves.",
    "Green garden chair of steel.",
    "大提琴 木制 弦乐器",
    "红色 帽子 羊毛",
    "Café chair, folding.",
]
_EITHER = pytest.mark.parametrize("family", [BAG_OF_WORDS, WORD_VECTORS], ids=lambda family: family.name)


def setup_of(family: Family, dims: int, fitted: Fitted | None = None, model: Path | None = None, **options: Any) -> Setup:
    text = Modality.TEXT
    spec = EncoderSpec(
        name=family.name, space="text", document_modality=text, query_modalities=(text,), dims=dims, licence="none"
    )
    settings = Settings(device="cpu", dtype="float32")
    return Setup(spec=spec, options=family.options(**options), settings=settings, fitted=fitted, model=model)


def fit(family: Family, corpus: Sequence[str], dims: int, **options: Any) -> Fitted:
    assert family.fit is not None
    found: Fitted = called(family.fit)(setup_of(family, dims, **options), iter(corpus))
    return found


def fitted_encoder(family: Family, corpus: Sequence[str], dims: int, **options: Any) -> Encoder:
    return family.make(setup_of(family, dims, fit(family, corpus, dims, **options), **options))


@pytest.mark.parametrize(
    ("cut", "text", "expected"),
    [
        (words.terms, "Red 大提琴", ["red", "大", "提", "琴", "大提", "提琴"]),
        (words.words, "Red 大提琴", ["red", "大", "提", "琴"]),
        (words.terms, "CAFÉ ｃａｆｅ Straße", ["cafe", "cafe", "strasse"]),
        (words.terms, "4英寸 x-ray snake_case", ["4", "英", "寸", "英寸", "x", "ray", "snake", "case"]),
        (words.terms, "हिन्दी में", ["हिन्दी", "में"]),
        (words.terms, "กา", ["ก", "า", "กา"]),
        (words.terms, " ,.!? ", []),
        (words.parts, "red 大提琴", ["<re", "red", "ed>", "<red", "red>", "<red>"]),
        (words.parts, "a", ["<a>"]),
    ],
)
def test_terms_by_hand(cut: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def test_tf_idf_of_three_documents_by_hand() -> None:
    corpus = ["red hat", "red red chair", "blue"]
    known, idf = bag_of_words.learn("words", corpus, most=10, weighting="tfidf")
    assert known == ["blue", "chair", "hat", "red"]
    once, twice = math.log(4 / 2) + 1, math.log(4 / 3) + 1
    np.testing.assert_allclose(idf, [once, once, once, twice])
    row = bag_of_words.Bag("words", known, idf)(["red red chair unknown"]).toarray()[0]
    weights = np.array([0, once, 0, (1 + math.log(2)) * twice])
    np.testing.assert_allclose(row, weights / np.linalg.norm(weights))


def test_with_tf_every_word_counts_alike() -> None:
    known, idf = bag_of_words.learn("words", ["red hat", "red chair"], most=10, weighting="tf")
    np.testing.assert_array_equal(idf, [1, 1, 1])
    np.testing.assert_allclose(bag_of_words.Bag("words", known, idf)(["red hat"]).toarray(), [[0, 0.5**0.5, 0.5**0.5]])


def test_a_small_vocabulary_keeps_the_most_frequent_words() -> None:
    assert bag_of_words.learn("words", ["b a b", "c b a"], most=2, weighting="tf")[0] == ["a", "b"]


def test_with_room_for_all_directions_the_cosines_are_those_of_tf_idf() -> None:
    corpus = ["red hat", "red red chair", "blue"]
    known, idf = bag_of_words.learn("words", corpus, most=10, weighting="tfidf")
    rows = bag_of_words.Bag("words", known, idf)(corpus).toarray()
    found = fitted_encoder(BAG_OF_WORDS, corpus, 8, characters=False).embed_documents(corpus)
    np.testing.assert_allclose(found @ found.T, rows @ rows.T, atol=1e-5)
    assert not found[:, 3:].any()  # three documents have three directions; the rest is padding


def test_counting_company_by_hand() -> None:
    # a b a: a-b twice within 1; a-a once within 2, which counts for both its ends.
    ids = [np.array([0, 1, 0])]
    np.testing.assert_array_equal(word_vectors.cooccurrence(ids, 2, 1).toarray(), [[0, 2], [2, 0]])
    np.testing.assert_array_equal(word_vectors.cooccurrence(ids, 2, 2).toarray(), [[2, 2], [2, 0]])


def test_pmi_by_hand() -> None:
    # "a b" and "c d", twice "a c": of 8 places a has 3, b 1, c 3, d 1.
    pairs = [np.array(pair) for pair in ((0, 1), (2, 3), (0, 2), (0, 2))]
    counts = word_vectors.cooccurrence(pairs, 4, 1)
    found = word_vectors.positive_pmi(counts, smoothing=1.0).toarray()
    ab, ac = math.log((1 / 8) / (3 / 8 * 1 / 8)), math.log((2 / 8) / (3 / 8 * 3 / 8))
    np.testing.assert_allclose(found, [[0, ab, ac, 0], [ab, 0, 0, 0], [ac, 0, 0, ab], [0, 0, ab, 0]])


def test_smoothing_takes_weight_from_rare_company() -> None:
    counts = word_vectors.cooccurrence([np.array(pair) for pair in ((0, 1), (2, 3), (0, 2), (0, 2))], 4, 1)
    plain, smooth = (word_vectors.positive_pmi(counts, smoothing=power).toarray() for power in (1.0, 0.75))
    assert smooth[0, 1] < plain[0, 1]
    assert smooth[0, 2] > plain[0, 2]


def test_the_average_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    average = word_vectors.Averager(
        vectors, {"a": 0, "b": 1}, np.array([1.0, 0.5], np.float32), np.array([[1, 0]], dtype=np.float32)
    )
    np.testing.assert_allclose(average.plain([["a", "b", "x"], []]), [[0.5, 0.25], [0, 0]])
    np.testing.assert_allclose(average([["a", "b"]]), [[0, 0.25]])  # less the common direction


def test_words_of_like_company_are_alike() -> None:
    """Never in one text, but sofa and couch keep the same company; hammer keeps another."""
    corpus = ["soft grey sofa for rooms", "soft grey couch for rooms", "steel hammer with handle", "steel wrench with handle"]
    encoder = fitted_encoder(WORD_VECTORS, corpus * 6, 8)
    sofa, couch, hammer = encoder.embed_queries(["sofa", "couch", "hammer"], Modality.TEXT)
    assert sofa @ couch > 0.8
    assert sofa @ couch > sofa @ hammer + 0.5


@_EITHER
def test_the_right_product_is_nearest(family: Family) -> None:
    encoder = fitted_encoder(family, _SHOP, 32)
    documents = encoder.embed_documents(_SHOP)
    queries = encoder.embed_queries(["warm HAT", "shirt", "steel chair", "大提琴", "帽子", "cafe"], Modality.TEXT)
    assert (queries @ documents.T).argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 5]


def test_parts_of_words_find_another_spelling() -> None:
    with_parts = fitted_encoder(BAG_OF_WORDS, _SHOP, 32)
    best = (with_parts.embed_queries(["shirts", "gardenchair"], Modality.TEXT) @ with_parts.embed_documents(_SHOP).T).argmax(1)
    assert best.tolist() == [1, 2]
    without = fitted_encoder(BAG_OF_WORDS, _SHOP, 32, characters=False)
    assert not without.embed_queries(["shirts", "gardenchair"], Modality.TEXT).any()


@_EITHER
def test_a_text_without_a_known_word_has_no_vector(family: Family) -> None:
    encoder = fitted_encoder(family, _SHOP, 16)
    found = encoder.embed_documents(["", "\n", "?!", "жжж", "red hat"])
    assert found.shape == (5, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [0, 0, 0, 0, 1], atol=1e-6)
    assert encoder.embed_documents([]).shape == (0, 16)


@_EITHER
@pytest.mark.parametrize("corpus", [["hat"], ["hat"] * 30, ["红"], ["red hat", "red hat"]], ids=str)
def test_the_smallest_catalogues_find_themselves(family: Family, corpus: list[str]) -> None:
    encoder = fitted_encoder(family, corpus, 8)
    found = encoder.embed_documents(corpus[:1])
    np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=1e-6)


@_EITHER
def test_the_same_texts_give_the_same_bytes_and_they_survive_a_file(family: Family) -> None:
    first, second = (fit(family, _SHOP, 16) for _ in range(2))
    assert save(dict(first.tensors)) == save(dict(second.tensors))
    assert first.facts == second.facts
    kept = Fitted(load(save(dict(first.tensors))), json.loads(json.dumps(first.facts)))
    before, after = (family.make(setup_of(family, 16, fitted)).embed_documents(_SHOP) for fitted in (first, kept))
    np.testing.assert_array_equal(before, after)


@_EITHER
def test_a_text_does_not_depend_on_its_neighbours(family: Family) -> None:
    encoder = fitted_encoder(family, _SHOP, 16)
    together = encoder.embed_documents(_SHOP)
    alone = np.concatenate([encoder.embed_documents([text]) for text in _SHOP])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_query_of_another_modality_is_refused() -> None:
    with pytest.raises(EncoderError) as caught:
        fitted_encoder(BAG_OF_WORDS, _SHOP, 8).embed_queries(["a"], Modality.IMAGE)
    assert caught.value.code == "encoder.modality"


_VEC = "4 2\nsofa 1 0.1\nCouch 1 0\nhammer 0 1\nsofa 9 9\n"


def test_word_vectors_from_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "words.vec"
    path.write_text(_VEC, encoding="utf-8")
    known, vectors = vector_file.read(path, 10)
    assert known == ["sofa", "couch", "hammer"]
    np.testing.assert_allclose(vectors, [[1, 0.1], [1, 0], [0, 1]])
    assert vector_file.read(path, 2)[0] == ["sofa", "couch"]
    fitted = fit(WORD_VECTORS, ["hammer", "sofa"], 4, model=path)
    assert "vectors" not in fitted.tensors
    encoder = WORD_VECTORS.make(setup_of(WORD_VECTORS, 4, fitted, path))
    # The file knows a word that the catalogue has not.
    best = encoder.embed_queries(["couch"], Modality.TEXT) @ encoder.embed_documents(["hammer", "sofa"]).T
    assert best.argmax() == 1


def test_word_vectors_from_a_folder(tmp_path: Path) -> None:
    save_file({"vectors": np.eye(2, dtype=np.float32)}, tmp_path / vector_file.VECTORS)
    (tmp_path / vector_file.WORDS).write_text('["a", "b"]', encoding="utf-8")
    known, vectors = vector_file.read(tmp_path, 1)
    assert known == ["a"]
    np.testing.assert_array_equal(vectors, [[1, 0]])


@pytest.mark.parametrize("text", ["", "a 1 2\nb 1\n", "a one two\n", "3 2\n"], ids=repr)
def test_a_broken_file_of_word_vectors_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "words.vec"
    path.write_text(text, encoding="utf-8")
    for place in (path, tmp_path, tmp_path / "absent"):
        with pytest.raises(EncoderError) as caught:
            vector_file.read(place, 10)
        assert caught.value.code == "encoder.model"
