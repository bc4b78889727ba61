"""From bytes to an RGB picture or a mono waveform, in this process. For strangers' files: triptych.media.decoder."""

from __future__ import annotations

from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.media.limits import Limits
from triptych.media.picture import IMAGE_FORMATS, KEPT_SIDE, decode_image
from triptych.media.sound import AUDIO_FORMATS, KEPT_SECONDS, MOST_CHANNELS, decode_audio

__all__ = [
    "AUDIO_FORMATS",
    "IMAGE_FORMATS",
    "KEPT_SECONDS",
    "KEPT_SIDE",
    "MOST_CHANNELS",
    "decode",
    "decode_audio",
    "decode_image",
]


def decode(data: bytes, modality: Modality, limits: Limits, *, lenient: bool = False) -> Image.Image | Waveform:
    """`decode_image` or `decode_audio`. `limits` are the settings, or what a child process was told of them."""
    return decode_image(data, limits, lenient=lenient) if modality is Modality.IMAGE else decode_audio(data, limits)
