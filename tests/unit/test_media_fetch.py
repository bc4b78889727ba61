"""fetch: a reference from a stranger's catalogue never leads out of the catalogue's folder."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from triptych.domain import Media, Modality
from triptych.errors import MediaError
from triptych.media import fetcher
from triptych.media.fetch import check_bytes, fetch
from triptych.media.fetcher import Fetcher
from triptych.settings import Settings

pytestmark = pytest.mark.unit

LIMIT = 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A catalogue's folder; beside it lies a secret."""
    (tmp_path / "secret.txt").write_bytes(b"secret")
    folder = tmp_path / "root"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(b"picture")
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path the process opens from now on, resolved."""
    paths: list[str] = []
    really = os.open

    def watch(path: str, *args: int, **kwargs: int | None) -> int:
        paths.append(str(Path(path).resolve()))
        return really(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", watch)
    return paths


def _fetch(root: Path, reference: str, *, modality: Modality = Modality.IMAGE, most: int = LIMIT) -> bytes:
    return fetch(Media(modality, reference), root=root, most_bytes=most)


def _code(root: Path, reference: str) -> str:
    with pytest.raises(MediaError) as caught:
        _fetch(root, reference)
    return caught.value.code


@pytest.mark.parametrize("reference", ["images/a.jpg", "./images/a.jpg", "images/../images/a.jpg", "images//a.jpg"])
def test_a_file_under_the_root_is_read(root: Path, reference: str) -> None:
    assert _fetch(root, reference) == b"picture"


@pytest.mark.parametrize("name", ["ß ü.jpg", "图片.png", "a%2e.jpg", "data.bin", "c:d.jpg", "~.jpg", "$HOME.jpg"])
def test_a_name_is_taken_literally(root: Path, name: str) -> None:
    (root / name).write_bytes(b"here")
    assert _fetch(root, name) == b"here"


@pytest.mark.parametrize(
    "reference",
    [
        "../secret.txt",
        "..",
        "images/../../secret.txt",
        "a/../../secret.txt",
        "../root/../secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "",
        "images/a.jpg\0.png",
        "\0",
        "..\\secret.txt",
    ],
)
def test_a_reference_that_leads_out_is_refused_unopened(root: Path, opened: list[str], reference: str) -> None:
    assert _code(root, reference) == "media.outside_root"
    assert opened == []


def test_an_absolute_path_is_refused_even_into_the_root(root: Path) -> None:
    assert _code(root, str(root / "images" / "a.jpg")) == "media.outside_root"


def test_a_folder_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    (root.parent / "root-2").mkdir()
    (root.parent / "root-2" / "x").write_bytes(b"x")
    assert _code(root, "../root-2/x") == "media.outside_root"


def test_a_link_out_of_the_root_is_refused_unopened(root: Path, opened: list[str]) -> None:
    (root / "file").symlink_to(root.parent / "secret.txt")
    (root / "folder").symlink_to(root.parent)
    (root / "relative").symlink_to("../secret.txt")
    for reference in ("file", "folder/secret.txt", "relative"):
        assert _code(root, reference) == "media.outside_root"
    assert opened == []


def test_a_link_inside_the_root_is_followed(root: Path) -> None:
    (root / "file").symlink_to("images/a.jpg")
    (root / "folder").symlink_to(root / "images")
    assert _fetch(root, "file") == _fetch(root, "folder/a.jpg") == b"picture"


def test_a_root_that_is_a_link_itself_is_fine(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert _fetch(link, "images/a.jpg") == b"picture"


def test_links_in_a_circle_are_refused(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert _code(root, "a") == "media.outside_root"


@pytest.mark.parametrize("reference", ["images", "images/", "."])
def test_a_folder_is_not_a_file(root: Path, reference: str) -> None:
    assert _code(root, reference) == "media.not_a_file"


def test_a_folder_leaves_no_descriptor_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises((MediaError, OSError)):
            _fetch(root, "images")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.timeout(10)
def test_a_named_pipe_is_not_a_file_and_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert _code(root, "pipe") == "media.not_a_file"


def test_a_socket_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")  # a relative name: a socket's path may have 107 bytes only
        assert _code(root, "s") in {"media.not_a_file", "media.unreadable"}


@pytest.mark.parametrize("reference", ["none.jpg", "none/a.jpg"])
def test_a_missing_file(root: Path, reference: str) -> None:
    assert _code(root, reference) == "media.not_found"


def test_a_broken_link_inside_the_root_is_a_missing_file(root: Path) -> None:
    (root / "broken").symlink_to("images/none.jpg")
    assert _code(root, "broken") == "media.not_found"


def test_an_empty_file(root: Path) -> None:
    (root / "empty").touch()
    assert _code(root, "empty") == "media.empty"


@pytest.mark.parametrize("reference", ["x" * 300, "x/" * 3000 + "x", "images/a.jpg/more"])
def test_a_path_the_system_refuses_is_a_media_error(root: Path, reference: str) -> None:
    assert _code(root, reference) in {"media.unreadable", "media.not_found", "media.outside_root"}


def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(root: Path) -> None:
    (root / "just").write_bytes(b"x" * LIMIT)
    (root / "over").write_bytes(b"x" * (LIMIT + 1))
    assert len(_fetch(root, "just")) == LIMIT
    assert _code(root, "over") == "media.too_many_bytes"


def test_a_huge_file_is_refused_by_its_size_unread(root: Path) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room
    assert _code(root, "huge") == "media.too_many_bytes"


@pytest.mark.parametrize(
    "reference",
    [
        "http://example.com/a.jpg",
        "https://example.com/a.jpg",
        "HTTPS://example.com/a.jpg",
        "file:///etc/passwd",
        "s3://bucket/a.jpg",
        "data:image/png;base64,AAAA",
        "DATA:image/png;base64,AAAA",
    ],
)
def test_a_url_is_not_supported(root: Path, opened: list[str], reference: str) -> None:
    assert _code(root, reference) == "media.unsupported_reference"
    assert opened == []


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO])
def test_the_error_says_which_modality_is_at_fault(root: Path, modality: Modality) -> None:
    with pytest.raises(MediaError) as caught:
        _fetch(root, "none", modality=modality)
    assert caught.value.field == modality
    assert not caught.value.retryable


def test_a_long_reference_does_not_fill_the_message(root: Path) -> None:
    with pytest.raises(MediaError) as caught:
        _fetch(root, "data:" + "A" * 100_000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("size", "code"), [(0, "media.empty"), (11, "media.too_many_bytes")])
def test_check_bytes_refuses(size: int, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        check_bytes(size, 10, "it", "image")
    assert (caught.value.code, caught.value.field) == (code, "image")


@pytest.mark.parametrize("size", [1, 10])
def test_check_bytes_allows(size: int) -> None:
    check_bytes(size, 10, "it", "image")


STEPS = st.lists(st.sampled_from(["..", ".", "images", "a.jpg", "secret.txt", "out", "", "root"]), max_size=7)


@given(STEPS)
def test_no_path_reaches_the_secret(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_bytes(b"secret")
    inside = outside / "root"
    (inside / "images").mkdir(parents=True)
    (inside / "images" / "a.jpg").write_bytes(b"picture")
    (inside / "out").symlink_to(outside)
    reference = "/".join(steps)
    with suppress(MediaError, IsADirectoryError):  # that a folder is a MediaError has a test of its own
        assert _fetch(inside, reference) == b"picture"


@given(st.text(max_size=40))
def test_any_reference_into_nothing_is_a_media_error(tmp_path_factory: pytest.TempPathFactory, reference: str) -> None:
    assert _code(tmp_path_factory.getbasetemp() / "nothing-here", reference).startswith("media.")


def test_the_first_files_of_a_batch_are_read_once_and_what_is_embedded_is_what_was_hashed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "HELD_BYTES", 8)
    files = [Media(Modality.IMAGE, f"images/{name}.jpg") for name in "ab"]
    (root / "images" / "b.jpg").write_bytes(b"another")
    with Fetcher(Settings(), redis.Redis()).batch(root) as batch:
        digests = batch.digests(files)
        for name in "ab":
            (root / "images" / f"{name}.jpg").write_bytes(b"changed")
        assert [batch.data(one) for one in files] == [b"picture", b"changed"], "of the second there was no room"
        assert digests[files[0]] == hashlib.sha256(b"picture").hexdigest()
        assert batch.data(files[0]) == b"changed", "it is held once"
        batch.digests(files[:1])
        (root / "images" / "a.jpg").write_bytes(b"later")
        batch.digests(files[:1])
        assert batch.data(files[0]) == b"later", "what is held is what was hashed last"
