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


def get(port: int, path: str, *, login: Login | None = None, seconds: float = 5.0) -> tuple[int, Any]:
    """Status and parsed JSON body (None if it is none) of GET `path`. Raises OSError or HTTPException if nothing answers."""
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Authorization": login.header()} if login else {})
        response = connection.getresponse()
        body = response.read()
        status = response.status
    finally:
        connection.close()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None
