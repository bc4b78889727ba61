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
from triptych.domain import Modality
from triptych.elastic import artefacts, lifecycle
from triptych.elastic import client as elastic
from triptych.encoders import fitted, fused, late, models, profiles, registry
from triptych.encoders.base import IMPORTING, Encoder, Fitted
from triptych.encoders.cache import VectorCache
from triptych.encoders.trained_classifier import TrainedClassifier
from triptych.errors import EncoderError, ProfileError
from triptych.jobs import queue
from triptych.jobs.control import Control
from triptych.jobs.store import JobStore
from triptych.jobs.upgrades import UpgradeStore
from triptych.jobs.uploads import Uploads
from triptych.jobs.watch import Seldom
from triptych.media.decoder import Decoder
from triptych.media.fetcher import Fetcher
from triptych.schema import IndexSchema
from triptych.settings import Settings, load

if TYPE_CHECKING:  # brings torch
    from triptych.encoders.whisper_speech import Transcriber

_COUNT_EVERY = 2.0
"""Seconds from one count of a busy job's records to the next."""

_HURRIED_SECONDS = 1.0
"""Time a call of Redis has where a user waits. One that hangs takes connections and answers nothing."""

_MOST_SETS = 4
"""Sets of encoders kept at once: one for all indices of a profile whose encoders learned nothing, one for each index where they
did. The one that was not asked for longest goes first."""

_Spaces = tuple[tuple[str, str], ...]
"""The spaces of an index, each with its encoder's fingerprint."""

_Key = tuple[str, tuple[tuple[str, str], ...]]
"""A set of encoders: its profile, and what its encoders learned, by space."""


@dataclass(frozen=True)
class Services:
    """What one process works with. Each part is made on first use and kept; share one Services between threads."""

    settings: Settings
    _sets: dict[_Key, dict[str, Encoder]] = field(default_factory=dict, repr=False)
    _right: dict[_Spaces, profiles.Profile] = field(default_factory=dict, repr=False)
    _classifiers: dict[tuple[str, str, _Spaces], TrainedClassifier | None] = field(default_factory=dict, repr=False)
    _joins: dict[_Spaces, Mapping[str, fused.Join]] = field(default_factory=dict, repr=False)
    _taking: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _making: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def elasticsearch(self) -> elastic.Client:
        return elastic.connect(self.settings)

    @cached_property
    def server(self) -> elastic.Server:
        return elastic.server(self.elasticsearch)

    @cached_property
    def hurried_redis(self) -> redis.Redis:
        """Redis for what does without rather than wait: searches, and the cache."""
        return queue.connect_redis(self.settings.redis_address, seconds=_HURRIED_SECONDS)

    @cached_property
    def redis(self) -> redis.Redis:
        return queue.connect_redis(self.settings.redis_address)

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
    def upgrades(self) -> UpgradeStore:
        return UpgradeStore(self.elasticsearch, self.settings)

    @cached_property
    def counting(self) -> Seldom:
        """When this process last counted what is left of a job."""
        return Seldom(_COUNT_EVERY)

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
        url = self.settings.cache_url
        if url is None:
            return VectorCache(self.hurried_redis, self.settings)
        own = queue.connect_redis(url.get_secret_value(), field="TRIPTYCH_CACHE_URL", seconds=_HURRIED_SECONDS)
        return VectorCache(own, self.settings)

    @cached_property
    def profile(self) -> profiles.Profile:
        """The profile in force. Raises ProfileError."""
        return profiles.read(self.settings.active_profile)

    def schema(self, learned: Mapping[str, str] | None = None) -> IndexSchema:
        """What a new index of the profile in force says of itself. `learned`: the sha256 of what encoders learned, by space."""
        spaces = registry.spaces_of(self.profile, self.settings, fitted=learned)
        return lifecycle.spaces_schema(spaces, __version__, profile=self.profile.name)

    def check(self, schema: IndexSchema) -> None:
        """Raise EncoderError unless there is a profile here whose encoders are those that filled the index.

        An index that was found right is not looked at again: every batch asks, and every search of a few seconds.
        """
        self.profile_of(schema)

    def profile_of(self, schema: IndexSchema) -> profiles.Profile:
        """The profile whose encoders filled the index: the one in force if it fits, else the one that the index names.

        So one process serves the version of an index that is and the one that will be. Raises EncoderError where neither fits:
        that of the profile in force, unless the other one is there and only not prepared.
        """
        spaces = _spaces_of(schema)
        known = self._right.get(spaces)
        if known is None:
            known = self._right[spaces] = self._fitting(schema)
        return known

    def _fitting(self, schema: IndexSchema) -> profiles.Profile:
        try:
            registry.check(self.profile, schema, self.settings)
        except EncoderError:
            named = self._named(schema.profile)
            if named is None:
                raise
        else:
            return self.profile
        registry.check(named, schema, self.settings)
        return named

    def _named(self, name: str | None) -> profiles.Profile | None:
        """Another profile than the one in force: one that comes with Triptych, or a file of this machine; None if not here.

        Whoever may write to an index names it, so none that runs code which comes with a model: that must be in force.
        """
        if name is None or name == self.profile.name or not (name in profiles.built_in() or Path(name).is_absolute()):
            return None
        try:
            found = profiles.read(name)
        except ProfileError:
            return None
        return None if any(getattr(options, "remote_code", False) for options in found.options.values()) else found

    def encoders(self, schema: IndexSchema) -> Mapping[str, Encoder]:
        """The encoders of an index by space, of the profile that `check` found. They are made on first use.

        Raises EncoderError. A set that is being made keeps nobody waiting who asks for one that is there.
        """
        profile = self._right.get(_spaces_of(schema), self.profile)
        learned = {space.name: space.fitted for space in schema.spaces if space.fitted is not None}
        key = (profile.name, tuple(sorted(learned.items())))
        found = self._taken(key)
        if found is None:
            with self._making:
                found = self._taken(key)
                if found is None:
                    found = late.encoders_of(profile, self.settings, fitted=learned, read=self.fitted)
                    with self._taking:
                        while len(self._sets) >= _MOST_SETS:
                            del self._sets[next(iter(self._sets))]
                        self._sets[key] = found
        return found

    def classifier(self, schema: IndexSchema, field: str) -> tuple[TrainedClassifier, Mapping[Modality, str]] | None:
        """The classifier of a field for queries of an index, and the space it stands on for each modality.

        None where the profile names none. Raises EncoderError `encoder.trained`.
        """
        profile = self.profile_of(schema)
        key = (profile.name, field, _spaces_of(schema))
        if key not in self._classifiers:
            self._classifiers[key] = registry.classifier_of(profile, field, schema)
        found = self._classifiers[key]
        return None if found is None else (found, profile.classifiers[field].over)

    def joins(self, schema: IndexSchema) -> Mapping[str, fused.Join]:
        """How the vectors of an index's fused spaces are made of their parts'. Raises EncoderError `encoder.trained`."""
        key = _spaces_of(schema)
        if key not in self._joins:
            self._joins[key] = fused.joins_of(schema, lambda space: registry.fusion_of(self.profile_of(schema), space, schema))
        return self._joins[key]

    def _taken(self, key: _Key) -> dict[str, Encoder] | None:
        """A set that is here, which so becomes the one asked for last."""
        with self._taking:
            found = self._sets.pop(key, None)
            if found is not None:
                self._sets[key] = found
            return found

    @cached_property
    def transcriber(self) -> Transcriber | None:
        """What recognises spoken queries, None where the profile has no speech."""
        speech = self.profile.speech
        if speech is None:
            return None
        folder = models.find(models.model_of(speech.model, self.profile.folder), self.settings)
        with IMPORTING:
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
            "elasticsearch": lambda: elastic.ping(self.elasticsearch),
            "redis": lambda: queue.ping(self.redis),
        }


def _spaces_of(schema: IndexSchema) -> _Spaces:
    return tuple((space.name, space.fingerprint) for space in schema.spaces)


def _is(path: Path, sha256: str) -> bool:
    try:
        return fitted.sha256(path.read_bytes()) == sha256
    except OSError:
        return False


def build(settings: Settings | None = None) -> Services:
    """The services of `settings`, by default those of the environment."""
    return Services(settings or load())
