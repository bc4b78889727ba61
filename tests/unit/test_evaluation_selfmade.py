"""Queries made of titles, and the weight sets of classes that tuning writes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from evaluation import options
from evaluation.cli import evaluate
from evaluation.selfmade import of_sample, part_of
from indexer.calibrate import Sample
from search_api.weights import of_set
from triptych.errors import TriptychError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("title", "size"),
    [("Shoe", 1), ("Red shoe", 1), ("A red shoe", 2), ("one two three four five six seven eight nine ten", 4)],
)
def test_a_query_is_half_of_the_title_in_its_order(title: str, size: int) -> None:
    words = part_of(title, "p1").split()
    assert len(words) == size
    places = [title.split().index(word) for word in words]
    assert places == sorted(places)
    assert part_of(title, "p1") == " ".join(words)


def test_of_a_title_without_spaces_a_piece_is_taken() -> None:
    piece = part_of("红色的皮鞋", "p1")
    assert len(piece) == 3
    assert piece in "红色的皮鞋"


def test_products_that_share_a_title_are_as_right() -> None:
    sample = [
        Sample("a", ("Red shoe",), {}, frozenset({"red shoe"})),
        Sample("b", ("Red shoe",), {}, frozenset({"red shoe", "chaussure"})),
        Sample("c", ("Hat",), {}, frozenset({"hat"})),
    ]
    found = of_sample(sample)
    assert found.judgements == {"self-a": {"a": 1, "b": 1}, "self-b": {"a": 1, "b": 1}, "self-c": {"c": 1}}
    assert [query.id for query in found.queries] == list(found.judgements)


def test_a_class_of_query_has_its_own_set_else_the_whole_else_the_defaults() -> None:
    sets = {"t": {"lexical": 1.0}, "t.sku": {"lexical": 2.0}, "u.sku": {"lexical": 3.0}}
    assert of_set(sets, "t", "sku") == {"lexical": 2.0}
    assert of_set(sets, "t", "short") == {"lexical": 1.0}
    assert of_set(sets, "u", "short") == {}
    assert of_set(sets, "t.sku", "none") == {"lexical": 2.0}
    assert of_set(sets, "v", "sku") is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda _name: None)
    result = CliRunner().invoke(evaluate, ["judge", "x", "q", "a", "1"])
    assert isinstance(result.exception, TriptychError)
    assert result.exception.code == "evaluation.not_installed"
