"""What is known of indices: asked of Elasticsearch anew after a few seconds, remembered for answers that were given before."""

from __future__ import annotations

import time

from search_api.breakers import Breakers
from search_api.deadline import Deadline
from search_api.session import Session, unknown
from triptych.elastic.client import within
from triptych.elastic.lifecycle import IndexInfo, describe
from triptych.errors import NotFoundError
from triptych.services import Services

INFO_SECONDS = 5.0
"""How long an index's mapping is taken as known: a switched alias or new levels are seen at the latest after so long."""

MOST_INFOS = 100


class Infos:
    """What is known of indices. Share one between threads."""

    def __init__(self, services: Services, breakers: Breakers) -> None:
        self._services, self._breakers = services, breakers
        self._now: dict[str, tuple[float, IndexInfo]] = {}
        self._seen: dict[tuple[str, str], IndexInfo] = {}

    def of(self, index: str, deadline: Deadline | None = None) -> IndexInfo:
        """What is known of `index`, at most INFO_SECONDS old."""
        known = self._now.get(index)
        if known is None or time.monotonic() - known[0] > INFO_SECONDS:
            deadline = deadline or Deadline()
            with self._breakers.asking(deadline):
                info = describe(within(self._services.elasticsearch, deadline.request_seconds), index)
            self._services.check(info.schema)
            if len(self._seen) >= MOST_INFOS:
                self.clear()
            known = self._now[index] = (time.monotonic(), info)
            self._seen[index, info.version] = info
        return known[1]

    def of_session(self, session: Session) -> IndexInfo:
        """What a session was asked of: the version behind the alias, or the one that was. Raises NotFoundError."""
        info = self.of(session.index)
        try:
            return info if info.version == session.version else self.of(session.version)
        except NotFoundError as error:
            raise unknown(self._services.settings.session_seconds) from error

    def last_of(self, session: Session) -> IndexInfo:
        """The same as it was known last, however long ago; Elasticsearch is asked only where this process never knew it."""
        known = [self._seen.get((name, session.version)) for name in (session.index, session.version)]
        return next((info for info in known if info is not None), None) or self.of_session(session)

    def clear(self) -> None:
        """Know nothing."""
        self._now.clear()
        self._seen.clear()
