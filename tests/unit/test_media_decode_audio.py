"""decode_audio: any bytes in, a finite mono waveform of at most 15 seconds out, or a MediaError."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError
from triptych.media.decode import KEPT_SECONDS, decode, decode_audio
from triptych.media.sound import WINDOWS
from triptych.settings import Settings

pytestmark = [
    pytest.mark.unit,
]

RATE = 8000


def _tone(seconds: float, rate: int = RATE) -> npt.NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def _file(samples: npt.NDArray[np.float32], kind: str = "WAV", *, rate: int = RATE, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def _flac_claiming(frames: int, file: bytes | None = None) -> bytes:
    """A FLAC, else one of a second, whose header claims `frames` frames (36 bits of STREAMINFO)."""
    data = bytearray(file or _file(_tone(1), "FLAC"))
    word = int.from_bytes(data[18:26], "big")
    data[18:26] = (word >> 36 << 36 | frames).to_bytes(8, "big")
    return bytes(data)


def _wav_claiming(size: int) -> bytes:
    """One second of WAV whose data chunk claims `size` bytes."""
    data = bytearray(_file(_tone(1)))
    data[40:44] = size.to_bytes(4, "little")
    return bytes(data)


def _sound_or_code(data: bytes, settings: Settings) -> Waveform | str:
    """The sound, or the code of the MediaError; any other error is the test's failure."""
    try:
        return decode_audio(data, settings)
    except MediaError as error:
        return error.code


def _refused(data: bytes, settings: Settings) -> str:
    with pytest.raises(MediaError) as caught:
        decode_audio(data, settings)
    assert caught.value.field == Modality.AUDIO
    return caught.value.code


def _assert_sound(sound: Waveform) -> None:
    assert sound.samples.dtype == np.float32
    assert sound.samples.ndim == 1
    assert 0 < sound.seconds <= KEPT_SECONDS
    assert np.isfinite(sound.samples).all()


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
        ("AIFF", None),
    ],
)
def test_a_format_that_is_allowed(kind: str, subtype: str | None, settings: Settings) -> None:
    sound = decode_audio(_file(_tone(1), kind, subtype=subtype), settings)
    _assert_sound(sound)
    assert sound.seconds == pytest.approx(1, abs=0.1)
    assert np.abs(sound.samples).max() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("rate", [4000, 16_000, 44_100, 96_000])
def test_the_rate_is_the_recordings(rate: int, settings: Settings) -> None:
    sound = decode_audio(_file(_tone(0.5, rate), rate=rate), settings)
    assert (sound.rate, len(sound.samples)) == (rate, rate // 2)


def test_stereo_becomes_the_mean_of_its_channels(settings: Settings) -> None:
    left, right = np.full(RATE, 0.5, dtype=np.float32), np.full(RATE, -0.1, dtype=np.float32)
    sound = decode_audio(_file(np.stack([left, right], axis=1), subtype="FLOAT"), settings)
    _assert_sound(sound)
    assert sound.samples == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "FLOAT"), ("FLAC", None), ("AIFF", None), ("W64", None)])
def test_of_a_long_sound_the_beginning_the_middle_and_the_end_are_kept(
    kind: str, subtype: str | None, settings: Settings
) -> None:
    ramp = np.linspace(0, 0.6, 60 * RATE, dtype=np.float32)
    sound = decode_audio(_file(ramp, kind, subtype=subtype), settings)
    assert len(sound.samples) == KEPT_SECONDS * RATE
    parts = sound.samples.reshape(WINDOWS, -1)
    assert parts[:, 0] == pytest.approx([0, 0.275, 0.55], abs=1e-3)
    assert parts[:, -1] == pytest.approx([0.05, 0.325, 0.6], abs=1e-3)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_a_long_sound_that_was_compressed_gives_its_three_parts_too(kind: str, subtype: str | None, settings: Settings) -> None:
    loudness = np.repeat(np.float32([0.1, 0.5, 0.3]), 20 * RATE)
    sound = decode_audio(_file(_tone(60) * 2 * loudness, kind, subtype=subtype), settings)
    assert sound.seconds == pytest.approx(KEPT_SECONDS, abs=0.2)
    parts = sound.samples[: 3 * (len(sound.samples) // 3)].reshape(WINDOWS, -1)
    assert [float(np.abs(part[1000:-1000]).max()) for part in parts] == pytest.approx([0.1, 0.5, 0.3], abs=0.05)


def test_fifteen_seconds_are_kept_as_they_are(settings: Settings) -> None:
    ramp = np.linspace(0, 0.6, int(KEPT_SECONDS * RATE), dtype=np.float32)
    assert np.array_equal(decode_audio(_file(ramp, subtype="FLOAT"), settings).samples, ramp)


def test_a_long_stream_that_does_not_know_its_length_gives_its_beginning(settings: Settings) -> None:
    ramp = np.linspace(0, 0.6, 60 * RATE, dtype=np.float32)
    sound = decode_audio(_flac_claiming(0, _file(ramp, "FLAC")), settings)
    assert len(sound.samples) == KEPT_SECONDS * RATE
    assert sound.samples[-1] == pytest.approx(0.15, abs=1e-3)


def test_one_sample_is_a_sound(settings: Settings) -> None:
    assert len(decode_audio(_file(_tone(1)[1:2]), settings).samples) == 1


def test_samples_lie_between_minus_one_and_one(settings: Settings) -> None:
    sound = decode_audio(_file(8 * _tone(1), subtype="FLOAT"), settings)
    assert np.abs(sound.samples).max() <= 1


def test_decode_goes_by_the_modality(settings: Settings) -> None:
    assert isinstance(decode(_file(_tone(1)), Modality.AUDIO, settings), Waveform)


# Refused


def test_a_sound_that_is_too_long_by_its_header(settings: Settings) -> None:
    short = settings.model_copy(update={"media_seconds": 2.0})
    assert decode_audio(_file(_tone(2)), short).seconds == 2
    assert _refused(_file(_tone(2.01)), short) == "media.too_long"


@pytest.mark.parametrize("frames", [601 * RATE, 2**36 - 1])
def test_a_header_that_claims_hours_is_believed_and_refused(frames: int, settings: Settings) -> None:
    assert _refused(_flac_claiming(frames), settings) == "media.too_long"


@pytest.mark.parametrize("frames", [10 * RATE, 599 * RATE])
def test_a_header_that_claims_more_than_there_is(frames: int, settings: Settings) -> None:
    sound = _sound_or_code(_flac_claiming(frames), settings)
    if isinstance(sound, Waveform):
        assert len(sound.samples) == RATE  # never padded to what was claimed
    else:
        assert sound == "media.truncated"


def test_a_header_that_claims_less_than_there_is(settings: Settings) -> None:
    sound = decode_audio(_flac_claiming(RATE // 2), settings)
    assert RATE // 2 <= len(sound.samples) <= RATE


def test_a_flac_that_does_not_know_its_length_is_decoded(settings: Settings) -> None:
    """RFC 9639: 0 frames means unknown; encoders that write to a pipe do so."""
    assert len(decode_audio(_flac_claiming(0), settings).samples) == RATE


@pytest.mark.parametrize("size", [2**31, 2**32 - 1, 2 * RATE * 20])
def test_a_wav_whose_data_chunk_lies_gives_what_is_there(size: int, settings: Settings) -> None:
    sound = _sound_or_code(_wav_claiming(size), settings)
    if isinstance(sound, Waveform):
        assert len(sound.samples) == RATE
    else:
        assert sound == "media.truncated"


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_sound_is_refused_or_gives_what_is_there(kind: str, kept: float, settings: Settings) -> None:
    data = _file(_tone(3), kind)
    sound = _sound_or_code(data[: int(len(data) * kept)], settings)
    if isinstance(sound, Waveform):
        _assert_sound(sound)
        assert sound.seconds <= 3.1


def test_a_flac_that_breaks_off_is_called_truncated(settings: Settings) -> None:
    data = _file(_tone(3), "FLAC")
    assert _refused(data[: len(data) // 2], settings) == "media.truncated"


@pytest.mark.parametrize(
    "data",
    [b"\0", b"RIFF", b"fLaC", b"ID3\4", b"hello, I am not a sound", bytes(range(256)) * 20],
    ids=lambda data: repr(data[:8]),
)
def test_bytes_that_are_no_sound(data: bytes, settings: Settings) -> None:
    assert _refused(data, settings) == "media.not_a_sound"


def test_nothing_is_empty(settings: Settings) -> None:
    assert _refused(b"", settings) == "media.empty"


@pytest.mark.parametrize("data", [b"OggS", b"RIFF\xff\xff\0\0WAVE", b"FORM\0\0\xff\xffAIFF", b"\0\0\0\x20ftypM4A "])
def test_a_signature_alone_is_a_sound_that_breaks_off(data: bytes, settings: Settings) -> None:
    assert _refused(data, settings) == "media.truncated"


def test_a_second_file_behind_the_sound_is_refused(settings: Settings) -> None:
    assert _refused(_file(_tone(1)) + b"<html><body>", settings) == "media.polyglot"


def test_a_rate_that_nobody_records_at_is_refused(settings: Settings) -> None:
    data = bytearray(_file(_tone(1)))
    data[24:28] = (1_000_000_000).to_bytes(4, "little")
    assert _refused(bytes(data), settings) == "media.bad_rate"


@pytest.mark.parametrize("kind", ["VOC", "MAT5", "IRCAM", "NIST"])
def test_a_format_that_is_not_allowed(kind: str, settings: Settings) -> None:
    assert _refused(_file(_tone(1), kind), settings) == "media.not_a_sound"


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "OGG"])
def test_a_sound_without_frames(kind: str, settings: Settings) -> None:
    assert _refused(_file(_tone(0), kind), settings) == "media.no_samples"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_samples_that_are_no_numbers(value: float, place: int, settings: Settings) -> None:
    samples = _tone(1)
    samples[place] = value
    assert _refused(_file(samples, subtype="FLOAT"), settings) == "media.no_samples"


FILES = [_file(_tone(0.5), kind) for kind in ("WAV", "FLAC", "OGG", "AIFF")]


@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=5), st.integers(1, 10))
def test_damaged_files_give_a_sound_or_a_media_error(file: bytes, damage: list[tuple[int, int]], tenths: int) -> None:
    data = bytearray(file[: len(file) * tenths // 10])
    for place, value in damage:
        if place < len(data):
            data[place] = value
    sound = _sound_or_code(bytes(data), Settings())
    if isinstance(sound, Waveform):
        _assert_sound(sound)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_sound_or_a_media_error(data: bytes) -> None:
    sound = _sound_or_code(data, Settings())
    if isinstance(sound, Waveform):
        _assert_sound(sound)
    else:
        assert sound in {"media.empty", "media.not_a_sound", "media.too_long", "media.no_samples", "media.truncated"}


def test_a_sound_of_absurdly_many_channels_is_refused_by_its_header(settings: Settings) -> None:
    with pytest.raises(MediaError) as caught:
        decode_audio(_file(np.zeros((100, 9), dtype=np.float32)), settings)
    assert caught.value.code == "media.too_many_channels"
