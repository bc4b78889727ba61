"""Profiles: which spaces there are, which encoder fills each, and how Elasticsearch indexes it. Readable files, one a profile.

A profile that comes with Triptych is asked for by name, a user's own by the path of its file; both have the same form
(docs/profiles.md). An error in a file is named by its line. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triptych.domain import Modality
from triptych.encoders.base import Family, Options
from triptych.encoders.yaml_lines import Loc, Source, compose
from triptych.errors import ProfileError
from triptych.schema import BOOKKEEPING, LEXICAL, MOST_DIMS, PARTS, SEGMENT_SECONDS, Combine, IndexType, Several, Similarity

FUSED, PRECOMPUTED = "fused", "precomputed"
"""Families without an encoder: a space made of other spaces' vectors, and one whose vectors come with the records."""

SUFFIX = ".yaml"
_SPACE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LEAST_BBQ = 64

_Model = TypeVar("_Model", bound=BaseModel)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceEntry(_Entry):
    """One space of a profile. What each key means stands in docs/profiles.md."""

    family: str
    dims: int = Field(ge=1, le=MOST_DIMS)
    licence: str = Field(min_length=1)
    documents: Modality | None = None
    queries: tuple[Modality, ...] = ()
    model: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    over: dict[str, str] = Field(default_factory=dict)
    parts: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    combine: Combine = "concatenate"
    several: Several = "mean"
    segment_seconds: float = Field(SEGMENT_SECONDS, ge=1, le=600)
    fingerprint: str | None = Field(None, min_length=1, max_length=200)
    similarity: Similarity = "cosine"
    index: IndexType = "int8_hnsw"
    label: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$")
    description: str = ""


class SpeechEntry(_Entry):
    """What recognises spoken queries: a Whisper model."""

    model: str
    licence: str = Field(min_length=1)
    family: Literal["whisper_speech"] = "whisper_speech"


class ClassifierEntry(_Entry):
    """What tells a field of a query: the folder that `triptych train classifier` wrote, over a space for each modality."""

    model: str
    licence: str = Field(min_length=1)
    over: dict[Modality, str] = Field(min_length=1)


class _Body(_Entry):
    description: str
    cost: str = ""
    spaces: dict[str, SpaceEntry] = Field(min_length=1)
    speech: SpeechEntry | None = None
    classifiers: dict[str, ClassifierEntry] = Field(default_factory=dict)


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
    body = _validated(_Body, data, source, ())
    known = families()
    options: dict[str, Options] = {}
    used: dict[str, Family] = {}
    for space, entry in body.spaces.items():
        where: Loc = ("spaces", space)
        _check_name(space, where, source)
        if entry.family == FUSED:
            _check_fused(entry, body.spaces, where, source)
        elif entry.family == PRECOMPUTED:
            _check_precomputed(entry, where, source)
        else:
            family = _family(entry, known, where, source)
            _check_modalities(entry, family, where, source)
            _check_over(entry, family, body.spaces, where, source)
            used[space] = family
            options[space] = _validated(family.options, entry.options, source, (*where, "options"))
        _check_index(entry, where, source)
        _check_several(entry, where, source)
    for space in used:
        learning = [role for role, other in body.spaces[space].over.items() if used[other].fit is not None]
        if learning:
            message = "a space whose encoder learns from the catalogue cannot carry another"
            raise source.error(("spaces", space, "over", learning[0]), message)
    _check_parts_fields(body.spaces, source)
    _check_legs(body.spaces, source)
    _check_classifiers(body, used, source)
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


def _check_modalities(entry: SpaceEntry, family: Family, where: Loc, source: Source) -> None:
    if entry.documents not in family.documents:
        able = ", ".join(family.documents)
        raise source.error((*where, "documents"), f"the family {family.name} embeds of a product its {able}")
    unable = [modality for modality in entry.queries if modality not in family.queries]
    if unable or not entry.queries:
        able = ", ".join(family.queries)
        raise source.error((*where, "queries"), f"the family {family.name} embeds of a query its {able}")


def _check_over(entry: SpaceEntry, family: Family, spaces: Mapping[str, SpaceEntry], where: Loc, source: Source) -> None:
    embedded = {str(modality) for modality in (entry.documents, *entry.queries) if modality is not None}
    wanted = embedded if family.over_modalities else set(family.parts)
    if set(entry.over) != wanted:
        shown = ", ".join(sorted(wanted) if family.over_modalities else family.parts) or "nothing"
        raise source.error((*where, "over"), f"the family {family.name} is made over {shown}")
    for role, name in entry.over.items():
        other = spaces.get(name)
        if other is None or other.family in {FUSED, PRECOMPUTED} or other.over:
            raise source.error((*where, "over", role), f"{name!r} is no space of this profile with an encoder of its own")
        if family.over_modalities and role not in {other.documents, *other.queries}:
            raise source.error((*where, "over", role), f"the space {name!r} takes no {role}")


def _check_classifiers(body: _Body, used: Mapping[str, Family], source: Source) -> None:
    """A classifier stands on encoders that embed queries of its modalities."""
    for name, entry in body.classifiers.items():
        for modality, space in entry.over.items():
            where: Loc = ("classifiers", name, "over", modality)
            if space not in used or body.spaces[space].over:
                raise source.error(where, f"{space!r} is no space of this profile with an encoder of its own")
            if modality not in body.spaces[space].queries:
                raise source.error(where, f"the space {space!r} embeds no {modality} of a query")


def _check_fused(entry: SpaceEntry, spaces: Mapping[str, SpaceEntry], where: Loc, source: Source) -> None:
    for key in ("documents", "queries", "model", "options", "over", "fingerprint"):
        if getattr(entry, key):
            raise source.error((*where, key), f"a fused space has no {key}; it has what its parts have")
    if entry.index == "none":
        raise source.error((*where, "index"), "a fused space is searched, or it is of no use")
    if (entry.label or where[-1]) == LEXICAL:
        raise source.error(where, f"{LEXICAL} is the leg of the words", "Name the space otherwise, or give it a label.")
    if len(entry.parts) < 2:  # noqa: PLR2004  one part alone is that space itself
        raise source.error((*where, "parts"), "a fused space is made of two spaces or more", "parts: {text: 0.6, image: 0.4}")
    for name in entry.parts:
        if name not in spaces or spaces[name].family == FUSED:
            raise source.error((*where, "parts", name), f"{name!r} is no space of this profile that can be a part")
    widths = [spaces[name].dims for name in entry.parts]
    if entry.combine == "sum" and set(widths) != {entry.dims}:
        raise source.error((*where, "dims"), f"spaces that are summed have the same dims, but these have {widths}")
    if entry.combine == "concatenate" and sum(widths) != entry.dims:
        raise source.error((*where, "dims"), f"the parts' dims add up to {sum(widths)}, not {entry.dims}")


def _check_precomputed(entry: SpaceEntry, where: Loc, source: Source) -> None:
    for key in ("model", "options", "over", "parts"):
        if getattr(entry, key):
            raise source.error((*where, key), f"a precomputed space has no {key}")
    if entry.fingerprint is None:
        remedy = "fingerprint: a name of the model and its version, changed whenever the vectors change"
        raise source.error(where, "a precomputed space declares a fingerprint", remedy)
    if entry.queries:
        raise source.error((*where, "queries"), "a precomputed space is searched by vectors only")


def _check_index(entry: SpaceEntry, where: Loc, source: Source) -> None:
    """Elasticsearch's own limits, said before an index is made.

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector
    """
    if entry.index.startswith("int4") and entry.dims % 2:
        raise source.error((*where, "dims"), f"{entry.index} wants an even number of dims")
    if entry.index.startswith("bbq") and entry.dims < _LEAST_BBQ:
        raise source.error((*where, "dims"), f"{entry.index} wants {_LEAST_BBQ} dims or more")


def _check_several(entry: SpaceEntry, where: Loc, source: Source) -> None:
    """The best of several media: in spaces of pictures or sounds that an encoder fills and legs search."""
    best = entry.several == "best"
    if best and (entry.family in {FUSED, PRECOMPUTED} or entry.documents not in {Modality.IMAGE, Modality.AUDIO}):
        remedy = "Leave it out; only a space of pictures or sounds that has an encoder can be scored by the best one."
        raise source.error((*where, "several"), "the best of several media counts in spaces of pictures or sounds only", remedy)
    if best and entry.index == "none":
        raise source.error((*where, "several"), "a space that is only a part of others has one vector: several: mean")
    if "segment_seconds" in entry.model_fields_set and not (best and entry.documents is Modality.AUDIO):
        raise source.error((*where, "segment_seconds"), "only sounds are cut into segments, and only with several: best")


def _check_parts_fields(spaces: Mapping[str, SpaceEntry], source: Source) -> None:
    for space, entry in spaces.items():
        if entry.several == "best" and space + PARTS in spaces:
            message = f"the space {space} has a field of that name for its parts"
            raise source.error(("spaces", space + PARTS), message, "Name one of them otherwise.")


def _check_legs(spaces: Mapping[str, SpaceEntry], source: Source) -> None:
    taken: dict[str, str] = {}
    for space, entry in spaces.items():
        if entry.index == "none":
            continue
        for leg in legs_of(space, entry):
            if leg in taken:
                remedy = "Give one of them a label: another second half of its legs' names."
                raise source.error(("spaces", space), f"the spaces {taken[leg]} and {space} both make the leg {leg}", remedy)
            taken[leg] = space


def legs_of(space: str, entry: SpaceEntry) -> Sequence[str]:
    """The names of the legs that a space makes."""
    if entry.family == FUSED:
        return (entry.label or space,)
    return tuple(f"{modality}.{entry.label or entry.documents}" for modality in entry.queries)
