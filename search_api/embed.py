"""A query's inputs as vectors: from the cache if they were asked before, else decoded and embedded once per space.

A spoken query becomes words first (`words_of`); the words then search as if they were typed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from search_api.legs import Leg, Planned
from search_api.query import AUDIO_WORDS, Recognised, SearchRequest
from triptych.domain import Modality, Vector, Waveform
from triptych.elastic.lifecycle import IndexInfo
from triptych.encoders import fused
from triptych.encoders.base import Input, direction
from triptych.encoders.cache import digest_of
from triptych.errors import QueryError
from triptych.media.fetch import check_bytes
from triptych.schema import IndexSchema, Space
from triptych.services import Services

_ANY: Mapping[Modality, Input] = {
    Modality.TEXT: "warm",
    Modality.IMAGE: Image.new("RGB", (64, 64), "grey"),
    Modality.AUDIO: Waveform(np.sin(np.arange(22_050, dtype=np.float32) / 10), 22_050),  # a rate that must be resampled
}


class QueryEmbedder:
    """Embeds queries. Share one between threads: its encoders are used one query at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._encoding = threading.Lock()

    def warm(self) -> None:
        """Load all encoders that need no index, by one query each. What recognises speech loads with the first spoken query."""
        with self._encoding:
            encoders = list(self._services.encoders(IndexSchema()).values())
        for encoder in encoders:
            modality = encoder.spec.query_modalities[0]
            with self._encoding:
                encoder.embed_queries([_ANY[modality]], modality)

    def words_of(self, request: SearchRequest, info: IndexInfo) -> tuple[SearchRequest, Mapping[str, Recognised]]:
        """The request with its spoken words as text, and what was recognised, by the name of the input.

        The language is decided among those that the index has titles in: one word is too little to tell it from all others.
        Raises QueryError `query.no_speech` where the profile recognises none, `query.nothing_recognised` where the sound is all
        that was given and no word was heard in it.
        """
        if request.audio is None or request.audio_as == "sound":
            return request, {}
        transcriber = self._services.transcriber
        if transcriber is None:
            raise QueryError(
                f"The profile {self._services.profile.name} recognises no speech.",
                code="query.no_speech",
                field="audio_as",
                remedy="Leave audio_as out, or add `speech` to the profile.",
            )
        sound = self._decode(request, Modality.AUDIO)
        if not isinstance(sound, Waveform):
            raise TypeError(type(sound))
        with self._encoding:
            heard = transcriber.transcribe(sound, languages=languages_of(info))
        recognised = Recognised(heard.text, heard.language, round(heard.confidence, 4))
        words = replace(request, text=heard.text.strip() or None, audio=request.audio if request.audio_as == "both" else None)
        if not words.modalities and not words.vectors:
            raise QueryError(
                "No words were recognised in the sound.",
                code="query.nothing_recognised",
                field="audio",
                remedy="Speak nearer to the microphone, or search by the sound itself (audio_as: sound).",
            )
        return words, {AUDIO_WORDS: recognised}

    def legs(self, request: SearchRequest, schema: IndexSchema, plan: Sequence[Planned]) -> list[Leg]:
        """The planned legs with their vectors, without those whose input says nothing to their encoder (a vector of zeros).

        Raises QueryError `query.no_vector` if that leaves none.
        """
        decoded: dict[Modality, Input] = {}
        legs = []
        silent: Planned | None = None
        for planned in plan:
            space = planned.space
            if space is None:
                legs.append(Leg(planned.name, text=request.text, fields=schema.lexical_fields))
                continue
            if space.kind == "fused":
                vector = self._fused(request, schema, space, decoded)
            elif planned.modality is None:
                vector = _given(request, space)
            else:
                vector = self._embedded(request, schema, space, planned.modality, decoded)
            if vector is not None and vector.any():
                legs.append(Leg(planned.name, space, vector))
            else:
                silent = silent or planned
        if silent is not None and not legs:
            what = silent.modality or "query"
            raise QueryError(f"The {what} says nothing (a vector of zeros).", code="query.no_vector", field=what)
        return legs

    def _embedded(
        self, request: SearchRequest, schema: IndexSchema, space: Space, modality: Modality, decoded: dict[Modality, Input]
    ) -> Vector:
        """One input's vector in one space: from the cache, else decoded (once for all spaces) and embedded."""
        cache, digest = self._services.cache, digest_of(self._bytes(request, modality))
        known = cache.get(space.fingerprint, "q", [digest]).get(digest)
        if known is not None:
            return known
        if modality not in decoded:
            decoded[modality] = self._decode(request, modality)
        with self._encoding:
            encoder = self._services.encoders(schema)[space.name]
            vector: Vector = encoder.embed_queries([decoded[modality]], modality)[0]
        cache.put(space.fingerprint, "q", {digest: vector})
        return vector

    def _fused(
        self, request: SearchRequest, schema: IndexSchema, space: Space, decoded: dict[Modality, Input]
    ) -> Vector | None:
        """All inputs as one vector of a fused space: in each part the mean of what the part takes of them."""
        parts: dict[str, Vector] = {}
        for part in (s for s in schema.spaces if s.name in space.parts):
            some = [self._embedded(request, schema, part, m, decoded) for m in request.modalities if m in part.query_modalities]
            if part.name in request.vectors:
                some.append(_given(request, part))
            some = [vector for vector in some if vector.any()]
            if some:
                parts[part.name] = fused.mean(some)
        return fused.combine(space, parts, {s.name: s.dims for s in schema.spaces})

    def _decode(self, request: SearchRequest, modality: Modality) -> Input:
        """The input to embed. Raises MediaError for a picture or a sound that cannot be read."""
        if modality is Modality.TEXT:
            return request.text or ""
        return self._services.decoder.decode(self._bytes(request, modality), modality)

    def _bytes(self, request: SearchRequest, modality: Modality) -> bytes:
        """An input as bytes. Raises MediaError for a picture or a sound of none or too many, its vector known or not."""
        if modality is Modality.TEXT:
            return (request.text or "").encode()
        data = (request.image if modality is Modality.IMAGE else request.audio) or b""
        check_bytes(len(data), self._services.settings.media_bytes, f"the query's {modality}", modality)
        return data


def languages_of(info: IndexInfo) -> frozenset[str]:
    """The languages of an index's titles, by the names of their fields (`title.en`)."""
    return frozenset(found[1] for name in info.fields if (found := _TITLE.fullmatch(name)) and found[1] != "und")


_TITLE = re.compile(r"title\.([a-z]{2,3})")


def _given(request: SearchRequest, space: Space) -> Vector:
    """The vector that the query gives for a space, scaled to length 1 unless distance is measured."""
    values = request.vectors[space.name]
    scaled = direction(values)
    if space.similarity != "l2_norm" and scaled is not None:
        return scaled
    if max(map(abs, values)) > float(np.finfo(np.float32).max):
        raise QueryError(
            "The vector has numbers beyond those of 32 bits.", code="query.bad_vector", field=f"vectors.{space.name}"
        )
    return np.asarray(values, dtype=np.float32)
