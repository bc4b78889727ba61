"""Every body a search can send is understood by the newest Elasticsearch and by the oldest that is supported."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import made_shop
import numpy as np
import pytest
from made_shop import Thing, vector
from processes import spaces_here

from search_api import QueryInput, Searcher, SearchRequest, SearchResult, TextOptions
from search_api.filters import clauses
from search_api.legs import Asked, Leg, body, completion_body
from triptych.elastic import attached
from triptych.elastic.bulk import bulk_index
from triptych.elastic.engine import Found, msearch
from triptych.elastic.lifecycle import describe
from triptych.schema import Attachment, IndexSchema
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
    {"missing": "zero", "collapse": "colour"},
    {"missing": "background", "facets": FACETS},
]
OWN_QUERIES: list[dict[str, Any]] = [
    {"match_all": {}},
    {"bool": {"must": {"match": {"title.en": "red"}}, "should": [{"term": {"brand": {"value": "brand 1", "boost": 3}}}]}},
    {"function_score": {"query": {"match": {"title.en": "red horn"}}, "field_value_factor": {"field": "price", "missing": 1}}},
    {"dis_max": {"queries": [{"match_phrase": {"title.en": "red horn"}}, {"prefix": {"colour": "b"}}], "tie_breaker": 0.3}},
]
DEEP: list[dict[str, Any]] = [{"deep": True, "size": 4, "window": 4}, {"certify": True, "window": 5}]


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
def there(request: pytest.FixtureRequest) -> Services:
    """A node of either version."""
    found: Services = request.getfixturevalue("services" if request.param == "9.5" else "oldest_services")
    return found


@pytest.fixture(scope="module")
def mine(there: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    types = {"words": "int8_hnsw", "picture": "hnsw", "sound": "int8_flat"}
    return made_shop.services_of(there, tmp_path_factory.mktemp("bodies"), made_shop.profile(types))


@pytest.fixture(scope="module")
def cluster(mine: Services, run_id: str) -> Cluster:
    return filled(mine, f"bodies-{run_id}")


def filled(mine: Services, name: str, things: Sequence[Thing] = THINGS, **more: Any) -> Cluster:
    made_shop.create(mine, name, things, **{"best": BEST, **more})
    return Cluster(mine, Searcher(mine), name)


def ask_every_way(cluster: Cluster, number: int) -> None:
    """All filters, sorts and ways to rank and to show, each beside the others in turn."""
    ways: list[list[dict[str, Any]]] = [[{"filters": one} for one in FILTERS], SHOWN, RANKED]
    longest = max(len(way) for way in ways)
    for turn in range(longest):
        chosen = [way[(turn + shift * number) % len(way)] for shift, way in enumerate(ways, start=1)]
        assert cluster.search(INPUTS[number], *chosen).hits or chosen[0]["filters"]
    cluster.search(INPUTS[number], {"exact": False, "complete": False, "facets": FACETS})


def ask_deeply(cluster: Cluster, number: int) -> None:
    """Within one moment of the index (PIT): further pages, and windows that are widened until the answer is proved."""
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


NATIVE = [n for n, one in enumerate(INPUTS) if "inputs" not in one or one["inputs"] == TWICE["inputs"]]
"""The inputs that one request can ask: none pushes away."""


def ask_natively(cluster: Cluster, number: int) -> None:
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
    ask_every_way(cluster, number)


@pytest.mark.parametrize("number", range(len(TEXT_OPTIONS)))
def test_every_text_option(cluster: Cluster, number: int) -> None:
    for text, more in itertools.product(("red horn lamp", WORDS["text"]), ({}, {"highlight": True}, {"fusion": "native"})):
        cluster.search({"text": text, "text_options": TEXT_OPTIONS[number]}, more, GIVEN)


@pytest.mark.parametrize("number", range(len(OWN_QUERIES)))
def test_every_query_in_elasticsearchs_own_language(cluster: Cluster, number: int) -> None:
    given = {"text": "red horn", "lexical_query": OWN_QUERIES[number], **GIVEN}
    for filters, more in itertools.product(FILTERS[:3], ({"highlight": True, "facets": FACETS}, {"fusion": "native"}, *DEEP)):
        assert cluster.search(given, {"filters": filters}, more).hits or filters


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_every_deep_or_certified_answer(cluster: Cluster, number: int) -> None:
    ask_deeply(cluster, number)


@pytest.mark.parametrize("number", NATIVE)
def test_every_native_body(cluster: Cluster, number: int) -> None:
    ask_natively(cluster, number)


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


# Other indices


@pytest.fixture(scope="module")
def sharded(mine: Services, run_id: str) -> Cluster:
    """The same products in three shards: the words' statistics are gathered first (dfs)."""
    return filled(mine, f"bodies-shards-{run_id}", shards=3)


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_every_body_to_several_shards(sharded: Cluster, number: int) -> None:
    ask_every_way(sharded, number)
    ask_deeply(sharded, number)
    if number in NATIVE:
        ask_natively(sharded, number)


@pytest.fixture(scope="module")
def foreign(mine: Services, run_id: str) -> Cluster:
    """The same products in an attached index, where our field and the ids have other names."""
    name, client = f"bodies-attached-{run_id}", mine.elasticsearch
    best = {"under": "ours", "several": "best"}
    spaces = [one.model_copy(update={**best, **({} if one.name in BEST else {"several": "mean"})}) for one in spaces_here(mine)]
    schema = IndexSchema(
        lexical_fields=("title.en^2", "note"), spaces=tuple(spaces), levels=made_shop.LEVELS, profile=mine.profile.name,
        object_field="ours", attachment=Attachment(text=("title.en", "note"), id="sku"),
    )  # fmt: skip
    home = attached.home_of(mine.settings.system_prefix)
    properties = {**made_shop.PROPERTIES, "sku": {"type": "keyword"}, "ours": attached.object_mapping(schema, home)}
    client.indices.create(index=name, mappings={"properties": properties}, settings={"analysis": made_shop.ANALYSIS})
    attached.attach(client, home, name, schema)
    documents = {}
    for number, thing in enumerate(THINGS):
        made = made_shop.document(thing, mine, BEST)
        documents[f"d{number}"] = {**made, "sku": made.pop("id"), "ours": made.pop("triptych")}
    assert all(one.reason is None for one in bulk_index(client, name, documents).values())
    client.indices.refresh(index=name)
    return Cluster(mine, Searcher(mine), name)


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_every_body_to_an_attached_index(foreign: Cluster, number: int) -> None:
    ask_every_way(foreign, number)
    ask_deeply(foreign, number)
    if number in NATIVE:
        ask_natively(foreign, number)
    (hit, *_) = foreign.search(INPUTS[number], {"with_vectors": True, "fields": ("sku",)}).hits
    assert hit.product is not None
    assert (hit.product["sku"], set(hit.product) <= {"sku", "ours"}) == (hit.id, True)
    assert foreign.searcher.explain(SearchRequest(foreign.index, **INPUTS[number]), "p020")["id"] == "p020"


SHORTENED = ("int4_hnsw", "int4_flat", "bbq_hnsw", "bbq_flat")
LONG = 64
"""Numbers of a vector: bbq takes no fewer."""


@pytest.fixture(scope="module")
def shortened(there: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Vectors of four and of one bit a number, one per product and several."""
    lines = ["description: shortened", "spaces:"]
    lines += [
        f"  {kind}: {{family: precomputed, fingerprint: made, dims: {LONG}, licence: none, documents: image, index: {kind}}}"
        for kind in SHORTENED
    ]
    mine = made_shop.services_of(there, tmp_path_factory.mktemp("shortened"), "\n".join(lines))
    chance = np.random.default_rng(5)
    things = [
        Thing(
            one.id, one.title, {kind: made_shop.unit(chance.normal(size=(1 + n % 2, LONG))) for kind in SHORTENED}, one.fields
        )
        for n, one in enumerate(THINGS)
    ]
    return filled(mine, f"bodies-short-{run_id}", things, best=SHORTENED[::2])


def long_vector(number: int) -> list[float]:
    return [float(x) for x in made_shop.unit(np.random.default_rng(number).normal(size=LONG))]


@pytest.mark.parametrize("exact", [True, False])
def test_every_body_of_shortened_vectors(shortened: Cluster, *, exact: bool) -> None:
    given = {"vectors": {kind: long_vector(n) for n, kind in enumerate(SHORTENED)}, "exact": exact}
    mixed = {**WORDS, **given, "inputs": (QueryInput("vector", -0.5, space="bbq_hnsw", vector=long_vector(8)),)}
    ways: list[dict[str, Any]] = [{"facets": FACETS}, {"with_vectors": True}, *DEEP, {"collapse": "brand", "complete": False}]
    for inputs, filters, more in itertools.product((given, {**given, **LIKE}, mixed), FILTERS[:3], ways):
        assert shortened.search(inputs, {"filters": filters}, more).hits or filters
    for filters in FILTERS:
        shortened.search(WORDS, given, {"fusion": "native", "filters": filters, "facets": FACETS})
    found = shortened.searcher.explain(SearchRequest(shortened.index, text="red", **given), "p020")
    assert {name: is_so for name, is_so in found["quantised"].items() if is_so} == (
        {} if exact else {f"vector.{kind}": True for kind in SHORTENED}
    )


FUSED = """
description: several in one field
spaces:
  one: {family: precomputed, fingerprint: made, dims: 16, licence: none, documents: text, index: none}
  two: {family: precomputed, fingerprint: made, dims: 12, licence: none, documents: image, index: none}
  three: {family: precomputed, fingerprint: made, dims: 12, licence: none, documents: audio}
  beside: {family: fused, parts: {one: 0.6, two: 0.4}, dims: 28, licence: none, index: hnsw}
  added: {family: fused, parts: {two: 0.5, three: 0.5}, combine: sum, dims: 12, licence: none}
"""


@pytest.fixture(scope="module")
def fused(there: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    mine = made_shop.services_of(there, tmp_path_factory.mktemp("fused"), FUSED)
    chance = np.random.default_rng(6)
    dims = {"three": 12, "beside": 28, "added": 12}
    things = [
        Thing(
            one.id, one.title, {name: made_shop.unit(chance.normal(size=(1, size))) for name, size in dims.items()}, one.fields
        )
        for one in THINGS
    ]
    return filled(mine, f"bodies-fused-{run_id}", things, best=())


def test_every_body_of_fused_spaces(fused: Cluster) -> None:
    one, two = vector("words", 1), vector("picture", 2)
    inputs: list[dict[str, Any]] = [
        {"vectors": {"one": one}},
        {**WORDS, "vectors": {"one": one, "two": two, "three": two}},
        {**WORDS, "vectors": {"two": two}, **LIKE},
        {"vectors": {"one": one}, "inputs": (QueryInput("vector", -0.5, space="three", vector=two),)},
    ]
    for given, filters, more in itertools.product(inputs, FILTERS[:3], (*SHOWN[:3], *RANKED[:2], *DEEP, {"exact": False})):
        answer = fused.search(given, {"filters": filters}, more)
        assert answer.hits or filters
        assert all({"beside", "added"} & set(hit.legs) for hit in answer.hits)
    for filters in FILTERS:
        fused.search(inputs[1], {"fusion": "native", "filters": filters, "facets": FACETS})
