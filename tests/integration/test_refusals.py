"""Every error code that a query of words and vectors can provoke is reached, with the field at fault.

What needs pictures and sounds is in test_http_api.py, what fails by itself in test_degrade.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from made_web import WORDS, Web, made_web

from search_api.query import SearchRequest
from search_api.searcher import Searcher
from triptych.errors import QueryError
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def web(services: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with made_web(services, tmp_path_factory.mktemp("refusals"), f"refusals-{run_id}") as made:
        yield made


MANY = [{"text": "red"}] * 17
OPTIONS = "query.bad_text_option"
REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"text_options": {"phrase_boost": 101}}, OPTIONS, "text_options.phrase_boost"),
    ({"text_options": {"phrase_boost": -1}}, OPTIONS, "text_options.phrase_boost"),
    ({"text_options": {"operator": "and", "fuzziness": "1"}}, OPTIONS, "text_options.fuzziness"),
    ({"text_options": {"minimum_should_match": "many"}}, OPTIONS, "text_options.minimum_should_match"),
    ({"text_options": {"fields": ["title.en^much"]}}, OPTIONS, "text_options.fields.0"),
    ({"text_options": {"fields": ["title.en^٣"]}}, OPTIONS, "text_options.fields.0"),
    ({"text_options": {"analyzer": "nobodys"}}, OPTIONS, "text_options.analyzer"),
    ({"text_options": {"fields": ["titel.en"]}}, "query.unknown_field", "text_options.fields.0"),
    ({"text_options": {"language": "zh"}}, "query.unknown_language", "text_options.language"),
    ({"lexical_query": {"match_all": {}}}, "query.lexical_query_off", "lexical_query"),
    ({"weight_set": "nobodys"}, "query.unknown_weight_set", "weight_set"),
    ({"weights": {"lexcal": 1}}, "query.unknown_leg", "weights.lexcal"),
    ({"weights": {"lexical": 0}}, "query.bad_weight", "weights"),
    ({"weights": {"lexical": -1}}, "query.bad_weight", "weights"),
    ({"inputs": MANY}, "query.too_many_inputs", "inputs"),
    ({"inputs": [{"text": "red", "weight": 0}], "text": None}, "query.bad_weight", "inputs"),
    ({"inputs": [{"text": "  "}]}, "query.empty", "inputs.0.text"),
    ({"inputs": [{"text": "red", "image": {"base64": "AAAA"}}]}, "request.invalid", "inputs.0"),
    ({"inputs": [{"vector": [1.0]}]}, "request.invalid", "inputs.0"),
    ({"inputs": [{}]}, "request.invalid", "inputs.0"),
    ({"products": [f"p{n}" for n in range(101)]}, "query.too_many_products", "products"),
    ({"products": ["nobodys"]}, "product.not_found", "products"),
    ({"inputs": [{"text": "x", "weight": 1e308}, {"text": "y", "weight": 1e308}]}, "query.bad_weight", "inputs.0.text"),
    ({"weights": {"lexical": 1e308, "vector.words": 1e308}}, None, None),
    ({"min_relevance": 1.5}, "query.bad_relevance", "min_relevance"),
    ({"min_relevance": -0.1}, "query.bad_relevance", "min_relevance"),
    ({"guard": 20.5}, "query.bad_guard", "guard"),
    ({"guard": 3, "fusion": "l2"}, "query.bad_guard", "guard"),
    ({"timeout_ms": 0}, "query.bad_timeout", "timeout_ms"),
    ({"size": 0}, "query.bad_size", "size"),
    ({"size": 101}, "query.bad_size", "size"),
    ({"window": 1001}, "query.bad_window", "window"),
    ({"fusion": "native", "deep": True}, "query.not_native", "deep"),
    ({"fusion": "native", "certify": True}, "query.not_native", "certify"),
    ({"fusion": "native", "vote": {"field": "brand"}}, "query.not_native", "vote"),
    ({"fusion": "native", "collapse": "brand"}, "query.not_native", "collapse"),
    ({"fusion": "native", "min_relevance": 0.1}, "query.not_native", "min_relevance"),
    ({"fusion": "native", "missing": "zero"}, "query.not_native", "missing"),
    ({"fusion": "native", "inputs": [{"text": "blue", "weight": -1}]}, "query.not_native", "weights"),
    ({"fusion": "rrf", "certify": True}, "query.not_certifiable", "certify"),
    ({"complete": False, "certify": True}, "query.not_certifiable", "certify"),
    ({"fusion": "rrf", "mean": "harmonic"}, "query.bad_mean", "mean"),
    ({"fusion": "z_score", "mean": "geometric"}, "query.bad_mean", "mean"),
    ({"fusion": "magic"}, "request.invalid", "fusion"),
    ({"fusion": "native", "mean": "harmonic"}, "query.bad_mean", "mean"),
    ({"fusion": "native", "filters": {"made": "soon"}}, "query.bad_filter", "filters"),
    ({"fusion": "native", "text_options": {"analyzer": "nobodys"}}, OPTIONS, "text_options.analyzer"),
    ({"text_options": {"analyzer": "nobodys"}, "vectors": {"words": [1.0] * 16}}, OPTIONS, "text_options.analyzer"),
    ({"text_options": {"analyzer": ""}, "vectors": {"words": [1.0] * 16}}, OPTIONS, "text_options.analyzer"),
    ({"text_options": {"analyzer": "nobodys"}, "facets": {"brand": {}}}, OPTIONS, "text_options.analyzer"),
    ({"text_options": {"fields": ["title.en^999999"] * 6}}, OPTIONS, "text_options.fields"),
    ({"mean": "harmonic", "inputs": [{"text": "blue", "weight": -1}]}, "query.bad_mean", "mean"),
    ({"deep": True, "sort": ["price"]}, "query.not_deep", "sort"),
    ({"deep": True, "fusion": "rrf"}, "query.not_deep", "fusion"),
    ({"certify": True, "sort": ["price"]}, "query.not_certifiable", "sort"),
    ({"facets": {"brand": {"size": 0}}}, "query.bad_facet", "facets.brand"),
    ({"facets": {"note": {}}}, "query.bad_facet", "facets.note"),
    ({"facets": {"brnad": {}}}, "query.unknown_field", "facets.brnad"),
    ({"sort": [{"price": "down"}]}, "query.bad_sort", "sort.0"),
    ({"sort": ["price", "price"]}, "query.bad_sort", "sort.1"),
    ({"sort": [5]}, "request.invalid", "sort.0"),
    ({"collapse": ""}, "query.unknown_field", "collapse"),
    ({"collapse": "price"}, "query.bad_collapse", "collapse"),
    ({"vote": {"field": "brand", "neighbours": 0}}, "query.bad_vote", "vote.neighbours"),
    ({"vote": {}}, "query.bad_vote", "vote.field"),
    ({"filters": {"brand": {"above": 1}}}, "query.bad_filter", "filters.brand"),
    ({"filters": {"made": "soon"}}, "query.bad_filter", "filters"),
    ({"filters": {"note": "x"}}, "query.not_filterable", "filters.note"),
    ({"filters": {"colr": "x"}}, "query.unknown_field", "filters.colr"),
    ({"vectors": {"cellar": [1.0]}}, "query.unknown_space", "vectors.cellar"),
    ({"vectors": {"words": [1.0]}}, "query.bad_vector", "vectors.words"),
    ({"vectors": {"words": [0.0] * 16}}, "query.bad_vector", "vectors.words"),
    ({"vectors": {"words": [1e300] * 16}}, None, None),
    ({"image": {"base64": "AAAA"}}, "query.no_space", "image"),
    ({"audio": {"base64": "AAAA"}, "audio_as": "words", "text": None}, "query.no_speech", "audio_as"),
    ({"audio": {"base64": "AAAA"}, "audio_as": "words"}, "query.two_texts", "audio_as"),
    ({"audio_as": "words"}, "query.empty", "audio"),
    ({"text": None}, "query.empty", None),
    ({"text": "x" * 10_001}, "query.too_long", "text"),
    ({"page": "nobodys"}, "page.invalid", "page"),
    ({"page": ""}, "page.invalid", "page"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/explain"])
def test_what_cannot_be_answered_is_refused_with_code_and_field(
    path: str, fields: dict[str, Any], code: str | None, field: str | None, web: Web
) -> None:
    body = {"text": "red horn", **fields}
    if path == "/v1/explain":
        if any(name in fields for name in ("page", "deep", "certify")) or fields.get("fusion") == "native":
            return  # explaining has no pages, and no native scores
        body["product"] = "p000"
    given = {name: value for name, value in body.items() if value is not None}
    status, found = web.post(path, **fields if "page" in given else {"index": web.index, **given})
    if code is None:
        assert status == 200, found
        return
    assert (found.get("code"), found.get("field")) == (code, field), found
    assert status == (404 if code.endswith("not_found") else 400)
    assert found["status"] == status


def test_a_session_that_is_over_is_not_found(web: Web) -> None:
    assert web.post("/v1/reweigh", query_id="0" * 32)[1]["code"] == "session.not_found"
    answer = web.search(text="red horn", fusion="native")
    status, found = web.post("/v1/reweigh", query_id=answer["query_id"])
    assert (status, found["code"]) == (404, "session.not_found"), "native keeps none"
    assert "native not at all" in found["remedy"]


@pytest.mark.parametrize("changes", [{"fusion": "min_max", "guard": 3}, {"fusion": "rrf", "guard": 0}])
def test_only_calibrated_scores_have_a_guard_when_they_are_weighed_anew(changes: dict[str, Any], web: Web) -> None:
    guarded = web.search(text="red horn", guard=3)["query_id"]
    status, found = web.post("/v1/reweigh", query_id=guarded, **changes)
    assert (status, found["code"], found["field"]) == (400, "query.bad_guard", "guard")
    assert web.post("/v1/reweigh", query_id=guarded, fusion="min_max")[0] == 200, "what the query had is not said again"
    unguarded = web.search(text="red horn", fusion="min_max")["query_id"]
    assert web.post("/v1/reweigh", query_id=unguarded, guard=3)[1]["code"] == "query.bad_guard"
    assert web.post("/v1/reweigh", query_id=unguarded, guard=3, fusion="calibrated")[0] == 200


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"size": -3}, "query.bad_size", "size"),
        ({"size": 1001}, "query.bad_size", "size"),
        ({"missing": "ignore"}, "query.unknown_option", "missing"),
        ({"query_id": "\ud800"}, "query.bad_form", "query_id"),
    ],
)
def test_python_weighs_anew_what_http_would(more: dict[str, Any], code: str, field: str, web: Web) -> None:
    asked = {"query_id": web.search(text="red horn")["query_id"], "given": {}, "size": 5, **more}
    with pytest.raises(QueryError) as caught:
        Searcher(web.services).reweigh(**asked)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_text_that_nothing_can_write_is_told_by_its_field(web: Web) -> None:
    searcher = Searcher(web.services)
    asked: dict[str, Callable[[], object]] = {
        "id": lambda: searcher.product(web.index, "\ud800"),
        "product": lambda: searcher.explain(SearchRequest(web.index, text="red"), "\ud800"),
        "text": lambda: searcher.search(SearchRequest(web.index, text="\ud800")),
    }
    for field, ask in asked.items():
        with pytest.raises(QueryError) as caught:
            ask()
        assert (caught.value.code, caught.value.field) == ("query.bad_form", field)


def test_what_was_pushed_away_was_not_looked_for_and_is_not_reweighed_to_seek(web: Web) -> None:
    inputs = [{"text": "red"}, {"text": "blue", "weight": -0.5}]
    query_id = web.search(inputs=inputs)["query_id"]
    for share in (-0.9, -0.1, 0.0):
        status, found = web.post("/v1/reweigh", query_id=query_id, weights={"lexical#2": share})
        assert status == 200, found
    for asked in (query_id, found["query_id"]):  # the last has weighed it 0
        status, refused = web.post("/v1/reweigh", query_id=asked, weights={"lexical#2": 0.5})
        assert (status, refused["code"], refused["field"]) == (400, "query.not_sought", "weights.lexical#2")
    sought = web.search(inputs=[{"text": "red"}, {"text": "blue"}])["query_id"]
    for share in (-0.5, 0.5):
        status, found = web.post("/v1/reweigh", query_id=sought, weights={"lexical#2": share})
        assert status == 200, found
        sought = found["query_id"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"weights": {"nobodys": 1}}, "query.unknown_leg", "weights.nobodys"),
        ({"weights": {"lexical": 0, "vector.words": 0}}, "query.bad_weight", "weights"),
        ({"fusion": "rrf", "mean": "harmonic"}, "query.bad_mean", "mean"),
        ({"fusion": "native"}, "query.not_native", "fusion"),
        ({"min_relevance": 7}, "query.bad_relevance", "min_relevance"),
        ({"size": 0}, "request.invalid", "size"),
    ],
)
def test_reweighing_is_refused_as_searching_is(changes: dict[str, Any], code: str, field: str, web: Web) -> None:
    query_id = web.search(text="red horn", vectors={"words": WORDS})["query_id"]
    status, found = web.post("/v1/reweigh", query_id=query_id, **changes)
    assert (status, found.get("code"), found.get("field")) == (400, code, field), found
