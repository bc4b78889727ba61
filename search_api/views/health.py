"""`GET /v1/health/live` (the process answers) and `/v1/health/ready` (it can answer queries: a ping per service)."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response

from search_api.access import stranger
from search_api.views.search import json_response
from search_api.warmth import Warmth
from triptych.errors import TriptychError
from triptych.services import Services

_STRANGERS_SECONDS = 1.0
"""How old the checks may be that a stranger is told of: what anybody may ask must not ask Elasticsearch each time."""


def blueprint(services: Services, warmth: Warmth) -> Blueprint:
    views = Blueprint("health", __name__, url_prefix="/v1/health")
    looked: tuple[float, dict[str, dict[str, Any]]] = (float("-inf"), {})

    @views.get("/live")
    def live() -> Response:
        return json_response({"status": "live"})

    @views.get("/ready")
    def ready() -> Response:
        nonlocal looked
        at, checks = looked
        if not stranger() or time.monotonic() - at > _STRANGERS_SECONDS:
            checks = {name: _check(ping) for name, ping in services.pings().items()}
            checks["encoders"] = warmth.state()
            looked = time.monotonic(), checks
        ok = all(check["ok"] for check in checks.values())
        if stranger():  # what is wrong may name machines
            checks = {name: {"ok": check["ok"]} for name, check in checks.items()}
        return json_response({"status": "ready" if ok else "not_ready", "services": checks}, 200 if ok else 503)

    return views


def _check(ping: Any) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        ping()
    except TriptychError as error:
        return {"ok": False, "code": error.code, "message": error.message, "remedy": error.remedy}
    return {"ok": True, "ms": round((time.perf_counter() - started) * 1000, 1)}
