"""Profiles: which spaces there are, which encoder fills each, and how Elasticsearch indexes it. Readable files, one a profile.

A profile that comes with Triptych is asked for by name, a user's own by the path of its file; both have the same form
(docs/profiles.md). An error in a file is named by its line. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from triptych.encoders import profile_checks as checks
from triptych.encoders.base import Family, Options
from triptych.encoders.profile_entries import FUSED, PRECOMPUTED, Body, ClassifierEntry, SpaceEntry, SpeechEntry
from triptych.encoders.yaml_lines import Loc, Source, compose
from triptych.errors import ProfileError
from triptych.schema import BOOKKEEPING

SUFFIX = ".yaml"
_SPACE = re.compile(r"[a-z][a-z0-9_]{0,62}")

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Profile:
    """A checked profile. `options` holds each space's options as its family's own type; `text` is the file as it is.

    `families` names the family of each space that has an encoder; a space comes after those it is made over. `classifiers`
    are by the field that they tell.
    """

    name: str
    description: str
    cost: str
    spaces: Mapping[str, SpaceEntry]
    families: Mapping[str, Family]
    options: Mapping[str, Options]
    speech: SpeechEntry | None
    text: str
    folder: Path | None = None
    classifiers: Mapping[str, ClassifierEntry] = field(default_factory=dict)


def families() -> dict[str, Family]:
    """The families installed, by name: entry points of the group `triptych.encoders`, ours and other packages'.

    Raises ProfileError `profile.plugin` for an entry point that does not load or is no Family.
    """
    found: dict[str, Family] = {}
    for point in sorted(entry_points(group="triptych.encoders"), key=lambda p: p.name):
        try:
            family = point.load()
        except Exception as error:
            raise ProfileError(
                f"The plug-in {point.name} ({point.value}) does not load: {error}.",
                code="profile.plugin",
                remedy="Mend it or uninstall its package.",
            ) from error
        if not isinstance(family, Family) or family.name != point.name or point.name in found:
            raise ProfileError(
                f"The plug-in {point.name} ({point.value}) is not a Family of that name, or the name is taken.",
                code="profile.plugin",
                remedy="See docs/encoders.md for the form of a plug-in.",
            )
        found[point.name] = family
    return found


def built_in() -> list[str]:
    """The names of the profiles that come with Triptych."""
    folder = resources.files("triptych.profiles")
    return sorted(item.name.removesuffix(SUFFIX) for item in folder.iterdir() if item.name.endswith(SUFFIX))


def read(name: str) -> Profile:
    """A profile by its name, or by the path of its file. Raises ProfileError, with the line where there is one."""
    if name in built_in():
        text = resources.files("triptych.profiles").joinpath(name + SUFFIX).read_text(encoding="utf-8")
        return parse(text, name=name)
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # the home of nobody
        path = path.expanduser()
    if path.suffix not in {SUFFIX, ".yml"} and not path.is_file():
        known = built_in()
        close = difflib.get_close_matches(name, known, n=1)
        raise ProfileError(
            f"There is no profile {name!r}.",
            code="profile.unknown",
            field="profile",
            remedy=f"Did you mean {close[0]!r}?" if close else f"Give a file, or one of {', '.join(known)}.",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(
            f"The profile {path} cannot be read: {error}.", code="profile.unreadable", field="profile"
        ) from error
    return parse(text, name=str(path), folder=path.resolve().parent)


def parse(text: str, *, name: str, folder: Path | None = None) -> Profile:
    """A profile from its text, checked as a whole. Raises ProfileError naming the line."""
    source = Source(name, compose(text, name))
    data = yaml.safe_load(text)
    if not isinstance(data, dict):
        raise source.error((), "A profile is a mapping with description and spaces")
    body = _validated(Body, data, source, ())
    known = families()
    options: dict[str, Options] = {}
    used: dict[str, Family] = {}
    for space, entry in body.spaces.items():
        where: Loc = ("spaces", space)
        _check_name(space, where, source)
        if entry.family == FUSED:
            checks.check_fused(entry, body.spaces, where, source)
        elif entry.family == PRECOMPUTED:
            checks.check_precomputed(entry, where, source)
        else:
            family = _family(entry, known, where, source)
            checks.check_modalities(entry, family, where, source)
            checks.check_over(entry, family, body.spaces, where, source)
            used[space] = family
            options[space] = _validated(family.options, entry.options, source, (*where, "options"))
        checks.check_index(entry, where, source)
        checks.check_several(entry, where, source)
    for space in used:
        learning = [role for role, other in body.spaces[space].over.items() if used[other].fit is not None]
        if learning:
            message = "a space whose encoder learns from the catalogue cannot carry another"
            raise source.error(("spaces", space, "over", learning[0]), message)
    checks.check_parts_fields(body.spaces, source)
    checks.check_legs(body.spaces, source)
    checks.check_classifiers(body, used, source)
    ordered = dict(sorted(used.items(), key=lambda item: bool(body.spaces[item[0]].over)))
    return Profile(
        name, body.description, body.cost, body.spaces, ordered, options, body.speech, text, folder, body.classifiers
    )


def _validated(kind: type[_Model], data: object, source: Source, at: Loc) -> _Model:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise source.error((*at, *first["loc"]), first["msg"], "See docs/profiles.md for the keys.") from error


def _check_name(space: str, where: Loc, source: Source) -> None:
    if not _SPACE.fullmatch(space) or space in BOOKKEEPING:
        raise source.error(where, f"{space!r} cannot name a space", "Use lower-case letters, digits and '_', as image_words.")


def _family(entry: SpaceEntry, known: Mapping[str, Family], where: Loc, source: Source) -> Family:
    if entry.family not in known:
        close = difflib.get_close_matches(entry.family, [*known, FUSED, PRECOMPUTED], n=1)
        names = ", ".join([*known, FUSED, PRECOMPUTED])
        remedy = f"Did you mean {close[0]!r}?" if close else f"Families: {names}."
        raise source.error((*where, "family"), f"there is no family {entry.family!r}", remedy)
    family = known[entry.family]
    if family.wants_model and entry.model is None:
        raise source.error(where, f"the family {family.name} wants a model", "Give model: a hub name, or a folder's path.")
    for key in ("parts", "fingerprint"):
        if getattr(entry, key):
            raise source.error((*where, key), f"the family {family.name} has no {key}")
    return family
