"""Media in buckets: `s3://bucket/key` through boto3, `gs://bucket/key` through google-cloud-storage.

They are read with whatever rights the worker has (environment, machine), which is why each bucket must be allowed by name.
Where it has none, buckets that everybody may read still work. A bucket of which several objects in a row could not be had is
left alone for a while, as a host is.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

from triptych.errors import MediaError
from triptych.media.fetch import check_bytes
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.bounded import within
from triptych.media.remote.deadline import Deadline
from triptych.media.remote.exchange import CONNECT_SECONDS, SILENCE_SECONDS
from triptych.media.remote.hosts import Hosts
from triptych.media.remote.known import Known
from triptych.media.remote.web import Fetched
from triptych.settings import Settings

_TALKATIVE: Final = ("boto3", "botocore", "urllib3", "google")
"""Loggers that at the level DEBUG write what proves the worker's rights."""


class Store(Protocol):
    """What keeps buckets. Safe to share between threads."""

    def get(
        self, bucket: str, key: str, etag: str | None, check: Callable[[int, str | None], None]
    ) -> tuple[bytes, str] | None:
        """An object and its ETag; None if that is `etag`. `check` is told size and encoding before the body is read."""

    def status(self, error: Exception) -> int | None:
        """The HTTP status behind an error; 401 also where the worker has no rights to show; None if there was no answer."""


class Buckets:
    """Reads objects. Safe to share between threads."""

    def __init__(self, settings: Settings, allowed: Allowed) -> None:
        self._settings, self._allowed = settings, allowed
        self._stores: dict[str, Store] = {}
        self._making = threading.Lock()
        self._hosts = Hosts(settings.fetch_per_host)

    def get(self, reference: str, known: Known | None, until: Deadline) -> Fetched | None:
        """The bytes of an object; None if its ETag is that of `known`.

        TRIPTYCH_FETCH_SECONDS bounds all attempts together. Raises MediaError.
        """
        scheme, _, path = reference.partition("://")
        scheme = scheme.lower()
        bucket, _, key = path.partition("/")
        shown = reference[:200]
        if not bucket or not key:
            raise MediaError(f"{shown!r} names no object.", code="media.bad_url", remedy=f"Write {scheme}://bucket/key.")
        self._allowed.check_bucket(scheme, bucket)

        def check(size: int, encoding: str | None) -> None:
            check_bytes(size, self._settings.media_bytes, shown, "path")
            if encoding and encoding not in {"identity", "aws-chunked"}:
                message = f"{shown!r} is kept compressed ({encoding[:50]})."
                raise MediaError(message, code="media.encoded", remedy="Store media as they are.")

        store, seconds = self._store(scheme), self._settings.fetch_seconds
        etag = known.etag if known is not None else None
        with self._hosts[f"{scheme}://{bucket}"].guarding(until):
            try:
                found = within(seconds, lambda: store.get(bucket, key, etag, check), lambda: _late(shown, seconds))
            except MediaError:
                raise
            except Exception as error:
                raise _failed(shown, store.status(error), error) from error
        if found is None:
            return None
        data, new = found
        check_bytes(len(data), self._settings.media_bytes, shown, "path")
        return Fetched(data, reference, new or None)

    def _store(self, scheme: str) -> Store:
        with self._making:
            if scheme not in self._stores:
                for name in _TALKATIVE:
                    logging.getLogger(name).setLevel(logging.INFO)
                try:
                    self._stores[scheme] = STORES[scheme](self._settings)
                except ImportError as error:
                    raise MediaError(
                        f"{scheme}:// needs a package that is not installed: {error}.",
                        code="media.needs_package",
                        remedy=f"pip install 'triptych[{scheme}]' where the workers run.",
                    ) from error
            return self._stores[scheme]


def _late(shown: str, seconds: float) -> MediaError:
    return MediaError(
        f"{shown!r} did not come within {seconds:g} s.",
        code="media.fetch_timeout",
        remedy="Try again later, or raise TRIPTYCH_FETCH_SECONDS.",
        retryable=True,
    )


def _failed(shown: str, status: int | None, error: Exception) -> MediaError:
    if status == HTTPStatus.NOT_FOUND:
        return MediaError(f"There is no object {shown!r}.", code="media.not_found")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        message = f"{shown!r} may not be read: {type(error).__name__}, HTTP {status}."
        return MediaError(message, code="media.unreadable", remedy="Give the worker's user the right to read it.")
    return MediaError(f"{shown!r} cannot be read: {error!r}.", code="media.host_unreachable", retryable=True)


class S3:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"""

    def __init__(self, settings: Settings) -> None:
        import boto3  # noqa: PLC0415  an extra
        from botocore import UNSIGNED  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        session = boto3.Session()
        self._most = settings.media_bytes
        config = Config(
            connect_timeout=min(CONNECT_SECONDS, settings.fetch_seconds),
            read_timeout=min(SILENCE_SECONDS, settings.fetch_seconds),
            retries={"total_max_attempts": settings.fetch_attempts, "mode": "standard"},
            signature_version=UNSIGNED if session.get_credentials() is None else None,
        )
        self._client = session.client("s3", config=config)

    def get(
        self, bucket: str, key: str, etag: str | None, check: Callable[[int, str | None], None]
    ) -> tuple[bytes, str] | None:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **({"IfNoneMatch": etag} if etag else {}))
        except ClientError as error:
            if self.status(error) == HTTPStatus.NOT_MODIFIED:
                return None
            raise
        body = answer["Body"]
        try:
            check(answer["ContentLength"], answer.get("ContentEncoding"))
            return body.read(self._most + 1), answer.get("ETag", "")
        finally:
            body.close()

    def status(self, error: Exception) -> int | None:
        answer: Any = getattr(error, "response", None)
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
        return int(found) if found is not None else None


def google_client() -> Any:
    """A client of google-cloud-storage that reads, with the rights of this machine, or without any.

    Raises ImportError. https://cloud.google.com/python/docs/reference/storage/latest
    """
    import google.auth  # noqa: PLC0415  an extra
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415
    from google.cloud.storage import Client  # noqa: PLC0415

    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")  # noqa: TID251  read by the client
    # else a thread of its own asks for the bucket, which nobody needs and the worker may have no right to
    try:
        rights, project = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
        return Client(project=project or "none", credentials=rights)
    except DefaultCredentialsError:
        return Client.create_anonymous_client()


class Google:
    """https://cloud.google.com/python/docs/reference/storage/latest"""

    def __init__(self, settings: Settings) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415  an extra

        self._client = google_client()
        silence = min(SILENCE_SECONDS, settings.fetch_seconds)
        self._bounds = {"timeout": silence, "retry": DEFAULT_RETRY.with_timeout(settings.fetch_seconds)}

    def get(
        self, bucket: str, key: str, etag: str | None, check: Callable[[int, str | None], None]
    ) -> tuple[bytes, str] | None:
        blob = self._client.bucket(bucket).blob(key)
        blob.reload(**self._bounds)
        if etag and blob.etag == etag:
            return None
        check(blob.size or 0, blob.content_encoding)
        found = blob.etag or ""  # reading, which is of the generation just looked at, takes it away
        return bytes(blob.download_as_bytes(raw_download=True, **self._bounds)), found

    def status(self, error: Exception) -> int | None:
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

        if isinstance(error, GoogleAuthError) and not error.retryable:
            return HTTPStatus.UNAUTHORIZED
        found = getattr(error, "code", None)
        return int(found) if isinstance(found, int) else None


STORES: Final[dict[str, Callable[[Settings], Store]]] = {"s3": S3, "gs": Google}
BUCKETS: Final = frozenset(STORES)
