"""The composition root: from settings to everything a flow needs, one ping per service. Nothing loads before its use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from triptych import __version__
from triptych.elastic import artefacts, lifecycle
from triptych.elastic import client as elastic
from triptych.encoders import fitted, models, profiles, registry
from triptych.encoders.base import Encoder, Fitted
from triptych.encoders.cache import VectorCache
from triptych.errors import EncoderError
from triptych.jobs import queue
from triptych.jobs.control import Control
from triptych.jobs.store import JobStore
from triptych.jobs.uploads import Uploads
from triptych.media.decoder import Decoder
from triptych.media.fetcher import Fetcher
from triptych.schema import IndexSchema
from triptych.settings import Settings, load

if TYPE_CHECKING:  # brings torch
    from triptych.encoders.whisper_speech import Transcriber

_MOST_SETS = 4
"""Sets of encoders kept at once: one for all indices whose encoders learned nothing, one for each index where they did."""


@dataclass(frozen=True)
class Services:
    """What one process works with. Each part is made on first use and kept; share one Services between threads."""

    settings: Settings
    _sets: dict[tuple[tuple[str, str], ...], dict[str, Encoder]] = field(default_factory=dict, repr=False)
    _right: set[tuple[tuple[str, str], ...]] = field(default_factory=set, repr=False)
    _making: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def elasticsearch(self) -> elastic.Client:
        return elastic.connect(self.settings)

    @cached_property
    def server(self) -> elastic.Server:
        return elastic.server(self.elasticsearch)

    @cached_property
    def redis(self) -> redis.Redis:
        return queue.connect_redis(self.settings)

    @cached_property
    def queue(self) -> queue.Queue:
        return queue.make_queue(self.settings)

    @cached_property
    def jobs(self) -> JobStore:
        return JobStore(self.elasticsearch, self.settings)

    @cached_property
    def uploads(self) -> Uploads:
        return Uploads(self.elasticsearch, self.settings)

    @cached_property
    def control(self) -> Control:
        return Control(self.jobs, self.queue, self.elasticsearch, self.settings)

    @cached_property
    def decoder(self) -> Decoder:
        return Decoder(self.settings, processes=self.settings.decode_processes)

    @cached_property
    def fetcher(self) -> Fetcher:
        return Fetcher(self.settings, self.redis)

    @cached_property
    def cache(self) -> VectorCache:
        return VectorCache(self.redis, self.settings)

    @cached_property
    def profile(self) -> profiles.Profile:
        """The profile in force. Raises ProfileError."""
        return profiles.read(self.settings.active_profile)

    def schema(self, learned: Mapping[str, str] | None = None) -> IndexSchema:
        """What a new index of the profile in force says of itself. `learned`: the sha256 of what encoders learned, by space."""
        spaces = registry.spaces_of(self.profile, self.settings, fitted=learned)
        return lifecycle.spaces_schema(spaces, __version__, profile=self.profile.name)

    def check(self, schema: IndexSchema) -> None:
        """Raise EncoderError unless the profile's encoders are those that filled the index.

        An index that was found right is not looked at again: every batch asks, and every search of a few seconds.
        """
        spaces = tuple((space.name, space.fingerprint) for space in schema.spaces)
        if spaces not in self._right:
            registry.check(self.profile, schema, self.settings)
            self._right.add(spaces)

    def encoders(self, schema: IndexSchema) -> Mapping[str, Encoder]:
        """The encoders of an index by space. Their weights load on first use. Raises EncoderError."""
        learned = {space.name: space.fitted for space in schema.spaces if space.fitted is not None}
        key = tuple(sorted(learned.items()))
        with self._making:
            if key not in self._sets:
                while len(self._sets) >= _MOST_SETS:
                    del self._sets[next(iter(self._sets))]
                self._sets[key] = registry.encoders_of(self.profile, self.settings, fitted=learned, read=self.fitted)
            return self._sets[key]

    @cached_property
    def transcriber(self) -> Transcriber | None:
        """What recognises spoken queries, None where the profile has no speech."""
        speech = self.profile.speech
        if speech is None:
            return None
        folder = models.find(models.model_of(speech.model, self.profile.folder), self.settings)
        from triptych.encoders.whisper_speech import Transcriber  # noqa: PLC0415

        return Transcriber(folder, self.settings)

    @property
    def fitted_index(self) -> str:
        """Where what encoders learned is kept."""
        return f"{self.settings.system_prefix}fitted"

    def fitted_path(self, sha256: str) -> Path:
        """This machine's copy of what an encoder learned, whether it is there or not."""
        return self.settings.data_dir / "fitted" / f"{sha256}.safetensors"

    def keep(self, learned: Fitted) -> str:
        """Keep what an encoder learned beside the indices; returns its sha256."""
        return artefacts.put(self.elasticsearch, self.fitted_index, fitted.to_bytes(learned))

    def fitted(self, sha256: str) -> Fitted:
        """What an encoder learned: from this machine's copy, else from beside the indices."""
        path = self.fitted_path(sha256)
        if not _is(path, sha256):
            data = artefacts.get(self.elasticsearch, self.fitted_index, sha256)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
                scratch.write_bytes(data)
                scratch.replace(path)
            except OSError as error:
                raise EncoderError(
                    f"Cannot write to {path.parent}: {error.strerror}.",
                    code="encoder.folder",
                    remedy="Set TRIPTYCH_DATA_DIR to a folder that can be written.",
                ) from error
        return fitted.read(path)

    def pings(self) -> Mapping[str, Callable[[], object]]:
        """One check per service; each raises a TriptychError if its service does not answer."""
        return {
            "elasticsearch": lambda: elastic.server(self.elasticsearch),
            "redis": lambda: queue.ping(self.redis),
        }


def _is(path: Path, sha256: str) -> bool:
    try:
        return fitted.sha256(path.read_bytes()) == sha256
    except OSError:
        return False


def build(settings: Settings | None = None) -> Services:
    """The services of `settings`, by default those of the environment."""
    return Services(settings or load())
