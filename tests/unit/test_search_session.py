"""A session is kept to the last bit, and the tokens of its pages are nobody's to forge."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from toys import a_table

from search_api import ranking
from search_api.answer import Degraded, Recognised
from search_api.breakers import Breakers
from search_api.classify import Classified
from search_api.deadline import Deadline
from search_api.fusion import FusedLeg, Method
from search_api.ranking import Options
from search_api.searcher import _kept
from search_api.session import MOST_HERE, Session, Sessions, from_bytes, to_bytes
from triptych.errors import NotFoundError, QueryError
from triptych.schema import LEXICAL, Level
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

LEVEL = Level(floor=0.7, sigma=0.05, reliability=0.3, sample=256, noise=tuple(0.7 + n / 50 for n in range(11)), top=0.93)
LEGS = (
    FusedLeg("one", "text", LEXICAL, 0.1 + 0.2, Level(floor=0.0, sigma=1.0)),
    FusedLeg("two", "text", "text.text", 0.4, LEVEL),
    FusedLeg("three", "image", "image.image", -0.3, None, pushes=True),
)
CELL = st.none() | st.floats(0, 40, width=32)
SECRET = "known to us"
ROWS = st.dictionaries(st.text(min_size=1, max_size=4), st.tuples(CELL, CELL, CELL), min_size=1, max_size=10)


def a_session(rows: Any, name: str = "q1", **more: Any) -> Session:
    table = a_table(rows, **{key: more.pop(key) for key in ("rounds", "values", "lasts", "status") if key in more})
    given_: dict[str, Any] = {
        "options": {"fusion": "calibrated", "sort": [], "size": 10}, "words": {"one": 2}, "total_matched": 12,
        "aggregations": {"facet_0": {"buckets": []}}, "recognised": {"audio.words": Recognised("a shoe", "en", 0.9876)},
        "degraded": (Degraded("two", "elasticsearch.busy", "It is busy."),), "certified": {"proved": True, "bound": 0.1},
        "asked": {"window": 100, "pit": None, "filters": [{"term": {"colour": "red"}}], "legs": []},
        "classified": Classified("kind", (("hat", 0.75), ("shoe", 0.25)), {"text": {"value": "hat", "confidence": 0.75}}),
    }  # fmt: skip
    return Session(name, "shop", "shop-1", table, LEGS, **{**given_, **more})


def same(one: Session, other: Session) -> None:
    for name in ("legs", "ids", "values"):
        assert getattr(one.candidates, name) == getattr(other.candidates, name)
    for name in ("raw", "status", "rank", "tops", "lasts", "round"):
        first, second = getattr(one.candidates, name), getattr(other.candidates, name)
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert first.tobytes() == second.tobytes()
    for name in Session.__slots__:
        if name != "candidates":
            assert getattr(one, name) == getattr(other, name)


def test_a_session_comes_back_as_it_was() -> None:
    rows = {"a": [3.25, 0.1, None], "b": [0.0, None, 0.9], "\U0001f600": [None, 0.3, 1 / 3]}
    session = a_session(
        rows, rounds={"b": 1}, lasts=[np.nan, 0.1, 0.2],
        values={"a": {"price": [9.99, 12.0], "sold": [True], "made": ["1704067200000"]}, "b": {"price": []}},
    )  # fmt: skip
    same(session, from_bytes(to_bytes(session)))


def test_an_empty_session_comes_back() -> None:
    empty = Session("q", "shop", "shop-1", a_table({}, legs=("one", "two", "three")), LEGS, {})
    same(empty, from_bytes(to_bytes(empty)))
    assert from_bytes(to_bytes(empty)).asked is None


@given(ROWS, st.sampled_from(["calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf"]))
def test_a_kept_session_ranks_exactly_the_same(rows: Any, fusion: Any) -> None:
    session = a_session(rows)
    kept = from_bytes(to_bytes(session))
    same(session, kept)
    options = Options(Method(fusion), min_relevance=0.2)
    one, other = (ranking.rank(some, some.legs, options) for some in (session, kept))
    assert one.rows == other.rows
    assert one.fused.score.tobytes() == other.fused.score.tobytes()
    for first, second in [(one.relevance, other.relevance)]:
        assert (first is None) == (second is None)
        assert first is None or second is None or first.tobytes() == second.tobytes()


@given(st.integers(0, 10_000), st.integers(9, 14))
def test_a_leg_that_fell_out_leaves_no_trace_in_the_last_bit(seed: int, width: int) -> None:
    """Sums of nine numbers and more depend on how an array lies in memory."""
    chance = np.random.default_rng(seed)
    names = [f"leg{n}" for n in range(width)]
    rows = {f"{n}": [None if chance.random() < 0.3 else float(chance.random()) for _ in names] for n in range(60)}
    table = a_table(rows, legs=names).without(["leg3"])
    legs = tuple(FusedLeg(name, f"input{n % 3}", name, 1 / (width - 1), LEVEL) for n, name in enumerate(table.legs))
    session = Session("q", "shop", "shop-1", table, legs, {})
    kept = from_bytes(to_bytes(session))
    scores = [ranking.rank(some, legs, Options(Method())).fused.score.tobytes() for some in (session, kept)]
    assert scores[0] == scores[1]


# Where they are kept


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a Redis that is not there: a port that was free a moment ago and is held, but not listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{held.getsockname()[1]}/0"


def sessions(settings: Settings, nowhere: str, *, secret: str | None = SECRET, seconds: int = 600) -> Sessions:
    changes = {"redis_url": SecretStr(nowhere), "session_seconds": seconds, "page_secret": secret and SecretStr(secret)}
    return Sessions(Services(settings.model_copy(update=changes)), Breakers())


def test_without_redis_the_pages_of_one_process_work(settings: Settings, nowhere: str) -> None:
    mine = sessions(settings, nowhere)
    session = a_session({"a": [1.0, 0.8, None]})
    lost = mine.put(session)
    assert lost is not None
    assert (lost.name, lost.code) == ("redis", "queue.unavailable")
    assert mine.get("q1") is session


def test_a_redis_that_hangs_costs_a_second(settings: Settings) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # it takes connections, and answers none
        mine = sessions(settings, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        lost = mine.put(a_session({"a": [1.0, 0.8, None]}))
        assert time.monotonic() - began < 3
    assert lost is not None
    assert (lost.name, lost.code) == ("redis", "queue.unavailable")


def test_an_answer_does_not_wait_beyond_its_deadline_until_it_is_kept() -> None:
    kept: Future[Degraded | None] = Future()
    lost = _kept(kept, Deadline(0.01))
    assert lost is not None
    assert (lost.name, lost.code) == ("redis", "queue.unavailable")
    kept.set_result(None)
    assert _kept(kept, Deadline(0.0)) is None
    assert _kept(kept, Deadline()) is None


def test_a_session_that_is_nowhere_is_over(settings: Settings, nowhere: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        sessions(settings, nowhere).get("q1")
    assert (caught.value.code, caught.value.field) == ("session.not_found", "query_id")
    assert "600 s" in (caught.value.remedy or "")


def test_the_latest_sessions_are_kept_here(settings: Settings, nowhere: str) -> None:
    mine = sessions(settings, nowhere)
    for number in range(MOST_HERE + 1):
        mine.put(a_session({"a": [1.0, None, None]}, name=f"q{number}"))
        if number == MOST_HERE - 1:
            mine.put(a_session({"a": [1.0, None, None]}, name="q0"))  # now the latest
    assert mine.get("q0").id == "q0"
    with pytest.raises(NotFoundError):
        mine.get("q1")


# Tokens


def test_a_token_leads_back(settings: Settings, nowhere: str) -> None:
    token = sessions(settings, nowhere).token("q1", offset=20, size=10)
    assert sessions(settings, nowhere).place(token) == ("q1", 20, 10)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."), "fit for a URL"


@pytest.mark.parametrize("change", ["other secret", "no secret", "cut", "changed", "added", "empty", "plain", "not ascii"])
def test_a_token_that_we_did_not_sign_is_refused(settings: Settings, nowhere: str, change: str) -> None:
    mine = sessions(settings, nowhere)
    token = mine.token("q1", offset=20, size=10)
    forged = {
        "other secret": sessions(settings, nowhere, secret="another").token("q1", offset=20, size=10),
        "no secret": sessions(settings, nowhere, secret=None).token("q1", offset=20, size=10),
        "cut": token[:-1], "added": token + "A", "empty": "", "plain": '["q1",0,10]', "not ascii": "ü",
        "changed": ("A" if token[0] != "A" else "B") + token[1:],
    }[change]  # fmt: skip
    with pytest.raises(QueryError) as caught:
        mine.place(forged)
    assert (caught.value.code, caught.value.field) == ("page.invalid", "page")


def test_a_token_of_something_else_that_we_signed_is_refused(settings: Settings, nowhere: str) -> None:
    mine = sessions(settings, nowhere)
    for content in ("q1.1", "q1", "", "q1.1.x", "q1..1"):
        with pytest.raises(QueryError):
            mine.place(mine._signed().sign(content).decode())


def test_an_old_token_is_too_old(settings: Settings, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = sessions(settings, nowhere, seconds=60)
    token = mine.token("q1", offset=20, size=10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 58)
    assert mine.place(token)[1] == 20
    monkeypatch.setattr(time, "time", lambda: now + 62)
    with pytest.raises(QueryError) as caught:
        mine.place(token)
    assert (caught.value.code, caught.value.field) == ("page.expired", "page")


def test_without_redis_and_setting_each_process_has_a_secret_of_its_own(settings: Settings, nowhere: str) -> None:
    mine = sessions(settings, nowhere, secret=None)
    assert mine.place(mine.token("q1", offset=1, size=1)) == ("q1", 1, 1), "and keeps it"
