"""Skip connections by anchor points: the probability of each, and the network that a threshold chooses."""

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
from naslab.view.canvas import beside, box, sheet, text
from naslab.view.decisions import walk
from naslab.view.graphs import architecture
from naslab.view.picture import FAINT, PAPER, VERMILLION, Picture
from naslab.view.plots import contrast


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

    def chosen(self, threshold: float) -> Tokens:
        """The string with a skip wherever the probability is at least the threshold."""
        bits, named = (self.matrix >= threshold).long(), zip(self.space.decisions, self.tokens, strict=True)
        return tuple(int(bits[d.row]) if d.kind == "skip" else token for d, token in named)

    def parts(self, threshold: float) -> tuple[Picture, Picture]:
        """The heat map of the probabilities, and the network whose skips reach the threshold."""
        return _heat(self.matrix, threshold), architecture(self.space, self.chosen(threshold))

    def picture(self, threshold: float) -> Picture:
        """The parts side by side."""
        return beside(f"Skip connections of at least {threshold:.2f}", *self.parts(threshold))


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
    return read(controller, tokens).picture(check_threshold(threshold))


def _bits(space: ConvSpace | MacroSpace) -> int:
    return sum(d.kind == "skip" for d in space.decisions)


def _heat(matrix: Tensor, threshold: float) -> Picture:
    """A row for each layer i, a column for each earlier layer j. Cells that reach the threshold have a frame."""
    layers = len(matrix)
    side = max(16.0, min(44.0, 420.0 / layers))
    left, top, size = 52.0, 64.0, 11 if side >= 32 else 9
    shades = matplotlib.colormaps["cividis"]
    pieces = [
        text(14, 20, "P(layer i reads layer j); framed: at least the threshold"),
        text(left + side * layers / 2, top - 28, "j, earlier layer", anchor="middle", size=12, color=FAINT),
        text(left - 26, top - 10, "i", anchor="end", size=12, color=FAINT),
    ]
    frames = []
    for i, row in enumerate(matrix.tolist()):
        pieces.append(text(left - 8, top + side * (i + 0.5), str(i), anchor="end", size=12))
        pieces.append(text(left + side * (i + 0.5), top - 10, str(i), anchor="middle", size=12))
        for j, p in enumerate(row[:i]):
            x, y = left + side * j, top + side * i
            shade = matplotlib.colors.to_hex(shades(p))
            pieces.append(box(x, y, side, side, fill=shade, line=PAPER, weight=1))
            if side >= 24:
                ink = max(("#000000", "#FFFFFF"), key=partial(contrast, shade))
                number = f"{p:.2f}"[1:] if p < 0.995 else "1.0"
                pieces.append(text(x + side / 2, y + side / 2, number, anchor="middle", size=size, color=ink))
            if p >= threshold:
                frames.append(box(x + 2, y + 2, side - 4, side - 4, fill="none", line=VERMILLION, weight=3))
    says = "; ".join(f"{i}: {' '.join(f'{p:.2f}' for p in row[:i])}" for i, row in enumerate(matrix.tolist()) if i)
    alt = f"Probabilities that layer i reads layers 0 to i - 1, by i. {says}. {len(frames)} reach {threshold:.2f}."
    width = max(left + side * layers + 14, 360)  # the heading is wider than a map of few layers
    return sheet(width, top + side * layers + 14, [*pieces, *frames], "Skip probabilities", alt)
