"""What a process works with: the profile in force, its encoders made once, and what they learned kept on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import Letters, an_encoded, space_text

from triptych.elastic import artefacts
from triptych.encoders import fitted, registry
from triptych.encoders.base import Fitted
from triptych.encoders.late import LateEncoder
from triptych.errors import EncoderError, ProfileError
from triptych.schema import IndexSchema
from triptych.services import Services
from triptych.settings import Settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families")]

LEARNED = Fitted({"seen": np.array([3])}, {"space": "more"})
DATA = fitted.to_bytes(LEARNED)
SHA256 = fitted.sha256(DATA)


@pytest.fixture
def services(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Of a profile with a space that learns; Elasticsearch is never asked unless a test says so."""
    text = space_text() + space_text("more", "learned", more="label: more")
    (tmp_path / "mine.yaml").write_text(f"description: mine\nspaces:\n{text}", encoding="utf-8")
    monkeypatch.setattr(Services, "elasticsearch", property(lambda _: None))
    return Services(settings.model_copy(update={"profile": str(tmp_path / "mine.yaml")}))


def keep(services: Services, data: bytes = DATA, sha256: str = SHA256) -> Path:
    path = services.settings.data_dir / "fitted" / f"{sha256}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def learned(services: Services, sha256: str = SHA256) -> IndexSchema:
    spaces = registry.spaces_of(services.profile, services.settings, fitted={"more": sha256})
    return IndexSchema(spaces=tuple(spaces), profile=services.profile.name)


def test_encoders_are_made_once_for_all_indices_that_learned_the_same(services: Services) -> None:
    keep(services)
    plain = services.encoders(IndexSchema())
    assert list(plain) == ["text"]
    assert services.encoders(IndexSchema(lexical_fields=("title",), spaces=(an_encoded(),))) is plain
    mine = services.encoders(learned(services))
    assert services.encoders(learned(services)) is mine
    assert list(mine) == ["text", "more"]
    late = mine["more"]
    assert isinstance(late, LateEncoder)
    more = late._all.of("more")
    assert isinstance(more, Letters)
    assert more.setup.fitted is not None
    assert more.setup.fitted.facts == LEARNED.facts


def test_a_bounded_number_of_sets_is_kept(services: Services) -> None:
    for number in range(10):
        data = fitted.to_bytes(Fitted({}, {"n": number}))
        keep(services, data, fitted.sha256(data))
        services.encoders(learned(services, fitted.sha256(data)))
    assert len(services._sets) <= 4


def test_an_index_is_checked_against_the_profile_in_force(services: Services) -> None:
    services.check(learned(services))
    with pytest.raises(EncoderError) as caught:
        services.check(IndexSchema(spaces=(an_encoded("elsewhere"),)))
    assert caught.value.code == "encoder.unknown"


def another(services: Services, folder: Path) -> Services:
    """Services of another profile, whose space has other vectors."""
    (folder / "theirs.yaml").write_text(f"description: theirs\nspaces:\n{space_text(dims=5)}", encoding="utf-8")
    return Services(services.settings.model_copy(update={"profile": str(folder / "theirs.yaml")}))


def test_an_index_of_another_profile_gets_that_ones_encoders(services: Services, tmp_path: Path) -> None:
    theirs = another(services, tmp_path)
    schema = theirs.schema()
    services.check(schema)
    assert services.profile_of(schema).name == theirs.profile.name
    mine, other = services.encoders(IndexSchema()), services.encoders(schema)
    assert mine["text"].spec.fingerprint != other["text"].spec.fingerprint == schema.spaces[0].fingerprint
    assert services.encoders(schema) is other
    assert services.encoders(IndexSchema()) is mine


@pytest.mark.parametrize("code", ["true", "false"])
def test_code_that_comes_with_a_model_does_not_run_because_an_index_names_it(
    services: Services, tmp_path: Path, code: str
) -> None:
    more = f"model: org/name\noptions: {{remote_code: {code}}}"
    (tmp_path / "far.yaml").write_text(
        f"description: far\nspaces:\n{space_text(family='transformers_text', more=more)}", encoding="utf-8"
    )
    assert (services._named(str(tmp_path / "far.yaml")) is None) == (code == "true")


@pytest.mark.parametrize("lost", ["file", "fingerprint", "relative"])
def test_an_index_whose_profile_does_not_fit_is_refused(services: Services, tmp_path: Path, lost: str) -> None:
    schema = another(services, tmp_path).schema()
    if lost == "file":
        (tmp_path / "theirs.yaml").unlink()
    elif lost == "relative":
        schema = schema.model_copy(update={"profile": "theirs.yaml"})
    else:
        space = schema.spaces[0].model_copy(update={"fingerprint": "0" * 16})
        schema = schema.model_copy(update={"spaces": (space,)})
    with pytest.raises(EncoderError) as caught:
        services.check(schema)
    assert caught.value.code == "encoder.fingerprint_mismatch"


def test_a_profile_that_is_not_there_is_told_when_it_is_wanted(settings: Settings) -> None:
    services = Services(settings.model_copy(update={"profile": "ofline"}))
    with pytest.raises(ProfileError):
        _ = services.profile


def test_a_profile_without_speech_recognises_none(services: Services) -> None:
    assert services.transcriber is None


def test_a_recogniser_that_is_not_prepared_is_told_with_the_command(settings: Settings) -> None:
    with pytest.raises(EncoderError) as caught:
        _ = Services(settings).transcriber
    assert caught.value.code == "encoder.not_prepared"


# What was learned


def asked(monkeypatch: pytest.MonkeyPatch, data: bytes = DATA) -> list[str]:
    """What is asked of beside the indices, which answers `data`."""
    names: list[str] = []

    def get(_client: object, index: str, sha256: str) -> bytes:
        names.append(f"{index}/{sha256}")
        return data

    monkeypatch.setattr(artefacts, "get", get)
    return names


def test_what_was_learned_is_fetched_once_and_then_read_here(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    names = asked(monkeypatch)
    for _ in range(2):
        assert services.fitted(SHA256).facts == LEARNED.facts
    assert names == [f"triptych-fitted/{SHA256}"]
    assert [path.name for path in (services.settings.data_dir / "fitted").iterdir()] == [f"{SHA256}.safetensors"]


@pytest.mark.parametrize("data", [b"", DATA[:-1], b"\0" * len(DATA)])
def test_a_damaged_copy_is_fetched_again(services: Services, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    names = asked(monkeypatch)
    path = keep(services, data)
    assert services.fitted(SHA256).facts == LEARNED.facts
    assert len(names) == 1
    assert path.read_bytes() == DATA


def test_a_data_folder_that_cannot_be_written_names_the_setting(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch)
    (tmp_path / "file").touch()
    blocked = Services(services.settings.model_copy(update={"data_dir": tmp_path / "file"}))
    with pytest.raises(EncoderError, match="TRIPTYCH_DATA_DIR") as caught:
        blocked.fitted(SHA256)
    assert caught.value.code == "encoder.folder"
