"""Which legs a query has, and what each asks of Elasticsearch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toys import offline_spaces

from search_api.legs import Leg, body, completion_body, filter_clauses, wanted
from search_api.query import LARGEST_WINDOW, SearchRequest
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import KEY_FIELD, LEXICAL, IndexSchema

pytestmark = pytest.mark.unit

SPACES = offline_spaces()
SCHEMA = IndexSchema(lexical_fields=("title.*^3", "sku"), spaces=SPACES)
OLD, NEW = Server("8.19.3", "n", "c"), Server("9.5.0", "n", "c")
RED = {"term": {"colour": "red"}}

WORDS_ONLY = Leg(LEXICAL, text="red shoe", fields=("title.*^3", "sku"))
PICTURE = Leg("image.image", SPACES[1], np.linspace(0.1, 1, SPACES[1].dims, dtype=np.float32))

T, I, A = {"text": "shoe"}, {"image": b"i"}, {"audio": b"a"}  # noqa: E741
TEXT_LEGS, IMAGE_LEGS, AUDIO_LEGS = {LEXICAL, "text.text", "text.image"}, {"image.image"}, {"audio.audio"}


@pytest.mark.parametrize(
    ("inputs", "legs"),
    [
        (T, TEXT_LEGS),
        (I, IMAGE_LEGS),
        (A, AUDIO_LEGS),
        (T | I, TEXT_LEGS | IMAGE_LEGS),
        (T | A, TEXT_LEGS | AUDIO_LEGS),
        (I | A, IMAGE_LEGS | AUDIO_LEGS),
        (T | I | A, TEXT_LEGS | IMAGE_LEGS | AUDIO_LEGS),
    ],
    ids=["text", "image", "audio", "text+image", "text+audio", "image+audio", "all"],
)
def test_each_input_makes_a_leg_in_every_space_that_takes_it(inputs: dict[str, Any], legs: set[str]) -> None:
    plan = wanted(SearchRequest("shop", **inputs), SCHEMA)
    assert {leg.name for leg in plan} == legs
    assert len(plan) == len(legs)
    assert all(leg.name.startswith(f"{leg.modality}.") for leg in plan if leg.space is not None)
    assert all(leg.space is None or leg.modality in leg.space.query_modalities for leg in plan)
    assert all(leg.source == (leg.modality or "text") for leg in plan)


def test_the_order_of_the_legs_is_fixed() -> None:
    plan = wanted(SearchRequest("shop", audio=b"a", text="shoe", image=b"i"), SCHEMA)
    assert [leg.name for leg in plan] == [LEXICAL, "text.text", "text.image", "image.image", "audio.audio"]


def test_without_lexical_fields_words_have_no_lexical_leg() -> None:
    plan = wanted(SearchRequest("shop", text="shoe"), IndexSchema(spaces=SPACES))
    assert [leg.name for leg in plan] == ["text.text", "text.image"]


def test_a_query_of_nothing_is_refused() -> None:
    with pytest.raises(QueryError) as caught:
        wanted(SearchRequest("shop"), SCHEMA)
    assert caught.value.code == "query.empty"


@pytest.mark.parametrize(("inputs", "field"), [(A, "audio"), (T | A, "audio"), (I, "image")])
def test_an_input_no_space_takes_is_named(inputs: dict[str, Any], field: str) -> None:
    with pytest.raises(QueryError) as caught:
        wanted(SearchRequest("shop", **inputs), IndexSchema(lexical_fields=("title",), spaces=SPACES[:1]))
    assert (caught.value.code, caught.value.field) == ("query.no_space", field)


# Bodies


def test_words_are_asked_in_the_lexical_fields() -> None:
    asked = body(WORDS_ONLY, [], window=100, server=NEW)
    match = asked["query"]["bool"]["must"]["multi_match"]
    assert (match["query"], match["fields"]) == ("red shoe", ["title.*^3", "sku"])
    assert asked["size"] == 100
    assert asked["query"]["bool"]["filter"] == [OURS]
    assert asked["track_total_hits"] is True


def test_words_tie_by_the_product() -> None:
    asked = body(WORDS_ONLY, [], window=100, server=NEW)
    assert asked["sort"] == [{"_score": "desc"}, {KEY_FIELD: "asc"}]
    assert asked["track_scores"] is True


@pytest.mark.parametrize("server", [OLD, NEW], ids=["8.19", "9.5"])
def test_a_picture_is_asked_in_its_field(server: Server) -> None:
    asked = body(PICTURE, [], window=50, server=server)
    knn = asked["knn"]
    assert (knn["field"], knn["k"], asked["size"]) == ("triptych.image", 50, 50)
    assert knn["query_vector"] == pack(PICTURE.vector, server)  # type: ignore[arg-type]
    assert "query" not in asked


@pytest.mark.parametrize("window", [1, 10, 100, LARGEST_WINDOW])
def test_scores_are_those_of_the_float_vectors_and_candidates_suffice(window: int) -> None:
    knn = body(PICTURE, [], window=window, server=NEW)["knn"]
    assert knn["rescore_vector"]["oversample"] >= 1
    assert window * knn["rescore_vector"]["oversample"] <= knn["num_candidates"] <= 10_000


def test_filters_go_inside_the_leg() -> None:
    asked = body(PICTURE, [RED], window=10, server=NEW)
    assert asked["knn"]["filter"] == [RED]
    assert "post_filter" not in asked
    assert body(WORDS_ONLY, [RED], window=10, server=NEW)["query"]["bool"]["filter"] == [OURS, RED]


@pytest.mark.parametrize("leg", [WORDS_ONLY, PICTURE], ids=["words", "picture"])
def test_only_ids_come_back(leg: Leg) -> None:
    for asked in (body(leg, [], window=10, server=NEW), completion_body(leg, ["p1"], server=NEW)):
        assert asked["_source"] is False
        assert asked["docvalue_fields"] == [KEY_FIELD]


def test_our_own_fields_are_nobody_elses_business() -> None:
    for name in ("triptych.image", "triptych.key", "triptych.job"):
        assert _refused({name: "x"}).code == "query.unknown_field"


def test_a_list_of_values_is_bounded() -> None:
    assert _refused({"colour": ["x"] * 1025}).code == "query.bad_filter"


def test_long_words_are_cut_before_they_make_too_many_clauses() -> None:
    long = Leg(LEXICAL, text="x" * 10_000, fields=("title",))
    assert len(body(long, [], window=10, server=NEW)["query"]["bool"]["must"]["multi_match"]["query"]) == 300


OURS = {"exists": {"field": KEY_FIELD}}
IDS = ["p1", "p2", "p3"]


def test_completion_asks_the_same_words_under_a_filter_on_the_ids() -> None:
    asked = completion_body(WORDS_ONLY, IDS, server=NEW)
    assert asked["query"]["bool"]["must"] == body(WORDS_ONLY, [], window=9, server=NEW)["query"]["bool"]["must"]
    assert asked["query"]["bool"]["filter"] == [{"terms": {KEY_FIELD: IDS}}]
    assert asked["size"] == 3


def test_completion_asks_every_one_of_the_vectors() -> None:
    asked = completion_body(PICTURE, IDS, server=NEW)
    assert asked["knn"]["filter"] == [{"terms": {KEY_FIELD: IDS}}]
    assert (asked["knn"]["k"], asked["size"]) == (3, 3)
    assert asked["knn"]["num_candidates"] >= 3


@pytest.mark.parametrize("legs", [5])
def test_completion_of_the_largest_window_stays_within_elasticsearchs_limit(legs: int) -> None:
    ids = [str(n) for n in range(legs * LARGEST_WINDOW)]
    assert completion_body(PICTURE, ids, server=NEW)["knn"]["num_candidates"] <= 10_000


# Filters

INFO = IndexInfo(
    "shop-1",
    SCHEMA,
    {
        "colour": "keyword", "colour.text": "text", "price": "double", "stock": "integer", "sold": "boolean", "made": "date",
        "title.en": "text", "where": "geo_point", "triptych.key": "keyword", "triptych.image": "dense_vector",
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "clauses"),
    [
        ({}, []),
        ({"colour": "red"}, [{"term": {"colour": "red"}}]),
        ({"sold": False}, [{"term": {"sold": False}}]),
        ({"stock": 0}, [{"term": {"stock": 0}}]),
        ({"colour": ["red", "blue"]}, [{"terms": {"colour": ["red", "blue"]}}]),
        ({"price": {"gte": 5, "lt": 9.5}}, [{"range": {"price": {"gte": 5, "lt": 9.5}}}]),
        ({"made": {"gt": "2020-01-01"}}, [{"range": {"made": {"gt": "2020-01-01"}}}]),
        ({"price": {"lte": 9}, "colour": "red"}, [{"range": {"price": {"lte": 9}}}, {"term": {"colour": "red"}}]),
    ],
)
def test_a_filter_is_a_value_a_list_or_a_range(filters: dict[str, Any], clauses: list[dict[str, Any]]) -> None:
    assert filter_clauses(filters, INFO) == clauses


def _refused(filters: dict[str, Any]) -> QueryError:
    with pytest.raises(QueryError) as caught:
        filter_clauses(filters, INFO)
    assert caught.value.field == f"filters.{next(iter(filters))}"
    return caught.value


@pytest.mark.parametrize(("name", "meant"), [("color", "colour"), ("prise", "price"), ("Stock", "stock")])
def test_an_unknown_field_is_told_with_the_one_meant(name: str, meant: str) -> None:
    error = _refused({name: "x"})
    assert error.code == "query.unknown_field"
    assert f"Did you mean '{meant}'?" in str(error)


def test_an_unknown_field_like_none_lists_those_there_are() -> None:
    error = _refused({"zzzzzz": "x"})
    assert error.code == "query.unknown_field"
    assert "colour" in (error.remedy or "")
    assert "triptych." not in (error.remedy or "")
    assert "title" not in (error.remedy or "")


@pytest.mark.parametrize("name", ["title.en", "colour.text", "where"])
def test_a_field_of_another_type_cannot_be_filtered_by(name: str) -> None:
    assert _refused({name: "x"}).code == "query.not_filterable"


@pytest.mark.parametrize("value", [{}, {"min": 5}, {"gte": 5, "max": 9}, {"from": 1, "to": 2}])
def test_a_range_has_its_four_limits_only(value: dict[str, Any]) -> None:
    error = _refused({"price": value})
    assert error.code == "query.bad_filter"
    assert "gte" in (error.remedy or "")
