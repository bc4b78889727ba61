"""Every body a search can send is understood by the newest Elasticsearch and by the oldest that is supported."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import made_shop
import pytest
from made_shop import vector

from search_api import QueryInput, Searcher, SearchRequest, SearchResult, TextOptions
from search_api.filters import clauses
from search_api.legs import Asked, Leg, body, completion_body
from triptych.elastic.engine import Found, msearch
from triptych.elastic.lifecycle import describe
from triptych.services import Services

pytestmark = pytest.mark.integration

THINGS = made_shop.things(60)
BEST = ("picture", "sound")

WORDS = {"text": 'red "horn" AND (title:* OR ~2) \\ /x/ 帽子 \U0001f3a9'}
GIVEN = {"vectors": {name: vector(name, n) for n, name in enumerate(made_shop.DIMS)}}
LIKE = {"products": ("p004", "p005")}
PUSHED = QueryInput("vector", -0.5, space="words", vector=vector("words", 9))
UNWANTED = {"inputs": (QueryInput("text", -0.5, text="lamp"), PUSHED)}
FURTHER = QueryInput("vector", 2, space="picture", vector=vector("picture", 8))
TWICE = {"inputs": (QueryInput("text", 1, text="drum"), FURTHER)}
INPUTS: list[dict[str, Any]] = [
    WORDS, GIVEN, LIKE, {**WORDS, **GIVEN}, {**WORDS, **LIKE},
    {**WORDS, **GIVEN, **LIKE, **UNWANTED}, {**WORDS, **GIVEN, **TWICE},
]  # fmt: skip

FILTERS: list[dict[str, Any]] = [
    {},
    {"colour": "red"},
    {"colour": ["red", "blue"], "price": {"gte": 1, "lt": 400.5}, "stock": [1, 2, 3]},
    {"or": [{"brand": {"prefix": "brand 1"}}, {"not": {"sold": True}}], "made": {"gte": "2012", "lt": "2030-01-31"}},
    {"place": {"within": "500km", "lat": 50, "lon": 13}, "from": "10.0.0.0/8", "title.de": {"exists": False}},
]
FACETS: dict[str, Any] = {
    "colour": {"size": 3}, "brand": {}, "sold": {}, "from": {}, "stock": {}, "price": {"ranges": [[None, 50], [50, None]]},
    "made": {"ranges": [["2012", "2020"]]},
}  # fmt: skip
SORTS: list[Any] = [
    [], ["price"], [{"price": "desc"}, "score"], [{"made": "asc"}, {"from": "desc"}, {"colour": "asc"}, "sold", "brand"],
]  # fmt: skip
TEXT_OPTIONS = [
    TextOptions(fields=("title.en^3", "title.*", "note", "brand^0.5")),
    TextOptions(operator="and"),
    TextOptions(operator="and", fields=("title.en", "brand"), minimum_should_match="2", phrase_boost=2.0),
    TextOptions(fuzziness="AUTO"),
    TextOptions(fuzziness="2", minimum_should_match="-25%", phrase_boost=0.5),
    TextOptions(language="en", fields=("title.*^2",)),
    TextOptions(language="de", fields=("title.*", "brand")),
    TextOptions(minimum_should_match="999%"),
    TextOptions(minimum_should_match="-999"),
    TextOptions(analyzer="synonyms", phrase_boost=1.0),
    TextOptions(analyzer="english", operator="and"),
]
SHOWN: list[dict[str, Any]] = [
    {},
    {"highlight": True},
    {"with_vectors": True},
    {"highlight": True, "with_vectors": True, "fields": ("title", "price")},
    {"fields": ("title.*",), "explain": True},
    {"highlight": True, "fields": ("nobodys",)},
]
RANKED: list[dict[str, Any]] = [
    {},
    {"collapse": "brand"},
    {"vote": {"field": "colour", "use": "boost"}, "collapse": "from"},
    {"vote": {"field": "brand", "use": "filter", "min_confidence": 0}, "facets": FACETS},
    {"sort": ["price"], "facets": FACETS, "min_relevance": 0.01},
]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server of one version, with an index that has several media in two spaces."""

    services: Services
    searcher: Searcher
    index: str

    def search(self, *given: dict[str, Any], **more: Any) -> SearchResult:
        """An answer without anything refused."""
        merged: dict[str, Any] = {}
        for one in (*given, more):
            merged |= one
        result = self.searcher.search(SearchRequest(self.index, **{"window": 20, "size": 5, **merged}))
        assert result.degraded == (), (result.degraded, merged)
        return result


@pytest.fixture(params=["9.5", "8.19"], scope="module")
def cluster(request: pytest.FixtureRequest, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("bodies")
    types = {"words": "int8_hnsw", "picture": "hnsw", "sound": "int8_flat"}
    there: Services = request.getfixturevalue("services" if request.param == "9.5" else "oldest_services")
    return filled(made_shop.services_of(there, folder, made_shop.profile(types)), f"bodies-{run_id}")


def filled(mine: Services, name: str) -> Cluster:
    made_shop.create(mine, name, THINGS, best=BEST)
    return Cluster(mine, Searcher(mine), name)


def test_every_body_of_a_leg(cluster: Cluster) -> None:
    info = describe(cluster.services.elasticsearch, cluster.index)
    server = cluster.services.server
    legs = [Leg("lexical", text=WORDS["text"], fields=("title.en", "brand"), options=options) for options in TEXT_OPTIONS[:8]]
    for space in info.schema.spaces:
        row = next(one.vectors[space.name][0] for one in THINGS if space.name in one.vectors).astype("float32")
        legs += [Leg(f"vector.{space.name}", space, row, seeks=seeks) for seeks in (True, False)]
    every = [
        Asked(server, window, clauses(filters, info), values, exact=exact)
        for window, filters, values, exact in itertools.product(
            (1, 1000), FILTERS, ([], ["colour", {"field": "made", "format": "epoch_millis"}]), (True, False)
        )
    ]
    bodies = [body(leg, asked) for leg, asked in itertools.product(legs, every)]
    ids = [thing.id for thing in THINGS]
    some: list[list[str]] = [ids[:1], ids, [*ids, "gone", "a/b"], [f"x{n}" for n in range(2000)]]
    bodies += [
        completion_body(leg, keys, Asked(server, 0, exact=exact))
        for leg, keys, exact in itertools.product(legs, some, (True, False))
    ]
    for sent, answer in zip(bodies, msearch(cluster.services.elasticsearch, info.version, bodies), strict=True):
        assert isinstance(answer, Found), (str(answer), str(sent)[:500])


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_every_way_of_asking(cluster: Cluster, number: int) -> None:
    """All filters, sorts and ways to rank and to show, each beside the others in turn."""
    ways: list[list[dict[str, Any]]] = [[{"filters": one} for one in FILTERS], SHOWN, RANKED]
    longest = max(len(way) for way in ways)
    for turn in range(longest):
        chosen = [way[(turn + shift * number) % len(way)] for shift, way in enumerate(ways, start=1)]
        assert cluster.search(INPUTS[number], *chosen).hits or chosen[0]["filters"]
    cluster.search(INPUTS[number], {"exact": False, "complete": False, "facets": FACETS})


@pytest.mark.parametrize("number", range(len(TEXT_OPTIONS)))
def test_every_text_option(cluster: Cluster, number: int) -> None:
    for text, more in itertools.product(("red horn lamp", WORDS["text"]), ({}, {"highlight": True}, {"fusion": "native"})):
        cluster.search({"text": text, "text_options": TEXT_OPTIONS[number]}, more, GIVEN)


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_every_deep_or_certified_answer(cluster: Cluster, number: int) -> None:
    for filters, more in itertools.product(FILTERS[:3], ({"highlight": True}, {"facets": FACETS, "collapse": "brand"})):
        page = cluster.search(INPUTS[number], {"filters": filters, "deep": True, "size": 4, "window": 4}, more)
        for _ in range(3):
            if page.next is None:
                break
            page = cluster.searcher.search(SearchRequest(page=page.next))
            assert page.degraded == ()
        plain = {name: value for name, value in more.items() if name != "collapse"}
        proved = cluster.search(INPUTS[number], {"filters": filters, "certify": True, "window": 5}, plain)
        assert proved.certified is not None


@pytest.mark.parametrize(
    "number", [n for n, one in enumerate(INPUTS) if "inputs" not in one or one["inputs"] == TWICE["inputs"]]
)
def test_every_native_body(cluster: Cluster, number: int) -> None:
    ways: list[list[dict[str, Any]]] = [
        [{"filters": one} for one in FILTERS],
        [{"sort": one} for one in SORTS],
        [{"facets": FACETS}, {}, {"exact": False}],
        [{}, {"highlight": True}, {"fields": ("title",)}, {"highlight": True, "explain": True}],
    ]
    for turn in range(10):
        chosen = [way[(turn // shift + turn) % len(way)] for shift, way in enumerate(ways, start=1)]
        result = cluster.search(INPUTS[number], {"fusion": "native"}, *chosen)
        prices = [hit.product["price"] for hit in result.hits if hit.product and "price" in hit.product]
        if chosen[1]["sort"] == ["price"]:
            assert prices == sorted(prices)


@pytest.mark.parametrize("fusion", ["calibrated", "native"])
def test_every_product_is_shown_with_its_vectors(cluster: Cluster, fusion: str) -> None:
    assert not any("triptych" in (hit.product or {}) for hit in cluster.search(WORDS, GIVEN, fusion=fusion, size=20).hits)
    for hit in cluster.search(WORDS, GIVEN, with_vectors=True, fusion=fusion, size=20).hits:
        thing = next(one for one in THINGS if one.id == hit.id)
        assert hit.product is not None
        ours = hit.product.get("triptych", {})
        for name, rows in thing.vectors.items():
            assert f"{name}_parts" in ours if name in BEST and len(rows) > 1 else name in ours
        assert not {"key", "hash", "job", "line"} & set(ours)


def test_why_and_reweighing(cluster: Cluster) -> None:
    for inputs in INPUTS:
        request = SearchRequest(cluster.index, window=10, size=5, filters=FILTERS[1], **inputs)
        assert cluster.searcher.explain(request, "p020")["reasons"] is not None
        answer = cluster.searcher.search(request)
        assert cluster.searcher.reweigh(answer.query_id, {}, size=5, hydrate=True).hits
