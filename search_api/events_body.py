"""The body of `POST /v1/events`: a pydantic model, of which the OpenAPI document is made too."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from search_api.query import LONGEST_SESSION
from search_api.schemas import Body
from triptych.elastic.events import EventKind

MOST_EVENTS: Final = 500
"""Events of one request."""


class EventBody(Body):
    """What a user did with a product."""

    kind: EventKind = Field(description="what happened")
    product: str = Field(min_length=1, max_length=512, description="the id of the product")
    query_id: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="`query_id` of the answer it was seen in")
    position: int | None = Field(None, ge=1, le=100_000, description="its place in that answer, from 1, over all pages")


class EventsBody(Body):
    """The body of `POST /v1/events`: what happened in one session, up to 500 events."""

    index: str = Field(min_length=1, max_length=255, description="the index alias of the products")
    session: str = Field(
        min_length=1,
        max_length=LONGEST_SESSION,
        description="any text that the shop names a visit by; only a pseudonym of it is kept",
    )
    events: list[EventBody] = Field(min_length=1, max_length=MOST_EVENTS, description="what happened, in order")
