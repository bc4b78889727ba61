"""What of a profile must fit together: families, parts, models, indices and the names of legs. A fault is named by its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triptych.domain import Modality
from triptych.encoders.base import Family
from triptych.encoders.profile_entries import FUSED, PRECOMPUTED, Body, SpaceEntry
from triptych.encoders.yaml_lines import Loc, Source
from triptych.schema import LEXICAL, PARTS

_LEAST_BBQ = 64


def check_modalities(entry: SpaceEntry, family: Family, where: Loc, source: Source) -> None:
    if entry.documents not in family.documents:
        able = ", ".join(family.documents)
        raise source.error((*where, "documents"), f"the family {family.name} embeds of a product its {able}")
    unable = [modality for modality in entry.queries if modality not in family.queries]
    if unable or not entry.queries:
        able = ", ".join(family.queries)
        raise source.error((*where, "queries"), f"the family {family.name} embeds of a query its {able}")


def check_over(entry: SpaceEntry, family: Family, spaces: Mapping[str, SpaceEntry], where: Loc, source: Source) -> None:
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


def check_classifiers(body: Body, used: Mapping[str, Family], source: Source) -> None:
    """A classifier stands on encoders that embed queries of its modalities."""
    for name, entry in body.classifiers.items():
        for modality, space in entry.over.items():
            where: Loc = ("classifiers", name, "over", modality)
            if space not in used or body.spaces[space].over:
                raise source.error(where, f"{space!r} is no space of this profile with an encoder of its own")
            if modality not in body.spaces[space].queries:
                raise source.error(where, f"the space {space!r} embeds no {modality} of a query")


def check_fused(entry: SpaceEntry, spaces: Mapping[str, SpaceEntry], where: Loc, source: Source) -> None:
    others = () if entry.combine == "network" else ("model",)
    for key in ("documents", "queries", *others, "options", "over", "fingerprint"):
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
    check_combine(entry, [spaces[name] for name in entry.parts], where, source)


def check_combine(entry: SpaceEntry, parts: Sequence[SpaceEntry], where: Loc, source: Source) -> None:
    widths = [part.dims for part in parts]
    if entry.combine == "sum" and set(widths) != {entry.dims}:
        raise source.error((*where, "dims"), f"spaces that are summed have the same dims, but these have {widths}")
    if entry.combine == "concatenate" and sum(widths) != entry.dims:
        raise source.error((*where, "dims"), f"the parts' dims add up to {sum(widths)}, not {entry.dims}")
    if entry.combine == "network":
        modalities = {part.documents for part in parts if part.fingerprint is None} - {None}
        if entry.model is None or len(modalities) < len(parts) or set(entry.parts.values()) != {1}:
            remedy = "model: the folder that `triptych train fusion` wrote, and its parts: {text: 1, image: 1}"
            raise source.error(where, "a network joins spaces of different modalities by a model, each with weight 1", remedy)


def check_precomputed(entry: SpaceEntry, where: Loc, source: Source) -> None:
    for key in ("model", "options", "over", "parts"):
        if getattr(entry, key):
            raise source.error((*where, key), f"a precomputed space has no {key}")
    if entry.fingerprint is None:
        remedy = "fingerprint: a name of the model and its version, changed whenever the vectors change"
        raise source.error(where, "a precomputed space declares a fingerprint", remedy)
    if entry.queries:
        raise source.error((*where, "queries"), "a precomputed space is searched by vectors only")


def check_index(entry: SpaceEntry, where: Loc, source: Source) -> None:
    """Elasticsearch's own limits, said before an index is made.

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector
    """
    if entry.index.startswith("int4") and entry.dims % 2:
        raise source.error((*where, "dims"), f"{entry.index} wants an even number of dims")
    if entry.index.startswith("bbq") and entry.dims < _LEAST_BBQ:
        raise source.error((*where, "dims"), f"{entry.index} wants {_LEAST_BBQ} dims or more")


def check_several(entry: SpaceEntry, where: Loc, source: Source) -> None:
    """The best of several media: in spaces of pictures or sounds that an encoder fills and legs search."""
    best = entry.several == "best"
    if best and (entry.family in {FUSED, PRECOMPUTED} or entry.documents not in {Modality.IMAGE, Modality.AUDIO}):
        remedy = "Leave it out; only a space of pictures or sounds that has an encoder can be scored by the best one."
        raise source.error((*where, "several"), "the best of several media counts in spaces of pictures or sounds only", remedy)
    if best and entry.index == "none":
        raise source.error((*where, "several"), "a space that is only a part of others has one vector: several: mean")
    if "segment_seconds" in entry.model_fields_set and not (best and entry.documents is Modality.AUDIO):
        raise source.error((*where, "segment_seconds"), "only sounds are cut into segments, and only with several: best")


def check_parts_fields(spaces: Mapping[str, SpaceEntry], source: Source) -> None:
    for space, entry in spaces.items():
        if entry.several == "best" and space + PARTS in spaces:
            message = f"the space {space} has a field of that name for its parts"
            raise source.error(("spaces", space + PARTS), message, "Name one of them otherwise.")


def check_legs(spaces: Mapping[str, SpaceEntry], source: Source) -> None:
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
