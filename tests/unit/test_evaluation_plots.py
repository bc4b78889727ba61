"""Plots are plain SVG: texts escaped, no address, bars of the right length."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from evaluation import plots
from evaluation.statistics import Estimate

pytestmark = pytest.mark.unit

EVIL = '<b>"&amp;</b>'


def _parsed(svg: str) -> ET.Element:
    """Well-formed, without script or address."""
    assert "http" not in svg
    assert "script" not in svg
    return ET.fromstring(svg)  # noqa: S314  our own text


def _widths(svg: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'width="([\d.]+)" height="[\d.]+" class="{kind}"', svg)]


def test_a_bar_is_as_long_as_its_mean() -> None:
    rows = [(EVIL, Estimate(0.8, 0.7, 0.9), "ours"), ("b", Estimate(0.4), "other")]
    svg = plots.intervals(rows, "t")
    _parsed(svg)
    assert EVIL not in svg
    assert _widths(svg, "ours")[0] == pytest.approx(2 * _widths(svg, "other")[0], rel=0.01)


def test_every_query_has_its_bar_and_losses_stand_below() -> None:
    svg = plots.deltas([("a", 0.5), ("b", -0.25), (EVIL, 0.0)], "t")
    _parsed(svg)
    assert svg.count('class="good"') == 1
    assert svg.count('class="bad"') == 2
    good, lost = (max(map(float, re.findall(rf'height="([\d.]+)" class="{kind}"', svg))) for kind in ("good", "bad"))
    assert good == pytest.approx(2 * lost)


@pytest.mark.parametrize(
    ("relevant", "others", "floor"),
    [([0.8, 0.9], [0.1, 0.2, 0.3], 0.25), ([], [0.1], None), ([], [], 0.5), ([0.5], [0.5], 0.5)],
)
def test_a_distribution_stands_whatever_there_is(relevant: list[float], others: list[float], floor: float | None) -> None:
    svg = plots.distribution(relevant, others, floor, 0.05, EVIL)
    _parsed(svg)
    assert ('class="floor"' in svg) == (floor is not None)


def test_the_corners_of_the_triangle_are_the_legs_alone() -> None:
    points = [((1.0, 0.0, 0.0), 0.2), ((0.0, 1.0, 0.0), 0.9), ((0.0, 0.0, 1.0), 0.4)]
    svg = plots.triangle(["top", "right", "left"], points, [0.0, 1.0, 0.0], "t")
    _parsed(svg)
    at = {name: (float(x), float(y)) for x, y, name in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>(\w+)</text>', svg)}
    assert at["top"][1] < at["left"][1] == at["right"][1]
    assert at["left"][0] < at["top"][0] < at["right"][0]
    best, mark = (re.search(rf'cx="([\d.]+)" cy="([\d.]+)" r="6" class="{kind}"', svg) for kind in ("best", "mark"))
    assert best is not None
    assert mark is not None
    assert best.groups() == mark.groups()
    assert float(best[1]) == pytest.approx(at["right"][0], abs=1)


def test_a_curve_goes_from_one_leg_to_the_other() -> None:
    svg = plots.curve(["a", "b"], [(0.0, 0.1), (0.5, 0.3), (1.0, 0.2)], 0.5, EVIL)
    _parsed(svg)
    assert "only a" in svg
    assert "0.300" in svg
