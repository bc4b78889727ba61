"""Circuit breakers, one per dependency: what failed five times in a row is left alone for five seconds, then tried once.

Without them every query of a busy shop would wait for the same dead service until its deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pybreaker

from search_api.deadline import Deadline
from search_api.metrics import breaker_is
from triptych.errors import ElasticsearchError, InputError, NotFoundError, TriptychError

FAILURES = 5
REST_SECONDS = 5.0

_HURRIED = {"encoder.busy", "elasticsearch.too_slow"}


def _not_its_fault(error: BaseException) -> bool:
    """What a query did wrong does not count against the service, nor does a search that Elasticsearch refused."""
    refused = isinstance(error, ElasticsearchError) and not error.retryable
    hurried = isinstance(error, TriptychError) and (error.code in _HURRIED or error.field == "timeout_ms")
    return refused or hurried or isinstance(error, InputError | NotFoundError)


class _Told(pybreaker.CircuitBreakerListener):
    """Tells the metrics of each change of a breaker."""

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: Any, new_state: Any) -> None:  # noqa: ARG002  pybreaker's
        breaker_is(str(cb.name), new_state.name)


class Breakers:
    """The breakers by name of the dependency. Share one between threads."""

    def __init__(self, *, failures: int = FAILURES, rest_seconds: float = REST_SECONDS) -> None:
        self._failures, self._rest = failures, rest_seconds
        self._known: dict[str, tuple[pybreaker.CircuitBreaker, threading.Lock]] = {}
        self._making = threading.Lock()

    @contextmanager
    def guarding(self, name: str, error: type[TriptychError], code: str) -> Iterator[None]:
        """Run a block under the breaker `name`; raises `error` with `code`, retryable, while it is open or another tries."""
        breaker, trial = self._known.get(name) or self._of(name)
        tries = breaker.current_state != pybreaker.STATE_CLOSED
        if tries and not trial.acquire(blocking=False):
            raise self._resting(name, error, code)
        try:
            with breaker.calling():
                yield
        except pybreaker.CircuitBreakerError as opened:
            raise self._resting(name, error, code) from opened
        finally:
            if tries:
                trial.release()

    @contextmanager
    def asking(self, deadline: Deadline) -> Iterator[None]:
        """A request to Elasticsearch under its breaker, which does not count a deadline of the query's own."""
        with self.guarding("elasticsearch", ElasticsearchError, "elasticsearch.unavailable"):
            try:
                yield
            except ElasticsearchError as error:
                if not error.retryable or deadline.left != 0:
                    raise
                raise ElasticsearchError(
                    "Elasticsearch did not answer within timeout_ms.",
                    code="elasticsearch.too_slow",
                    field="timeout_ms",
                    retryable=True,
                    remedy="Give it more time.",
                ) from error

    def _resting(self, name: str, error: type[TriptychError], code: str) -> TriptychError:
        return error(
            f"The {name} failed {self._failures} times in a row and rests for {self._rest:.0f} s.",
            code=code,
            retryable=True,
            remedy="Wait a little; `triptych doctor` says what is wrong.",
        )

    def state(self) -> dict[str, str]:
        """closed, open or half-open, by name."""
        return {name: str(breaker.current_state) for name, (breaker, _) in self._known.items()}

    def _of(self, name: str) -> tuple[pybreaker.CircuitBreaker, threading.Lock]:
        """The breaker, and what the one thread holds that tries the service after its rest."""
        with self._making:
            if name not in self._known:
                breaker = pybreaker.CircuitBreaker(
                    fail_max=self._failures,
                    reset_timeout=self._rest,
                    exclude=[_not_its_fault],
                    name=name,
                    throw_new_error_on_trip=False,
                    listeners=[_Told()],
                )
                breaker_is(name, pybreaker.STATE_CLOSED)
                self._known[name] = breaker, threading.Lock()
            return self._known[name]
