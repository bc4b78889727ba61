"""The command line's mistakes, as far as no service is needed: exit code 2 is wrong usage, 1 an error of ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from click import Command
from click.testing import CliRunner, Result

from indexer.cli import default_mapping, index, job
from indexer.worker import worker
from search_api import cli as searching
from search_api.cli import search, serve, weights
from search_api.query import AudioAs, FusionMethod, QueryInput, SearchRequest
from search_api.shown import title_of
from search_api.words import TextOptions
from triptych import cli
from triptych.doctor import doctor
from triptych.errors import QueryError, TriptychError

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("clean_environment")]


def _run(command: Command, *args: str) -> Result:
    return CliRunner().invoke(command, args)


@pytest.mark.parametrize(
    ("command", "args", "word"),
    [
        (search, [], "INDEX"),
        (search, ["shop", "shoe", "more"], "more"),
        (search, ["shop", "--weight", "lexical"], "NAME=VALUE"),
        (search, ["shop", "--weight", "=0.5"], "NAME=VALUE"),
        (search, ["shop", "--weight", "lexical=much"], "lexical"),
        (search, ["shop", "--weight", "lexical="], "lexical"),
        (search, ["shop", "--filter", "colour"], "NAME=VALUE"),
        (search, ["shop", "--size", "ten"], "--size"),
        (search, ["shop", "--colour", "red"], "--colour"),
        (search, ["shop", "--audio-as", "music"], "--audio-as"),
        (search, ["shop", "--fusion", "rrrf"], "--fusion"),
        (search, ["shop", "--min-relevance", "high"], "--min-relevance"),
        (search, ["shop", "--filter", "price={"], "not JSON"),
        (weights, ["set", "shop", "summer"], "LEG=SHARE"),
        (weights, ["delete", "shop"], "NAME"),
        (weights, ["list"], "INDEX"),
        (serve, ["--port", "http"], "--port"),
        (serve, ["--threads", "x"], "--threads"),
        (index, ["create"], "NAME"),
        (index, ["add", "shop"], "CATALOGUE"),
        (index, ["delete", "shop"], "delete"),
        (job, ["show"], "ID"),
        (job, ["list", "now"], "now"),
        (worker, ["--concurrency", "0"], "--concurrency"),
        (worker, ["--concurrency", "x"], "--concurrency"),
        (cli.root, ["serch"], "serch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else getattr(value, "name", value),
)
def test_wrong_usage_is_exit_code_two_and_names_the_fault(command: Command, args: list[str], word: str) -> None:
    result = _run(command, *args)
    assert result.exit_code == 2, result.output
    assert word in result.output


def _error(command: Command, *args: str) -> TriptychError:
    result = _run(command, *args)
    assert isinstance(result.exception, TriptychError), (result.output, result.exception)
    return result.exception


@pytest.mark.parametrize("option", ["image", "audio"])
@pytest.mark.parametrize("name", ["none.bin", "."])
def test_a_file_to_search_with_that_cannot_be_read(tmp_path: Path, option: str, name: str) -> None:
    error = _error(search, "shop", f"--{option}", str(tmp_path / name))
    assert (error.code, error.field) == ("query.unreadable_file", option)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--size", "0"], "query.bad_size"),
        (["--size", "1001"], "query.bad_window"),
        (["--window", "100000"], "query.bad_window"),
        ([""], "query.empty"),
        (["--audio-as", "words"], "query.empty"),
    ],
)
def test_a_search_no_index_could_answer(args: list[str], code: str) -> None:
    assert _error(search, "shop", *args).code == code


def _request(monkeypatch: pytest.MonkeyPatch, *args: str) -> SearchRequest:
    """The request that `triptych search shop ...` makes; nobody is asked."""
    made: list[SearchRequest] = []

    def stop(given: dict[str, Any]) -> None:
        made.append(request_of(given))
        raise QueryError("Enough.")

    request_of = searching.request_of
    monkeypatch.setattr(searching, "request_of", stop)
    _error(search, "shop", *args)
    return made[0]


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        ([], {}),
        (["red shoe"], {"text": "red shoe"}),
        (["--like", "a", "--like", "b"], {"products": ("a", "b")}),
        (["x", "--not", "red"], {"text": "x", "inputs": (QueryInput("text", -0.5, text="red", where="--not"),)}),
        (["x", "--not-like", "p"],
         {"text": "x", "inputs": (QueryInput("products", -0.5, products=("p",), where="--not-like"),)}),
        (["--language", "en"], {"text_options": TextOptions(language="en")}),
        (["--weight", "image.image=0.5", "--weight", "lexical=-.2"], {"weights": {"image.image": 0.5, "lexical": -0.2}}),
        (["--weight-set", "summer"], {"weight_set": "summer"}),
        (["--filter", "colour=red", "--filter", 'price={"lte": 50}', "--filter", 'brand=["x", "y"]', "--filter", "sku=a=b"],
         {"filters": {"colour": "red", "price": {"lte": 50}, "brand": ["x", "y"], "sku": "a=b"}}),
        (["--facet", "brand", "--facet", "price"], {"facets": {"brand": {}, "price": {}}}),
        (["--sort", "price", "--sort", "made:desc"], {"sort": ["price", {"made": "desc"}]}),
        (["--collapse", "brand", "--vote", "category"], {"collapse": "brand", "vote": {"field": "category"}}),
        (["--min-relevance", "0.5", "--fusion", "rrf"], {"min_relevance": 0.5, "fusion": "rrf"}),
        (["--size", "500"], {"size": 500, "window": 500}),
        (["--window", "50", "--certify", "--explain"], {"window": 50, "certify": True, "explain": True}),
        (["--page", "t", "--explain"], {"page": "t"}),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_the_options_make_a_request(monkeypatch: pytest.MonkeyPatch, args: list[str], fields: dict[str, Any]) -> None:
    made = _request(monkeypatch, *args)
    assert replace(made, sort=list(made.sort)) == SearchRequest("shop", **{"sort": [], **fields})


def test_files_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.wav"):
        (tmp_path / name).write_bytes(name.encode())
    args = ["--image", str(tmp_path / "a.jpg"), "--image", str(tmp_path / "b.jpg"), "--audio", str(tmp_path / "c.wav")]
    made = _request(monkeypatch, *args, "--audio-as", "both")
    assert [(one.kind, one.data) for one in made.all_inputs()] == [
        ("image", b"a.jpg"),
        ("image", b"b.jpg"),
        ("audio", b"c.wav"),
    ]
    assert made.audio_as == "both"


def test_the_choices_are_those_of_the_api() -> None:
    choices = {option.name: option.type.choices for option in search.params if hasattr(option.type, "choices")}
    assert tuple(choices["fusion"]) == get_args(FusionMethod)
    assert tuple(choices["audio_as"]) == get_args(AudioAs)


@pytest.mark.parametrize("name", ["Shop", "_shop", "a b", "shop-20261124t081000"])
def test_an_index_of_a_bad_name_is_not_created(name: str) -> None:
    assert _error(index, "create", name).code == "index.bad_name"


def test_an_index_is_not_created_from_a_mapping_that_is_missing(tmp_path: Path) -> None:
    assert _error(index, "create", "shop", "--mapping", str(tmp_path / "none.json")).code == "mapping.unreadable"


def test_the_mapping_that_is_installed_is_found() -> None:
    assert "mappings" in json.loads(default_mapping().read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("title", "shown"), [("Shoe", "Shoe"), ({"en": "Shoe", "zh": "鞋"}, "Shoe / 鞋"), ({}, ""), (None, ""), ("", "")]
)
def test_a_title_is_shown_in_whatever_languages_there_are(title: object, shown: str) -> None:
    assert title_of({"title": title}) == shown


# The root command


def _main(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr("sys.argv", ["triptych", *args])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_one_of_our_errors_is_a_line_a_remedy_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "search", "shop", "", "--window", "10") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["error: The text is empty.", "  Leave it out or give words.", "  (query.empty)"]


def test_with_json_an_error_is_json_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "search", "shop", "--size", "0", "--json") == 1
    problem = json.loads(capsys.readouterr().out)
    assert (problem["code"], problem["field"]) == ("query.bad_size", "size")


def test_a_mistyped_setting_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRIPTYCH_BATCH_SISE", "5")
    assert _main(monkeypatch, "job", "list") == 1
    assert "TRIPTYCH_BATCH_SIZE" in capsys.readouterr().err


def test_help_lists_every_command() -> None:
    result = _run(cli.root, "-h")
    assert result.exit_code == 0
    for name in ("index", "job", "worker", "search", "weights", "serve", "up", "down", "encoders", "profiles", "doctor"):
        assert f"\n  {name} " in result.output


def test_the_doctor_names_a_mistyped_setting_and_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_BATCH_SISE", "5")
    result = _run(doctor, "--json")
    checks = json.loads(result.output)
    assert result.exit_code == 1
    assert [(check["what"], check["ok"]) for check in checks] == [
        ("package indexer", True),
        ("package search_api", True),
        ("settings", False),
    ]
    assert "TRIPTYCH_BATCH_SIZE" in checks[-1]["remedy"]
