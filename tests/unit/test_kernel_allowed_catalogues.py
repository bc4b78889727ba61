"""Which catalogues may be named over HTTP: the same scheme, host, port and bucket, and a path that begins the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from triptych.allowed_catalogues import may_be_named
from triptych.catalogues import shown

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("beginnings", "location"),
    [
        ("https://feeds.example", "https://feeds.example/a.csv"),
        ("https://feeds.example/", "https://feeds.example"),
        ("https://feeds.example/", "HTTPS://Feeds.Example:443/a.csv?X-Amz-Signature=1#x"),
        ("https://feeds.example:8443/", "https://feeds.example:8443/a.csv"),
        ("https://feeds.example/public/", "https://feeds.example/public/a..b.csv"),
        ("https://feeds.example/public/shop-", "https://feeds.example/public/shop-1/a.csv"),
        ("https://feeds.example/public/", "https://feeds.example/p%75blic/a%20b.csv"),
        ("https://feeds.example/a%2Fb/", "https://feeds.example/a%2fb/c.csv"),
        ("https://feeds.example/get?file=", "https://feeds.example/get?file=a.csv"),
        ("https://feeds.example/get", "https://feeds.example/get?file=../a.csv"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/a.csv"),
        ("http://[::1]/", "http://[::1]/a.csv"),
        ("s3://feeds", "s3://feeds/a.csv"),
        ("s3://feeds/", "S3://feeds/a b?c.csv"),
        ("s3://feeds/shop/2", "s3://feeds/shop/2026/a.csv"),
        ("gs://feeds/", "gs://feeds/a.csv"),
        ("elasticsearch:feeds-", "elasticsearch:feeds-a"),
        ("elasticsearch:feeds-", "es://feeds-a.b_c"),
        ("es://", "elasticsearch:feeds"),
        ("/catalogues/", "/catalogues/a/b.csv"),
        ("/catalogues/shop-", "/catalogues/shop-a..b.csv"),
        ("/catalogues", "/catalogues/a.csv"),
        (" /none/ , ,s3://feeds/ ", "s3://feeds/a.csv"),
    ],
)
def test_what_begins_the_same_may_be_named(beginnings: str, location: str) -> None:
    assert may_be_named(location, beginnings)


@pytest.mark.parametrize("beginnings", [None, "", ",", " "])
@pytest.mark.parametrize(
    "location", ["/a.csv", "a.csv", "https://feeds.example/a.csv", "elasticsearch:a", "upload:0a/a.csv", "-"]
)
def test_nothing_may_be_named_by_default(beginnings: str | None, location: str) -> None:
    assert not may_be_named(location, beginnings)


@pytest.mark.parametrize(
    ("beginnings", "location"),
    [
        # another host, another port, another scheme
        ("https://feeds.example", "https://feeds.example@169.254.169.254/"),
        ("https://feeds.example", "https://feeds.example.evil/"),
        ("https://feeds.example", "https://feeds.example:8443/a.csv"),
        ("https://feeds.example/", "http://feeds.example/a.csv"),
        ("https://feeds.example", "https://feeds.example:x@evil.example/a.csv"),
        ("https://feeds.example/", "https://anna:hunter2@feeds.example/a.csv"),
        ("https://feeds.example/", "https://feeds.example\\@evil.example/"),
        ("https://feeds.example/", "https://evil.example\\.feeds.example/"),
        ("https://feeds.example/", "https://feeds.example%2f.evil.example/"),
        ("https://feeds.example/", "https://feeds.example\t.evil.example/"),
        ("https://feeds.example/", "https:feeds.example/a.csv"),
        ("https://feeds.example/", "https:///feeds.example/a.csv"),
        ("https://feeds.example/", " https://feeds.example/a.csv"),
        ("https://feeds.example/", "https://feeds.example/a.csv\n"),
        ("http://127.0.0.1/", "http://2130706433/"),
        ("https://", "https://feeds.example/a.csv"),
        ("h", "https://feeds.example/a.csv"),
        # another path
        ("https://feeds.example/public/", "https://feeds.example/private/a.csv"),
        ("https://feeds.example/public/", "https://feeds.example/public/%2e%2e/private"),
        ("https://feeds.example/public/", "https://feeds.example/public/%252e%252e/private"),
        ("https://feeds.example/public/", "https://feeds.example/public/..%2fprivate"),
        ("https://feeds.example/public/", "https://feeds.example/public/..%5Cprivate"),
        ("https://feeds.example/public/", "https://feeds.example/public/..;/private"),
        ("https://feeds.example/public/", "https://feeds.example/public/.%2e/private"),
        ("https://feeds.example/public/", "https://feeds.example/private/../public/a.csv"),
        ("https://feeds.example/public/", "https://feeds.example/public%2fa.csv"),
        ("https://feeds.example/public/", "https://feeds.example//public/a.csv"),
        ("https://feeds.example/public/", "https://feeds.example/?/public/"),
        ("https://feeds.example/get?file=", "https://feeds.example/get?path=a.csv"),
        ("https://feeds.example/get?file=", "https://feeds.example/get/more?file=a.csv"),
        ("https://feeds.example/get?file=", "https://feeds.example/get"),
        # buckets
        ("s3://feeds", "s3://feeds-private/a.csv"),
        ("s3://feeds", "s3://feeds.private/a.csv"),
        ("s3://feeds/", "gs://feeds/a.csv"),
        ("s3://feeds/", "s3://key:secret@feeds/a.csv"),
        ("s3://feeds", "s3://feeds:x/y@private/a.csv"),
        ("s3://feeds", "s3://feeds#x/a.csv"),
        ("s3://feeds/public/", "s3://feeds/public/../private/a.csv"),
        ("s3://feeds/public/", "s3://feeds/publi"),
        ("gs://feeds/public/", "gs://feeds//private/a.csv"),
        ("s3://feeds/", "s3:/feeds/a.csv"),
        # indices
        ("elasticsearch:feeds-", "elasticsearch:feeds-a,triptych-keys"),
        ("elasticsearch:feeds-", "elasticsearch:feeds-*"),
        ("elasticsearch:feeds-", "elasticsearch:feeds-a,*"),
        ("elasticsearch:feeds-", "elasticsearch:feeds-a,-feeds-b"),
        ("elasticsearch:", "elasticsearch:-feeds"),
        ("elasticsearch:", "elasticsearch:_all"),
        ("elasticsearch:", "elasticsearch:other:feeds"),
        ("elasticsearch:", "elasticsearch:<feeds-{now/d}>"),
        ("elasticsearch:", "elasticsearch:%3Cfeeds-%7Bnow%2Fd%7D%3E"),
        ("elasticsearch:", "elasticsearch:feeds/_search"),
        ("elasticsearch:", "elasticsearch:feeds?x"),
        ("elasticsearch:", "elasticsearch:feeds, b"),
        ("elasticsearch:", "elasticsearch:"),
        ("elasticsearch:feeds", "elasticsearch:feed"),
        # files, and what is none
        ("/catalogues/", "/etc/passwd"),
        ("/catalogues/", "/catalogues/../etc/passwd"),
        ("/catalogues/", "/catalogues/./a.csv"),
        ("/catalogues/", "//catalogues/a.csv"),
        ("/catalogues/", "/catalogues/a\0.csv"),
        ("/catalogues/", "/catalogues"),
        ("/catalogues/", "file:///catalogues/a.csv"),
        ("/", "ftp://feeds.example/a.csv"),
        ("ftp://feeds.example/", "ftp://feeds.example/a.csv"),
        ("upload:", "upload:0a/a.csv"),
        ("-", "-"),
    ],
)
def test_what_only_looks_like_it_may_not_be_named(beginnings: str, location: str) -> None:
    assert not may_be_named(location, beginnings)


def test_links_do_not_lead_a_file_out_of_the_folder(tmp_path: Path) -> None:
    folder, other = tmp_path / "catalogues", tmp_path / "other"
    for one in (folder, other):
        one.mkdir()
        (one / "a.csv").touch()
    (folder / "out.csv").symlink_to(other / "a.csv")
    (folder / "out").symlink_to(other)
    (folder / "in.csv").symlink_to(folder / "a.csv")
    (tmp_path / "linked").symlink_to(folder)
    for beginning in (f"{folder}/", str(folder)):
        assert may_be_named(f"{folder}/a.csv", beginning)
        assert may_be_named(f"{folder}/in.csv", beginning)
        assert may_be_named(f"{folder}/not-yet.csv", beginning)
        assert not may_be_named(f"{folder}/out.csv", beginning)
        assert not may_be_named(f"{folder}/out/a.csv", beginning)
    for beginning in (f"{tmp_path}/linked/", f"{tmp_path}/linked"):
        assert may_be_named(f"{tmp_path}/linked/a.csv", beginning)
        assert not may_be_named(f"{tmp_path}/linked/out.csv", beginning)
    assert may_be_named(f"{folder}/a.csv", f"{folder}/a")
    assert not may_be_named(f"{folder}/in.csv", f"{folder}/i")


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/catalogues/a?b.csv", "/catalogues/a?b.csv"),
        ("elasticsearch:shop", "elasticsearch:shop"),
        ("es://shop", "es://shop"),
        ("upload:0a/a.csv", "upload:0a/a.csv"),
        ("https://feeds.example/a.csv", "https://feeds.example/a.csv"),
        ("https://anna:hunter2@feeds.example/a.csv?X-Amz-Signature=hunter2#hunter2", "https://feeds.example/a.csv"),
        ("s3://key:hunter2@feeds/a.csv", "s3://feeds/a.csv"),
        ("s3://key:hun/ter2@feeds/a.csv", "s3://feeds/a.csv"),
        ("s3://feeds/a@b.csv", "s3://feeds/a@b.csv"),
        ("https://[hunter2/a.csv", "https://..."),
    ],
)
def test_an_address_is_shown_without_secrets(location: str, found: str) -> None:
    assert shown(location) == found
