"""Spoken queries to words: Whisper (Radford et al. 2022, arXiv:2212.04356), greedy, of a sound's first 30 s.

    sound -> 16 kHz -> log-mel -> encoder -> <sot> -> which language, is it speech at all
                                          -> <sot> language <transcribe> <no timestamps> -> token by token, the likeliest each

The encoder is always given 30 s, as it was trained. A window of 10 s takes a third of the time, but of 50 spoken English words
it hears more in a wrong language, and one of 5 s repeats itself in every third (docs/encoders.md).

Written out here and not by transformers' `generate`, because the decision needs what passes on the way: the probabilities of
the languages and of no speech at the first step, and of each token. The ids of the special tokens come from the tokenizer; the
suppressed ones are computed as the reference does (openai/whisper, tokenizer.py: non_speech_tokens).
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from triptych.domain import Waveform
from triptych.encoders.networks import load, load_network, samples_of
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.settings import Settings

RATE = 16_000
_SECONDS = 30
_NO_SPEECH = 0.6  # the paper's thresholds, section 4.5: silent when no speech is likelier than this and
_LOW_LOG_PROBABILITY = -1.0  # the tokens' mean log probability is lower than this
_SURELY_NO_SPEECH = (
    0.9  # ours: to digital silence it says "you" with log probability -0.45; silence .93, spoken words up to .61
)
_REPETITIVE = 2.4  # and a text that zlib makes so many times smaller repeats itself
_TOKENS_A_SECOND, _LEAST_TOKENS, _MOST_TOKENS = 10, 16, 224
_PAIRS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()  # noqa: SIM905  (as in the reference)
_SYMBOLS = [*'"#()*+/:;<=>@[\\]^_`{|}~「」『』', *_PAIRS]
_NOTES = [*"♩♪♫♬♭♮♯"]  # of several tokens each: the first is enough to keep them out


@dataclass(frozen=True, slots=True)
class Recognised:
    """What was heard. `language` is Whisper's code, ISO 639-1 where there is one; `text` is empty where nobody speaks.

    `confidence` is the tokens' geometric mean probability, from 0 to 1, and 0 where nobody speaks.
    """

    text: str
    language: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids of Whisper's special tokens; `suppressed` are ordinary tokens that are no speech."""

    end: int
    start: int
    transcribe: int
    no_speech: int
    no_timestamps: int
    languages: dict[int, str]
    suppressed: tuple[int, ...]
    blank: int


class Transcriber:
    """Speech recognition with the model in `folder`, read on first use. Used by one thread."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._runtime: Runtime = runtime_of(settings)

    @torch.inference_mode()
    def transcribe(self, sound: Waveform, *, languages: Collection[str] = ()) -> Recognised:
        """The words of the sound's first 30 s.

        `languages` are the codes among which the language is decided, such as those of a shop's catalogue; by default all that
        the model knows. Raises EncoderError `encoder.input` for a sound without samples.
        """
        samples = _speech(sound)
        heard = self._encode(samples)
        marks = self._marks
        first, cache = self._step([marks.start], heard, None)
        probabilities = first.softmax(dim=-1)
        known = [mark for mark, code in marks.languages.items() if code in languages] or list(marks.languages)
        language = max(known, key=probabilities.tolist().__getitem__)
        no_speech = float(probabilities[marks.no_speech])
        tokens, mean = self._decode([language, marks.transcribe, marks.no_timestamps], heard, cache, len(samples) / RATE)
        text = self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        silent = no_speech > _SURELY_NO_SPEECH or (no_speech > _NO_SPEECH and mean < _LOW_LOG_PROBABILITY)
        if not text or silent or _repeats(text):
            return Recognised("", marks.languages[language], 0.0)
        return Recognised(text, marks.languages[language], math.exp(mean))

    def _encode(self, samples: npt.NDArray[np.float32]) -> BaseModelOutput:
        """The encoder's frames, one each 20 ms of 30 s: (1, 1500, width)."""
        mel = self._extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
        inputs = to_device({"input_features": mel}, self._runtime)
        found: BaseModelOutput = self._network.get_encoder()(**inputs)
        return found

    def _step(self, tokens: list[int], heard: BaseModelOutput, cache: Any) -> tuple[torch.Tensor, Any]:
        """The logits (vocabulary,) after `tokens`, float32, and the keys and values so far."""
        ids = to_device({"ids": torch.tensor([tokens])}, self._runtime)["ids"]
        found = self._network(decoder_input_ids=ids, encoder_outputs=heard, past_key_values=cache, use_cache=True)
        return found.logits[0, -1].float(), found.past_key_values

    def _decode(self, tokens: list[int], heard: BaseModelOutput, cache: Any, seconds: float) -> tuple[list[int], float]:
        """The likeliest token at each step, to the end or as many as may be said in `seconds`; their mean log probability."""
        marks = self._marks
        never = torch.tensor(marks.suppressed, device=self._runtime.device)
        most = min(_MOST_TOKENS, _LEAST_TOKENS + round(_TOKENS_A_SECOND * seconds))
        said: list[int] = []
        total = 0.0
        for _ in range(most):
            logits, cache = self._step(tokens, heard, cache)
            logits[never] = -math.inf
            logits[marks.start :] = -math.inf  # all special tokens but the end, and the times after them
            if not said:
                logits[[marks.blank, marks.end]] = -math.inf
            token = int(logits.argmax())
            total += float(functional.log_softmax(logits, dim=-1)[token])
            if token == marks.end:
                break
            said.append(token)
            tokens = [token]
        return said, total / (len(said) + 1)

    @functools.cached_property
    def _marks(self) -> Marks:
        return marks_of(self._tokenizer)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return load(AutoTokenizer, self._folder)

    @functools.cached_property
    def _extractor(self) -> Any:
        return load(WhisperFeatureExtractor, self._folder)

    @functools.cached_property
    def _network(self) -> Any:
        return load_network(WhisperForConditionalGeneration, self._folder, self._runtime)


def marks_of(tokenizer: Any) -> Marks:
    """The special tokens of a multilingual Whisper's tokenizer; later models call no captions no speech."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    end, start, transcribe = (vocabulary[f"<|{name}|>"] for name in ("endoftext", "startoftranscript", "transcribe"))
    no_speech = vocabulary.get("<|nospeech|>", vocabulary.get("<|nocaptions|>", transcribe))
    between = range(start + 1, vocabulary["<|translate|>"])
    languages = {i: token.strip("<|>") for token, i in vocabulary.items() if i in between}
    return Marks(
        end=end,
        start=start,
        transcribe=transcribe,
        no_speech=no_speech,
        no_timestamps=vocabulary["<|notimestamps|>"],
        languages=languages,
        suppressed=tuple(sorted(_no_words(tokenizer))),
        blank=tokenizer.encode(" ", add_special_tokens=False)[0],
    )


def _no_words(tokenizer: Any) -> set[int]:
    """Tokens of annotations such as [MUSIC] and of notes, which are no speech; hyphen and apostrophe only at a beginning."""
    found = {tokenizer.encode(mark, add_special_tokens=False)[0] for mark in (" -", " '")}
    for symbol in (*_SYMBOLS, *_NOTES):
        for written in (symbol, f" {symbol}"):
            ids = tokenizer.encode(written, add_special_tokens=False)
            if len(ids) == 1 or symbol in _NOTES:
                found.add(ids[0])
    return found


def _speech(sound: Waveform) -> npt.NDArray[np.float32]:
    """The first 30 s at 16 kHz."""
    samples = samples_of(sound)[: _SECONDS * sound.rate]
    if sound.rate != RATE:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=RATE)
    return np.asarray(samples, dtype=np.float32)


def _repeats(text: str) -> bool:
    data = text.encode()
    return len(data) / len(zlib.compress(data)) > _REPETITIVE
