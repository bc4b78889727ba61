"""Profiles by name and by path, those that come with Triptych, and the families that plug-ins bring."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from toys import LETTERS, profile_of, space_text

from triptych.domain import Modality
from triptych.encoders import profiles
from triptych.encoders.base import Family
from triptych.errors import ProfileError

pytestmark = pytest.mark.unit

MINE = f"description: mine\ncost: nothing\nspaces:\n{space_text()}"


# Those that come with Triptych


def test_the_built_in_profiles_have_names() -> None:
    assert {"offline", "light", "unified"} <= set(profiles.built_in())
    assert profiles.built_in() == sorted(profiles.built_in())


@pytest.mark.parametrize("name", profiles.built_in())
def test_a_built_in_profile_is_whole(name: str) -> None:
    profile = profiles.read(name)
    assert (profile.name, profile.folder) == (name, None)
    assert profile.description
    assert profile.cost
    assert all(entry.licence for entry in profile.spaces.values())
    assert profile.text.startswith("#")


def test_the_default_profile_has_its_spaces_in_order() -> None:
    profile = profiles.read("offline")
    assert list(profile.spaces) == ["text", "image", "image_words", "audio"]
    assert profile.speech is not None


@pytest.mark.parametrize(
    ("name", "spaces"),
    [
        ("offline", {"text": {"text"}, "image": {"image"}, "image_words": {"text"}, "audio": {"audio"}}),
        ("light", {"text": {"text"}, "image": {"text", "image"}, "audio": {"text", "audio"}}),
        ("unified", {space: {"text", "image", "audio"} for space in ("text", "image", "audio")}),
    ],
)
def test_what_searches_each_space_of_a_built_in_profile(name: str, spaces: dict[str, set[str]]) -> None:
    profile = profiles.read(name)
    assert {space: set(map(str, entry.queries)) for space, entry in profile.spaces.items()} == spaces


# A user's own


@pytest.mark.usefixtures("toy_families")
def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, encoding="utf-8")
    profile = profiles.read(str(path))
    assert (profile.name, profile.folder, profile.text) == (str(path), tmp_path, MINE)
    assert profile.families == {"text": LETTERS}
    assert profile.spaces["text"].documents is Modality.TEXT


@pytest.mark.usefixtures("toy_families")
@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "mine.txt", "mine"])
def test_a_path_may_be_relative_and_have_any_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert profiles.read(name).folder == tmp_path


@pytest.mark.usefixtures("toy_families")
def test_a_file_may_begin_with_a_byte_order_mark_and_have_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINE.replace("\n", "\r\n").encode())
    assert list(profiles.read(str(path)).spaces) == ["text"]


@pytest.mark.usefixtures("toy_families")
def test_options_are_of_the_familys_own_type_with_its_defaults() -> None:
    spaces = space_text() + space_text("other", more="options: {shift: 3}\nlabel: other")
    options = profile_of(spaces).options
    assert (options["text"], options["other"]) == (LETTERS.options(), LETTERS.options.model_validate({"shift": 3}))


@pytest.mark.usefixtures("toy_families")
def test_a_space_comes_after_those_it_is_made_over() -> None:
    spaces = space_text("carried", "carried", more="over: {words: text}\nlabel: carried") + space_text()
    profile = profile_of(spaces)
    assert list(profile.families) == ["text", "carried"]
    assert list(profile.spaces) == ["carried", "text"]


@pytest.mark.usefixtures("toy_families")
def test_spaces_without_an_encoder_have_no_family() -> None:
    profile = profile_of(
        space_text() + "  own: {family: precomputed, dims: 3, licence: MIT, fingerprint: mine-v1}\n"
        "  all: {family: fused, dims: 29, licence: MIT, parts: {text: 0.7, own: 0.3}}\n"
    )
    assert (list(profile.spaces), list(profile.families), list(profile.options)) == (["text", "own", "all"], ["text"], ["text"])


@pytest.mark.parametrize(("given", "meant"), [("ofline", "offline"), ("Offline", "offline"), ("unifed", "unified")])
def test_an_unknown_name_is_told_with_the_one_meant(given: str, meant: str) -> None:
    with pytest.raises(ProfileError) as caught:
        profiles.read(given)
    assert (caught.value.code, caught.value.field) == ("profile.unknown", "profile")
    assert f"Did you mean {meant!r}?" in str(caught.value)


def test_an_unknown_name_like_none_lists_those_there_are() -> None:
    with pytest.raises(ProfileError) as caught:
        profiles.read("zzzzz")
    assert all(name in str(caught.value.remedy) for name in profiles.built_in())


def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes("description: schön".encode("latin-1"))
    for name in ("none.yaml", "none.yml", "folder.yaml", "latin.yaml"):
        with pytest.raises(ProfileError) as caught:
            profiles.read(str(tmp_path / name))
        assert (caught.value.code, caught.value.field) == ("profile.unreadable", "profile")
        assert name in caught.value.message


def test_the_home_of_nobody_is_an_error_of_ours() -> None:
    with pytest.raises(ProfileError):
        profiles.read("~no-such-user-here/mine.yaml")


# Plug-ins

BROKEN = Family("mislabelled", "of another name", "nowhere:nothing", (Modality.TEXT,), (Modality.TEXT,))
NO_FAMILY = "a text"


def _installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    found = [EntryPoint(name, value, "triptych.encoders") for name, value in points]
    monkeypatch.setattr(profiles, "entry_points", lambda *, group: found if group == "triptych.encoders" else [])


def test_families_are_found_by_name_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, ("weighty", "toys:WEIGHTY"), ("letters", "toys:LETTERS"))
    assert list(profiles.families()) == ["letters", "weighty"]


def test_declaring_our_families_imports_nothing_heavy() -> None:
    assert {"transformers_text", "image_text", "audio_text", "conse"} <= set(profiles.families())


@pytest.mark.parametrize(
    "value",
    [
        "no_such_package:FAMILY", "toys:NO_SUCH_NAME", "toys", "test_profile_files:NO_FAMILY",
        "test_profile_files:BROKEN", "toys:WEIGHTY",
    ],
)  # fmt: skip
def test_a_plug_in_that_does_not_load_or_is_no_family_of_its_name_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    _installed(monkeypatch, ("letters", value))
    with pytest.raises(ProfileError) as caught:
        profiles.families()
    assert caught.value.code == "profile.plugin"
    assert "letters" in caught.value.message
    assert value in caught.value.message
    assert caught.value.remedy


def test_a_plug_in_that_takes_anothers_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, ("letters", "toys:LETTERS"), ("letters", "toys:LETTERS"))
    with pytest.raises(ProfileError, match="letters") as caught:
        profiles.families()
    assert caught.value.code == "profile.plugin"
