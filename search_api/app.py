"""The Flask application."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask

from search_api import access, access_audit, access_http, metrics, problems, request_ids, tracing
from search_api.events import AnswerLog, Events
from search_api.pages import views as pages
from search_api.readiness import Readiness
from search_api.searcher import Searcher
from search_api.views import contract, dry_runs, events, health, jobs, judgements, search, similar
from search_api.views import metrics as metrics_view
from search_api.warmth import WARMTH, Warmth
from triptych import logs, traces
from triptych.access import KeyStore
from triptych.elastic.events import EventStore
from triptych.services import Services, build


class Api(Flask):
    """Flask without a look at each view and hook, at each request, for whether it is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(services: Services | None = None) -> Flask:
    """The API over `services` (by default those of the environment). Starts loading the encoders in the background."""
    serving = services is None  # a process of `triptych serve`
    if services is None:
        services = build()
        logs.set_up(services.settings, level=logging.WARNING)
    searcher = Searcher(services)
    warmth = Warmth()
    with_pages = services.settings.pages
    app = Api("triptych", static_folder=str(pages.FOLDER / "static") if with_pages else None)
    app.url_map.merge_slashes = False  # an id may begin with a slash
    # a picture and a sound in base64 (4/3) and a little JSON; multipart files spool to disk above 500 kB
    app.config["MAX_CONTENT_LENGTH"] = int(services.settings.media_bytes * 8 / 3) + 1_000_000
    app.config["MAX_FORM_MEMORY_SIZE"] = 1_000_000
    app.config["MAX_FORM_PARTS"] = 10
    problems.register(app)
    keys = access.Keys(KeyStore(services.elasticsearch, services.settings)) if services.settings.api_keys else None
    traces.set_up(services.settings, process="triptych-api")
    tracing.register(app)
    metrics.register(app)
    access_audit.register(app)
    access.register(app, keys, services.settings.origins, behind_proxy=services.settings.proxies > 0)
    access_http.register(app, services.settings)
    request_ids.register(app)
    keeps = services.settings.events_answers
    answers = AnswerLog(EventStore(services.elasticsearch, services.settings).write) if keeps else None
    app.register_blueprint(search.blueprint(searcher, services.settings, answers))
    app.register_blueprint(events.blueprint(Events(services, searcher)))
    app.register_blueprint(judgements.blueprint(services, searcher))
    app.register_blueprint(similar.blueprint(searcher))
    app.register_blueprint(jobs.blueprint(services))
    app.register_blueprint(dry_runs.blueprint(services))
    app.register_blueprint(contract.blueprint())
    app.register_blueprint(metrics_view.blueprint(services))
    app.register_blueprint(health.blueprint(services, warmth))
    if with_pages:
        pages.register(app, services, searcher)
    app.extensions[WARMTH] = warmth
    warmth.start(searcher)
    if serving:
        Readiness(services, searcher).start()
    return app
