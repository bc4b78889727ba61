"""What fails is left out and named, what is left is scaled, and a dead service is not waited for."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import made_shop
import numpy as np
import pytest
import tiny_models
from bad_line import BadLine, bad_line
from made_shop import Thing, vector
from processes import free_port
from pydantic import SecretStr

from search_api import Searcher, SearchRequest, SearchResult, asking, breakers, deadline
from search_api.app import create_app
from search_api.similar import SimilarRequest
from triptych.elastic.bodies import index_body
from triptych.elastic.lifecycle import read_schema
from triptych.encoders.base import Encoder
from triptych.errors import TriptychError
from triptych.schema import IndexSchema
from triptych.services import Services

pytestmark = pytest.mark.integration

PROFILE = """
description: a tiny encoder of words beside vectors that come with the products
spaces:
  tiny: {{family: transformers_text, model: {model}, documents: text, queries: [text], dims: 32, licence: none}}
  words: {{family: precomputed, fingerprint: made, dims: 16, documents: text, label: words, licence: none}}
  picture: {{family: precomputed, fingerprint: made, dims: 12, documents: image, licence: none}}
"""
QUERY: dict[str, Any] = {"text": "red horn", "vectors": {"picture": vector("picture", 2)}}
TRIES = 4
"""Of the client three, and one of libcurl, which asks again on a new connection where an open one is hung up."""

LEGS = {"lexical", "text.text", "vector.picture"}


def things() -> list[Thing]:
    """Each has a vector of the tiny encoder's space too."""
    chance = np.random.default_rng(1)
    made = made_shop.things(60)
    rows = made_shop.unit(chance.normal(size=(len(made), 1, 32)))
    return [
        Thing(one.id, one.title, {**{k: v for k, v in one.vectors.items() if k != "sound"}, "tiny": row}, one.fields)
        for one, row in zip(made, rows, strict=True)
    ]


THINGS = things()


@dataclass(frozen=True, slots=True)
class Place:
    """An index, and services of their own for each test: what a test breaks stays broken there."""

    services: Callable[..., Services]
    index: str
    version: str
    model: Path

    def searcher(self, **changes: Any) -> Searcher:
        return Searcher(self.services(**changes))

    def request(self, **more: Any) -> SearchRequest:
        return SearchRequest(self.index, **{**QUERY, **more})


@pytest.fixture(scope="module")
def place(services: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("degrade")
    model = tiny_models.made(tiny_models.bert, folder / "model")
    text = PROFILE.format(model=model)

    def fresh(**changes: Any) -> Services:
        return made_shop.services_of(services, folder, text, queue=f"degrade-{run_id}", **{"cache_bytes": 0, **changes})

    name = f"degrade-{run_id}"
    version = made_shop.create(fresh(), name, THINGS, levels={})
    yield Place(fresh, name, version, model)
    services.elasticsearch.indices.delete(index=version)


@pytest.fixture
def line(place: Place) -> Iterator[BadLine]:
    """A line to Elasticsearch that a test may make bad."""
    with bad_line(place.services().settings.elasticsearch_address) as made:
        yield made


def names(result: SearchResult) -> list[tuple[str, str]]:
    return [(one.name, one.code) for one in result.degraded]


def check_whole(result: SearchResult, legs: set[str]) -> None:
    """The legs that are left share the whole weight."""
    assert result.hits
    for hit in result.hits:
        assert set(hit.legs) == legs
        assert sum(leg.contribution for leg in hit.legs.values()) == pytest.approx(hit.score)
    assert all(one.message for one in result.degraded)
    explained = (result.explain or {})["legs"]
    assert sum(abs(leg["weight"]) for leg in explained.values()) == pytest.approx(1)


def test_nothing_is_degraded_where_all_is_well(place: Place) -> None:
    result = place.searcher().search(place.request(explain=True))
    assert names(result) == []
    check_whole(result, LEGS)


# Encoders


def failing(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let an encoder raise as torch does; returns what it was asked since."""
    asked: list[Any] = []

    def fail(inputs: Any, _: Any) -> Any:
        asked.append(inputs)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(encoder, "embed_queries", fail, raising=False)
    return asked


def test_an_encoder_that_fails_costs_its_leg_and_is_left_alone_for_a_while(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search_api.searcher.Breakers", partial(breakers.Breakers, rest_seconds=3.0))
    mine = place.services()
    searcher, encoder = Searcher(mine), mine.encoders(IndexSchema())["tiny"]
    with monkeypatch.context() as broken:
        asked = failing(encoder, broken)
        for turn in range(8):
            result = searcher.search(place.request(text=f"red horn {turn}", explain=True))
            assert names(result) == [("text.text", "encoder.failed")]
            check_whole(result, LEGS - {"text.text"})
        assert (
            "out of memory" in searcher.search(place.request(text="red", explain=True)).degraded[0].message or len(asked) == 5
        )
        assert len(asked) == breakers.FAILURES
        with pytest.raises(TriptychError) as error:
            searcher.search(place.request(vectors={}, weights={"text.text": 1}))
        assert (error.value.code, error.value.retryable) == ("encoder.failed", True)
    time.sleep(3.1)
    assert names(searcher.search(place.request())) == [], "mended, and tried again after its rest"


def test_a_broken_folder_of_an_encoder_costs_its_leg(place: Place, tmp_path: Path) -> None:
    """The weights went away under a running process that has not loaded them yet."""
    mine = place.services()
    mine.check(read_schema(mine.elasticsearch, place.version))
    weights = place.model / "model.safetensors"
    kept = shutil.move(weights, tmp_path / "kept")
    try:
        result = Searcher(mine).search(place.request(explain=True))
        assert [one.name for one in result.degraded] == ["text.text"]
        assert result.degraded[0].code.startswith("encoder.")
        check_whole(result, LEGS - {"text.text"})
        web = create_app(place.services()).test_client()
        answer = web.post("/v1/search", json={"index": place.index, "text": "red", "weights": {"text.text": 1}})
        assert (answer.status_code, answer.get_json()["code"][:8]) == (503, "encoder.")
    finally:
        shutil.move(kept, weights)


# Elasticsearch


@contextmanager
def index_with(place: Place, name: str, picture: dict[str, Any] | None) -> Iterator[str]:
    """An index as that of the place whose mapping was changed by hand: it has another field of pictures, or none."""
    mine = place.services()
    schema = read_schema(mine.elasticsearch, place.version)
    meta = {"triptych": {"lexical_fields": list(schema.lexical_fields)}}
    body = index_body({"mappings": {"properties": dict(made_shop.PROPERTIES), "_meta": meta}}, schema)
    ours = body["mappings"]["properties"]["triptych"]["properties"]
    del ours["picture"]
    if picture is not None:
        ours["picture"] = picture
    name = f"{place.index}-{name}"
    mine.elasticsearch.indices.create(index=name, mappings=body["mappings"], settings={"analysis": made_shop.ANALYSIS})
    try:
        made_shop.write(mine, name, [Thing(one.id, one.title, {"tiny": one.vectors["tiny"]}, one.fields) for one in THINGS])
        yield name
    finally:
        mine.elasticsearch.indices.delete(index=name)


def test_a_field_that_is_not_in_the_mapping_costs_its_legs(place: Place) -> None:
    """Elasticsearch itself finds nothing there and says so to nobody."""
    with index_with(place, "without", None) as name:
        searcher = place.searcher()
        for fusion in ("calibrated", "native"):
            result = searcher.search(SearchRequest(name, **QUERY, explain=True, fusion=fusion))
            assert names(result) == [("vector.picture", "index.field_missing")]
            assert "triptych.picture" in result.degraded[0].message
            assert sum((result.explain or {}).get("weights", {"all": 1}).values()) == pytest.approx(1)
        check_whole(searcher.search(SearchRequest(name, **QUERY, explain=True)), LEGS - {"vector.picture"})
        like = searcher.search(SearchRequest(name, products=(THINGS[0].id,), text="red horn", explain=True))
        lost = {("products.picture", "index.field_missing")}
        assert lost <= set(names(like))
        check_whole(like, {"lexical", "text.text", "products.tiny"})
        web = create_app(place.services()).test_client()
        answer = web.post("/v1/search", json={"index": name, "vectors": QUERY["vectors"]})
        assert (answer.status_code, answer.get_json()["code"]) == (503, "index.field_missing")


def test_no_leg_left_is_a_503_whatever_elasticsearch_said(place: Place) -> None:
    """A field of other dims: the search of it is refused, and trying again would not help."""
    with index_with(place, "other", {"type": "dense_vector", "dims": 5}) as name:
        assert names(place.searcher().search(SearchRequest(name, **QUERY))) == [("vector.picture", "elasticsearch.bad_request")]
        web = create_app(place.services()).test_client()
        for fusion in ("calibrated", "native"):
            body = {"index": name, "vectors": QUERY["vectors"], "fusion": fusion}
            answer = web.post("/v1/search", json=body)
            assert (answer.status_code, answer.get_json()["code"]) == (503, "elasticsearch.bad_request")
            (one,) = web.post("/v1/msearch", json={"searches": [body]}).get_json()["answers"]
            assert one["problem"]["status"] == 503


def test_products_that_cannot_be_read_cost_the_likes_of_them(place: Place, line: BadLine) -> None:
    searcher = place.searcher(elasticsearch_url=line.url)
    like = {"products": (THINGS[0].id,), "vectors": {}}
    whole = searcher.search(place.request(**like))
    assert names(whole) == []
    line.cuts = lambda data: b"/_search HTTP" in data.split(b"\r\n", 1)[0]  # the page's products come with a preference
    result = searcher.search(place.request(**like, explain=True))
    assert set(names(result)) == {(f"products.{name}", "elasticsearch.unavailable") for name in ("tiny", "words", "picture")}
    check_whole(result, {"lexical", "text.text"})
    with pytest.raises(TriptychError) as error:
        searcher.search(place.request(**like, text=None))
    assert (error.value.code, error.value.retryable) == ("elasticsearch.unavailable", True)
    line.cuts = lambda _: False
    line.delay = 3.0
    started = time.perf_counter()
    with suppress(TriptychError):
        searcher.search(place.request(**like, timeout_ms=50))
    assert time.perf_counter() - started < 2, "they are not waited for beyond the deadline"


@pytest.mark.parametrize("more", [{"deep": True}, {"certify": True}, {}], ids=str)
def test_no_request_waits_beyond_its_deadline(place: Place, line: BadLine, more: dict[str, Any]) -> None:
    """Neither for what is known of the index, which is asked first, nor for a point in time."""
    searcher = place.searcher(elasticsearch_url=line.url)
    if more:
        searcher.search(place.request())
    line.delay = 3.0
    started = time.perf_counter()
    with pytest.raises(TriptychError) as error:
        searcher.search(place.request(timeout_ms=50, **more))
    assert time.perf_counter() - started < 2
    assert (error.value.code, error.value.field) == ("elasticsearch.too_slow", "timeout_ms")


def test_an_elasticsearch_that_hangs_is_not_waited_for_long(
    place: Place, line: BadLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query without a deadline holds a thread of the API meanwhile. Elasticsearch ends a search itself before that."""
    assert asking.HUNG_SECONDS > deadline.LONGEST_LEG_MS / 1000
    monkeypatch.setattr(asking, "HUNG_SECONDS", 0.5)
    searcher = place.searcher(elasticsearch_url=line.url)
    searcher.search(place.request())
    line.delay = 3.0
    started = time.perf_counter()
    with pytest.raises(TriptychError) as error:
        searcher.search(place.request())
    assert time.perf_counter() - started < 2
    assert error.value.code == "elasticsearch.unavailable"


def test_a_deep_request_that_is_refused_leaves_no_point_in_time(place: Place) -> None:
    searcher, client = place.searcher(), place.services().elasticsearch

    def points() -> int:
        stats = client.indices.stats(index=place.version, metric="search")
        return int(stats["indices"][place.version]["total"]["search"]["open_contexts"])

    before = points()
    with pytest.raises(TriptychError, match="filter does not fit"):
        searcher.search(place.request(deep=True, filters={"made": "soon"}))
    assert points() == before
    page = searcher.search(place.request(deep=True, size=5, window=5))
    assert page.next is not None
    assert points() > before, "its pages are of one moment"


def test_a_deep_page_whose_completion_fails_is_the_last_and_moves_nothing(place: Place, line: BadLine) -> None:
    searcher = place.searcher(elasticsearch_url=line.url)
    first = page = searcher.search(place.request(size=5, window=5, deep=True))
    shown, tokens = [hit.id for hit in page.hits], []
    while page.next is not None:
        tokens.append(page.next)
        line.cuts = only(2)  # one request is the page's products; of two and more the second completes a wider window
        page = searcher.search(SearchRequest(page=page.next))
        shown += [hit.id for hit in page.hits]
        assert len(tokens) < 20, "it ends"
    line.cuts = lambda _: False
    assert names(page) == [("completion", "elasticsearch.unavailable")]
    assert (page.deep or {})["more"] is False
    assert len(shown) == len(set(shown)) == page.reachable
    whole = place.searcher().search(place.request(size=5, window=5))
    assert page.reachable == whole.reachable, "what the first window found"
    again = searcher.search(SearchRequest(page=tokens[-1]))
    assert ([hit.id for hit in again.hits], again.next) == ([hit.id for hit in page.hits], None)
    assert first.reachable == page.reachable


def slow_query(functions: int) -> dict[str, Any]:
    """A query of words that takes long in each segment, without a script."""
    near = [{"exp": {"price": {"origin": n, "scale": 100}}} for n in range(functions)]
    return {"function_score": {"query": {"match_all": {}}, "functions": near, "score_mode": "max"}}


def test_one_slow_leg_of_three_is_named_and_the_others_share_its_weight(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elasticsearch looks at the clock between segments, of which there are many here."""
    mine = place.services()
    name = f"{place.index}-slow"
    version = made_shop.create(mine, name, (), levels={})
    try:
        for at in range(0, len(THINGS), 6):
            made_shop.write(mine, version, THINGS[at : at + 6])
        searcher, functions, took = Searcher(mine), 500, 0.0
        while took < 2:
            functions *= 2
            slow = SearchRequest(name, **QUERY, window=100, size=5, lexical_query=slow_query(functions), explain=True)
            started = time.perf_counter()
            whole = searcher.search(slow)
            took = time.perf_counter() - started
        assert (set(whole.hits[0].legs), names(whole)) == (LEGS, [])
        monkeypatch.setattr(deadline, "LONGEST_LEG_MS", 500)
        result = searcher.search(slow)
        assert names(result) == [("lexical", "elasticsearch.incomplete")]
        check_whole(result, LEGS - {"lexical"})
    finally:
        mine.elasticsearch.indices.delete(index=version)


def test_a_filter_that_fits_no_leg_is_the_users(place: Place) -> None:
    searcher = place.searcher()
    for _ in range(breakers.FAILURES + 1):
        with pytest.raises(TriptychError) as error:
            searcher.search(place.request(filters={"made": "soon"}))
        assert (error.value.code, error.value.field) == ("query.bad_filter", "filters")
    assert names(searcher.search(place.request())) == [], "no fault of Elasticsearch"


def test_a_query_in_a_hurry_names_what_was_too_slow_and_harms_nobody(place: Place, line: BadLine) -> None:
    """However many queries give up early, Elasticsearch is not taken for dead."""
    searcher = place.searcher(elasticsearch_url=line.url)
    searcher.search(place.request())
    line.delay = 0.5
    for _ in range(breakers.FAILURES + 2):
        with pytest.raises(TriptychError) as error:
            searcher.search(place.request(vectors={"picture": vector("picture", 3)}, timeout_ms=1))
        assert error.value.retryable
        assert error.value.code in HURRIED
    line.delay = 0.0
    assert names(searcher.search(place.request())) == []


HURRIED = {"elasticsearch.too_slow", "elasticsearch.incomplete", "encoder.busy", "encoder.too_slow"}


def test_one_millisecond_of_a_good_line_is_answered_or_refused_in_order(place: Place) -> None:
    searcher = place.searcher()
    for _ in range(5):
        codes: set[str] = set()
        try:
            codes = {code for _, code in names(searcher.search(place.request(timeout_ms=1)))}
        except TriptychError as error:
            codes = {error.code}
        assert codes <= HURRIED
    assert names(searcher.search(place.request())) == []


def only(wanted: int) -> Callable[[bytes], bool]:
    """Hangs up at one of the next requests that read: the legs are the first, the completion the second, the page the third.

    A request that was hung up on is sent again.
    """
    reached, tries = 1, 0

    def cut(data: bytes) -> bool:
        nonlocal reached, tries
        path = data.split(b"\r\n", 1)[0]
        if not any(word in path for word in (b"/_msearch", b"/_mget", b"/_search")):
            return False
        if reached != wanted:
            reached += 1
            return False
        tries += 1
        reached += tries == TRIES
        return True

    return cut


def test_a_completion_that_fails_is_named_and_what_is_known_is_ranked(place: Place, line: BadLine) -> None:
    searcher = place.searcher(elasticsearch_url=line.url)
    searcher.search(place.request())
    line.cuts = only(2)
    result = searcher.search(place.request(window=10, explain=True))
    assert names(result) == [("completion", "elasticsearch.unavailable")]
    check_whole(result, LEGS)
    assert "not_retrieved" in {leg.status for hit in result.hits for leg in hit.legs.values()}


def test_words_that_fewer_products_match_than_the_window_holds_are_asked_for_once(place: Place, line: BadLine) -> None:
    """Their list is all there is: what is not in it does not match."""
    searcher = place.searcher(elasticsearch_url=line.url)
    searcher.search(place.request())
    sent: list[bytes] = []
    line.cuts = lambda data: sent.append(data) is not None
    result = searcher.search(place.request(window=len(THINGS), size=len(THINGS)))
    asked = [b"multi_match" in request for request in sent]
    assert asked == [True, False, False], "in the legs; not in their completion, for products without a vector, nor the page"
    words = {hit.id: hit.legs["lexical"] for hit in result.hits}
    assert {leg.status for leg in words.values()} == {"retrieved", "no_match"}
    assert {leg.raw for leg in words.values() if leg.status == "no_match"} == {0.0}
    sent.clear()
    few = searcher.search(place.request(window=3, size=3))
    assert [b"multi_match" in request for request in sent] == [True, True, False], "a list that goes on is asked for the rest"
    assert {hit.id: words[hit.id].raw for hit in few.hits} == {hit.id: hit.legs["lexical"].raw for hit in few.hits}


def test_products_that_cannot_be_read_are_an_error(place: Place, line: BadLine) -> None:
    searcher = place.searcher(elasticsearch_url=line.url)
    searcher.search(place.request())
    line.cuts = only(3)
    with pytest.raises(TriptychError) as error:
        searcher.search(place.request())
    assert (error.value.code, error.value.retryable) == ("elasticsearch.unavailable", True)


def test_a_dead_elasticsearch_is_not_waited_for(place: Place) -> None:
    """After five failures the sixth query fails at once; health and other endpoints say so too."""
    away = f"http://127.0.0.1:{free_port()}"
    web = create_app(place.services(elasticsearch_url=away)).test_client()
    body = {"index": place.index, "text": "red"}
    for _ in range(breakers.FAILURES):
        answer = web.post("/v1/search", json=body)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "elasticsearch.unavailable")
        assert answer.headers["Retry-After"] == "5"
    quickest = 1.0
    for _ in range(3):
        started = time.perf_counter()
        answer = web.post("/v1/search", json=body)
        quickest = min(quickest, time.perf_counter() - started)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "elasticsearch.unavailable")
        assert "rests" in answer.get_json()["title"]
    assert quickest < 0.05
    several = web.post("/v1/msearch", json={"searches": [body, body]}).get_json()["answers"]
    assert [one["problem"]["code"] for one in several] == ["elasticsearch.unavailable"] * 2
    assert web.get(f"/v1/products/p000?index={place.index}").status_code == 503
    assert web.get("/v1/health/ready").status_code == 503


def test_reweighing_needs_no_elasticsearch(place: Place, line: BadLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is away: what was known of the index is enough."""
    monkeypatch.setattr("search_api.infos.INFO_SECONDS", 0.0)
    searcher = place.searcher(elasticsearch_url=line.url)
    answer = searcher.search(place.request(size=20, sort=["price"], facets={"colour": {}}))
    line.cuts = lambda _: True
    before = line.requests
    for _ in range(breakers.FAILURES + 1):
        again = searcher.reweigh(answer.query_id, {}, size=20)
        assert [hit.id for hit in again.hits] == [hit.id for hit in answer.hits]
    assert searcher.reweigh(again.query_id, {"lexical": 0.9}, size=20).facets == answer.facets
    assert line.requests == before
    with pytest.raises(TriptychError) as error:
        searcher.reweigh(answer.query_id, {}, size=20, hydrate=True)
    assert error.value.code == "elasticsearch.unavailable"


def test_an_elasticsearch_that_comes_back_is_found_again(place: Place, line: BadLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_api.searcher.Breakers", partial(breakers.Breakers, rest_seconds=0.5))
    searcher = place.searcher(elasticsearch_url=line.url)
    line.cuts = lambda _: True
    for _ in range(breakers.FAILURES + 1):
        with suppress(TriptychError):
            searcher.search(place.request())
    before = line.requests
    with pytest.raises(TriptychError):
        searcher.search(place.request())
    assert line.requests == before, "left alone"
    line.cuts = lambda _: False
    time.sleep(0.6)
    assert names(searcher.search(place.request())) == []


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ({"diversity": 0.5}, ["diversity"]),
        ({"cap": 1, "cap_field": "colour"}, ["cap"]),
        ({"diversity": 0.5, "cap": 1, "cap_field": "colour", "complementary": 2}, ["diversity", "cap", "complementary"]),
    ],
)
def test_similar_products_are_shown_though_no_choice_can_be_made_among_them(
    place: Place, line: BadLine, more: dict[str, Any], left_out: list[str]
) -> None:
    searcher = place.searcher(elasticsearch_url=line.url)
    request = SimilarRequest(place.index, "p000", size=5)
    plain = [hit.id for hit in searcher.similar(request).hits]
    shown: list[bytes] = []

    def cuts(data: bytes) -> bool:
        """All that follows the request for the page's products."""
        shown.extend([data] if b"/_msearch" in data[:200] and b'"_source":{' in data else [])
        return bool(shown) and data is not shown[0]

    line.cuts = cuts
    result = searcher.similar(replace(request, **more))
    assert [one.name for one in result.degraded] == left_out
    assert {one.code for one in result.degraded} == {"elasticsearch.unavailable"}
    assert [hit.id for hit in result.hits] == plain
    assert result.complementary is None


# Redis


def test_redis_away_costs_the_pages_of_other_processes_only(place: Place) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    searcher = place.searcher(redis_url=away, cache_url=SecretStr(away), cache_bytes=1_000_000)
    there = place.searcher().search(place.request())
    for _ in range(breakers.FAILURES + 2):
        result = searcher.search(place.request(explain=True))
        assert names(result) == [("redis", "queue.unavailable")]
        check_whole(result, LEGS)
        assert [hit.id for hit in result.hits] == [hit.id for hit in there.hits]


def test_a_redis_that_hangs_has_a_second_a_call(place: Place) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # it takes connections, and answers none
        hangs = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        searcher = place.searcher(redis_url=hangs, cache_bytes=0)
        place.searcher().search(place.request())
        began = time.monotonic()
        result = searcher.search(place.request(timeout_ms=600_000))
        assert time.monotonic() - began < 4.5, "one call keeps the answer, one asks for what signs its pages"
        assert names(result) == [("redis", "queue.unavailable")]
