"""Requests that no index could answer are refused before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest

from search_api.query import LARGEST_WINDOW, SearchRequest
from search_api.searcher import LONGEST_TEXT, check
from triptych.domain import Modality
from triptych.errors import QueryError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "shoe"},
        {"text": "x" * LONGEST_TEXT},
        {"size": 1, "window": 1},
        {"size": 100, "window": 100},
        {"size": LARGEST_WINDOW, "window": LARGEST_WINDOW},
        {"audio": b"a", "audio_as": "words"},
        {"audio": b"a", "audio_as": "both", "image": b"i"},
        {"audio": b"a", "audio_as": "sound", "text": "shoe"},
        {"vectors": {"own": [1.0]}},
    ],
    ids=lambda fields: str(fields)[:30],
)
def test_within_the_limits(fields: dict[str, Any]) -> None:
    check(SearchRequest("shop", **fields))


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"size": 0}, "query.bad_size", "size"),
        ({"size": -1}, "query.bad_size", "size"),
        ({"size": 101}, "query.bad_size", "size"),
        ({"size": 6, "window": 5}, "query.bad_size", "size"),
        ({"window": 0}, "query.bad_window", "window"),
        ({"window": LARGEST_WINDOW + 1}, "query.bad_window", "window"),
        ({"fusion": "rrrf"}, "query.unknown_fusion", "fusion"),
        ({"fusion": ""}, "query.unknown_fusion", "fusion"),
        ({"text": ""}, "query.empty", "text"),
        ({"text": " \n\t\u3000"}, "query.empty", "text"),
        ({"text": "x" * (LONGEST_TEXT + 1)}, "query.too_long", "text"),
        ({"audio_as": "words"}, "query.empty", "audio"),
        ({"audio_as": "both", "image": b"i"}, "query.empty", "audio"),
        ({"audio_as": "words", "audio": b"a", "text": "shoe"}, "query.two_texts", "audio_as"),
        ({"audio_as": "both", "audio": b"a", "text": "shoe"}, "query.two_texts", "audio_as"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_beyond_the_limits(fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(QueryError) as caught:
        check(SearchRequest("shop", **fields))
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    ("fields", "modalities"),
    [
        ({}, ()),
        ({"audio": b"a", "text": "t"}, (Modality.TEXT, Modality.AUDIO)),
        ({"image": b""}, (Modality.IMAGE,)),  # given, if empty: it is refused later, not ignored
    ],
)
def test_the_inputs_of_a_request(fields: dict[str, Any], modalities: tuple[Modality, ...]) -> None:
    assert SearchRequest("shop", **fields).modalities == modalities


def test_a_request_does_not_show_its_media() -> None:
    assert "secret" not in repr(SearchRequest("shop", image=b"secret", audio=b"secret"))
