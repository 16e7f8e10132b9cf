"""The scoreboard of a race: curves of regret with their names at the tips, and a card with each method's best child."""

from collections.abc import Collection, Mapping, Sequence
from math import asinh

import numpy as np
from matplotlib.ticker import MaxNLocator

from naslab.spaces import NONE, CellSpace, Space, Tokens
from naslab.view.canvas import DASHED, DOTTED, box, inset, joined, polyline, sheet, text
from naslab.view.graphs import architecture, style
from naslab.view.picture import BLACK, BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, TINTS, VERMILLION, Picture

LOOKS = (  # colour, dashes, marker of each method, in order
    (BLACK, "", "circle"),
    (BLUE, "7,3", "square"),
    (GREEN, "9,3,2,3", "triangle"),
    (VERMILLION, "3,3", "diamond"),
    (PURPLE, "12,4", "circle"),
    (ORANGE, "9,3,2,3,2,3", "square"),
)
WIDTH, HEIGHT, CARD = 520, 440, 200
_LEFT, _TOP, _BOTTOM, _PITCH = 50, 58, 48, 16
_TICKS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_MARKS = {
    "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
    "triangle": ((-4.5, 3.5), (4.5, 3.5), (0, -4.5)),
    "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
}


def curves(regret: Mapping[str, np.ndarray], at: int, shown: Collection[str], title: str, alt: str) -> Picture:
    """Regret (n,) by method in points, up to look-up `at`. The axes are the same at every look-up.

    The height is asinh(regret / 0.1): almost logarithmic above 0.1 points, and 0 has a place.
    """
    last = max(2, *(len(values) for values in regret.values()))
    highest = max(float(values.max()) for values in regret.values())
    top = next((tick for tick in _TICKS[1:] if tick >= highest), highest)
    right = WIDTH - 56 - 7 * max(map(len, regret))  # the names stand behind it
    foot = HEIGHT - _BOTTOM

    def across(lookup: float) -> float:
        return _LEFT + (lookup - 1) / (last - 1) * (right - _LEFT)

    def up(points: float) -> float:
        return foot - asinh(points / 0.1) / asinh(top / 0.1) * (foot - _TOP)

    pieces = [text(14, 18, title), text(14, 38, "regret of the best so far, points (0: best of the table)", size=12)]
    for tick in _TICKS:
        if tick <= top:
            y = up(tick)
            pieces.append(polyline([(_LEFT, y), (right, y)], FAINT if tick == 0 else "#E4E4E0", 1))
            pieces.append(text(_LEFT - 6, y, f"{tick:g}", anchor="end", size=12))
    for tick in {1, *MaxNLocator(5, integer=True).tick_values(1, last)}:
        if 1 <= tick <= last and (tick == 1 or tick > last / 20):
            pieces.append(text(across(tick), foot + 14, f"{tick:g}", anchor="middle", size=12))
    pieces.append(text((_LEFT + right) / 2, HEIGHT - 14, "look-ups (trained children)", anchor="middle", size=12))
    pieces.append(polyline([(_LEFT, _TOP), (_LEFT, foot)], FAINT, 1))
    x = across(at)
    pieces.append(polyline([(x, _TOP), (x, foot)], FAINT, 1, DOTTED))

    tips = {}
    for k, (name, values) in enumerate(regret.items()):
        if name not in shown:
            continue
        color, dash, mark = LOOKS[k]
        pieces.append(polyline(_stairs([(across(n + 1), up(v)) for n, v in enumerate(values[:at])]), color, 2.2, dash))
        first = (2 * k + 1) * last // 80  # not where another method has its markers
        pieces += [_mark(mark, across(n + 1), up(values[n]), color) for n in range(first, at, max(1, last // 6))]
        pieces.append(_mark(mark, x, up(values[at - 1]), color))
        tips[name] = up(values[at - 1])
    for name, y in _apart(tips, _TOP, foot - 9).items():
        color = LOOKS[[*regret].index(name)][0]
        pieces.append(polyline([(x + 6, tips[name]), (x + 18, y)], color, 1))
        pieces.append(text(x + 21, y, f"{name} {regret[name][at - 1]:.2f}", size=12))
    if not tips:
        middle = ((_LEFT + right) / 2, (_TOP + foot) / 2)
        pieces.append(text(*middle, "Choose a method above.", anchor="middle"))
    return sheet(WIDTH, HEIGHT, pieces, title, alt)


def card(look: int, name: str, lines: Sequence[str], space: Space, tokens: Tokens) -> Picture:
    """The method's name with its marker, lines of text, and the architecture. The size depends on the space only."""
    color, dash, mark = LOOKS[look]
    drawing, height, words = _small(space, tokens)
    start = 48 + _PITCH * len(lines)
    pieces = [
        box(3, 3, CARD - 6, start + height - 3, line="#C8C8C4", weight=1, radius=8),
        polyline([(12, 20), (42, 20)], color, 2.2, dash),
        _mark(mark, 27, 20, color),
        text(50, 20, name),
        *(text(12, 42 + _PITCH * k, line, size=11) for k, line in enumerate(lines)),
        f'<g transform="translate(0 {start})">{drawing}</g>',
    ]
    return sheet(CARD, start + height + 3, pieces, name, f"{name}: {'; '.join(lines)}. {words}")


def _small(space: Space, tokens: Tokens) -> tuple[str, float, str]:
    """An architecture as wide as a card: the SVG, its height, and what it shows."""
    if isinstance(space, CellSpace) and space.fan_in is None and len(space.cells) == 1:
        return _cell(space, tokens)
    whole = architecture(space, tokens)
    return inset(whole, 8, 0, CARD - 16, 180), 184, whole.alt


def _cell(space: CellSpace, tokens: Tokens) -> tuple[str, float, str]:
    """States from left to right, an edge for each op other than none, and below them the ops by name."""
    states = space.inputs + space.nodes
    x = [26 + n * (CARD - 52) / (states - 1) for n in range(states)]
    middle, lines, rows, words = 40, [], [], []
    (nodes,) = space.pairs(tokens).values()
    edges = [(source, target, op) for target, node in enumerate(nodes, space.inputs) for source, op in node]
    for k, (source, target, op) in enumerate(edges):
        color, kind = style(op)
        dash = {"dashed": DASHED, "dotted": "2,3"}.get(kind, "")
        weight = 3.5 if "3x3" in op and kind == "solid" else 2
        look = f'fill="none" stroke="{color}" stroke-width="{weight}"' + (f' stroke-dasharray="{dash}"' if dash else "")
        y = 2 * middle + 8 + _PITCH * k
        rows.append(text(12, y, f"{source}→{target}", size=12))
        rows.append(text(88, y, op, size=12, color=FAINT if op == NONE else INK))
        words.append(f"{source}→{target} {op}")
        if op != NONE:
            bend = middle + (0 if target == source + 1 else (1 if source % 2 else -1) * 26 * (target - source - 1))
            ends = f"{x[target]:g} {middle}"
            lines.append(f'<path d="M{x[source]:g} {middle}Q{(x[source] + x[target]) / 2:g} {bend} {ends}" {look}/>')
            rows.append(f'<path d="M46 {y}H80" {look}/>')
    for n in range(states):
        lines.append(f'<circle cx="{x[n]:g}" cy="{middle}" r="10" fill="{TINTS[n < space.inputs]}" stroke="{INK}"/>')
        lines.append(text(x[n], middle, str(n), anchor="middle", size=12))
    return "".join([*lines, *rows]), 2 * middle + _PITCH * len(edges) + 4, f"Cell: {', '.join(words)}."


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that a line of steps needs: those where the height changes, and the ends."""
    path = [points[0]]
    for x, y in points[1:]:
        if y != path[-1][1]:
            path += [(x, path[-1][1]), (x, y)]
    return [(round(x, 1), round(y, 1)) for x, y in (*path, points[-1])]


def _apart(heights: Mapping[str, float], top: float, foot: float) -> dict[str, float]:
    """Heights in the same order, moved at least 15 pixels apart, none below `foot`."""
    placed: dict[str, float] = {}
    low = top
    for name, y in sorted(heights.items(), key=lambda item: item[1]):
        placed[name] = max(y, low)
        low = placed[name] + 15
    limit = foot
    for name, y in reversed(placed.items()):
        placed[name] = min(y, limit)
        limit = placed[name] - 15
    return placed


def _mark(kind: str, x: float, y: float, color: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.8" fill="{color}"/>'
    corners = joined((round(x + dx, 1), round(y + dy, 1)) for dx, dy in _MARKS[kind])
    return f'<polygon points="{corners}" fill="{color}"/>'
