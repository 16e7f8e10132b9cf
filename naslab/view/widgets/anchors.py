"""Anchor points: the probability of each skip connection, and the network that a threshold or a toss chooses."""

from collections.abc import Iterable

import torch
from ipywidgets import HTML, BoundedFloatText, FloatSlider, Layout, link
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import Tokens
from naslab.view.layers import skip_name
from naslab.view.picture import Picture
from naslab.view.skips import Choice, check_threshold, read
from naslab.view.widgets.base import Pictured, button, facts, row

_LINKED = "naslab-anchors"  # the class of the widgets in which a square and its arc light up together


class AnchorMap(Pictured):
    """`threshold` is what `field` and `slider` show, which move together; `matrix` holds the probabilities.

    The button `toss` chooses the skips at random with their probabilities, `again` those that reach the threshold.
    """

    def __init__(self, controller: Controller, tokens: Iterable[int], threshold: float, seed: int) -> None:
        self._skips = read(controller, tokens)
        self._generator, self._tosses = torch.Generator().manual_seed(seed), 0
        self._tossed: Choice | None = None
        look = {"min": 0.0, "max": 1.0, "step": 0.01, "tooltip": "the least probability that makes a skip connection"}
        self.field = BoundedFloatText(
            check_threshold(threshold), description="threshold", layout=Layout(width="180px"), **look
        )
        self.slider = FloatSlider(threshold, readout=False, layout=Layout(width="min(100%, 280px)"), **look)
        link((self.field, "value"), (self.slider, "value"))
        self.field.observe(lambda _: self._forget(), "value")  # before `Pictured` observes it
        self.toss = button("Toss the coins", "Choose each skip with its probability", self._toss, icon="random")
        self.again = button("Use the threshold", "Choose the skips that reach the threshold again", self._untoss)
        top = row(self.field, self.slider, self.toss, self.again)
        drawings = [HTML(layout=Layout(flex="1 1 340px")), HTML(layout=Layout(flex="1 1 340px"))]
        style = HTML(_hover(len(self.matrix)), layout=Layout(display="none"))
        super().__init__({"threshold": self.field}, [top], drawings, [row(*drawings), style])
        self.add_class(_LINKED)

    def __repr__(self) -> str:
        return f"anchor map: {self._skips.space.layers} layers, {self._skips.bits} skip bits"

    @property
    def matrix(self) -> Tensor:
        """`skip_probabilities` along the string, (layers, layers)."""
        return self._skips.matrix

    @property
    def threshold(self) -> float:
        """Setting it chooses the skips that reach it, also after a toss."""
        return self.field.value

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        checked = check_threshold(threshold)
        self._forget()
        self._move({"threshold": checked})

    @property
    def tokens(self) -> Tokens:
        """The string with the skip bits that the threshold or the toss chooses."""
        return self._skips.string(self._choice)

    @property
    def picture(self) -> Picture:
        """The heat map and the network, side by side."""
        return self._skips.picture(self._choice)

    @property
    def _choice(self) -> Choice:
        return self._tossed or self._skips.reach(self.threshold)

    def _forget(self) -> None:
        self._tossed = None

    def _toss(self) -> None:
        self._tosses += 1
        self._tossed = self._skips.toss(self._generator, self._tosses)
        self._show()

    def _untoss(self) -> None:
        self._forget()
        self._show()

    def _follow(self) -> tuple[str, Picture, Picture]:
        space, bits, choice = self._skips.space, self._skips.bits, self._choice
        self.again.disabled = self._tossed is None
        how = f"have a probability of at least {self.threshold:.2f}"
        if self._tossed:
            how = f"{choice.how}; on average {self.matrix.nansum():.1f} do"
        reads = {i: " ".join(str(j) for j in range(i) if choice.bits[i, j]) for i in range(space.layers)}
        rows = {
            "skips chosen": f"{choice.count} of {bits} {how}",
            "layer: reads": "; ".join(f"{i}: {js}" for i, js in reads.items() if js) or "none",
        }
        return facts(rows), *self._skips.parts(choice)


def anchor_map(controller: Controller, tokens: Iterable[int], threshold: float = 0.5, *, seed: int = 0) -> AnchorMap:
    """Heat map of `skip_probabilities` with a threshold, and the network whose skips reach it.

    The button "Toss the coins" samples the skips with these probabilities instead, with a generator of `seed`. Raises
    `ValueError` for tokens that are not a string of the space, for a space without skip bits and for a threshold
    outside 0 to 1.
    """
    return AnchorMap(controller, tokens, threshold, seed)


def _hover(layers: int) -> str:
    """A style sheet: while the pointer is on a chosen square or its arc, both stand out and the other arcs fade."""
    rules = [f".{_LINKED}:has(.chosen:hover, [class*='edge skip-']:hover) .edge {{ opacity: 0.2 }}"]
    for i in range(layers):
        for j in range(i):
            name = skip_name(i, j)
            here = f".{_LINKED}:has(.{name}:hover)"
            rules.append(f"{here} .edge.{name} {{ opacity: 1 }} {here} .edge.{name} path {{ stroke-width: 4 }}")
            rules.append(f"{here} .chosen.{name} rect:last-child {{ stroke-width: 6 }}")
    return f"<style>{' '.join(rules)}</style>"
