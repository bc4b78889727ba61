"""Errors over HTTP: problem+json (RFC 9457) with our stable `code`, the `field` at fault and the `remedy`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from search_api.degrading import NothingLeftError
from search_api.schemas import InvalidBodyError
from triptych.errors import ElasticsearchError, EncoderError, InputError, NotFoundError, QueueError, TriptychError

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

_AWAY = 503
_TOO_MANY = 429
_RETRY_AFTER = {_AWAY: "5", _TOO_MANY: "60"}
_STATUSES = {
    "access.no_key": 401,
    "access.unknown_key": 401,
    "access.scope": 403,
    "access.origin": 403,
    "access.host": 403,
    "encoder.fingerprint_mismatch": 409,
    "encoder.unknown": 409,
}
"""Of codes whose status does not follow from their class."""

_UNKNOWN = {"access.no_key": "Bearer", "access.unknown_key": 'Bearer error="invalid_token"'}
"""How to say who one is (RFC 6750), by the codes of who did not."""

_LOGIN = 'Basic realm="Triptych: any name, the key as password"'
"""How a browser asks its reader for it (RFC 7617); it then sends it along with all that the page asks for."""


def status_of(error: TriptychError) -> int:
    """The HTTP status of one of our errors."""
    if error.retryable or isinstance(error, NothingLeftError):
        return _TOO_MANY if error.code == "events.too_many" else _AWAY
    if isinstance(error, InputError):
        return 413 if error.code == "media.too_many_bytes" else 400
    if isinstance(error, NotFoundError):
        return 404
    if error.code in _STATUSES:
        return _STATUSES[error.code]
    if isinstance(error, QueueError | EncoderError):
        return 503
    return 502 if isinstance(error, ElasticsearchError) else 500


def problem_of(error: TriptychError) -> dict[str, Any]:
    """One of our errors as a problem's members."""
    status = status_of(error)
    if status >= 500:  # noqa: PLR2004  the server's side
        log.error("%s (%s)", error, error.code)
    errors = list(error.errors) if isinstance(error, InvalidBodyError) else None
    more = {"detail": str(error), "field": error.field, "remedy": error.remedy, "errors": errors}
    return _members(status, error.code, error.message, more)


def problem_within(answer: object) -> object:
    """An answer of several as it is sent: an error as `{"problem": ...}`, anything else as it is."""
    return {"problem": problem_of(answer)} if isinstance(answer, TriptychError) else answer


def _members(status: int, code: str, title: str, more: Mapping[str, Any]) -> dict[str, Any]:
    body = {"type": f"urn:triptych:problem:{code}", "title": title, "status": status, "code": code}
    return body | {name: value for name, value in more.items() if value}


def problem(status: int, code: str, title: str, **more: Any) -> Response:
    """A problem+json response; empty members are left out."""
    return Response(orjson.dumps(_members(status, code, title, more)), status=status, content_type=CONTENT_TYPE)


def register(app: Flask) -> None:
    """Answer every error of `app` with problem+json."""

    @app.errorhandler(TriptychError)
    def ours(error: TriptychError) -> Response:
        body = problem_of(error)
        answer = Response(orjson.dumps(body), status=body["status"], content_type=CONTENT_TYPE)
        if body["status"] in _RETRY_AFTER:
            answer.headers["Retry-After"] = _RETRY_AFTER[body["status"]]
        if error.code in _UNKNOWN:
            answer.headers["WWW-Authenticate"] = _LOGIN if request.blueprint == "pages" else _UNKNOWN[error.code]
        return answer

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        code = {
            404: "http.not_found",
            405: "http.method_not_allowed",
            413: "http.too_large",
        }
        answer = problem(status, code.get(status, f"http.{status}"), error.name, detail=error.description)
        for name, value in error.get_headers():
            if name.lower() == "allow":
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.error("unexpected error", exc_info=error)
        return problem(500, "internal", "Something went wrong here.", detail="The server's log has the reason.")
