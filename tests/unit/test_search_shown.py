"""Answers on the terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from toys import an_encoded

from search_api import shown
from search_api.answer import Degraded, Hit, LegScore, Predicted, Recognised, SearchResult, Variant
from triptych.schema import IndexSchema, Level

pytestmark = pytest.mark.unit

LEG = LegScore(0.75, 0.5, 0.25, 0.125, completed=True, status="completed")
LACKING = LegScore(None, 0.0, 0.75, 0.0, completed=False, status="no_modality")
HIT = Hit("p1", 0.125, {"title": {"en": "Shoe", "zh": "鞋"}, "price": 9.5}, {"text.text": LEG, "image.image": LACKING})
RESULT = SearchResult("q", 12.3, 40, (HIT,), reachable=7)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 200 columns without colours."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


def printed(capsys: pytest.CaptureFixture[str], result: SearchResult, *, explain: bool = False) -> str:
    shown.result(result, explain=explain)
    return capsys.readouterr().out


def test_an_answer_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, RESULT)
    for word in ("0.125", "p1", "Shoe / 鞋", "9.5", "1 of 40 products in 12 ms; 7 can be paged to"):
        assert word in out
    assert "text.text" not in out
    assert "relevance" not in out


def test_with_explain_each_legs_part_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, RESULT, explain=True)
    assert "0.12 (0.25 x 0.50)*" in out, "completed"
    assert "image.image" in out


def test_an_empty_answer_is_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 of 0 products" in printed(capsys, SearchResult("q", 1, 0, ()), explain=True)


def test_everything_else_there_is_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    hit = replace(HIT, relevance=0.625, variants=(Variant("p2", 0.1), Variant("p3", 0.1)))
    result = replace(
        RESULT, hits=(hit,), next="the-token", degraded=(Degraded("audio.audio", "x.y", "It was away."),),
        recognised={"audio.words": Recognised("a red shoe", "en", 0.9)}, predicted=Predicted("category", "shoes", 0.75, {}),
        facets={"brand": {"values": [{"value": "x", "count": 3}], "other": 0},
                "price": {"ranges": [{"from": None, "to": 5, "count": 2}]}}, certified={"proved": True, "window": 200},
    )  # fmt: skip
    out = printed(capsys, result)
    for word in (
        "0.62", "(+2 variants)", "next page: --page the-token", "audio.audio was left out: It was away.",
        "audio.words: a red shoe (en, 90% sure)", "category: shoes (75% of the votes)", "brand: x 3", "price: None to 5: 2",
        "proved within a window of 200",
    ):  # fmt: skip
        assert word in out


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        ({"proved": False, "window": 200}, "not proved within a window of 200\n"),
        ({"proved": False, "window": 200, "reached": 1.0}, "not proved within a window of 200\n"),
        (
            {"proved": False, "window": 200, "reached": 0.08},
            "not proved within a window of 200: searches reach 8 % of the products\n",
        ),
    ],
)
def test_why_an_answer_is_not_proved(capsys: pytest.CaptureFixture[str], proof: dict[str, Any], said: str) -> None:
    assert said in printed(capsys, replace(RESULT, certified=proof))


NASTY = "Shoe [/b] [red] [new]"
"""To rich a closing tag of nothing, a colour, and a style."""


def test_brackets_in_what_others_wrote_are_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    hit = Hit(f"id {NASTY}", 0.5, {"title": NASTY, "price": NASTY}, {})
    result = replace(
        RESULT, hits=(hit,), recognised={"audio.words": Recognised(NASTY, "en", 0.9)},
        predicted=Predicted("category", NASTY, 0.75, {}), degraded=(Degraded(NASTY, "x.y", NASTY),),
        facets={"brand": {"values": [{"value": NASTY, "count": 3}]}},
    )  # fmt: skip
    assert printed(capsys, result).count(NASTY) == 8


def reasons(**changes: Any) -> dict[str, Any]:
    leg = {"weight": 0.25, "normalised": 0.5, "contribution": 0.125}
    found = {
        "id": "p1", "rank": 12, "score": 0.125, "reasons": [{"reason": "outranked", "message": "11 products score higher."}],
        "legs": {"text.text": leg, "image.image": leg},
        "lifts": {"text.text": {"share": 0.55, "from": 0.25}, "image.image": None},
        "last_shown": {"id": "p9", "legs": {name: {**leg, "contribution": 0.375} for name in ("text.text", "image.image")}},
    }  # fmt: skip
    return {**found, **changes}


def test_why_a_product_stands_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    shown.why(reasons())
    out = capsys.readouterr().out
    for word in ("p1: rank 12, score 0.125", "outranked: 11 products score higher.", "0.375", "0.55"):
        assert word in out


def test_why_a_product_stands_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    given = reasons(rank=None, lifts={}, id=NASTY, reasons=[{"reason": "collapsed", "message": NASTY}])
    del given["last_shown"]
    shown.why(given)
    out = capsys.readouterr().out
    assert f"{NASTY}: no rank" in out
    assert f"collapsed: {NASTY}" in out


def test_weight_sets_stand_beside_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    levels = {"text.text": Level(floor=0.5, sigma=0.1, reliability=0.505, sample=100, reached=0.98)}
    schema = IndexSchema(
        lexical_fields=("title",), spaces=(an_encoded("text", 2),), levels=levels, weight_sets={"summer": {"lexical": 0.3}}
    )
    shown.weight_sets(schema)
    lines = capsys.readouterr().out.splitlines()
    assert any("summer" in line for line in lines)
    assert any("lexical" in line and "0.3" in line for line in lines)
    assert any("text.text" in line and "0.51" in line and "0.25" in line and "98 %" in line for line in lines), (
        "half beyond chance, squared"
    )
