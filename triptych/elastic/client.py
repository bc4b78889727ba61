"""The connection to Elasticsearch: made from the settings, its errors translated once for everybody."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import elasticsearch
import msgspec
from elastic_transport.client_utils import basic_auth_to_header, url_to_node_config
from elasticsearch import ApiError, Elasticsearch, ElasticsearchWarning, TransportError
from elasticsearch.exceptions import UnsupportedProductError
from elasticsearch.serializer import OrjsonSerializer

from triptych import traces
from triptych.elastic.curl import CurlNode
from triptych.elastic.reasons import reason_of, shut
from triptych.errors import ElasticsearchError, SettingsError
from triptych.settings import Settings

Client = Elasticsearch
"""The client's type, for those who only pass it on."""

RETRYABLE_STATUS = {408, 429, 502, 503, 504}

_NOT_ACCEPTABLE = 406

SNIFF_SECONDS = 60.0
"""From one look for the cluster's nodes to the next, where TRIPTYCH_ELASTICSEARCH_SNIFF is on."""

OLDEST = (8, 19)
"""The oldest Elasticsearch Triptych works with."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the server is and can do, found out from the version of the cluster's oldest node (docs/compatibility.md).

    `base64_vectors`: dense_vector accepts big-endian float32 in base64 in documents and queries (9.3 and later).
    `hides_vectors`: vectors are left out of `_source` unless asked for (indices created on 9.2 and later).
    """

    version: str
    name: str
    cluster: str

    @property
    def numbers(self) -> tuple[int, int]:
        return _numbers(self.version)

    @property
    def base64_vectors(self) -> bool:
        return self.numbers >= (9, 3)

    @property
    def hides_vectors(self) -> bool:
        return self.numbers >= (9, 2)


@functools.cache
def _numbers(version: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


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


_JSON: Final = f"application/vnd.elasticsearch+json; compatible-with={elasticsearch.__version__[0]}"
_LINES: Final = f"application/vnd.elasticsearch+x-ndjson; compatible-with={elasticsearch.__version__[0]}"
_OK, _REDIRECTED = 200, 300


def post(client: Elasticsearch, path: str, body: bytes, *, lines: bool = False, seconds: float | None = None) -> Any:
    """The decoded answer to a request as bytes: JSON, or several `lines` of it. `seconds`: give it up after so long.

    It goes to the client's transport, which retries and knows dead nodes, past the layers above it: they look at each of a
    search's seventy parameters, make its headers anew and copy the client to set a time-out, a third of the CPU that a request
    takes in Python. Where spans are sent they are not left out, for they make one of each request.
    Raises ApiError, UnsupportedProductError or TransportError as the client does.
    """
    sent = _LINES if lines else _JSON
    if traces.on():
        timed = client if seconds is None else client.options(request_timeout=seconds, max_retries=0)
        named, headers = "msearch" if lines else "search", {"accept": _JSON, "content-type": sent}
        return timed.perform_request("POST", path, headers=headers, body=body, endpoint_id=named).body
    own = vars(client)  # its settings lie on the client, not on the transport, and there is no public way to them
    meta, answer = client.transport.perform_request(
        "POST",
        path,
        body=body,
        headers={**own["_headers"], "accept": _JSON, "content-type": sent},
        max_retries=own["_max_retries"] if seconds is None else 0,
        retry_on_status=own["_retry_on_status"],
        retry_on_timeout=own["_retry_on_timeout"],
        request_timeout=own["_request_timeout"] if seconds is None else seconds,
    )
    if not _OK <= meta.status < _REDIRECTED:
        raise ApiError(str(answer), meta=meta, body=answer)
    if meta.headers.get("x-elastic-product") != "Elasticsearch":
        raise UnsupportedProductError("The server is not Elasticsearch.", meta=meta, body=answer)
    warning = meta.headers.get("warning")
    if warning is not None:
        warnings.warn(warning, ElasticsearchWarning, stacklevel=2)
    return answer


def within(client: Client, seconds: float | None) -> Client:
    """The client whose requests are given up after so long and not tried again; None: as it is."""
    return client if seconds is None else client.options(request_timeout=max(seconds, 0.01), max_retries=0)


def connect(settings: Settings) -> Elasticsearch:
    """A client for the settings' Elasticsearch. Nothing is sent yet; see `server` for a first request.

    Raises SettingsError naming the variable that makes no connection.
    """
    options: dict[str, Any] = {"request_timeout": settings.elasticsearch_timeout_seconds, "serializer": Serializer()}
    options |= {"retry_on_timeout": False, "max_retries": 2, "node_class": CurlNode, **_tls(settings)}
    login = _login(settings)
    if login is not None:
        options["headers"] = {"authorization": login}
    if settings.elasticsearch_sniff:
        options |= {"sniff_before_requests": True, "sniff_on_node_failure": True, "min_delay_between_sniffing": SNIFF_SECONDS}
    if settings.elasticsearch_cloud_id is not None:
        field, remedy = "TRIPTYCH_ELASTICSEARCH_CLOUD_ID", "Copy it from the deployment's page. Sniffing does not go with it."
    else:
        field, remedy = "TRIPTYCH_ELASTICSEARCH_URL", "Give scheme, host and port, such as https://search.example:9200."
    try:
        return Elasticsearch(**_place(settings, login), **options)
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"{field} and its companions do not make a connection: {error}.", field=field, remedy=remedy
        ) from error


def _place(settings: Settings, login: str | None) -> dict[str, Any]:
    """The deployment on Elastic Cloud, or the nodes.

    The client asks for the cluster's nodes without its own headers (elastic/elasticsearch-py#2005), so a node carries the login
    too.
    """
    if settings.elasticsearch_cloud_id is None:
        nodes = [url_to_node_config(address) for address in settings.elasticsearch_addresses]
        if not settings.elasticsearch_sniff or login is None:
            return {"hosts": nodes}
        return {"hosts": [node.replace(headers={**node.headers, "authorization": login}) for node in nodes]}
    if settings.elasticsearch_url is not None:
        raise SettingsError(
            "Both a URL and a cloud id of Elasticsearch are set.",
            field="TRIPTYCH_ELASTICSEARCH_CLOUD_ID",
            remedy="Set TRIPTYCH_ELASTICSEARCH_URL or TRIPTYCH_ELASTICSEARCH_CLOUD_ID.",
        )
    return {"cloud_id": settings.elasticsearch_cloud_id}


def _login(settings: Settings) -> str | None:
    """The header that says who we are: an API key, else a bearer token, else user and password."""
    if settings.elasticsearch_api_key is not None:
        return f"ApiKey {settings.elasticsearch_api_key.get_secret_value()}"
    if settings.elasticsearch_bearer_token is not None:
        return f"Bearer {settings.elasticsearch_bearer_token.get_secret_value()}"
    login = settings.elasticsearch_login
    return None if login is None else basic_auth_to_header(login)


def _tls(settings: Settings) -> dict[str, str]:
    """The CA that is trusted, and the certificate that we show. Raises SettingsError for a file that is not there."""
    files = {
        "ca_certs": ("TRIPTYCH_ELASTICSEARCH_CA_FILE", settings.elasticsearch_ca_file),
        "client_cert": ("TRIPTYCH_ELASTICSEARCH_CLIENT_CERTIFICATE", settings.elasticsearch_client_certificate),
        "client_key": ("TRIPTYCH_ELASTICSEARCH_CLIENT_KEY", settings.elasticsearch_client_key),
    }
    for name, path in files.values():
        if path is not None and not path.exists():
            raise SettingsError(f"There is no file {path}.", field=name, remedy="Name a PEM file that this process may read.")
    if settings.elasticsearch_client_key is not None and settings.elasticsearch_client_certificate is None:
        raise SettingsError(
            "There is a key without a certificate to show.",
            field="TRIPTYCH_ELASTICSEARCH_CLIENT_KEY",
            remedy="Set TRIPTYCH_ELASTICSEARCH_CLIENT_CERTIFICATE too.",
        )
    return {option: str(path) for option, (_, path) in files.items() if path is not None}


def server(client: Elasticsearch) -> Server:
    """Ask the server what it is. Raises ElasticsearchError with what to do if it does not answer or does not fit.

    While a cluster is upgraded node by node it can what its oldest node can.
    """
    found = ping(client)
    with translated():
        nodes = client.nodes.info(metric="http", filter_path="nodes.*.version").get("nodes", {})
    oldest = min([found.version, *(node["version"] for node in nodes.values())], key=_numbers)
    return replace(found, version=oldest)


def ping(client: Elasticsearch) -> Server:
    """What the node is that answers. Raises ElasticsearchError as `server` does."""
    with translated():
        info = client.info()
    version = info["version"]
    found = Server(version=version["number"], name=info["name"], cluster=info["cluster_name"])
    if version.get("build_flavor") == "serverless":  # its version number says nothing
        raise ElasticsearchError(
            "This is a serverless project of Elastic Cloud, on which Triptych was never tried.",
            code="elasticsearch.unsupported",
            remedy="Use a deployment of Elastic Cloud, or a cluster of your own, of 8.19 or 9.x.",
        )
    if found.numbers < OLDEST:
        raise _too_old(f"Elasticsearch {found.version}")
    return found


def _too_old(what: str) -> ElasticsearchError:
    return ElasticsearchError(
        f"{what} is older than {'.'.join(map(str, OLDEST))}, the oldest Triptych works with.",
        code="elasticsearch.too_old",
        remedy="Upgrade the cluster to 8.19 or 9.x.",
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client's exceptions into ElasticsearchError: retryable when the server was away or overloaded."""
    try:
        yield
    except UnsupportedProductError as error:  # an ApiError too
        raise _foreign(error.body) from error
    except ApiError as error:
        raise _refused(error) from error
    except TransportError as error:
        raise ElasticsearchError(
            f"Elasticsearch did not answer: {error}.",
            code="elasticsearch.unavailable",
            retryable=True,
            remedy="Check TRIPTYCH_ELASTICSEARCH_URL and that the server runs (`triptych doctor`).",
        ) from error


def malformed(answer: object, what: str) -> ElasticsearchError:
    """The error of an answer to `what` that is none."""
    return ElasticsearchError(
        f"Elasticsearch's answer to {what} has not the form it should have: {str(answer)[:200]}",
        code="elasticsearch.unavailable",
        retryable=True,
        remedy="Check that TRIPTYCH_ELASTICSEARCH_URL leads to Elasticsearch.",
    )


def _foreign(body: object) -> ElasticsearchError:
    """The error of a server that speaks Elasticsearch's language and is none: OpenSearch, or one before 7.14."""
    version = body.get("version") if isinstance(body, dict) else None
    name = version.get("distribution", "an Elasticsearch before 7.14") if isinstance(version, dict) else "OpenSearch, say"
    return ElasticsearchError(
        f"What answers is not Elasticsearch 8.19 or 9.x, but {str(name)[:40]}.",
        code="elasticsearch.unsupported",
        field="TRIPTYCH_ELASTICSEARCH_URL",
        remedy="Set TRIPTYCH_ELASTICSEARCH_URL to an Elasticsearch; OpenSearch has other vector fields and queries.",
    )


def _refused(error: ApiError) -> ElasticsearchError:
    status = error.status_code
    reason = reason_of(error.body)
    if status == _NOT_ACCEPTABLE and "compatible-with" in str(error.body):  # the media type of clients 8 and 9
        if error.meta.headers.get("x-elastic-product") == "Elasticsearch":
            return _too_old("This Elasticsearch")
        return _foreign(error.body)
    if "media_type_header_exception" in str(error.body):
        return ElasticsearchError(
            f"The Python client {'.'.join(map(str, elasticsearch.__version__))} is too new for this server.",
            code="elasticsearch.client_too_new",
            remedy="Install a client of the server's major version: pip install 'elasticsearch>=8.19,<9'.",
        )
    # the block of a full disk is 429, and ends by itself
    if status not in RETRYABLE_STATUS and (why := shut(error.body)) is not None:
        return why
    if status in (401, 403):
        return ElasticsearchError(
            f"Elasticsearch refused the credentials or the privilege (HTTP {status}): {reason}",
            code="elasticsearch.forbidden",
            remedy="Check TRIPTYCH_ELASTICSEARCH_API_KEY / _BEARER_TOKEN / _USER / _PASSWORD and the role's privileges.",
        )
    code = {400: "elasticsearch.bad_request", 404: "elasticsearch.not_found", 409: "elasticsearch.conflict"}.get(
        status, "elasticsearch.refused"
    )
    if status in RETRYABLE_STATUS:
        code = "elasticsearch.busy"
    return ElasticsearchError(
        f"Elasticsearch refused the request (HTTP {status}): {reason}", code=code, retryable=status in RETRYABLE_STATUS
    )
