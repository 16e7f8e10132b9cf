"""Cells of mixed ops: every edge is a ribbon that is divided among the ops by their weights."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from naslab import checks
from naslab.spaces import NONE, CellSpace
from naslab.view.canvas import box, hint, sheet, text
from naslab.view.picture import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, PURPLE, SKY, VERMILLION, Picture

_COLORS = {  # those of `graphs` where an op has one there
    "max_pool_3x3": GREEN,
    "avg_pool_3x3": ORANGE,
    "skip_connect": FAINT,
    "sep_conv_3x3": BLUE,
    "sep_conv_5x5": SKY,
    "dil_conv_3x3": PURPLE,
    "dil_conv_5x5": VERMILLION,
    NONE: PAPER,
}
_OTHERS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, FAINT)
_RIBBON, _SLOT, _PITCH, _NODE, _MARGIN = 26, 32, 118, 34, 14  # a ribbon's width, its place at a node, columns, boxes
_LINE = 18  # of the list below a cell

Slots = dict[tuple[int, int], tuple[float, float]]


def mixed_cells(space: CellSpace, tables: Mapping[str, Tensor]) -> Picture:
    """Draws cells side by side. `tables` maps a name to mixing weights (edges, ops), such as `relax(alpha)["normal"]`.

    An edge is a ribbon. Each op has a part of its width, in proportion to its weight; "none" is white. Edges without
    weights are not drawn. Below each cell a list names the strongest op of every edge. Raises `ValueError` for another
    kind of space, no table, a table of another shape, and weights that are negative or add up to more than 1.
    """
    if not isinstance(space, CellSpace):
        raise ValueError(f"space: got {type(space).__name__}, expected CellSpace")
    if not tables:
        raise ValueError("tables: got none, expected at least one")
    rows = {name: _rows(space, name, table) for name, table in tables.items()}
    cells = [_cell(space, name, row) for name, row in rows.items()]
    width, height = cells[0][0], cells[0][1]
    pieces = [piece for k, (_, _, own) in enumerate(cells) for piece in _moved(own, k * width)]
    pieces += _legend(space.ops, height + 4)
    said = "; ".join(f"{name}: {', '.join(_strongest(space, row))}" for name, row in rows.items())
    alt = f"{len(rows)} cells of mixed ops, and the strongest op of every edge. {said}."
    return sheet(max(width * len(cells), _legend_width(space.ops)), height + 30, pieces, "Cells of mixed ops", alt)


def _rows(space: CellSpace, name: str, table: Tensor) -> list[list[float]]:
    shape = (len(space.edges), len(space.ops))
    if not isinstance(table, Tensor) or tuple(table.shape) != shape:
        got = tuple(table.shape) if isinstance(table, Tensor) else checks.shown(table)
        raise ValueError(f"{name}: got {got}, expected a table of {shape}")
    rows: list[list[float]] = table.detach().double().cpu().tolist()
    if not all(min(row) >= 0 and sum(row) <= 1 + 1e-4 for row in rows):
        raise ValueError(f"{name}: expected weights of at least 0 whose rows add up to at most 1")
    return rows


def _strongest(space: CellSpace, rows: Sequence[Sequence[float]]) -> Iterator[str]:
    for (source, target), row in zip(space.edges, rows, strict=True):
        most = max(row)
        op = "every op" if most == min(row) else space.ops[row.index(most)]
        yield f"{source} → {target} {f'{op} {most:.0%}' if most else 'not kept'}"


def _cell(space: CellSpace, name: str, rows: Sequence[Sequence[float]]) -> tuple[float, float, list[str]]:
    """Width, height and pieces of one cell, with its name above and the list below."""
    at, sizes = _places(space)
    starts, ends = _slots(space, at)
    pieces = [text(_MARGIN, 18, name)]
    for (source, target), row in zip(space.edges, rows, strict=True):
        (x, y), (u, v) = starts[source, target], ends[source, target]
        lift = _lift(space, source, target)
        so_far = -_RIBBON / 2
        for op, weight in zip(space.ops, row, strict=True):
            if weight > 0:
                words = f"{source} → {target} {op} {weight:.1%}"
                band = so_far, so_far + _RIBBON * weight
                pieces.append(_band(x, y, u, v, lift, band, _color(space.ops, op), words))
                so_far = band[1]
    for state, (x, y) in enumerate(at):
        pieces.append(box(x, y - sizes[state] / 2, _NODE, sizes[state], radius=6))
        pieces.append(text(x + _NODE / 2, y, str(state), anchor="middle"))
    width = at[-1][0] + _NODE + _MARGIN + 10
    low = max(y + size / 2 for (_, y), size in zip(at, sizes, strict=True)) + 40
    named = [*_strongest(space, rows)]
    pieces += [text(_MARGIN, low + _LINE * k, words, size=12) for k, words in enumerate(named)]
    return max(width, 250), low + _LINE * len(space.edges), pieces


def _places(space: CellSpace) -> tuple[list[tuple[float, float]], list[float]]:
    """The left end and the middle of each state's box, and its height."""
    last = space.inputs + space.nodes
    sizes = [float(_SLOT) * max(s if s >= space.inputs else 0, last - max(s + 1, space.inputs), 1) for s in range(last)]
    gap = 40
    tall = sum(sizes[: space.inputs]) + gap * (space.inputs - 1)
    middle = 44 + max(tall, max(sizes)) / 2 + 30 * (space.nodes > 2)
    found, y = [], middle - tall / 2
    for s in range(last):
        if s < space.inputs:
            found.append((float(_MARGIN), y + sizes[s] / 2))
            y += sizes[s] + gap
        else:
            k = s - space.inputs
            found.append((_MARGIN + _PITCH * (k + 1.0), middle + (0 if space.nodes < 3 else 30 * (-1) ** k)))
    return found, sizes


def _lift(space: CellSpace, source: int, target: int) -> float:
    """How far up (below 0) or down an edge bends to pass the nodes between its ends."""
    between = target - max(source, space.inputs - 1) - 1
    if not between:
        return 0.0
    return (40.0 if source < space.inputs else 90.0) * between**0.5 * (-1 if source % 2 == 0 else 1)


def _slots(space: CellSpace, at: Sequence[tuple[float, float]]) -> tuple[Slots, Slots]:
    """Where each edge leaves its source and enters its target, in the order in which the edges run."""
    starts: Slots = {}
    ends: Slots = {}
    for state, (x, y) in enumerate(at):
        for found, place, edges in (
            (starts, x + _NODE, [e for e in space.edges if e[0] == state]),
            (ends, x, [e for e in space.edges if e[1] == state]),
        ):
            edges.sort(key=lambda e: (at[e[0]][1] + at[e[1]][1]) / 2 + 4 * _lift(space, *e))
            for k, edge in enumerate(edges):
                found[edge] = place, y + _SLOT * (k - (len(edges) - 1) / 2)
    return starts, ends


def _band(
    x: float, y: float, u: float, v: float, lift: float, band: tuple[float, float], color: str, words: str
) -> str:
    """The part of a ribbon from (x, y) to (u, v) between two heights of its width."""
    half = (u - x) / 2
    (a, b), (c, d) = ((y + high, v + high) for high in band)
    there = f"M{x:g} {a:g}C{x + half:g} {a + lift:g} {u - half:g} {b + lift:g} {u:g} {b:g}"
    back = f"L{u:g} {d:g}C{u - half:g} {d + lift:g} {x + half:g} {c + lift:g} {x:g} {c:g}z"
    return f'<path d="{there}{back}" fill="{color}" stroke="{INK}" stroke-width="0.4">{hint(words)}</path>'


def _color(ops: Sequence[str], op: str) -> str:
    return _COLORS.get(op) or _OTHERS[ops.index(op) % len(_OTHERS)]


def _moved(pieces: Sequence[str], x: float) -> list[str]:
    return [f'<g transform="translate({x:g} 0)">', *pieces, "</g>"] if x else [*pieces]


def _starts(ops: Sequence[str]) -> list[float]:
    """Where each name of the legend begins, and where the last one ends."""
    found = [float(_MARGIN)]
    for op in ops:
        found.append(found[-1] + 34 + 7.2 * len(op))
    return found


def _legend_width(ops: Sequence[str]) -> float:
    return _starts(ops)[-1]


def _legend(ops: Sequence[str], y: float) -> list[str]:
    pieces = []
    for op, (x, _) in zip(ops, pairwise(_starts(ops)), strict=True):
        pieces.append(box(x, y, 14, 14, fill=_color(ops, op), weight=0.8))
        pieces.append(text(x + 20, y + 7, op, size=12))
    return pieces
