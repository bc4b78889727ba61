"""From a profile to encoders: their specs, whether their weights are here, and the encoders themselves.

    profile -> specs (data; a fingerprint needs the digest of the weights) -> encoders_of (weights are read on first use)

Importing this does not import torch; making an encoder does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from triptych.encoders import models, store, trained, trained_classifier
from triptych.encoders.base import Encoder, EncoderSpec, Family, Fitted, Setup, called, fingerprint_of
from triptych.encoders.profile_entries import FUSED, PRECOMPUTED
from triptych.encoders.profiles import Profile
from triptych.encoders.trained_classifier import TrainedClassifier
from triptych.encoders.trained_fusion import TrainedFusion
from triptych.errors import EncoderError
from triptych.schema import IndexSchema, Space
from triptych.settings import Settings, calm_openmp

Read = Callable[[str], Fitted]
"""Gives what an encoder learned from a catalogue, by its sha256."""


def model_of(profile: Profile, space: str) -> models.Model | None:
    """The model of a space's encoder, None where it has none."""
    reference = profile.spaces[space].model
    return models.model_of(reference, profile.folder) if reference else None


def spec_of(profile: Profile, name: str, settings: Settings, *, fitted: str | None = None) -> EncoderSpec:
    """The spec of a space's encoder. Raises EncoderError `encoder.not_prepared` while its weights are not here."""
    entry, family, model = profile.spaces[name], profile.families[name], model_of(profile, name)
    if entry.documents is None:
        raise ValueError(name)  # a checked profile has it
    options = profile.options[name].model_dump(mode="json", exclude={"remote_code"})
    identity: dict[str, Any] = {"family": family.name, "version": family.version, "options": options}
    if model is not None:
        identity["weights"] = models.digest_of(model, settings)
    if entry.over:
        identity["over"] = {role: spec_of(profile, other, settings).fingerprint for role, other in entry.over.items()}
    return EncoderSpec(
        name=name_of(profile, name),
        space=name,
        document_modality=entry.documents,
        query_modalities=entry.queries,
        dims=entry.dims,
        licence=entry.licence,
        description=entry.description or family.summary,
        identity=identity,
        similarity=entry.similarity,
        index_type=entry.index,
        label=entry.label or "",
        fitted=fitted,
    )


def name_of(profile: Profile, space: str) -> str:
    """What an encoder is called where people read: its model, or its family (and what it is made over)."""
    entry, model = profile.spaces[space], model_of(profile, space)
    if model is not None:
        return model.name
    if entry.family == PRECOMPUTED:
        return str(entry.fingerprint)
    return "-".join(
        [entry.family.replace("_", "-"), *(name_of(profile, other) for other in [*entry.over.values(), *entry.parts])]
    )


def learning(profile: Profile) -> list[str]:
    """The spaces whose encoders learn from a catalogue."""
    return [name for name, family in profile.families.items() if family.fit is not None]


def spaces_of(profile: Profile, settings: Settings, *, fitted: Mapping[str, str] | None = None) -> list[Space]:
    """All spaces of a profile, as a new index keeps them. `fitted` are the sha256 of what was learned, by space.

    Raises EncoderError `encoder.not_prepared`; `encoder.not_fitted` for a space whose encoder learns and has not learned.
    """
    learned = fitted or {}
    for name in learning(profile):
        if name not in learned:
            raise EncoderError(
                f"The encoder of the space {name!r} learns from a catalogue first.",
                code="encoder.not_fitted",
                field="fit",
                remedy="Create the index with: triptych index create NAME --fit CATALOGUE",
            )
    spaces = {name: _with_encoder(profile, name, settings, learned.get(name)) for name in profile.families}
    # fused spaces come last: they are made of all others
    for name in sorted(profile.spaces, key=lambda name: profile.spaces[name].family == FUSED):
        if name not in spaces:
            spaces[name] = _without_encoder(profile, name, settings, spaces)
    return [spaces[name] for name in profile.spaces]


def _with_encoder(profile: Profile, name: str, settings: Settings, fitted: str | None) -> Space:
    """A space that an encoder fills. How several media count is no part of the encoder: its fingerprint does not change."""
    entry = profile.spaces[name]
    told = {"several": entry.several, "segment_seconds": entry.segment_seconds}
    return spec_of(profile, name, settings, fitted=fitted).to_space().model_copy(update=told)


def _without_encoder(profile: Profile, name: str, settings: Settings, spaces: Mapping[str, Space]) -> Space:
    """A space whose vectors are made of other spaces' (fused), or come with the records (precomputed).

    Raises EncoderError `encoder.trained` for a network that was trained on other encoders.
    """
    entry, model = profile.spaces[name], model_of(profile, name)
    fused = entry.family == FUSED
    parts = {part: [weight, spaces[part].fingerprint] for part, weight in entry.parts.items()}
    identity: dict[str, Any] = {"parts": parts, "combine": entry.combine} if fused else {"declared": entry.fingerprint}
    if model is not None:
        identity["weights"] = models.digest_of(model, settings)
    made = Space(
        name=name,
        encoder=name_of(profile, name),
        fingerprint=fingerprint_of(identity, dims=entry.dims, similarity=entry.similarity),
        dims=entry.dims,
        similarity=entry.similarity,
        index_type=entry.index,
        document_modality=entry.documents,
        label=entry.label or "",
        kind="fused" if fused else "precomputed",
        parts=entry.parts,
        combine=entry.combine,
    )
    if model is not None:  # one that does not fit is refused at once
        TrainedFusion(model.path, made, [spaces[part] for part in entry.parts])
    return made


def check(profile: Profile, schema: IndexSchema, settings: Settings) -> None:
    """Raise EncoderError unless the profile's encoders are those that filled the index's spaces."""
    spaces = schema.spaces
    built = f"TRIPTYCH_PROFILE={schema.profile}" if schema.profile else "TRIPTYCH_PROFILE to the profile it was built with"
    fitted = {space.name: space.fitted for space in spaces if space.fitted is not None}
    unlearned = {name for name in learning(profile) if name not in fitted}
    able = {name for name, entry in profile.spaces.items() if name not in unlearned and not unlearned & set(entry.parts)}
    here = {space.name: space for space in spaces_of(only(profile, able), settings, fitted=fitted)}
    for mine in spaces:
        other = here.get(mine.name)
        if other is None:
            raise EncoderError(
                f"The index has the space {mine.name!r} of {mine.encoder}, which the profile {profile.name} does not make.",
                code="encoder.unknown",
                field=mine.field,
                remedy=f"Set {built}, or build a new index version.",
            )
        if mine.fingerprint != other.fingerprint:
            raise EncoderError(
                f"The index holds vectors of {mine.encoder} ({mine.fingerprint}) in the space {mine.name!r}, "
                f"but the encoder at hand is {other.encoder} ({other.fingerprint}).",
                code="encoder.fingerprint_mismatch",
                field=mine.field,
                remedy=f"Set {built} and use the same weights, or build a new index version.",
            )


def encoders_of(
    profile: Profile, settings: Settings, *, fitted: Mapping[str, str] | None = None, read: Read | None = None
) -> dict[str, Encoder]:
    """The encoders of a profile by space, each made once; weights are read on first use.

    `fitted` are the sha256 of what was learned, by space, and `read` gives it. A space whose encoder has not learned is left
    out. Raises EncoderError `encoder.not_prepared`, and `encoder.package_missing` where a package is missing.
    """
    calm_openmp()
    learned = fitted or {}
    made: dict[str, Encoder] = {}
    for name, family in profile.families.items():
        if family.fit is not None and (name not in learned or read is None):
            continue
        parts = {role: made[other] for role, other in profile.spaces[name].over.items()}
        setup = setup_of(profile, name, settings, parts=parts)
        if family.fit is not None and read is not None:
            spec = dataclasses.replace(setup.spec, fitted=learned[name])
            setup = dataclasses.replace(setup, spec=spec, fitted=read(learned[name]))
        if family.derive is not None:
            setup = dataclasses.replace(setup, derived=derived(profile, setup, family))
        made[name] = family.make(setup)
    return made


def setup_of(profile: Profile, name: str, settings: Settings, *, parts: Mapping[str, Encoder]) -> Setup:
    """What a space's encoder is made of, before it has learned or derived anything."""
    model = model_of(profile, name)
    folder = models.find(model, settings) if model else None
    return Setup(spec_of(profile, name, settings), profile.options[name], settings, model=folder, parts=parts)


def derived_folder(setup: Setup) -> Path:
    """Where what is derived for an encoder lies, whether it is there or not."""
    return setup.settings.encoders_dir / f"{setup.spec.identity['family']}-{setup.spec.fingerprint}"


def derived(profile: Profile, setup: Setup, family: Family) -> Path:
    """The folder of what a family computes from the weights, once per machine; computes it if it is not there.

    What is computed once for all is computed alike everywhere: in float32 on the CPU.
    """
    folder, recipe = derived_folder(setup), setup.spec.fingerprint
    if not store.is_present(folder, recipe) and family.derive is not None:
        on_cpu = setup.settings.model_copy(update={"device": "cpu", "dtype": "float32"})
        over = profile.spaces[setup.spec.space].over
        parts = encoders_of(only(profile, set(over.values())), on_cpu) if over else {}
        alike = dataclasses.replace(setup, settings=on_cpu, parts={role: parts[name] for role, name in over.items()})
        compute = called(family.derive)
        with store.locked(setup.settings.encoders_dir):
            if not store.is_present(folder, recipe):
                store.build(folder, recipe, lambda target: compute(alike, target))
    return folder


def classifier_of(profile: Profile, field: str, schema: IndexSchema) -> TrainedClassifier | None:
    """The profile's classifier of a field, for queries of an index; None where it names none.

    Raises EncoderError `encoder.trained` where the folder holds none of the field, or the index's vectors are not of the
    encoders that it was trained on.
    """
    entry = profile.classifiers.get(field)
    if entry is None:
        return None
    model = models.model_of(entry.model, profile.folder)
    found = trained_classifier.read(model.path)
    if found.field != field:
        raise EncoderError(
            f"{entry.model} tells {found.field}, not {field}.",
            code="encoder.trained",
            field=f"classifiers.{field}",
            remedy="Name it under the field that it was trained for.",
        )
    held = {space.name: space for space in schema.spaces}
    fingerprints = {str(m): (held[s].encoder, held[s].fingerprint) for m, s in entry.over.items() if s in held}
    trained.check_fingerprints(f"The classifier of {field}", found.towers, fingerprints)
    return found


def fusion_of(profile: Profile, space: Space, schema: IndexSchema) -> TrainedFusion:
    """What makes the vectors of a fused space by a network. Raises EncoderError `encoder.trained`, `encoder.dims`."""
    model = model_of(profile, space.name)
    parts = [schema.space_of(name) for name in space.parts]
    return TrainedFusion(model.path if model else None, space, [part for part in parts if part is not None])


def only(profile: Profile, names: set[str]) -> Profile:
    """The profile with these spaces alone."""
    families = {name: family for name, family in profile.families.items() if name in names}
    spaces = {name: entry for name, entry in profile.spaces.items() if name in names}
    return dataclasses.replace(profile, families=families, spaces=spaces)
