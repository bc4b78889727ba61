"""A real browser for the pages, which are served by the real services of the integration tests (service_fixtures.py)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import FLAGS, Visitor


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the test is skipped, on CI it fails."""
    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if path is None:
        reason = "there is no Chromium: run scripts/browser.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of the pages are kept."""
    given = os.environ.get("TRIPTYCH_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browse(chromium: str, screenshots: Path) -> Iterator[Callable[..., Any]]:
    """`browse(url, hears=WAV)`: a Visitor with a browser of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browsers = []

        def start(url: str, *, hears: Path | None = None) -> Visitor:
            flags = [*FLAGS, *([f"--use-file-for-fake-audio-capture={hears}"] if hears else [])]
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            browsers.append(browser)
            return Visitor(browser, url, screenshots)

        yield start
        for browser in browsers:
            browser.close()
