"""What a profile's `model` means, where it is found on this machine, and the digest of its files."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from triptych.encoders import models, packages, store
from triptych.encoders.models import Model
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as sentence-transformers write it; its bytes are of nothing."""
    folder = tmp_path / "tiny"
    for name in ("1_Pooling", "2_Dense"):
        (folder / name).mkdir(parents=True)
    for name in (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "spiece.model",
        "chat.jinja",
        "modules.json",
    ):
        (folder / name).write_bytes(f"{name} 1".encode())
    (folder / "1_Pooling" / "config.json").write_bytes(b"pooling 1")
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"dense 1")
    return folder


def at(path: Path) -> Model:
    return models.model_of(str(path))


# What a reference means


@pytest.mark.parametrize(
    ("reference", "kind", "name", "revision"),
    [
        *((name, "package", name, None) for name in packages.PACKAGES),
        ("torchvision:resnet50", "torchvision", "resnet50", None),
        ("google/siglip2-base-patch16-224", "hub", "siglip2-base-patch16-224", None),
        ("intfloat/multilingual-e5-small@v1.0", "hub", "multilingual-e5-small", "v1.0"),
        ("a/b@0123456789abcdef", "hub", "b", "0123456789abcdef"),
        ("./my-model", "path", "my-model", None),
        ("../my-model", "path", "my-model", None),
        ("/srv/models/clip", "path", "clip", None),
        ("./nets/resnet.safetensors", "path", "resnet.safetensors", None),
        ("~/clip", "path", "clip", None),
    ],
)
def test_a_reference_is_a_package_a_network_of_torchvision_a_path_or_a_hub_name(
    reference: str, kind: str, name: str, revision: str | None
) -> None:
    model = models.model_of(reference)
    assert (model.reference, model.kind, model.name, model.revision) == (reference, kind, name, revision)
    assert (model.path is not None) is (kind == "path")


@pytest.mark.parametrize(
    "reference",
    [
        "", "multilingual-e5-smal", "my model", "torchvision:", "torchvision:../x", "torchvision:a b", "hub:a/b", "a/b/c",
        "a/b@", "a/b@x/y", "a/", "https://example.org/x", "~no-such-user-here/clip",
    ],
)  # fmt: skip
def test_what_names_no_model_is_refused_and_the_forms_are_told(reference: str) -> None:
    with pytest.raises(EncoderError) as caught:
        models.model_of(reference)
    assert (caught.value.code, caught.value.field) == ("encoder.bad_model", "model")
    assert caught.value.remedy


@pytest.mark.parametrize(("reference", "place"), [("./m", "home/m"), ("../m", "m"), ("./a/../b", "home/b")])
def test_a_path_is_relative_to_the_profiles_folder(tmp_path: Path, reference: str, place: str) -> None:
    assert models.model_of(reference, tmp_path / "home").path == tmp_path / place


def test_a_path_from_the_root_or_from_home_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.model_of("/srv/clip", tmp_path).path == Path("/srv/clip").resolve()
    assert models.model_of("~/clip", Path("/elsewhere")).path == tmp_path / "clip"


# Paths


def test_a_folder_with_weights_and_a_file_of_weights_are_found(folder: Path, settings: Settings) -> None:
    for path in (folder, folder / "model.safetensors"):
        assert models.find(at(path), settings) == path
        assert models.is_there(at(path), settings)


@pytest.mark.parametrize(
    "name", ["none", "empty", "pickled", "text.txt", "weights.bin", "folder.safetensors", "none.safetensors"]
)
def test_a_path_without_safe_weights_is_refused_with_what_to_give(tmp_path: Path, settings: Settings, name: str) -> None:
    for made in ("empty", "pickled", "folder.safetensors"):
        (tmp_path / made).mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").touch()
    (tmp_path / "text.txt").touch()
    (tmp_path / "weights.bin").touch()
    with pytest.raises(EncoderError) as caught:
        models.find(at(tmp_path / name), settings)
    assert (caught.value.code, caught.value.field) == ("encoder.not_prepared", "model")
    assert name in caught.value.message
    assert "safetensors" in str(caught.value.remedy)
    assert not models.is_there(at(tmp_path / name), settings)


def test_word_vectors_in_a_text_file_are_found(tmp_path: Path, settings: Settings) -> None:
    """The family word_vectors reads word2vec's and fastText's text format (.vec)."""
    (tmp_path / "words.vec").write_text("1 2\nhat 0.5 0.5\n", encoding="utf-8")
    assert models.find(at(tmp_path / "words.vec"), settings) == tmp_path / "words.vec"


# What is prepared here


@pytest.mark.parametrize("reference", ["multilingual-e5-small", "torchvision:resnet50"])
def test_what_prepare_makes_is_found_once_it_is_made(settings: Settings, reference: str) -> None:
    model = models.model_of(reference)
    with pytest.raises(EncoderError, match="triptych encoders prepare") as caught:
        models.find(model, settings)
    assert caught.value.code == "encoder.not_prepared"
    settings.encoders_dir.mkdir(parents=True)
    place = settings.encoders_dir / models.folder_of(model)
    store.build(place, models.recipe_of(model), lambda target: (target / models.WEIGHTS).touch())
    assert models.find(model, settings) == place


def test_the_digest_of_a_package_is_known_before_it_is_prepared(settings: Settings) -> None:
    digests = {models.digest_of(models.model_of(name), settings) for name in packages.PACKAGES}
    assert len(digests) == len(packages.PACKAGES)
    assert all(len(digest) == 64 for digest in digests)


# The hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's, and no network."""
    from huggingface_hub import constants

    def refuse(*_: object) -> None:
        pytest.fail("the network was asked")

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return cache


def _cached(hub: Path, commit: str, *files: str, ref: str = "main") -> Path:
    """A snapshot of acme/tiny, as the hub's client keeps it."""
    home = hub / "models--acme--tiny"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / ref).write_text(commit)
    for name in files:
        (snapshot / name).write_text(name)
    return snapshot


@pytest.mark.parametrize("reference", ["acme/tiny", "acme/tiny@v2"])
def test_a_hub_model_that_is_not_here_is_told_with_the_command_that_fetches_it(
    hub: Path, settings: Settings, reference: str
) -> None:
    _cached(hub, "a" * 40, "model.safetensors", ref="v1")
    with pytest.raises(EncoderError) as caught:
        models.find(models.model_of(reference), settings)
    assert (caught.value.code, caught.value.field) == ("encoder.not_prepared", "model")
    assert "acme/tiny" in caught.value.message
    assert "triptych encoders prepare" in str(caught.value.remedy)


def test_a_hub_model_is_found_in_the_hubs_cache_by_its_revision(hub: Path, settings: Settings) -> None:
    newest = _cached(hub, "a" * 40, "model.safetensors", "config.json")
    older = _cached(hub, "b" * 40, "model.safetensors", ref="v1")
    assert models.find(models.model_of("acme/tiny"), settings) == newest
    assert models.find(models.model_of("acme/tiny@v1"), settings) == older
    assert models.find(models.model_of("acme/tiny@" + "b" * 40), settings) == older


def test_a_hub_model_of_pickles_only_is_refused(hub: Path, settings: Settings) -> None:
    _cached(hub, "a" * 40, "pytorch_model.bin", "config.json")
    with pytest.raises(EncoderError, match="pickled") as caught:
        models.find(models.model_of("acme/tiny"), settings)
    assert caught.value.code == "encoder.not_prepared"


def test_the_digest_does_not_depend_on_the_revisions_name(hub: Path, settings: Settings) -> None:
    for number, ref in enumerate(("main", "v1")):
        _cached(hub, str(number) * 40, "model.safetensors", ref=ref)
    digests = {models.digest_of(models.model_of(name), settings) for name in ("acme/tiny", "acme/tiny@v1")}
    assert len(digests) == 1


# The digest of a folder


def _touched(path: Path, data: bytes) -> None:
    """Write, and let it be seen even where the clock of files is slow."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18 + len(data) + sum(data)))


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "spiece.model", "chat.jinja", "modules.json",
        "1_Pooling/config.json", "2_Dense/model.safetensors", "second.safetensors", "modeling.py",
    ],
)  # fmt: skip
def test_the_digest_changes_with_any_byte_that_makes_vectors(folder: Path, settings: Settings, name: str) -> None:
    _touched(folder / name, b"content 1")
    before = models.digest_of(at(folder), settings)
    _touched(folder / name, b"content 2")
    assert models.digest_of(at(folder), settings) != before


@pytest.mark.parametrize("name", ["README.md", "pytorch_model.bin", ".gitattributes", "picture.png"])
def test_the_digest_does_not_change_with_what_nobody_reads(folder: Path, settings: Settings, name: str) -> None:
    before = models.digest_of(at(folder), settings)
    _touched(folder / name, b"more")
    assert models.digest_of(at(folder), settings) == before


def test_the_digest_does_not_depend_on_where_the_files_lie(folder: Path, settings: Settings, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "other-name")
    assert models.digest_of(at(copy), settings) == models.digest_of(at(folder), settings)


def test_the_digest_changes_when_two_files_change_places(folder: Path, settings: Settings) -> None:
    before = models.digest_of(at(folder), settings)
    one, other = (folder / "config.json").read_bytes(), (folder / "tokenizer.json").read_bytes()
    _touched(folder / "config.json", other)
    _touched(folder / "tokenizer.json", one)
    assert models.digest_of(at(folder), settings) != before


def test_the_digest_of_a_file_of_weights_does_not_depend_on_its_name(tmp_path: Path, settings: Settings) -> None:
    for name, data in (("a.safetensors", b"1"), ("b.safetensors", b"1"), ("c.safetensors", b"2")):
        (tmp_path / name).write_bytes(data)
    one, same, other = (models.digest_of(at(tmp_path / f"{name}.safetensors"), settings) for name in "abc")
    assert one == same != other


# Its memory


def _refuse(*_: Path) -> str:
    pytest.fail("the weights were read again")


def test_a_digest_is_remembered(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = models.digest_of(at(folder), settings)
    monkeypatch.setattr(models, "sha256_of", _refuse)
    assert models.digest_of(at(folder), settings) == first


def test_only_what_changed_is_read_again(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    models.digest_of(at(folder), settings)
    read: list[str] = []
    monkeypatch.setattr(models, "sha256_of", lambda path: read.append(path.name) or "0" * 64)
    _touched(folder / "config.json", b"config.json 2")
    models.digest_of(at(folder), settings)
    assert read == ["config.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b'{"x": 5}'])
def test_a_damaged_memory_does_no_harm(folder: Path, settings: Settings, content: bytes) -> None:
    before = models.digest_of(at(folder), settings)
    (settings.encoders_dir / ".digests.json").write_bytes(content)
    assert models.digest_of(at(folder), settings) == before
    assert json.loads((settings.encoders_dir / ".digests.json").read_text())


@pytest.mark.parametrize("value", [None, "", 5, [], "not a hash"])
def test_what_is_no_hash_is_not_believed(folder: Path, settings: Settings, value: object) -> None:
    before = models.digest_of(at(folder), settings)
    memory = settings.encoders_dir / ".digests.json"
    memory.write_text(json.dumps(dict.fromkeys(json.loads(memory.read_text()), value)))
    assert models.digest_of(at(folder), settings) == before


def test_a_memory_that_cannot_be_written_does_no_harm(folder: Path, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").touch()
    blocked = settings.model_copy(update={"data_dir": tmp_path / "file"})
    assert models.digest_of(at(folder), blocked) == models.digest_of(at(folder), settings)


def test_the_memory_leaves_no_scratch(folder: Path, settings: Settings) -> None:
    models.digest_of(at(folder), settings)
    assert [path.name for path in settings.encoders_dir.iterdir()] == [".digests.json"]
