"""Spoken queries: a sound that is words searches as if they were typed. Nothing here is a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from embedding_toys import INFO, Parts, Transcriber, embedder
from toys import AUDIO, TEXT

from search_api.answer import Recognised
from search_api.asking import Run
from search_api.breakers import FAILURES
from search_api.deadline import Deadline
from search_api.query import AUDIO_WORDS, QueryInput, SearchRequest
from triptych.errors import EncoderError, MediaError, QueryError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.fixture
def parts(settings: Settings) -> Parts:
    return Parts(settings)


def running(**inputs: Any) -> Run:
    return Run(SearchRequest("shop", **inputs), INFO, Deadline())


def words_of(parts: Parts, **inputs: Any) -> tuple[SearchRequest, Mapping[str, Recognised]]:
    return embedder(parts).words_of(running(**inputs))


def test_a_sound_that_is_a_sound_stays_one(parts: Parts) -> None:
    for inputs in ({"audio": b"a"}, {"text": "shoe"}, {"audio": b"a", "audio_as": "sound"}):
        request, recognised = words_of(parts, **inputs)
        assert (request, recognised) == (SearchRequest("shop", **inputs), {})
    assert parts.decoded == []


def test_spoken_words_search_as_if_they_were_typed(parts: Parts) -> None:
    parts.transcriber = Transcriber(" a red shoe \n")
    request, recognised = words_of(parts, audio=b"a", audio_as="words", image=b"i", size=5)
    assert [(one.kind, one.text, one.data) for one in request.all_inputs()] == [
        ("text", "a red shoe", b""),
        ("image", "", b"i"),
    ]
    assert request.size == 5
    assert recognised[AUDIO_WORDS].language == "en"
    assert recognised[AUDIO_WORDS].confidence == 0.9877
    assert recognised[AUDIO_WORDS].text.strip() == "a red shoe"
    assert parts.decoded == [(b"a", AUDIO)]


def test_both_keeps_the_sound_too(parts: Parts) -> None:
    parts.transcriber = Transcriber("shoe")
    request, _ = words_of(parts, audio=b"a", audio_as="both")
    assert [(one.kind, one.text, one.data, one.audio_as) for one in request.all_inputs()] == [
        ("text", "shoe", b"", "sound"), ("audio", "", b"a", "sound"),
    ]  # fmt: skip
    assert request.modalities == (TEXT, AUDIO)


@pytest.mark.parametrize("audio_as", ["words", "both"])
def test_a_profile_without_speech_is_named(parts: Parts, audio_as: str) -> None:
    with pytest.raises(QueryError, match="mine") as caught:
        words_of(parts, audio=b"a", audio_as=audio_as)
    assert (caught.value.code, caught.value.field) == ("query.no_speech", "audio_as")
    assert caught.value.remedy


@pytest.mark.parametrize("heard", ["", "  \n"])
def test_a_sound_without_words_is_named_where_it_is_all_there_is(parts: Parts, heard: str) -> None:
    parts.transcriber = Transcriber(heard)
    with pytest.raises(QueryError) as caught:
        words_of(parts, audio=b"a", audio_as="words")
    assert (caught.value.code, caught.value.field) == ("query.nothing_recognised", "audio")


@pytest.mark.parametrize(
    "others", [{"image": b"i"}, {"vectors": {"own": [1, 0]}}, {"audio_as": "both"}], ids=["image", "vector", "both"]
)
def test_a_sound_without_words_does_no_harm_beside_something_else(parts: Parts, others: dict[str, Any]) -> None:
    parts.transcriber = Transcriber("")
    request, recognised = words_of(parts, **{"audio": b"a", "audio_as": "words", **others})
    assert "text" not in {one.kind for one in request.all_inputs()}
    assert recognised[AUDIO_WORDS].text == ""


def test_spoken_words_that_cannot_be_decoded_are_an_error_of_the_sound(parts: Parts) -> None:
    parts.transcriber = Transcriber("shoe")
    with pytest.raises(MediaError):
        words_of(parts, audio=b"broken", audio_as="words")
    assert parts.transcriber.asked == []


def test_each_spoken_input_is_recognised_with_its_own_weight(parts: Parts) -> None:
    parts.transcriber = Transcriber("shoe")
    inputs = tuple(QueryInput("audio", weight, data=data, audio_as="words") for data, weight in ((b"1", 2.0), (b"2", -0.5)))
    request, recognised = words_of(parts, text="typed", inputs=inputs)
    found = [(one.text, one.weight, one.where) for one in request.all_inputs()]
    assert found == [("typed", 1, "text"), ("shoe", 2, "inputs.0.audio"), ("shoe", -0.5, "inputs.1.audio")]
    assert list(recognised) == [AUDIO_WORDS, f"{AUDIO_WORDS}#2"]


# What recognises speech fails

FAILS = [(RuntimeError("CUDA"), "encoder.failed"), (EncoderError("x", code="encoder.not_prepared"), "encoder.not_prepared")]


@pytest.mark.parametrize(("error", "code"), FAILS, ids=["any", "ours"])
@pytest.mark.parametrize(
    ("others", "kept"), [({"image": b"i", "audio_as": "words"}, ["image"]), ({"audio_as": "both"}, ["audio"])], ids=str
)
def test_speech_that_is_not_recognised_costs_the_words_only(
    parts: Parts, error: Exception, code: str, others: dict[str, Any], kept: list[str]
) -> None:
    parts.transcriber = Transcriber("shoe", error=error)
    run = running(audio=b"a", **others)
    request, recognised = embedder(parts).words_of(run)
    assert ([one.kind for one in request.all_inputs()], recognised) == (kept, {})
    assert [(one.name, one.code) for one in run.degraded] == [(AUDIO_WORDS, code)]


def test_if_nothing_is_left_the_failure_is_the_error(parts: Parts) -> None:
    parts.transcriber = Transcriber("shoe", error=RuntimeError("CUDA"))
    with pytest.raises(EncoderError) as caught:
        words_of(parts, audio=b"a", audio_as="words", inputs=(QueryInput("image", -1, data=b"i"),))
    assert (caught.value.code, caught.value.retryable) == ("encoder.failed", True)


def test_what_keeps_failing_to_recognise_is_left_alone(parts: Parts) -> None:
    parts.transcriber = Transcriber("shoe", error=RuntimeError("CUDA"))
    mine = embedder(parts)
    for _ in range(FAILURES + 3):
        run = running(audio=b"a", audio_as="both")
        mine.words_of(run)
        assert [one.name for one in run.degraded] == [AUDIO_WORDS]
    assert len(parts.transcriber.asked) == FAILURES


def test_a_sound_does_not_wait_for_its_turn_beyond_the_deadline(parts: Parts) -> None:
    parts.transcriber, mine = Transcriber("shoe"), embedder(parts)
    run = running(audio=b"a", audio_as="both")
    run.deadline = Deadline(0.3)
    with mine._turns.held():
        mine.words_of(run)
    assert [(one.name, one.code) for one in run.degraded] == [(AUDIO_WORDS, "encoder.busy")]
    assert mine.words_of(running(audio=b"a", audio_as="both"))[1][AUDIO_WORDS].text == "shoe"
