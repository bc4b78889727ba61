"""Spoken queries with the real whisper-base: nobody speaking, and words that Debian's ktuberling-data says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from triptych.domain import Waveform
from triptych.encoders.whisper_speech import Transcriber
from triptych.media.decode import decode_audio
from triptych.settings import Settings

pytestmark = pytest.mark.integration

_SOUNDS = Path("/usr/share/ktuberling/sounds/en")
_WORDS = {"spectacles": "spectacles", "sunglasses": "sunglasses", "pizzeria_cucumber": "cucumber", "moon_rocket": "rocket"}


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    settings = Settings()
    folder = settings.encoders_dir / "whisper-base"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("whisper-base is not prepared (triptych encoders prepare)")
    return Transcriber(folder, settings)


def test_where_nobody_speaks_nothing_is_heard(transcriber: Transcriber) -> None:
    random, length = np.random.default_rng(0), 48_000
    tone = 0.3 * np.sin(np.arange(length) / 16_000 * 2 * np.pi * 440)
    for samples in (np.zeros(length), random.normal(0, 0.1, length), random.normal(0, 0.001, length), tone):
        found = transcriber.transcribe(Waveform(samples.astype(np.float32), 16_000))
        assert (found.text, found.confidence) == ("", 0.0)


def test_spoken_words_are_heard(transcriber: Transcriber) -> None:
    if not _SOUNDS.is_dir():
        pytest.skip("ktuberling-data is not installed")
    for name, word in _WORDS.items():
        path = next(_SOUNDS.glob(f"{name}.*"))
        found = transcriber.transcribe(decode_audio(path.read_bytes(), Settings()))
        assert found.text.lower().strip(" .!") == word
        assert found.language == "en"
        assert found.confidence > 0.3
