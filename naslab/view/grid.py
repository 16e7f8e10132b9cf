"""The supergraph of a `MacroSpace` as a grid: a row for each layer, a box for each op, and the path of a child.

It is drawn twice: with the weights that NAS trains for this child, and with those that ENAS shares among all children.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from naslab.spaces import MacroSpace, Tokens
from naslab.view.canvas import DASHED, DOTTED, arrow, beside, box, sheet, text
from naslab.view.layers import ARCS, INPUT, NODE, OUTPUT
from naslab.view.picture import FAINT, SKY, VERMILLION, Picture
from naslab.view.sharing import Counts, Set, costs, count, has_weights

_LEFT, _TOP, _HALF, _PITCH, _MARGIN, _VALUES = 36, 104, 14, 48, 14, 280  # _HALF the height of a box
_WEB = "#D8D8D8"  # where another path could go


def path_picture(space: MacroSpace, children: Iterable[Tokens], current: Tokens | None = None) -> Picture:
    """What `path_explorer` draws after one training step of each of `children`. `current` is the last by default.

    Raises `ValueError` for another kind of space and for tokens that are not a string of it.
    """
    counts = count(space, children)
    if current is not None:
        return supergraph(counts, space.check(current))
    return supergraph(counts, counts.children[-1] if counts.children else None)


def supergraph(counts: Counts, child: Tokens | None) -> Picture:
    """(a) NAS and (b) ENAS after the same training steps, with the path of the current child, if there is one."""
    ops, layers = [*enumerate(counts.space.ops)], []
    for i in range(counts.space.layers):
        trained = [f"{op} {counts.steps[i, k]} / {counts.sharers[i, k]}" for k, op in ops if counts.steps[i, k]]
        layers.append(f"layer {i} {', '.join(trained) or 'nothing'}")
    table = costs(counts, child)
    alone = {}
    if child is not None:
        alone = dict.fromkeys(counts.own(child), (counts.alone(child), int(child in counts.different)))
    shared = {s: (counts.steps[s], counts.sharers[s]) for s in counts.sets}
    title, below = "(a) NAS: new weights for every child", [(name, a) for name, a, _ in table]
    nas = _panel(counts, child, alone, title, below, _path(counts, child))
    title, below = "(b) ENAS: one set of weights for all children", [(name, b) for name, _, b in table]
    said = "; ".join(f"{name}: (a) {a}, (b) {b}" for name, a, b in table)
    alt = f"In (a) NAS and (b) ENAS: {said}. Shared weights, steps / different children: {'; '.join(layers)}."
    return beside("A path in the supergraph", nas, _panel(counts, child, shared, title, below, alt))


def _path(counts: Counts, child: Tokens | None) -> str:
    if child is None:
        return "No path is chosen."
    ops = ", ".join(counts.space.ops[k] for _, k in counts.path(child))
    skips = ", ".join(f"{j} to {i}" for i, j in _skips(counts, child))
    return f"The path, layer by layer: {ops}; skips: {skips or 'none'}."


def _skips(counts: Counts, child: Tokens) -> list[tuple[int, ...]]:
    return [d.row for d, t in zip(counts.space.decisions, child, strict=True) if d.kind == "skip" and t]


def _panel(
    counts: Counts,
    child: Tokens | None,
    numbers: Mapping[Set, tuple[int, int]],
    title: str,
    below: Iterable[tuple[str, str]],
    alt: str,
) -> Picture:
    """`numbers` holds the steps and the different children of each set of weights."""
    layers, ops = range(counts.space.layers), counts.space.ops
    words = {s: f"{steps} / {children}" for s, (steps, children) in numbers.items()}
    heads = [op.rsplit("_", 1) for op in ops]
    pitch = max(60.0, 7.5 * max(len(word) for group in (*heads, words.values()) for word in group))
    x = [_LEFT + pitch * (k + 0.5) for k in range(len(ops))]
    y = [_TOP + _PITCH * (i + 1.5) for i in layers]
    right = _LEFT + pitch * len(ops)
    middle, first, last = (_LEFT + right) / 2, y[0] - _PITCH, y[-1] + _PITCH
    path = counts.path(child) if child is not None else ()
    web = "".join(f"M{a:g} {b + _HALF:g}L{c:g} {d - _HALF:g}" for b, d in pairwise(y) for a in x for c in x)
    pieces = [
        text(_MARGIN, 20, title),
        text(_MARGIN, 42, "in a box: steps / different children that trained its weights", size=12, color=FAINT),
        f'<path d="{web}" fill="none" stroke="{_WEB}" stroke-width="0.7"/>',
    ]
    for at, word, fill in ((first, "image", INPUT), (last, "classifier", OUTPUT)):
        pieces.append(box(_LEFT + 3, at - _HALF, right - _LEFT - 6, 2 * _HALF, fill=fill, radius=8))
        pieces.append(text(middle, at, word, anchor="middle"))
    stops = [(middle, first), *((x[k], y[i]) for i, k in path), (middle, last)] if path else []
    for (a, b), (c, d) in pairwise(stops):
        pieces.append(arrow(f"M{a:g} {b + _HALF:g}L{c:g} {d - _HALF - 7:g}", (c, d - _HALF), "down", VERMILLION))
    for i, j in _skips(counts, child) if child is not None else ():
        start, end, bend = y[j] + 6, y[i] - 6, right + _bend(i - j)
        curve = f"M{right:g} {start:g}C{bend:g} {start:g} {bend:g} {end:g} {right + 7:g} {end:g}"
        pieces.append(arrow(curve, (right, end), "left", ARCS[j % len(ARCS)], DASHED))
    most = max(counts.steps.values(), default=1)
    for k, head in enumerate(heads):
        pieces += [text(x[k], 66 + 14 * n, part, anchor="middle", size=12) for n, part in enumerate(head)]
        if not has_weights(ops[k]):
            pieces.append(text(x[k], 94, "no weights", anchor="middle", size=10, color=FAINT))
        for i in layers:
            line, weight, dash = FAINT, 1.0, "" if (i, k) in numbers else DOTTED
            if (i, k) in path:
                line, weight, dash = VERMILLION, 3.5, ""
            fill = _shade(numbers[i, k][0] / most) if (i, k) in numbers else NODE
            place = (x[k] - pitch / 2 + 3, y[i] - _HALF, pitch - 6, 2 * _HALF)
            pieces.append(box(*place, fill=fill, line=line, weight=weight, dash=dash, radius=8))
            if (i, k) in words:
                pieces.append(text(x[k], y[i], words[i, k], anchor="middle", size=12))
    pieces += [text(_LEFT - 8, y[i], str(i), anchor="end") for i in layers]
    at = last + _HALF + 24
    for name, value in below:
        pieces += [text(_MARGIN, at, name, size=12, color=FAINT), text(_VALUES, at, value, size=12)]
        at += 20
    return sheet(max(right + 0.75 * _bend(len(layers) - 1) + _MARGIN, _VALUES + 190), at, pieces, title, alt)


def _bend(layers: int) -> float:
    """How far the handles of an arc over so many layers stand out. The arc reaches three quarters as far."""
    return 12 + 6 * layers


def _shade(part: float) -> str:
    """A shade from white, for no step, to sky blue, for the most steps of any set."""
    return "#" + "".join(f"{round(255 - part * (255 - int(SKY[c : c + 2], 16))):02X}" for c in (1, 3, 5))
