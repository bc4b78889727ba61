"""Media in buckets, `s3://bucket/key` and `gs://bucket/key`, through fsspec and its packages s3fs and gcsfs.

They are read with whatever rights the worker has (environment, machine), which is why each bucket must be allowed by name.
"""

from __future__ import annotations

import threading
from typing import Any

from triptych.errors import MediaError
from triptych.media.fetch import check_bytes
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.known import Known
from triptych.media.remote.web import Fetched
from triptych.settings import Settings

BUCKETS = frozenset({"s3", "gs"})


class Buckets:
    """Reads objects. Safe to share between threads."""

    def __init__(self, settings: Settings, allowed: Allowed) -> None:
        self._most, self._allowed = settings.media_bytes, allowed
        self._systems: dict[str, Any] = {}
        self._making = threading.Lock()

    def get(self, reference: str, known: Known | None) -> Fetched | None:
        """The bytes of an object; None if its ETag is that of `known`. Raises MediaError."""
        scheme, _, path = reference.partition("://")
        scheme = scheme.lower()
        bucket, _, key = path.partition("/")
        if not bucket or not key:
            raise MediaError(
                f"{reference[:200]!r} names no object.", code="media.bad_url", remedy=f"Write {scheme}://bucket/key."
            )
        self._allowed.check_bucket(scheme, bucket)
        files = self._file_system(scheme)
        try:
            info = _object(files, path)
            etag = _etag(info)
            if known is not None and etag is not None and known.etag == etag:
                return None
            check_bytes(int(info["size"] or 0), self._most, reference[:200], "path")
            data = bytes(files.cat_file(path, start=0, end=self._most + 1))
        except FileNotFoundError as error:
            raise MediaError(f"There is no object {reference[:200]!r}.", code="media.not_found") from error
        except PermissionError as error:
            message = f"{reference[:200]!r} may not be read: {error}."
            raise MediaError(message, code="media.unreadable", remedy="Give the worker's user the right to read it.") from error
        except MediaError:
            raise
        except Exception as error:  # fsspec's packages raise their own, which are not imported here
            message = f"{reference[:200]!r} cannot be read: {error!r}."
            raise MediaError(message, code="media.host_unreachable", retryable=True) from error
        check_bytes(len(data), self._most, reference[:200], "path")
        return Fetched(data, reference, etag)

    def _file_system(self, scheme: str) -> Any:
        """One for all threads, without fsspec's own cache, which keeps one for each thread there ever was."""
        with self._making:
            if scheme not in self._systems:
                self._systems[scheme] = _file_system(scheme)
            return self._systems[scheme]


def _object(files: Any, path: str) -> dict[str, Any]:
    info: dict[str, Any] = files.info(path)
    if info.get("type") == "directory":
        raise MediaError(f"{path[:200]!r} is a folder.", code="media.not_a_file")
    return info


def _etag(info: dict[str, Any]) -> str | None:
    """What changes with the object: s3fs says ETag, gcsfs etag."""
    found = info.get("ETag") or info.get("etag")
    return str(found) if found else None


def _file_system(scheme: str) -> Any:
    try:
        import fsspec  # noqa: PLC0415  an extra

        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        raise MediaError(
            f"{scheme}:// needs a package that is not installed: {error}.",
            code="media.needs_fsspec",
            remedy=f"pip install 'triptych[{scheme}]' where the workers run.",
        ) from error
