"""Widgets made of sliders and `HTML`: they work by keyboard, and Python may move them as a reader does."""

import html
from collections.abc import Callable, Iterable
from typing import Any

import torch
from ipywidgets import HTML, Button, HBox, Label, Layout, SelectionSlider, VBox

from naslab.spaces import CellSpace, ConvSpace, MacroSpace, Tokens, TreeSpace
from naslab.view.graphs import architecture
from naslab.view.picture import Picture


class StringExplorer(VBox):
    """A string and its network, side by side; `sliders` maps a decision's name to its slider, `tokens` is the string.

    Setting `tokens` moves the sliders; reading gives what they show, which need not be a valid string.
    """

    def __init__(
        self,
        space: CellSpace | MacroSpace | ConvSpace | TreeSpace,
        tokens: Iterable[int],
        count: Callable[[Tokens], int],
        seed: int,
    ) -> None:
        self._space, self._count, self._moving = space, count, False
        self._generator = torch.Generator().manual_seed(seed)
        self._tokens = space.check(tokens)
        self._text = HTML()
        self._drawing = HTML(layout=Layout(width="540px", min_height="240px"))
        self.sample = Button(description="Sample", tooltip="Draw a random string")
        self.sample.on_click(self._draw_a_string)
        self.sliders = {
            d.name: SelectionSlider(
                description=d.name,
                tooltip=f"{d.name}: one of {', '.join(map(str, d.options))}",
                options=[(str(option), token) for token, option in enumerate(d.options)],
                value=token,
                readout=False,  # it would cut the longer names off
                style={"description_width": "120px"},
                layout=Layout(width="260px"),
            )
            for d, token in zip(space.decisions, self._tokens, strict=True)
            if len(d.options) > 1
        }
        self._labels = {name: Label(layout=Layout(width="110px", margin="2px 2px 2px 10px")) for name in self.sliders}
        for slider in self.sliders.values():
            slider.observe(self._moved, "value")
        rows = [
            HBox([self.sliders[name], self._labels[name]], layout=Layout(min_height="32px")) for name in self.sliders
        ]
        column = VBox(rows, layout=Layout(width="410px", max_height="560px", overflow="auto"))
        super().__init__([HBox([self.sample]), self._text, HBox([column, self._drawing])])
        self._show()

    def __repr__(self) -> str:
        return f"string explorer: {len(self.sliders)} sliders, {self._space.strings:,} strings"

    @property
    def tokens(self) -> Tokens:
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        tokens = self._space.check(tokens)
        self._moving = True  # one drawing when all sliders stand, not one for each
        try:
            for decision, token in zip(self._space.decisions, tokens, strict=True):
                if decision.name in self.sliders:
                    self.sliders[decision.name].value = token
        finally:
            self._moving = False
        self._moved()

    @property
    def text(self) -> str:
        """What stands above the drawing, as HTML: the string, its options, the parameters and the number of strings."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """The drawing: SVG, or nothing while the sliders name no string."""
        return self._drawing.value

    def _moved(self, change: Any = None) -> None:
        if not self._moving:
            here = self.sliders
            self._tokens = tuple(here[d.name].value if d.name in here else 0 for d in self._space.decisions)
            self._show()

    def _draw_a_string(self, button: Button) -> None:
        self.tokens = self._space.sample(self._generator)

    def _show(self) -> None:
        chosen = {d.name: str(d.options[t]) for d, t in zip(self._space.decisions, self._tokens, strict=True)}
        for name, label in self._labels.items():
            label.value = chosen[name]
        rows = {
            "string": " ".join(map(str, self._tokens)),
            "reads": "; ".join(f"{name}={option}" for name, option in chosen.items()),
        }
        clash = _clash(self._space, self._tokens)
        if clash:
            rows["not a string of the space"] = clash
        else:
            rows["parameters"] = f"{self._count(self._tokens):,}"
        rows["strings in the space"] = f"{self._space.strings:,}"
        lines = (f"<div><b>{name}:</b> <code>{html.escape(value)}</code></div>" for name, value in rows.items())
        text = f'<div style="line-height:1.5;max-width:940px">{"".join(lines)}</div>'
        drawing = "" if clash else _inline(architecture(self._space, self._tokens))
        self._text.value, self._drawing.value = text, drawing


def string_explorer(
    space: CellSpace | MacroSpace | ConvSpace | TreeSpace,
    tokens: Iterable[int],
    count: Callable[[Tokens], int],
    *,
    seed: int = 0,
) -> StringExplorer:
    """A slider for every decision that has a choice; string, drawing and `count(tokens)` parameters follow.

    The button "Sample" draws from `space` with a generator of `seed`. Raises `ValueError` for invalid `tokens`.
    """
    return StringExplorer(space, tokens, count, seed)


def _clash(space: CellSpace | MacroSpace | ConvSpace | TreeSpace, tokens: Tokens) -> str:
    """Which two decisions must differ and do not; empty if the tokens are a string of the space."""
    for decision, token in zip(space.decisions, tokens, strict=True):
        for earlier in decision.differs_from:
            if tokens[earlier] == token:
                other = space.decisions[earlier].name
                return f"{other} and {decision.name} are both {decision.options[token]}, they must differ: move one"
    return ""


def _inline(drawing: Picture) -> str:
    return drawing.svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
