"""A path through the supergraph, chosen and trained step by step: the article's figure 6, NAS beside ENAS."""

from collections.abc import Sequence

import torch
from ipywidgets import HTML, Checkbox, DOMWidget, HBox, Label, Layout, VBox

from naslab.spaces import Decision, MacroSpace, Tokens
from naslab.view.grid import supergraph
from naslab.view.picture import Picture
from naslab.view.sharing import Counts, costs, count
from naslab.view.widgets.base import Choices, Pictured, button, facts, option_slider, row

_MANY = 10  # children that one press of a button trains


class PathExplorer(Choices, Pictured):
    """`tokens` is the current child, `counts` what was trained; the buttons are `sample`, `train`, `many`, `reset`.

    `choices` maps a decision's name to its control: a slider for a layer's op, a checkbox for a skip bit.
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
        named = zip(space.decisions, self._draw(), strict=True)
        self.choices = {d.name: _control(d, token) for d, token in named if len(d.options) > 1}
        self._labels = [
            Label(layout=Layout(flex="none", width="100px", margin="2px 2px 2px 10px")) for _ in range(space.layers)
        ]
        rows = VBox([self._row(i) for i in range(space.layers)], layout=Layout(max_height="500px", overflow="auto"))
        super().__init__(self.choices, [row(self.sample, self.train, self.many, self.reset), rows], [HTML()])

    def __repr__(self) -> str:
        space = self.counts.space
        return f"path explorer: {space.layers} layers of {len(space.ops)} ops, {space.strings:,} children"

    def _row(self, layer: int) -> DOMWidget:
        """The controls of a layer, side by side."""
        op, *skips = (self.choices.get(d.name) for d in self._space.decisions if d.row[0] == layer)
        named = [Label("skips", layout=Layout(width="40px")), *skips] if skips else []
        box = HBox(named, layout=Layout(flex="1", flex_flow="row wrap"))
        return HBox([*([op] if op else []), self._labels[layer], box], layout=Layout(flex="none", min_height="32px"))

    def _draw(self) -> Tokens:
        return self.counts.space.sample(self._generator)

    def _restart(self) -> None:
        self._generator.manual_seed(self._seed)
        self.counts = Counts(self.counts.space)
        self.tokens = self._draw()

    def _train(self, children: Sequence[Tokens]) -> None:
        self.counts = Counts(self.counts.space, (*self.counts.children, *children))
        self.tokens = children[-1]

    def _follow(self) -> tuple[str, Picture]:
        counts, tokens = self.counts, self.tokens
        for label, (_, k) in zip(self._labels, counts.path(tokens), strict=True):
            label.value = counts.space.ops[k]
        (spent, n, _), *_, (own, alone, together), _ = costs(counts, tokens)
        rows = {"child": " ".join(map(str, tokens)), spent: n, own: f"(a) {alone}; (b) {together}"}
        return facts(rows), supergraph(counts, tokens)


def path_explorer(space: MacroSpace, seed: int = 0) -> PathExplorer:
    """Choose or sample a child and train it for a step. The text compares the steps of its weights in NAS and in ENAS.

    The buttons draw with a generator of `seed`. Raises `ValueError` for another kind of space.
    """
    return PathExplorer(space, seed)


def _control(decision: Decision, token: int) -> DOMWidget:
    """A slider or a checkbox. JupyterLab takes the arrow keys of a menu, but not those of these two."""
    layer, *source = decision.row
    if source:  # the description is the only name of a checkbox
        return Checkbox(bool(token), description=f"{source[0]}→{layer}", indent=False, layout=Layout(width="68px"))
    return option_slider(decision, token, "50px", Layout(flex="none", width="180px"))
