"""`/v1/dry-runs`: what a worker found in a catalogue that was submitted with `dry_run`."""

from __future__ import annotations

from flask import Blueprint, Response

from search_api.views.search import json_response
from triptych.jobs.dry_runs import DryRuns
from triptych.services import Services


def blueprint(services: Services) -> Blueprint:
    views = Blueprint("dry_runs", __name__, url_prefix="/v1/dry-runs")

    @views.get("/<run_id>")
    def dry_run(run_id: str) -> Response:
        return json_response(DryRuns(services.redis, services.settings).get(run_id))

    return views
