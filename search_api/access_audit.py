"""The audit log: one line for each request that changes something, or was to and was refused. Logger `triptych.audit`.

Who (key, its name, address), what (method, path, status), and the job it made or changed. Nothing of a body, a query string or
a key's text.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from flask import Flask, Response, request

from search_api.access import caller, changes
from triptych.logs import about

audit = logging.getLogger("triptych.audit")

_LONGEST: Final = 300
"""Characters of a path that are shown."""


def register(app: Flask) -> None:
    """Log what is done to `app`; register it before what may refuse a request, so that refusals have a line too."""
    audit.setLevel(logging.INFO)  # whatever else is logged

    @app.after_request
    def line(answer: Response) -> Response:
        asked = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  werkzeug's documented way, once
        if changes(asked.endpoint, asked.method):
            with about(**_said(answer)):
                audit.info("changed" if answer.status_code < 400 else "refused")  # noqa: PLR2004  errors
        return answer


def _said(answer: Response) -> dict[str, Any]:
    key = caller()
    said = {
        "key": key.id if key else None,
        "key_name": key.name if key else None,
        "address": request.remote_addr,
        "method": request.method,
        "path": request.path[:_LONGEST],
        "status": answer.status_code,
        "job": _job(answer),
    }
    return {name: value for name, value in said.items() if value is not None}


def _job(answer: Response) -> str | None:
    """The job a request made or changed."""
    named = (request.view_args or {}).get("job_id")
    made = answer.headers.get("Location", "")
    return named or (made.rpartition("/")[2] if made.startswith("/v1/jobs/") else None)
