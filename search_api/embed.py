"""A query's inputs as vectors: from the cache if they were asked before, else decoded and embedded once per space.

A spoken query becomes words first (`words_of`); the words then search as if they were typed. An encoder that fails or hangs
(`turns`), what recognises speech, and products that cannot be read cost the query their legs, not the answer: after some
failures in a row they are left alone for a while (`breakers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from search_api.answer import Degraded, Recognised
from search_api.asking import Run
from search_api.breakers import Breakers
from search_api.classify import Classified, Weighed, classify
from search_api.deadline import Deadline
from search_api.decoding import QueryDecoder
from search_api.degrading import check_mapped, nothing_left
from search_api.legs import OF_PRODUCTS, Leg, Planned
from search_api.metrics import CACHE_HIT, CACHE_MISS, timed
from search_api.query import AUDIO_WORDS, QueryInput, SearchRequest
from search_api.turns import Turns
from search_api.votes import Vote
from search_api.words import fields_of, languages_of
from triptych.domain import Modality, Vector, Waveform
from triptych.elastic.client import within
from triptych.elastic.engine import unpack
from triptych.elastic.lifecycle import IndexInfo
from triptych.elastic.products import vectors_of
from triptych.encoders import fused
from triptych.encoders.base import Input, direction, unit
from triptych.encoders.cache import digest_of
from triptych.errors import ElasticsearchError, EncoderError, NotFoundError, QueryError, TriptychError
from triptych.media.fetch import check_bytes
from triptych.schema import LEXICAL, IndexSchema, Space
from triptych.services import Services

_ANY: Mapping[Modality, Input] = {
    Modality.TEXT: "warm",
    Modality.IMAGE: Image.new("RGB", (64, 64), "grey"),
    Modality.AUDIO: Waveform(np.sin(np.arange(22_050, dtype=np.float32) / 10), 22_050),  # a rate that must be resampled
}


@dataclass(slots=True)
class Embedding:
    """One query while it is embedded: the index, what was decoded so far, the products' vectors, and which legs failed."""

    info: IndexInfo
    request: SearchRequest
    deadline: Deadline
    decoded: dict[str, Input] = field(default_factory=dict)
    products: dict[str, dict[str, Vector] | None] = field(default_factory=dict)
    unread: ElasticsearchError | None = None
    """Why products could not be read: they are not asked for again for each of their legs."""
    known: dict[tuple[str, str], Vector] = field(default_factory=dict)
    failed: list[Degraded] = field(default_factory=list)
    errors: list[TriptychError] = field(default_factory=list)

    @property
    def schema(self) -> IndexSchema:
        return self.info.schema


class QueryEmbedder:
    """Embeds queries. Share one between threads: its encoders are used one query at a time."""

    def __init__(self, services: Services, breakers: Breakers | None = None) -> None:
        self._services = services
        self._breakers = breakers or Breakers()
        self._turns = Turns()
        self._decoder = QueryDecoder(services)

    def warm(self, schema: IndexSchema | None = None) -> None:
        """Load all encoders that need no index, or those of an index that nobody asks yet, by one query each.

        The latter load beside the queries. What recognises speech loads with the first spoken query.
        """
        if schema is not None:
            self._services.check(schema)
        encoders = list(self._services.encoders(schema or IndexSchema()).values())
        for encoder in encoders:
            modality = encoder.spec.query_modalities[0]
            with self._turns.held() if schema is None else nullcontext():
                encoder.embed_queries([_ANY[modality]], modality)

    def words_of(self, run: Run) -> tuple[SearchRequest, Mapping[str, Recognised]]:
        """The run's request with its spoken words as text, and what was recognised, by the name of the input.

        The language is decided among those that the index has titles in: one word is too little to tell it from all others.
        Where recognising fails the run says so and goes on with its other inputs, a sound that is `both` among them. Raises
        QueryError `query.no_speech` where the profile recognises none, and where nothing else is wanted the failure, or
        `query.nothing_recognised` if no word was heard.
        """
        request = run.request
        inputs = request.all_inputs()
        spoken = [one for one in inputs if one.kind == "audio" and one.audio_as != "sound"]
        if not spoken:
            return request, {}
        words: list[QueryInput] = []
        recognised: dict[str, Recognised] = {}
        failures: list[EncoderError] = []
        for number, one in enumerate(spoken, start=1):
            name = AUDIO_WORDS if number == 1 else f"{AUDIO_WORDS}#{number}"
            try:
                heard = recognised[name] = self._heard(one, run)
            except EncoderError as error:
                run.fail(name, error)
                failures.append(error)
                continue
            if heard.text.strip():
                words.append(QueryInput("text", one.weight, text=heard.text.strip(), where=one.where))
        kept = [replace(one, audio_as="sound") for one in inputs if one not in spoken or one.audio_as == "both"]
        if not any(one.weight > 0 for one in (*kept, *words)):
            if failures:
                raise failures[0]
            raise QueryError(
                "No words were recognised in the sound.",
                code="query.nothing_recognised",
                field=spoken[0].where,
                remedy="Speak nearer to the microphone, or search by the sound itself (audio_as: sound).",
            )
        plain = replace(
            request, text=None, image=None, audio=None, vectors={}, products=(), inputs=(*kept, *words), audio_as="sound"
        )
        return plain, recognised

    def _heard(self, one: QueryInput, run: Run) -> Recognised:
        with self._breakers.guarding("speech", EncoderError, "encoder.failed"):
            transcriber = self._services.transcriber
            if transcriber is None:
                raise QueryError(
                    f"The profile {self._services.profile.name} recognises no speech.",
                    code="query.no_speech",
                    field="audio_as",
                    remedy="Leave audio_as out, or add `speech` to the profile.",
                )
            sound = self._decoder.decode(self._bytes(one), Modality.AUDIO, run.deadline)
            if not isinstance(sound, Waveform):
                raise TypeError(type(sound))
            languages = languages_of(run.info)
            heard = self._turns.call(
                "recogniser of speech", lambda: transcriber.transcribe(sound, languages=languages), run.deadline
            )
        return Recognised(heard.text, heard.language, round(heard.confidence, 4))

    @timed("embedding")
    def legs(self, asked: Embedding, plan: Sequence[Planned]) -> list[Leg]:
        """The planned legs with their vectors, without those whose input says nothing to their encoder (a vector of zeros).

        A leg whose encoder fails, whose products cannot be read or whose field is not in the mapping is left out and named in
        `asked.failed`. Raises QueryError `query.no_vector` if an input that says nothing leaves no leg, and the error of a
        failure if that does.
        """
        legs = []
        silent: Planned | None = None
        # a visitor's history reranks; for a proof its own list must be known
        alone = asked.request.certify or all(p.inputs[0].kind == "history" for p in plan if p.weight > 0)
        for planned in plan:
            seeks = planned.weight > 0 and (planned.inputs[0].kind != "history" or alone)
            if planned.space is None:
                options = asked.request.text_options
                fields = fields_of(options, asked.info)
                if planned.name == LEXICAL and asked.request.lexical_query is not None:
                    options = replace(options, query=asked.request.lexical_query)
                legs.append(Leg(planned.name, text=planned.inputs[0].text, fields=fields, options=options, seeks=seeks))
                continue
            try:
                vector = self._vector(asked, planned, planned.space)
            except (EncoderError, ElasticsearchError) as error:
                asked.failed.append(Degraded(planned.name, error.code, error.message))
                asked.errors.append(error)
                continue
            if vector is not None and vector.any():
                legs.append(Leg(planned.name, planned.space, vector, seeks=seeks))
            else:
                silent = silent or planned
        if not any(leg.seeks for leg in legs):
            if asked.errors:
                raise nothing_left(asked.errors[0])
            if silent is not None:
                raise _says_nothing(silent.inputs[0])
        return legs

    def classified(self, asked: Embedding, vote: Vote | None) -> Classified | None:
        """What the profile's classifier of the field that is voted on says of the query; None where it names none.

        One that fails is named in `asked.failed`, and the neighbours vote. Raises QueryError `query.bad_vote` where the vote is
        by classifiers and none is there.
        """
        if vote is None or vote.by == "neighbours":
            return None
        return self._classified(asked, vote)

    @timed("embedding")
    def _classified(self, asked: Embedding, vote: Vote) -> Classified | None:
        found = None
        try:
            known = self._services.classifier(asked.schema, vote.field)
            if known is not None:
                found = classify(known[0], self._inputs_in(asked, known[1]))
        except EncoderError as error:
            asked.failed.append(Degraded(f"classifier {vote.field}", error.code, error.message))
            return None
        if vote.by is not None and found is None:
            raise QueryError(
                f"No classifier of {vote.field!r} in the profile knows what was given.",
                code="query.bad_vote",
                field="vote.by",
                remedy="Leave it out and the neighbours vote; classifiers are named in the profile (docs/training.md).",
            )
        return found

    def _inputs_in(self, asked: Embedding, over: Mapping[Modality, str]) -> dict[str, list[Weighed]]:
        """The query's inputs in the spaces of a classifier, by modality, each with its weight."""
        spaces = {space.name: space for space in asked.schema.spaces}
        found: dict[str, list[Weighed]] = {}
        for one in asked.request.all_inputs():
            space = None if one.modality is None else spaces.get(over.get(one.modality, ""))
            if space is not None:
                found.setdefault(str(one.modality), []).append((one.weight, self._embedded(asked, space, one)))
        return found

    def _vector(self, asked: Embedding, planned: Planned, space: Space) -> Vector | None:
        check_mapped(asked.info, space)
        if planned.fused:
            return self._fused(asked, space, planned.inputs)
        one = planned.inputs[0]
        if one.kind == "vector":
            return given(one, space)
        if one.kind in OF_PRODUCTS:
            return self._of_products(asked, one, space)
        return self._embedded(asked, space, one)

    def _embedded(self, asked: Embedding, space: Space, one: QueryInput) -> Vector:
        """One input's vector in one space: from the cache, else decoded (once for all spaces) and embedded."""
        modality = one.modality
        if modality is None:
            raise ValueError(one.kind)
        data = self._bytes(one)
        digest = digest_of(data)
        key = (space.fingerprint, digest)
        if key in asked.known:
            return asked.known[key]
        cache = self._services.cache
        known = cache.get(space.fingerprint, "q", [digest]).get(digest)
        if known is not None:
            CACHE_HIT.inc()
            asked.known[key] = known
            return known
        CACHE_MISS.inc()
        if digest not in asked.decoded:
            text = modality is Modality.TEXT
            asked.decoded[digest] = one.text if text else self._decoder.decode(data, modality, asked.deadline)

        def embed() -> Vector:
            encoder = self._services.encoders(asked.schema)[space.name]
            vector: Vector = encoder.embed_queries([asked.decoded[digest]], modality)[0]
            return vector

        name = f"encoder {space.name}"
        with self._breakers.guarding(name, EncoderError, "encoder.failed"):
            vector = self._turns.call(name, embed, asked.deadline)
        cache.put(space.fingerprint, "q", {digest: vector})
        asked.known[key] = vector
        return vector

    def _fused(self, asked: Embedding, space: Space, inputs: Sequence[QueryInput]) -> Vector | None:
        """All inputs as one vector of a fused space: in each part the mean of what the part takes of them."""
        parts: dict[str, Vector] = {}
        for part in (s for s in asked.schema.spaces if s.name in space.parts):
            some = [self._embedded(asked, part, one) for one in inputs if one.modality in part.query_modalities]
            some += [given(one, part) for one in inputs if one.kind == "vector" and one.space == part.name]
            some = [vector for vector in some if vector.any()]
            if some:
                parts[part.name] = fused.mean(some)
        return self._services.joins(asked.schema)[space.name]([parts])[0]

    def _of_products(self, asked: Embedding, one: QueryInput, space: Space) -> Vector | None:
        """The mean direction of the products' vectors in a space, None where none has one (Rocchio's centroid, 1971).

        By the products' shares, if they have any; then one that is gone is left out and no error.
        """
        self._read(asked, [key for key in one.products if key not in asked.products])
        lost = [key for key in one.products if asked.products[key] is None]
        if lost and one.kind == "products":
            raise NotFoundError(
                f"There is no product {lost[0]!r} in {asked.request.index!r}.", code="product.not_found", field=one.where
            )
        having = [key for key in one.products if space.name in (asked.products[key] or {})]
        vectors = [(asked.products[key] or {})[space.name] for key in having]
        if not vectors or not one.shares:
            return fused.mean(vectors) if vectors else None
        shares = dict(zip(one.products, one.shares, strict=True))
        mean = np.average(vectors, axis=0, weights=[shares[key] for key in having])
        return np.asarray(mean, dtype=np.float32) if space.similarity == "l2_norm" else unit(mean)

    def _read(self, asked: Embedding, products: Sequence[str]) -> None:
        """Read the vectors of products that are not known yet."""
        if not products:
            return
        if asked.unread is not None:
            raise asked.unread
        info = asked.info
        try:
            with self._breakers.asking(asked.deadline):
                client = within(self._services.elasticsearch, asked.deadline.request_seconds)
                found = vectors_of(client, info.index, products, info.schema, self._services.server, among=info.among)
        except ElasticsearchError as error:
            asked.unread = error
            raise
        asked.products |= dict.fromkeys(products)
        asked.products |= {key: {name: unpack(value) for name, value in some.items()} for key, some in found.items()}

    def _bytes(self, one: QueryInput) -> bytes:
        """An input as bytes. Raises MediaError for a picture or a sound of none or too many, its vector known or not."""
        if one.kind == "text":
            return one.text.encode()
        modality = one.modality
        if modality is None:
            raise ValueError(one.kind)
        check_bytes(len(one.data), self._services.settings.media_bytes, f"the query's {modality}", modality)
        return one.data


def _says_nothing(one: QueryInput) -> QueryError:
    """The error of a query that has nothing but an input without a vector, or with one of zeros."""
    if one.kind in OF_PRODUCTS:
        message = f"No vector says what {', '.join(map(repr, one.products[:3]))} is like: there is none here, or only of zeros."
    else:
        message = f"The {one.where} says nothing (a vector of zeros)."
    return QueryError(message, code="query.no_vector", field=one.where)


def given(one: QueryInput, space: Space) -> Vector:
    """The vector that the query gives for a space, scaled to length 1 unless distance is measured."""
    scaled = direction(one.vector)
    if space.similarity != "l2_norm" and scaled is not None:
        return scaled
    wide = np.asarray(one.vector, dtype=np.float64)
    if not np.abs(wide).max() <= float(np.finfo(np.float32).max):  # so it is told of what is no number, too
        raise QueryError("The vector has numbers beyond those of 32 bits.", code="query.bad_vector", field=one.where)
    return wide.astype(np.float32)
