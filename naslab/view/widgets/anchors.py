"""Anchor points: the probability of each skip connection, and the network that a threshold chooses."""

from collections.abc import Iterable

from ipywidgets import HTML, BoundedFloatText, FloatSlider, HBox, Layout, link
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import Tokens
from naslab.view.picture import Picture
from naslab.view.skips import check_threshold, read
from naslab.view.widgets.base import Pictured, facts


class AnchorMap(Pictured):
    """`threshold` is what `field` and `slider` show, which move together; `matrix` holds the probabilities."""

    def __init__(self, controller: Controller, tokens: Iterable[int], threshold: float) -> None:
        self._skips = read(controller, tokens)
        look = {"min": 0.0, "max": 1.0, "step": 0.01, "tooltip": "the least probability that makes a skip connection"}
        self.field = BoundedFloatText(
            check_threshold(threshold), description="threshold", layout=Layout(width="180px"), **look
        )
        self.slider = FloatSlider(threshold, readout=False, layout=Layout(width="320px"), **look)
        link((self.field, "value"), (self.slider, "value"))
        drawings = [HTML(layout=Layout(width="50%")), HTML(layout=Layout(width="50%"))]
        super().__init__({"threshold": self.field}, [HBox([self.field, self.slider])], drawings, [HBox(drawings)])

    def __repr__(self) -> str:
        return f"anchor map: {self._skips.space.layers} layers, {self._skips.bits} skip bits"

    @property
    def matrix(self) -> Tensor:
        """`skip_probabilities` along the string, (layers, layers)."""
        return self._skips.matrix

    @property
    def threshold(self) -> float:
        return self.field.value

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self.field.value = check_threshold(threshold)

    @property
    def tokens(self) -> Tokens:
        """The string with the skip bits that the threshold chooses."""
        return self._skips.chosen(self.threshold)

    @property
    def picture(self) -> Picture:
        """The heat map and the network, side by side."""
        return self._skips.picture(self.threshold)

    def _follow(self) -> tuple[str, Picture, Picture]:
        space, bits = self._skips.space, self._skips.bits
        named = zip(space.decisions, self.tokens, strict=True)
        chosen = [d.row for d, token in named if d.kind == "skip" and token]
        reads = {i: " ".join(str(j) for k, j in chosen if k == i) for i in range(space.layers)}
        rows = {
            "skips chosen": f"{len(chosen)} of {bits} have a probability of at least {self.threshold:.2f}",
            "layer: reads": "; ".join(f"{i}: {js}" for i, js in reads.items() if js) or "none",
        }
        return facts(rows), *self._skips.parts(self.threshold)


def anchor_map(controller: Controller, tokens: Iterable[int], threshold: float = 0.5) -> AnchorMap:
    """Heat map of `skip_probabilities` with a threshold, and the network whose skips reach it.

    Raises `ValueError` for tokens that are not a string of the space, for a space without skip bits and for a threshold
    outside 0 to 1.
    """
    return AnchorMap(controller, tokens, threshold)
