"""Answers that are put together as plain objects, as the OpenAPI document says them; tests hold them to what is sent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from search_api import openapi_jobs
from search_api.answer import LegScore, SearchResult


class Problem(BaseModel):
    """What went wrong (RFC 9457): `code` is stable, `field` names what is at fault, `remedy` what to do."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    field: str | None = None
    remedy: str | None = None
    errors: list[dict[str, str]] | None = None


class Refused(BaseModel):
    """One query of several that was at fault, or could not be answered."""

    problem: Problem


class MsearchAnswer(BaseModel):
    """The answer of `POST /v1/msearch`: an answer or a problem for each query, in their order."""

    answers: list[SearchResult | Refused]


class Reason(BaseModel):
    """What kept a product out of the answer."""

    reason: Literal["filtered", "outside_window", "below_relevance", "collapsed", "other_value", "outranked"]
    message: str


class Lift(BaseModel):
    """The share of a leg nearest to today's, which is `from`, at which the product would be shown."""

    share: float
    since: float = Field(alias="from")


class UsedLeg(BaseModel):
    """How a leg was used."""

    weight: float
    floor: float
    top: float
    measured: bool
    reliability: float | None
    input: str


class Explanation(BaseModel):
    """How the legs were used, and what was asked; `failed` has the reason of each that was left out."""

    index: str
    fusion: str
    mean: str
    missing: str
    guard: float
    window: int
    completed: bool
    exact: bool
    candidates: int
    legs: dict[str, UsedLeg]
    failed: dict[str, str]


class Shown(BaseModel):
    """The last product that the answer shows."""

    id: str
    score: float
    boost: float
    legs: dict[str, LegScore]


class ExplainAnswer(BaseModel):
    """The answer of `POST /v1/explain`: where a product stands, each leg's part in its score, and what kept it out.

    `last_shown` and `gap` are not there where it is the last product shown itself, or nothing is. `quantised` says of each leg
    whether its scores are those of shortened vectors.
    """

    query_id: str
    id: str
    shown: bool
    rank: int | None
    score: float
    boost: float
    relevance: float | None
    reasons: list[Reason]
    legs: dict[str, LegScore]
    quantised: dict[str, bool]
    explain: Explanation
    last_shown: Shown | None = None
    gap: float | None = None
    lifts: dict[str, Lift | None]
    lifts_unfinished: list[str]


class ProductAnswer(BaseModel):
    """One product as it was submitted, without what Triptych adds."""

    id: str
    product: dict[str, Any]


class RefusedEvent(BaseModel):
    """An event that was not kept: its place in the request, from 0, and why."""

    event: int
    code: str
    message: str


class EventsAnswer(BaseModel):
    """How many events were kept, and which not."""

    accepted: int
    refused: list[RefusedEvent]


class ForgottenAnswer(BaseModel):
    """How many events of a session were deleted."""

    deleted: int


class JudgementsAnswer(BaseModel):
    """What was kept: queries, and grades of products."""

    queries: int
    grades: int


class LiveAnswer(BaseModel):
    """The process answers."""

    status: Literal["live"]


class ReadyAnswer(BaseModel):
    """Whether queries can be answered, and of each service and of the encoders: `ok`, and `ms` or `code`, `message` ..."""

    status: Literal["ready", "not_ready"]
    services: dict[str, dict[str, Any]]


_MODELS: tuple[type[BaseModel], ...] = (
    *(Problem, MsearchAnswer, ExplainAnswer, ProductAnswer),
    *(EventsAnswer, ForgottenAnswer, JudgementsAnswer, LiveAnswer, ReadyAnswer),
    *openapi_jobs.MODELS,
)
MODELS: tuple[tuple[type[BaseModel], Any], ...] = tuple((model, "serialization") for model in _MODELS)
"""What the document has beside the models that read requests."""
