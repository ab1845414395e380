"""Plots as SVG, written by hand: lines over a logarithmic axis of sizes. Pure but for `write`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 80, 150, 40, 60
COLOURS = {"ours": "#0a6", "OVN 23.03": "#c33"}
Series = Mapping[str, Mapping[int, float]]


def plot(title: str, unit: str, series: Series, across: str = "ports") -> str:
    """An SVG of curves {name: {size: value}}, both axes logarithmic. Values must be positive.

    `across`: what there are `size` of.
    """
    points = [(x, y) for curve in series.values() for x, y in curve.items()]
    axes = _Axes(points)
    body = [*axes.drawn(unit, across), *_curves(series, axes)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    caption = f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="16">{escape(title)}</text>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', caption, *body, "</svg>", ""])


class _Axes:
    """Where a value is on the page."""

    def __init__(self, points: list[tuple[int, float]]) -> None:
        self.sizes = sorted({x for x, _ in points})
        self._x = _range([float(x) for x in self.sizes], whole=False)
        self._y = _range([y for _, y in points], whole=True)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Page coordinates."""
        across = _share(x, self._x) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, HEIGHT - BOTTOM - _share(y, self._y) * (HEIGHT - TOP - BOTTOM)

    def drawn(self, unit: str, across: str) -> Iterator[str]:
        """Lines and labels."""
        for size in self.sizes:
            x, y = self.at(size, 10 ** self._y[0])
            yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y:.1f}" stroke="#eee"/>'
            yield _text(x, y + 18, f"{size:,}", 'text-anchor="middle"')
        for power in range(round(self._y[0]), round(self._y[1]) + 1):
            x, y = self.at(self.sizes[0], 10.0**power)
            yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            yield _text(LEFT - 8, y + 4, f"{10.0**power:,g}", 'text-anchor="end"')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        yield _text(20, middle, unit, f'transform="rotate(-90 20 {middle})"')
        yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, across, 'text-anchor="middle"')


def _curves(series: Series, axes: _Axes) -> Iterator[str]:
    for name, curve in series.items():
        colour = COLOURS.get(name, "#555")
        places = [axes.at(x, y) for x, y in sorted(curve.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places)
        x, y = places[-1]
        yield _text(x + 10, y + 4, name, f'fill="{colour}"')


def _text(x: float, y: float, words: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="13" {more}>{escape(words)}</text>'


def _range(values: list[float], *, whole: bool) -> tuple[float, float]:
    """Lowest and highest power of ten; `whole`: of whole powers."""
    low, high = math.log10(min(values)), math.log10(max(values))
    if whole:
        low, high = math.floor(low), math.ceil(high)
    return low, high if high > low else low + 1


def _share(value: float, span: tuple[float, float]) -> float:
    return (math.log10(value) - span[0]) / (span[1] - span[0])


def write(directory: Path, name: str, title: str, unit: str, series: Series, across: str = "ports") -> None:
    """Write a plot, if any curve has a point."""
    filled = {curve: points for curve, points in series.items() if points}
    if filled:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.svg").write_text(plot(title, unit, filled, across), encoding="utf-8")
