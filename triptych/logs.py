"""Logs on stderr, as text or as JSON, one object a line, that say which job, batch and product they are about. No secrets.

`about(job=..., batch=...)` around a piece of work puts its ids on every line logged meanwhile, by whatever library.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:  # not for `triptych --help`
    from triptych.settings import Settings

Format = Literal["text", "json"]

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s"
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+@")
_subject: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("subject", default={})  # noqa: B039  never changed


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Put these ids (job, batch, product) on every line logged inside; inner ones add to outer ones."""
    token = _subject.set({**_subject.get(), **ids})
    try:
        yield
    finally:
        _subject.reset(token)


class _Subject(logging.Filter):
    """Gives every record the ids of the moment it is made."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.subject = _subject.get()
        return True


class _Formatter(logging.Formatter):
    """Text, or JSON; in both without secrets."""

    def __init__(self, kind: Format, secrets: list[str]) -> None:
        super().__init__(_TEXT)
        self._json = kind == "json"
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        subject: Mapping[str, Any] = getattr(record, "subject", {})
        if not self._json:
            words = ", ".join(f"{name} {_in_a_line(value)}" for name, value in subject.items())
            record.about = f" ({words})" if words else ""
            return self._clean(super().format(record))
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        entry = {"time": at, "level": record.levelname, "logger": record.name, "message": self._clean(record.getMessage())}
        entry |= subject
        if record.exc_info:
            entry["exception"] = self._clean(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=str)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _LOGIN.sub("***@", text)


def _in_a_line(value: object) -> str:
    """A stranger's id must not begin a line of its own."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def set_up(settings: Settings, *, level: int | str, kind: Format | None = None) -> None:
    """Make stderr the only place of this process's logs, in the format of the settings or `kind`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Subject())
    handler.setFormatter(_Formatter(kind or settings.log_format, settings.secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    calm(logging.getLevelNamesMapping()[level] if isinstance(level, str) else level)


def calm(level: int) -> None:
    """Keep the Elasticsearch client from saying too much."""
    # it warns of every node that is away, with its traceback; our own error says it once
    logging.getLogger("elastic_transport").setLevel(logging.ERROR if level > logging.DEBUG else level)
    # it writes out every request and answer as soon as there is a handler, whatever the level
    logging.getLogger("elastic_transport.node").propagate = level <= logging.DEBUG
