"""A small line chart, written piece by piece: for what a widget redraws at each key. Still plots are in `plots`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from naslab.view.canvas import DASHED, DOTTED, joined, polyline, sheet, text
from naslab.view.picture import BLUE, FAINT, GREEN, INK, PURPLE, VERMILLION, Picture

WIDTH, HEIGHT = 475, 310
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 62, 46
_LOOKS = (  # colour, dashes, marker
    (BLUE, "", "o"),
    (VERMILLION, "7,3", "s"),
    (GREEN, "9,3,2,3", "^"),
    (PURPLE, "2,3", "D"),
)
_CORNERS = {
    "s": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
    "^": ((-4, 3), (4, 3), (0, -4)),
    "D": ((-4, 0), (0, 4), (4, 0), (0, -4)),
}


@dataclass(frozen=True)
class Line:
    """Values (n,), with the band around them if there is one; `look` is 0 to 3.

    A thin line has no markers and is not in the legend.
    """

    look: int
    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    thin: bool = False


def chart(
    lines: Mapping[str, Line],
    *,
    xlabel: str,
    title: str,
    alt: str,
    reference: tuple[str, float] | None = None,
    log: bool = False,
    xs: Sequence[float] | None = None,
    cursor: int | None = None,
) -> Picture:
    """Lines by name over rising `xs`, by default 0 to n - 1.

    `reference` is a horizontal line with its name, `log` makes the y axis logarithmic, `cursor` marks a place of the
    first line and says its value.
    """
    at = np.arange(max(len(line.values) for line in lines.values())) if xs is None else np.asarray(xs)
    first, last, every = at[0], at[-1], max(1, (len(at) - 1) // 8)
    scale = np.log10 if log else np.asarray
    bounds = [scale(v) for line in lines.values() for v in (line.values, line.low, line.high) if v is not None]
    bounds += [scale([reference[1]])] if reference else []
    low, high = min(map(np.min, bounds)), max(map(np.max, bounds))
    pad = 0.05 * (high - low) or 0.5
    low, high = low - pad, high + pad

    def across(x: Any) -> Any:
        return _LEFT + (x - first) / max(last - first, 1) * (WIDTH - _LEFT - _RIGHT)

    def place(values: np.ndarray) -> list[tuple[float, float]]:
        x = across(at[: len(values)])
        y = _TOP + (high - scale(values)) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return [*zip(x.round(1).tolist(), y.round(1).tolist(), strict=True)]

    pieces = [text(14, 18, title)]
    for tick in MaxNLocator(5, integer=log).tick_values(low, high):
        if low <= tick <= high:
            ((_, y),) = place(np.array([10**tick if log else tick]))
            pieces.append(polyline([(_LEFT, y), (WIDTH - _RIGHT, y)], "#E4E4E0", 1))
            pieces.append(text(_LEFT - 6, y, f"{10**tick if log else round(tick, 10):g}", anchor="end", size=12))
    for tick in MaxNLocator(5, integer=True).tick_values(first, last):
        if first <= tick <= last:
            pieces.append(text(across(tick), HEIGHT - _BOTTOM + 12, f"{tick:g}", anchor="middle", size=12))
    corner = [(_LEFT, _TOP), (_LEFT, HEIGHT - _BOTTOM), (WIDTH - _RIGHT, HEIGHT - _BOTTOM)]
    pieces.append(polyline(corner, FAINT, 1))
    pieces.append(text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 14, xlabel, anchor="middle", size=12))

    for line in lines.values():
        if line.low is not None and line.high is not None:
            around = [*place(line.high), *reversed(place(line.low))]
            pieces.append(f'<polygon points="{joined(around)}" fill="{_LOOKS[line.look][0]}" opacity="0.18"/>')
    x = float(_LEFT)
    for name, line in lines.items():
        color, dash, mark = _LOOKS[line.look]
        points = place(line.values)
        if line.thin:
            pieces.append(polyline(points, color, 1))
            continue
        pieces += [polyline(points, color, 2, dash), *(_mark(mark, p, color) for p in points[::every])]
        pieces += [polyline([(x, 40), (x + 30, 40)], color, 2, dash), _mark(mark, (x + 15, 40), color)]
        pieces.append(text(x + 36, 40, name, size=12))
        x += 50 + 6.5 * len(name)
    if reference:
        ((_, y),) = place(np.array([reference[1]]))
        pieces.append(polyline([(_LEFT, y), (WIDTH - _RIGHT, y)], INK, 1.5, DOTTED))
        pieces += [polyline([(x, 40), (x + 30, 40)], INK, 1.5, DOTTED), text(x + 36, 40, reference[0], size=12)]
    if cursor is not None:
        values = next(iter(lines.values())).values
        x, y = place(values)[cursor]
        side, anchor = (-8, "end") if x > WIDTH / 2 else (8, "start")
        pieces.append(polyline([(x, _TOP), (x, HEIGHT - _BOTTOM)], INK, 1.5, DASHED))
        pieces.append(f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{INK}"/>')
        pieces.append(text(x + side, _TOP + 8, f"{values[cursor]:.3f}", anchor=anchor))
    return sheet(WIDTH, HEIGHT, pieces, title, alt)


def _mark(kind: str, at: tuple[float, float], color: str) -> str:
    x, y = at
    if kind == "o":
        return f'<circle cx="{x:g}" cy="{y:g}" r="3.2" fill="{color}"/>'
    return f'<polygon points="{joined([(x + dx, y + dy) for dx, dy in _CORNERS[kind]])}" fill="{color}"/>'
