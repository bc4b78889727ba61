"""The dashboard, the alerts, the docs and the code name the same metrics; each alert has a section that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_pages import sections

pytestmark = pytest.mark.contract

_NAME = re.compile(r"\btriptych_[a-z_]+[a-z]")
_OF_HISTOGRAMS = ("_bucket", "_count", "_sum")


def names_in(text: str) -> set[str]:
    """The metrics that an expression asks for, without what Prometheus adds to a histogram's name."""
    endings = {name: next((end for end in _OF_HISTOGRAMS if name.endswith(end)), "") for name in _NAME.findall(text)}
    return {name.removesuffix(ending) for name, ending in endings.items()}


@pytest.fixture(scope="module")
def measured(root: Path) -> set[str]:
    """Every metric that the code makes, as it is asked for: a counter ends in `_total`."""
    found = set()
    for name in ("metrics", "metrics_scrape"):
        source = (root / "search_api" / f"{name}.py").read_text(encoding="utf-8")
        for kind, metric in re.findall(r'(Counter|Gauge|Histogram|GaugeMetricFamily)\(\s*"(triptych_\w+)"', source):
            found.add(metric + ("_total" if kind == "Counter" else ""))
    assert len(found) > 10
    return found


@pytest.fixture(scope="module")
def dashboard(root: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((root / "docs" / "grafana" / "triptych.json").read_text(encoding="utf-8"))
    return board


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Panel and expression of every query of a dashboard."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.fixture(scope="module")
def alerts(root: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((root / "docs" / "grafana" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_metric_is_documented_and_every_documented_one_exists(pages: dict[str, str], measured: set[str]) -> None:
    section = sections(pages["operations.md"])["Metrics"]
    assert set(re.findall(r"(?m)^\| `(triptych_\w+)`", section)) == measured


def test_the_dashboard_asks_for_metrics_there_are_and_leaves_none_out(dashboard: dict[str, Any], measured: set[str]) -> None:
    asked = {name for _, expression in expressions(dashboard) for name in names_in(expression)}
    assert asked == measured


def test_panels_do_not_lie_over_each_other(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_alerts_ask_for_metrics_there_are(alerts: list[dict[str, Any]], measured: set[str]) -> None:
    assert len(alerts) > 8
    for rule in alerts:
        assert names_in(rule["expr"]) - measured == set(), rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_alert_has_a_section_that_says_what_to_do(alerts: list[dict[str, Any]], pages: dict[str, str]) -> None:
    runbook = sections(pages["operations.md"])["Alerts"]
    assert re.findall(r"(?m)^### (\w+)$", runbook) == [rule["alert"] for rule in alerts]


def test_expressions_have_their_brackets(dashboard: dict[str, Any], alerts: list[dict[str, Any]]) -> None:
    for where, expression in [*expressions(dashboard), *((rule["alert"], rule["expr"]) for rule in alerts)]:
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), where


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert names_in('sum(rate(triptych_x_bucket{a="b"}[5m])) / triptych_y_total') == {"triptych_x", "triptych_y_total"}
