"""From bytes to an RGB picture. The size is read from the header and checked before anything is decoded."""

from __future__ import annotations

import contextlib
import importlib
import io
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, features

from triptych.domain import Modality
from triptych.errors import MediaError
from triptych.media.fetch import check_bytes
from triptych.media.limits import Limits
from triptych.media.polyglot import refuse_polyglot
from triptych.media.signature import Kind, end_of, picture_kind, size_of

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF")
"""Pillow's decoders that are let near a stranger's bytes; the others (EPS, PDF, TIFF, PSD ...) are not."""

KEPT_SIDE = 1024
"""A picture of more pixels a side is divided by a whole number at once, so that a batch of pictures stays small in memory; more
than half of this is left. 1600 scaled to 1024 by cubic interpolation took 25 ms, divided by 2 it takes 3, and a JPEG decoder
that divides saves 4 on its part."""

warnings.filterwarnings("ignore", module=r"PIL\..*")  # odd metadata of strangers' files is not news
Image.MAX_IMAGE_PIXELS = None  # the limit is TRIPTYCH_MEDIA_PIXELS, checked below before anything is decoded

_WHITE = 255
_TO_EIGHT_BITS = 257  # 65535 / 255
one_at_a_time = threading.Lock()
"""A picture of 50 million pixels takes 200 MB while it is decoded: not eight at once in one process."""


def decode_image(data: bytes, limits: Limits, *, lenient: bool = False) -> Image.Image:
    """An RGB picture of at most KEPT_SIDE a side, upright (EXIF), transparent parts white; of a moving one the first frame.

    `lenient` gives what there is of a file that breaks off, the rest grey or black: for people to look at, not for encoders.
    Raises MediaError: media.empty, media.not_a_picture, media.needs_heif, media.too_many_pixels, media.polyglot, media.bomb
    or media.truncated.
    """
    check_bytes(len(data), len(data), "the picture", Modality.IMAGE)
    kind = picture_kind(data)
    if kind is None:
        raise _not_a_picture()
    if (size := size_of(data, kind)) is not None:
        _check_size(size, limits)
    picture = _open(data, kind)
    _check_size(picture.size, limits)
    refuse_polyglot(data, kind, Modality.IMAGE)
    try:
        with one_at_a_time, _as_far_as_it_goes(lenient):
            return _upright_rgb(picture)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on broken bytes (struct.error, IndexError ...)
        raise _broken(error) from error


@contextlib.contextmanager
def _as_far_as_it_goes(lenient: bool) -> Iterator[None]:
    """Let Pillow load files that break off. Its switch is the process's: `one_at_a_time` is held around it."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, lenient
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.media_pixels:
        raise MediaError(
            f"The picture has {width} x {height} pixels, more than the {limits.media_pixels} allowed.",
            code="media.too_many_pixels",
            field=Modality.IMAGE,
            remedy="Make it smaller or raise TRIPTYCH_MEDIA_PIXELS.",
        )


def _open(data: bytes, kind: Kind) -> Image.Image:
    """The picture with its header read, by the decoder of its kind and no other."""
    _load_plugin(kind)
    try:
        return Image.open(io.BytesIO(data), formats=(kind.value,))
    except MemoryError:
        raise
    except Exception as error:  # as above
        if end_of(data, kind) is None or _is_bomb(error):
            raise _broken(error) from error
        raise _not_a_picture() from error


def _load_plugin(kind: Kind) -> None:
    """Import what Pillow does not import by itself; one plugin, where it would import all forty.

    AV1 and HEVC are decoded by one thread: more would each count against the memory and the time of a decoder's process.
    """
    if kind is Kind.WEBP:
        importlib.import_module("PIL.WebPImagePlugin")
    elif kind is Kind.AVIF:
        if not features.check("avif"):
            raise _not_a_picture()
        from PIL import AvifImagePlugin  # noqa: PLC0415

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    elif kind is Kind.HEIF and "HEIF" not in Image.OPEN:
        try:
            importlib.import_module("pillow_heif").register_heif_opener(decode_threads=1, thumbnails=False)
        except ImportError as error:
            raise MediaError(
                "HEIF and HEIC pictures need the package pillow-heif.",
                code="media.needs_heif",
                field=Modality.IMAGE,
                remedy="Install it with pip install 'triptych[heif]', or convert the picture to JPEG.",
            ) from error


def _not_a_picture() -> MediaError:
    return MediaError(
        "The bytes are not a picture that can be read.",
        code="media.not_a_picture",
        field=Modality.IMAGE,
        remedy=f"Give one of {', '.join(IMAGE_FORMATS)}.",
    )


def _is_bomb(error: Exception) -> bool:
    """Whether Pillow stopped at text or a colour profile that inflates to more than a megabyte (PngImagePlugin.MAX_TEXT_*)."""
    return isinstance(error, ValueError) and ("too large" in str(error).lower() or "MAX_TEXT" in str(error))


def _broken(error: Exception) -> MediaError:
    if _is_bomb(error):
        return MediaError(
            "The picture's texts or colour profile inflate to more than can be allowed.",
            code="media.bomb",
            field=Modality.IMAGE,
            remedy="Save it anew without its metadata.",
        )
    return MediaError(f"The picture does not decode: {error}.", code="media.truncated", field=Modality.IMAGE)


def _upright_rgb(picture: Image.Image) -> Image.Image:
    if (by := _divisor(picture)) > 1:  # a JPEG decoder divides by 2, 4 or 8 itself; others do nothing
        by = 1 << (by - 1).bit_length()
        picture.draft("RGB", (max(1, picture.width // by), max(1, picture.height // by)))
    picture.load()
    picture = _plain(picture)
    if (by := _divisor(picture)) > 1:
        picture = picture.reduce(by)
    with contextlib.suppress(Exception):  # damaged EXIF: shown as it is by then
        ImageOps.exif_transpose(picture, in_place=True)  # else one that lies right is copied
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        picture = white
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _divisor(picture: Image.Image) -> int:
    """What its sides are divided by, so that they are KEPT_SIDE at most."""
    return -(-max(picture.size) // KEPT_SIDE)


def _plain(picture: Image.Image) -> Image.Image:
    """8 bits a channel and no palette or transparent colour: neither can be scaled, since the numbers of colours do not mix."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(picture)
    if "transparency" in picture.info or picture.mode == "PA":
        return picture.convert("RGBA")
    if picture.mode == "P":
        return picture.convert("RGB")
    return picture.convert("L") if picture.mode == "1" else picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16 bits of grey scaled to 8, where convert("RGB") would clip; what is wider is taken as 16 bits if it goes beyond 8."""
    wide: npt.NDArray[np.generic] = np.asarray(picture)
    if wide.dtype.kind == "f":
        wide = (np.nan_to_num(np.asarray(wide, dtype=np.float32)) * (1 if np.nanmax(wide) > 1 else _WHITE)).clip(0, _WHITE)
    elif picture.mode != "I" or int(wide.max(initial=0)) > _WHITE:
        wide = np.asarray(wide, dtype=np.uint16) // np.uint16(_TO_EIGHT_BITS)
    grey = Image.fromarray(wide.astype(np.uint8))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):  # the one value that is transparent
        alpha = np.where(np.asarray(picture) == clear, np.uint8(0), np.uint8(_WHITE))
        grey = Image.merge("LA", (grey, Image.fromarray(alpha)))
    grey.info = {name: value for name, value in picture.info.items() if name != "transparency"}
    return grey
