"""Bytes of a catalogue: from a file, stdin or a URL, decompressed while they are read, with their faults as InputError."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import zstandard

from indexer.sources import stamps
from indexer.sources.spec import STDIN, SourceSpec
from indexer.sources.stamps import Stamp
from triptych.closing import closed_on_error
from triptych.errors import InputError, TriptychError
from triptych.media.remote.buckets import google_client

TIMEOUT_SECONDS: Final = 60.0
"""Longest silence of a server from which a catalogue is read."""

_CHUNK: Final = 1 << 16
_WINDOW_BYTES: Final = 1 << 27
"""Most memory a zstd frame or an xz block may ask for: 128 MB, what `zstd --long` needs; `xz -9` needs half of it."""
_XZ_STEP: Final = 1 << 16
_ZSTD_STEP: Final = 1 << 8
"""Bytes decompressed at once: 4 bytes can make 128 KB (RFC 8878, 3.1.1.2), so this is at most 8 MB."""

_SCHEMES: Final = {"http": "http", "https": "http", "s3": "s3", "gs": "gs"}
"""Schemes of URLs, with the extra of Triptych that brings what reads them."""

_TALKATIVE: Final = ("smart_open", "urllib3", "boto3", "botocore", "s3transfer", "google")
"""Loggers that at the level DEBUG write addresses and headers with their secrets."""


@dataclass(slots=True)
class Progress:
    """How far a source is read: bytes as they lie on disk, before they are decompressed. Once it is open: which one it is."""

    read: int = 0
    stamp: Stamp = field(default_factory=dict)


class _Watched(io.RawIOBase):
    """A stream that counts its bytes; whatever breaks in it comes out as InputError with a sentence `why` makes."""

    def __init__(self, inner: BinaryIO, shown: str, why: Callable[[Exception], str], progress: Progress | None = None) -> None:
        self._inner, self._shown, self._why, self._progress = inner, shown, why, progress
        self._some: Callable[[int], bytes] = getattr(inner, "read1", inner.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._some(min(len(buffer), _CHUNK))  # what a pipe has by now, not when it has filled a chunk
        except TriptychError:
            raise
        except Exception as error:  # noqa: BLE001  every store and every compression has errors of its own
            raise unreadable(self._shown, self._why(error)) from None  # its message may hold the address with its secrets
        buffer[: len(data)] = data
        if self._progress is not None:
            self._progress.read += len(data)
        return len(data)

    def close(self) -> None:
        if self._inner is not sys.stdin.buffer:  # it is the process's
            self._inner.close()
        super().close()


def unreadable(shown: str, why: str) -> InputError:
    """The error of a catalogue that cannot be read, or not to its end."""
    return InputError(f"The catalogue {shown} cannot be read: {why}.", code="catalogue.unreadable", field="catalogue")


Uploaded = Callable[[str], BinaryIO]
"""Opens an upload by its id."""


def _no_uploads(name: str) -> BinaryIO:
    raise unreadable(name, "uploads are kept in Elasticsearch, which is not at hand here")


def open_bytes(spec: SourceSpec, progress: Progress, uploaded: Uploaded = _no_uploads) -> BinaryIO:
    """The decompressed bytes of a catalogue, as a stream. Raises InputError here and while it is read.

    Which compression it is, is read from the first bytes, so a stream without a name is right too.
    """
    raw = io.BufferedReader(_Watched(open_file(spec, progress, uploaded), spec.shown, reason_of, progress), _CHUNK)
    with closed_on_error(raw.close):
        inner = _decompressed(raw)
    if inner is None:
        return cast("BinaryIO", raw)
    return cast(
        "BinaryIO", io.BufferedReader(_Watched(inner, spec.shown, lambda e: f"its compression is damaged ({e})"), _CHUNK)
    )


def _decompressed(raw: io.BufferedReader[Any]) -> BinaryIO | None:
    """What decompresses a stream, None where it is not compressed."""
    start = raw.peek(10)[:10]
    if start.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", _Owning(gzip.GzipFile(fileobj=raw), raw))
    if re.match(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)", start):
        return cast("BinaryIO", _Owning(bz2.BZ2File(raw), raw))
    if start.startswith(b"\xfd7zXZ\0"):
        return cast("BinaryIO", _Xz(raw))
    return _zstd(raw) if re.match(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", start) else None


class _Owning:
    """A decompressor of the standard library that closes the file it reads, which by itself it leaves open."""

    def __init__(self, inner: Any, raw: io.BufferedReader[Any]) -> None:
        self._inner, self._raw = inner, raw

    def read(self, size: int) -> bytes:
        return bytes(self._inner.read(size))

    def close(self) -> None:
        self._inner.close()
        self._raw.close()


def _zstd(raw: io.BufferedReader[Any]) -> BinaryIO:
    return cast("BinaryIO", _Zstd(raw, zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)))


class _Zstd:
    """zstd frames, read a little at a time: zstandard's own reader takes a file that was cut off for a whole one."""

    def __init__(self, raw: io.BufferedReader[Any], decompressor: Any) -> None:
        self._raw, self._decompressor = raw, decompressor
        self._frame: Any = None
        self._ready = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._ready:
            data = (self._frame.unused_data if self._frame is not None and self._frame.eof else b"") or self._raw.read(
                _ZSTD_STEP
            )
            if not data:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("it ends in the middle of a frame")
                return b""
            if self._frame is None or self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            self._ready = memoryview(self._frame.decompress(data))
        out, self._ready = self._ready[:size], self._ready[size:]
        return bytes(out)

    def close(self) -> None:
        self._raw.close()


class _Xz:
    """Streams of xz, one behind the other, read a little at a time and within a bound of memory, which LZMAFile has not.

    Zeros between them are padding (The .xz File Format 1.2.1, 2.2).
    """

    def __init__(self, raw: io.BufferedReader[Any]) -> None:
        try:
            import lzma  # noqa: PLC0415
        except ImportError as error:
            raise unreadable("", "this Python was built without xz") from error
        self._raw, self._lzma = raw, lzma
        self._stream = self._fresh()

    def _fresh(self) -> Any:
        return self._lzma.LZMADecompressor(format=self._lzma.FORMAT_XZ, memlimit=_WINDOW_BYTES)

    def read(self, size: int) -> bytes:
        while True:
            if self._stream.eof:
                data = self._stream.unused_data.lstrip(b"\0")
                while not data:
                    more = self._raw.read(_XZ_STEP)
                    if not more:
                        return b""
                    data = more.lstrip(b"\0")
                self._stream = self._fresh()
            elif self._stream.needs_input:
                data = self._raw.read(_XZ_STEP)
                if not data:
                    raise EOFError("it ends in the middle of a stream")
            else:
                data = b""
            out: bytes = self._stream.decompress(data, size)
            if out:
                return out

    def close(self) -> None:
        self._raw.close()


def needs(extra: str, package: str, what: str) -> InputError:
    """The error where an optional package is missing."""
    return InputError(
        f"{what} need the package {package}, which is not installed.",
        code="catalogue.needs_package",
        field="catalogue",
        remedy=f"pip install 'triptych[{extra}]'.",
    )


def open_file(spec: SourceSpec, progress: Progress, uploaded: Uploaded = _no_uploads) -> BinaryIO:
    """The catalogue's file as it lies there: a local one, stdin, an upload, or one behind a URL. Raises InputError.

    `progress` gets its stamp where one can be had: not of stdin, nor of an upload, which never changes, nor of gs://.
    """
    if spec.upload is not None:
        return uploaded(spec.upload)
    if spec.location == STDIN:
        return sys.stdin.buffer
    if spec.remote:
        return _open_url(spec, progress)
    try:
        file = Path(spec.location).open("rb")  # noqa: SIM115  whoever reads it closes it
        with closed_on_error(file.close):
            progress.stamp = stamps.of_file(file)
        return file
    except OSError as error:
        raise unreadable(spec.shown, str(error.strerror)) from error


def _open_url(spec: SourceSpec, progress: Progress) -> BinaryIO:
    scheme = spec.location.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise InputError(
            f"A catalogue at {scheme}:// cannot be read.",
            code="catalogue.unsupported_location",
            field="catalogue",
            remedy=f"Give a path, or a URL of {', '.join(_SCHEMES)}.",
        )
    extra = _SCHEMES[scheme]
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        import smart_open  # noqa: PLC0415

        parameters = _parameters(extra, spec)
        stream: BinaryIO = smart_open.open(spec.location, "rb", compression="disable", transport_params=parameters)
        with closed_on_error(stream.close):
            progress.stamp = _stamp(spec.location, stream, parameters)
        return stream
    except TriptychError:
        raise
    except (ImportError, NotImplementedError) as error:  # smart_open knows no scheme whose packages are missing
        raise needs(extra, "smart_open with its parts", f"Catalogues at {scheme}://") from error
    except Exception as error:  # noqa: BLE001  every store has errors of its own
        raise unreadable(spec.shown, reason_of(error)) from None  # its message may hold the address with its secrets


def _stamp(location: str, stream: Any, parameters: Mapping[str, Any]) -> Stamp:
    """The stamp of what a stream of smart_open's reads."""
    if (scheme := location.partition("://")[0].lower()) in {"s3", "gs"}:
        import smart_open  # noqa: PLC0415

        place: Any = smart_open.parse_uri(location)
        if scheme == "s3":
            return stamps.of_object(parameters["client"], place.bucket_id, place.key_id)
        return stamps.of_blob(parameters["client"], place.bucket_id, place.blob_id)
    answer = getattr(stream, "response", None)
    return stamps.of_answer(answer.headers) if answer is not None else {}


def _parameters(extra: str, spec: SourceSpec) -> dict[str, Any]:
    """What bounds the waiting for a server, and where it may send us."""
    if extra == "s3":
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"max_attempts": 3})
        return {"client": boto3.client("s3", config=config)}
    if extra == "gs":
        return {"client": google_client()}  # which has 60 s of its own
    return {"timeout": TIMEOUT_SECONDS, **({"session": _staying(spec.shown)} if spec.fixed else {})}


def _staying(shown: str) -> Any:
    """A session of HTTP that follows no redirect: only the address itself was found to be allowed."""
    import requests  # noqa: PLC0415

    def refuse(answer: requests.Response, **_: object) -> None:
        if answer.is_redirect:
            answer.close()
            raise unreadable(shown, "its server redirects, which is not followed where a catalogue was named over HTTP")

    session = requests.Session()
    session.hooks["response"].append(refuse)
    return session


def reason_of(error: Exception) -> str:
    """What went wrong without the address: an operating system's words, an HTTP status, else the kind of error."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"the server answered with HTTP {status}"
    if isinstance(error, OSError) and error.strerror and error.filename is None and "://" not in error.strerror:
        return error.strerror
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # boto's
        return f"the server answered with {answer.get('Error', {}).get('Code', 'an error')}"
    inner = error.__cause__ or error.__context__
    return type(error).__name__ if inner is None or inner is error else f"{type(error).__name__}, {type(inner).__name__}"
