"""The HTTP contract: the form of a request body, and how an answer is written as JSON. Additions later, no renames."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search_api.query import DEFAULT_SIZE, DEFAULT_WINDOW, AudioAs, SearchRequest, SearchResult
from triptych.errors import InputError
from triptych.schema import MOST_DIMS

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Scalar = str | int | float | bool
FilterValue = _Scalar | list[_Scalar] | dict[str, str | int | float]


class InvalidBodyError(InputError):
    """A body that does not have the form asked for; `errors` lists every field at fault."""

    default_code = "request.invalid"
    errors: tuple[Mapping[str, str], ...] = ()


class MediaBody(BaseModel):
    """A picture or a sound in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    base64: str = Field(min_length=1)


class SearchBody(BaseModel):
    """The body of `POST /v1/search`; in a multipart form the same without media is the part `query`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    index: str = Field(min_length=1)
    text: str | None = None
    image: MediaBody | None = None
    audio: MediaBody | None = None
    audio_as: AudioAs = "sound"
    vectors: dict[str, Annotated[list[_Finite], Field(min_length=1, max_length=MOST_DIMS)]] = Field(default_factory=dict)
    weights: dict[str, _Finite] = Field(default_factory=dict)
    filters: dict[str, FilterValue] = Field(default_factory=dict)
    size: int = DEFAULT_SIZE
    window: int = DEFAULT_WINDOW
    fusion: str = "calibrated"
    explain: bool = False

    def to_request(self, *, image: bytes | None = None, audio: bytes | None = None) -> SearchRequest:
        """The request, with uploaded files in place of base64. Raises InvalidBodyError."""
        return SearchRequest(
            index=self.index,
            text=self.text,
            image=_either("image", self.image, image),
            audio=_either("audio", self.audio, audio),
            audio_as=self.audio_as,
            vectors=self.vectors,
            weights=self.weights,
            filters=self.filters,
            size=self.size,
            window=self.window,
            fusion=self.fusion,
            explain=self.explain,
        )


def _either(name: str, body: MediaBody | None, upload: bytes | None) -> bytes | None:
    if body is not None and upload is not None:
        raise InvalidBodyError(f"{name} is given twice, in the JSON and as a file.", field=name, remedy="Give it once.")
    if body is None:
        return upload
    try:
        return base64.b64decode(body.base64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidBodyError(
            f"{name}.base64 is not base64: {error}.", code="request.not_base64", field=f"{name}.base64"
        ) from error


def parse_body(data: object) -> SearchBody:
    """Validate a decoded JSON body. Raises InvalidBodyError naming every field at fault."""
    try:
        return SearchBody.model_validate(data)
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


def _where(loc: tuple[int | str, ...]) -> str:
    """The field at fault; of a filter only its name, not which of its forms was tried."""
    parts = loc[:2] if loc and loc[0] == "filters" else loc
    return ".".join(str(part) for part in parts) or "body"


def to_json(result: SearchResult) -> dict[str, Any]:
    """An answer as it is sent."""
    data = asdict(result)
    data["degraded"] = list(result.degraded)
    for optional in ("explain", "recognised"):
        if not data[optional]:
            del data[optional]
    return data
