"""A query's inputs as vectors: what is decoded and embedded when, vectors given, encoders that fail. Nothing is a service."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from embedding_toys import FAR, OWN, PICTURES, SCHEMA, WORDS, Encoder, Parts, asking, embedder, info_of, legs, row
from PIL import Image
from toys import IMAGE, TEXT, a_fused, an_encoded

from search_api.breakers import FAILURES
from search_api.deadline import Deadline
from search_api.degrading import NothingLeftError, check_mapped
from search_api.legs import Leg, wanted
from search_api.problems import status_of
from search_api.query import QueryInput
from search_api.words import TextOptions
from triptych.domain import Modality, Vectors
from triptych.encoders.base import Input
from triptych.errors import ElasticsearchError, EncoderError, MediaError, QueryError
from triptych.schema import LEXICAL, IndexSchema, Space
from triptych.settings import Settings

pytestmark = pytest.mark.unit

ALL = a_fused({"text": 0.6, "image": 0.8}, 5)


@pytest.fixture
def parts(settings: Settings) -> Parts:
    return Parts(settings)


# Inputs


def test_words_are_embedded_once_a_space_and_asked_as_they_are(parts: Parts) -> None:
    found = legs(parts, text="red shoe")
    assert list(found) == [LEXICAL, "text.text", "text.image"]
    assert found[LEXICAL] == Leg(LEXICAL, text="red shoe", fields=("title",))
    assert (row(found["text.text"]), row(found["text.image"])) == ([1, 0], [0, 1, 0])
    assert parts.rows["text"].asked == [("red shoe", TEXT)]
    assert parts.decoded == []


def test_a_picture_is_decoded_once_for_all_its_spaces(parts: Parts) -> None:
    like = an_encoded("audio", 3, document_modality=IMAGE, query_modalities=(IMAGE,), label="like")
    found = legs(parts, IndexSchema(spaces=(PICTURES, like)), image=b"picture")
    assert list(found) == ["image.image", "image.like"]
    assert parts.decoded == [(b"picture", IMAGE)]


def test_what_was_asked_before_is_neither_decoded_nor_embedded_again(parts: Parts) -> None:
    first = legs(parts, text="shoe", image=b"picture", audio=b"sound")
    asked = {name: len(encoder.asked) for name, encoder in parts.rows.items()}
    again = legs(parts, text="shoe", image=b"picture", audio=b"sound")
    assert {name: len(encoder.asked) for name, encoder in parts.rows.items()} == asked
    assert len(parts.decoded) == 2
    assert [row(leg) for leg in again.values() if leg.space] == [row(leg) for leg in first.values() if leg.space]
    legs(parts, text="shoes")
    assert len(parts.rows["text"].asked) == asked["text"] + 1


def test_queries_are_remembered_apart_from_documents(parts: Parts) -> None:
    legs(parts, text="shoe")
    assert {role for _, role, _ in parts.cache.held} == {"q"}


def test_an_input_that_says_nothing_is_named_asked_for_the_first_time_or_again(parts: Parts) -> None:
    parts.rows["image"] = Encoder([0.0] * 3)
    for _ in range(2):
        with pytest.raises(QueryError) as caught:
            legs(parts, image=b"i")
        assert (caught.value.code, caught.value.field) == ("query.no_vector", "image")


def test_what_an_encoder_finds_nothing_in_is_left_to_the_other_legs(parts: Parts) -> None:
    parts.rows["text"] = Encoder([0.0, 0.0])
    assert list(legs(parts, text="zzz")) == [LEXICAL, "text.image"]


def test_media_that_cannot_be_read_or_are_too_large_are_named(parts: Parts) -> None:
    with pytest.raises(MediaError) as caught:
        legs(parts, image=b"broken")
    assert caught.value.field == "image"
    parts.settings = parts.settings.model_copy(update={"media_bytes": 3})
    with pytest.raises(MediaError) as caught:
        legs(parts, image=b"four")
    assert caught.value.code == "media.too_many_bytes"
    assert len(parts.decoded) == 1


# Vectors given directly


def test_a_vector_is_scaled_to_length_one_unless_distance_is_measured(parts: Parts) -> None:
    found = legs(parts, vectors={"own": [3, 4], "far": [3, 4]})
    assert row(found["vector.own"]) == pytest.approx([0.6, 0.8])
    assert row(found["vector.far"]) == [3, 4]
    assert parts.cache.held == {}


@pytest.mark.parametrize("space", ["own", "far"])
@pytest.mark.parametrize("values", [[1e39, 0], [-1e300, 1]])
def test_numbers_beyond_float32_are_refused_or_become_a_direction(parts: Parts, space: str, values: list[float]) -> None:
    """Elasticsearch must not be sent infinities."""
    with contextlib.suppress(QueryError):
        found = legs(parts, vectors={space: values})
        assert space == "own"
        assert np.linalg.norm(row(found["vector.own"])) == pytest.approx(1)


@pytest.mark.parametrize("space", ["own", "far"])
@pytest.mark.parametrize("values", [[math.nan, 1], [math.inf, 1], [1, -math.inf], np.array([1, np.nan], np.float32)])
def test_what_is_no_number_is_told_by_its_field(parts: Parts, space: str, values: Any) -> None:
    with pytest.raises(QueryError) as caught:
        legs(parts, vectors={space: values})
    assert (caught.value.code, caught.value.field) == ("query.bad_vector", f"vectors.{space}")


@pytest.mark.parametrize("size", [1e-20, 1e20, 1e30])
def test_a_direction_is_searched_whatever_its_length(parts: Parts, size: float) -> None:
    assert row(legs(parts, vectors={"own": [3 * size, 4 * size]})["vector.own"]) == pytest.approx([0.6, 0.8])


# Fused

WHOLE = IndexSchema(spaces=(WORDS, PICTURES, ALL))


def test_all_inputs_make_one_vector_of_a_fused_space(parts: Parts) -> None:
    found = legs(parts, WHOLE, text="shoe", image=b"picture")
    # the words are (1, 0) in text and, as the picture, (0, 1, 0) in image: (.6, 0, 0, .8, 0), of length 1
    assert row(found["all"]) == pytest.approx([0.6, 0, 0, 0.8, 0])
    assert len(parts.rows["image"].asked) == 2  # once each, not again for the fused space


def test_a_part_that_the_query_lacks_is_zeros(parts: Parts) -> None:
    assert row(legs(parts, WHOLE, image=b"picture")["all"]) == pytest.approx([0, 0, 0, 1, 0])
    assert row(legs(parts, WHOLE, vectors={"text": [0, 5]})["all"]) == pytest.approx([0, 1, 0, 0, 0])


def test_a_part_is_the_mean_of_what_it_takes(parts: Parts) -> None:
    found = legs(parts, WHOLE, text="shoe", vectors={"image": [1, 0, 0]})
    half = 0.8 * 0.5**0.5
    assert row(found["all"]) == pytest.approx([0.6, 0, half, half, 0])


def test_a_vector_that_is_kept_as_it_is_still_counts_as_one_of_length_one(parts: Parts) -> None:
    """Parts have length 1, whatever their own similarity."""
    schema = IndexSchema(spaces=(OWN, FAR, a_fused({"own": 0.6, "far": 0.8}, 4)))
    found = legs(parts, schema, vectors={"own": [1, 0], "far": [0, 7]})
    assert row(found["vector.far"]) == [0, 7]
    assert row(found["all"]) == pytest.approx([0.6, 0, 0, 0.8])


def test_inputs_that_say_nothing_leave_a_fused_leg_without_a_vector(parts: Parts) -> None:
    parts.rows["text"], parts.rows["image"] = Encoder([0, 0]), Encoder([0, 0, 0])
    hidden: list[Space] = [space.model_copy(update={"index_type": "none"}) for space in (WORDS, PICTURES)]
    with pytest.raises(QueryError) as caught:
        legs(parts, IndexSchema(spaces=(*hidden, ALL)), text=".")
    assert caught.value.code == "query.no_vector"


# Several inputs, and what pushes away


def test_a_leg_that_weighs_below_zero_does_not_seek(parts: Parts) -> None:
    """Whether its input says so or the user's weight of the leg: it goes by the weight that the plan has by now."""
    asked = asking(text="shoe", inputs=(QueryInput("text", -1, text="red"),))
    plan = [replace(one, weight=-0.2) if one.name == "text.image" else one for one in wanted(asked.request, SCHEMA)]
    found = {leg.name: leg for leg in embedder(parts).legs(asked, plan)}
    assert [name for name, leg in found.items() if leg.seeks] == [LEXICAL, "text.text"]
    assert [(leg.name, leg.text) for leg in found.values() if leg.space is None] == [(LEXICAL, "shoe"), (f"{LEXICAL}#2", "red")]


def test_what_is_not_wanted_has_no_part_in_a_fused_vector(parts: Parts) -> None:
    found = legs(parts, WHOLE, image=b"picture", inputs=(QueryInput("text", -1, text="red"),))
    assert row(found["all"]) == pytest.approx([0, 0, 0, 1, 0])
    assert not found["text.text"].seeks


def test_words_are_searched_as_the_options_say(parts: Parts) -> None:
    options = TextOptions(fields=("title.en^2",), operator="and")
    found = legs(parts, text="shoe", text_options=options)[LEXICAL]
    assert (found.fields, found.options) == (("title.en^2",), options)


# Encoders that fail


@dataclass
class Broken(Encoder):
    error: Exception = field(default_factory=lambda: EncoderError("It is damaged.", code="encoder.damaged"))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        super().embed_queries(inputs, modality)
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [(EncoderError("It is damaged.", code="encoder.damaged"), "encoder.damaged"), (RuntimeError("CUDA"), "encoder.failed")],
)
def test_an_encoder_that_fails_costs_the_query_its_legs_not_the_answer(parts: Parts, error: Exception, code: str) -> None:
    parts.rows["image"] = Broken([0, 0, 0], error=error)
    asked = asking(text="shoe")
    found = embedder(parts).legs(asked, wanted(asked.request, SCHEMA))
    assert [leg.name for leg in found] == [LEXICAL, "text.text"]
    assert [(one.name, one.code) for one in asked.failed] == [("text.image", code)]


@pytest.mark.parametrize("bad", ["shoe", "boot"], ids=["the first", "the second"])
def test_of_two_texts_the_one_that_fails_alone_loses_its_leg(parts: Parts, bad: str) -> None:
    class Picky(Broken):
        def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
            return super().embed_queries(inputs, modality) if bad in inputs else Encoder.embed_queries(self, inputs, modality)

    parts.rows["image"] = Picky([0, 1, 0])
    asked = asking(text="shoe", inputs=(QueryInput("text", text="boot"),))
    found = [leg.name for leg in embedder(parts).legs(asked, wanted(asked.request, SCHEMA))]
    lost, kept = ("text.image", "text.image#2") if bad == "shoe" else ("text.image#2", "text.image")
    assert [(one.name, one.code) for one in asked.failed] == [(lost, "encoder.damaged")]
    assert kept in found
    assert lost not in found
    assert [name for name in found if "image" not in name] == [LEXICAL, "text.text", f"{LEXICAL}#2", "text.text#2"]


def test_if_no_leg_is_left_the_failure_is_the_error(parts: Parts) -> None:
    parts.rows["image"] = Broken([0, 0, 0])
    with pytest.raises(EncoderError) as caught:
        legs(parts, image=b"i", inputs=(QueryInput("text", -1, text="red"),))
    assert caught.value.code == "encoder.damaged"


def test_an_encoder_that_keeps_failing_is_left_alone(parts: Parts) -> None:
    parts.rows["image"] = broken = Broken([0, 0, 0])
    mine = embedder(parts)
    for _ in range(FAILURES + 3):
        asked = asking(text="shoe")
        mine.legs(asked, wanted(asked.request, SCHEMA))
        assert [one.name for one in asked.failed] == ["text.image"]
    assert len(broken.asked) == FAILURES
    assert len(parts.rows["text"].asked) == 1, "the other is cached"


def test_a_field_that_the_mapping_has_lost_costs_its_leg(parts: Parts) -> None:
    asked = asking(text="shoe")
    lost = {name: kind for name, kind in asked.info.fields.items() if name != PICTURES.field}
    asked.info = replace(asked.info, fields=lost)
    found = embedder(parts).legs(asked, wanted(asked.request, SCHEMA))
    assert [leg.name for leg in found] == [LEXICAL, "text.text"]
    assert [(one.name, one.code) for one in asked.failed] == [("text.image", "index.field_missing")]
    asked = replace(asking(image=b"i"), info=asked.info)
    with pytest.raises(NothingLeftError) as caught:
        embedder(parts).legs(asked, wanted(asked.request, SCHEMA))
    assert (caught.value.code, status_of(caught.value)) == ("index.field_missing", 503)


def test_of_a_space_of_several_media_both_fields_must_be_there() -> None:
    best = PICTURES.model_copy(update={"several": "best"})
    info = info_of(IndexSchema(spaces=(best,)))
    with pytest.raises(ElasticsearchError, match=best.parts_vector):
        check_mapped(info, best)
    check_mapped(replace(info, fields={**info.fields, best.parts_vector: "dense_vector"}), best)


def test_a_query_does_not_wait_for_its_picture_beyond_its_deadline(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, let_go = embedder(parts), threading.Event()
    monkeypatch.setattr(Parts, "decode", lambda *_: Image.new("RGB", (2, 2)) if let_go.wait(30) else None)
    try:
        asked = replace(asking(text="shoe", image=b"slow"), deadline=Deadline(0.3))
        found = mine.legs(asked, wanted(asked.request, SCHEMA))
        assert asked.deadline.took < 10
        assert LEXICAL in [leg.name for leg in found]
        late = [one for one in asked.failed if one.name.startswith("image.")]
        assert late
        assert {one.code for one in late} == {"encoder.too_slow"}
    finally:
        let_go.set()
    asked = asking(text="shoe", image=b"slow")
    assert len(mine.legs(asked, wanted(asked.request, SCHEMA))) == len(wanted(asked.request, SCHEMA)), "nothing is left alone"


def test_a_picture_that_cannot_be_read_is_told_within_a_deadline_too(parts: Parts) -> None:
    asked = replace(asking(image=b"broken"), deadline=Deadline(30))
    with pytest.raises(MediaError):
        embedder(parts).legs(asked, wanted(asked.request, SCHEMA))


def test_a_query_does_not_wait_for_the_encoders_beyond_its_deadline(parts: Parts) -> None:
    mine = embedder(parts)
    with mine._turns.held():
        asked = replace(asking(text="shoe"), deadline=Deadline(0.01))
        found = mine.legs(asked, wanted(asked.request, SCHEMA))
    assert [leg.name for leg in found] == [LEXICAL]
    assert {one.code for one in asked.failed} == {"encoder.busy"}
    asked = asking(text="shoe")
    assert len(mine.legs(asked, wanted(asked.request, SCHEMA))) == 3, "nobody is at fault, nothing is left alone"
