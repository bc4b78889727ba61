"""The sounds of the corpus."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from make import DECODES, RATE, Entry, cut, encoded, noise, patched, recorded, saved, sound, tone, wav, zipped


def sounds() -> Iterator[Entry]:
    honest = {kind: recorded(kind) for kind in ("WAV", "AIFF", "FLAC", "OGG", "MP3")}
    for kind, data in honest.items():
        entry = sound(kind, data, DECODES)
        yield entry
        whole = DECODES if kind == "MP3" else "media.truncated"  # an MP3 does not say how long it is
        yield from (cut(entry, share, whole) for share in (0.5, 0.9))
        yield cut(entry, 0.001, "media.not_a_sound" if kind in ("FLAC", "MP3") else "media.truncated")
    yield sound("nothing", b"", "media.empty")
    yield sound("Opus", recorded("OGG", subtype="OPUS"), DECODES)
    yield sound("one sample", recorded("WAV", tone()[:1]), DECODES)
    yield sound("silence", recorded("FLAC", np.zeros(20 * RATE, dtype=np.float32)), DECODES)
    yield sound("FLAC of a minute", recorded("FLAC", tone(60)), DECODES)
    yield cut(sound("FLAC of a minute", recorded("FLAC", tone(60)), DECODES), 0.7)
    yield from headers(honest)
    yield from samples()
    yield from damage(honest)
    yield from by_ffmpeg()
    yield from polyglots(honest)
    yield from others()


def headers(honest: dict[str, bytes]) -> Iterator[Entry]:
    """Headers that claim anything."""
    not_one, long, broken = "media.not_a_sound", "media.too_long", "media.truncated"
    yield sound("WAV of 2^31 bytes (a stream)", wav(size=2**31), DECODES)
    yield sound("WAV of 2^32 - 1 bytes (a stream)", wav(size=2**32 - 1), DECODES)
    yield sound("WAV of a gigabyte", wav(size=10**9), broken)
    yield sound("WAV of rate 0", wav(rate=0), not_one)
    yield sound("WAV of rate 4 GHz", wav(rate=4_000_000_000), not_one)
    yield sound("WAV of rate 2 GHz", wav(rate=2_000_000_000), "media.bad_rate")
    yield sound("WAV of one sample a second", wav(rate=1, data=b"\1\0" * 10), DECODES)
    yield sound("WAV of one sample a second, a day long", wav(rate=1, data=b"\1\0" * 86_400), long)
    yield sound("WAV of 65,535 channels", wav(channels=65_535), not_one)
    yield sound("WAV of 1,000 channels", wav(channels=1000, data=b"\0\1" * 10_000), "media.too_many_channels")
    yield sound("WAV of no channels", wav(channels=0), not_one)
    yield sound("WAV of 0 bits", wav(bits=0), not_one)
    yield sound("WAV of 4,000 bits", wav(bits=4000), not_one)
    yield sound("WAV of an unknown codec", wav(kind=0x1234), not_one)
    yield sound("WAV that is only a header", b"RIFF\xff\xff\xff\x7fWAVE", broken)
    yield sound("FLAC of 2^36 - 1 samples", flac_claiming(honest["FLAC"], 2**36 - 1), long)
    yield sound("FLAC of 590 s with 2 in it", flac_claiming(honest["FLAC"], 590 * RATE), broken)
    yield sound("FLAC of no known length", flac_claiming(honest["FLAC"], 0), DECODES)
    yield sound("Ogg that ends in a thousand years", ogg_ending(honest["OGG"], 2**48), long)
    yield sound(
        "AIFF of an infinite rate",
        patched(honest["AIFF"], honest["AIFF"].index(b"COMM") + 16, b"\x7f\xff" + b"\0" * 8),
        "media.bad_rate",
    )
    yield sound(
        "AU that begins after its end", b".snd" + struct.pack(">IIIII", 2**31, 2**32 - 1, 3, RATE, 1) + b"\0" * 100, not_one
    )
    tag = b"ID3\4\0\0\x7f\x7f\x7f\x7f"
    yield sound("MP3 with a tag of 256 MB", tag + honest["MP3"], not_one)


def flac_claiming(data: bytes, count: int) -> bytes:
    """A FLAC whose header (RFC 9639, 8.2) claims so many samples."""
    word = int.from_bytes(data[18:26], "big")
    return patched(data, 18, (word >> 36 << 36 | count).to_bytes(8, "big"))


def ogg_ending(data: bytes, position: int) -> bytes:
    """An Ogg whose last page claims this position, with the right checksum."""
    at = data.rindex(b"OggS")
    page = bytearray(data[at:])
    page[6:14], page[22:26] = position.to_bytes(8, "little"), b"\0\0\0\0"
    page[22:26] = checksum(bytes(page)).to_bytes(4, "little")
    return data[:at] + bytes(page)


def checksum(page: bytes) -> int:
    """Ogg's CRC (RFC 3533, 6)."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 2**31 else value << 1) & 0xFFFFFFFF
    return value


def samples() -> Iterator[Entry]:
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        hurt = tone()
        hurt[1000] = value
        yield sound(f"WAV with {name}", recorded("WAV", hurt, subtype="FLOAT"), "media.no_samples")
    loud = np.full(RATE, 3e38, dtype=np.float32)
    yield sound("WAV as loud as floats go", recorded("WAV", loud, subtype="FLOAT"), DECODES)
    yield sound("WAV of doubles beyond floats", wav(struct.pack("<d", 1e300) * 100, bits=64, kind=3), "media.no_samples")
    yield sound("stereo as loud as floats go", recorded("WAV", np.stack([loud, loud], 1), subtype="FLOAT"), "media.no_samples")
    yield sound("WAV of no samples", recorded("WAV", tone(0)), "media.no_samples")
    yield sound("WAV of 11 minutes", recorded("WAV", np.zeros(660 * 1000, dtype=np.float32), rate=1000), "media.too_long")


def damage(honest: dict[str, bytes]) -> Iterator[Entry]:
    flac, ogg, mp3 = honest["FLAC"], honest["OGG"], honest["MP3"]
    yield sound("FLAC with zeros in the middle", patched(flac, len(flac) // 2, b"\0" * 3000), "media.truncated")
    yield sound(
        "FLAC with noise in the middle", patched(flac, len(flac) // 2, np.random.default_rng(3).bytes(3000)), "media.truncated"
    )
    yield sound("FLAC of noise", b"fLaC" + np.random.default_rng(3).bytes(50_000), "media.not_a_sound")
    yield sound("FLAC with a picture of 16 MB by its header", flac[:42] + b"\6\xff\xff\xff" + flac[42:], "media.not_a_sound")
    yield sound("Ogg with zeros in a page", patched(ogg, len(ogg) // 2, b"\0" * 500), DECODES)
    yield sound("Ogg of noise", b"OggS\0\2" + np.random.default_rng(3).bytes(50_000), "media.not_a_sound")
    yield sound("Ogg of 20,000 empty pages", ogg[:58] + (b"OggS" + b"\0" * 23) * 20_000, "media.not_a_sound")
    yield sound("Vorbis without its tables", ogg[:58] + ogg[4000:], "media.not_a_sound")
    yield sound("MP3 of frames' headers only", b"\xff\xfb\x90\x00" * 100_000, "media.not_a_sound")
    yield sound("MP3 of noise", b"\xff\xfb\x90\x00" + np.random.default_rng(3).bytes(500_000), "media.not_a_sound")
    yield sound("MP3 with noise in the middle", patched(mp3, len(mp3) // 2, np.random.default_rng(3).bytes(1500)), DECODES)
    yield sound("MP3 of ten thousand tags", b"ID3\4\0\0\0\0\0\0" * 10_000 + mp3, "media.not_a_sound")


def by_ffmpeg() -> Iterator[Entry]:
    """Kinds that only ffmpeg reads, and what would lead it astray."""
    broken = "media.truncated"
    m4a, fast = encoded("m4a"), encoded("m4a", "-movflags", "faststart")
    adts, webm = encoded("aac"), encoded("webm", "-c:a", "libopus")
    yield sound("M4A", m4a, DECODES)
    yield sound("M4A, index first", fast, DECODES)
    yield sound("M4A of ALAC", encoded("m4a", "-c:a", "alac"), DECODES)
    yield sound("AAC", adts, DECODES)
    yield sound("WebM", webm, DECODES)
    yield sound("M4A of 20 s", encoded("m4a", seconds=20), DECODES)
    for share in (0.001, 0.5, 0.99):
        yield cut(sound("M4A", m4a, DECODES), share)
        yield cut(sound("M4A, index first", fast, DECODES), share)
    yield sound("M4A without an index", m4a[: m4a.index(b"moov") - 4], broken)
    yield sound(
        "M4A with noise for an index",
        patched(m4a, m4a.index(b"moov") + 4, np.random.default_rng(4).bytes(400)),
        "media.not_a_sound",
    )
    outer = m4a.replace(b"url \0\0\0\1", b"url \0\0\0\0")
    yield sound("M4A whose samples lie in another file", outer, DECODES)
    yield sound("MP4 without sound", film(), "media.not_a_sound")
    yield sound("AAC of noise", b"\xff\xf1\x50\x80" + np.random.default_rng(4).bytes(100_000), broken)
    yield sound("AAC with a playlist in it", b"\xff\xf1\x50\x80#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", broken)
    yield sound("WebM of noise", b"\x1a\x45\xdf\xa3" + np.random.default_rng(4).bytes(100_000), broken)
    yield sound("WebM cut at the header", webm[:60], broken)
    astray = {
        "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "SDP": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "DASH": b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>",
        "AVI": b"RIFF\x20\0\0\0AVI LIST\x10\0\0\0hdrl" + b"\0" * 20, "Flash": b"FLV\1\5\0\0\0\x09\0\0\0\0",
        "playlist": b"http://127.0.0.1/a.mp3\n", "MIDI": b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\0\0",
    }  # fmt: skip
    for name, data in astray.items():
        yield sound(name, data, "media.not_a_sound")


def film() -> bytes:
    return encoded("mp4", "-f", "lavfi", "-i", "color=red:size=64x64:duration=1", "-map", "1:v", "-c:v", "mpeg4")


def polyglots(honest: dict[str, bytes]) -> Iterator[Entry]:
    two = "media.polyglot"
    yield from (sound(f"{kind} and ZIP", data + zipped(), two) for kind, data in honest.items())
    page = b"<html><script>alert(1)</script></html>"
    yield from (sound(f"{kind} and web page", honest[kind] + page, two) for kind in ("WAV", "AIFF", "OGG"))
    yield sound("WAV and PNG", honest["WAV"] + saved(noise(), "PNG"), two)
    yield sound("WAV and tags", honest["WAV"] + b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf58.29.100\0", DECODES)
    yield sound("MP3 and an old tag", honest["MP3"] + b"TAG" + b"\0" * 125, DECODES)


def others() -> Iterator[Entry]:
    for kind in ("VOC", "MAT5", "IRCAM", "NIST", "PAF", "SVX", "XI"):
        yield sound(kind, recorded(kind, subtype="DPCM_16" if kind == "XI" else "PCM_16"), "media.not_a_sound")
    for kind in ("JPEG", "WEBP", "AVIF"):
        yield sound(f"{kind} for a sound", saved(noise(), kind), "media.not_a_sound")
    yield sound("text named .mp3", b"I am a song.\n" * 100, "media.not_a_sound")
