"""Plots as SVG that stands in a page: no script, no address, colours by the page's own style. Pure.

Classes name the colours: `ours`, `other`, `good`, `bad`, `quiet`. Texts are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from evaluation.statistics import Estimate
from search_api.query import DEFAULT_GUARD

_WIDTH: Final = 720
_LABEL: Final = 150
_ROW: Final = 24
_BINS: Final = 40


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    return head + "".join(parts) + "</svg>"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> str:
    inner = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" class="{kind}">{inner}</rect>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def intervals(rows: Sequence[tuple[str, Estimate, str]], title: str) -> str:
    """Means with their intervals, one row each: (name, estimate, class)."""
    low = min([0.0, *(one.low if one.low is not None else one.mean for _, one, _ in rows)])
    high = max([1e-9, *(one.high if one.high is not None else one.mean for _, one, _ in rows)])
    scale = (_WIDTH - _LABEL - 60) / (high - low)

    def x(value: float) -> float:
        return _LABEL + (value - low) * scale

    parts = []
    for number, (name, one, kind) in enumerate(rows):
        y = 8 + number * _ROW
        parts += [_text(_LABEL - 8, y + 12, name, "end"), _rect(x(0), y, x(one.mean) - x(0), 15, kind)]
        if one.low is not None and one.high is not None:
            parts += [_line(x(one.low), y + 7.5, x(one.high), y + 7.5, "whisker")]
        parts.append(_text(x(max(one.mean, one.high or 0)) + 6, y + 12, f"{one.mean:.3f}"))
    return _svg(_WIDTH, 16 + len(rows) * _ROW, parts, title)


def deltas(values: Sequence[tuple[str, float]], title: str) -> str:
    """A difference per query as bars, greatest first: (query, difference)."""
    some = sorted(values, key=lambda one: -one[1])
    height, middle = 200.0, 100.0
    most = max([1e-9, *(abs(value) for _, value in some)])
    width = (_WIDTH - 60) / max(len(some), 1)
    parts = [
        _line(50, middle, _WIDTH - 10, middle, "axis"),
        _text(44, 14, f"+{most:.2f}", "end"),
        _text(44, middle + 4, "0", "end"),
    ]
    parts.append(_text(44, height - 4, f"-{most:.2f}", "end"))
    for number, (query, value) in enumerate(some):
        size = abs(value) / most * (middle - 6)
        top = middle - size if value > 0 else middle
        kind = "good" if value > 0 else "bad"
        parts.append(_rect(50 + number * width, top, max(width - 1, 0.6), size, kind, f"{query}: {value:+.3f}"))
    return _svg(_WIDTH, height, parts, title)


def distribution(relevant: Sequence[float], others: Sequence[float], floor: float | None, sigma: float, title: str) -> str:
    """How a leg scores candidates that are relevant and all others, as shares of each, with the leg's floor (and 2 sigma)."""
    every = [*relevant, *others, *([] if floor is None else [floor])]
    low, high = min(every, default=0.0), max(every, default=1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    shapes = [np.histogram(some, bins=edges)[0] / max(len(some), 1) for some in (others, relevant)]
    most = max(1e-9, *(float(shape.max()) for shape in shapes))
    height, left, span = 130.0, 10.0, 340.0

    def x(value: float) -> float:
        return float(left + (value - edges[0]) / (edges[-1] - edges[0]) * span)

    parts = []
    for shape, kind in zip(shapes, ("quiet", "good see"), strict=True):
        for number, share in enumerate(shape.tolist()):
            size = share / most * (height - 30)
            parts.append(_rect(left + number * span / _BINS, height - 20 - size, span / _BINS - 0.5, size, kind))
    parts.append(_line(left, height - 20, left + span, height - 20, "axis"))
    parts += [_text(left, height - 6, f"{low:.2f}"), _text(left + span, height - 6, f"{high:.2f}", "end")]
    if floor is not None:
        parts += [_line(x(floor), 4, x(floor), height - 20, "floor"), _text(x(floor) + 4, 12, "floor")]
        guard = floor + DEFAULT_GUARD * (sigma or 0.0)
        if floor < guard < high:
            parts.append(_line(x(guard), 14, x(guard), height - 20, "guard"))
    return _svg(360, height, parts, title)


def triangle(
    legs: Sequence[str], points: Sequence[tuple[tuple[float, float, float], float]], mark: Sequence[float], title: str
) -> str:
    """The measure over the shares of three legs: a corner is a leg alone, darker is better. `mark`: the shares in force."""
    side, pad = 300.0, 40.0
    rise = side * 3**0.5 / 2

    def place(shares: Sequence[float]) -> tuple[float, float]:
        a, b = (share / sum(shares) for share in shares[:2])
        return pad + b * side + a * side / 2, pad + rise - a * rise

    values = [value for _, value in points]
    low, high = min(values), max(values)
    best = max(points, key=lambda one: one[1])
    parts = []
    for shares, value in points:
        x, y = place(shares)
        strength = (value - low) / (high - low) if high > low else 1.0
        tip = f"{' / '.join(f'{share:.2f}' for share in shares)}: {value:.3f}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8.4" class="heat" style="opacity:{0.06 + 0.94 * strength:.2f}">')
        parts.append(f"<title>{escape(tip)}</title></circle>")
    for spot, kind in ((place(best[0]), "best"), (place(mark), "mark")):
        x, y = spot
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{kind}"/>')
    parts += [_text(pad + side / 2, pad - 14, legs[0], "middle"), _text(pad, pad + rise + 28, legs[2], "middle")]
    parts.append(_text(pad + side, pad + rise + 28, legs[1], "middle"))
    return _svg(side + 2 * pad, rise + 2 * pad + 10, parts, title)


def curve(legs: Sequence[str], points: Sequence[tuple[float, float]], mark: float, title: str) -> str:
    """The measure over the share of the first of two legs; `mark` is the share in force."""
    width, height, left = 380.0, 200.0, 46.0
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def xy(share: float, value: float) -> tuple[float, float]:
        return left + share * (width - left - 12), 12 + (high - value) / span * (height - 60)

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (xy(*point) for point in points))
    at = xy(mark, low)[0]
    parts = [f'<polyline points="{path}" class="path"/>', _line(at, 8, at, height - 44, "guard")]
    parts += [_text(left - 4, 18, f"{high:.3f}", "end"), _text(left - 4, height - 46, f"{low:.3f}", "end")]
    parts += [_text(left, height - 26, f"only {legs[1]}"), _text(width - 12, height - 26, f"only {legs[0]}", "end")]
    return _svg(width, height, parts, title)
