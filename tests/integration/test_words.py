"""How words are searched and marked, on the newest and the oldest Elasticsearch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import made_shop
import pytest
from made_shop import Thing
from processes import spaces_here

from search_api import Searcher, SearchRequest, SearchResult, TextOptions
from triptych.elastic import attached
from triptych.elastic.bulk import bulk_index
from triptych.schema import Attachment, IndexSchema
from triptych.services import Services

pytestmark = pytest.mark.integration

THINGS = [
    Thing("p1", "old violin", {}, {"brand": "Tonhain", "colour": "red"}),
    Thing("p2", "new violin", {}, {"brand": "Werkton", "note": "written by hand"}),
    Thing("p3", "old horn", {}, {"brand": "Tonhain", "note": "red wi-fi"}),
]


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
