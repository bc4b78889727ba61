"""How words are searched and marked, on the newest and the oldest Elasticsearch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import made_shop
import numpy as np
import pytest
from made_shop import Thing, vector
from processes import spaces_here

from search_api import QueryInput, Searcher, SearchRequest, SearchResult, TextOptions
from triptych.elastic import attached
from triptych.elastic.bulk import bulk_index
from triptych.schema import LEXICAL, Attachment, IndexSchema
from triptych.services import Services

pytestmark = pytest.mark.integration

VECTORS = {"words": np.array([vector("words", 2)])}
THINGS = [
    Thing("p1", "old violin", VECTORS, {"brand": "Tonhain", "colour": "red"}),
    Thing("p2", "new violin", VECTORS, {"brand": "Werkton", "note": "written by hand"}),
    Thing("p3", "old horn", VECTORS, {"brand": "Tonhain", "note": "red wi-fi"}),
]


FIELDS = ("title.en", "brand", "note")
"""Of three analyzers: whitespace, none and standard."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """An index with the three products."""

    searcher: Searcher
    index: str

    def words(self, text: str, options: dict[str, Any] | None = None, **more: Any) -> SearchResult:
        """The answer of the words alone."""
        given = TextOptions(**(options or {}))
        result = self.searcher.search(SearchRequest(self.index, text=text, text_options=given, **more))
        assert result.degraded == ()
        return result

    def found(self, text: str, **options: Any) -> set[str]:
        return {hit.id for hit in self.words(text, options).hits}


@pytest.fixture(scope="module", params=["9.5", "8.19"])
def mine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Services:
    found: Services = request.getfixturevalue("services" if request.param == "9.5" else "oldest_services")
    return made_shop.services_of(found, tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def shelf(mine: Services, run_id: str) -> Shelf:
    name = f"words-{run_id}"
    made_shop.create(mine, name, THINGS)
    return Shelf(Searcher(mine), name)


# Fields


@pytest.mark.parametrize("pattern", ["*", "t*", "*e*"])
def test_a_pattern_finds_no_field_of_ours(shelf: Shelf, pattern: str) -> None:
    """`triptych.outcome` of every product is "written"."""
    shown = shelf.words("written horn", {"fields": (pattern, "note")}, highlight=True)
    assert {hit.id: set(hit.highlight) for hit in shown.hits} == {"p2": {"note"}, "p3": {"title.en"}}
    assert shelf.found("1", fields=(pattern,)) == set(), "the job's number"


def test_a_pattern_finds_no_field_of_ours_in_an_attached_index(mine: Services, run_id: str) -> None:
    """Of two, under names of their own."""
    name, client = f"words-attached-{run_id}", mine.elasticsearch
    spaces = [one.model_copy(update={"under": "ours"}) for one in spaces_here(mine)]
    schema = IndexSchema(
        lexical_fields=("title.en",), spaces=tuple(spaces), profile=mine.profile.name, object_field="ours", others=("ours_v2",),
        attachment=Attachment(text=("title.en",)),
    )  # fmt: skip
    home = attached.home_of(mine.settings.system_prefix)
    ours = attached.object_mapping(schema, home)
    properties = {**made_shop.PROPERTIES, "ours": ours, "ours_v2": ours}
    client.indices.create(index=name, mappings={"properties": properties}, settings={"analysis": made_shop.ANALYSIS})
    attached.attach(client, home, name, schema)
    documents = {}
    for thing in THINGS:
        made = made_shop.document(thing, mine)
        key, field = made.pop("id"), made.pop("triptych")
        documents[key] = {**made, "ours": field, "ours_v2": field}
    assert all(one.reason is None for one in bulk_index(client, name, documents).values())
    client.indices.refresh(index=name)
    theirs = Shelf(Searcher(mine), name)
    shown = theirs.words("written horn", {"fields": ("*",)}, highlight=True)
    assert {hit.id: set(hit.highlight) for hit in shown.hits} == {"p2": {"note"}, "p3": {"title.en"}}
    assert theirs.found("p1", fields=("*",)) == set(), "our key of it"


# How many words


def test_every_word_may_stand_in_any_field(shelf: Shelf) -> None:
    fields = FIELDS
    for options in ({"operator": "and"}, {"minimum_should_match": "100%"}, {"minimum_should_match": "2"}):
        given = {"fields": fields, **options}
        assert shelf.found("violin Tonhain", **given) == {"p1"}
        assert shelf.found("Tonhain horn", **given) == {"p3"}
        assert shelf.found("Written violin", **given) == {"p2"}
        assert shelf.found("violin horn", **given) == set()
        assert shelf.found("horn wi-fi", **given) == {"p3"}
        assert shelf.found("Tonhain", **given) == {"p1", "p3"}
    assert shelf.found("old violin Tonhain", fields=fields, minimum_should_match="2") == {"p1", "p3"}
    assert shelf.found("old violin Tonhain", fields=fields, minimum_should_match="-1") == {"p1", "p3"}
    assert shelf.found("old viol1n Tonhain", fields=fields, minimum_should_match="3", fuzziness="1") == {"p1"}


def test_scores_are_those_of_the_words_without_the_demand(shelf: Shelf) -> None:
    """The leg's list, and what it completes for products that another leg found."""
    more = {"inputs": (QueryInput("vector", space="words", vector=vector("words", 1)),)}
    plain = {hit.id: hit.legs[LEXICAL] for hit in shelf.words("old violin Tonhain", {"fields": FIELDS}, **more).hits}
    assert plain.keys() == {"p1", "p2", "p3"}
    for window in (1, 100):
        strict = shelf.words("old violin Tonhain", {"fields": FIELDS, "operator": "and"}, window=window, size=1, **more)
        seen = list(strict.hits)
        while strict.next:
            strict = shelf.searcher.search(SearchRequest(page=strict.next))
            seen += strict.hits
        assert {"p1"} <= {hit.id for hit in seen}
        for hit in seen:
            leg = hit.legs[LEXICAL]
            assert leg.raw == (pytest.approx(plain["p1"].raw) if hit.id == "p1" else 0)
            assert (leg.status == "no_match") == (hit.id != "p1")


def test_words_that_an_analyzer_drops_are_not_missed(mine: Services, run_id: str) -> None:
    """English drops `the`; Chinese is cut into pairs of characters, all of which must occur."""
    name = f"words-cut-{run_id}"
    version = made_shop.create(mine, name)
    mine.elasticsearch.indices.put_mapping(
        index=version,
        properties={"en": {"type": "text", "analyzer": "english"}, "zh": {"type": "text", "analyzer": "cjk"}},
    )
    english, chinese = {"en": "The violins", "brand": "Tonhain"}, {"zh": "红色小提琴", "brand": "Tonhain"}
    made_shop.write(mine, version, [Thing("e", "", {}, english), Thing("z", "", {}, chinese)])
    cut = Shelf(Searcher(mine), name)
    given = {"fields": ("en", "zh", "brand"), "operator": "and"}
    assert cut.found("the violin Tonhain", **given) == {"e"}
    assert cut.found("小提琴 Tonhain", **given) == cut.found("红色小提琴", **given) == {"z"}
    assert cut.found("大提琴 Tonhain", **given) == cut.found("红色大提琴", **given) == set()


@pytest.mark.parametrize("options", [{"operator": "and"}, {"minimum_should_match": "75%"}], ids=str)
def test_the_longest_text_in_many_fields_is_understood(mine: Services, run_id: str, options: dict[str, Any]) -> None:
    name = f"words-many-{options.get('operator', 'least')}-{run_id}"
    version = made_shop.create(mine, name, THINGS)
    analyzers = ("english", "cjk", "german", "french", "spanish", "standard")
    properties = {f"t{n}": {"type": "text", "analyzer": analyzers[n % 6]} for n in range(24)}
    mine.elasticsearch.indices.put_mapping(index=version, properties=properties)
    many = Shelf(Searcher(mine), name)
    assert many.found("a b " * 75, fields=("t*",), **options) == set()
    assert many.found("大" * 300, fields=("t*",), **options) == set()


# Marked words


@pytest.fixture(scope="module", params=[0, 5000])
def long(mine: Services, run_id: str, request: pytest.FixtureRequest) -> Shelf:
    """The three products, and one whose note is longer than Elasticsearch marks by itself, or than the index's owner allows."""
    name = f"words-long-{request.param}-{run_id}"
    note = "violin " + "very " * 250_000 + "long horn"
    version = made_shop.create(mine, name, [*THINGS, Thing("p4", "a book", {}, {"note": note})])
    if request.param:
        mine.elasticsearch.indices.put_settings(index=version, settings={"highlight.max_analyzed_offset": request.param})
    return Shelf(Searcher(mine), name)


@pytest.mark.parametrize("fusion", ["calibrated", "native"])
def test_words_are_marked_beside_a_text_that_is_too_long(long: Shelf, fusion: Any) -> None:
    shown = long.words("violin horn", {"fields": ("title.en", "note")}, highlight=True, fusion=fusion, fields=("title",))
    marked = {hit.id: hit.highlight for hit in shown.hits}
    assert marked.keys() == {"p1", "p2", "p3", "p4"}
    assert marked["p1"] == {"title.en": ["old <em>violin</em>"]}
    assert marked["p4"]["note"][0].startswith("<em>violin</em> very")
    assert not any("<em>horn</em>" in part for part in marked["p4"]["note"]), "it lies behind what is read"
