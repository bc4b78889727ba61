"""Vectors that come with a record: what is taken, what is refused and why, and what becomes of the record."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest
from contents import content_hash
from toys import AUDIO, IMAGE, TEXT, a_fused, a_precomputed, an_encoded

from indexer import documents, pipeline, writing
from indexer.pipeline import Target, Work
from indexer.records import parse
from indexer.standing import Standing
from triptych.domain import DeadLetter, GivenVector, Outcome, Product
from triptych.elastic.bulk import Lines, Written
from triptych.elastic.client import Server
from triptych.encoders import fused
from triptych.encoders.base import Encoder
from triptych.errors import RecordError
from triptych.media.fetcher import BatchMedia
from triptych.schema import FIELD, MOST_DIMS, IndexSchema, Space
from triptych.services import Services

pytestmark = pytest.mark.unit


def _parsed(vectors: object) -> Product | DeadLetter:
    return parse({"line": 7, "text": json.dumps({"id": "p1", "price": 5, "vectors": vectors})})


def _given(vectors: object) -> dict[str, GivenVector]:
    parsed = _parsed(vectors)
    assert isinstance(parsed, Product), parsed
    assert parsed.fields == {"id": "p1", "price": 5}  # they are stored as vectors, not as fields
    return dict(parsed.vectors)


# The form


@pytest.mark.parametrize(
    ("vectors", "given"),
    [
        ({"text": [0.5, -1, 2]}, {"text": GivenVector((0.5, -1.0, 2.0))}),
        ({"text": {"values": [0.5]}}, {"text": GivenVector((0.5,))}),
        ({"text": {"values": [0.5], "fingerprint": "mine-v1"}}, {"text": GivenVector((0.5,), "mine-v1")}),
        ({"text": {"values": [0.5], "fingerprint": None}}, {"text": GivenVector((0.5,))}),
        ({"a": [1], "b": {"values": [2]}}, {"a": GivenVector((1.0,)), "b": GivenVector((2.0,))}),
        ({"text": [0] * MOST_DIMS}, {"text": GivenVector((0.0,) * MOST_DIMS)}),
        ({}, {}),
        (None, {}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_vector_is_a_list_or_a_mapping_with_a_fingerprint(vectors: object, given: dict[str, GivenVector]) -> None:
    assert _given(vectors) == given


def test_a_record_without_vectors_has_none() -> None:
    parsed = parse({"line": 1, "text": '{"id": "p1"}'})
    assert isinstance(parsed, Product)
    assert parsed.vectors == {}


@pytest.mark.parametrize(
    ("vectors", "where"),
    [
        ({"text": []}, "vectors.text.values"),
        ({"text": [0.1] * (MOST_DIMS + 1)}, "vectors.text.values"),
        ({"text": [0.1, "0.2"]}, "vectors.text.values.1"),
        ({"text": [0.1, None]}, "vectors.text.values.1"),
        ({"text": [0.1, True]}, "vectors.text.values.1"),
        ({"text": [[0.1]]}, "vectors.text.values.0"),
        ({"text": "AAAA"}, "vectors.text"),
        ({"text": 0.1}, "vectors.text"),
        ({"text": None}, "vectors.text"),
        ({"text": {}}, "vectors.text.values"),
        ({"text": {"fingerprint": "f"}}, "vectors.text.values"),
        ({"text": {"values": [0.1], "fingerprint": 5}}, "vectors.text.fingerprint"),
        ({"text": {"values": [0.1], "model": "m"}}, "vectors.text.model"),
        ([0.1, 0.2], "vectors"),
        ("text", "vectors"),
        ({f"s{number}": [0.1] for number in range(65)}, "vectors"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_vector_of_another_form_is_a_dead_letter_that_names_the_place(vectors: object, where: str) -> None:
    parsed = _parsed(vectors)
    assert isinstance(parsed, DeadLetter)
    assert (parsed.code, parsed.stage, parsed.line, parsed.product_id) == ("record.invalid", "parse", 7, "p1")
    assert parsed.message.startswith(f"{where}:")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e999"])
def test_a_number_that_is_none_is_a_dead_letter(number: str) -> None:
    parsed = parse({"line": 7, "text": '{"id": "p1", "vectors": {"text": [1, ' + number + "]}}"})
    assert isinstance(parsed, DeadLetter)


# Against the spaces of the index

TEXT_SPACE = an_encoded("text", 2)
OWN = a_precomputed("own", 2)


def _taken(given: GivenVector, space: Space | None, name: str = "own") -> list[float]:
    vector = documents.given_vector(name, given, space)
    assert vector.dtype == np.float32
    return [float(value) for value in vector]


def _refused(given: GivenVector, space: Space | None, name: str = "own") -> str:
    with pytest.raises(RecordError) as caught:
        documents.given_vector(name, given, space)
    assert (caught.value.code, caught.value.field) == ("record.vector", f"vectors.{name}")
    assert caught.value.message.startswith(f"vectors.{name}:")
    return caught.value.message


@pytest.mark.parametrize("fingerprint", [None, "mine-v1"])
def test_a_precomputed_space_takes_vectors_that_name_its_fingerprint_or_none(fingerprint: str | None) -> None:
    assert _taken(GivenVector((3.0, 4.0), fingerprint), OWN) == pytest.approx([0.6, 0.8])


def test_an_encoders_space_takes_vectors_of_that_encoder_only() -> None:
    assert _taken(GivenVector((3.0, 4.0), "print-text"), TEXT_SPACE, "text") == pytest.approx([0.6, 0.8])
    for other in (None, "mine-v1", "", "toy"):
        message = _refused(GivenVector((3.0, 4.0), other), TEXT_SPACE, "text")
        assert "print-text" in message
        assert repr(other) in message


def test_a_precomputed_space_refuses_another_fingerprint() -> None:
    assert "mine-v1" in _refused(GivenVector((3.0, 4.0), "mine-v2"), OWN)


def test_a_space_that_is_not_there_or_is_made_of_others_takes_none() -> None:
    _refused(GivenVector((1.0, 0.0)), None, "nosuch")
    _refused(GivenVector((1.0, 0.0)), a_fused({"text": 1, "own": 1}, 2), "all")


def test_a_space_that_is_only_a_part_takes_vectors_too() -> None:
    assert _taken(GivenVector((0.0, 2.0)), a_precomputed("own", 2, index_type="none")) == [0, 1]


@pytest.mark.parametrize("values", [(1.0,), (1.0, 0.0, 0.0)])
def test_another_length_is_refused_with_both_numbers(values: tuple[float, ...]) -> None:
    message = _refused(GivenVector(values), OWN)
    assert str(len(values)) in message
    assert "2 dims" in message


@pytest.mark.parametrize("similarity", ["cosine", "dot_product", "l2_norm"])
def test_zeros_are_refused(similarity: str) -> None:
    for values in ((0.0, 0.0), (-0.0, 0.0)):
        _refused(GivenVector(values), a_precomputed("own", 2, similarity=similarity))


@pytest.mark.parametrize("similarity", ["cosine", "dot_product", "l2_norm"])
@pytest.mark.parametrize("values", [(1e39, 0.0), (-1e39, 1e300), (1e308, 1e308)])
def test_numbers_beyond_float32_are_refused_or_become_a_direction(similarity: str, values: tuple[float, ...]) -> None:
    with contextlib.suppress(RecordError):
        vector = documents.given_vector("own", GivenVector(values), a_precomputed("own", 2, similarity=similarity))
        assert similarity == "cosine"
        assert np.linalg.norm(vector) == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-20, 1e20, 1e30])
def test_a_direction_is_taken_whatever_its_length(size: float) -> None:
    assert _taken(GivenVector((3 * size, 4 * size)), OWN) == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(("length", "taken"), [(1.0, True), (1.0005, True), (0.9995, True), (1.01, False), (0.5, False)])
def test_for_dot_product_the_length_must_be_one(length: float, *, taken: bool) -> None:
    space = a_precomputed("own", 2, similarity="dot_product")
    given = GivenVector((0.6 * length, 0.8 * length))
    if taken:
        assert math.hypot(*_taken(given, space)) == pytest.approx(1, abs=1e-6)
    else:
        assert "dot_product" in _refused(given, space)


def test_for_the_l2_norm_a_vector_stays_as_it_is() -> None:
    assert _taken(GivenVector((3.0, 4.0)), a_precomputed("own", 2, similarity="l2_norm")) == [3, 4]


# The content hash


def _hash(**vectors: GivenVector) -> str:
    return content_hash(Product("p1", {}, {"id": "p1"}, vectors=vectors), {}, [TEXT_SPACE])


def test_the_hash_changes_with_the_vectors_given() -> None:
    variants = [
        {},
        {"own": GivenVector((1.0, 2.0))},
        {"own": GivenVector((1.0, 2.5))},
        {"own": GivenVector((2.0, 1.0))},
        {"own": GivenVector((1.0, 2.0), "mine-v1")},
        {"other": GivenVector((1.0, 2.0))},
        {"own": GivenVector((1.0, 2.0)), "other": GivenVector((1.0, 2.0))},
    ]
    assert len({_hash(**variant) for variant in variants}) == len(variants)


def test_the_hash_does_not_change_otherwise() -> None:
    one, other = GivenVector((1.0, 2.0)), GivenVector((3.0,), "f")
    assert _hash(a=one, b=other) == _hash(b=other, a=one)
    assert _hash() == content_hash(Product("p1", {}, {"id": "p1"}), {}, [TEXT_SPACE])


# What becomes of a record with a wrong vector


def _written(work: Work, schema: IndexSchema, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, dict[str, Any]]:
    """The outcome that is counted, and our own fields of the document as they are written."""
    documents_: dict[str, Any] = {}

    def keep(_client: object, _index: str, lines: list[Lines]) -> dict[str, Written]:
        documents_.update({one.id: orjson.loads(one.text.splitlines()[1]) for one in lines})
        return {one.id: Written(one.id, 201) for one in lines}

    class Offline:
        elasticsearch, server = None, Server("9.5.0", "n", "c")

    monkeypatch.setattr(writing, "send", keep)
    outcomes: list[Any] = []
    target = Target("shop-1", schema, Path(), "job")
    services = cast("Services", Offline())
    lines = writing.prepare([work], {"p1": Standing()}, target, services)
    writing.write([work], lines, target, services, lambda _, end: outcomes.append(end))
    return outcomes[0], documents_["p1"][FIELD]


@pytest.mark.parametrize(
    "space", [OWN, a_precomputed("own", 2, document_modality=None), None], ids=["of a modality", "of none", "unknown"]
)
def test_a_wrong_vector_makes_the_record_partial_and_the_document_says_so_too(
    monkeypatch: pytest.MonkeyPatch, space: Space | None
) -> None:
    """The next run reads the outcome from the document: what was partial is tried again and keeps its dead letters."""
    schema = IndexSchema(spaces=(TEXT_SPACE, *([space] if space else [])))
    work = Work(7, Product("p1", {}, {"id": "p1"}, vectors={"own": GivenVector((1.0,))}))
    pipeline._take_given(work, schema)
    (letter,) = work.errors
    assert (letter.code, letter.stage, letter.reference) == ("record.vector", "embed", "vectors.own")
    outcome, own = _written(work, schema, monkeypatch)
    assert outcome is Outcome.PARTIAL
    assert own["outcome"] == outcome


def test_a_vector_that_is_kept_as_it_is_counts_in_a_fused_space_as_one_of_length_one() -> None:
    """Parts have length 1, whatever their own similarity."""
    far = a_precomputed("far", 2, similarity="l2_norm")
    schema = IndexSchema(spaces=(OWN, far, a_fused({"own": 0.6, "far": 0.8}, 4)))
    given = {"own": GivenVector((1.0, 0.0)), "far": GivenVector((0.0, 7.0))}
    work = Work(7, Product("p1", {}, {"id": "p1"}, vectors=given))

    class Without:
        encoders = staticmethod(lambda _schema: dict[str, Encoder]())

    pipeline._embed([work], Target("shop-1", schema, Path(), "job"), cast("Services", Without()), cast("BatchMedia", None))
    pipeline._fuse([work], fused.joins_of(schema, network=lambda space: pytest.fail(space.name)))
    assert work.vectors["far"].tolist() == [0, 7]
    assert work.vectors["all"].tolist() == pytest.approx([0.6, 0, 0, 0.8])


def test_a_right_vector_is_written_in_its_field_and_counts_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = IndexSchema(spaces=(TEXT_SPACE, OWN, a_precomputed("part", 2, index_type="none")))
    given = {"own": GivenVector((0.0, 2.0)), "part": GivenVector((1.0, 0.0))}
    work = Work(7, Product("p1", {}, {"id": "p1"}, vectors=given))
    pipeline._take_given(work, schema)
    assert work.errors == []
    outcome, own = _written(work, schema, monkeypatch)
    assert (outcome, own["outcome"]) == (Outcome.WRITTEN, "written")
    assert "own" in own
    assert "part" not in own  # it has no field


@pytest.mark.parametrize("modality", [TEXT, IMAGE, AUDIO])
def test_a_wrong_vector_misses_in_the_modality_of_its_space(monkeypatch: pytest.MonkeyPatch, modality: str) -> None:
    schema = IndexSchema(spaces=(a_precomputed("own", 2, document_modality=modality),))
    work = Work(7, Product("p1", {}, {"id": "p1"}, vectors={"own": GivenVector((1.0,))}))
    pipeline._take_given(work, schema)
    assert _written(work, schema, monkeypatch)[1]["missing"] == [modality]
