"""A recorded search: the mixing weights of each frame, the cell that rounding would keep, and the validation loss.

A frame holds tables and a number. Its heat map is written in milliseconds. A search passes through few cells, and each
cell is drawn once.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import isfinite

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from naslab.spaces import NONE, CellSpace, Tokens, Weights, check_tables
from naslab.view.canvas import above, beside, box, sheet, text
from naslab.view.chart import Line, chart
from naslab.view.figures import contrast
from naslab.view.graphs import architecture
from naslab.view.picture import FAINT, INK, VERMILLION, Picture

_LEFT, _TOP, _LINE, _PITCH, _GAP, _MARGIN = 76, 68, 24, 60, 56, 14  # of the heat maps: a box is _PITCH x _LINE


@dataclass(frozen=True)
class Frame:
    """A record of a search at a step: its mixing weights, such as `darts.relax(alpha)`, and a value."""

    step: int
    weights: Weights
    value: float


class Recording:
    """The frames of a search, what each of them says and how it is drawn. `at` is a frame's place, from 0.

    Raises `ValueError` for what `search_scrubber` refuses.
    """

    def __init__(self, space: CellSpace, frames: tuple[Frame, ...], label: str) -> None:
        if not isinstance(space, CellSpace):
            raise ValueError(f"space: got {type(space).__name__}, expected CellSpace")
        if not frames:
            raise ValueError("frames: got none, expected at least one")
        for k, frame in enumerate(frames):
            check_tables(space, frame.weights)
            if k and frame.step <= frames[k - 1].step:
                raise ValueError(f"frames: got step {frame.step} after {frames[k - 1].step}, expected rising steps")
            if not isfinite(frame.value):
                raise ValueError(f"frames: step {frame.step} has the value {frame.value}, expected a finite number")
        self.space, self.frames, self.label = space, frames, label
        self._tables: list[dict[str, np.ndarray]] = []  # by frame and cell: (edges, ops)
        for frame in frames:
            tables = {cell: w.detach().cpu().double().numpy().copy() for cell, w in frame.weights.items()}
            for cell, w in tables.items():
                if not (np.isclose(w.sum(-1), 1, atol=1e-4).all() and (w >= 0).all()):
                    raise ValueError(
                        f"frames: step {frame.step} has rows of {cell} that do not add up to 1, expected mixing "
                        "weights, such as darts.relax(alpha)"
                    )
            self._tables.append(tables)
        self.kept: list[Tokens] = [space.discretise(frame.weights) for frame in frames]
        self._top = max(w.max() for tables in self._tables for w in tables.values())
        self._drawn: dict[Tokens, Picture] = {}

    def place(self, frame: int) -> int:
        """The frame's place from 0. A negative `frame` counts from the end."""
        count = len(self.frames)
        if not isinstance(frame, int) or not -count <= frame < count:
            raise ValueError(f"frame: got {frame!r}, expected {-count} to {count - 1}")
        return frame % count

    def cell(self, at: int) -> Picture:
        """The architecture that rounding would keep. Frames with the same one share the picture."""
        kept = self.kept[at]
        if kept not in self._drawn:
            self._drawn[kept] = architecture(self.space, kept)
        return self._drawn[kept]

    def said(self, at: int) -> dict[str, str]:
        """What there is to say of the frame, by name."""
        first = at
        while first and self.kept[first - 1] == self.kept[at]:
            first -= 1
        passed = len(dict.fromkeys(self.kept[: at + 1]))
        lines = {
            "step": f"{self.frames[at].step} (frame {at + 1} of {len(self.frames)})",
            self.label: f"{self.frames[at].value:.3f}",
            "this cell since": f"step {self.frames[first].step}; cells so far: {passed}",
        }
        lines["changed here"] = self._changed(at)
        for cell, nodes in self.space.pairs(self.kept[at]).items():
            counts = Counter(op for node in nodes for _, op in node)
            lines[f"{cell} would keep"] = ", ".join(f"{n} {op}" for op, n in counts.most_common())
        return lines

    def _changed(self, at: int) -> str:
        """What rounding keeps in this frame and did not keep in the one before."""
        before, now = (
            {
                f"{cell} {source}→{target} {op}"
                for cell, nodes in self.space.pairs(self.kept[k]).items()
                for target, node in enumerate(nodes, self.space.inputs)
                for source, op in node
            }
            for k in (max(0, at - 1), at)
        )
        return ", ".join(sorted(now - before)) or "nothing"

    def picture(self, at: int) -> Picture:
        """The tables, and the cell beside them."""
        return beside(f"Step {self.frames[at].step} of a search", self.tables(at), self.cell(at))

    def tables(self, at: int) -> Picture:
        """The heat maps of the weights, and the curve below them."""
        return above(f"Step {self.frames[at].step} of a search", self._heat(at), self._curve(at))

    def _heat(self, at: int) -> Picture:
        """The mixing weights, a row for each edge. A frame marks what rounding would keep."""
        space, ops = self.space, self.space.ops
        x = [_LEFT + _PITCH * k for k in range(len(ops) + 1)]
        pieces, words, y = [text(_MARGIN, 18, "mixing weights; framed: what rounding would keep")], [], _TOP
        for cell, nodes in space.pairs(self.kept[at]).items():
            table = self._tables[at][cell]
            kept = {((s, t), op) for t, node in enumerate(nodes, space.inputs) for s, op in node}
            pieces.append(text(_MARGIN, y - 16, cell, size=12, color=FAINT))
            for k, op in enumerate(ops):
                for n, part in enumerate(reversed(op.rsplit("_", 1))):
                    color = FAINT if op == NONE else INK  # "none" cannot be kept
                    pieces.append(text(x[k] + _PITCH / 2, y - 10 - 12 * n, part, anchor="middle", size=11, color=color))
            outlines = []
            for row, edge in enumerate(space.edges):
                top = y + _LINE * row
                pieces.append(text(_LEFT - 8, top + _LINE / 2, f"{edge[0]}→{edge[1]}", anchor="end", size=12))
                for k, op in enumerate(ops):
                    fill, ink = _shade(round(100 * table[row, k] / self._top))
                    place = (x[k] + 1, top + 1, _PITCH - 2, _LINE - 2)
                    pieces.append(box(*place, fill=fill, line=fill, weight=1))
                    middle = (x[k] + _PITCH / 2, top + _LINE / 2)
                    pieces.append(text(*middle, f"{table[row, k]:.2f}", anchor="middle", size=11, color=ink))
                    if (edge, op) in kept:
                        outlines.append(box(*place, fill="none", line=VERMILLION, weight=3))
                        words.append(f"{cell} {edge[0]} to {edge[1]} {op} {table[row, k]:.2f}")
            pieces += outlines
            y += _LINE * len(space.edges) + _GAP
        shares = [
            f"{cell}: {', '.join(f'{op} {w:.2f}' for op, w in zip(ops, self._tables[at][cell].mean(0), strict=True))}"
            for cell in space.cells
        ]
        alt = (
            f"Step {self.frames[at].step}. Rounding would keep, with the mixing weights: {', '.join(words)}. "
            f"Mean weights: {'; '.join(shares)}."
        )
        return sheet(x[-1] + _MARGIN, y - _GAP + _MARGIN, pieces, "Mixing weights", alt)

    def _curve(self, at: int) -> Picture:
        """The value of all frames, with a cursor at this one."""
        steps, values = [f.step for f in self.frames], np.array([f.value for f in self.frames])
        alt = (
            f"The {self.label} is {values[at]:.3f} here; over steps {steps[0]} to {steps[-1]} it goes from "
            f"{values[0]:.3f} to {values[-1]:.3f}."
        )
        lines = {self.label: Line(0, values)}
        return chart(lines, xlabel="step", title="along the search", alt=alt, xs=steps, cursor=at)


def search_picture(
    space: CellSpace, frames: Iterable[Frame], frame: int = -1, label: str = "validation loss"
) -> Picture:
    """What `search_scrubber` draws of one frame, by default the last. Raises `ValueError` as it does."""
    recording = Recording(space, tuple(frames), label)
    return recording.picture(recording.place(frame))


@cache
def _shade(percent: int) -> tuple[str, str]:
    """The fill of a box and the colour of its number, for a weight in percent of the largest weight."""
    fill = to_hex(colormaps["cividis"](percent / 100))
    return fill, max(("#FFFFFF", "#000000"), key=lambda ink: contrast(ink, fill))
