"""From bytes to a mono waveform.

libsndfile reads what it knows (WAV, FLAC, Ogg, MP3 ...), ffmpeg turns the rest (AAC, WebM) into WAV for it. librosa.load and
audioread were weighed and left: audioread starts any of four backends on a path, lets each guess the format, and has no limit
of time or size.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError
from triptych.media.fetch import check_bytes
from triptych.media.ffmpeg import DEMUXERS, to_wav
from triptych.media.limits import Limits
from triptych.media.picture import one_at_a_time
from triptych.media.polyglot import refuse_polyglot
from triptych.media.signature import Kind, end_of, sound_kind

AUDIO_FORMATS = ("WAV", "WAVEX", "OGG", "FLAC", "MP3", "MPEG", "AIFF", "AU", "CAF", "RF64", "W64")
"""libsndfile's major formats that are let near a stranger's bytes."""

KEPT_SECONDS = 15.0
"""So much of a sound is kept: no encoder looks at more."""

WINDOWS = 3
"""Of a longer sound, as many equal windows are kept: from its beginning, its middle and its end."""

MOST_CHANNELS = 8
MOST_RATE = 768_000
"""The highest rate in use (hertz). A header may claim 4 GHz, and resampling from it would fill the memory."""

_HIGHEST_RATE = 192_000  # a header must not decide how much memory is taken: 15 s are at most so many samples a second
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's count for a stream that does not say (a FLAC made by a pipe)
_BLOCK = 65_536
_COUNTED = ("FLAC", "WAV", "WAVEX", "RF64", "W64")  # whose header counts the samples; elsewhere the count is an estimate


def decode_audio(data: bytes, limits: Limits) -> Waveform:
    """A mono waveform of at most KEPT_SECONDS, at the rate it was recorded; of a longer sound WINDOWS parts, joined.

    A stream that does not know its length gives its beginning. Raises MediaError: media.empty, media.not_a_sound,
    media.needs_ffmpeg, media.polyglot, media.too_many_channels, media.bad_rate, media.too_long, media.no_samples,
    media.truncated or, from ffmpeg, media.too_slow.
    """
    check_bytes(len(data), len(data), "the sound", Modality.AUDIO)
    kind = sound_kind(data)
    if kind is None or (kind is Kind.MP4 and b"moov" in data and b"soun" not in data):  # a film without sound, a picture
        raise _not_a_sound()
    refuse_polyglot(data, kind, Modality.AUDIO)
    if kind in (Kind.WAV, Kind.AIFF, Kind.OGG, Kind.MP4) and end_of(data, kind) is None:  # what libsndfile and ffmpeg pass over
        raise _broken("it breaks off")
    if kind in DEMUXERS:
        data = to_wav(data, kind, limits)
    return _read(data, limits)


def _read(data: bytes, limits: Limits) -> Waveform:
    import soundfile  # noqa: PLC0415  loads libsndfile: only where a sound is really decoded

    class Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        """Read forwards only: soundfile seeks after each read, which fails where the length is not known."""

        def seekable(self) -> bool:
            return False

    try:
        file = Stream(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # soundfile raises its own error, RuntimeError, TypeError ...
        raise _not_a_sound() from error
    with file:
        _check_header(file, limits)
        try:
            with one_at_a_time:
                samples = _mono(file)
        except MemoryError:
            raise
        except Exception as error:  # libsndfile and numpy raise many kinds on broken bytes
            raise _broken(str(error).rstrip(".")) from error
        rate = file.samplerate
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise MediaError("The sound has no samples.", code="media.no_samples", field=Modality.AUDIO)
    return Waveform(np.asarray(samples.clip(-1, 1), dtype=np.float32), int(rate))


def _check_header(file: Any, limits: Limits) -> None:
    if file.format not in AUDIO_FORMATS:
        raise _not_a_sound()
    if file.channels > MOST_CHANNELS:
        raise MediaError(
            f"The sound has {file.channels} channels, more than the {MOST_CHANNELS} allowed.",
            code="media.too_many_channels",
            field=Modality.AUDIO,
            remedy="Mix it down to stereo or mono.",
        )
    if not 0 < file.samplerate <= MOST_RATE:
        raise MediaError(
            f"The sound claims {file.samplerate} samples a second, which is not from 1 to {MOST_RATE}.",
            code="media.bad_rate",
            field=Modality.AUDIO,
            remedy="Save it anew at 48,000 samples a second.",
        )
    seconds = file.frames / file.samplerate
    if file.frames < _UNKNOWN_FRAMES and seconds > limits.media_seconds:
        raise MediaError(
            f"The sound lasts {seconds:.0f} s, longer than the {limits.media_seconds:.0f} s allowed.",
            code="media.too_long",
            field=Modality.AUDIO,
            remedy="Cut it or raise TRIPTYCH_MEDIA_SECONDS.",
        )


def _mono(file: Any) -> npt.NDArray[np.float32]:
    """What is kept of the sound, mixed down. Raises EOFError where there are fewer samples than the header counts."""
    rate = min(file.samplerate, _HIGHEST_RATE)
    if not KEPT_SECONDS * file.samplerate < file.frames < _UNKNOWN_FRAMES:
        count = min(int(KEPT_SECONDS * rate), file.frames)
        return _whole(_block_by_block(file, count), min(count, file.frames), file)
    window = int(KEPT_SECONDS / WINDOWS * rate)
    parts = []
    for number in range(WINDOWS):
        if number:
            file.seek((file.frames - window) * number // (WINDOWS - 1))
        parts.append(_whole(_block_by_block(file, window), window, file))
    return np.concatenate(parts)


def _block_by_block(file: Any, left: int) -> npt.NDArray[np.float32]:
    """The next samples, mixed down a block at a time, so that many channels take no more memory than one."""
    blocks: list[npt.NDArray[np.float32]] = []
    while left > 0:
        block = file.read(min(left, _BLOCK), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block.mean(axis=1))
        left -= len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _whole(samples: npt.NDArray[np.float32], wanted: int, file: Any) -> npt.NDArray[np.float32]:
    if len(samples) < wanted and file.format in _COUNTED and file.frames < _UNKNOWN_FRAMES:
        raise EOFError("it breaks off")
    return samples


def _broken(reason: str) -> MediaError:
    return MediaError(f"The sound does not decode: {reason}.", code="media.truncated", field=Modality.AUDIO)


def _not_a_sound() -> MediaError:
    return MediaError(
        "The bytes are not a sound that can be read.",
        code="media.not_a_sound",
        field=Modality.AUDIO,
        remedy="Give WAV, FLAC, Ogg Vorbis, Opus, MP3, or with ffmpeg M4A or AAC.",
    )
