"""Which spaces of a profile are stood on: the frozen encoders, and the files of their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from indexer.sources.source import Source
from training.catalogue import Catalogue, Change, Progress, Reader
from training.products import Reading
from training.vectors import VectorFile
from triptych.domain import Modality
from triptych.encoders import registry
from triptych.encoders.base import Encoder
from triptych.encoders.profiles import Profile
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings, calm_openmp


@dataclass(frozen=True, slots=True)
class Base:
    """A space of the profile in force whose frozen encoder serves one modality."""

    space: str
    encoder: Encoder

    @property
    def fingerprint(self) -> str:
        return self.encoder.spec.fingerprint

    @property
    def dims(self) -> int:
        return self.encoder.spec.dims


def named(profile: Profile, given: Sequence[str]) -> dict[Modality, str]:
    """The space of each modality: those given as MODALITY=SPACE, else the first that is of the modality on both sides.

    Raises InputError `training.over`.
    """
    able = [n for n, family in profile.families.items() if family.fit is None and not profile.spaces[n].over]
    if not given:
        found: dict[Modality, str] = {}
        for name in able:
            entry = profile.spaces[name]
            if entry.documents in entry.queries and entry.documents is not None:
                found.setdefault(entry.documents, name)
        return found
    chosen: dict[Modality, str] = {}
    for part in given:
        modality, equals, space = part.partition("=")
        if not equals or modality not in set(Modality) or space not in able:
            raise InputError(
                f"{part!r} names no encoder to stand on.",
                code="training.over",
                field="over",
                remedy=f"MODALITY=SPACE, the modality text, image or audio, the space one of {', '.join(able) or 'none'}.",
            )
        entry = profile.spaces[space]
        if Modality(modality) not in {entry.documents, *entry.queries}:
            raise InputError(f"The space {space} takes no {modality}.", code="training.over", field="over")
        chosen[Modality(modality)] = space
    return chosen


def bases_of(profile: Profile, settings: Settings, spaces: Mapping[Modality, str]) -> dict[Modality, Base]:
    """The frozen encoders. Raises EncoderError `encoder.not_prepared`."""
    calm_openmp()
    encoders = registry.encoders_of(registry.only(profile, set(spaces.values())), settings)
    return {modality: Base(name, encoders[name]) for modality, name in sorted(spaces.items())}


@contextmanager
def embedded(
    services: Services,
    source: Source,
    bases: Mapping[Modality, Base],
    reading: Reading,
    *,
    change: Change | None = None,
    progress: Progress,
) -> Iterator[Catalogue]:
    """A catalogue with the vectors of its inputs; the files of vectors are open inside the block."""
    folder = services.settings.data_dir / "training"
    with ExitStack() as stack:
        files = {
            modality: stack.enter_context(VectorFile(folder, f"{modality}-{base.fingerprint}", base.dims))
            for modality, base in bases.items()
        }
        encoders = {modality: base.encoder for modality, base in bases.items()}
        yield Reader(services, encoders, files, reading, change).read(source, progress)
