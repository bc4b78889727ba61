"""`triptych search --body`: the same bodies as over HTTP, read by the same models, as far as no service is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from search_api.answer import SearchResult
from search_api.cli import search
from search_api.query import QueryInput, SearchRequest
from search_api.searcher import Searcher
from search_api.words import TextOptions
from triptych.errors import QueryError, TriptychError

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("clean_environment")]


def run(body: object, *args: str) -> Result:
    text = body if isinstance(body, str) else json.dumps(body)
    return CliRunner().invoke(search, ["shop", "--body", "-", *args], input=text)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the Searcher is asked; a search for `nothing` is refused."""
    seen: list[Any] = []

    def searched(_: Searcher, request: SearchRequest) -> SearchResult:
        seen.append(request)
        if request.text == "nothing":
            raise QueryError("There is nothing.", code="query.empty", field="text")
        return SearchResult("q", 1.0, 0, (), index=request.index)

    def explained(_: Searcher, request: SearchRequest, product: str) -> dict[str, Any]:
        seen.append((request, product))
        return {"id": product, "rank": 1, "score": 0.5, "reasons": [], "legs": {}, "lifts": {}}

    def reweighed(_: Searcher, query_id: str, weights: Any, **more: Any) -> SearchResult:
        seen.append((query_id, weights, more))
        return SearchResult("r", 1.0, 0, ())

    monkeypatch.setattr(Searcher, "search", searched)
    monkeypatch.setattr(Searcher, "explain", explained)
    monkeypatch.setattr(Searcher, "reweigh", reweighed)
    return seen


WHOLE: dict[str, Any] = {
    "text": "red horn", "vectors": {"own": [0.5, 1.0]}, "inputs": [{"text": "lamp", "weight": -0.5}], "mean": "harmonic",
    "complete": False, "missing": "zero", "exact": False, "timeout_ms": 900, "fields": ["title"], "highlight": True,
    "with_vectors": True, "query_class": "sku", "lexical_query": {"match_all": {}},
    "image": {"base64": "AAAA"}, "text_options": {"fields": ["title^2"], "operator": "and", "analyzer": "alike"},
}  # fmt: skip


def test_a_body_has_all_that_a_query_has(asked: list[Any]) -> None:
    result = run(WHOLE, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["query_id"] == "q"
    assert asked == [
        SearchRequest(
            "shop", text="red horn", vectors={"own": [0.5, 1.0]}, mean="harmonic", complete=False, missing="zero", exact=False,
            inputs=(QueryInput("text", -0.5, text="lamp", where="inputs.0.text"),), timeout_ms=900, fields=("title",),
            highlight=True, with_vectors=True, query_class="sku", lexical_query={"match_all": {}}, image=b"\0\0\0", sort=[],
            text_options=TextOptions(("title^2",), "and", analyzer="alike"),
        )
    ]  # fmt: skip


def test_a_body_is_read_from_a_file(asked: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "query.json"
    path.write_text('{"index": "shop", "page": "token"}', encoding="utf-8")
    result = CliRunner().invoke(search, ["shop", "--body", str(path)])
    assert (result.exit_code, "0 of 0 products" in result.output) == (0, True)
    assert asked[0].page == "token"


def test_what_a_body_asks_is_known_by_its_members(asked: list[Any]) -> None:
    assert json.loads(run({"text": "x", "product": "p1"}, "--json").output)["id"] == "p1"
    assert "p1: rank 1" in run({"text": "x", "product": "p1"}).output
    assert run({"query_id": "old", "weights": {"lexical": 0.5}, "size": 3, "mean": "geometric"}).exit_code == 0
    request, product = asked[0]
    assert (request.index, request.text, product) == ("shop", "x", "p1")
    changes = {"fusion": None, "mean": "geometric", "guard": None, "missing": None, "min_relevance": None}
    assert asked[-1] == ("old", {"lexical": 0.5}, {"size": 3, "hydrate": False, **changes})


def test_several_queries_have_their_own_answers_and_problems(asked: list[Any]) -> None:
    body = {"searches": [{"text": "hat"}, {"text": "nothing"}, {"text": "x", "size": "5"}, {"text": "drum"}]}
    result = run(body, "--json")
    answers = json.loads(result.output)["answers"]
    assert result.exit_code == 1
    assert [one.get("problem", {}).get("code") for one in answers] == [None, "query.empty", "request.invalid", None]
    assert {one.index for one in asked} == {"shop"}
    shown = run(body)
    assert (shown.exit_code, shown.output.count("0 of 0 products")) == (1, 2)
    assert "error: There is nothing. (query.empty)" in shown.output
    assert run({"searches": [{"text": "hat"}]}).exit_code == 0


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("", "request.not_json", "body"),
        ("{", "request.not_json", "body"),
        ("[]", "request.invalid", "body"),
        ({"text": "x", "colour": "red"}, "request.invalid", "colour"),
        ({"text": 5}, "request.invalid", "text"),
        ({"text": "x", "image": {"base64": "?"}}, "request.not_base64", "image.base64"),
        ({"text": "x", "vectors": {"own": "AAA="}}, "request.bad_vector", "vectors.own"),
        ({"searches": []}, "request.invalid", "searches"),
        ({"query_id": "q", "size": 0}, "request.invalid", "size"),
        ({"product": "", "text": "x"}, "request.invalid", "product"),
    ],
    ids=str,
)
def test_a_body_at_fault_is_refused_as_over_http(asked: list[Any], body: object, code: str, field: str) -> None:
    error = run(body).exception
    assert isinstance(error, TriptychError), error
    assert (error.code, error.field) == (code, field)
    assert asked == []


@pytest.mark.parametrize("name", ["none.json", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    error = CliRunner().invoke(search, ["shop", "--body", str(tmp_path / name)]).exception
    assert isinstance(error, TriptychError)
    assert (error.code, error.field) == ("query.unreadable_file", "body")


@pytest.mark.parametrize(
    ("args", "word"), [(["red"], "TEXT"), (["--size", "10"], "--size"), (["--explain"], "--explain"), (["--why", "p"], "--why")]
)
def test_what_the_body_says_cannot_be_an_option(asked: list[Any], args: list[str], word: str) -> None:
    result = run({"text": "hat"}, *args)
    assert (result.exit_code, word in result.output, asked) == (2, True, [])


@pytest.mark.parametrize("body", [{"index": "other", "text": "x"}, {"searches": [{"text": "x"}, {"index": "other"}]}])
def test_a_body_for_another_index_is_refused(asked: list[Any], body: dict[str, Any]) -> None:
    result = run(body)
    assert (result.exit_code, "other" in result.output, asked) == (2, True, [])
