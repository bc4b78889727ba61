"""Keys: their form, their scopes, until when they hold, and that nothing but a key's own text matches it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych import access
from triptych.errors import InputError

pytestmark = pytest.mark.unit

NOW = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


def made(*scopes: str, days: int | None = None) -> tuple[access.ApiKey, str]:
    return access.make("shop-front", scopes or ("search",), days=days, now=NOW)


def test_a_key_says_whose_it_is_and_holds_its_id() -> None:
    key, text = made()
    assert re.fullmatch(rf"triptych_{key.id}_[A-Za-z0-9_-]{{43}}", text)
    assert access.id_of(text) == key.id
    assert len(text) <= access.LONGEST_KEY


def test_only_the_hash_is_kept_and_not_even_that_is_shown() -> None:
    key, text = made()
    secret = text[-43:]
    assert secret not in repr(key)
    assert key.digest == access.digest_of(text)
    assert "digest" not in key.shown()
    assert text not in repr(key.shown())


def test_no_two_keys_are_alike() -> None:
    keys = [made() for _ in range(50)]
    assert len({key.id for key, _ in keys}) == len({text for _, text in keys}) == 50


def test_a_text_matches_its_own_key_alone() -> None:
    (key, text), (other, text_of_other) = made(), made()
    assert access.matches(key, text)
    assert not access.matches(key, text_of_other)
    assert not access.matches(other, text)
    assert not access.matches(None, text)
    assert not access.matches(key, text[:-1] + ("a" if text[-1] != "a" else "b"))


def test_the_digest_of_a_key_is_not_a_key() -> None:
    key, _ = made()
    assert not access.matches(key, key.digest)


@pytest.mark.parametrize(
    "text",
    [
        "", "triptych_", "triptych_0123456789ab_", "triptych_0123456789ab_" + "a" * 42, "triptych_0123456789ab_" + "a" * 44,
        "triptych_0123456789AB_" + "a" * 43, "triptych_0123456789ab_" + "é" * 43, "triptych_0123456789ab_" + "a" * 43 + "\n",
        " triptych_0123456789ab_" + "a" * 43, "x" * 10_000_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    assert access.id_of(text) is None


@given(st.text(max_size=200))
def test_any_text_can_be_looked_at(text: str) -> None:
    access.id_of(text)
    assert not access.matches(None, text)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("search",), {"search"}),
        (("index",), {"index"}),
        (("search", "index"), {"search", "index"}),
        (("admin",), {"search", "index", "admin"}),
    ],
)
def test_a_key_may_do_what_its_scopes_say(scopes: tuple[str, ...], allowed: set[str]) -> None:
    key, _ = made(*scopes)
    assert {scope for scope in access.SCOPES if key.allows(scope)} == allowed


def test_a_key_holds_until_it_is_over_or_revoked() -> None:
    for_ever, _ = made()
    assert for_ever.holds(NOW + dt.timedelta(days=10_000))
    key, _ = made(days=90)
    assert key.holds(NOW + dt.timedelta(days=90, seconds=-1))
    assert not key.holds(NOW + dt.timedelta(days=90))
    assert not dataclasses.replace(for_ever, revoked_at=NOW.isoformat()).holds(NOW)


@pytest.mark.parametrize(
    ("name", "scopes", "days", "field"),
    [
        ("", ["search"], None, "name"),
        ("a b", ["search"], None, "name"),
        ("a\nb", ["search"], None, "name"),
        ("x" * 65, ["search"], None, "name"),
        ("-x", ["search"], None, "name"),
        ("x", [], None, "scope"),
        ("x", ["serach"], None, "scope"),
        ("x", ["search"], 0, "days"),
    ],
)
def test_a_key_that_cannot_be_made(name: str, scopes: list[str], days: int | None, field: str) -> None:
    with pytest.raises(InputError) as caught:
        access.make(name, scopes, days=days, now=NOW)
    assert (caught.value.code, caught.value.field) == ("access.bad_key", field)
