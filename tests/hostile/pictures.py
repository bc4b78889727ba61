"""The pictures of the corpus."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from make import DECODES, Entry, chunk, cut, inflating, noise, patched, picture, png, program, saved, with_segment, zipped
from PIL import Image

SCANS = 12_000


def pictures() -> Iterator[Entry]:
    honest = {kind: saved(noise(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "HEIF")}
    for kind, data in honest.items():
        entry = picture(kind, data, DECODES)
        yield entry
        yield from (cut(entry, share) for share in (0.02, 0.5, 0.9))
    yield picture("progressive JPEG cut", saved(noise(), "JPEG", progressive=True)[:2000], "media.truncated")
    yield picture("nothing", b"", "media.empty")
    yield from bombs(honest)
    yield from polyglots(honest)
    yield from metadata(honest)
    yield from lies(honest)
    yield from others()


def bombs(honest: dict[str, bytes]) -> Iterator[Entry]:
    """Small files that claim, or bring about, much."""
    many = "media.too_many_pixels"
    yield picture("PNG of 100,000 x 100,000", png(100_000, 100_000, pixels=b"\0" * 100), many)
    yield picture("PNG of 2^31 - 1", png(2**31 - 1, 2**31 - 1, pixels=b"\0" * 100), many)
    yield picture("PNG that really has 64 million pixels", png(8000, 8000, bits=8, colour=0), many)
    yield picture("PNG with 100 MB behind its pixels", png(64, 64, pixels=b"\0" * 100_000_000), DECODES)
    yield picture("PNG with a text that inflates", png(8, 8, inflating(b"zTXt", b"Comment\0\0", 20_000_000)), "media.bomb")
    yield picture(
        "PNG with a Unicode text that inflates", png(8, 8, inflating(b"iTXt", b"C\0\1\0\0\0", 20_000_000)), "media.bomb"
    )
    yield picture(
        "PNG with a colour profile that inflates", png(8, 8, inflating(b"iCCP", b"icc\0\0", 20_000_000)), "media.bomb"
    )
    texts = [inflating(b"zTXt", b"C%d\0\0" % number, 1_000_000) for number in range(100)]
    yield picture("PNG with a hundred texts of a megabyte", png(8, 8, *texts), "media.bomb")
    yield picture("PNG with 100,000 texts", png(8, 8, *[chunk(b"tEXt", b"C\0x")] * 100_000), DECODES)
    yield picture("GIF of 65,535 x 65,535", patched(honest["GIF"], 6, b"\xff\xff\xff\xff"), many)
    at = honest["GIF"].index(b",", 13 + 768) + 5
    yield picture("GIF whose frame is larger than itself", patched(honest["GIF"], at, b"\xff\xff\xff\xff"), many)
    one_colour = saved(Image.new("RGBA", (2000, 2000), (255, 0, 0, 9)), "WEBP", lossless=True, method=0)
    sides = struct.unpack_from("<I", one_colour, 21)[0] & ~0xFFFFFFF | 16_382 << 14 | 16_382
    yield picture("WebP of 38 bytes and 268 million pixels", patched(one_colour, 21, struct.pack("<I", sides)), many)
    at = honest["JPEG"].index(b"\xff\xc0") + 5
    yield picture("JPEG of 65,500 x 65,500", patched(honest["JPEG"], at, struct.pack(">HH", 65_500, 65_500)), many)
    yield picture("BMP of 30,000 x 30,000", patched(honest["BMP"], 18, struct.pack("<ii", 30_000, 30_000)), many)
    yield picture("AVIF of 12,000 x 12,000", wider(honest["AVIF"], 12_000), many)
    yield picture("AVIF of 30,000 x 30,000", wider(honest["AVIF"], 30_000), "media.not_a_picture")
    yield picture("HEIF of 30,000 x 30,000", wider(honest["HEIF"], 30_000), many)
    yield picture("JPEG of 12,000 scans", scan_bomb(), "media.too_slow")
    frames = [Image.fromarray(np.full((8, 8), number % 251, dtype=np.uint8)) for number in range(1500)]
    yield picture("GIF of 1,500 frames", saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), DECODES)
    yield picture("PNG of 1,000 frames", saved(frames[0], "PNG", save_all=True, append_images=frames[1:1000]), DECODES)
    yield picture("WebP of 300 frames", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:300]), DECODES)


def wider(data: bytes, side: int) -> bytes:
    """An AVIF or HEIF whose every `ispe` box claims this width and height."""
    parts = data.split(b"ispe")
    return parts[0] + b"".join(b"ispe\0\0\0\0" + struct.pack(">II", side, side) + part[12:] for part in parts[1:])


def scan_bomb() -> bytes:
    """A progressive JPEG of 49 million pixels whose last scan, of few bytes, comes again and again.

    https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf
    """
    data = saved(Image.new("L", (7000, 7000), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * SCANS + data[-2:]


def polyglots(honest: dict[str, bytes]) -> Iterator[Entry]:
    two = "media.polyglot"
    page = b"<html><script>alert(1)</script></html>"
    tails = {
        "ZIP": zipped(), "web page": page, "PDF": b"%PDF-1.7\n1 0 obj\n", "ELF program": b"\x7fELF\2\1\1" + b"\0" * 60,
        "Windows program": program(), "PHP": b"\n<?php system($_GET['c']); ?>", "shell script": b"\n#!/bin/sh\nrm -rf ~\n",
        "RAR": b"Rar!\x1a\7\1\0", "padding and ZIP": b"\0" * 1000 + zipped(), "leftovers and web page": b"\x91" * 5000 + page,
    }  # fmt: skip
    for name, tail in tails.items():
        yield picture(f"JPEG and {name}", honest["JPEG"] + tail, two)
    yield picture("GIFAR", honest["GIF"] + zipped("META-INF/MANIFEST.MF"), two)
    yield from (picture(f"{kind} and ZIP", honest[kind] + zipped(), two) for kind in honest if kind != "JPEG")
    yield from (picture(f"{kind} and web page", honest[kind] + page, two) for kind in honest if kind != "JPEG")
    yield picture("PNG and JPEG", honest["PNG"] + honest["JPEG"], two)
    yield picture("JPEG and GIF", honest["JPEG"] + honest["GIF"], two)
    yield picture("two JPEGs and ZIP", honest["JPEG"] * 2 + zipped(), two)
    yield picture("BMP whose size covers a web page", patched(honest["BMP"] + page, 2, struct.pack("<I", 10**6)), two)
    not_one = "media.not_a_picture"
    yield picture("PDF, then JPEG", b"%PDF-1.7\n" + honest["JPEG"], not_one)
    yield picture("ZIP, then PNG", zipped() + honest["PNG"], not_one)
    yield picture("web page, then GIF", page + honest["GIF"], not_one)
    # What honest files carry
    yield picture("JPEG and JPEG (MPO, Ultra HDR)", honest["JPEG"] * 2, DECODES)
    yield picture("JPEG and MP4 (motion photo)", honest["JPEG"] + b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08mdat", DECODES)
    yield picture("JPEG and padding", honest["JPEG"] + b"\0" * 4000 + b"\xff" * 40, DECODES)
    yield picture("JPEG and leftovers", honest["JPEG"] + np.random.default_rng(1).bytes(20_000), DECODES)
    yield picture("PNG and the rest of a longer PNG", honest["PNG"] + honest["PNG"][-3000:], DECODES)
    yield picture("JPEG with a web page in its comment", with_segment(honest["JPEG"], 0xFE, b"<html><script>"), DECODES)


def metadata(honest: dict[str, bytes]) -> Iterator[Entry]:
    jpeg = honest["JPEG"]
    ring = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    yield picture("EXIF that leads to itself", with_segment(jpeg, 0xE1, ring), DECODES)
    nested = b"".join(struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8 + 18 * (n + 1), 0) for n in range(3000))
    yield picture("EXIF 3,000 deep", with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + nested), DECODES)
    yield picture("EXIF of noise", with_segment(jpeg, 0xE1, b"Exif\0\0" + np.random.default_rng(2).bytes(60_000)), DECODES)
    turned = struct.pack("<HHHII", 1, 0x0112, 3, 1, 4711)
    yield picture("EXIF turned by 4711", with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + turned), DECODES)
    huge = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x0112, 3, 2**32 - 1, 2**31)
    yield picture("EXIF of 2^32 values", with_segment(jpeg, 0xE1, huge), DECODES)
    profile = [b"ICC_PROFILE\0" + bytes([n + 1, 30]) + b"\0" * 65_000 for n in range(30)]
    yield picture("colour profile of 2 MB", with_segment(jpeg, 0xE2, *profile), DECODES)
    yield picture(
        "XMP that is not closed", with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<a>" * 20_000), DECODES
    )
    yield picture("MPF of noise", with_segment(jpeg, 0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 600), DECODES)
    yield picture("JPEG with 5,000 comments", with_segment(jpeg, 0xFE, *[b"x" * 20] * 5_000), DECODES)
    yield picture(
        "JPEG whose thumbnail has an end", with_segment(jpeg, 0xE0, b"JFXX\0\x10" + honest["JPEG"][:900] + b"\xff\xd9"), DECODES
    )


def lies(honest: dict[str, bytes]) -> Iterator[Entry]:
    """Headers that do not fit what follows, and damage in the middle."""
    broken, not_one = "media.truncated", "media.not_a_picture"
    yield picture("PNG with a tenth of its pixels", png(1000, 1000, pixels=b"\0" * 300_000), broken)
    yield picture("PNG of no width", png(0, 10, pixels=b""), not_one)
    yield picture("PNG of 3 bits", png(8, 8, bits=3), not_one)
    yield picture("PNG whose pixels are no zlib", honest["PNG"].replace(b"IDATx", b"IDAT!"), broken)
    yield picture("PNG with a chunk of 4 GB", patched(honest["PNG"], 33, b"\xff\xff\xff\xff"), DECODES)
    yield picture("PNG without its end", honest["PNG"][:-12], DECODES)
    yield picture("BMP of 5,000 x 5,000 with little in it", patched(honest["BMP"], 18, struct.pack("<ii", 5000, 5000)), broken)
    yield picture("BMP of no size", patched(honest["BMP"], 18, struct.pack("<ii", 0, 0)), not_one)
    yield picture("BMP of negative width", patched(honest["BMP"], 18, struct.pack("<ii", -96, 64)), "media.too_many_pixels")
    yield picture("JPEG with zeros in the middle", patched(honest["JPEG"], 700, b"\0" * 2000), DECODES)
    yield picture("JPEG without tables", honest["JPEG"].replace(b"\xff\xdb", b"\xff\xfe"), broken)
    yield picture("GIF with a code size of 200", patched(honest["GIF"], honest["GIF"].index(b",", 781) + 10, b"\xc8"), broken)
    yield picture("GIF without a frame", b"GIF89a\1\0\1\0\0\0\0;", not_one)
    yield picture("WebP with zeros in the middle", patched(honest["WEBP"], 40, b"\0" * 1000), DECODES)
    yield picture("WebP that is longer by its header", patched(honest["WEBP"], 4, b"\xff\xff\xff\x7f"), broken)
    yield picture("AVIF with zeros in its pixels", patched(honest["AVIF"], len(honest["AVIF"]) - 800, b"\0" * 700), DECODES)
    yield picture("HEIF with zeros in its pixels", patched(honest["HEIF"], len(honest["HEIF"]) - 800, b"\0" * 700), DECODES)


def others() -> Iterator[Entry]:
    """What is no picture, or none that is let near a decoder."""
    small = noise(16, 16)
    texts = {
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "SVG with an outer entity": b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "ImageMagick's MVG": b"push graphic-context\nimage over 0,0 0,0 'https://localhost/x'\npop graphic-context\n",
        "text named .jpg": b"This is not a picture, whatever its name says.\n" * 20,
        "web page named .jpg": b"<!doctype html><title>404 Not Found</title>",
        "PSD": b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\x10\0\0\0\x10\0\x08\0\3" + b"\0" * 100,
        "ZIP bomb": zipped(), "gzip": zlib.compress(b"\0" * 10_000_000), "XBM": b"#define x_width 8\n#define x_height 8\n",
        "a picture's URL": b"https://example.org/a.jpg\n", "m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    }  # fmt: skip
    for name, data in texts.items():
        yield picture(name, data, "media.not_a_picture")
    for kind in ("TIFF", "ICO", "PPM", "TGA", "PCX", "JPEG2000", "DDS", "SGI"):
        yield picture(kind, saved(small, kind), "media.not_a_picture")
