"""Pages of one answer: nothing twice, nothing lost while the index changes, in every process, and only by our own tokens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made_shop
import numpy as np
import pytest
from made_shop import Thing, vector
from processes import free_port

from engine import redis_server
from search_api import Searcher, SearchRequest, SearchResult
from triptych.errors import NotFoundError, QueryError, TriptychError
from triptych.services import Services

pytestmark = pytest.mark.integration

THINGS = made_shop.things(240)
QUERY: dict[str, Any] = {"text": "red horn drum", "vectors": {"words": vector("words", 1), "picture": vector("picture", 2)}}


@dataclass(frozen=True, slots=True)
class Shelf:
    """An index that nobody writes to, and a Searcher of it."""

    services: Services
    searcher: Searcher
    index: str

    def search(self, **more: Any) -> SearchResult:
        return self.searcher.search(SearchRequest(self.index, **{**QUERY, **more}))


@pytest.fixture(scope="module")
def mine(services: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Services:
    return made_shop.services_of(services, tmp_path_factory.mktemp("paging"), queue=f"paging-{run_id}")


@pytest.fixture(scope="module")
def shelf(mine: Services, run_id: str) -> Iterator[Shelf]:
    version = made_shop.create(mine, f"shelf-{run_id}", THINGS)
    yield Shelf(mine, Searcher(mine), f"shelf-{run_id}")
    mine.elasticsearch.indices.delete(index=version)


def elsewhere(services: Services, **changes: Any) -> Searcher:
    """The Searcher of another process: it shares nothing with ours but the services behind it."""
    return Searcher(Services(services.settings.model_copy(update=changes)))


def pages(searcher: Searcher, first: SearchResult) -> Iterator[SearchResult]:
    yield first
    while first.next is not None:
        first = searcher.search(SearchRequest(page=first.next))
        yield first


def ids(results: Sequence[SearchResult]) -> list[str]:
    return [hit.id for result in results for hit in result.hits]


# While the index changes


@dataclass(slots=True)
class Changes:
    """What a busy writer did so far."""

    deleted: set[str]
    rounds: int = 0


@contextmanager
def busy(services: Services, version: str) -> Iterator[Changes]:
    """Another thread adds, changes and deletes products, each time seen by searches at once."""
    done, changes = threading.Event(), Changes(set())
    chance = np.random.default_rng(3)

    def work() -> None:
        client = services.elasticsearch
        while not done.is_set():
            number = changes.rounds
            added = [Thing(f"new{number}-{n}", "red horn drum", THINGS[n].vectors, THINGS[n].fields) for n in range(3)]
            picked = [THINGS[int(n)] for n in chance.choice(200, size=3, replace=False)]
            changed = [
                Thing(one.id, "red horn", THINGS[0].vectors, one.fields) for one in picked if one.id not in changes.deleted
            ]
            made_shop.write(services, version, [*added, *changed])
            gone = THINGS[200 + number % 40].id
            changes.deleted.add(gone)
            client.options(ignore_status=404).delete(index=version, id=gone, refresh=True)
            changes.rounds += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield changes
    finally:
        done.set()
        thread.join()


@pytest.fixture
def changing(mine: Services, run_id: str) -> Iterator[tuple[str, str]]:
    name = f"busy-{run_id}-{time.monotonic_ns()}"
    version = made_shop.create(mine, name, THINGS)
    yield name, version
    mine.elasticsearch.indices.delete(index=version)


def test_twenty_pages_of_an_index_that_changes(mine: Services, changing: tuple[str, str]) -> None:
    """All pages together are the answer as it was when the first was asked, without what was deleted since.

    Two processes turn the pages in turns.
    """
    name, version = changing
    turns = (Searcher(mine), elsewhere(mine))
    whole = ids(list(pages(turns[0], turns[0].search(SearchRequest(name, **QUERY, size=120, window=120)))))
    page = turns[0].search(SearchRequest(name, **QUERY, size=6, window=120))
    found = [page]
    with busy(mine, version) as changes:
        for turn in range(1, 20):
            while changes.rounds < turn // 4:
                time.sleep(0.01)
            page = turns[turn % 2].search(SearchRequest(page=page.next))
            found.append(page)
    seen = ids(found)
    assert len(set(seen)) == len(seen) >= 100
    assert seen == [key for key in whole if key in set(seen)]
    assert set(whole[: len(seen)]) - changes.deleted <= set(seen)


def test_deep_pages_of_an_index_that_changes_hold_everything_once(mine: Services, changing: tuple[str, str]) -> None:
    name, version = changing
    searcher = Searcher(mine)
    all_of_them = set(ids([searcher.search(SearchRequest(name, **QUERY, size=1000, window=1000))]))
    first = searcher.search(SearchRequest(name, **QUERY, size=12, window=15, deep=True))
    with busy(mine, version) as changes:
        found = list(pages(searcher, first))
    seen = ids(found)
    assert len(found) >= 15
    assert len(set(seen)) == len(seen)
    assert not {key for key in seen if key.startswith("new")}, "as of the moment the first page was asked"
    assert all_of_them - changes.deleted <= set(seen) <= all_of_them
    deep = found[-1].deep
    assert deep is not None
    assert (deep["more"], found[-1].next) == (False, None)


# What pages hold


def test_pages_hold_what_one_large_page_holds(shelf: Shelf) -> None:
    whole = shelf.search(size=100)
    for more in ({}, {"sort": [{"price": "asc"}]}, {"min_relevance": 0.3}, {"fusion": "rrf"}):
        wide = shelf.search(size=100, **more)
        paged = list(pages(shelf.searcher, shelf.search(size=30, **more)))
        assert ids(paged)[: len(wide.hits)] == ids([wide])
        assert len(ids(paged)) == paged[0].reachable
        assert {page.query_id for page in paged} == {paged[0].query_id}
    assert ids([whole]) != ids([shelf.search(size=100, sort=["price"])])


def test_no_variant_comes_on_a_later_page(shelf: Shelf) -> None:
    brands = [
        hit.product["brand"] for page in pages(shelf.searcher, shelf.search(size=4, collapse="brand")) for hit in page.hits
    ]
    assert len(brands) == len(set(brands)) > 10


def test_a_variant_has_the_place_of_a_winner_that_was_deleted(mine: Services, changing: tuple[str, str]) -> None:
    """Of a brand whose best product is gone by the time of its page the best that is left is shown, and no brand is lost."""
    name, version = changing
    asked = SearchRequest(name, **QUERY, size=4, window=240, collapse="brand")
    searcher = Searcher(mine)
    first = searcher.search(asked)
    whole = list(pages(searcher, first))
    before = {hit.product["brand"]: hit for page in whole for hit in page.hits}
    third, fourth, fifth = [hit for page in whole[1:] for hit in page.hits][:3]
    gone = [third.id, fourth.id, *(one.id for one in fourth.variants[:11])]
    gone += [fifth.id, *(one.id for one in fifth.variants)]
    for key in gone:
        mine.elasticsearch.delete(index=version, id=key)
    mine.elasticsearch.indices.refresh(index=version)
    found = list(pages(elsewhere(mine), first))
    after = {hit.product["brand"]: hit for page in found for hit in page.hits}
    lost = fifth.product["brand"]
    assert list(after) == [brand for brand in before if brand != lost]
    assert len(ids(found)) == len(set(ids(found))) == len(before) - 1
    for winner, place in ((third, 0), (fourth, 11)):
        hit = after[winner.product["brand"]]
        assert (hit.id, hit.score) == (winner.variants[place].id, winner.variants[place].score)
        assert hit.variants == winner.variants[place + 1 :]


def test_later_pages_show_facets_highlights_and_fields_too(shelf: Shelf) -> None:
    first = shelf.search(size=5, facets={"colour": {}}, highlight=True, fields=("title",), explain=True)
    second = elsewhere(shelf.services).search(SearchRequest(page=first.next))
    assert second.facets == first.facets
    assert any(hit.highlight for hit in second.hits)
    assert all(set(hit.product) == {"title"} for hit in second.hits if hit.product)
    assert second.explain is not None
    assert second.explain["legs"] == (first.explain or {})["legs"]


def test_a_page_is_that_of_its_answer_and_of_nothing_else(shelf: Shelf) -> None:
    token = shelf.search(size=5).next
    assert shelf.searcher.search(SearchRequest(shelf.index, page=token)).offset == 5
    with pytest.raises(QueryError) as other:
        shelf.searcher.search(SearchRequest("another", page=token))
    assert (other.value.code, other.value.field) == ("page.invalid", "index")
    with pytest.raises(QueryError) as more:
        shelf.searcher.search(SearchRequest(page=token, text="drum"))
    assert (more.value.code, more.value.field) == ("page.not_alone", "text")
    with pytest.raises(QueryError) as explained:
        shelf.searcher.explain(SearchRequest(shelf.index, page=token), "p000")
    assert (explained.value.code, explained.value.field) == ("page.not_alone", "product")


def test_reweighed_products_have_their_highlights_and_pictures(shelf: Shelf) -> None:
    first = shelf.search(size=30, highlight=True, fields=("title",))
    again = elsewhere(shelf.services).reweigh(first.query_id, {}, size=30, hydrate=True)
    assert any(hit.highlight for hit in again.hits)
    assert any(leg.matched_media for hit in again.hits for leg in hit.legs.values())
    assert again.hits == first.hits
    page = shelf.searcher.search(SearchRequest(page=again.next))
    assert page.hits == shelf.searcher.search(SearchRequest(page=first.next)).hits


def test_deep_pages_go_on_behind_the_window_with_true_scores(shelf: Shelf) -> None:
    scores = {hit.id: hit.score for hit in shelf.search(size=1000, window=1000).hits}
    found = list(pages(shelf.searcher, shelf.search(size=25, window=25, deep=True)))
    assert len(ids(found)) == len(scores)
    for page in found:
        for hit in page.hits:
            assert hit.score == pytest.approx(scores[hit.id], abs=1e-5)
    other = elsewhere(shelf.services)
    first = shelf.search(size=25, window=25, deep=True)
    assert ids(list(pages(other, first))) == ids(found), "another process turns the same pages"


def test_a_reweighed_deep_answer_is_paged_through_whatever_the_size_of_its_first_page(shelf: Shelf) -> None:
    first, other = (shelf.search(size=20, window=20, deep=True) for _ in range(2))
    whole = set(ids(list(pages(shelf.searcher, other))))
    for size in (15, first.reachable, 1000):
        again = shelf.searcher.reweigh(first.query_id, {"lexical": 0.5}, size=size)
        assert (again.deep or {})["more"]
        assert again.next is not None
        found = ids(list(pages(shelf.searcher, again)))
        assert len(found) == len(set(found))
        assert set(found) == whole
    ranks = shelf.searcher.reweigh(first.query_id, {}, size=1000, fusion="rrf")
    assert (ranks.deep, ranks.next) == (None, None), "deep pages would move what was shown"


def test_deep_pages_whose_moment_is_over_say_so(shelf: Shelf) -> None:
    """Elasticsearch forgets a point in time; here it is told to."""
    first = shelf.search(size=10, window=10, deep=True)
    session = shelf.searcher._sessions.get(first.query_id)
    shelf.services.elasticsearch.close_point_in_time(id=(session.asked or {})["pit"])
    with pytest.raises(QueryError) as error:
        for _ in pages(shelf.searcher, first):
            pass
    assert (error.value.code, error.value.field) == ("page.expired", "page")


# Tokens


def code_of(searcher: Searcher, token: str | None) -> str:
    with pytest.raises(TriptychError) as error:
        searcher.search(SearchRequest(page=token))
    return error.value.code


def test_a_token_cannot_be_changed(shelf: Shelf) -> None:
    token = shelf.search(size=5).next
    assert token is not None
    for at in range(0, len(token), 7):
        other = "A" if token[at] != "A" else "B"
        changed = token[:at] + other + token[at + 1 :]
        if changed[-1] == token[-1]:
            assert code_of(shelf.searcher, changed) == "page.invalid", at
    for wrong in ("", ".", token[:-2], token + "xx", token.upper(), "ключ", "a.b.c", "=" * 10_000):
        assert code_of(shelf.searcher, wrong) == "page.invalid", wrong[:20]
    assert shelf.searcher.search(SearchRequest(page=token)).hits


def test_a_token_of_another_secret_is_none(shelf: Shelf) -> None:
    from pydantic import SecretStr

    strange = elsewhere(shelf.services, page_secret=SecretStr("another"))
    token = strange.search(SearchRequest(shelf.index, **QUERY, size=5)).next
    assert code_of(shelf.searcher, token) == "page.invalid"
    twin = elsewhere(shelf.services, page_secret=SecretStr("another"))
    assert twin.search(SearchRequest(page=token)).hits


def test_a_token_expires_and_so_does_its_session(shelf: Shelf) -> None:
    brief = elsewhere(shelf.services, session_seconds=1)
    first = brief.search(SearchRequest(shelf.index, **QUERY, size=5))
    second = brief.search(SearchRequest(page=first.next))
    time.sleep(2.2)
    assert code_of(brief, first.next) == "page.expired"
    assert code_of(brief, second.next) == "page.expired"
    for searcher in (elsewhere(shelf.services), brief):
        with pytest.raises(NotFoundError) as error:
            searcher.reweigh(first.query_id, {}, size=5)
        assert error.value.code == "session.not_found"


def test_pages_turned_slowly_keep_their_session(shelf: Shelf) -> None:
    """Every page is asked within the time of its token, all of them take longer than a session is kept; in two processes."""
    brief, other = (elsewhere(shelf.services, session_seconds=2) for _ in range(2))
    page = brief.search(SearchRequest(shelf.index, **QUERY, size=5))
    for turn in range(5):
        time.sleep(0.9)
        page = (brief, other, brief, brief, other)[turn].search(SearchRequest(page=page.next))
        assert page.offset == 5 * (turn + 1)
    time.sleep(3.2)
    assert code_of(other, page.next) == "page.expired"


def test_a_session_that_redis_lost_is_not_found_elsewhere(shelf: Shelf) -> None:
    first = shelf.search(size=5)
    shelf.services.redis.delete(f"{shelf.services.settings.queue}:session:{first.query_id}")
    assert code_of(elsewhere(shelf.services), first.next) == "page.expired"
    assert shelf.searcher.search(SearchRequest(page=first.next)).hits, "this process has it still"


# Without Redis


def test_pages_of_one_process_need_no_redis(shelf: Shelf, tmp_path: Path) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    alone, other = (Searcher(made_shop.services_of(shelf.services, tmp_path, redis_url=away)) for _ in range(2))
    first = alone.search(SearchRequest(shelf.index, **QUERY, size=20))
    assert [(one.name, one.code) for one in first.degraded] == [("redis", "queue.unavailable")]
    paged = list(pages(alone, first))
    assert ids(paged) == ids([shelf.search(size=100)])[: len(ids(paged))] or len(ids(paged)) == first.reachable
    assert code_of(other, first.next) in {"page.invalid", "page.expired"}


def test_tokens_made_without_redis_are_shared_once_it_is_back(shelf: Shelf, tmp_path: Path) -> None:
    """A process that began while Redis was away must not keep a secret of its own."""
    port = free_port()
    one, other = (
        Searcher(made_shop.services_of(shelf.services, tmp_path, redis_url=f"redis://127.0.0.1:{port}/0")) for _ in range(2)
    )
    assert one.search(SearchRequest(shelf.index, **QUERY, size=5)).degraded
    with redis_server(shelf.services.settings, port=port):
        time.sleep(5.2)  # the breaker rests
        first = one.search(SearchRequest(shelf.index, **QUERY, size=5))
        assert first.degraded == ()
        assert other.search(SearchRequest(page=first.next)).hits
