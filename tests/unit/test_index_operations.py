"""Deletes and updates before anything is written: how they are read, decided and merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from contents import content_hash
from hypothesis import given
from hypothesis import strategies as st

from indexer import documents
from indexer.records import EMBEDDED, parse
from indexer.standing import Standing, decide, duplicate
from indexer.submit import _once
from indexer.work import Target, Work
from triptych.domain import DeadLetter, Operation, Outcome, Product
from triptych.elastic.bulk import Version
from triptych.schema import IndexSchema

TARGET = Target("shop-1", IndexSchema(), Path(), "b")
THERE = Version(1, 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=3),
    lambda some: st.lists(some, max_size=2) | st.dictionaries(st.sampled_from("abc"), some, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def _parsed(**record: Any) -> Product | DeadLetter:
    return parse({"line": 1, "text": orjson.dumps({"id": "p", **record}).decode()})


def _decided(operation: Operation, known: Standing, *, fields: dict[str, Any] | None = None, digest: str = "h") -> Any:
    return decide(Work(1, Product("p", {}, fields or {}, operation=operation), digest=digest), known, TARGET)


def _own(job: str, **more: Any) -> dict[str, Any]:
    return {"hash": "h", "job": job, "line": 1, "outcome": "written", **more}


@pytest.mark.parametrize("given_", ["put", None])
def test_a_put_is_what_a_record_without_it_is(given_: str | None) -> None:
    assert _parsed(_op=given_, price=1) == _parsed(price=1)


def test_a_field_named_operation_is_the_catalogue_s_own() -> None:
    product = _parsed(operation="sale")
    assert isinstance(product, Product)
    assert (product.operation, product.fields["operation"]) == (Operation.PUT, "sale")


def test_a_delete_needs_no_more_than_an_id() -> None:
    product = _parsed(_op="delete", title="Lamp", images=["a.jpg"])
    assert product == Product("p", {}, {}, operation=Operation.DELETE)


@pytest.mark.parametrize("name", [*sorted(EMBEDDED), "title.en", "category.x"])
def test_an_update_of_what_is_embedded_is_refused(name: str) -> None:
    letter = _parsed(_op="update", price=1, **{name: None})
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.product_id) == ("record.update_embedded", "p")
    assert "whole record" in letter.message


@pytest.mark.parametrize("given_", ["PUT", "upsert", 1, ["delete"], {}])
def test_another_operation_is_refused(given_: object) -> None:
    letter = _parsed(_op=given_)
    assert isinstance(letter, DeadLetter)
    assert letter.code == "record.invalid"
    assert letter.message.startswith("_op:")


@pytest.mark.parametrize("operation", Operation)
def test_a_newer_job_s_write_stays_whatever_is_asked(operation: Operation) -> None:
    assert _decided(operation, Standing(THERE, _own("c")), digest="other", fields={"x": 1}) is Outcome.UNCHANGED


@pytest.mark.parametrize("operation", Operation)
def test_another_line_of_the_job_makes_it_a_duplicate(operation: Operation) -> None:
    letter = _decided(operation, Standing(THERE, _own("b", line=9)))
    assert isinstance(letter, DeadLetter)
    assert letter.code == "record.duplicate_id"


def test_of_a_double_is_said_that_its_id_stands_above_not_that_the_record_there_was_taken() -> None:
    bad, good = ({"line": n, "text": orjson.dumps({"id": "p", "title": title}).decode()} for n, title in ((1, 3), (2, "Hat")))
    first, second = map(parse, _once(iter([bad, good])))
    assert isinstance(first, DeadLetter)
    assert isinstance(second, DeadLetter)
    assert (first.code, second.code) == ("record.invalid", "record.duplicate_id")
    assert second.message == "The id 'p' stands on an earlier line already."
    assert duplicate("p", 9, 2).message == "The id 'p' stands on line 2 already."


def test_what_an_attempt_before_this_one_deleted_counts_as_deleted() -> None:
    item, again = Work(1, Product("p", {}, {}, operation=Operation.DELETE)), replace(TARGET, begun=frozenset({1}))
    assert decide(item, Standing(), again) is Outcome.DELETED
    assert decide(item, Standing(own={"seen": "c"}), again) is Outcome.DELETED, "whatever a newer job wanted of it since"
    assert decide(item, Standing(), replace(TARGET, begun=frozenset({2}))) is Outcome.UNCHANGED
    assert decide(item, Standing(THERE, _own("a")), again) is None, "it did not come to it"
    assert decide(item, Standing(THERE, _own("c")), again) is Outcome.UNCHANGED


def test_what_is_not_there() -> None:
    assert _decided(Operation.PUT, Standing()) is None
    assert _decided(Operation.DELETE, Standing()) is Outcome.UNCHANGED
    for known in (Standing(), Standing(THERE, {}, {"price": 1})):
        assert _decided(Operation.UPDATE, known).code == "record.update_missing"
    assert _decided(Operation.DELETE, Standing(THERE)) is None, "written by somebody else, but there"


@pytest.mark.parametrize(("job", "end"), [("a", Outcome.UNCHANGED), ("b", Outcome.WRITTEN)])
def test_what_is_as_asked_for_already(job: str, end: Outcome) -> None:
    assert _decided(Operation.PUT, Standing(THERE, _own(job))) is end
    assert _decided(Operation.UPDATE, Standing(THERE, _own(job), {"x": {"y": 1, "z": 2}}), fields={"x": {"y": 1}}) is end
    assert _decided(Operation.UPDATE, Standing(THERE, _own(job), {"x": 1}), fields={"x": True}) is None
    assert _decided(Operation.PUT, Standing(THERE, _own(job, outcome="partial"))) is None


@given(FIELDS, FIELDS)
def test_an_update_applied_twice_is_applied_once(stored: dict[str, Any], changes: dict[str, Any]) -> None:
    once = documents.merged(stored, changes)
    assert documents.same(documents.merged(once, changes), once)
    assert set(once) == set(stored) | set(changes)
    assert documents.same(documents.merged(stored, stored), stored)


@pytest.mark.parametrize(
    ("stored", "changes", "after"),
    [
        ({"size": {"w": 5, "h": 1}}, {"size.w": 7}, {"size": {"w": 7, "h": 1}}),
        ({"size": {"w": 5}}, {"size.h": 1, "size.w": None}, {"size": {"w": None, "h": 1}}),
        ({}, {"a.b.c": 1, "a.b.d": {"e": 2}}, {"a": {"b": {"c": 1, "d": {"e": 2}}}}),
        ({"size": 3}, {"size.w": 7}, {"size": {"w": 7}}),
        ({"size.w": 5}, {"size.w": 7, "size.h": 1}, {"size.w": 7, "size": {"h": 1}}),
        ({"attrs": {"size.w": "5"}}, {"attrs.size.w": "7"}, {"attrs": {"size.w": "7"}}),
        ({}, {"a..b": 1, ".": 2, "c.": 3}, {"a..b": 1, ".": 2, "c.": 3}),
    ],
)
def test_a_dotted_name_of_an_update_is_a_path_into_the_product(
    stored: dict[str, Any], changes: dict[str, Any], after: dict[str, Any]
) -> None:
    made = documents.merged(stored, documents.placed(stored, changes))
    assert made == after
    assert documents.merged(made, documents.placed(made, changes)) == made
    assert _decided(Operation.UPDATE, Standing(THERE, _own("a"), after), fields=changes) is Outcome.UNCHANGED


@pytest.mark.parametrize(
    ("names", "code"),
    [(("size", "size.w"), "invalid"), (("a.b.c", "a.b"), "invalid"), (("id.x",), "invalid"), (("a" + ".a" * 60,), "too_deep")],
)
def test_a_dotted_name_of_an_update_that_is_no_path_is_a_dead_letter(names: tuple[str, ...], code: str) -> None:
    letter = _parsed(_op="update", **dict.fromkeys(names, 1))
    assert isinstance(letter, DeadLetter)
    assert letter.code == f"record.{code}"
    assert isinstance(_parsed(**dict.fromkeys(names, 1)), Product), "a whole record is stored as it is"


@given(FIELDS, FIELDS)
def test_the_hash_after_an_update_is_that_of_the_whole_record(stored: dict[str, Any], changes: dict[str, Any]) -> None:
    before = Product("p", {}, {"id": "p", **stored})
    after = Product("p", {}, documents.merged(before.fields, changes))
    kept = documents.made_of(before, {}, [])["hash"]
    assert documents.hash_of(after.fields, kept) == content_hash(after, {}, [])
