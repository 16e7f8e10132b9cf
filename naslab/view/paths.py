"""A path through the supergraph, chosen and trained step by step: the article's figure 6, NAS beside ENAS."""

from collections.abc import Iterable, Sequence

import torch
from ipywidgets import HTML, Button, Checkbox, DOMWidget, HBox, Label, Layout, SelectionSlider, VBox

from naslab.spaces import Decision, MacroSpace, Tokens
from naslab.view.canvas import inline
from naslab.view.controls import Choices, Pictured, facts
from naslab.view.grid import supergraph
from naslab.view.picture import Picture
from naslab.view.sharing import Counts, costs

_MANY = 10  # children that one press trains


class PathExplorer(Pictured):
    """`tokens` is the current child, `counts` what was trained; the buttons are `sample`, `train`, `many`, `reset`.

    `choices` maps a decision's name to its control: a slider for a layer's op, a checkbox for a skip bit.
    """

    def __init__(self, space: MacroSpace, seed: int) -> None:
        self.counts, self._seed = _counts(space), seed
        self._text, self._drawing = HTML(), HTML()
        self.sample = Button(description="Sample", tooltip="Draw a child, uniformly from the space")
        self.train = Button(description="Train", tooltip="One training step of the current child")
        self.many = Button(
            description=f"Sample and train x {_MANY}",
            tooltip=f"{_MANY} children, one step each",
            layout=Layout(width="auto"),
        )
        self.reset = Button(description="Reset", tooltip="Back to untrained weights and the first child")
        self.sample.on_click(lambda button: setattr(self, "tokens", space.sample(self._generator)))
        self.train.on_click(lambda button: self._train([self.tokens]))
        self.many.on_click(lambda button: self._train([space.sample(self._generator) for _ in range(_MANY)]))
        self.reset.on_click(lambda button: self._start())
        self.choices = {d.name: _control(d) for d in space.decisions if len(d.options) > 1}
        self._labels = [
            Label(layout=Layout(flex="none", width="100px", margin="2px 2px 2px 10px")) for _ in range(space.layers)
        ]
        self._choices = Choices(space, self.choices, self._show)
        rows = [self._row(i) for i in range(space.layers)]
        super().__init__(
            [
                HBox([self.sample, self.train, self.many, self.reset], layout=Layout(flex_flow="row wrap")),
                VBox(rows, layout=Layout(max_height="500px", overflow="auto")),
                self._text,
                self._drawing,
            ]
        )
        self._start()

    def __repr__(self) -> str:
        space = self.counts.space
        return f"path explorer: {space.layers} layers of {len(space.ops)} ops, {space.strings:,} children"

    @property
    def tokens(self) -> Tokens:
        return self._choices.tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        self._choices.tokens = tokens

    @property
    def picture(self) -> Picture:
        """Both ways side by side."""
        return supergraph(self.counts, self.tokens)

    @property
    def text(self) -> str:
        """The current child and what its weights have had, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """Both ways side by side, SVG."""
        return self._drawing.value

    def _row(self, layer: int) -> DOMWidget:
        """A layer's controls in a line."""
        op, *skips = (self.choices.get(d.name) for d in self.counts.space.decisions if d.row[0] == layer)
        named = [Label("skips", layout=Layout(width="40px")), *skips] if skips else []
        box = HBox(named, layout=Layout(flex="1", flex_flow="row wrap"))
        return HBox([*([op] if op else []), self._labels[layer], box], layout=Layout(flex="none", min_height="32px"))

    def _start(self) -> None:
        self._generator = torch.Generator().manual_seed(self._seed)
        self.counts = Counts(self.counts.space)
        self.tokens = self.counts.space.sample(self._generator)

    def _train(self, children: Sequence[Tokens]) -> None:
        self.counts = Counts(self.counts.space, (*self.counts.children, *children))
        self.tokens = children[-1]

    def _show(self) -> None:
        counts, tokens = self.counts, self.tokens
        for label, (_, k) in zip(self._labels, counts.path(tokens), strict=True):
            label.value = counts.space.ops[k]
        (spent, n, _), *_, (own, alone, together), _ = costs(counts, tokens)
        child = " ".join(map(str, tokens))
        self._text.value = facts({"child": child, spent: n, own: f"(a) {alone}; (b) {together}"})
        self._drawing.value = inline(self.picture)


def path_explorer(space: MacroSpace, seed: int = 0) -> PathExplorer:
    """Choose or sample a child and train it for a step: what have its weights had in NAS, and what in ENAS?

    The buttons draw with a generator of `seed`. Raises `ValueError` for another kind of space.
    """
    return PathExplorer(space, seed)


def path_picture(space: MacroSpace, children: Iterable[Tokens], current: Tokens | None = None) -> Picture:
    """What `path_explorer` draws after one training step of each of `children`; `current` is the last if not given.

    Raises `ValueError` for another kind of space and for tokens that are no string of it.
    """
    counts = _counts(space, children)
    if current is not None:
        return supergraph(counts, space.check(current))
    return supergraph(counts, counts.children[-1] if counts.children else None)


def _counts(space: MacroSpace, children: Iterable[Tokens] = ()) -> Counts:
    if not isinstance(space, MacroSpace):
        raise ValueError(f"space: got {type(space).__name__}, expected MacroSpace")
    return Counts(space, tuple(space.check(child) for child in children))


def _control(decision: Decision) -> DOMWidget:
    """A slider or a checkbox: JupyterLab takes the arrow keys of a menu."""
    layer, *source = decision.row
    if source:
        return Checkbox(description=f"{source[0]}→{layer}", indent=False, layout=Layout(width="68px"))  # its only name
    return SelectionSlider(
        options=[(str(option), k) for k, option in enumerate(decision.options)],
        description=decision.name,
        tooltip=f"{decision.name}: one of {', '.join(map(str, decision.options))}",
        readout=False,  # it would cut the longer names off
        style={"description_width": "50px"},
        layout=Layout(flex="none", width="180px"),
    )
