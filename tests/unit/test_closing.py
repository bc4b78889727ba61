"""Generators that close what they read: at the end, after an error, and where nothing was taken of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from triptych.closing import closed_on_error, until_closed

pytestmark = pytest.mark.unit


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_what_is_closed_early(calls: list[str], taken: int) -> None:
    found = until_closed("abc", lambda: calls.append("closed"))
    assert [next(found) for _ in range(taken)] == list("abc")[:taken]
    assert calls == []
    found.close()
    found.close()
    assert calls == ["closed"]
    assert list(found) == []


def test_what_is_read_to_its_end(calls: list[str]) -> None:
    assert list(until_closed(iter([1, 2]), lambda: calls.append("closed"))) == [1, 2]
    assert calls == ["closed"]


def test_what_breaks(calls: list[str]) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = until_closed(broken(), lambda: calls.append("closed"))
    with pytest.raises(ValueError, match="broken"):
        list(found)
    assert calls == ["closed"]


def test_what_lies_within_is_closed_first(calls: list[str]) -> None:
    inner = until_closed("abc", lambda: calls.append("inner"))
    outer = until_closed(inner, lambda: calls.append("outer"))
    assert next(outer) == "a"
    outer.close()
    assert calls == ["inner", "outer"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails(calls: list[str], error: type[BaseException]) -> None:
    with pytest.raises(error), closed_on_error(lambda: calls.append("closed")):
        raise error
    assert calls == ["closed"]


def test_a_block_that_does_not_fail(calls: list[str]) -> None:
    with closed_on_error(lambda: calls.append("closed")):
        pass
    assert calls == []
