"""Which addresses, hosts, ports and buckets a stranger's URL may lead to."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from triptych.errors import MediaError
from triptych.media.remote import urls
from triptych.media.remote.addresses import refusal
from triptych.media.remote.allowed import Allowed, matches
from triptych.settings import Settings

pytestmark = pytest.mark.unit

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "64:ff9b::8.8.8.8",
]
ALWAYS_REFUSED = [
    "0.0.0.0", "169.254.169.254", "169.254.0.1", "169.254.170.2", "100.100.100.200", "168.63.129.16", "224.0.0.1",  # noqa: S104
    "239.255.255.255", "::", "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
]  # fmt: skip
PRIVATE = [
    "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.8.8.8", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "240.0.0.1", "255.255.255.255", "::1", "fc00::1", "fd12:3456::1", "fec0::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1",
    "4000::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:7f00:1::1",
    "2001:10::1",
]  # fmt: skip


def allowed(**settings: Any) -> Allowed:
    return Allowed.of(
        Settings.model_construct(**{"fetch_ports": "80,443", "fetch_hosts": None, "fetch_private": None, **settings})
    )


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_may_be_asked(text: str) -> None:
    assert refusal(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize("text", [*PRIVATE, *ALWAYS_REFUSED])
def test_any_other_address_may_not(text: str) -> None:
    assert refusal(ipaddress.ip_address(text)) is not None


@pytest.mark.parametrize("text", ALWAYS_REFUSED)
def test_some_addresses_cannot_be_allowed(text: str) -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert refusal(ipaddress.ip_address(text), everything, named=True) is not None


def test_an_operators_network_is_allowed_and_no_other() -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/16"))
    verdicts = {
        text: refusal(ipaddress.ip_address(text), networks) is None for text in ("10.1.2.3", "10.2.0.1", "fd12::1", "fd13::1")
    }
    assert verdicts == {"10.1.2.3": True, "10.2.0.1": False, "fd12::1": True, "fd13::1": False}


def test_a_mapped_address_is_judged_by_the_network_of_the_one_inside() -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"),)
    assert refusal(ipaddress.ip_address("::ffff:10.1.0.1"), networks) is None


# Hosts


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("cdn.example", "cdn.example", True),
        ("cdn.example", "a.cdn.example", False),
        ("cdn.example", "cdn.example.evil", False),
        ("*.shop.example", "a.shop.example", True),
        ("*.shop.example", "a.b.shop.example", True),
        ("*.shop.example", "shop.example", False),
        ("*.shop.example", "evilshop.example", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("*", "any.example", True),
        ("s3://pictures", "pictures", False),
    ],
)
def test_patterns_of_hosts(pattern: str, host: str, fits: bool) -> None:
    assert matches(pattern, host) is fits


def code_of(given: Allowed, url: str) -> str | None:
    try:
        given.check(urls.parse(url))
    except MediaError as error:
        return error.code
    return None


def test_nothing_is_allowed_unless_it_is_set() -> None:
    assert code_of(allowed(), "https://cdn.example/a.jpg") == "media.host_not_allowed"


def test_hosts_and_ports() -> None:
    given = allowed(fetch_hosts=" CDN.example. , *.shop.example", fetch_ports="443, 8443")
    assert code_of(given, "https://cdn.EXAMPLE./a") is None
    assert code_of(given, "https://x.shop.example:8443/a") is None
    assert code_of(given, "https://shop.example/a") == "media.host_not_allowed"
    assert code_of(given, "http://cdn.example/a") == "media.port_not_allowed"
    assert code_of(given, "https://cdn.example:22/a") == "media.port_not_allowed"
    assert code_of(given, "https://cdn.example:0/a") == "media.port_not_allowed"


def test_a_bucket_must_be_named_with_its_scheme() -> None:
    given = allowed(fetch_hosts="*, s3://pictures, gs://*.shop.example, pictures-too")
    given.check_bucket("s3", "pictures")
    given.check_bucket("gs", "a.shop.example")
    for scheme, bucket in (("s3", "other"), ("gs", "pictures"), ("s3", "pictures-too"), ("s3", "a.shop.example")):
        with pytest.raises(MediaError) as caught:
            given.check_bucket(scheme, bucket)
        assert caught.value.code == "media.host_not_allowed"
    allowed(fetch_hosts="s3://*").check_bucket("s3", "any")


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(0, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)


def test_one_bad_address_among_good_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    given, url = allowed(fetch_hosts="*"), urls.parse("https://cdn.example/")
    resolving(monkeypatch, "93.184.215.14", "10.0.0.1")
    with pytest.raises(MediaError) as caught:
        given.addresses(url)
    assert caught.value.code == "media.address_refused"
    assert not caught.value.retryable
    resolving(monkeypatch, "93.184.215.14", "93.184.215.14", "2606:4700::1111")
    assert [str(address) for address in given.addresses(url)] == ["93.184.215.14", "2606:4700::1111"]


def test_a_private_host_is_allowed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = allowed(fetch_hosts="*", fetch_private="pictures.internal")
    resolving(monkeypatch, "10.9.9.9")
    assert given.addresses(urls.parse("http://pictures.internal/a"))
    with pytest.raises(MediaError):
        given.addresses(urls.parse("http://other.internal/a"))
    resolving(monkeypatch, "169.254.169.254")
    with pytest.raises(MediaError):
        given.addresses(urls.parse("http://pictures.internal/a"))


@pytest.mark.parametrize(
    ("errno", "code", "again"),
    [(socket.EAI_NONAME, "media.host_unknown", False), (socket.EAI_AGAIN, "media.host_unreachable", True)],
)
def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, errno: int, code: str, again: bool) -> None:
    def away(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(errno, "no")

    monkeypatch.setattr(socket, "getaddrinfo", away)
    with pytest.raises(MediaError) as caught:
        allowed(fetch_hosts="*").addresses(urls.parse("http://none.example/"))
    assert (caught.value.code, caught.value.retryable) == (code, again)


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fetch_hosts", "http://cdn.example"),
        ("fetch_hosts", "cdn.example/path"),
        ("fetch_hosts", "bücher.example"),
        ("fetch_hosts", "**"),
        ("fetch_private", "10.0.0.1/8"),
        ("fetch_private", "*.internal"),
        ("fetch_private", "10.0.0.0/33"),
        ("fetch_ports", "80;443"),
        ("fetch_ports", "0"),
        ("fetch_ports", "65536"),
    ],
)
def test_a_malformed_list_is_refused_when_settings_are_read(clean_environment: object, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


def test_well_formed_lists(clean_environment: object) -> None:
    Settings(
        fetch_hosts="cdn.example,*.shop.example,*,s3://my-bucket,gs://*,::1,127.0.0.1",
        fetch_private="10.0.0.0/8,::1,pictures.internal",
    )
