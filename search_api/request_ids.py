"""An id of each request: on every line logged meanwhile, and in the answer's header X-Request-Id, to ask about it by.

One that a proxy gave is kept, if it is a plain word.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask

from triptych.logs import about

HEADER: Final = "X-Request-Id"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def register(app: Flask) -> None:
    """Put the id around all that is done for a request; register it last."""
    inner = app.wsgi_app

    def named(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        name = given if _PLAIN.fullmatch(given) else uuid.uuid4().hex

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, (HEADER, name)], *more)

        with about(request=name):
            return inner(environ, start)

    app.wsgi_app = named  # type: ignore[method-assign]
