"""The pages' files: what their scripts may not do, and their texts, which are whole in every language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import search_api.pages.views as pages
from search_api.pages.texts import LANGUAGES, texts

pytestmark = pytest.mark.unit

FILES = sorted(path for folder in ("static", "templates") for path in (pages.FOLDER / folder).iterdir())
_TEXT_KEY = re.compile(r"""\bt\((?:[^()]*\?\s*)?["']([\w.]+)["'](?:\s*:\s*["']([\w.]+)["'])?""")
_FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\|\s*safe\b|https?://(?!www\.w3\.org/)"
)
_INLINE = re.compile(r"""<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=""")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_put_in_as_html_and_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert _FORBIDDEN.findall(text) == []
    if path.suffix == ".html":
        assert _INLINE.findall(text) == []
    assert len(text.splitlines()) <= 350


@pytest.mark.parametrize("text", ["x.innerHTML = y", "{{ x | safe }}", "fetch('https://cdn.example/x.js')"])
def test_what_is_forbidden_is_noticed(text: str) -> None:
    assert _FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ['<p onclick="x()">', "<script>x()</script>", '<p style="x">', "<style>"])
def test_what_is_inline_is_noticed(text: str) -> None:
    assert _INLINE.search(text)


def used() -> Iterator[str]:
    for path in FILES:
        for found in _TEXT_KEY.findall(path.read_text(encoding="utf-8")):
            yield from (key for key in found if key)


def test_every_text_that_is_used_is_there() -> None:
    keys = set(used())
    assert len(keys) > 50
    assert keys - set(texts("en")) == set()


def test_every_language_has_the_same_texts_with_the_same_places() -> None:
    places = {
        language: {key: sorted(re.findall(r"\{(\w+)\}", text)) for key, text in texts(language).items()}
        for language in LANGUAGES
    }
    assert all(one == places["en"] for one in places.values())


def test_no_text_is_there_for_nobody() -> None:
    """A key may also be made of parts, `t(`status.${x}`)`."""
    source = "".join(path.read_text(encoding="utf-8") for path in FILES)
    begun = set(re.findall(r"t\(`(\w+)\.(?:\w+_)?\$\{", source))
    idle = [
        key for key in texts("en")
        if f'"{key}"' not in source and f"'{key}'" not in source and key.partition(".")[0] not in begun
        and not key.endswith(".title") and f'"{key.partition(".")[2]}"' not in source
    ]  # fmt: skip
    assert idle == []


def test_texts_are_json_objects_of_texts() -> None:
    for language in LANGUAGES:
        found = json.loads((Path(pages.__file__).parent / "texts" / f"{language}.json").read_text(encoding="utf-8"))
        assert all(isinstance(text, str) and text for text in found.values())
