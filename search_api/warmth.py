"""Loads the encoders beside the first requests: the API is live at once and ready once they are loaded."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

from search_api.searcher import Searcher
from triptych.errors import TriptychError

log = logging.getLogger(__name__)

WARMTH = "triptych.warmth"
"""Under this name an application has its Warmth in `extensions`."""

_OBJECTS = 50_000
"""New objects after which the garbage collector runs."""


class Warmth:
    """Whether the encoders are loaded; `start` begins loading them in the background."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"ok": False, "message": "The encoders are being loaded."}
        self._done = threading.Event()

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    def wait(self) -> dict[str, Any]:
        """The state once loading has ended, well or not."""
        self._done.wait()
        return self.state()

    def start(self, searcher: Searcher) -> None:
        threading.Thread(target=self._warm, args=(searcher,), name="warmth", daemon=True).start()

    def _warm(self, searcher: Searcher) -> None:
        try:
            searcher.warm()
        except TriptychError as error:
            log.warning("the encoders do not load: %s", error)
            self._state = {"ok": False, "code": error.code, "message": error.message, "remedy": error.remedy}
        except Exception as error:
            log.exception("the encoders do not load")
            self._state = {"ok": False, "code": "encoder.failed", "message": f"The encoders do not load: {error}."}
        else:
            calm_garbage_collector()
            self._state = {"ok": True}
        finally:
            self._done.set()


def calm_garbage_collector() -> None:
    """Look for garbage less often, and not among what is loaded now, which stays.

    An answer of four legs makes some 5,000 objects that are freed without the collector; at Python's default of 700 it ran
    seven times per query, for a sixth of the time (benchmarks/search.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, 20, 20)
