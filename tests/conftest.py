"""What all tests share. The helpers beside it and in integration/ are on the path (pyproject.toml)."""

from __future__ import annotations

import ctypes
import gc
import sys

import pytest

pytest_plugins = ["service_fixtures"]
"""One worker, one API and one shop for all tests of a process, whatever their folder: each holds its encoders in memory."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of real services that fails is tried again, twice at most, and the summary lists it (RERUN).

    With an Elasticsearch, a Redis, workers and a browser on two cores, a service that was slow once is no fault of ours. A test
    that fails three times fails. One that is listed now and then has a fault: of its own, or of what it tests.
    """
    for item in items:
        if item.get_closest_marker("integration") or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=3))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests are no garbage: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After each file: what its tests left open is found here and not in another file, and its networks' memory goes back."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        if sys.platform == "linux":
            getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)
