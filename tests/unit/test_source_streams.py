"""Bytes of catalogues: compressed, damaged, over HTTP, from stdin; secrets of an address stay out of messages."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import logging
import lzma
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard
from source_reading import Read, bodies, codes

from indexer.sources import streams
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from indexer.sources.stamps import Stamp, differ
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

LINES = b"".join(b'{"id": "%d", "title": "%s"}\n' % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(2000))
zstd = zstandard.ZstdCompressor().compress
PACKERS: dict[str, Any] = {
    "gz": gzip.compress,
    "zst": zstd,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "two xz streams": lambda data: lzma.compress(data[:999]) + lzma.compress(data[999:]),
    "xz streams with padding": lambda data: lzma.compress(data[:999]) + bytes(8) + lzma.compress(data[999:]) + bytes(4),
    "two gz members": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
    "two zst frames": lambda data: zstd(data[:999]) + zstd(data[999:]),
    "zst with a frame to skip": lambda data: b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + zstd(b"") + zstd(data),
}


@pytest.mark.parametrize("packer", list(PACKERS.values()), ids=list(PACKERS))
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_compression_is_known_by_its_bytes_whatever_the_name(read: Read, packer: Any, name: str) -> None:
    assert "".join(raw["text"] + "\n" for raw in read(packer(LINES), name)).encode() == LINES


@pytest.mark.parametrize("packer", [gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", ["cut", "cut early", "bits"])
def test_a_damaged_file_is_an_error_after_what_could_be_read(read: Read, packer: Any, damage: str) -> None:
    data = bytearray(packer(LINES))
    if damage == "bits":
        data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    else:
        del data[-3 if damage == "cut" else 40 :]
    with pytest.raises(InputError, match="compression") as caught:
        read(bytes(data), "a.jsonl")
    assert caught.value.code == "catalogue.unreadable"


@pytest.mark.parametrize("packer", [gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_bomb_is_one_record_that_is_too_long(read: Read, packer: Any, name: str) -> None:
    header = b"id,title\n" if name == "a.csv" else b""
    data = packer(header + b"x" * 100_000_000 + b"\n" + (b"1,a\n" if header else b'{"id": "1"}\n'))
    tracemalloc.start()
    found = read(data, name)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    first = 2 if header else 1
    assert codes(found) == [(first, "record.too_long"), (first + 1, "")]
    assert most < 60_000_000


def test_a_zstd_frame_that_wants_too_much_memory_is_refused(read: Read) -> None:
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=30, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    with pytest.raises(InputError, match="compression"):
        read(compressor.compress(LINES) + compressor.flush(), "a.jsonl")


def test_an_xz_stream_that_wants_too_much_memory_is_refused(read: Read) -> None:
    wide = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 28}]
    with pytest.raises(InputError, match="compression") as caught:
        read(lzma.compress(LINES, filters=wide), "a.jsonl")
    assert caught.value.code == "catalogue.unreadable"


def test_a_file_that_is_not_there_is_an_error_at_once(tmp_path: Path, settings: Settings) -> None:
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        with pytest.raises(InputError, match="No such file") as caught:
            open_source(SourceSpec(str(tmp_path / name)), Services(settings)).records()
        assert caught.value.code == "catalogue.unreadable"


def test_stdin(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for data, form in ((b'{"id": "1"}\n', None), (b"id\n1\n", "csv"), (gzip.compress(b"id\n1\n"), "csv")):
        stdin = io.TextIOWrapper(io.BytesIO(data))
        monkeypatch.setattr(sys, "stdin", stdin)
        source = open_source(SourceSpec("-", format=form), Services(settings))  # type: ignore[arg-type]
        assert bodies(list(source.records())) == [{"id": "1"}]
        assert source.name == "stdin"
        assert not stdin.closed


# Over HTTP


class _Shop(BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}  # noqa: RUF012  set by the fixture

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.files.get(self.path.partition("?")[0])
        if data is None:
            self.send_error(403)
            return
        start, end, status = 0, len(data), 200
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) + 1, len(data)) if last else len(data), 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", f'"{zlib.crc32(data):x}"')
        self.end_headers()
        part = data[start:end]
        self.wfile.write(part[: len(part) // 2] if "cut" in self.path else part)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def shop() -> Iterator[str]:
    """The address of a server of catalogues."""
    from test_source_parquet import packed

    _Shop.files = {
        "/a.csv": b"id,title\n1,a\n",
        "/a.jsonl.gz": gzip.compress(LINES), "/a.parquet": packed({"id": ["1"]}), "/cut.jsonl": LINES,
    }  # fmt: skip
    server = HTTPServer(("127.0.0.1", 0), _Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def over_http(address: str, settings: Settings, **options: Any) -> Source:
    return open_source(SourceSpec(address, **options), Services(settings))


def test_catalogues_behind_urls(shop: str, settings: Settings) -> None:
    assert bodies(list(over_http(f"{shop}/a.csv?sign=hunter2", settings).records())) == [{"id": "1", "title": "a"}]
    assert len(list(over_http(f"{shop}/a.jsonl.gz", settings).records())) == 2000
    assert bodies(list(over_http(f"{shop}/a.parquet", settings).records())) == [{"id": "1"}]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_catalogue_that_was_changed_behind_its_url_is_noticed(shop: str, settings: Settings, name: str) -> None:
    from test_source_parquet import packed

    def stamp() -> Stamp:
        source = over_http(f"{shop}/{name}", settings)
        list(source.records())
        return source.progress.stamp

    first = stamp()
    assert first["etag"]
    assert not differ(first, stamp())
    _Shop.files |= {"/a.csv": b"id,title\n2,a\n", "/a.parquet": packed({"id": ["2"]})}
    assert differ(first, stamp())


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet"])
def test_redirects_are_followed_unless_only_the_address_itself_is_allowed(shop: str, settings: Settings, name: str) -> None:
    assert list(over_http(f"{shop}/moved/{name}", settings).records())
    assert list(over_http(f"{shop}/{name}", settings, fixed=True).records())
    with pytest.raises(InputError, match="redirects") as caught:
        list(over_http(f"{shop}/moved/{name}?sign=hunter2", settings, fixed=True).records())
    assert caught.value.code == "catalogue.unreadable"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["/none.csv", "/none.jsonl", "/none.parquet", "/cut.jsonl"])
def test_messages_of_a_server_that_fails_have_no_secrets(shop: str, settings: Settings, path: str) -> None:
    with pytest.raises(InputError) as caught:
        list(over_http(f"{shop}{path}?sign=hunter2", settings).records())
    assert caught.value.code == "catalogue.unreadable"
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "403" in str(caught.value) or "cut" in path


def test_logs_have_no_secrets(
    shop: str, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    address = shop.replace("http://", "http://anna:hunter2@")
    assert bodies(list(over_http(f"{address}/a.csv?sign=hunter2", settings).records())) == [{"id": "1", "title": "a"}]
    assert "hunter2" not in caplog.text


def test_a_server_that_is_not_there(settings: Settings) -> None:
    with pytest.raises(InputError, match="ConnectionError") as caught:
        over_http("http://127.0.0.1:9/a.csv?sign=hunter2", settings).records()
    assert "hunter2" not in str(caught.value)


def test_a_server_that_says_nothing_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(streams, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InputError, match="Timeout"):
        over_http(f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv", settings).records()


@pytest.mark.parametrize("scheme", ["ftp", "file", "javascript"])
def test_other_schemes_are_refused(settings: Settings, scheme: str) -> None:
    with pytest.raises(InputError, match="s3") as caught:
        over_http(f"{scheme}://x/a.csv", settings).records()
    assert caught.value.code == "catalogue.unsupported_location"


def test_a_store_whose_package_is_missing_says_which_extra_brings_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "smart_open", None)
    for scheme, extra in (("https", "http"), ("s3", "s3"), ("gs", "gs")):
        with pytest.raises(InputError, match=f"triptych\\[{extra}\\]"):
            over_http(f"{scheme}://x/a.csv", settings).records()


def test_s3(shop: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _Shop.files["/bucket/a.csv"] = b"id,title\n1,a\n"
    for name, value in {"AWS_ENDPOINT_URL": shop, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    source = over_http("s3://bucket/a.csv", settings)
    assert bodies(list(source.records())) == [{"id": "1", "title": "a"}]
    assert source.progress.stamp["etag"]
    with pytest.raises(InputError, match="s3://bucket/none\\.csv cannot be read"):
        list(over_http("s3://bucket/none.csv", settings).records())
