"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from search_api.metrics_scrape import AtScrape, scraped
from triptych.services import Services


def blueprint(services: Services) -> Blueprint:
    views = Blueprint("metrics", __name__)
    at_scrape = AtScrape(services)

    @views.get("/metrics")
    def metrics() -> Response:
        return Response(scraped(at_scrape), content_type=CONTENT_TYPE_LATEST)

    return views
