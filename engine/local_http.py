"""Ask a node that is starting: small JSON requests to 127.0.0.1, never through a proxy."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any

from engine.process import LOCALHOST


@dataclass(frozen=True, slots=True)
class Login:
    """User and password for basic authentication."""

    user: str
    password: str

    def header(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: method, path with query, and a JSON body or None."""

    path: str
    method: str = "GET"
    body: Any = None


def answer(port: int, ask: Ask, *, login: Login | None = None, seconds: float = 5.0) -> tuple[int, Any]:
    """Status and parsed JSON body (None if it is none). Raises OSError or HTTPException if nothing answers."""
    headers = {"Content-Type": "application/json"}
    if login:
        headers["Authorization"] = login.header()
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=seconds)
    try:
        connection.request(ask.method, ask.path, None if ask.body is None else json.dumps(ask.body), headers)
        response = connection.getresponse()
        body = response.read()
        status = response.status
    finally:
        connection.close()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None
