"""decode_image: any bytes in, an upright RGB picture of at most 1024 a side out, or a MediaError."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triptych.domain import Modality
from triptych.errors import MediaError
from triptych.media.decode import KEPT_SIDE, decode, decode_image
from triptych.settings import Settings

pytestmark = pytest.mark.unit

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def _file(picture: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "HEIF":
        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _mirrored(picture: Image.Image, kind: str) -> bytes:
    """The picture lying on its side, with EXIF that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _file(picture.transpose(Image.Transpose.ROTATE_90), kind, exif=exif.tobytes())


def _near(picture: Image.Image, colour: tuple[int, int, int], *, by: int = 6) -> bool:
    """Whether the whole picture has this colour."""
    return bool((np.abs(np.asarray(picture, dtype=int) - colour) <= by).all())


def _picture_or_code(data: bytes, settings: Settings) -> Image.Image | str:
    """The picture, or the code of the MediaError; any other error is the test's failure."""
    try:
        return decode_image(data, settings)
    except MediaError as error:
        return error.code


def _refused(data: bytes, settings: Settings) -> str:
    with pytest.raises(MediaError) as caught:
        decode_image(data, settings)
    assert caught.value.field == Modality.IMAGE
    return caught.value.code


def _png(width: int, height: int, *, bits: int = 8, pixels: bytes = b"\0" * 100) -> bytes:
    """A PNG of RGB whose header claims this size, whatever its data have of it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF"])
def test_a_format_that_is_allowed(kind: str, settings: Settings) -> None:
    decoded = decode_image(_file(Image.new("RGB", (40, 30), RED), kind), settings)
    assert (decoded.mode, decoded.size) == ("RGB", (40, 30))
    assert _near(decoded, RED, by=8)


def test_a_camera_file_of_two_pictures_gives_the_first(settings: Settings) -> None:
    data = _file(Image.new("RGB", (40, 30), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30), GREEN)])
    assert _near(decode_image(data, settings), RED)


def test_a_moving_picture_gives_its_first_frame(settings: Settings) -> None:
    data = _file(Image.new("RGB", (8, 8), RED), "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), GREEN)])
    assert _near(decode_image(data, settings), RED)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_a_white_picture_of_any_mode_is_white(mode: str, settings: Settings) -> None:
    assert _near(decode_image(_file(Image.new("RGB", (8, 8), "white").convert(mode), "PNG"), settings), WHITE)


def test_a_cmyk_jpeg_has_the_colours_that_were_printed(settings: Settings) -> None:
    decoded = decode_image(_file(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), settings)
    assert decoded.mode == "RGB"
    assert _near(decoded, RED, by=12)


@pytest.mark.parametrize("reach", [(0, 65535), (20_000, 40_000), (65_535, 65_535)], ids=["full", "middle", "white"])
def test_sixteen_bits_look_like_eight(reach: tuple[int, int], settings: Settings) -> None:
    grey = np.linspace(*reach, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = np.asarray(decode_image(_file(Image.fromarray(grey), "PNG"), settings), dtype=int)
    assert decoded.shape == (64, 64, 3)
    assert np.abs(decoded[..., 0] - grey / 257).max() <= 2


def test_sixteen_bits_of_colour_look_like_eight(settings: Settings) -> None:
    """Pillow does not write such a PNG: red, 16 bits a channel."""
    row = b"\0" + struct.pack(">HHH", 65_535, 257, 0) * 4
    assert decode_image(_png(4, 4, bits=16, pixels=row * 4), settings).getpixel((2, 2)) == (255, 1, 0)


def test_a_transparent_grey_of_sixteen_bits_becomes_white(settings: Settings) -> None:
    grey = np.full((8, 8), 300, dtype=np.uint16)
    grey[:, :4] = 20_000
    decoded = decode_image(_file(Image.fromarray(grey), "PNG", transparency=300), settings)
    assert (decoded.getpixel((1, 1)), decoded.getpixel((6, 6))) == ((77, 77, 77), WHITE)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_transparent_colour_without_a_palette_becomes_white(mode: str, settings: Settings) -> None:
    clear: int | tuple[int, int, int] = (0, 0, 0) if mode == "RGB" else 0
    decoded = decode_image(_file(Image.new(mode, (8, 8), 0), "PNG", transparency=clear), settings)
    assert _near(decoded, WHITE)


def test_a_palette_half_transparent_mixes_with_white(settings: Settings) -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    assert _near(decode_image(_file(picture, "PNG", transparency=b"\x80\xff"), settings), (255, 127, 127))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGBA", "CMYK"])
def test_a_large_picture_of_any_mode_keeps_its_colours_when_it_is_made_small(mode: str, settings: Settings) -> None:
    """Left half black, right half white; 3000 a side is divided, which palettes and single bits do not take."""
    grey = np.zeros((60, 3000), dtype=np.uint16 if mode == "I;16" else np.uint8)
    grey[:, 1500:] = np.iinfo(grey.dtype).max
    picture = Image.fromarray(grey)
    data = _file(picture if mode == "I;16" else picture.convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    decoded = decode_image(data, settings)
    assert KEPT_SIDE / 2 < decoded.width <= KEPT_SIDE
    assert _near(decoded.crop((0, 0, decoded.width // 2 - 12, decoded.height)), (0, 0, 0))
    assert _near(decoded.crop((decoded.width // 2 + 12, 0, decoded.width, decoded.height)), WHITE)


def test_an_adobe_jpeg_of_four_inks_has_the_colours_that_were_printed(settings: Settings) -> None:
    """Photoshop stores inks upside down and says so in a segment of its own, which Pillow writes too."""
    data = _file(Image.new("CMYK", (16, 16), (255, 0, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data[:100]
    assert _near(decode_image(data, settings), GREEN, by=12)


def test_transparent_parts_become_white(settings: Settings) -> None:
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 4, 8))
    decoded = decode_image(_file(picture, "PNG"), settings)
    assert (decoded.getpixel((1, 1)), decoded.getpixel((6, 6))) == (RED, WHITE)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_becomes_white(kind: str, settings: Settings) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(0, (0, 0, 4, 8))
    decoded = decode_image(_file(picture, kind, transparency=1), settings)
    assert (decoded.getpixel((1, 1)), decoded.getpixel((6, 6))) == (RED, WHITE)


def test_half_transparent_mixes_with_white(settings: Settings) -> None:
    decoded = decode_image(_file(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"), settings)
    assert _near(decoded, (255, 127, 127))


@pytest.mark.parametrize(("orientation", "red_corner"), [(1, (2, 2)), (3, (37, 17)), (6, (17, 2)), (8, (2, 37))], ids=str)
def test_a_turned_photo_stands_upright(orientation: int, red_corner: tuple[int, int], settings: Settings) -> None:
    picture = Image.new("RGB", (40, 20), WHITE)
    picture.paste(RED, (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(_file(picture, "JPEG", exif=exif, quality=95, subsampling=0), settings)
    assert decoded.size == ((40, 20) if orientation in (1, 3) else (20, 40))
    red, green, _ = decoded.getpixel(red_corner)  # type: ignore[misc]
    assert red > 200
    assert green < 60


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_every_format_with_exif_is_turned_by_it_once(kind: str, settings: Settings) -> None:
    picture = Image.new("RGB", (64, 32), WHITE)
    picture.paste(RED, (0, 0, 16, 16))
    decoded = decode_image(_mirrored(picture, kind), settings)
    assert decoded.size == (64, 32)
    assert _near(decoded.crop((2, 2, 12, 12)), RED, by=24)
    assert _near(decoded.crop((20, 18, 62, 30)), WHITE, by=24)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_leaves_the_picture_as_it_lies(settings: Settings) -> None:
    data = _file(Image.new("RGB", (40, 20), RED), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    assert decode_image(data, settings).size == (40, 20)


def test_one_pixel_is_a_picture(settings: Settings) -> None:
    decoded = decode_image(_file(Image.new("RGB", (1, 1), RED), "PNG"), settings)
    assert (decoded.size, decoded.getpixel((0, 0))) == ((1, 1), RED)


@pytest.mark.parametrize(
    ("size", "by"),
    [
        ((3000, 2000), (3, 4)), ((2000, 3000), (3, 4)), ((5000, 1), (5, 5)), ((1, 5000), (5, 5)), ((5000, 3000), (5, 8)),
        ((KEPT_SIDE + 1, KEPT_SIDE), (2, 2)), ((1024, 1024), (1, 1)), ((1600, 600), (2, 2)), ((8000, 4000), (8, 8)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_picture_is_divided_by_a_whole_number(
    kind: str, size: tuple[int, int], by: tuple[int, int], settings: Settings
) -> None:
    """A JPEG decoder itself divides by 2, 4 or 8, what is left another step."""
    divisor = by[kind == "JPEG"]
    decoded = decode_image(_file(Image.new("RGB", size, RED), kind), settings)
    assert decoded.size == (-(-size[0] // divisor), -(-size[1] // divisor))
    assert min(max(size), KEPT_SIDE / 2) < max(decoded.size) <= KEPT_SIDE
    assert _near(decoded, RED)


def test_a_small_picture_is_not_enlarged(settings: Settings) -> None:
    assert decode_image(_file(Image.new("RGB", (30, 20)), "PNG"), settings).size == (30, 20)


# Refused


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_picture(kind: str, settings: Settings) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = _file(Image.fromarray(noise), kind)
    assert _refused(data[: len(data) * 2 // 3], settings) in {"media.truncated", "media.not_a_picture"}


def test_a_jpeg_that_breaks_off_is_called_truncated(settings: Settings) -> None:
    data = _file(Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)), "JPEG")
    assert _refused(data[: len(data) // 2], settings) == "media.truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_there_is_of_a_picture_that_breaks_off_can_be_asked_for(kind: str, settings: Settings) -> None:
    rough = np.random.default_rng(1).integers(0, 55, (256, 256, 3), dtype=np.uint8) + np.array([200, 0, 0], dtype=np.uint8)
    data = _file(Image.fromarray(rough), kind)
    part = data[: len(data) // 2]
    seen = np.asarray(decode_image(part, settings, lenient=True), dtype=int)
    assert seen.shape == (256, 256, 3)
    assert seen[:64].mean(axis=(0, 1)) == pytest.approx([227, 27, 27], abs=10)
    assert abs(seen[-64:] - [227, 27, 27]).mean() > 50, "the rest is not made up"
    assert _refused(part, settings) == "media.truncated", "the switch is turned back"


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_none_when_asked_for_what_there_is(data: bytes, settings: Settings) -> None:
    with pytest.raises(MediaError):
        decode_image(data, settings, lenient=True)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"hello, I am not a picture at all",
        bytes(range(256)) * 8,
        b"RIFF\x04\0\0\0WEBP",
        b"II*\0",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=lambda data: repr(data[:8]),
)
def test_bytes_that_are_no_picture(data: bytes, settings: Settings) -> None:
    assert _refused(data, settings) == "media.not_a_picture"


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x10\0\0\0WEBP", b"BM\0\0", b"\0\0\0\x20ftypavif"],
    ids=lambda data: repr(data[:8]),
)
def test_a_signature_alone_is_a_picture_that_breaks_off(data: bytes, settings: Settings) -> None:
    assert _refused(data, settings) == "media.truncated"


def test_nothing_is_empty(settings: Settings) -> None:
    assert _refused(b"", settings) == "media.empty"


@pytest.mark.parametrize(
    "data",
    [
        b"P6 2 2 255\n" + b"\0" * 12,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        b"%PDF-1.4\n1 0 obj\n",
        _file(Image.new("RGB", (8, 8)), "TGA"),
        _file(Image.new("RGB", (8, 8)), "PCX"),
        _file(Image.new("RGB", (8, 8)), "ICO"),
    ],
    ids=["PPM", "EPS", "PDF", "TGA", "PCX", "ICO"],
)
def test_a_format_that_is_not_allowed(data: bytes, settings: Settings) -> None:
    assert _refused(data, settings) == "media.not_a_picture"


@pytest.mark.parametrize("side", [7_072, 10_000, 14_000, 20_000, 60_000, 2**31 - 1])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(
    side: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", forbidden)
    assert _refused(_png(side, side), settings) == "media.too_many_pixels"


def test_the_limit_of_pixels_is_the_settings(settings: Settings) -> None:
    data = _file(Image.new("RGB", (10, 10)), "PNG")
    assert decode_image(data, settings.model_copy(update={"media_pixels": 100})).size == (10, 10)
    assert _refused(data, settings.model_copy(update={"media_pixels": 99})) == "media.too_many_pixels"


def test_a_header_that_promises_more_than_there_is(settings: Settings) -> None:
    assert _refused(_png(1000, 1000), settings) == "media.truncated"


def test_a_text_chunk_that_blows_up_is_a_bomb(settings: Settings) -> None:
    text = b"Comment\0\0" + zlib.compress(b"x" * 50_000_000)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    data = _file(Image.new("RGB", (1, 1)), "PNG")
    after_header = 8 + 25  # signature and IHDR
    assert _refused(data[:after_header] + chunk + data[after_header:], settings) == "media.bomb"


def test_a_second_file_behind_the_picture_is_refused(settings: Settings) -> None:
    assert _refused(_file(Image.new("RGB", (8, 8)), "PNG") + b"%PDF-1.7\n", settings) == "media.polyglot"


def test_heif_without_its_package_is_said_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "OPEN", {name: opener for name, opener in Image.OPEN.items() if name != "HEIF"})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert _refused(b"\0\0\0\x14ftypheic\0\0\0\0mif1", settings) == "media.needs_heif"


def test_decode_goes_by_the_modality(settings: Settings) -> None:
    assert isinstance(decode(_file(Image.new("RGB", (1, 1)), "PNG"), Modality.IMAGE, settings), Image.Image)


GRADIENT = Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint8).reshape(48, 32, 3))
FILES = [_file(GRADIENT, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]


@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5), st.integers(1, 10))
def test_damaged_files_give_a_picture_or_a_media_error(file: bytes, damage: list[tuple[int, int]], tenths: int) -> None:
    data = bytearray(file[: len(file) * tenths // 10])
    for place, value in damage:
        if place < len(data):
            data[place] = value
    decoded = _picture_or_code(bytes(data), Settings())
    if isinstance(decoded, Image.Image):
        assert decoded.mode == "RGB"
        assert 1 <= max(decoded.size) <= KEPT_SIDE


@given(st.binary(max_size=300))
def test_any_bytes_give_a_picture_or_a_media_error(data: bytes) -> None:
    picture = _picture_or_code(data, Settings())
    codes = {"media.empty", "media.not_a_picture", "media.too_many_pixels", "media.truncated", "media.polyglot"}
    assert isinstance(picture, Image.Image) or picture in codes
