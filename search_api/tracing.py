"""A span for each request, where spans are sent: inside of the trace that its `traceparent` names, if it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask, Response, request

from triptych import traces

_LONGEST: Final = 512
"""Characters of a header that are read."""


def register(app: Flask) -> None:
    """Put a span around every request of `app`; nothing where this process sends none."""
    if not traces.on():
        return
    inner = app.wsgi_app

    def traced(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        names = {"traceparent": "HTTP_TRACEPARENT", "tracestate": "HTTP_TRACESTATE"}
        headers = {name: str(environ[key])[:_LONGEST] for name, key in names.items() if key in environ}
        with traces.span("request", headers=headers):
            return inner(environ, start_response)

    app.wsgi_app = traced  # type: ignore[method-assign]

    @app.after_request
    def named(answer: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "none"
        said = {"http.route": route, "http.request.method": request.method, "http.response.status_code": answer.status_code}
        traces.describe(f"{request.method} {route}", **said)
        return answer
