"""The docs name every profile, every key of one, every family of encoders and its options; each family is installed."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest
from check_pages import blocks, quoted, unnamed

from triptych.encoders import profiles
from triptych.encoders.base import Family
from triptych.encoders.profile_entries import FUSED, PRECOMPUTED, SpaceEntry, SpeechEntry

pytestmark = pytest.mark.contract

TOP = {"description", "cost", "spaces", "speech"}


@pytest.fixture(scope="module")
def families(root: Path) -> dict[str, Family]:
    """The families that pyproject.toml declares."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points: dict[str, str] = project["entry-points"]["triptych.encoders"]
    found = {name: value.partition(":") for name, value in points.items()}
    return {name: getattr(importlib.import_module(module), attribute) for name, (module, _, attribute) in found.items()}


def declared(root: Path) -> set[str]:
    """The names of all Family objects in our modules `families.py`."""
    paths = sorted((root / "triptych").rglob("families.py"))
    modules = [".".join(path.relative_to(root).with_suffix("").parts) for path in paths]
    members = [value for name in modules for value in vars(importlib.import_module(name)).values()]
    return {value.name for value in members if isinstance(value, Family)}


@pytest.fixture(scope="module")
def page(pages: dict[str, str]) -> str:
    """docs/profiles.md."""
    return pages["profiles.md"]


# What is there


def test_every_family_of_ours_is_an_entry_point_under_its_own_name(families: dict[str, Family], root: Path) -> None:
    assert {name: family.name for name, family in families.items()} == {name: name for name in families}
    assert declared(root) == set(families)
    assert len(families) >= 8


def test_the_families_of_pyproject_are_those_installed(families: dict[str, Family]) -> None:
    assert set(families) <= set(profiles.families()), "install the project again: pip install -e ."


def test_every_option_has_a_default(families: dict[str, Family]) -> None:
    assert {name: family.options() for name, family in families.items()}


def test_every_family_names_its_extra_as_pyproject_does(families: dict[str, Family], root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {family.extra for family in families.values() if family.extra is not None}
    assert extras <= set(project["optional-dependencies"])


def test_the_functions_of_every_family_are_where_they_are_said_to_be(families: dict[str, Family], root: Path) -> None:
    """By the source, so that nothing heavy and no extra is needed."""
    functions = [f for family in families.values() for f in (family.factory, family.fit, family.derive) if isinstance(f, str)]
    assert functions
    for function in functions:
        module, _, name = function.partition(":")
        source = (root / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        assert f"def {name}(" in source or f"class {name}" in source or f"\n{name} = " in source, function


# What the docs say of it


def test_every_family_is_documented(pages: dict[str, str], families: dict[str, Family]) -> None:
    assert unnamed(pages["encoders.md"], {*families, FUSED, PRECOMPUTED}) == set()


def test_every_option_is_documented(page: str, families: dict[str, Family]) -> None:
    found = {name: unnamed(page, set(family.options.model_fields)) for name, family in families.items()}
    assert {name: options for name, options in found.items() if options} == {}


def test_every_key_of_a_profile_is_documented(page: str) -> None:
    assert unnamed(page, TOP | set(SpaceEntry.model_fields) | set(SpeechEntry.model_fields)) == set()


def test_every_built_in_profile_is_documented(page: str) -> None:
    assert set(profiles.built_in()) - set(quoted([page])) == set()


def test_every_whole_profile_in_the_docs_can_be_read(pages: dict[str, str]) -> None:
    whole = [(name, block) for name, page in pages.items() for block in blocks(page, "yaml") if "\nspaces:" in f"\n{block}"]
    assert whole
    for name, block in whole:
        profiles.parse(block if "description:" in block else f"description: of the docs\n{block}", name=name)


# The checks themselves

PAGE = """
`documents` says what fills it, `index: none` that it has no field, ``not`` and dims.

```yaml
spaces:
  text: {family: letters, licence: MIT}
```

```json
{"similarity": 1}
```
"""


@pytest.mark.parametrize("name", ["documents", "index", "spaces", "text", "family", "licence"])
def test_a_name_in_backquotes_or_in_an_example_is_found(name: str) -> None:
    assert unnamed(PAGE, {name}) == set()


@pytest.mark.parametrize("name", ["dims", "similarity", "label", "letters", "MIT"])
def test_a_name_that_is_missing_is_noticed(name: str) -> None:
    assert unnamed(PAGE, {name}) == {name}
