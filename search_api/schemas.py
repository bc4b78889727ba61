"""The HTTP contract's requests: pydantic models, of which the OpenAPI document is made too. Additions later, no renames."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, WithJsonSchema

from search_api.answer import SearchResult
from search_api.query import (
    BESIDE_PAGE,
    DEFAULT_GUARD,
    DEFAULT_SIZE,
    DEFAULT_WINDOW,
    AudioAs,
    FusionMethod,
    InputKind,
    Mean,
    Numbers,
    QueryClass,
    QueryInput,
    SearchRequest,
    not_alone,
)
from search_api.words import Fuzziness, TextOptions
from triptych.errors import InputError
from triptych.schema import MOST_DIMS, Missing

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_AS_LIST, _AS_BASE64 = "vector as list", "vector as base64"
_Vector = Annotated[
    Annotated[list[_Finite], Field(min_length=1, max_length=MOST_DIMS), Tag(_AS_LIST)]
    | Annotated[
        str,
        Field(min_length=1, max_length=MOST_DIMS * 6, description="base64 of big-endian float32, as Elasticsearch takes it"),
        Tag(_AS_BASE64),
    ],
    Discriminator(lambda given: _AS_BASE64 if isinstance(given, str) else _AS_LIST),
]
Object = dict[str, Any]

MOST_SEARCHES = 20
"""Queries of one `/v1/msearch`."""


class InvalidBodyError(InputError):
    """A body that does not have the form asked for; `errors` lists every field at fault."""

    default_code = "request.invalid"
    errors: tuple[Mapping[str, str], ...] = ()


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MediaBody(Body):
    """A picture or a sound in JSON."""

    base64: str = Field(min_length=1, description="the bytes of the file, in base64")


class TextOptionsBody(Body):
    """How words are searched by BM25."""

    fields: list[str] = Field(
        default_factory=list, max_length=50, description="fields in place of the index's, with boosts: title.en^3, title.*"
    )
    operator: Literal["or", "and"] = Field("or", description="`and`: every word must occur")
    fuzziness: Fuzziness | None = Field(None, description="typing errors forgiven per word")
    language: str | None = Field(None, max_length=10, description="only this language's fields, as `en`, and those of none")
    phrase_boost: _Finite = Field(0.0, description="adds so many times the score of the words as a phrase")
    minimum_should_match: str | None = Field(None, max_length=10, description="words that must occur, such as 2 or 75%")
    analyzer: str | None = Field(None, max_length=100, description="a search analyzer of the index, such as one with synonyms")

    def to_options(self) -> TextOptions:
        return TextOptions(
            tuple(self.fields),
            self.operator,
            self.fuzziness,
            self.language,
            self.phrase_boost,
            self.minimum_should_match,
            self.analyzer,
        )


class InputBody(Body):
    """One input of a query: exactly one of text, image, audio, vector (with its space) and products."""

    text: str | None = Field(None, description="words")
    image: MediaBody | None = Field(None, description="a picture")
    audio: MediaBody | None = Field(None, description="a sound")
    audio_as: AudioAs = Field("sound", description="what the sound is")
    vector: _Vector | None = Field(None, description="a vector made elsewhere")
    space: str | None = Field(None, description="the space of the vector")
    products: list[str] | None = Field(None, min_length=1, description="ids of products to find the like of")
    weight: _Finite = Field(1.0, description="the input's share beside the others; below 0 pushes away what matches")

    def to_input(self, where: str) -> QueryInput:
        """The input. Raises InvalidBodyError naming it."""
        kinds: tuple[InputKind, ...] = ("text", "image", "audio", "vector", "products")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1 or (self.vector is None) != (self.space is None):
            raise InvalidBodyError(
                f"{where} has not exactly one of text, image, audio, vector with space, and products.", field=where
            )
        kind = given[0]
        place = f"{where}.{kind}"
        media = self.image or self.audio
        return QueryInput(
            kind,
            self.weight,
            text=self.text or "",
            data=_decoded(place, media) if media else b"",
            audio_as=self.audio_as,
            space=self.space or "",
            vector=() if self.vector is None else _numbers(place, self.vector),
            products=tuple(self.products or ()),
            where=place,
        )


class SearchBody(Body):
    """The body of `POST /v1/search`; in a multipart form the same without media is the part `query`.

    A further page is asked by `page` alone, or beside its `index`.
    """

    index: str = Field("", description="the index alias, such as `shop`")
    text: str | None = Field(None, description="the words, in any language")
    image: MediaBody | None = Field(None, description="a picture")
    audio: MediaBody | None = Field(None, description="a sound")
    audio_as: AudioAs = Field("sound", description="what the sound is: the like of it, spoken words, or both")
    vectors: dict[str, _Vector] = Field(default_factory=dict, description="vectors made elsewhere, by space")
    fingerprints: dict[str, str] = Field(default_factory=dict, description="refuse unless these encoders filled the spaces")
    products: list[str] = Field(default_factory=list, description="ids of products to find the like of")
    inputs: list[InputBody] = Field(default_factory=list, description="further inputs, each with its weight")
    text_options: TextOptionsBody | None = Field(None, description="how the words are searched")
    lexical_query: Object | None = Field(None, description="Elasticsearch's own query in place of that of the words")
    weights: dict[str, _Finite] = Field(default_factory=dict, description="legs' shares of the score")
    weight_set: str | None = Field(None, description="a set of weights kept with the index")
    query_class: QueryClass = Field("auto", description="the class of the words, which weighs BM25 beside vectors")
    filters: Object = Field(default_factory=dict, description="conditions that every product must meet")
    facets: Object = Field(default_factory=dict, description="fields to count values of")
    sort: list[str | dict[str, str]] = Field(default_factory=list, description="fields to sort the found products by")
    collapse: str | None = Field(None, description="show only the best product for each value of this field")
    vote: Object | None = Field(None, description="let classifiers, or the neighbours of all legs, vote on a field")
    min_relevance: _Finite = Field(0.0, description="0 to 1: leave out what noise would reach as well")
    size: int = Field(DEFAULT_SIZE, description="products to return")
    window: int = Field(DEFAULT_WINDOW, description="hits that each leg returns")
    page: str | None = Field(None, description="`next` of an answer, for the page after it")
    deep: bool = Field(False, description="let pages go beyond the window")
    certify: bool = Field(False, description="widen the window until the answer is proved")
    fusion: FusionMethod = Field("calibrated", description="how scores are brought to one scale")
    mean: Mean = Field("arithmetic", description="how legs are averaged")
    guard: _Finite = Field(DEFAULT_GUARD, description="sigmas above the floor at which a best score counts as 1")
    complete: bool = Field(True, description="ask for the scores that legs did not return")
    missing: Missing | None = Field(None, description="what a leg counts whose modality a product has not")
    exact: bool = Field(True, description="score quantised vectors again with the float vectors")
    timeout_ms: int | None = Field(None, description="time the request may take; what is not ready is left out")
    fields: list[str] | None = Field(None, min_length=1, description="fields of the products to return")
    highlight: bool = Field(False, description="mark the words found")
    with_vectors: bool = Field(False, description="return the products' vectors")
    explain: bool = Field(False, description="add how each leg was used")
    session_id: str | None = Field(None, description="the visit whose events lift what is like the products they are of")

    def to_request(self, *, image: bytes | None = None, audio: bytes | None = None) -> SearchRequest:
        """The request, with uploaded files in place of base64. Raises InvalidBodyError."""
        if not self.index and self.page is None:
            raise InvalidBodyError("Which index?", field="index", remedy="Give index, such as `shop`.")
        self._check_page_alone(image=image, audio=audio)
        plain = {name: getattr(self, name) for name in _PLAIN}
        return SearchRequest(
            **plain,
            vectors={space: _numbers(f"vectors.{space}", given) for space, given in self.vectors.items()},
            image=_either("image", self.image, image),
            audio=_either("audio", self.audio, audio),
            products=tuple(self.products),
            inputs=tuple(one.to_input(f"inputs.{number}") for number, one in enumerate(self.inputs)),
            text_options=self.text_options.to_options() if self.text_options else TextOptions(),
            fields=None if self.fields is None else tuple(self.fields),
        )

    def _check_page_alone(self, **files: bytes | None) -> None:
        """Raise QueryError where a page is asked for and any other field stands in the body, be it its default."""
        if self.page is None:
            return
        for name in type(self).model_fields:
            given = name in self.model_fields_set and getattr(self, name) is not None
            if name not in BESIDE_PAGE and (given or files.get(name) is not None):
                raise not_alone(name)


_PLAIN = tuple(
    name
    for name in SearchBody.model_fields
    if name not in {"image", "audio", "vectors", "products", "inputs", "text_options", "fields"}
)


_AnyBody = Annotated[Any, WithJsonSchema({"type": "object", "additionalProperties": True})]
"""What should be an object; what is none is the problem of that search alone."""


class MsearchBody(Body):
    """The body of `POST /v1/msearch`: several queries at once, each with an answer or a problem of its own."""

    searches: list[_AnyBody] = Field(min_length=1, max_length=MOST_SEARCHES, description="bodies as of POST /v1/search")


class ExplainBody(SearchBody):
    """The body of `POST /v1/explain`: a query as of `POST /v1/search`, and the product to explain."""

    product: str = Field(min_length=1, description="the id of the product")


class ReweighBody(Body):
    """The body of `POST /v1/reweigh`: the answer of an earlier query under other weights."""

    query_id: str = Field(min_length=1, max_length=100, description="of the earlier answer")
    weights: dict[str, _Finite] = Field(default_factory=dict, description="legs' shares of the score")
    fusion: Annotated[FusionMethod | None, Field(description="another fusion than the query's")] = None
    mean: Mean | None = Field(None, description="another mean than the query's")
    guard: _Finite | None = Field(None, description="another guard than the query's")
    missing: Missing | None = Field(None, description="another policy for missing modalities")
    min_relevance: _Finite | None = Field(None, description="another cut-off")
    size: int = Field(DEFAULT_SIZE, ge=1, le=1000, description="products to return")
    hydrate: bool = Field(False, description="return the products too, which asks Elasticsearch for them")

    def asked_of(self, reweigh: Callable[..., SearchResult]) -> SearchResult:
        """The answer of `Searcher.reweigh`."""
        changes = self.model_dump(include={"fusion", "mean", "missing", "guard", "min_relevance"})
        return reweigh(self.query_id, self.weights, size=self.size, hydrate=self.hydrate, **changes)


def _either(name: str, body: MediaBody | None, upload: bytes | None) -> bytes | None:
    if body is not None and upload is not None:
        raise InvalidBodyError(f"{name} is given twice, in the JSON and as a file.", field=name, remedy="Give it once.")
    return upload if body is None else _decoded(name, body)


def _decoded(name: str, body: MediaBody) -> bytes:
    return _bytes(f"{name}.base64", body.base64)


def _bytes(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidBodyError(f"{name} is not base64: {error}.", code="request.not_base64", field=name) from error


def _numbers(name: str, given: list[float] | str) -> Numbers:
    """A vector as numbers. Raises InvalidBodyError for base64 that holds none."""
    if not isinstance(given, str):
        return given
    data = _bytes(name, given)
    if len(data) % 4 or not np.isfinite(found := np.frombuffer(data, dtype=">f4").astype(np.float32)).all():
        raise InvalidBodyError(
            f"{name} holds no finite float32 numbers.",
            code="request.bad_vector",
            field=name,
            remedy="Send base64 of big-endian float32, or a list of numbers.",
        )
    return found


def decoded(text: str | bytes | None, name: str) -> object:
    """The JSON of a body or of a part of a form. Raises InvalidBodyError."""
    if not text:
        raise InvalidBodyError(f"The {name} is missing.", code="request.not_json", field=name, remedy="Give a JSON object.")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidBodyError(f"The {name} is not JSON: {error}.", code="request.not_json", field=name) from error


_B = TypeVar("_B", bound=BaseModel)


def parse(model: type[_B], data: object) -> _B:
    """Validate a decoded JSON body. Raises InvalidBodyError naming every field at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # pydantic's messages can hold the input (a whole picture in base64): only where and what is passed on
        faults = tuple(
            {"field": _where(e["loc"]), "message": e["msg"]} for e in error.errors(include_input=False, include_url=False)
        )
        invalid = InvalidBodyError(
            f"{faults[0]['field']}: {faults[0]['message']}.",
            field=faults[0]["field"],
            remedy="See docs/http-api.md for the form.",
        )
        invalid.errors = faults
        raise invalid from error


def parse_body(data: object) -> SearchBody:
    """The body of a search. Raises InvalidBodyError naming every field at fault."""
    return parse(SearchBody, data)


def _where(loc: Sequence[int | str]) -> str:
    """The field at fault; of a sort only its place, and of a sort or a vector not which of its forms was tried."""
    parts = loc[:2] if loc and loc[0] == "sort" else [part for part in loc if part not in {_AS_LIST, _AS_BASE64}]
    return ".".join(str(part) for part in parts) or "body"


_MEMBERS: Final = tuple(one.name for one in fields(SearchResult))
_OPTIONAL: Final = ("next", "recognised", "facets", "predicted", "certified", "deep", "explain", "index_version")
"""Members of an answer that are left out where there is nothing to say."""


def to_json(result: SearchResult) -> dict[str, Any]:
    """An answer as it is sent; the hits are left to orjson, which writes dataclasses."""
    data = {name: getattr(result, name) for name in _MEMBERS}
    return {name: value for name, value in data.items() if value or name not in _OPTIONAL}
