"""Wider windows: no product unseen can score above the bound, and what was asked is kept for later pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import hypothesis
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import IMAGE, a_table, an_encoded

from search_api.asking import Run
from search_api.candidates import Candidates, LegHits, complete, gather
from search_api.deadline import Deadline
from search_api.deepening import WIDEST, bound, certified, cost, deepened, goes_on, kept, legs_of
from search_api.fusion import FusedLeg, Method, fuse
from search_api.legs import Leg
from search_api.query import SearchRequest
from search_api.session import Session
from search_api.words import TextOptions
from triptych.elastic.lifecycle import IndexInfo
from triptych.schema import LEXICAL, IndexSchema, Level, Missing

pytestmark = pytest.mark.unit

UNIT = Level(floor=0.0, sigma=0.0)
PICTURES = Level(floor=0.5, sigma=0.05)


def leg(name: str, weight: float, source: str = "text", level: Level | None = UNIT, base: str = "") -> FusedLeg:
    return FusedLeg(name, source, base or name, weight, level)


# The bound by hand


@pytest.mark.parametrize(
    ("legs", "lasts", "expected"),
    [
        # tops are 1: each leg can give its last score
        ([leg("one", 0.4), leg("two", 0.6, "image")], [0.5, 0.25], 0.4 * 0.5 + 0.6 * 0.25),
        # the first list has ended: who is not in it does not match
        ([leg("one", 0.4), leg("two", 0.6, "image")], [np.nan, 0.25], 0.6 * 0.25),
        # of one input a product may have the better leg only, which then has the whole share
        ([leg("one", 0.4), leg("two", 0.6)], [0.5, 0.25], 0.5),
        # a leg that pushes away can do no more than not apply (floor 0) ...
        ([leg("one", 0.5), leg("two", -0.5, "text#2")], [0.5, np.nan], 0.25),
        # ... or hit what lies as far below the floor as can be: -(0 - .5) / (1 - .5)
        ([leg("one", 0.5), leg("two", -0.5, "image#2", PICTURES)], [0.5, np.nan], 0.25 + 0.5),
        # what lies below the floor does no good: not to have it is better
        ([leg("one", 0.5), leg("two", 0.5, "image", PICTURES)], [0.5, 0.4], 0.25),
    ],
)
def test_by_hand(legs: list[FusedLeg], lasts: list[float], expected: float) -> None:
    table = a_table({"a": [1.0, 1.0]}, lasts=lasts)
    assert bound(table, legs, Method()) == pytest.approx(expected)


def test_with_a_higher_guard_an_unseen_product_can_score_less() -> None:
    table, picture = a_table({"a": [0.6]}, lasts=[0.55]), Level(floor=0.5, sigma=0.05)
    found = [bound(table, [leg("one", 1.0, "image", picture)], Method(guard=guard)) for guard in (0.0, 2.0, 4.0)]
    assert found == pytest.approx([0.5, 0.5, 0.25])


def test_where_every_list_has_ended_nothing_is_unseen() -> None:
    assert bound(a_table({"a": [1.0, 1.0]}), [leg("one", 0.5), leg("two", 0.5)], Method()) == -np.inf


# The bound by force


@dataclass(frozen=True)
class Shop:
    """All products' true scores in all legs, and how many of them each leg returns."""

    rows: dict[str, tuple[float | None, ...]]
    legs: tuple[FusedLeg, ...]
    window: int
    missing: Missing

    def seen(self) -> Candidates:
        """What the legs return and what completion adds, by the product's own code."""
        returned, late = {}, {}
        for column, one in enumerate(self.legs):
            mine = {key: row[column] for key, row in self.rows.items()}
            known = {key: x for key, x in mine.items() if x is not None and (x > 0 or one.base != LEXICAL)}
            best = sorted(known, key=lambda key: (-known[key], key))[: self.window if one.weight > 0 else 1]
            returned[one.name] = LegHits(tuple(best), tuple(known[key] for key in best))
            late[one.name] = LegHits(tuple(known), tuple(known.values()))
        names = [one.name for one in self.legs]
        sources = [one.name for one in self.legs if one.weight > 0]
        found = gather(names, returned, sources=sources, full=self.window)
        return complete(found, late, words=[one.name for one in self.legs if one.base == LEXICAL])

    def scores(self, tops: Any) -> dict[str, float]:
        """What every product of the shop would score on the query's scales."""
        table = a_table(self.rows, legs=[one.name for one in self.legs], tops=tops)
        fused = fuse(table, self.legs, Method(missing=self.missing))
        return dict(zip(table.ids, fused.score.tolist(), strict=True))


LEVELS = st.none() | st.builds(Level, floor=st.floats(0, 0.9), sigma=st.floats(0, 0.3))
UNIT_SCORES = st.integers(0, 32).map(lambda n: n / 32)


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    count = draw(st.integers(1, 4))
    inputs = {name: draw(st.sampled_from([1, 1, -1])) for name in ("text", "image", "text#2")}
    legs = []
    for number in range(count):
        source = draw(st.sampled_from(sorted(inputs)))
        sign = inputs[source] * draw(st.sampled_from([1, 1, 1, -1]))  # now and then a user gives one leg another sign
        words = draw(st.booleans())
        level = draw(LEVELS) if not words else None
        legs.append(leg(f"leg{number}", sign * draw(st.floats(0.1, 1)), source, level, LEXICAL if words else f"leg{number}"))
    hypothesis.assume(any(one.weight > 0 for one in legs))
    cells = [UNIT_SCORES.map(lambda x: x * 20) if one.base == LEXICAL else st.none() | UNIT_SCORES for one in legs]
    rows = draw(st.dictionaries(st.sampled_from("abcdefghijklmnop"), st.tuples(*cells), min_size=1, max_size=16))
    return Shop(rows, tuple(legs), draw(st.integers(1, 5)), draw(st.sampled_from(["renormalise", "zero", "background"])))


@given(shops())
@hypothesis.settings(max_examples=150)
def test_no_product_unseen_scores_above_the_bound(shop: Shop) -> None:
    seen = shop.seen()
    most = bound(seen, shop.legs, Method(missing=shop.missing))
    scores = shop.scores(seen.tops)
    for key in set(shop.rows) - set(seen.ids):
        if most == -np.inf:  # all that matches anything was returned
            seeking = [n for n, one in enumerate(shop.legs) if one.weight > 0]
            assert not any(
                shop.rows[key][n] is not None and (shop.legs[n].base != LEXICAL or shop.rows[key][n]) for n in seeking
            )
        else:
            assert scores[key] <= most + 1e-9


@given(shops())
def test_what_is_seen_scores_what_it_would_score_if_all_were_seen(shop: Shop) -> None:
    seen = shop.seen()
    scores = shop.scores(seen.tops)
    fused = fuse(seen, shop.legs, Method(missing=shop.missing))
    assert dict(zip(seen.ids, fused.score.tolist(), strict=True)) == pytest.approx({key: scores[key] for key in seen.ids})


@given(shops())
def test_a_wider_window_bounds_no_worse(shop: Shop) -> None:
    narrow = shop.seen()
    wide = Shop(shop.rows, shop.legs, shop.window * 2, shop.missing).seen()
    method = Method(missing=shop.missing)
    assert bound(wide, shop.legs, method) <= bound(narrow, shop.legs, method) + 1e-9


# What is kept for later pages

SPACES = (an_encoded("text", 2), an_encoded("image", 3, document_modality=IMAGE, query_modalities=(IMAGE,)))
SCHEMA = IndexSchema(lexical_fields=("title",), spaces=SPACES)


def a_run(*legs: Leg, **more: Any) -> Run:
    filters = [{"term": {"colour": "red"}}]
    return Run(SearchRequest("shop"), IndexInfo("shop-1", SCHEMA, {}), Deadline(), legs=list(legs), filters=filters, **more)


def test_the_legs_come_back_as_they_were() -> None:
    options = TextOptions(("title.en^3",), "and", language="en", phrase_boost=0.5, minimum_should_match="2", analyzer="x")
    legs = [
        Leg(LEXICAL, text="red shoe", fields=("title.en^3",), options=options),
        Leg("image.image", SPACES[1], np.array([0.1, 0.2, 1 / 3], dtype=np.float32), seeks=False),
    ]
    asked = orjson.loads(orjson.dumps(kept(a_run(*legs, pit="abc"), 50)))
    assert (asked["window"], asked["pit"], asked["filters"]) == (50, "abc", [{"term": {"colour": "red"}}])
    words, picture = legs_of(asked, SCHEMA)
    assert words == legs[0]
    assert (picture.name, picture.space, picture.seeks) == ("image.image", SPACES[1], False)
    assert picture.vector is not None
    assert legs[1].vector is not None
    assert picture.vector.dtype == np.float32
    assert picture.vector.tobytes() == legs[1].vector.tobytes()


def a_session(asked: dict[str, Any] | None, lasts: list[float], rounds: dict[str, int] | None = None) -> Session:
    table = a_table({"a": [1.0], "b": [0.5]}, lasts=lasts, rounds=rounds or {})
    return Session("q", "shop", "shop-1", table, (leg("one", 1.0),), {}, asked=asked)


@pytest.mark.parametrize(
    ("asked", "lasts", "more"),
    [
        (None, [0.5], False),
        ({"window": 100, "pit": "x"}, [0.5], True),
        ({"window": 100, "pit": None}, [0.5], False),
        ({"window": 100, "pit": "x"}, [np.nan], False),
        ({"window": WIDEST, "pit": "x"}, [0.5], False),
        ({"window": 100, "pit": "x", "ended": True}, [0.5], False),
    ],
)
def test_whether_a_wider_window_may_find_more(asked: dict[str, Any] | None, lasts: list[float], more: bool) -> None:
    assert goes_on(a_session(asked, lasts)) is more


def test_what_deep_pages_cost_is_said() -> None:
    session = a_session({"window": 200, "pit": "x"}, [0.5], {"b": 1})
    assert cost(session) == {"window": 200, "rounds": 2, "searches": 4, "products": 2, "more": True}
    assert cost(a_session({"window": 200, "pit": None}, [0.5])) is None
    assert cost(a_session(None, [0.5])) is None


def test_where_the_completion_failed_no_page_goes_deeper() -> None:
    """A later completion would fill the gaps, and what was shown would move."""
    open_ = gather(
        ["one", "two"], {"one": LegHits(("a",), (1.0,)), "two": LegHits(("b",), (1.0,))}, sources=["one", "two"], full=1
    )
    asked = {"window": 100, "pit": "x"}
    session = replace(a_session(asked, [0.5]), candidates=open_)
    assert not goes_on(replace(session, options={"complete": True}))
    assert goes_on(replace(session, options={"complete": False})), "gaps were asked for"
    nobody: Any = None
    assert deepened(nobody, a_run(), open_, 100) == (open_, 100)
    found, proof = certified(nobody, a_run(), open_, [leg("one", 0.5), leg("two", 0.5)], Method())
    assert (found, proof["proved"]) == (open_, False)


def test_at_the_end_nothing_is_asked() -> None:
    """There is nobody to ask here: `elastic` would fail at the first touch."""
    nobody: Any = None
    ended, whole = a_table({"a": [1.0]}), a_table({"a": [1.0]}, lasts=[0.5])
    assert deepened(nobody, a_run(), ended, 100) == (ended, 100)
    assert deepened(nobody, a_run(), whole, WIDEST) == (whole, WIDEST)
