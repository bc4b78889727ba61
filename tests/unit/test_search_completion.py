"""Every candidate gets every leg's score, and the three ways to have none stay apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import offline_spaces

from search_api.completion import COMPLETED, NO_MATCH, NO_MODALITY, RETRIEVED, Score, complete, missing, scores_of
from search_api.legs import Leg
from triptych.elastic.engine import Found
from triptych.errors import ElasticsearchError
from triptych.schema import KEY_FIELD, LEXICAL

pytestmark = pytest.mark.unit

_, IMAGE, _, AUDIO = offline_spaces()
WORDS = Leg(LEXICAL, text="shoe", fields=("title",))
PICTURE = Leg("image.image", IMAGE, np.ones(3, dtype=np.float32))
SOUND = Leg("audio.audio", AUDIO, np.ones(3, dtype=np.float32))
LEGS = [WORDS, PICTURE]


def _found(scores: Mapping[str, float]) -> Found:
    hits: list[dict[str, Any]] = [{"_score": score, "fields": {KEY_FIELD: [key]}} for key, score in scores.items()]
    return Found(hits, len(hits))


def test_scores_are_read_by_product() -> None:
    assert scores_of(_found({"p1": 2.5, "p2": 1})) == {"p1": 2.5, "p2": 1.0}


@pytest.mark.parametrize(
    ("retrieved", "gaps"),
    [
        ({LEXICAL: {"a": 2.0, "b": 1.0}, "image.image": {"c": 0.9, "b": 0.8}}, {LEXICAL: ["c"], "image.image": ["a"]}),
        ({LEXICAL: {"a": 2.0}, "image.image": {"a": 0.9}}, {}),
        ({LEXICAL: {}, "image.image": {"z": 0.9, "a": 0.8}}, {LEXICAL: ["a", "z"]}),
        ({LEXICAL: {}, "image.image": {}}, {}),
    ],
)
def test_what_is_missing(retrieved: dict[str, dict[str, float]], gaps: dict[str, list[str]]) -> None:
    assert missing(LEGS, retrieved) == gaps


def test_the_cases_stay_apart() -> None:
    retrieved = {LEXICAL: {"both": 2.0, "words": 1.0}, "image.image": {"both": 0.9, "seen": 0.8, "seen2": 0.7}}
    asked = []

    def ask(gaps: Mapping[str, list[str]]) -> dict[str, Found | ElasticsearchError]:
        asked.append(gaps)
        return {LEXICAL: _found({"seen2": 0.5}), "image.image": _found({})}

    scores, failed = complete(LEGS, retrieved, ask)
    assert asked == [{LEXICAL: ["seen", "seen2"], "image.image": ["words"]}]
    assert scores[LEXICAL] == {
        "both": Score(2.0, RETRIEVED),
        "words": Score(1.0, RETRIEVED),
        "seen": Score(0.0, NO_MATCH),
        "seen2": Score(0.5, COMPLETED),
    }
    assert scores["image.image"] == {
        "both": Score(0.9, RETRIEVED),
        "seen": Score(0.8, RETRIEVED),
        "seen2": Score(0.7, RETRIEVED),
        "words": Score(None, NO_MODALITY),
    }
    assert failed == {}


def test_nothing_missing_asks_nothing() -> None:
    def ask(_: object) -> dict[str, Found | ElasticsearchError]:
        pytest.fail("a request was sent")

    scores, failed = complete(LEGS, {LEXICAL: {"a": 2.0}, "image.image": {"a": 0.9}}, ask)
    assert (set(scores), failed) == ({LEXICAL, "image.image"}, {})


def test_a_leg_whose_completion_failed_is_dropped_and_named() -> None:
    error = ElasticsearchError("It timed out.")
    retrieved = {LEXICAL: {"a": 2.0}, "image.image": {"b": 0.9}}
    scores, failed = complete(LEGS, retrieved, lambda _: {LEXICAL: error, "image.image": _found({"a": 0.4})})
    assert failed == {LEXICAL: error}
    assert scores == {"image.image": {"b": Score(0.9, RETRIEVED), "a": Score(0.4, COMPLETED)}}


SOME = st.dictionaries(st.sampled_from("abcdefg"), st.floats(0, 9), max_size=7)


@given(SOME, SOME, SOME, st.sets(st.sampled_from("abcdefg")))
def test_every_candidate_has_a_score_in_every_leg(
    words: dict[str, float], picture: dict[str, float], sound: dict[str, float], known: set[str]
) -> None:
    retrieved = {LEXICAL: words, "image.image": picture, "audio.audio": sound}

    def ask(gaps: Mapping[str, list[str]]) -> dict[str, Found | ElasticsearchError]:
        assert all(not set(ids) & set(retrieved[leg]) for leg, ids in gaps.items())
        return {leg: _found(dict.fromkeys(set(ids) & known, 0.25)) for leg, ids in gaps.items()}

    scores, _ = complete([WORDS, PICTURE, SOUND], retrieved, ask)
    candidates = {*words, *picture, *sound}
    assert all(set(leg) == candidates for leg in scores.values())
    for name, leg in scores.items():
        for key, score in leg.items():
            assert (score.status == RETRIEVED) == (key in retrieved[name])
            assert (score.raw is None) == (score.status == NO_MODALITY)
            assert score.status != NO_MODALITY or name != LEXICAL
