"""`GET /v1/openapi.json` and `GET /v1/docs`: the HTTP contract for machines and for people."""

from __future__ import annotations

from flask import Blueprint, Response

from search_api import openapi, openapi_page
from search_api.views.search import json_response


def blueprint() -> Blueprint:
    views = Blueprint("contract", __name__, url_prefix="/v1")

    @views.get("/openapi.json")
    def document() -> Response:
        return json_response(openapi.document())

    @views.get("/docs")
    def docs() -> Response:
        answer = Response(openapi_page.page(), content_type="text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return answer

    return views
