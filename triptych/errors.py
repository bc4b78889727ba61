"""Every error Triptych raises on purpose.

    TriptychError
    ├── SettingsError            a setting is missing, unknown or malformed
    │   └── ProfileError         a profile's file; names the line
    ├── InputError               what the user gave is wrong (record, query, media); names the field
    │   ├── RecordError          a catalogue's record
    │   ├── MediaError           a picture or a sound
    │   └── QueryError           a search request
    ├── NotFoundError            no such index, job, product
    ├── AccessError              a request without a key, or with one that may not do this
    ├── EncoderError             an encoder is missing, damaged, or of another space than the index
    ├── ElasticsearchError       Elasticsearch refused (not retryable) or was away (retryable)
    ├── QueueError               Redis was away
    └── EngineError              the local Elasticsearch or Redis could not be had or started

Each carries a stable `code` (dotted, lower case; documented in docs/errors.md), the `field` at fault where there is one,
the `remedy` a person can act on, and whether trying again may help (`retryable`). The message is positional and everything
else a keyword with a default, so an error survives pickling between Celery processes.
"""

from __future__ import annotations

from typing import Any


class TriptychError(Exception):
    """Base of all. `str(error)` is one sentence for a person; `code` is for machines."""

    default_code = "triptych.error"
    default_retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        remedy: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self.remedy = remedy
        self.retryable = self.default_retryable if retryable is None else retryable

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.code, self.field, self.remedy, self.retryable), self.__dict__

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


def _rebuild(
    kind: type[TriptychError], message: str, code: str, field: str | None, remedy: str | None, retryable: bool
) -> TriptychError:
    return kind(message, code=code, field=field, remedy=remedy, retryable=retryable)


class SettingsError(TriptychError):
    default_code = "settings.invalid"


class ProfileError(SettingsError):
    default_code = "profile.invalid"


class InputError(TriptychError):
    default_code = "input.invalid"


class RecordError(InputError):
    default_code = "record.invalid"


class MediaError(InputError):
    default_code = "media.invalid"


class QueryError(InputError):
    default_code = "query.invalid"


class NotFoundError(TriptychError):
    default_code = "not_found"


class AccessError(TriptychError):
    default_code = "access.no_key"


class EncoderError(TriptychError):
    default_code = "encoder.unavailable"


class ElasticsearchError(TriptychError):
    default_code = "elasticsearch.refused"


class QueueError(TriptychError):
    default_code = "queue.unavailable"
    default_retryable = True


class EngineError(TriptychError):
    default_code = "engine.failed"
