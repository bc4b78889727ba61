"""`triptych profiles` and `triptych encoders`: what is in force, choosing, and asking before anything is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner, Result
from toys import space_text

from triptych.encoders import profiles
from triptych.encoders.cli import encoders, profiles_
from triptych.errors import ProfileError, TriptychError
from triptych.settings import Settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families")]

HUB = (
    "description: of the hub\nspaces:\n  text:\n    family: weighty\n    model: acme/tiny\n    dims: 3\n"
    "    licence: MIT, but only on Sundays\n    documents: text\n    queries: [text]\n"
)


@pytest.fixture
def data(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder that the commands use."""
    clean_environment.setenv("TRIPTYCH_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"# my own\ndescription: mine\ncost: nothing\nspaces:\n{space_text()}", encoding="utf-8")
    return path


def run(command: Command, *args: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(command, args, input=answer)


def fine(command: Command, *args: str, answer: str | None = None) -> Result:
    result = run(command, *args, answer=answer)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def error(command: Command, *args: str, answer: str | None = None) -> TriptychError:
    result = run(command, *args, answer=answer)
    assert isinstance(result.exception, TriptychError), (result.output, result.exception)
    return result.exception


def rows(command: Command, *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fine(command, *args, "--json").stdout)
    return found


def in_force() -> str:
    (name,) = [row["name"] for row in rows(profiles_, "list") if row["in_force"]]
    return str(name)


# profiles list


@pytest.mark.usefixtures("data")
def test_the_profiles_that_come_with_triptych_are_listed_and_the_default_is_in_force() -> None:
    found = rows(profiles_, "list")
    assert [row["name"] for row in found] == profiles.built_in()
    assert in_force() == "offline"
    offline = next(row for row in found if row["name"] == "offline")
    assert offline["spaces"] == ["text", "image", "image_words", "audio"]
    assert offline["missing"] == ["multilingual-e5-small", "efficientnet-lite0", "whisper-base"]
    assert offline["description"]
    assert offline["cost"]


@pytest.mark.usefixtures("data")
def test_the_list_for_people_marks_what_is_in_force_and_says_how_to_choose() -> None:
    output = fine(profiles_, "list").stdout
    assert "triptych profiles use" in output
    assert all(name in output for name in profiles.built_in())
    assert output.count("*") == 2  # the profile's and the legend's


# profiles show


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", profiles.built_in())
def test_a_profile_is_shown_as_its_file(name: str) -> None:
    assert fine(profiles_, "show", name).stdout == profiles.read(name).text


def test_without_a_name_the_one_in_force_is_shown(data: Path, mine: Path) -> None:
    assert fine(profiles_, "show").stdout == profiles.read("offline").text
    fine(profiles_, "use", str(mine))
    assert fine(profiles_, "show").stdout == mine.read_text(encoding="utf-8")


@pytest.mark.usefixtures("data")
def test_a_profile_that_is_not_there_is_told_with_the_one_meant() -> None:
    assert "offline" in str(error(profiles_, "show", "ofline").remedy)
    assert error(profiles_, "use", "ofline").code == "profile.unknown"


# profiles use


def test_a_built_in_profile_is_chosen_by_name(data: Path) -> None:
    output = fine(profiles_, "use", "light").stdout
    assert "light is in force" in output
    assert "triptych encoders prepare" in output
    assert "intfloat/multilingual-e5-small" in output
    assert (data / "profile").read_text() == "light\n"
    assert in_force() == "light"
    fine(profiles_, "use", "offline")
    assert in_force() == "offline"


def test_a_file_is_chosen_by_its_path_and_found_from_any_folder(
    data: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mine.parent)
    output = fine(profiles_, "use", "mine.yaml").stdout
    assert "prepare" not in output  # it needs no model
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert in_force() == str(mine)
    assert Settings().active_profile == str(mine)


def test_a_broken_file_is_told_with_its_line_and_not_chosen(data: Path, mine: Path) -> None:
    fine(profiles_, "use", "light")
    mine.write_text(
        "description: mine\nspaces:\n  text:\n    family: leters\n    dims: 3\n    licence: MIT\n", encoding="utf-8"
    )
    found = error(profiles_, "use", str(mine))
    assert isinstance(found, ProfileError)
    assert f"{mine}, line 4:" in found.message
    assert "letters" in str(found.remedy)
    assert in_force() == "light"


def test_what_the_environment_says_goes_before_what_was_chosen(data: Path, clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("TRIPTYCH_PROFILE", "unified")
    result = fine(profiles_, "use", "light")
    assert "TRIPTYCH_PROFILE=unified" in result.stderr
    assert in_force() == "unified"
    clean_environment.delenv("TRIPTYCH_PROFILE")
    assert in_force() == "light"


def test_a_choice_that_cannot_be_kept_names_the_setting(tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    clean_environment.setenv("TRIPTYCH_DATA_DIR", str(tmp_path / "file"))
    found = error(profiles_, "use", "light")
    assert found.code == "profile.not_kept"
    assert "TRIPTYCH_DATA_DIR" in str(found.remedy)


@pytest.mark.parametrize("kept", ["", "\n", "  \n"])
def test_an_empty_choice_is_the_default(data: Path, kept: str) -> None:
    data.mkdir()
    (data / "profile").write_text(kept)
    assert in_force() == "offline"


def test_a_choice_whose_file_is_gone_is_an_error_of_ours_that_another_choice_mends(data: Path, mine: Path) -> None:
    fine(profiles_, "use", str(mine))
    mine.unlink()
    assert error(encoders, "list").code == "profile.unreadable"
    fine(profiles_, "use", "light")
    assert in_force() == "light"


def test_a_choice_that_is_no_text_is_not_a_traceback(data: Path) -> None:
    data.mkdir()
    (data / "profile").write_bytes(b"\xff\xfe\x00")
    assert isinstance(run(profiles_, "show").exception, TriptychError | None)


# encoders list


@pytest.mark.usefixtures("data")
def test_the_spaces_of_the_profile_in_force_are_listed_as_data() -> None:
    found = rows(encoders, "list")
    assert [(row["space"], row["name"], row["prepared"]) for row in found] == [
        ("text", "multilingual-e5-small", False),
        ("image", "efficientnet-lite0", False),
        ("image_words", "conse-multilingual-e5-small-efficientnet-lite0", False),
        ("audio", "whisper-base", False),
    ]
    assert all(row["licence"] and row["description"] for row in found)


@pytest.mark.usefixtures("data")
def test_every_kind_of_space_is_listed(tmp_path: Path) -> None:
    more = (
        "  own: {family: precomputed, dims: 3, licence: mine, fingerprint: mine-v1}\n"
        "  all: {family: fused, dims: 29, licence: MIT, parts: {text: 1, own: 1}}\n"
    ) + space_text("more", "learned", more="label: more")
    path = tmp_path / "all.yaml"
    path.write_text(f"description: all\nspaces:\n{space_text()}{more}", encoding="utf-8")
    found = {row["space"]: row for row in rows(encoders, "list", "--profile", str(path))}
    assert {name: (row["family"], row["queries"], row["prepared"], row["learns"]) for name, row in found.items()} == {
        "text": ("letters", ["text"], True, False),
        "own": ("precomputed", [], True, False),
        "all": ("fused", [], True, False),
        "more": ("learned", ["text"], True, True),
    }
    assert len(found["text"]["fingerprint"]) == 16
    output = fine(encoders, "list", "--profile", str(path)).stdout
    assert all(name in output for name in found)


@pytest.mark.usefixtures("data")
def test_a_space_is_prepared_only_if_all_it_is_made_of_is(tmp_path: Path) -> None:
    more = (
        space_text("carried", "carried", more="over: {words: text}\nlabel: carried")
        + "  all: {family: fused, dims: 29, licence: MIT, parts: {carried: 1, own: 1}}\n"
        + "  own: {family: precomputed, dims: 3, licence: mine, fingerprint: mine-v1}\n"
    )
    path = tmp_path / "all.yaml"
    text = space_text("text", "weighty", more="model: ./nowhere")
    path.write_text(f"description: all\nspaces:\n{text}{more}", encoding="utf-8")
    found = {row["space"]: row["prepared"] for row in rows(encoders, "list", "--profile", str(path))}
    assert found == {"text": False, "carried": False, "all": False, "own": True}


def test_what_is_not_prepared_is_said_with_the_command(data: Path) -> None:
    assert "Run: triptych encoders prepare" in fine(encoders, "list").stdout


# encoders prepare


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the hub was asked for; nothing comes from it."""
    import huggingface_hub

    asked: list[str] = []

    def fetch(name: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise OSError("not here")
        asked.append(name)
        raise ConnectionError("the hub is away")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    (tmp_path / "hub.yaml").write_text(HUB, encoding="utf-8")
    return asked


def hub(tmp_path: Path) -> list[str]:
    return ["prepare", "--profile", str(tmp_path / "hub.yaml")]


@pytest.mark.usefixtures("data")
def test_the_licence_is_shown_and_nothing_is_fetched_without_a_yes(asked: list[str], tmp_path: Path) -> None:
    result = run(encoders, *hub(tmp_path), answer="n\n")
    assert isinstance(result.exception, TriptychError)
    assert result.exception.code == "encoder.not_prepared"
    assert "acme/tiny, licence: MIT, but only on Sundays" in result.stderr
    assert asked == []


@pytest.mark.usefixtures("data")
def test_where_nobody_answers_nothing_is_fetched(asked: list[str], tmp_path: Path) -> None:
    assert run(encoders, *hub(tmp_path)).exit_code == 1
    assert asked == []


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(("more", "answer"), [([], "y\n"), ([], "\n"), (["--yes"], None)])
def test_after_a_yes_it_is_fetched(asked: list[str], tmp_path: Path, more: list[str], answer: str | None) -> None:
    found = run(encoders, *hub(tmp_path), *more, answer=answer)
    assert isinstance(found.exception, TriptychError)
    assert found.exception.code == "encoder.not_fetched"
    assert asked == ["acme/tiny"]
    assert "licence: MIT, but only on Sundays" in found.stderr


@pytest.mark.usefixtures("data")
def test_a_profile_that_needs_nothing_asks_nothing(mine: Path) -> None:
    assert fine(encoders, "prepare", "--profile", str(mine)).stdout == ""
