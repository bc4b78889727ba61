"""The Flask application."""

from __future__ import annotations

import logging

from flask import Flask

from search_api import problems
from search_api.searcher import Searcher
from search_api.views import contract, health, jobs, search
from search_api.warmth import Warmth
from triptych import logs
from triptych.services import Services, build


def create_app(services: Services | None = None) -> Flask:
    """The API over `services` (by default those of the environment). Starts loading the encoders in the background."""
    if services is None:  # a process of `triptych serve`
        services = build()
        logs.set_up(services.settings, level=logging.WARNING)
    searcher = Searcher(services)
    warmth = Warmth()
    app = Flask("triptych")
    app.url_map.merge_slashes = False  # an id may begin with a slash
    # a picture and a sound in base64 (4/3) and a little JSON; multipart files spool to disk above 500 kB
    app.config["MAX_CONTENT_LENGTH"] = int(services.settings.media_bytes * 8 / 3) + 1_000_000
    app.config["MAX_FORM_MEMORY_SIZE"] = 1_000_000
    app.config["MAX_FORM_PARTS"] = 10
    problems.register(app)
    app.register_blueprint(search.blueprint(searcher, services.settings))
    app.register_blueprint(jobs.blueprint(services))
    app.register_blueprint(contract.blueprint())
    app.register_blueprint(health.blueprint(services, warmth))
    warmth.start(searcher)
    return app
