"""The HTTP application in process over an index of `made_shop`: no socket, no encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import made_shop
from flask.testing import FlaskClient

from search_api.app import create_app
from triptych.services import Services

THINGS: Final = made_shop.things(60)
WORDS, PICTURE = made_shop.vector("words", 1), made_shop.vector("picture", 2)


@dataclass(frozen=True, slots=True)
class Web:
    """The application, spoken to without a socket."""

    client: FlaskClient
    services: Services
    index: str

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        answer = self.client.post(path, json=body)
        return answer.status_code, answer.get_json(force=True)

    def search(self, **body: Any) -> Any:
        status, found = self.post("/v1/search", index=self.index, **body)
        assert status == 200, found
        return found


@contextmanager
def made_web(services: Services, folder: Path, name: str) -> Iterator[Web]:
    """The application over an index `name` of THINGS."""
    mine = made_shop.services_of(services, folder, queue=name, events=True, events_answers=True)
    version = made_shop.create(mine, name, THINGS, weight_sets={"words only": {"lexical": 1.0}})
    yield Web(create_app(mine).test_client(), mine, name)
    mine.elasticsearch.indices.delete(index=version)
