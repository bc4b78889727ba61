"""Which legs a query has, and what each asks of Elasticsearch."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from toys import AUDIO, IMAGE, a_fused, a_precomputed, an_encoded, offline_spaces

from search_api.asking import AT_ONCE
from search_api.legs import OVERSAMPLE, Asked, Leg, best_part_body, body, completion_body, counting_body, knn, lexical, wanted
from search_api.query import LARGEST_WINDOW, QueryInput, SearchRequest
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.errors import EncoderError, QueryError
from triptych.schema import KEY_FIELD, LEXICAL, IndexSchema, IndexType, Space

pytestmark = pytest.mark.unit

SPACES = offline_spaces()
SCHEMA = IndexSchema(lexical_fields=("title.*^3", "sku"), spaces=SPACES)
OLD, NEW = Server("8.19.3", "n", "c"), Server("9.5.0", "n", "c")
RED = {"term": {"colour": "red"}}
IDS = ["p1", "p2", "p3"]
AMONG = {"terms": {KEY_FIELD: IDS}}

WORDS_ONLY = Leg(LEXICAL, text="red shoe", fields=("title.*^3", "sku"))
PICTURES = an_encoded("image", 3, document_modality=IMAGE, query_modalities=(IMAGE,))
PICTURE = Leg("image.image", PICTURES, np.linspace(0.1, 1, 3, dtype=np.float32))

T, I, A = {"text": "shoe"}, {"image": b"i"}, {"audio": b"a"}  # noqa: E741
TEXT_LEGS, IMAGE_LEGS, AUDIO_LEGS = [LEXICAL, "text.text", "text.image"], ["image.image"], ["audio.audio"]


def asked(window: int = 10, *, server: Server = NEW, **more: Any) -> Asked:
    return Asked(server, window, **more)


def names(schema: IndexSchema = SCHEMA, **fields: Any) -> list[str]:
    return [leg.name for leg in wanted(SearchRequest("shop", **fields), schema)]


@pytest.mark.parametrize(
    ("inputs", "legs"),
    [
        (T, TEXT_LEGS),
        (I, IMAGE_LEGS),
        (A, AUDIO_LEGS),
        (T | I, TEXT_LEGS + IMAGE_LEGS),
        (T | A, TEXT_LEGS + AUDIO_LEGS),
        (I | A, IMAGE_LEGS + AUDIO_LEGS),
        (A | I | T, TEXT_LEGS + IMAGE_LEGS + AUDIO_LEGS),
    ],
    ids=["text", "image", "audio", "text+image", "text+audio", "image+audio", "all"],
)
def test_each_input_makes_a_leg_in_every_space_that_takes_it_in_a_fixed_order(inputs: dict[str, Any], legs: list[str]) -> None:
    plan = wanted(SearchRequest("shop", **inputs), SCHEMA)
    assert [leg.name for leg in plan] == legs
    assert all(leg.space is None or leg.modality in leg.space.query_modalities for leg in plan)
    assert all(leg.source == str(leg.modality) and leg.base == leg.name and leg.weight == 1 for leg in plan)


def test_the_second_input_of_a_kind_has_legs_of_its_own() -> None:
    further = (QueryInput("text", -0.5, text="red"), QueryInput("image", 2, data=b"2"), QueryInput("image", data=b"3"))
    plan = wanted(SearchRequest("shop", text="shoe", image=b"1", inputs=further), SCHEMA)
    assert [(leg.name, leg.source, leg.base, leg.weight) for leg in plan] == [
        (LEXICAL, "text", LEXICAL, 1), ("text.text", "text", "text.text", 1), ("text.image", "text", "text.image", 1),
        (f"{LEXICAL}#2", "text#2", LEXICAL, -0.5), ("text.text#2", "text#2", "text.text", -0.5),
        ("text.image#2", "text#2", "text.image", -0.5), ("image.image", "image", "image.image", 1),
        ("image.image#2", "image#2", "image.image", 2), ("image.image#3", "image#3", "image.image", 1),
    ]  # fmt: skip
    assert [leg.inputs[0].data for leg in plan[-3:]] == [b"1", b"2", b"3"]


def test_products_search_every_space_by_its_own_name() -> None:
    """Two of the default profile's spaces hold pictures: their legs must not be called alike."""
    plan = wanted(SearchRequest("shop", products=("a", "b")), SCHEMA)
    assert [leg.name for leg in plan] == [f"products.{space.name}" for space in SPACES]
    assert {leg.source for leg in plan} == {"products"}
    assert [leg.base for leg in plan] == [space.vector_leg for space in SPACES]
    assert all(leg.modality is None for leg in plan)
    more = names(products=("a",), inputs=(QueryInput("products", -1, products=("b",)),))
    assert more[len(SPACES)] == f"products.{SPACES[0].name}#2"
    assert len(set(more)) == 2 * len(SPACES)


def test_products_search_a_fused_space_once() -> None:
    words, whole = an_encoded("text", 2), a_fused({"text": 1}, 2, label="whole")
    plan = wanted(SearchRequest("shop", text="x", products=("a",)), IndexSchema(spaces=(words, whole)))
    assert [(leg.name, leg.base, leg.fused) for leg in plan] == [
        ("text.text", "text.text", False), ("whole", "whole", True), ("products.text", "vector.text", False),
        ("products.all", "whole", False),
    ]  # fmt: skip


def test_the_share_of_a_fused_leg_does_not_hang_on_the_unit_of_weights() -> None:
    """Weights are shares beside each other: 2 and 2 is 1 and 1. What is not wanted has no part in it."""
    spaces = (an_encoded("text", 2), an_encoded("image", 3, document_modality=IMAGE, query_modalities=(IMAGE,)))
    schema = IndexSchema(spaces=(*spaces, a_fused({"text": 1, "image": 1}, 5)))
    for unit in (1, 2, 0.25):
        inputs = (QueryInput("text", unit, text="x"), QueryInput("image", unit, data=b"i"), QueryInput("text", -unit, text="y"))
        (whole,) = [leg for leg in wanted(SearchRequest("shop", inputs=inputs), schema) if leg.fused]
        assert whole.weight == unit
        assert len(whole.inputs) == 2


def test_without_lexical_fields_words_have_no_lexical_leg() -> None:
    assert names(IndexSchema(spaces=SPACES), **T) == ["text.text", "text.image"]


def test_a_query_of_nothing_is_refused() -> None:
    with pytest.raises(QueryError) as caught:
        wanted(SearchRequest("shop"), SCHEMA)
    assert caught.value.code == "query.empty"


@pytest.mark.parametrize(
    ("inputs", "field"),
    [(A, "audio"), (T | A, "audio"), (I, "image"), (T | {"inputs": (QueryInput("image", data=b"i"),)}, "inputs.0.image")],
)
def test_an_input_no_space_takes_is_named(inputs: dict[str, Any], field: str) -> None:
    with pytest.raises(QueryError) as caught:
        wanted(SearchRequest("shop", **inputs), IndexSchema(lexical_fields=("title",), spaces=SPACES[:1]))
    assert (caught.value.code, caught.value.field) == ("query.no_space", field)


# Bodies of words

OURS = {"exists": {"field": KEY_FIELD}}


def test_words_are_asked_in_the_lexical_fields() -> None:
    found = body(WORDS_ONLY, asked(100, filters=[RED], timeout_ms=123))
    match = found["query"]["bool"]["must"]["multi_match"]
    assert (match["query"], match["fields"]) == ("red shoe", ["title.*^3", "sku"])
    assert (found["size"], found["timeout"], found["track_total_hits"]) == (100, "123ms", True)
    assert found["query"]["bool"]["filter"] == [OURS, RED]


def test_words_count_facets_beside() -> None:
    counting = {"facet_0": {"terms": {"field": "brand"}}}
    assert body(WORDS_ONLY, asked(aggregations=counting))["aggregations"] == counting
    assert "aggregations" not in body(WORDS_ONLY, asked())
    assert "aggregations" not in body(Leg(LEXICAL, text="x", fields=("title",), seeks=False), asked(aggregations=counting))
    assert "aggregations" not in body(PICTURE, asked(aggregations=counting))


def test_several_texts_are_counted_together_and_facets_once() -> None:
    second, unwanted = Leg(f"{LEXICAL}#2", text="hat"), Leg(f"{LEXICAL}#3", text="cap", seeks=False)
    facets = {"colour": {"terms": {"field": "colour"}}}
    found = counting_body([WORDS_ONLY, PICTURE, second, unwanted], asked(filters=[RED], aggregations=facets))
    assert found is not None
    assert found["query"]["bool"]["must"]["bool"]["should"] == [lexical(WORDS_ONLY), lexical(second)]
    assert RED in found["query"]["bool"]["filter"]
    assert (found["size"], found["track_total_hits"], found["aggregations"]) == (0, True, facets)
    assert "aggregations" not in (counting_body([WORDS_ONLY, second], asked()) or {})
    assert counting_body([WORDS_ONLY, PICTURE, unwanted], asked(aggregations=facets)) is None, "its own leg counts it"
    alone = counting_body([PICTURE, unwanted], asked(aggregations=facets))
    assert alone is not None
    assert (alone["query"]["bool"].keys(), alone["track_total_hits"]) == ({"filter"}, False)
    assert counting_body([PICTURE], asked()) is None


def test_long_words_are_cut_before_they_make_too_many_clauses() -> None:
    long = Leg(LEXICAL, text="x" * 10_000, fields=("title",))
    assert len(body(long, asked())["query"]["bool"]["must"]["multi_match"]["query"]) == 300


# Bodies of vectors


def clauses_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The kNN clauses of a body, which stand in its query or, where they are two, beside it."""
    assert ("knn" in found) is not ("query" in found)
    clauses = found["knn"] if "knn" in found else found["query"]["knn"]
    return clauses if isinstance(clauses, list) else [clauses]


@pytest.mark.parametrize("server", [OLD, NEW], ids=["8.19", "9.5"])
def test_a_picture_is_asked_in_its_field(server: Server) -> None:
    found = body(PICTURE, asked(50, server=server, filters=[RED]))
    (clause,) = clauses_of(found)
    assert (clause["field"], clause["k"], found["size"], found["track_total_hits"]) == ("triptych.image", 50, 50, False)
    assert PICTURE.vector is not None
    assert clause["query_vector"] == pack(PICTURE.vector, server)
    assert clause["filter"] == [RED], "inside: beside it the filter would act afterwards"


@pytest.mark.parametrize("window", [1, 10, 100, LARGEST_WINDOW, 5000, 10_000])
def test_candidates_suffice_for_what_is_scored_again(window: int) -> None:
    (clause,) = clauses_of(body(PICTURE, asked(window)))
    assert clause["rescore_vector"] == {"oversample": OVERSAMPLE}
    assert clause["k"] <= clause["num_candidates"] <= 10_000
    assert clause["num_candidates"] >= min(window * OVERSAMPLE, 10_000)


@pytest.mark.parametrize("index_type", [kind for kind in get_args(IndexType) if kind != "none"])
@pytest.mark.parametrize("exact", [True, False])
def test_only_shortened_vectors_are_scored_again_if_at_all(index_type: IndexType, exact: bool) -> None:
    leg = Leg("text.text", an_encoded("text", 2, index_type=index_type), np.array([1, 0], dtype=np.float32))
    for found in (body(leg, asked(exact=exact)), completion_body(leg, ["p1"], asked(exact=exact))):
        (clause,) = clauses_of(found)
        assert ("rescore_vector" in clause) is (exact and index_type.startswith(("int8", "int4", "bbq")))


def test_ids_come_as_doc_values_and_nothing_else_is_read() -> None:
    values = ["brand", {"field": "made", "format": "epoch_millis"}]
    for leg in (WORDS_ONLY, PICTURE):
        for found in (body(leg, asked(values=values)), completion_body(leg, ["p1"], asked(values=values))):
            assert (found["_source"], found["stored_fields"]) == (False, "_none_")
            assert found["docvalue_fields"] == [KEY_FIELD, *values]


@pytest.mark.parametrize("leg", [WORDS_ONLY, PICTURE], ids=lambda leg: leg.name)
def test_a_leg_that_pushes_away_is_asked_for_its_best_score_alone(leg: Leg) -> None:
    unwanted = Leg(leg.name, leg.space, leg.vector, leg.text, leg.fields, seeks=False)
    found = body(unwanted, asked(100))
    assert found["size"] == 1
    assert found["track_total_hits"] is False
    assert leg.space is None or clauses_of(found)[0]["k"] == 1
    whole = body(unwanted, asked(100, completes=False))
    assert (whole["size"], whole["track_total_hits"]) == (100, False), "nobody asks for the other scores later"
    assert leg.space is None or clauses_of(whole)[0]["k"] == 100


# Several media


@pytest.mark.parametrize("index_type", ["int8_hnsw", "bbq_flat", "hnsw"])
def test_the_best_of_several_is_asked_in_both_fields(index_type: IndexType) -> None:
    """A product has a vector in one of the two: the sum of both clauses is its score."""
    space = an_encoded("image", 3, document_modality=IMAGE, query_modalities=(IMAGE,), several="best", index_type=index_type)
    leg = Leg("image.image", space, np.ones(3, dtype=np.float32))
    found = body(leg, asked(20, filters=[RED]))
    plain, parts = clauses_of(found)
    assert (plain["field"], parts["field"]) == ("triptych.image", "triptych.image_parts.vector")
    assert plain["filter"] == parts["filter"] == [RED]
    assert (plain["k"], parts["k"], found["size"]) == (20, 20, 20)
    assert ("rescore_vector" in plain) is space.quantised
    assert "rescore_vector" not in parts, "the field of parts is not shortened"
    assert "inner_hits" not in parts


def test_the_scores_of_several_are_completed_by_all_candidates_there_are() -> None:
    """More parts than products pass the filter: with less, Lucene would search its graph and miss some."""
    space = an_encoded("audio", 3, document_modality=AUDIO, query_modalities=(AUDIO,), several="best")
    leg = Leg("audio.audio", space, np.ones(3, dtype=np.float32))
    plain, parts = clauses_of(completion_body(leg, IDS, asked()))
    assert (plain["filter"], parts["filter"]) == ([AMONG], [AMONG])
    assert (plain["k"], parts["k"], parts["num_candidates"]) == (3, 3, 10_000)
    named = best_part_body(leg, IDS, asked())
    (inner,) = clauses_of(named)
    assert (inner["field"], inner["k"], inner["filter"], named["size"]) == ("triptych.audio_parts.vector", 3, [AMONG], 3)
    assert inner["inner_hits"]["size"] == 1
    assert inner["inner_hits"]["docvalue_fields"] == ["triptych.audio_parts.reference", "triptych.audio_parts.start"]


def test_a_space_of_one_field_has_one_clause_whatever_its_policy() -> None:
    hidden = an_encoded("image", 3, several="best", index_type="none")
    assert not isinstance(knn(Leg("x", hidden, np.ones(3, dtype=np.float32)), asked(), k=5), list)


# Completion


def test_completion_asks_the_same_words_under_a_filter_on_the_ids() -> None:
    found = completion_body(WORDS_ONLY, IDS, asked(filters=[RED]))
    assert found["query"]["bool"]["must"] == body(WORDS_ONLY, asked())["query"]["bool"]["must"]
    assert found["query"]["bool"]["filter"] == [AMONG]
    assert found["size"] == 3
    assert "sort" not in found


def test_completion_asks_every_one_of_the_vectors() -> None:
    found = completion_body(PICTURE, IDS, asked(filters=[RED]))
    (clause,) = clauses_of(found)
    assert clause["filter"] == [AMONG]
    assert (clause["k"], found["size"]) == (3, 3)
    assert clause["num_candidates"] >= 3


def test_a_slice_of_a_completion_stays_within_elasticsearchs_limits() -> None:
    ids = [str(n) for n in range(AT_ONCE)]
    several = an_encoded("image", 3, document_modality=IMAGE, query_modalities=(IMAGE,), several="best")
    for leg in (PICTURE, Leg("image.image", several, np.ones(3, dtype=np.float32))):
        found = completion_body(leg, ids, asked())
        for clause in clauses_of(found):
            assert len(ids) == clause["k"] <= clause["num_candidates"] <= 10_000
        assert found["size"] == len(ids) <= 10_000


def test_vectors_of_a_leg_do_not_flood_an_error() -> None:
    assert "vector" not in repr(PICTURE)


def test_a_vector_makes_a_leg_of_its_space_and_the_second_a_second() -> None:
    own: Space = a_precomputed("own", 2)
    inputs = (QueryInput("vector", -1, space="own", vector=[1, 0]), QueryInput("vector", space="own", vector=[0, 1]))
    plan = wanted(SearchRequest("shop", inputs=inputs), IndexSchema(spaces=(own,)))
    assert [(leg.name, leg.source, leg.base, leg.weight) for leg in plan] == [
        ("vector.own", "vector.own", "vector.own", -1), ("vector.own#2", "vector.own#2", "vector.own", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, None),
        ({"text": "print-text", "own": "print-own"}, None),
        ({"own": "mine-v1"}, None),
        ({"text": "print-other"}, "fingerprints.text"),
        ({"own": "mine-v2"}, "fingerprints.own"),
        ({"attic": "print-text"}, "fingerprints.attic"),
    ],
    ids=["none", "right", "declared", "another's", "another declared", "no such space"],
)
def test_a_query_made_for_other_encoders_is_refused(given: dict[str, str], refused: str | None) -> None:
    schema = IndexSchema(spaces=(an_encoded("text"), a_precomputed("own")))
    request = SearchRequest("shop", vectors={"own": [1.0, 0.0, 0.0]}, fingerprints=given)
    if refused is None:
        assert [leg.name for leg in wanted(request, schema)] == ["vector.own"]
        return
    with pytest.raises(EncoderError) as caught:
        wanted(request, schema)
    assert (caught.value.code, caught.value.field) == ("encoder.fingerprint_mismatch", refused)
