"""What all tests share; also puts this folder on the path, so that every test can import the helpers beside it."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of real services that fails is tried again, twice at most, and the summary lists it (RERUN).

    With an Elasticsearch, a Redis, workers and a browser on two cores, a service that was slow once is no fault of ours. A test
    that fails three times fails. One that is listed now and then has a fault: of its own, or of what it tests.
    """
    for item in items:
        if item.get_closest_marker("integration") or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.flaky(reruns=2))
