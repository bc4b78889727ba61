"""The report of `triptych evaluate compare --html` as a person opens it: a file, in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Visitor, barriers
from processes import SHOP, Command

pytestmark = [pytest.mark.integration, pytest.mark.e2e]


@pytest.fixture(scope="module")
def report(command: Command, shop: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of twenty of the demo's queries of words, pictures and both."""
    folder = tmp_path_factory.mktemp("report")
    lines = [json.loads(line) for line in (SHOP / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    words = [one for one in lines if not one.get("image") and not one.get("audio")][:12]
    pictures = [one for one in lines if one.get("image")]
    chosen = [*words, *[one for one in pictures if one.get("text")][:4], *[one for one in pictures if not one.get("text")][:4]]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in chosen), encoding="utf-8")
    given = [str(SHOP / "qrels.txt"), "--queries", str(folder / "queries.jsonl"), "--query-media", str(SHOP), "--index", shop]
    path = folder / "report.html"
    command("evaluate", "compare", *given, "--html", str(path), "--media", str(SHOP))
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_seen_whole_and_asks_nobody(
    report: Path, browse: Callable[..., Visitor], screenshots: Path, width: int
) -> None:
    visitor = browse("file://")
    page = visitor.open(str(report), width=width)
    assert page.locator("img").count() > 10
    assert (
        page.evaluate("[...document.images].filter((one) => !one.naturalWidth || !one.getBoundingClientRect().width).length")
        == 0
    )
    plots = page.locator("svg")
    assert plots.count() >= 4
    for plot in plots.all():
        box = plot.bounding_box()
        assert plot.is_visible()
        assert box is not None
        assert box["width"] > 200
    smallest = min(page.eval_on_selector_all("svg text", "texts => texts.map(one => one.getBoundingClientRect().height)"))
    assert smallest > 8, "pixels: a person can read it"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it is not wider than the window"
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("details", has_text="queries as a table").locator("tr").count() == 1 + 20
    page.screenshot(path=screenshots / f"report-{width}.png", full_page=True)
    assert barriers(page) == []
    assert visitor.errors == []
    assert [url for url in visitor.asked if not url.startswith("data:")] == [f"file://{report}"]
