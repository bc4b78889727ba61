"""References that are URLs or `data:` URIs, as hostile as they come."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.records import parse as parse_record
from triptych.domain import Media, Modality, Product
from triptych.errors import MediaError
from triptych.media.data_uri import decode_data_uri, is_data_uri
from triptych.media.remote.urls import parse, scheme_of

pytestmark = pytest.mark.unit


def code_of(text: str) -> str:
    with pytest.raises(MediaError) as caught:
        parse(text)
    assert len(str(caught.value)) < 1000
    return caught.value.code


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://cdn.example", "cdn.example", 80, "/"),
        ("HTTPS://CDN.Example./a/b.jpg?w=1#top", "cdn.example", 443, "/a/b.jpg?w=1"),
        ("https://cdn.example:8443/a", "cdn.example", 8443, "/a"),
        ("https://bücher.example/ü x.jpg", "xn--bcher-kva.example", 443, "/%C3%BC%20x.jpg"),
        ("https://cdn.example/a/../b", "cdn.example", 443, "/b"),
        ("http://[2606:4700::1111]:80/", "2606:4700::1111", 80, "/"),
        ("http://1.2.3.4/", "1.2.3.4", 80, "/"),
        ("http://a_b.example/", "a_b.example", 80, "/"),
        ("http://127.0.0.1.example/", "127.0.0.1.example", 80, "/"),
        ("http://cdn.example?x", "cdn.example", 80, "/?x"),
        ("http://localhost./", "localhost", 80, "/"),
    ],
)
def test_a_url_is_taken_apart(text: str, host: str, port: int, target: str) -> None:
    url = parse(text)
    assert (url.host, url.port, url.target) == (host, port, target)


@pytest.mark.parametrize(
    "text",
    [
        "http://2130706433/", "http://0x7f.1/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.0.1./",
        "http://127.0.0.01/", "http://0/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://0x/",
        "http://１２７.0.0.1/", "http://①②⑦.0.0.1/", "http://%31%32%37.0.0.1/", "http://127。0。0。1/",
    ],
)  # fmt: skip
def test_an_address_in_disguise_is_no_host(text: str) -> None:
    try:
        url = parse(text)
    except MediaError as error:
        assert error.code == "media.bad_url"  # noqa: PT017  either is fine
    else:
        assert url.host == "127.0.0.1"  # judged as the address it is


@pytest.mark.parametrize(
    "text",
    [
        "http://", "http:///a", "https://:443/", "http://user@cdn.example/", "http://user:pass@cdn.example/", "http://:@cdn.example/",
        "http://good.example@evil.example/", "http://good.example\\@evil.example/", "http://cdn.example:99999/", "http://cdn.example:a/",
        "http://cdn.example\r\nX: y/", "http://cdn.example/\n", "http://cdn.example/\t", "http://cdn.example/\0", "http://[::1/",
        "http://[fe80::1%25eth0]/", "http://[::1]evil.example/", "http://-a.example/", "http://a-.example/", "http://a..example/",
        "http://" + "a" * 64 + ".example/", "http://" + "a." * 200 + "example/", "http://cdn example/", "http://*.example/",
    ],
)  # fmt: skip
def test_a_malformed_url_is_refused(text: str) -> None:
    assert code_of(text) == "media.bad_url"


@pytest.mark.parametrize("text", ["ftp://a/b", "file:///etc/passwd", "gopher://a/", "images/a.jpg", "javascript://a"])
def test_another_scheme_is_not_supported(text: str) -> None:
    assert code_of(text) == "media.unsupported_reference"


def test_credentials_are_not_repeated() -> None:
    with pytest.raises(MediaError) as caught:
        parse("http://user:hunter2@cdn.example/")
    assert "hunter2" not in str(caught.value)


def test_the_query_is_no_business_of_messages() -> None:
    url = parse("https://cdn.example/a.jpg?signature=secret")
    assert url.place == "https://cdn.example/a.jpg"
    assert str(url) == "https://cdn.example/a.jpg?signature=secret"


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://cdn.example:80/", "cdn.example"),
        ("https://cdn.example:80/", "cdn.example:80"),
        ("http://[2606:4700::1111]/", "[2606:4700::1111]"),
    ],
)
def test_the_host_header(text: str, authority: str) -> None:
    assert parse(text).authority == authority


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_media_error(text: str) -> None:
    for reference in (text, "http://" + text):
        try:
            url = parse(reference)
        except MediaError as error:
            assert error.code in {"media.bad_url", "media.unsupported_reference"}  # noqa: PT017
        else:
            assert url.host.isascii()
            assert url.target.isascii()
            assert url.target.startswith("/")


@pytest.mark.parametrize(("text", "scheme"), [("S3://b/k", "s3"), ("c:d.jpg", None), ("a/http://b", None), ("data:,x", None)])
def test_schemes(text: str, scheme: str | None) -> None:
    assert scheme_of(text) == scheme


# Media that stand in the reference


@pytest.mark.parametrize(
    ("reference", "data"),
    [
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        ("DATA:;BASE64,aGVsbG8", b"hello"),
        ("data:;base64,aGVs%0AbG8%3D", b"hello"),
        ("data:,hello%20%ff,x", b"hello \xff,x"),
        ("data:text/plain;charset=utf-8,%e7%ba%a2", "红".encode()),
    ],
)
def test_a_data_uri(reference: str, data: bytes) -> None:
    assert is_data_uri(reference)
    assert decode_data_uri(reference, most_bytes=100) == data


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("data:image/png;base64", "media.bad_data_uri"),
        ("data:;base64,a*b=", "media.bad_data_uri"),
        ("data:;base64,aGVsbG8_", "media.bad_data_uri"),
        ("data:;base64,a", "media.bad_data_uri"),
        ("data:,", "media.empty"),
        ("data:;base64,====", "media.bad_data_uri"),
        ("data:," + "x" * 101, "media.too_many_bytes"),
        ("data:," + "x" * 1000, "media.too_many_bytes"),
        ("data:;base64," + base64.b64encode(b"x" * 101).decode(), "media.too_many_bytes"),
    ],
)
def test_a_bad_data_uri(reference: str, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        decode_data_uri(reference, most_bytes=100)
    assert caught.value.code == code


@given(st.binary(min_size=1, max_size=200))
def test_bytes_come_back(data: bytes) -> None:
    assert decode_data_uri("data:;base64," + base64.b64encode(data).decode(), most_bytes=200) == data


def record(path: str) -> object:
    import json

    return parse_record({"line": 1, "text": json.dumps({"id": "a", "images": [path]})})


def test_a_data_uri_may_be_longer_than_a_path() -> None:
    product = record("data:;base64," + "A" * 10_000)
    assert isinstance(product, Product)
    assert len(product.media[0].reference) > 10_000
    assert len(product.media[0].name) < 100
    assert not isinstance(record("images/" + "A" * 10_000), Product)
    assert not isinstance(record("https://cdn.example/" + "A" * 10_000), Product)


def test_long_references_keep_different_names() -> None:
    one, other = (Media(Modality.IMAGE, "data:image/png;base64," + "A" * 9000 + end) for end in "AB")
    assert one.name != other.name
    assert Media(Modality.IMAGE, "images/a.jpg").name == "images/a.jpg"
