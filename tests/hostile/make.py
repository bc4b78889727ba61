"""How the corpus is made: honest little files, and the parts that dishonest ones are put together from."""

from __future__ import annotations

import io
import struct
import subprocess
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

from triptych.domain import Modality

RATE = 8000
DECODES = "decodes"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the corpus, and the code that it must give, or DECODES."""

    name: str
    data: bytes
    modality: Modality
    expected: str


def picture(name: str, data: bytes, expected: str) -> Entry:
    return Entry(name, data, Modality.IMAGE, expected)


def sound(name: str, data: bytes, expected: str) -> Entry:
    return Entry(name, data, Modality.AUDIO, expected)


def cut(entry: Entry, share: float, expected: str = "media.truncated") -> Entry:
    """The beginning of an entry's file."""
    kept = entry.data[: int(len(entry.data) * share)]
    return Entry(f"{entry.name} cut at {share:.0%}", kept, entry.modality, expected)


# Honest files


def noise(width: int = 96, height: int = 64) -> Image.Image:
    """A picture that does not compress, so that its file can be cut anywhere."""
    return Image.fromarray(np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tone(seconds: float = 2, rate: int = RATE) -> npt.NDArray[np.float32]:
    steady = 0.4 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    hiss = 0.05 * np.random.default_rng(7).standard_normal(len(steady))
    return (steady + hiss).astype(np.float32)


def recorded(
    kind: str, samples: npt.NDArray[np.float32] | None = None, *, rate: int = RATE, subtype: str | None = None
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone() if samples is None else samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def encoded(ending: str, *options: str, seconds: float = 2) -> bytes:
    """A sound that only ffmpeg writes."""
    import imageio_ffmpeg

    with TemporaryDirectory() as folder:
        source, target = Path(folder, "a.wav"), Path(folder, f"a.{ending}")
        source.write_bytes(recorded("WAV", tone(seconds, 48_000), rate=48_000))
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(source), "-bitexact", *options, str(target)]
        subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
        return target.read_bytes()


# Parts


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *before: bytes, bits: int = 8, colour: int = 2, pixels: bytes | None = None) -> bytes:
    """A PNG with any header, chunks before its pixels, and any pixels; else enough for a white picture of this size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    channels = {0: 1, 2: 3, 6: 4}[colour]
    if pixels is None:
        pixels = (b"\0" + b"\xff" * (width * channels * bits // 8)) * height
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(pixels, 6)) + chunk(b"IEND", b"")


def inflating(name: bytes, start: bytes, size: int) -> bytes:
    """A PNG's chunk of compressed text that inflates to `size` bytes."""
    return chunk(name, start + zlib.compress(b"x" * size, 6))


def zipped(name: str = "run.class") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"\xca\xfe\xba\xbe" + b"\0" * 50)
    return buffer.getvalue()


def program() -> bytes:
    """The beginning of a Windows program."""
    return b"MZ" + b"\0" * 58 + struct.pack("<I", 128) + b"\0" * 64 + b"PE\0\0" + b"\0" * 100


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segment(jpeg: bytes, marker: int, *data: bytes) -> bytes:
    """A JPEG with more segments after its first marker."""
    return jpeg[:2] + b"".join(segment(marker, part) for part in data) + jpeg[2:]


def wav(
    data: bytes = b"\0\1" * 2000, *, channels: int = 1, rate: int = RATE, bits: int = 16, size: int | None = None, kind: int = 1
) -> bytes:
    """A WAV whose header says anything."""
    block = channels * bits // 8 % 65_536
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block, bits)
    size = len(data) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(len(body) - len(data) + size, 2**32 - 1)) + body


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]
