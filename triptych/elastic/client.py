"""The connection to Elasticsearch: made from the settings, its errors translated once for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import elasticsearch
import msgspec
from elasticsearch import ApiError, Elasticsearch, TransportError
from elasticsearch.serializer import OrjsonSerializer

from triptych.elastic.curl import CurlNode
from triptych.errors import ElasticsearchError, SettingsError
from triptych.settings import Settings

Client = Elasticsearch
"""The client's type, for those who only pass it on."""

RETRYABLE_STATUS = {408, 429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Server:
    """What the server is and can do, found out from its version.

    `base64_vectors`: dense_vector accepts big-endian float32 in base64 in documents and queries (9.3 and later).
    `hides_vectors`: vectors are left out of `_source` unless asked for (indices created on 9.2 and later).
    """

    version: str
    name: str
    cluster: str

    @property
    def numbers(self) -> tuple[int, int]:
        major, minor = re.findall(r"\d+", self.version)[:2]
        return int(major), int(minor)

    @property
    def base64_vectors(self) -> bool:
        return self.numbers >= (9, 3)

    @property
    def hides_vectors(self) -> bool:
        return self.numbers >= (9, 2)


DECODER: ContextVar[msgspec.json.Decoder[Any] | None] = ContextVar("triptych decoder", default=None)
"""What decodes the answer of the request that this context sends; see `decoded_by`."""


class Serializer(OrjsonSerializer):
    """JSON by orjson, or by the decoder that the request wants."""

    def loads(self, data: bytes) -> Any:
        decoder = DECODER.get()
        if decoder is not None:
            try:
                return decoder.decode(data)
            except msgspec.DecodeError:  # the answer says what is wrong, in another form, or is no JSON
                pass
        return super().loads(data)


@contextmanager
def decoded_by(decoder: msgspec.json.Decoder[Any] | None) -> Iterator[None]:
    """Decode the answers of this context's requests by `decoder`, which makes only what its type names."""
    token = DECODER.set(decoder)
    try:
        yield
    finally:
        DECODER.reset(token)


def connect(settings: Settings) -> Elasticsearch:
    """A client for the settings' Elasticsearch. Nothing is sent yet; see `server` for a first request."""
    options: dict[str, Any] = {"request_timeout": settings.elasticsearch_timeout_seconds, "serializer": Serializer()}
    options |= {"retry_on_timeout": False, "max_retries": 2, "node_class": CurlNode}
    if settings.elasticsearch_api_key is not None:
        options["api_key"] = settings.elasticsearch_api_key.get_secret_value()
    elif settings.elasticsearch_login is not None:
        options["basic_auth"] = settings.elasticsearch_login
    if settings.elasticsearch_ca_file is not None:
        options["ca_certs"] = str(settings.elasticsearch_ca_file)
    try:
        return Elasticsearch(settings.elasticsearch_address, **options)
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"TRIPTYCH_ELASTICSEARCH_URL and its companions do not make a connection: {error}.",
            field="TRIPTYCH_ELASTICSEARCH_URL",
            remedy="Give a URL with scheme, host and port, such as https://search.example:9200.",
        ) from error


def server(client: Elasticsearch) -> Server:
    """Ask the server what it is. Raises ElasticsearchError with what to do if it does not answer or does not fit."""
    with translated():
        info = client.info()
    found = Server(version=info["version"]["number"], name=info["name"], cluster=info["cluster_name"])
    if found.numbers < (8, 19):
        raise ElasticsearchError(
            f"Elasticsearch {found.version} is older than 8.19, the oldest Triptych works with.",
            code="elasticsearch.too_old",
            remedy="Upgrade the cluster to 8.19 or 9.x.",
        )
    return found


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client's exceptions into ElasticsearchError: retryable when the server was away or overloaded."""
    try:
        yield
    except ApiError as error:
        raise _refused(error) from error
    except (TransportError, elasticsearch.exceptions.UnsupportedProductError) as error:
        raise ElasticsearchError(
            f"Elasticsearch did not answer: {error}.",
            code="elasticsearch.unavailable",
            retryable=True,
            remedy="Check TRIPTYCH_ELASTICSEARCH_URL and that the server runs (`triptych doctor`).",
        ) from error


def _refused(error: ApiError) -> ElasticsearchError:
    status = error.status_code
    reason = reason_of(error.body)
    if "media_type_header_exception" in str(error.body):
        return ElasticsearchError(
            f"The Python client {'.'.join(map(str, elasticsearch.__version__))} is too new for this server.",
            code="elasticsearch.client_too_new",
            remedy="Install a client of the server's major version: pip install 'elasticsearch>=8.19,<9'.",
        )
    if status in (401, 403):
        return ElasticsearchError(
            f"Elasticsearch refused the credentials or the privilege (HTTP {status}): {reason}",
            code="elasticsearch.forbidden",
            remedy="Check TRIPTYCH_ELASTICSEARCH_USER / _PASSWORD / _API_KEY and the role's privileges.",
        )
    code = {400: "elasticsearch.bad_request", 404: "elasticsearch.not_found", 409: "elasticsearch.conflict"}.get(
        status, "elasticsearch.refused"
    )
    if status in RETRYABLE_STATUS:
        code = "elasticsearch.busy"
    return ElasticsearchError(
        f"Elasticsearch refused the request (HTTP {status}): {reason}", code=code, retryable=status in RETRYABLE_STATUS
    )


def reason_of(body: object) -> str:
    """The sentence in an error body that tells most: the innermost cause."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error)
    causes = error.get("root_cause") or []
    inner = error.get("caused_by") or (causes[0] if causes else error)
    while isinstance(inner.get("caused_by"), dict):
        inner = inner["caused_by"]
    return str(inner.get("reason") or error.get("reason") or error.get("type") or error)
