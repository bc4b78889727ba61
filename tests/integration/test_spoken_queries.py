"""Spoken queries with the real whisper-base: what a synthetic voice says, by API and command; and nobody speaking."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from processes import Command
from voice import say

from search_api import Searcher, SearchRequest
from triptych.domain import Waveform
from triptych.services import Services

pytestmark = pytest.mark.integration

CELLO = "demo-001"


def asked(api: str, shop: str, sound: bytes, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"index": shop, "audio": {"base64": base64.b64encode(sound).decode()}, **fields}
    request = urllib.request.Request(
        f"{api}/v1/search", json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_spoken_words_search_like_typed_ones(api: str, shop: str) -> None:
    status, answer = asked(api, shop, say("full size cello"), audio_as="words")
    assert status == 200
    heard = answer["recognised"]["audio.words"]
    assert heard["text"].lower().strip(" .!") == "full size cello"
    assert heard["language"] == "en"
    assert 0.3 < heard["confidence"] <= 1
    best = answer["hits"][0]
    assert best["id"] == CELLO
    assert set(best["legs"]) == {"lexical", "text.text", "text.image"}


def test_a_sound_may_be_words_and_sound_at_once(services: Services, shop: str) -> None:
    result = Searcher(services).search(SearchRequest(shop, audio=say("acoustic guitar"), audio_as="both"))
    assert "guitar" in result.recognised["audio.words"].text.lower()
    assert set(result.hits[0].legs) == {"lexical", "text.text", "text.image", "audio.audio"}


def test_a_sound_without_words_is_said_to_be_one(api: str, shop: str) -> None:
    tone = 0.3 * np.sin(np.arange(48_000) / 16_000 * 2 * np.pi * 440)
    stream = io.BytesIO()
    soundfile.write(stream, tone, 16_000, format="WAV")
    status, problem = asked(api, shop, stream.getvalue(), audio_as="words")
    assert (status, problem["code"], problem["field"]) == (400, "query.nothing_recognised", "audio")
    status, problem = asked(api, shop, stream.getvalue(), audio_as="words", text="hat")
    assert (status, problem["code"]) == (400, "query.two_texts")


def test_the_command_shows_what_was_heard(command: Command, shop: str, tmp_path: Path) -> None:
    (tmp_path / "spoken.wav").write_bytes(say("full size cello"))
    shown = command("search", shop, "--audio", str(tmp_path / "spoken.wav"), "--audio-as", "words").stdout
    assert "audio.words: full size cello" in shown.lower()
    assert CELLO in shown


def test_where_nobody_speaks_nothing_is_heard(services: Services) -> None:
    random, length = np.random.default_rng(0), 48_000
    transcriber = services.transcriber
    assert transcriber is not None
    for samples in (np.zeros(length), random.normal(0, 0.1, length)):
        found = transcriber.transcribe(Waveform(samples.astype(np.float32), 16_000))
        assert (found.text, found.confidence) == ("", 0.0)
