"""A path through the supergraph, chosen and trained step by step: the article's figure 6, NAS beside ENAS."""

from collections.abc import Sequence
from typing import Any

import torch
from ipywidgets import HTML, Checkbox, DOMWidget, HBox, Layout, VBox

from naslab.spaces import Decision, MacroSpace, Tokens
from naslab.view.grid import supergraph
from naslab.view.picture import Picture
from naslab.view.sharing import Counts, costs, count
from naslab.view.widgets.base import Choices, Pictured, button, facts, name_width, player, row, toggles

_MANY = 10  # children that one press of a button trains
_LAST = 100  # children that Play trains, one after the other


class PathExplorer(Choices, Pictured):
    """`tokens` is the current child, `counts` what was trained; the buttons are `sample`, `train`, `many`, `reset`.

    `play` draws one child after the other and trains each for a step. `choices` maps a decision's name to its control:
    toggle buttons for a layer's op, a checkbox for a skip bit.
    """

    def __init__(self, space: MacroSpace, seed: int) -> None:
        self.counts, self._space, self._seed = count(space), space, seed
        self._generator = torch.Generator().manual_seed(seed)
        self.sample = button(
            "Sample", "Draw a child, uniformly from the space", lambda: setattr(self, "tokens", self._draw())
        )
        self.train = button("Train", "One training step of the current child", lambda: self._train([self.tokens]))
        self.many = button(
            f"Sample and train x {_MANY}",
            f"{_MANY} children, one step each",
            lambda: self._train([self._draw() for _ in range(_MANY)]),
            layout=Layout(width="auto"),
        )
        self.reset = button("Reset", "Back to untrained weights and the first child", self._restart)
        self.play = player(0, _LAST, 0, seconds=60, slowest=600)
        self.play.observe(self._played, "value")
        named = zip(space.decisions, self._draw(), strict=True)
        width = name_width(d for d in space.decisions if d.kind == "op")
        self.choices = {d.name: _control(d, token, width) for d, token in named if len(d.options) > 1}
        rows = VBox([self._row(i) for i in range(space.layers)], layout=Layout(max_height="500px", overflow="auto"))
        buttons = row(self.play, self.sample, self.train, self.many, self.reset)
        super().__init__(self.choices, [buttons, rows], [HTML()])

    def __repr__(self) -> str:
        space = self.counts.space
        return f"path explorer: {space.layers} layers of {len(space.ops)} ops, {space.strings:,} children"

    def _row(self, layer: int) -> HBox:
        """The controls of a layer, side by side."""
        controls = [self.choices.get(d.name) for d in self._space.decisions if d.row[0] == layer]
        return row(*filter(None, controls))

    def _draw(self) -> Tokens:
        return self.counts.space.sample(self._generator)

    def _restart(self) -> None:
        self._generator.manual_seed(self._seed)
        self.counts = Counts(self.counts.space)
        self.play.value = 0
        self.tokens = self._draw()

    def _played(self, change: Any) -> None:
        self._train([self._draw() for _ in range(change["new"] - change["old"])])

    def _train(self, children: Sequence[Tokens]) -> None:
        if children:  # none when Play goes back to its start
            self.counts = Counts(self.counts.space, (*self.counts.children, *children))
            self.tokens = children[-1]

    def _follow(self) -> tuple[str, Picture]:
        counts, tokens = self.counts, self.tokens
        (spent, n, _), *_, (own, alone, together), _ = costs(counts, tokens)
        rows = {"child": " ".join(map(str, tokens)), spent: n, own: f"(a) {alone}; (b) {together}"}
        return facts(rows), supergraph(counts, tokens)


def path_explorer(space: MacroSpace, seed: int = 0) -> PathExplorer:
    """Choose or sample a child and train it for a step, or press Play: many random children, one step each.

    The text compares the steps of the child's weights in NAS and in ENAS.

    The buttons draw with a generator of `seed`. Raises `ValueError` for another kind of space.
    """
    return PathExplorer(space, seed)


def _control(decision: Decision, token: int, width: str) -> DOMWidget:
    """Toggle buttons for an op, or a checkbox for a skip bit."""
    layer, *source = decision.row
    if source:  # the description is the only name of a checkbox
        return Checkbox(bool(token), description=f"{source[0]}→{layer}", indent=False, layout=Layout(width="68px"))
    return toggles(decision, token, width)
