"""What a visitor did lately: what each product counts, and the legs that are made of it."""

from __future__ import annotations

import pytest

from search_api import weights
from search_api.history import DECAY, weighed
from search_api.legs import wanted
from search_api.query import QueryInput, SearchRequest, check
from triptych.domain import Modality
from triptych.errors import QueryError
from triptych.schema import IndexSchema, Space

pytestmark = pytest.mark.unit


def events(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"kind": kind, "product": product} for kind, product in pairs]


def test_the_last_counts_most_and_what_was_bought_more_than_what_was_seen() -> None:
    found = weighed(events(("view", "c"), ("purchase", "b"), ("click", "a")))
    assert found == pytest.approx({"c": 0.3, "b": 2 * DECAY, "a": DECAY**2})


def test_a_product_counts_once_by_its_strongest_event_where_it_was_last() -> None:
    assert weighed(events(("view", "a"), ("click", "b"), ("cart", "a"))) == pytest.approx({"a": 2.0, "b": DECAY})


def test_what_was_dismissed_does_not_count_however_often_it_was_clicked() -> None:
    assert weighed(events(("click", "a"), ("dismiss", "a"), ("purchase", "a"), ("click", "b"))) == {"b": 1.0}
    assert weighed([]) == {}


def test_no_more_than_twenty_products_count() -> None:
    assert len(weighed(events(*(("click", f"p{n}") for n in range(50))))) == 20


SCHEMA = IndexSchema(
    lexical_fields=("title",),
    spaces=tuple(
        Space(name=str(one), encoder="e", fingerprint="f", dims=2, document_modality=one, query_modalities=(one,))
        for one in (Modality.TEXT, Modality.IMAGE)
    ),
)


def with_history() -> SearchRequest:
    known = QueryInput("history", 0.2, products=("a", "b"), shares=(1.0, 0.8), where="session_id")
    return SearchRequest("shop", text="hat", inputs=(known,), session_id="s")


def test_a_history_makes_a_leg_in_each_space_and_a_sixth_of_the_score() -> None:
    legs = wanted(with_history(), SCHEMA)
    assert [leg.name for leg in legs] == ["lexical", "text.text", "history.text", "history.image"]
    found = weights.of_query(with_history(), legs, SCHEMA)
    assert sum(value for name, value in found.items() if name.startswith("history.")) == pytest.approx(1 / 6)


def test_weights_of_a_history_may_be_given_whoever_asks() -> None:
    nobody = SearchRequest("shop", text="hat", weights={"history.image": 0.5}, session_id="s")
    assert "history.image" not in weights.of_query(nobody, wanted(nobody, SCHEMA), SCHEMA)
    with pytest.raises(QueryError):
        weights.of_query(SearchRequest("shop", text="hat", weights={"history.smell": 0.5}), wanted(nobody, SCHEMA), SCHEMA)


@pytest.mark.parametrize("session", ["", "x" * 201], ids=["empty", "long"])
def test_a_session_has_an_id(session: str) -> None:
    with pytest.raises(QueryError) as caught:
        check(SearchRequest("shop", text="hat", session_id=session))
    assert (caught.value.code, caught.value.field) == ("query.bad_session", "session_id")
