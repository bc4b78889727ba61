"""A visitor of the pages: a real browser that notes what it asked for and what went wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from PIL import Image

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
_SEEN = """() => [...document.images].every((image) => {
    const place = image.getBoundingClientRect();
    return image.complete || place.top > innerHeight || place.bottom < 0;
})"""
README_PICTURE = "page"
"""Kept as WebP too: docs/page.webp is that of `TRIPTYCH_SCREENSHOTS=FOLDER pytest tests/e2e -k sliders_weigh`."""

_HERE = ("127.0.0.1", "")  # data: and blob: have no host


class Visitor:
    """One browser at one site. `errors` are the console's and the scripts', `asked` the addresses of all requests."""

    def __init__(self, browser: Any, url: str, pictures: Path) -> None:
        self._browser, self.url, self._pictures = browser, url, pictures
        self.errors: list[str] = []
        self.asked: list[str] = []

    def begin(self) -> None:
        """Close what an earlier test left open, and forget what it noted."""
        for old in self._browser.contexts:
            old.close()
        self.errors.clear()
        self.asked.clear()

    def open(self, path: str, *, width: int = 1280, height: int = 900, language: str = "en", scheme: str = "light") -> Any:
        """A new page of a new window, without anything from earlier ones."""
        window = self._browser.new_context(
            viewport={"width": width, "height": height}, locale=language, color_scheme=scheme, accept_downloads=True
        )
        page = window.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(self.url + path)
        return page

    def picture(self, page: Any, name: str) -> Path:
        """Keep a picture of a page, once those of its pictures that can be seen are there."""
        page.wait_for_function(_SEEN)
        path = self._pictures / f"{name}.png"
        page.screenshot(path=path)
        if name == README_PICTURE:
            with Image.open(path) as picture:
                picture.convert("RGB").save(path.with_suffix(".webp"), quality=80, method=6)
        return path

    def note(self, name: str, figures: dict[str, Any]) -> None:
        """Print what was measured, and keep it beside the pictures."""
        text = json.dumps(figures)
        print(f"{name}: {text}")
        (self._pictures / f"{name}.json").write_text(text, encoding="utf-8")

    def left(self) -> list[str]:
        """Requests that went elsewhere."""
        return [url for url in self.asked if (urlsplit(url).hostname or "") not in _HERE]


def barriers(page: Any) -> list[str]:
    """Serious findings of axe, the accessibility checker: https://github.com/dequelabs/axe-core."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:200]})"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
