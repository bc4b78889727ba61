"""Index templates of one language each: what the files are, and which analyzer stands where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import offline_spaces

from indexer.cli import default_mapping
from indexer.index_cli import LANGUAGES
from triptych.elastic.lifecycle import read_mapping_file, spaces_schema
from triptych.elastic.templates import ANALYZERS, PLUGINS, template
from triptych.schema import FIELD, IndexSchema

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "mappings" / "templates"
BASE = read_mapping_file(default_mapping())


def analyzers_of(value: Any, path: str = "") -> dict[str, str]:
    """The analyzers in a mapping, by path."""
    if not isinstance(value, dict):
        return {}
    found = {path: value["analyzer"]} if isinstance(value.get("analyzer"), str) else {}
    for name, one in value.items():
        found |= analyzers_of(one, f"{path}.{name}".lstrip("."))
    return found


def test_there_is_a_file_for_each_language_and_it_is_what_the_function_makes() -> None:
    files = {path.stem.removeprefix("products-"): json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.iterdir()}
    assert files == {language: template(BASE, language) for language in ANALYZERS}
    assert set(LANGUAGES) == set(ANALYZERS)


@pytest.mark.parametrize("language", sorted(ANALYZERS))
def test_a_file_needs_no_plugin_and_can_make_an_index(language: str) -> None:
    body = read_mapping_file(FOLDER / f"products-{language}.json")
    assert not set(analyzers_of(body["mappings"]).values()) & set(PLUGINS)
    assert body["mappings"]["_meta"]["triptych"]["lexical_fields"]


def test_words_of_no_stated_language_are_the_shops() -> None:
    mappings = template(BASE, "de")["template"]["mappings"]
    rules = {name: rule["mapping"].get("analyzer") for one in mappings["dynamic_templates"] for name, rule in one.items()}
    assert rules == {"title_other": "german", "description_other": "german", "facets": None}
    properties = mappings["properties"]
    assert properties["category"]["fields"]["text"]["analyzer"] == "german"
    assert properties["brand"]["fields"]["text"]["analyzer"] == "standard"
    assert properties["title"]["properties"]["en"]["analyzer"] == "english", "what says its language keeps it"


@pytest.mark.parametrize(
    ("language", "there", "analyzer"),
    [
        ("zh", (), "cjk"),
        ("zh", ("smartcn",), "smartcn"),
        ("ja", ("smartcn",), "cjk"),
        ("ja", ("kuromoji",), "kuromoji"),
        ("neutral", (), "standard"),
        ("neutral", ("icu_analyzer",), "icu_analyzer"),
    ],
)
def test_the_best_analyzer_that_is_there_is_taken(language: str, there: tuple[str, ...], analyzer: str) -> None:
    mappings = template(BASE, language, there=there)["template"]["mappings"]
    assert mappings["properties"]["colour"]["fields"]["text"]["analyzer"] == analyzer
    if language != "neutral":
        assert mappings["properties"]["title"]["properties"][language]["analyzer"] == analyzer


def test_with_a_schema_an_index_of_the_template_is_ours_and_the_base_stays_as_it_is() -> None:
    before = json.dumps(BASE)
    schema = spaces_schema(offline_spaces(), "0.1.0")
    made = template(BASE, "en", name="hats", schema=schema)
    assert made["index_patterns"] == ["hats-*"]
    mappings = made["template"]["mappings"]
    assert FIELD in mappings["properties"]
    assert IndexSchema.model_validate(mappings["_meta"][FIELD]).spaces == schema.spaces
    assert json.dumps(BASE) == before
