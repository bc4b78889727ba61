"""Encoders that are made when the first of them is asked to embed.

Making one imports torch, which takes seconds of CPU and 300 MB. A worker whose inputs are all in the cache of vectors, or whose
records bring their vectors, never needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from triptych.domain import Modality, Vectors
from triptych.encoders import registry
from triptych.encoders.base import Encoder, EncoderSpec, Input, Preparing
from triptych.encoders.profiles import Profile
from triptych.settings import Settings


@dataclass(eq=False)
class _Set:
    """The encoders of a profile, made together, because some are made over others."""

    make: Callable[[], Mapping[str, Encoder]]
    _made: Mapping[str, Encoder] | None = None
    _making: threading.Lock = field(default_factory=threading.Lock)

    def if_made(self, space: str) -> Encoder | None:
        """The encoder of a space, None before the first is asked to embed."""
        return None if self._made is None else self._made[space]

    def of(self, space: str) -> Encoder:
        with self._making:
            if self._made is None:
                self._made = self.make()
            return self._made[space]


@dataclass(eq=False)
class LateEncoder:
    """An Encoder whose data are known and which is made on first use. What making it raises, embedding raises."""

    spec: EncoderSpec
    _all: _Set

    def prepare(self, value: Input) -> None:
        """As `base.Preparing`, where the encoder is made and can."""
        encoder = self._all.if_made(self.spec.space)
        if isinstance(encoder, Preparing):
            encoder.prepare(value)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return self._all.of(self.spec.space).embed_documents(inputs)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        return self._all.of(self.spec.space).embed_queries(inputs, modality)


def encoders_of(profile: Profile, settings: Settings, *, fitted: Mapping[str, str], read: registry.Read) -> dict[str, Encoder]:
    """As `registry.encoders_of`, made on first use. Raises EncoderError `encoder.not_prepared` at once."""
    together = _Set(lambda: registry.encoders_of(profile, settings, fitted=fitted, read=read))
    unlearned = {name for name in registry.learning(profile) if name not in fitted}
    return {
        name: LateEncoder(registry.spec_of(profile, name, settings, fitted=fitted.get(name)), together)
        for name in profile.families
        if name not in unlearned
    }
