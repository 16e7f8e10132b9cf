"""Networks layer by layer, `MacroSpace` and `ConvSpace`: a column of boxes, and an arc for every skip connection.

Every layer keeps its place whatever is chosen, so that two networks can be compared, and a network can be watched
while it is decided. A layer's arcs leave on one side, those of its neighbours on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from naslab.spaces import ConvSpace, MacroSpace, Tokens
from naslab.view.canvas import DASHED, DOTTED, arrow, box, sheet, text
from naslab.view.picture import BLACK, BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, TINTS, VERMILLION, Picture

NODE, INPUT, OUTPUT, SPARE = TINTS
UNKNOWN = "?"  # in the place of what is not decided yet

ARCS = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, ORANGE)
_HEIGHT, _PITCH, _MARGIN = 30, 50, 14


@dataclass(frozen=True)
class Row:
    label: str
    fill: str = NODE
    color: str = INK
    dash: str = ""


@dataclass(frozen=True)
class Edge:
    """From a row to a later one: straight down where they are neighbours, an arc otherwise or if `bent`.

    A `name` becomes a class of the drawn edge.
    """

    source: int
    target: int
    dash: str = ""
    bent: bool = False
    name: str = ""


def macro(
    space: MacroSpace, tokens: Tokens, decided: int, styles: dict[str, tuple[str, str]], *, named: bool = False
) -> Picture:
    """A layer applies its op to the layer before it; a skip bit adds an earlier layer to what it gives.

    If `named`, skip connections have the class `skip_name(i, j)`.
    """
    layers, skips, _ = _layers(space, tokens, decided)
    rows, words = [Row("image", INPUT)], []
    edges = [Edge(i, i + 1) for i in range(space.layers + 1)]
    for i, layer in enumerate(layers):
        op = str(layer["op"])
        color, line = styles[op] if op != UNKNOWN else (FAINT, "dotted")
        rows.append(Row(f"{i}: {op}", NODE, color, {"dashed": DASHED, "dotted": DOTTED}.get(line, "")))
        edges += [Edge(j + 1, i + 1, DASHED, True, skip_name(i, j) if named else "") for j in skips[i]]
        if op != UNKNOWN:
            words.append(f"layer {i} {op}" + (f" with skips from {', '.join(map(str, skips[i]))}" if skips[i] else ""))
    rows.append(Row("classifier", OUTPUT))
    note = ("solid: layer to layer; dashed: skip connections",)
    longest = len(f"{space.layers - 1}: ") + max(map(len, space.ops))
    return _column(rows, edges, f"Network of {space.layers} layers", words, note, longest)


def conv(space: ConvSpace, tokens: Tokens, decided: int, *, named: bool = False) -> Picture:
    """Skip bits are a layer's only inputs; without one it reads the image, and layers nobody reads are classified.

    If `named`, skip connections have the class `skip_name(i, j)`.
    """
    layers, skips, open_ = _layers(space, tokens, decided)
    if not space.skips:
        skips, open_ = [[i - 1] if i else [] for i in range(space.layers)], [False] * space.layers
    rows, edges, words = [Row("image", INPUT)], list[Edge](), []
    for i, layer in enumerate(layers):
        label = f"{layer['filter_height']}x{layer['filter_width']} filters {layer['filters']}"
        if space.strides != (1,):
            label += f", stride {layer['stride_height']}x{layer['stride_width']}"
        begun = any(value != UNKNOWN for value in layer.values())
        rows.append(Row(f"{i}: {label}", NODE, BLUE if begun else FAINT, "" if begun else DOTTED))
        for j in skips[i]:
            edges.append(Edge(j + 1, i + 1, DASHED if j < i - 1 else "", name=skip_name(i, j) if named else ""))
        if not skips[i] and not open_[i]:
            edges.append(Edge(0, i + 1, DOTTED if i else ""))
        if begun:
            nothing = "not decided" if open_[i] else "the image"
            words.append(f"layer {i} {label} reads {', '.join(map(str, skips[i])) or nothing}")
    if decided == len(tokens):
        loose = [i for i in range(space.layers) if not any(i in s for s in skips)]
        edges += [Edge(i + 1, space.layers + 1, "" if i == space.layers - 1 else DOTTED) for i in loose]
        words.append(f"classifier reads {', '.join(map(str, loose))}")
    rows.append(Row("classifier", OUTPUT))
    note = ("dashed: skip connections", "dotted: for a layer that reads none or that none reads") if space.skips else ()
    digits = [max(len(str(option)) for option in options) for options in space.attributes.values()]
    longest = len("10: x filters , stride x" if space.strides != (1,) else "10: x filters ") + sum(digits)
    return _column(rows, edges, f"Convolutional network of {space.layers} layers", words, note, longest)


def skip_name(i: int, j: int) -> str:
    """The class of the skip connection by which layer i reads layer j."""
    return f"skip-{i}-{j}"


def skip_color(space: MacroSpace | ConvSpace, i: int, j: int) -> str:
    """The colour of the skip connection by which layer i reads layer j."""
    return INK if isinstance(space, ConvSpace) and j == i - 1 else _arc_color(j + 1)


def _arc_color(source: int) -> str:
    return ARCS[source // 2 % len(ARCS)]


def _layers(
    space: MacroSpace | ConvSpace, tokens: Tokens, decided: int
) -> tuple[list[dict[str, int | str]], list[list[int]], list[bool]]:
    """Per layer its attributes by kind, the earlier layers whose skip bit is set, and whether something is open."""
    attributes: list[dict[str, int | str]] = [{} for _ in range(space.layers)]
    skips: list[list[int]] = [[] for _ in range(space.layers)]
    open_ = [False] * space.layers
    for position, (decision, token) in enumerate(zip(space.decisions, tokens, strict=True)):
        i, known = decision.row[0], position < decided
        open_[i] |= not known
        if decision.kind != "skip":
            attributes[i][decision.kind] = decision.options[token] if known else UNKNOWN
        elif known and token:
            skips[i].append(decision.row[1])
    return attributes, skips, open_


def _column(
    rows: Sequence[Row], edges: Sequence[Edge], title: str, words: list[str], note: Sequence[str], longest: int
) -> Picture:
    """`longest`: the letters of the longest label, decided or not."""
    width = max(8.0 * longest + 8, 120.0)
    reach = 0.75 * _bend(len(rows) - 2) if note else 0.0
    sheet_width = max(2 * (_MARGIN + reach) + width, 6.0 * max(map(len, note), default=0) + 2 * _MARGIN)
    left, right = (sheet_width - width) / 2, (sheet_width + width) / 2
    middle = [_MARGIN + _HEIGHT / 2 + _PITCH * k for k in range(len(rows))]
    pieces = []
    for e in edges:
        start, end = middle[e.source], middle[e.target]
        if not _is_arc(e):
            x, top, tip = sheet_width / 2, start + _HEIGHT / 2, end - _HEIGHT / 2
            pieces.append(arrow(f"M{x:g} {top:g}V{tip - 7:g}", (x, tip), "down", INK, e.dash, e.name))
            continue
        on_the_right = e.source % 2 == 0
        x, out = (right, 1) if on_the_right else (left, -1)
        start, end, bend = start + 6, end - 6, x + out * _bend(e.target - e.source)
        path = f"M{x:g} {start:g}C{bend:g} {start:g} {bend:g} {end:g} {x + 7 * out:g} {end:g}"
        color = FAINT if e.dash == DOTTED else _arc_color(e.source)
        pieces.append(arrow(path, (x, end), "left" if on_the_right else "right", color, e.dash, e.name))
    for row, y in zip(rows, middle, strict=True):
        top = y - _HEIGHT / 2
        pieces.append(box(left, top, width, _HEIGHT, fill=row.fill, line=row.color, dash=row.dash, radius=8))
        pieces.append(text(sheet_width / 2, y, row.label, anchor="middle"))
    bottom = middle[-1] + _HEIGHT / 2 + _MARGIN
    for k, line in enumerate(note):
        pieces.append(text(sheet_width / 2, bottom + 6 + 18 * k, line, anchor="middle", size=12, color=FAINT))
    height = bottom + 18 * len(note)
    return sheet(sheet_width, height, pieces, title, f"{title}. {'; '.join(words) or 'Nothing is decided'}.")


def _is_arc(edge: Edge) -> bool:
    return edge.bent or edge.target > edge.source + 1


def _bend(rows: int) -> float:
    """How far the handles of an arc over so many rows stand out; the arc reaches three quarters of it."""
    return 20 + 16 * rows
