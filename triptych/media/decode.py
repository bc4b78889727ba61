"""From bytes to an RGB picture or a mono waveform. The size is read from the header and checked before anything is decoded."""

from __future__ import annotations

import io
import threading
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError
from triptych.settings import Settings

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Pillow's decoders that are let near a stranger's bytes; the others (EPS, PDF, FLI ...) are not."""

AUDIO_FORMATS = ("WAV", "WAVEX", "OGG", "FLAC", "MP3", "MPEG", "AIFF", "AU", "CAF", "RF64", "W64")
"""libsndfile's major formats that are."""

warnings.filterwarnings("ignore", module=r"PIL\..*")  # odd metadata of strangers' files is not news
Image.MAX_IMAGE_PIXELS = None  # the limit is TRIPTYCH_MEDIA_PIXELS, checked below before anything is decoded

KEPT_SIDE = 1024
"""A picture is scaled down to this many pixels a side at once, so that a batch of pictures stays small in memory."""

_LARGEST_BYTE = 255
_HIGHEST_RATE = 192_000  # a header may claim any rate: it must not decide how much memory is taken
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's count for a stream that does not say (a FLAC made by a pipe)

KEPT_SECONDS = 15.0
"""Only so much of a sound's beginning is decoded: no encoder looks further."""

MOST_CHANNELS = 8
_BLOCK = 65_536
_one_at_a_time = threading.Lock()  # a picture of 50 million pixels takes 150 MB while it is decoded: not eight at once


def decode_image(data: bytes, settings: Settings) -> Image.Image:
    """An RGB picture of at most KEPT_SIDE a side, upright (EXIF), transparent parts white.

    Raises MediaError: media.not_a_picture, media.too_many_pixels or media.truncated.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(
            "The bytes are not a picture that can be read.",
            code="media.not_a_picture",
            field=Modality.IMAGE,
            remedy=f"Give one of {', '.join(IMAGE_FORMATS)}.",
        ) from error
    width, height = picture.size
    if width * height > settings.media_pixels:
        raise MediaError(
            f"The picture has {width} x {height} pixels, more than the {settings.media_pixels} allowed.",
            code="media.too_many_pixels",
            field=Modality.IMAGE,
            remedy="Make it smaller or raise TRIPTYCH_MEDIA_PIXELS.",
        )
    try:
        with _one_at_a_time:
            return _upright_rgb(picture)
    except Exception as error:  # Pillow's decoders raise anything on broken bytes (struct.error, IndexError ...)
        raise MediaError(f"The picture does not decode: {error}.", code="media.truncated", field=Modality.IMAGE) from error


def _upright_rgb(picture: Image.Image) -> Image.Image:
    picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # lets a JPEG decoder skip detail; does nothing elsewhere
    picture.load()
    if max(picture.size) > 2 * KEPT_SIDE:
        picture = picture.reduce(max(picture.size) // (2 * KEPT_SIDE))  # before anything makes wider pixels of it
    if picture.mode in ("I", "I;16", "I;16B", "F"):
        picture = _eight_bits(picture)
    picture.thumbnail((KEPT_SIDE, KEPT_SIDE))
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        picture = white
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16 bits scaled to 8, where convert("RGB") would clip; float grey is taken as 0 to 1, or 0 to 255 if it goes beyond 1."""
    grey: npt.NDArray[np.float32] = np.asarray(picture, dtype=np.float32)
    if picture.mode == "F":
        grey = grey * np.float32(255 if float(grey.max(initial=0)) <= 1 else 1)
    elif float(grey.max(initial=0)) > _LARGEST_BYTE or picture.mode != "I":
        grey = grey / np.float32(257)
    return Image.fromarray(np.nan_to_num(grey).clip(0, _LARGEST_BYTE).astype(np.uint8))


def decode_audio(data: bytes, settings: Settings) -> Waveform:
    """A mono waveform of at most KEPT_SECONDS, at the rate it was recorded.

    Raises MediaError: media.not_a_sound, media.too_long, media.no_samples or media.truncated.
    """
    import soundfile  # noqa: PLC0415  loads libsndfile: only where a sound is really decoded

    class Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        """Read forwards only: soundfile seeks after each read, which fails where the length is not known."""

        def seekable(self) -> bool:
            return False

    try:
        file = Stream(io.BytesIO(data))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise _not_a_sound() from error
    with file:
        if file.format not in AUDIO_FORMATS:
            raise _not_a_sound()
        if file.channels > MOST_CHANNELS:
            raise MediaError(
                f"The sound has {file.channels} channels, more than the {MOST_CHANNELS} allowed.",
                code="media.too_many_channels",
                field=Modality.AUDIO,
                remedy="Mix it down to stereo or mono.",
            )
        seconds = file.frames / file.samplerate
        if file.frames < _UNKNOWN_FRAMES and seconds > settings.media_seconds:
            raise MediaError(
                f"The sound lasts {seconds:.0f} s, longer than the {settings.media_seconds:.0f} s allowed.",
                code="media.too_long",
                field=Modality.AUDIO,
                remedy="Cut it or raise TRIPTYCH_MEDIA_SECONDS.",
            )
        try:
            with _one_at_a_time:
                samples = _mono(file)
        except Exception as error:  # libsndfile and numpy raise many kinds on broken bytes
            raise MediaError(f"The sound does not decode: {error}.", code="media.truncated", field=Modality.AUDIO) from error
        rate = file.samplerate
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise MediaError("The sound has no samples.", code="media.no_samples", field=Modality.AUDIO)
    return Waveform(np.asarray(samples.clip(-1, 1), dtype=np.float32), int(rate))


def _mono(file: Any) -> npt.NDArray[np.float32]:
    """The beginning of a sound, mixed down block by block, so that many channels take no more memory than one."""
    left = min(int(KEPT_SECONDS * min(file.samplerate, _HIGHEST_RATE)), file.frames)
    blocks: list[npt.NDArray[np.float32]] = []
    while left > 0:
        block = file.read(min(left, _BLOCK), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block.mean(axis=1))
        left -= len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _not_a_sound() -> MediaError:
    return MediaError(
        "The bytes are not a sound that can be read.",
        code="media.not_a_sound",
        field=Modality.AUDIO,
        remedy="Give WAV, FLAC, Ogg Vorbis, Opus or MP3.",
    )


def decode(data: bytes, modality: Modality, settings: Settings) -> Image.Image | Waveform:
    """`decode_image` or `decode_audio`."""
    return decode_image(data, settings) if modality is Modality.IMAGE else decode_audio(data, settings)
