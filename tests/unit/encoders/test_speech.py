"""The recogniser's own steps, on a tiny random Whisper and a tokenizer with its special tokens."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_encoders import Tiny

from triptych.domain import Waveform
from triptych.encoders.whisper_speech import Marks, Transcriber, _repeats, _speech, marks_of
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_SETTINGS = Settings(device="cpu", dtype="float32")


def _noise(seconds: float, rate: int = 16_000) -> Waveform:
    return Waveform(np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32), rate)


@pytest.fixture(scope="module")
def marks(tiny: Tiny) -> Marks:
    return marks_of(Transcriber(tiny("whisper"), _SETTINGS)._tokenizer)


def test_special_tokens_are_found_by_their_names(marks: Marks, tiny: Tiny) -> None:
    tokenizer = Transcriber(tiny("whisper"), _SETTINGS)._tokenizer
    assert sorted(marks.languages.values()) == ["en", "fr"]
    assert tokenizer.convert_ids_to_tokens([marks.end, marks.no_speech]) == ["<|endoftext|>", "<|nocaptions|>"]
    assert min(marks.transcribe, marks.no_speech, marks.no_timestamps, *marks.languages) > marks.start
    assert tokenizer.convert_tokens_to_ids("[") in marks.suppressed
    assert marks.end not in marks.suppressed
    assert tokenizer.convert_tokens_to_ids("a") not in marks.suppressed


def test_the_words_are_the_likeliest_tokens_as_worked_out_without_a_cache(tiny: Tiny, marks: Marks) -> None:
    import torch

    transcriber = Transcriber(tiny("whisper"), _SETTINGS)
    sound = _noise(1)
    with torch.inference_mode():
        heard = transcriber._encode(sound.samples)
        first, cache = transcriber._step([marks.start], heard, None)
        language = max(marks.languages, key=lambda mark: float(first[mark]))
        begin = [language, marks.transcribe, marks.no_timestamps]
        said, mean = transcriber._decode(begin, heard, cache, 1.0)
        sequence, logs = [marks.start, *begin], []
        for step in range(26):
            logits = transcriber._network(decoder_input_ids=torch.tensor([sequence]), encoder_outputs=heard).logits[0, -1]
            banned = [*marks.suppressed, *((marks.blank, marks.end) if step == 0 else ())]
            logits[banned] = -torch.inf
            logits[marks.start :] = -torch.inf
            sequence.append(int(logits.argmax()))
            logs.append(float(logits.double().log_softmax(dim=0).max()))
            if sequence[-1] == marks.end:
                break
    expected = [token for token in sequence[4:] if token != marks.end]
    assert said == expected
    assert mean == pytest.approx(sum(logs) / (len(said) + 1), abs=1e-4)


def test_what_is_said_is_bounded_by_the_sounds_length(tiny: Tiny, marks: Marks) -> None:
    import torch

    transcriber = Transcriber(tiny("whisper"), _SETTINGS)
    with torch.inference_mode():
        heard = transcriber._encode(_noise(1).samples)
        begin = [next(iter(marks.languages)), marks.transcribe, marks.no_timestamps]
        for seconds, most in ((0.0, 16), (1.0, 26), (100.0, 224)):
            _, cache = transcriber._step([marks.start], heard, None)
            assert len(transcriber._decode(begin, heard, cache, seconds)[0]) <= most


def test_the_language_can_be_narrowed_down_and_the_answer_is_the_same_each_time(tiny: Tiny) -> None:
    transcriber = Transcriber(tiny("whisper"), _SETTINGS)
    for language in ("en", "fr"):
        assert transcriber.transcribe(_noise(1), languages=[language]).language == language
    found = transcriber.transcribe(_noise(1))
    assert found == transcriber.transcribe(_noise(1), languages=["xx"])
    assert 0 <= found.confidence <= 1


def test_only_the_first_30_seconds_are_heard_at_16_khz() -> None:
    assert len(_speech(_noise(31, 8_000))) == 30 * 16_000
    assert len(_speech(_noise(0.5, 48_000))) == 8_000


def test_a_sound_without_samples_is_refused(tiny: Tiny) -> None:
    with pytest.raises(EncoderError) as caught:
        Transcriber(tiny("whisper"), _SETTINGS).transcribe(Waveform(np.empty(0, np.float32), 16_000))
    assert caught.value.code == "encoder.input"


def test_a_text_that_repeats_itself_is_told_from_one_that_does_not() -> None:
    assert _repeats("shorts " * 12)
    assert not _repeats("red rubber boots for children, size 28")
