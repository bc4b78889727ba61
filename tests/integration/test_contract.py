"""The HTTP contract in process: several queries at once, why, other weights, pages, and any request at all (fuzzed)."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_shop
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from made_shop import DIMS
from made_web import PICTURE, THINGS, WORDS, Web, made_web
from said import check_said

from search_api import Searcher, SearchRequest, SearchResult, openapi
from triptych.errors import QueryError
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def web(services: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with made_web(services, tmp_path_factory.mktemp("contract"), f"contract-{run_id}") as made:
        yield made


def test_several_searches_at_once_have_their_own_answers_and_problems(web: Web) -> None:
    bodies = [{"index": web.index, "text": word} for word in ("red", "blue", "horn", "drum", "boat", "hat")]
    bodies.insert(2, {"index": web.index, "text": "red", "size": 0})
    bodies.insert(4, {"nonsense": True})
    bodies += [5, None, "red", [{"index": web.index, "text": "red"}]]  # type: ignore[list-item]
    status, found = web.post("/v1/msearch", searches=bodies)
    assert status == 200
    answers = found["answers"]
    assert [one.get("problem", {}).get("code") for one in answers] == [
        None, None, "query.bad_size", None, "request.invalid", None, None, None, *["request.invalid"] * 4,
    ]  # fmt: skip
    assert [answer["problem"]["field"] for answer in answers[-4:]] == ["body"] * 4
    for body, answer in zip(bodies, answers, strict=True):
        if "problem" not in answer:
            alone = web.search(text=body["text"])
            assert [hit["id"] for hit in answer["hits"]] == [hit["id"] for hit in alone["hits"]]
    check_said("MsearchAnswer", found)
    mine = Searcher(web.services).msearch(SearchRequest(web.index, text=word) for word in ("red", " ", "blue"))
    assert isinstance(mine[1], QueryError)
    assert [[hit.id for hit in one.hits] for one in mine if isinstance(one, SearchResult)] == [
        [hit["id"] for hit in answers[number]["hits"]] for number in (0, 1)
    ]
    assert web.post("/v1/msearch", searches=[])[1]["code"] == "request.invalid"
    assert web.post("/v1/msearch", searches=bodies * 3)[1]["code"] == "request.invalid"


QUERY: dict[str, Any] = {"text": "red horn", "vectors": {"words": WORDS, "picture": PICTURE}, "size": 5, "window": 30}


def explained(web: Web, product: str, **more: Any) -> Any:
    status, found = web.post("/v1/explain", index=web.index, product=product, **{**QUERY, **more})
    assert status == 200, found
    check_said("ExplainAnswer", found)
    return found


def test_what_explains_has_all_members_that_the_document_has(web: Web) -> None:
    found = [explained(web, product) for product in ("p000", "p001", "p020", "p030")]
    last = next(one["last_shown"]["id"] for one in found if "last_shown" in one)  # p000 may be it
    found.append(explained(web, last))
    said = openapi.document()["components"]["schemas"]["ExplainAnswer"]
    assert set().union(*found) == set(said["properties"])
    assert set.intersection(*map(set, found)) == set(said["required"])
    assert any(lift for one in found for lift in one["lifts"].values())


def test_what_explains_says_which_legs_are_quantised(web: Web, services: Services, own_id: str, tmp_path: Path) -> None:
    assert explained(web, "p000", exact=False)["quantised"] == dict.fromkeys(
        ("lexical", "vector.words", "vector.picture"), False
    )
    mine = made_shop.services_of(services, tmp_path, made_shop.profile({"words": "int8_hnsw"}))
    version = made_shop.create(mine, f"quantised-{own_id}", THINGS)
    for exact in (True, False):
        found = Searcher(mine).explain(SearchRequest(f"quantised-{own_id}", **QUERY, exact=exact), "p000")
        assert {name for name, is_so in found["quantised"].items() if is_so} == (set() if exact else {"vector.words"})
    services.elasticsearch.indices.delete(index=version)


def test_a_product_that_was_shown_is_explained_as_it_was_shown(web: Web) -> None:
    answer = web.search(**QUERY)
    for rank, hit in enumerate(answer["hits"], start=1):
        found = explained(web, hit["id"])
        assert (found["shown"], found["rank"], found["reasons"], found["lifts"]) == (True, rank, [], {})
        assert found["score"] == pytest.approx(hit["score"], abs=1e-6)
        named = {name: {**leg, "matched_media": None} for name, leg in hit["legs"].items()}  # only a page names pictures
        assert {name: {**leg, "matched_media": None} for name, leg in found["legs"].items()} == named


def test_lifts_lift(web: Web) -> None:
    """Searched with the share that is told, the product is among those shown."""
    shown = {hit["id"] for hit in web.search(**QUERY)["hits"]}
    lifted = 0
    for thing in THINGS[::6]:
        if thing.id in shown:
            continue
        found = explained(web, thing.id)
        assert found["shown"] is False
        assert found["gap"] >= 0
        assert found["last_shown"]["id"] in shown
        assert {reason["reason"] for reason in found["reasons"]} <= {"outranked", "outside_window"}
        for leg, lift in found["lifts"].items():
            if lift is not None:
                again = web.search(**QUERY, weights={leg: lift["share"]})
                assert thing.id in {hit["id"] for hit in again["hits"]}, (thing.id, leg, lift)
                lifted += 1
        if lifted >= 3:
            break
    assert lifted >= 3


def test_the_whole_share_lifts_only_what_the_leg_itself_found(web: Web) -> None:
    """A leg that has no share is not asked: what only it found is no candidate then."""
    more = {"window": 10, "size": 10, "fusion": "z_score", "complete": False}
    page = web.post("/v1/search", page=web.search(**{**QUERY, **more})["next"])[1]
    told = 0
    for hit in page["hits"]:
        for leg, lift in explained(web, hit["id"], **more)["lifts"].items():
            if lift is not None:
                again = web.search(**{**QUERY, **more, "weights": {leg: lift["share"]}})
                assert hit["id"] in {one["id"] for one in again["hits"]}, (hit["id"], leg, lift)
                told += 1
    assert told > 5


def test_a_product_that_is_filtered_or_out_of_the_window_is_explained(web: Web) -> None:
    filtered = explained(web, "p001", filters={"colour": "red"})
    assert "filtered" in {reason["reason"] for reason in filtered["reasons"]}
    assert (filtered["shown"], filtered["lifts"]) == (False, {})
    last = web.search(**{**QUERY, "size": 60, "window": 60})["hits"][-1]["id"]
    far = explained(web, last, window=5)
    assert {reason["reason"] for reason in far["reasons"]} >= {"outside_window", "outranked"}
    assert far["rank"] > 5
    status, found = web.post("/v1/explain", index=web.index, product="nobodys", **QUERY)
    assert (status, found["code"], found["field"]) == (404, "product.not_found", "product")


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("fusion", ["calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf"])
def test_explaining_changes_nothing_of_what_it_explains(web: Web, fusion: str, complete: bool) -> None:
    """Scales, weights, scores and the last product shown are the answer's, whether a leg found the product or none did."""
    query = {**QUERY, "window": 8, "fusion": fusion, "complete": complete, "explain": True}
    whole = web.search(**{**QUERY, "size": 60, "window": 60})["hits"]
    answer = web.search(**query)
    asking = {name: value for name, value in query.items() if name != "explain"}
    outside = 0
    for product in (answer["hits"][0]["id"], answer["hits"][-1]["id"], whole[-1]["id"], whole[-2]["id"]):
        status, found = web.post("/v1/explain", index=web.index, product=product, **asking)
        assert status == 200
        assert found["explain"] == answer["explain"]
        if found["reasons"]:
            outside += found["reasons"][0]["reason"] == "outside_window"
            assert found["last_shown"]["id"] == answer["hits"][-1]["id"]
            assert found["last_shown"]["score"] == pytest.approx(answer["hits"][-1]["score"], abs=1e-9)
        else:
            hit = next(hit for hit in answer["hits"] if hit["id"] == product)
            assert found["score"] == pytest.approx(hit["score"], abs=1e-9)
            assert {name: leg["status"] for name, leg in found["legs"].items()} == {
                name: leg["status"] for name, leg in hit["legs"].items()
            }
    assert outside == 2


def test_a_certified_answer_is_explained_as_it_was_given(web: Web) -> None:
    query = {**QUERY, "window": 5, "certify": True}
    answer = page = web.search(**query, explain=True)
    hits = list(page["hits"])
    while "next" in page:
        page = web.post("/v1/search", page=page["next"])[1]
        hits += page["hits"]
    assert answer["certified"]["window"] > 5
    for place in (0, 4, 5, len(hits) // 2, len(hits) - 1):
        found = explained(web, hits[place]["id"], window=5, certify=True)
        assert (found["rank"], found["shown"]) == (place + 1, place < 5)
        assert found["score"] == pytest.approx(hits[place]["score"], abs=1e-9)
        assert found["explain"] == answer["explain"]
        assert {name: leg["status"] for name, leg in found["legs"].items()} == {
            name: leg["status"] for name, leg in hits[place]["legs"].items()
        }
    unseen = next((thing.id for thing in THINGS if thing.id not in {hit["id"] for hit in hits}), None)
    if unseen is not None:
        assert "outside_window" in {one["reason"] for one in explained(web, unseen, window=5, certify=True)["reasons"]}


def test_what_is_advised_is_of_use(web: Web) -> None:
    """No wider window brings in what the filters keep out, and the pages of a deep answer go on without one."""

    def message(reason: str, product: str, **more: Any) -> str:
        return next(one["message"] for one in explained(web, product, **more)["reasons"] if one["reason"] == reason)

    last = web.search(**{**QUERY, "size": 60, "window": 60})["hits"][-1]["id"]
    assert "Raise window" in message("outside_window", last, window=5)
    assert "Later pages" in message("outside_window", last, window=5, deep=True)
    kept_out = message("outside_window", "p001", window=5, filters={"colour": "red"})
    assert "filters" in kept_out
    assert "window" not in kept_out
    assert "score higher" in message("outranked", last, window=60)
    by_price = web.search(**{**QUERY, "size": 60, "window": 60}, sort=["price"])["hits"]
    assert "come before it in the order of sort" in message("outranked", by_price[-1]["id"], window=60, sort=["price"])


def test_a_product_that_noise_a_vote_or_a_variant_left_out_is_explained(web: Web) -> None:
    last = web.search(**{**QUERY, "size": 60, "window": 60})["hits"][-1]["id"]
    assert "below_relevance" in {reason["reason"] for reason in explained(web, last, min_relevance=0.9)["reasons"]}
    answer = web.search(**QUERY, collapse="colour")
    variant = answer["hits"][0]["variants"][0]["id"]
    assert "collapsed" in {reason["reason"] for reason in explained(web, variant, collapse="colour")["reasons"]}
    vote = {"field": "colour", "use": "filter", "min_confidence": 0.0}
    kept = {hit["product"]["colour"] for hit in web.search(**QUERY, vote=vote)["hits"]}
    other = next(thing.id for thing in THINGS if thing.fields["colour"] not in kept)
    assert "other_value" in {reason["reason"] for reason in explained(web, other, vote=vote)["reasons"]}


def test_what_a_vote_adds_to_a_score_is_told(web: Web) -> None:
    vote = {"field": "colour", "use": "boost", "boost": 0.4, "min_confidence": 0.0}
    answer = web.search(**{**QUERY, "size": 30}, vote=vote)
    added = 0.4 * answer["predicted"]["confidence"]
    for hit in answer["hits"]:
        won = hit["product"]["colour"] == answer["predicted"]["value"]
        assert hit["boost"] == pytest.approx(added if won else 0.0, abs=1e-3)
        assert sum(leg["contribution"] for leg in hit["legs"].values()) + hit["boost"] == pytest.approx(hit["score"], abs=1e-9)
    assert {hit["boost"] > 0 for hit in answer["hits"]} == {True, False}
    found = explained(web, answer["hits"][-1]["id"], vote=vote)
    assert (found["boost"], found["score"]) == (answer["hits"][-1]["boost"], answer["hits"][-1]["score"])
    assert found["last_shown"]["boost"] > 0
    again = web.post("/v1/reweigh", query_id=answer["query_id"], size=30)[1]["hits"]
    assert [hit["boost"] for hit in again] == [hit["boost"] for hit in answer["hits"]]
    assert {hit["boost"] for hit in web.search(**QUERY)["hits"]} == {0.0}


def test_explaining_every_fusion(web: Web) -> None:
    for fusion in ("calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf"):
        assert explained(web, "p000", fusion=fusion)["explain"]["fusion"] == fusion
    status, found = web.post("/v1/explain", index=web.index, product="p000", fusion="native", **QUERY)
    assert (status, found["code"], found["field"]) == (400, "query.not_native", "fusion")


def asked(web: Web) -> tuple[int, int]:
    """Searches and reads of documents that the index has answered so far."""
    total = web.services.elasticsearch.indices.stats(index=web.index, metric=["search", "get"])["_all"]["total"]
    return total["search"]["query_total"], total["get"]["total"]


def test_reweighing_asks_elasticsearch_for_nothing(web: Web) -> None:
    answer = web.search(**QUERY)
    before = asked(web)
    for share in (0.0, 0.2, 0.9):
        status, found = web.post("/v1/reweigh", query_id=answer["query_id"], weights={"lexical": share}, size=5)
        assert status == 200
        assert all(hit["product"] is None for hit in found["hits"])
    assert asked(web) == before
    again = web.search(**QUERY, weights={"lexical": 0.9})
    assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in again["hits"]]
    assert [hit["score"] for hit in found["hits"]] == pytest.approx([hit["score"] for hit in again["hits"]], abs=1e-5)
    guarded = [web.post("/v1/reweigh", query_id=answer["query_id"], guard=guard, size=5)[1]["hits"] for guard in (2, 20)]
    assert guarded[0][0]["score"] > guarded[1][0]["score"], "nothing stands 20 sigma above the floor"
    assert web.post("/v1/reweigh", query_id=answer["query_id"], guard=21)[1]["code"] == "query.bad_guard"
    status, found = web.post("/v1/reweigh", query_id=answer["query_id"], hydrate=True, size=5)
    assert [hit["product"] for hit in found["hits"]] == [hit["product"] for hit in answer["hits"]]


def test_what_matches_one_of_several_texts_is_counted_once(web: Web) -> None:
    """A small window, so that most of what is counted is no candidate; the text that is not wanted counts nothing."""
    inputs = [{"text": "boat"}, {"text": "lamp horn", "weight": 2}, {"text": "drum", "weight": -1}]
    answer = web.search(inputs=inputs, window=5, size=5, facets={"colour": {}})
    matching = [thing for thing in THINGS if {"boat", "lamp", "horn"} & set(thing.title.split())]
    assert answer["degraded"] == []
    assert len(matching) > 20
    assert answer["total_matched"] == len(matching)
    for one in answer["facets"]["colour"]["values"]:
        assert one["matched"] == sum(thing.fields["colour"] == one["value"] for thing in matching)
    red = [thing for thing in matching if thing.fields["colour"] == "red"]
    answer = web.search(inputs=inputs, window=5, size=5, filters={"colour": "red"})
    assert answer["total_matched"] == len(red)
    beside = web.search(inputs=inputs, vectors={"words": WORDS}, size=60, window=60)
    found = {hit["id"] for hit in beside["hits"]} | {thing.id for thing in matching}
    assert beside["total_matched"] == len(found)


def test_no_product_is_counted_twice_where_its_words_are_not_scored(web: Web) -> None:
    asked: dict[str, Any] = {"text": "boat lamp", "vectors": {"words": WORDS}, "size": 5}
    matching = {thing.id for thing in THINGS if {"boat", "lamp"} & set(thing.title.split())}
    near = {hit["id"] for hit in web.search(vectors={"words": WORDS}, window=12, size=12)["hits"]}
    assert len(matching) > 12
    assert matching & near
    assert near - matching
    whole = web.search(**asked, window=12)["total_matched"]
    weightless = web.search(**asked, window=12, text_options={"fields": ["title.en^0", "title.de^0"]})
    assert (whole, weightless["total_matched"]) == (len(matching | near), len(matching | near))
    unknown = web.search(**asked, window=12, complete=False)
    assert max(len(matching), unknown["reachable"]) <= unknown["total_matched"] <= whole
    known = web.search(**asked, window=60, complete=False)
    assert known["total_matched"] == web.search(**asked, window=60)["total_matched"]
    silent = web.search(**asked, window=12, weights={"lexical": 0})
    assert silent["total_matched"] == silent["reachable"] == 12


def test_an_answer_may_be_asked_by_a_weight_set(web: Web) -> None:
    by_set = web.search(**QUERY, weight_set="words only", explain=True)
    assert by_set["explain"]["legs"].keys() == {"lexical"}


def test_the_contract_can_be_read_by_people_and_machines(web: Web) -> None:
    page = web.client.get("/v1/docs")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.get_data(as_text=True)
    document = web.client.get("/v1/openapi.json").get_json()
    for path in document["paths"]:
        assert path in page.get_data(as_text=True)


def test_pages_over_http(web: Web) -> None:
    first = web.search(**{**QUERY, "window": 60})
    seen = [hit["id"] for hit in first["hits"]]
    page = first
    while "next" in page:
        status, page = web.post("/v1/search", page=page["next"])
        assert status == 200, page
        seen += [hit["id"] for hit in page["hits"]]
    whole = web.search(**{**QUERY, "window": 60, "size": 60})
    assert seen == [hit["id"] for hit in whole["hits"]]
    assert len(seen) == first["reachable"]


# Any request at all

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "20"))
"""Requests per endpoint, half of them wrong."""

MINUTES = float(os.environ.get("CONTRACT_MINUTES", "0"))
"""In place of so many: as many requests, other ones each time, as can be asked in so many minutes, over all endpoints."""


@pytest.fixture(scope="module")
def operations(web: Web) -> dict[Any, Any]:
    """The operations of the OpenAPI document, by path; most names in the queries made up for them are those of our index."""
    schema = schemathesis.openapi.from_wsgi("/v1/openapi.json", web.client.application)
    known = web.search(text="red horn")["query_id"]

    @schema.hook("map_body")
    def of_our_index(_: Any, body: Any) -> Any:
        return with_our_names(body, web.index, known)

    return {(found.ok().method.lower(), found.ok().path): found.ok() for found in schema.get_all_operations()}


KINDS = ("text", "vector", "products")
SOUND: dict[str, Any] = {
    "filters": {"colour": ["red", "blue"]}, "facets": {"brand": {}, "price": {}}, "sort": [{"price": "desc"}, "score"],
    "vote": {"field": "brand", "use": "boost"},
}  # fmt: skip
"""Two of three bodies that have such a member at all get this one: a made-up one is refused, and nothing behind it is tried."""


def with_our_names(body: Any, index: str, query: str) -> Any:
    """A made-up body that gets further: what refers to something refers to what is there. Values of a wrong type stay."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("query"), dict):  # the part of a form
        return {**body, "query": with_our_names(body["query"], index, query)}
    if isinstance(body.get("searches"), list):
        return {**body, "searches": [with_our_names(one, index, query) for one in body["searches"]]}
    names = {"index": index, "query_id": query, "collapse": "colour", "weight_set": "words only", "product": "p001"}
    found = dict(body) if "query_id" in body else {"index": index, **body}
    found |= {name: value for name, value in names.items() if isinstance(body.get(name), str)}
    found |= {name: mend(body[name]) for name, (kind, mend) in MENDED.items() if type(body.get(name)) in kind}
    for name in ("image", "audio", "audio_as", "page"):  # an index without pictures and sounds refuses them all
        if isinstance(body.get(name), str | dict) and len(str(body)) % 4:
            del found[name]
    if "query_id" not in body and not any(found.get(name) for name in ("text", "vectors", "products", "inputs")):
        found["text"] = "red horn"
    sound = SOUND if len(str(body)) % 3 else {}
    return found | {name: value for name, value in sound.items() if body.get(name)}


def _named(*able: str) -> Callable[[Any], Any]:
    return lambda given: dict(zip(able, given.values(), strict=False))


def _long(value: Any, dims: int) -> Any:
    """A vector of as many numbers as its space has."""
    return (value * dims)[:dims] if isinstance(value, list) and value else value


def _one_kind(given: Any) -> Any:
    """An input that is of one kind."""
    if not isinstance(given, dict):
        return given
    kind = next((name for name in KINDS if given.get(name) is not None), "text")
    found = {"text": "red", **{name: value for name, value in given.items() if name in (kind, "weight")}}
    if kind == "vector":
        found |= {"vector": _long(given["vector"], DIMS["words"]), "space": "words"}
    return {name: value for name, value in found.items() if name in (kind, "weight", "space")}


NUMBER = (int, float)
MENDED: dict[str, tuple[tuple[type, ...], Callable[[Any], Any]]] = {
    "weights": ((dict,), _named("lexical", "vector.words", "vector.picture", "products.words", "lexical#2")),
    "filters": ((dict,), _named("colour", "price", "and", "not", "made", "place")),
    "facets": ((dict,), _named("colour", "price", "made")),
    "vectors": ((dict,), lambda some: {name: _long(one, DIMS[name]) for name, one in _named(*DIMS)(some).items()}),
    "products": ((list,), lambda some: [f"p{n:03}" if isinstance(key, str) else key for n, key in enumerate(some)]),
    "inputs": ((list,), lambda some: [_one_kind(one) for one in some]),
    "size": ((int,), lambda number: 1 + abs(number) % 20),
    "window": ((int,), lambda number: 20 + abs(number) % 80),
    "timeout_ms": (NUMBER, lambda number: 60_000 + int(abs(number) % 60_000)),
    "min_relevance": (NUMBER, lambda number: abs(number) % 0.6),
}
"""What a member of one of these types becomes, so that it can be."""


NOTHING_TO_SAY = ("/v1/health/live", "/v1/health/ready", "/v1/docs", "/metrics")
GOOD, BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
ENDPOINTS = [endpoint for endpoint in openapi.ENDPOINTS if endpoint.path != "/v1/openapi.json"]
CALLS = [(one.method, one.path, GOOD) for one in ENDPOINTS] + [
    (one.method, one.path, BAD) for one in ENDPOINTS if one.body or one.query
]
"""A path alone is never of a wrong form."""
UNFIT = [schemathesis.checks.positive_data_acceptance, schemathesis.checks.negative_data_rejection]
"""What is of the right form may name what is not there, and our names mend what was wrong."""


LONG = [call for call in CALLS if next(one.body for one in ENDPOINTS if (one.method, one.path) == call[:2])]
"""Those that MINUTES are for: without a body there is little to make up."""


@pytest.mark.parametrize(("method", "path", "mode"), CALLS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files of a form that is cut off
def test_any_request_is_answered_as_the_contract_says(method: str, path: str, mode: Any, operations: dict[Any, Any]) -> None:
    """No fault of ours, no status that is not in the document, every answer of the form it says.

    For five minutes: CONTRACT_MINUTES=5 pytest -q -s tests/integration/test_contract.py -k any_request
    """
    asked = 0

    @given(case=operations[method, path].as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(excluded_checks=UNFIT)

    ask = settings(
        max_examples=EXAMPLES if path not in NOTHING_TO_SAY else 1,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(answered)
    ask()
    until = time.monotonic() + MINUTES * 60 / len(LONG)
    for number in itertools.count():
        if (method, path, mode) not in LONG or time.monotonic() > until:
            break
        seed(number)(ask)()
    if MINUTES:
        print(f"{method} {path} {mode.name}: {asked} requests")
