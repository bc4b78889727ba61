"""`/v1/events`: what users do with answers, and forgetting what one did."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from search_api.events import Events, refused_json
from search_api.events_body import EventsBody
from search_api.query import LONGEST_SESSION
from search_api.schemas import InvalidBodyError, decoded, parse
from search_api.views.search import json_response

MOST_BYTES: Final = 1_000_000
"""Of a request of events: 500 of them with the longest ids fit."""


def blueprint(events: Events) -> Blueprint:
    views = Blueprint("events", __name__, url_prefix="/v1/events")

    @views.post("")
    def record() -> Response:
        request.max_content_length = MOST_BYTES
        body = parse(EventsBody, decoded(request.get_data(), "body"))
        return json_response(refused_json(events.record(body), len(body.events)))

    @views.delete("")
    def forget() -> Response:
        session = request.args.get("session", "")
        if not 1 <= len(session) <= LONGEST_SESSION:
            remedy = f"Add ?session=ID, of up to {LONGEST_SESSION} characters."
            raise InvalidBodyError("Which session?", field="session", remedy=remedy)
        return json_response({"deleted": events.forget(session)})

    return views
