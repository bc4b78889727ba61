"""Making a profile's models ready: what is missing, what would be fetched, and what is left alone. Nothing is fetched here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from toys import LETTERS, TEXT, Letters, profile_of, space_text

from triptych.encoders import models, packages, prepare, profiles, store
from triptych.encoders.base import Family, Options
from triptych.encoders.packages import Package
from triptych.encoders.profiles import Profile
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families", "no_hub")]


class Coded(Options):
    remote_code: bool = False


CODED = Family("coded", "may bring code", Letters, (TEXT,), (TEXT,), options=Coded, wants_model=True)


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache is empty and its client fetches nothing."""
    import huggingface_hub
    from huggingface_hub import constants

    genuine = huggingface_hub.snapshot_download

    def local(*args: Any, **options: Any) -> str:
        if not options.get("local_files_only"):
            raise ConnectionError("the hub is away")
        return genuine(*args, **options)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model `tiny-package` that comes as a package; the list grows by each time it is built."""
    built: list[str] = []

    def build(target: Path) -> None:
        built.append("tiny-package")
        (target / models.WEIGHTS).write_bytes(b"weights")

    monkeypatch.setitem(packages.PACKAGES, "tiny-package", Package("recipe 1", build))
    return built


def space(name: str, model: str) -> str:
    return space_text(name, "weighty", more=f"model: {model}\nlabel: {name}")


def coded(*spaces: tuple[str, str, bool]) -> Profile:
    """A profile of the family `coded`; each space is a name, a model and whether its code may run."""
    profile = profile_of("".join(space(name, model) for name, model, _ in spaces))
    options = {name: Coded(remote_code=word) for name, _, word in spaces}
    return dataclasses.replace(profile, options=options, families=dict.fromkeys(options, CODED))


def test_everything_of_the_default_profile_is_missing_at_first(settings: Settings) -> None:
    missing = prepare.missing(profiles.read("offline"), settings)
    assert [model.reference for model in missing] == ["multilingual-e5-small", "efficientnet-lite0", "whisper-base"]


def test_nothing_of_the_default_profile_is_downloaded(settings: Settings) -> None:
    assert prepare.downloads(profiles.read("offline"), settings) == []


@pytest.mark.parametrize("name", ["light", "unified"])
def test_what_a_built_in_profile_would_fetch_is_shown_with_its_licence(settings: Settings, name: str) -> None:
    found = prepare.downloads(profiles.read(name), settings)
    assert found
    assert all(item.model.kind == "hub" and item.licence and not item.remote_code for item in found)
    assert len({item.model for item in found}) == len(found)


def test_only_what_is_fetched_from_elsewhere_and_not_here_is_a_download(
    settings: Settings, packed: list[str], tmp_path: Path
) -> None:
    (tmp_path / "own.safetensors").touch()
    text = space("a", "acme/tiny") + space("b", "tiny-package") + space("c", f"{tmp_path}/own.safetensors")
    profile = profile_of(text + space("d", "torchvision:resnet18") + space_text("e", more="label: e"))
    assert [item.model.reference for item in prepare.downloads(profile, settings)] == ["acme/tiny", "torchvision:resnet18"]
    settings.encoders_dir.mkdir(parents=True)
    store.build(
        settings.encoders_dir / "torchvision-resnet18",
        "torchvision resnet18 1",
        lambda folder: (folder / models.WEIGHTS).touch(),
    )
    assert [item.model.reference for item in prepare.downloads(profile, settings)] == ["acme/tiny"]


def test_a_model_of_two_spaces_is_wanted_once(settings: Settings) -> None:
    profile = profile_of(space("a", "acme/tiny") + space("b", "acme/tiny") + space("c", "acme/tiny@v1"))
    assert [item.model.reference for item in prepare.downloads(profile, settings)] == ["acme/tiny", "acme/tiny@v1"]


def test_what_recognises_speech_is_wanted_too_with_its_own_licence(settings: Settings) -> None:
    text = f"description: mine\nspaces:\n{space_text()}speech: {{model: openai/whisper-base, licence: Apache-2.0}}\n"
    profile = profiles.parse(text, name="mine.yaml")
    (item,) = prepare.downloads(profile, settings)
    assert (item.model.reference, item.licence) == ("openai/whisper-base", "Apache-2.0")
    assert [model.reference for model in prepare.missing(profile, settings)] == ["openai/whisper-base"]


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True), (False, False)])
def test_a_model_whose_code_one_space_runs_is_shown_with_it(settings: Settings, first: bool, second: bool) -> None:
    (item,) = prepare.downloads(coded(("a", "acme/tiny", first), ("b", "acme/tiny", second)), settings)
    assert item.remote_code is (first or second)


# require


def test_require_names_the_first_model_that_is_missing_and_the_command(settings: Settings) -> None:
    with pytest.raises(EncoderError, match="multilingual-e5-small") as caught:
        prepare.require(profiles.read("offline"), settings)
    assert caught.value.code == "encoder.not_prepared"
    assert "triptych encoders prepare" in str(caught.value.remedy)


def test_a_profile_without_models_is_ready(settings: Settings) -> None:
    prepare.require(profile_of(space_text()), settings)
    assert prepare.prepare(profile_of(space_text()), settings) == []


# prepare


def test_what_is_prepared_is_left_alone_what_is_damaged_is_made_again(settings: Settings, packed: list[str]) -> None:
    profile = profile_of(space("text", "tiny-package"))
    told: list[tuple[str, float]] = []
    (made,) = prepare.prepare(profile, settings, progress=lambda name, done: told.append((name, done)))
    assert (made.name, made.fresh, made.folder) == ("tiny-package", True, settings.encoders_dir / "tiny-package")
    assert told == [("tiny-package", 0.0), ("tiny-package", 1.0)]
    assert prepare.missing(profile, settings) == []
    assert [item.fresh for item in prepare.prepare(profile, settings)] == [False]
    (made.folder / models.WEIGHTS).write_bytes(b"wEights")
    assert [item.fresh for item in prepare.prepare(profile, settings)] == [True]
    assert [item.fresh for item in prepare.prepare(profile, settings, force=True)] == [True]
    assert len(packed) == 3


def test_what_was_made_by_another_recipe_is_made_again(
    settings: Settings, packed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(space("text", "tiny-package"))
    prepare.prepare(profile, settings)
    monkeypatch.setitem(packages.PACKAGES, "tiny-package", dataclasses.replace(packages.PACKAGES["tiny-package"], recipe="2"))
    assert [model.name for model in prepare.missing(profile, settings)] == ["tiny-package"]
    assert [item.fresh for item in prepare.prepare(profile, settings)] == [True]


def test_what_follows_from_weights_is_made_once_too(settings: Settings) -> None:
    made: list[Path] = []

    def derive(_setup: object, folder: Path) -> None:
        made.append(folder)
        (folder / "table").write_text("1")

    families = {"text": dataclasses.replace(LETTERS, derive=derive)}
    profile = dataclasses.replace(profile_of(space_text()), families=families)
    assert [item.fresh for item in prepare.prepare(profile, settings)] == [True]
    assert [item.fresh for item in prepare.prepare(profile, settings)] == [False]
    assert [item.fresh for item in prepare.prepare(profile, settings, force=True)] == [True]
    assert len(made) == 2
    assert (prepare.prepare(profile, settings)[0].folder / "table").read_text() == "1"


def test_a_path_is_used_where_it_lies(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.touch()
    (item,) = prepare.prepare(profile_of(space("text", str(path))), settings)
    assert (item.folder, item.fresh) == (path, False)
    with pytest.raises(EncoderError) as caught:
        prepare.prepare(profile_of(space("text", "./none")), settings)
    assert caught.value.code == "encoder.not_prepared"


def test_a_hub_that_does_not_answer_is_an_error_with_another_way(settings: Settings) -> None:
    with pytest.raises(EncoderError, match="the hub is away") as caught:
        prepare.prepare(profile_of(space("text", "acme/tiny")), settings)
    assert (caught.value.code, caught.value.field) == ("encoder.not_fetched", "model")
    assert "path" in str(caught.value.remedy)


@pytest.mark.parametrize("consent", [False, True])
def test_code_is_fetched_on_the_profiles_word_only_and_pickles_never(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    consent: bool,
) -> None:
    import huggingface_hub

    asked: list[list[str]] = []

    def fetch(_name: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise OSError("not here")
        asked.append(list(options["allow_patterns"]))
        raise ConnectionError("enough")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(EncoderError):
        prepare.prepare(coded(("text", "acme/tiny", consent)), settings)
    (patterns,) = asked
    assert ("*.py" in patterns) is consent
    assert "*.safetensors" in patterns
    assert not {"*.bin", "*.pt", "*.pth", "*.pkl", "*"} & set(patterns)


def test_a_data_folder_that_cannot_be_written_names_the_setting(settings: Settings, packed: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = settings.model_copy(update={"data_dir": tmp_path / "file"})
    with pytest.raises(EncoderError, match="TRIPTYCH_DATA_DIR") as caught:
        prepare.prepare(profile_of(space("text", "tiny-package")), blocked)
    assert caught.value.code == "encoder.folder"
