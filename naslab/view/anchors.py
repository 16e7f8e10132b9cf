"""Anchor points seen: the probability of every skip connection, and the pattern that a threshold makes of them."""

import math
from collections.abc import Iterable
from functools import partial
from numbers import Real
from typing import Any

import matplotlib
import torch
from ipywidgets import HTML, BoundedFloatText, FloatSlider, HBox, Layout, link
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import ConvSpace, MacroSpace, Tokens
from naslab.view.canvas import beside, box, inline, sheet, text
from naslab.view.controls import Pictured, distributions, facts
from naslab.view.graphs import architecture
from naslab.view.picture import FAINT, PAPER, VERMILLION, Picture
from naslab.view.plots import contrast


class AnchorMap(Pictured):
    """The `threshold` is what `field` and `slider` show, which move together; `matrix` holds the probabilities."""

    def __init__(self, controller: Controller, tokens: Iterable[int], threshold: float) -> None:
        self._space, self._tokens, self.matrix = _read(controller, tokens, threshold)
        self._text = HTML()
        self._map, self._network = HTML(layout=Layout(width="50%")), HTML(layout=Layout(width="50%"))
        limits = {"min": 0.0, "max": 1.0, "step": 0.01}
        hint = "the least probability that makes a skip connection"
        self.field = BoundedFloatText(
            threshold, description="threshold", tooltip=hint, layout=Layout(width="180px"), **limits
        )
        self.slider = FloatSlider(threshold, readout=False, tooltip=hint, layout=Layout(width="320px"), **limits)
        link((self.field, "value"), (self.slider, "value"))
        super().__init__([HBox([self.field, self.slider]), self._text, HBox([self._map, self._network])])
        self._show()
        self.field.observe(self._show, "value")

    def __repr__(self) -> str:
        return f"anchor map: {self._space.layers} layers, {_bits(self._space)} skip bits"

    @property
    def threshold(self) -> float:
        return self.field.value

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self.field.value = _check(threshold)

    @property
    def tokens(self) -> Tokens:
        """The string with the skip bits of the threshold."""
        return _pattern(self._space, self._tokens, self.matrix, self.threshold)

    @property
    def picture(self) -> Picture:
        return _beside(self._space, self.tokens, self.matrix, self.threshold)

    @property
    def text(self) -> str:
        """The threshold and the skips that it chooses, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """Heat map and network, SVG after SVG."""
        return self._map.value + self._network.value

    def _show(self, change: Any = None) -> None:
        tokens, bits = self.tokens, _bits(self._space)
        chosen = [d.row for d, t in zip(self._space.decisions, tokens, strict=True) if d.kind == "skip" and t]
        reads = {i: [j for k, j in chosen if k == i] for i in range(self._space.layers)}
        self._text.value = facts(
            {
                "skips chosen": f"{len(chosen)} of {bits} have a probability of at least {self.threshold:.2f}",
                "layer: reads": "; ".join(f"{i}: {' '.join(map(str, js))}" for i, js in reads.items() if js) or "none",
            }
        )
        self._map.value = inline(_heat(self.matrix, self.threshold))
        self._network.value = inline(architecture(self._space, tokens))


def anchor_map(controller: Controller, tokens: Iterable[int], threshold: float = 0.5) -> AnchorMap:
    """Heat map of `skip_probabilities` with a threshold, and the network whose skips reach it.

    Raises `ValueError` for tokens that are no string, a space without skip bits and a threshold outside 0 to 1.
    """
    return AnchorMap(controller, tokens, threshold)


def anchor_picture(controller: Controller, tokens: Iterable[int], threshold: float = 0.5) -> Picture:
    """What `anchor_map` draws."""
    space, tokens, matrix = _read(controller, tokens, threshold)
    return _beside(space, _pattern(space, tokens, matrix, threshold), matrix, threshold)


def skip_probabilities(controller: Controller, tokens: Iterable[int]) -> Tensor:
    """P(layer j is an input of layer i) = sigmoid(v' tanh(W_prev h_j + W_curr h_i)) at [i, j], (layers, layers).

    The hidden states are those along the given string, with its own skip bits; NaN where there is no decision, j >= i.
    Zoph & Le 2017, section 3.3. Raises `ValueError` for a space without skip bits.
    """
    space = controller.space
    if not isinstance(space, ConvSpace | MacroSpace) or not _bits(space):
        raise ValueError(f"space: got {space!r}, expected a ConvSpace or MacroSpace with skip bits")
    _, trace = distributions(controller, tokens)
    matrix = torch.full((space.layers, space.layers), math.nan)
    for decision, p in zip(space.decisions, trace, strict=True):
        if decision.kind == "skip":
            matrix[decision.row] = p[1]
    return matrix


def _read(
    controller: Controller, tokens: Iterable[int], threshold: float
) -> tuple[ConvSpace | MacroSpace, Tokens, Tensor]:
    tokens = controller.space.check(tokens)
    _check(threshold)
    matrix = skip_probabilities(controller, tokens)
    return controller.space, tokens, matrix  # type: ignore[return-value]  # skip_probabilities takes no other space


def _check(threshold: float) -> float:
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(f"threshold: got {threshold!r}, expected a probability, 0 to 1")
    return threshold


def _bits(space: ConvSpace | MacroSpace) -> int:
    return sum(d.kind == "skip" for d in space.decisions)


def _pattern(space: ConvSpace | MacroSpace, tokens: Tokens, matrix: Tensor, threshold: float) -> Tokens:
    """The string with a skip wherever the probability is at least the threshold."""
    chosen = (matrix >= threshold).long()
    return tuple(int(chosen[d.row]) if d.kind == "skip" else t for d, t in zip(space.decisions, tokens, strict=True))


def _beside(space: ConvSpace | MacroSpace, tokens: Tokens, matrix: Tensor, threshold: float) -> Picture:
    title = f"Skip connections of at least {threshold:.2f}"
    return beside(title, _heat(matrix, threshold), architecture(space, tokens))


def _heat(matrix: Tensor, threshold: float) -> Picture:
    """A row for each layer i, a column for each earlier layer j; cells that reach the threshold carry a frame."""
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
                pieces.append(
                    text(
                        x + side / 2,
                        y + side / 2,
                        f"{p:.2f}"[1:] if p < 0.995 else "1.0",
                        anchor="middle",
                        size=size,
                        color=ink,
                    )
                )
            if p >= threshold:
                frames.append(box(x + 2, y + 2, side - 4, side - 4, fill="none", line=VERMILLION, weight=3))
    says = "; ".join(f"{i}: {' '.join(f'{p:.2f}' for p in row[:i])}" for i, row in enumerate(matrix.tolist()) if i)
    alt = f"Probabilities that layer i reads layers 0 to i - 1, by i. {says}. {len(frames)} reach {threshold:.2f}."
    width = max(left + side * layers + 14, 360)  # the heading's, where there are few layers
    return sheet(width, top + side * layers + 14, [*pieces, *frames], "Skip probabilities", alt)
