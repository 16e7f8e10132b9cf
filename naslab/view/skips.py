"""Skip connections by anchor points: the probability of each, and the network that a threshold or a toss chooses."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from numbers import Real

import matplotlib
import torch
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import ConvSpace, MacroSpace, Tokens
from naslab.view import layers
from naslab.view.canvas import beside, box, hint, sheet, text
from naslab.view.decisions import walk
from naslab.view.figures import contrast
from naslab.view.graphs import style
from naslab.view.picture import FAINT, PAPER, Picture


@dataclass(frozen=True)
class Choice:
    """Bits (layers, layers): which skip connections are chosen, and how."""

    bits: Tensor
    how: str

    @property
    def count(self) -> int:
        return int(self.bits.sum())


@dataclass(frozen=True)
class Skips:
    """A string of a space, and the probabilities (layers, layers) of `skip_probabilities` along it."""

    space: ConvSpace | MacroSpace
    tokens: Tokens
    matrix: Tensor

    @property
    def bits(self) -> int:
        """Number of skip bits of a string."""
        return _bits(self.space)

    def reach(self, threshold: float) -> Choice:
        """A skip wherever the probability is at least the threshold."""
        return Choice(self.matrix >= threshold, f"reach {threshold:.2f}")

    def toss(self, generator: torch.Generator, number: int) -> Choice:
        """Each skip with its probability. The `number` of the toss names it."""
        return Choice(
            torch.bernoulli(self.matrix.nan_to_num(0.0), generator=generator) > 0, f"came up in toss {number}"
        )

    def string(self, choice: Choice) -> Tokens:
        """The string with the skips of the choice."""
        named = zip(self.space.decisions, self.tokens, strict=True)
        return tuple(int(choice.bits[d.row]) if d.kind == "skip" else token for d, token in named)

    def parts(self, choice: Choice) -> tuple[Picture, Picture]:
        """The heat map of the probabilities, and the network with the skips of the choice.

        A square and its skip connection have the same class, `layers.skip_name`, and a chosen one the same colour.
        """
        space, tokens = self.space, self.string(choice)
        if isinstance(space, ConvSpace):
            return self._heat(choice), layers.conv(space, tokens, len(tokens), named=True)
        styles = {op: style(op) for op in space.ops}
        return self._heat(choice), layers.macro(space, tokens, len(tokens), styles, named=True)

    def picture(self, choice: Choice) -> Picture:
        """The parts side by side."""
        return beside(f"Skip connections that {choice.how}", *self.parts(choice))

    def _heat(self, choice: Choice) -> Picture:
        """A row for each layer i, a column for each earlier layer j. The chosen skips have a frame."""
        n = self.space.layers
        side = max(16.0, min(44.0, 420.0 / n))
        left, top = 52.0, 64.0
        pieces = [
            text(14, 20, "P(layer i reads layer j); frame: chosen"),
            text(left + side * n / 2, top - 28, "j, earlier layer", anchor="middle", size=12, color=FAINT),
            text(left - 26, top - 10, "i", anchor="end", size=12, color=FAINT),
        ]
        for i, row in enumerate(self.matrix.tolist()):
            pieces.append(text(left - 8, top + side * (i + 0.5), str(i), anchor="end", size=12))
            pieces.append(text(left + side * (i + 0.5), top - 10, str(i), anchor="middle", size=12))
            for j, p in enumerate(row[:i]):
                color = layers.skip_color(self.space, i, j) if choice.bits[i, j] else None
                pieces.append(_square(left + side * j, top + side * i, side, p, i, j, color))
        rows = enumerate(self.matrix.tolist())
        says = "; ".join(f"{i}: {' '.join(f'{p:.2f}' for p in row[:i])}" for i, row in rows if i)
        alt = f"Probabilities that layer i reads layers 0 to i - 1, by i. {says}. {choice.count} {choice.how}."
        width = max(left + side * n + 14, 360)  # the heading is wider than a map of few layers
        return sheet(width, top + side * n + 14, pieces, "Skip probabilities", alt)


def read(controller: Controller, tokens: Iterable[int]) -> Skips:
    """Raises `ValueError` for tokens that are not a string of the space, and for a space without skip bits."""
    space, tokens = controller.space, controller.space.check(tokens)
    if not isinstance(space, ConvSpace | MacroSpace) or not _bits(space):
        raise ValueError(f"space: got {space!r}, expected a ConvSpace or MacroSpace with skip bits")
    matrix = torch.full((space.layers, space.layers), math.nan)
    for decision, p in zip(space.decisions, walk(controller, tokens).trace, strict=True):
        if decision.kind == "skip":
            matrix[decision.row] = p[1]
    return Skips(space, tokens, matrix)


def check_threshold(threshold: float) -> float:
    """The threshold. Raises `ValueError` if it is outside 0 to 1."""
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(f"threshold: got {threshold!r}, expected a probability, 0 to 1")
    return threshold


def skip_probabilities(controller: Controller, tokens: Iterable[int]) -> Tensor:
    """P(layer j is an input of layer i) = sigmoid(v' tanh(W_prev h_j + W_curr h_i)) at [i, j], (layers, layers).

    The hidden states are those along the given string, with its own skip bits. Entries without a decision, j >= i, are
    NaN. Zoph & Le 2017, section 3.3. Raises `ValueError` for a space without skip bits.
    """
    return read(controller, tokens).matrix


def anchor_picture(controller: Controller, tokens: Iterable[int], threshold: float = 0.5) -> Picture:
    """What `anchor_map` draws."""
    skips = read(controller, tokens)
    return skips.picture(skips.reach(check_threshold(threshold)))


def _bits(space: ConvSpace | MacroSpace) -> int:
    return sum(d.kind == "skip" for d in space.decisions)


def _square(x: float, y: float, side: float, p: float, i: int, j: int, color: str | None) -> str:
    """A square of the heat map with its number, if there is room, and a frame of the given colour."""
    shade = matplotlib.colors.to_hex(matplotlib.colormaps["cividis"](p))
    pieces = [
        hint(f"layer {i} reads layer {j}: {p:.2f}" + (", chosen" if color else "")),
        box(x, y, side, side, fill=shade, line=PAPER, weight=1),
    ]
    if side >= 24:
        ink = max(("#000000", "#FFFFFF"), key=partial(contrast, shade))
        number = f"{p:.2f}"[1:] if p < 0.995 else "1.0"
        size = 11 if side >= 32 else 9
        pieces.append(text(x + side / 2, y + side / 2, number, anchor="middle", size=size, color=ink))
    if color:
        weight = 3 if side >= 24 else 2
        for line, wider in ((PAPER, 2), (color, 0)):  # a light edge, so that dark colours show on dark squares
            pieces.append(box(x + 2.5, y + 2.5, side - 5, side - 5, fill="none", line=line, weight=weight + wider))
    kind = f"{layers.skip_name(i, j)} chosen" if color else layers.skip_name(i, j)
    return f'<g class="{kind}">{"".join(pieces)}</g>'
