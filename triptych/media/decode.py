"""From bytes to an RGB picture or a mono waveform. The size is read from the header and checked before anything is decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError
from triptych.settings import Settings

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
"""Pillow's decoders that are let near a stranger's bytes; the others (EPS, PDF, FLI ...) are not."""

AUDIO_FORMATS = ("WAV", "WAVEX", "OGG", "FLAC", "MP3", "MPEG", "AIFF", "AU", "CAF", "RF64", "W64")
"""libsndfile's major formats that are."""

KEPT_SIDE = 1024
"""A picture is scaled down to this many pixels a side at once, so that a batch of pictures stays small in memory."""

KEPT_SECONDS = 30.0
"""Only so much of a sound's beginning is decoded: no encoder looks further."""


def decode_image(data: bytes, settings: Settings) -> Image.Image:
    """An RGB picture of at most KEPT_SIDE a side, upright (EXIF), transparent parts white.

    Raises MediaError: media.not_a_picture, media.too_many_pixels or media.truncated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of large pictures; the limit below is ours
        try:
            picture = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise MediaError(
                "The bytes are not a picture that can be read.",
                code="media.not_a_picture",
                field=Modality.IMAGE,
                remedy=f"Give one of {', '.join(IMAGE_FORMATS[:6])}.",
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
            return _upright_rgb(picture)
        except Exception as error:
            raise MediaError(f"The picture does not decode: {error}.", code="media.truncated", field=Modality.IMAGE) from error


def _upright_rgb(picture: Image.Image) -> Image.Image:
    picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # lets a JPEG decoder skip detail; does nothing elsewhere
    picture.load()
    if picture.mode in ("I", "I;16", "I;16B", "F"):  # convert("RGB") would clip 16 bits to 8 instead of scaling
        grey = np.asarray(picture, dtype=np.float32)
        picture = Image.fromarray((255 * (grey - grey.min()) / max(float(np.ptp(grey)), 1.0)).astype(np.uint8))
    picture.thumbnail((KEPT_SIDE, KEPT_SIDE))
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        picture = white
    return picture.convert("RGB")


def decode_audio(data: bytes, settings: Settings) -> Waveform:
    """A mono waveform of at most KEPT_SECONDS, at the rate it was recorded.

    Raises MediaError: media.not_a_sound, media.too_long, media.no_samples or media.truncated.
    """
    import librosa  # noqa: PLC0415  loads numba: only where a sound is really decoded
    import soundfile  # noqa: PLC0415

    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise _not_a_sound() from error
    with file:
        if file.format not in AUDIO_FORMATS:
            raise _not_a_sound()
        seconds = file.frames / file.samplerate
        if seconds > settings.media_seconds:
            raise MediaError(
                f"The sound lasts {seconds:.0f} s, longer than the {settings.media_seconds:.0f} s allowed.",
                code="media.too_long",
                field=Modality.AUDIO,
                remedy="Cut it or raise TRIPTYCH_MEDIA_SECONDS.",
            )
        try:
            samples, rate = librosa.load(file, sr=None, mono=True, duration=KEPT_SECONDS)
        except Exception as error:
            raise MediaError(f"The sound does not decode: {error}.", code="media.truncated", field=Modality.AUDIO) from error
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise MediaError("The sound has no samples.", code="media.no_samples", field=Modality.AUDIO)
    return Waveform(np.asarray(samples, dtype=np.float32), int(rate))


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
