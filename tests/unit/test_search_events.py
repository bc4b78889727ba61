"""What of an answer is kept for learning: which words, and never at the answer's cost."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from search_api.answer import Hit, Recognised, SearchResult
from search_api.events import AnswerLog, words_to_keep
from search_api.query import QueryInput, SearchRequest
from triptych.elastic.client import connect
from triptych.elastic.events import EventStore, Shown
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def answer(*ids: str, **more: Any) -> SearchResult:
    hits = tuple(Hit(key, 1.0, None, {}) for key in ids)
    return SearchResult("q", 1.0, len(hits), hits, index="shop", **more)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SearchRequest("shop", text="  red\n hat "), "red hat"),
        (SearchRequest("shop", inputs=(QueryInput("text", text="red hat"),)), "red hat"),
        (SearchRequest("shop", audio=b"x", audio_as="words"), "heard"),
        (SearchRequest("shop", audio=b"x", audio_as="both"), None),
        (SearchRequest("shop", audio=b"x"), None),
        (SearchRequest("shop", text="red", image=b"x"), None),
        (SearchRequest("shop", text="red", products=("p",)), None),
        (SearchRequest("shop", inputs=(QueryInput("text", -0.5, text="leather"),)), None),
        (SearchRequest("shop", text="who@example.org"), None),
        (SearchRequest("shop", text="x" * 101), None),
        (SearchRequest(page="token"), None),
    ],
    ids=["words", "as an input", "spoken", "spoken and a sound", "sound", "picture", "like", "not", "address", "long", "page"],
)  # fmt: skip
def test_only_words_that_are_all_of_a_query_are_kept(request_: SearchRequest, words: str | None) -> None:
    heard = {"audio.words": Recognised("heard", "en", 1.0)}
    assert words_to_keep(request_, answer("p", recognised=heard)) == words


def test_an_answer_is_kept_with_its_places() -> None:
    written: list[Shown] = []
    log = AnswerLog(written.extend)
    log.put(SearchRequest("shop", text="hat"), answer("a", "b", offset=10))
    log.put(SearchRequest("shop", text="nothing found"), answer())
    until = time.monotonic() + 10
    while not written and time.monotonic() < until:
        time.sleep(0.01)
    assert written == [Shown("q", "shop", ["a", "b"], 10, "hat")]


def test_a_slow_store_costs_answers_their_record_and_nobody_any_time(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def slow(_: object) -> None:
        release.wait(30)

    log = AnswerLog(slow)
    began = time.monotonic()
    for _ in range(2500):
        log.put(SearchRequest("shop", text="hat"), answer("a"))
    assert time.monotonic() - began < 5
    release.set()
    log.write()
    assert re.search(r"\d{3} answers were not kept for learning: 2000 waited already", caplog.text)


def test_an_elasticsearch_that_is_away_costs_answers_their_record(caplog: pytest.LogCaptureFixture) -> None:
    nobody = Settings(elasticsearch_url="http://127.0.0.1:9")
    log = AnswerLog(EventStore(connect(nobody), nobody).write)
    log._started = True  # no thread: the test writes
    log.put(SearchRequest("shop", text="hat"), answer("a"))
    assert (log.write(), log.write()) == (1, 0)
    assert "1 answers were not kept" in caplog.text
