"""A string and its network, explored with a slider for every decision."""

from collections.abc import Callable, Iterable

import torch
from ipywidgets import HTML, Button, HBox, Label, Layout, SelectionSlider, VBox

from naslab.spaces import CellSpace, ConvSpace, MacroSpace, Tokens, TreeSpace
from naslab.view.canvas import inline
from naslab.view.controls import Choices, Pictured, facts
from naslab.view.graphs import architecture
from naslab.view.picture import Picture


class StringExplorer(Pictured):
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
        tokens = space.check(tokens)
        self._space, self._count = space, count
        self._generator = torch.Generator().manual_seed(seed)
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
            for d, token in zip(space.decisions, tokens, strict=True)
            if len(d.options) > 1
        }
        self._labels = {name: Label(layout=Layout(width="110px", margin="2px 2px 2px 10px")) for name in self.sliders}
        self._choices = Choices(space, self.sliders, self._show)
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
        return self._choices.tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        self._choices.tokens = tokens

    @property
    def picture(self) -> Picture | None:
        """The drawing; None while the sliders name no string."""
        return None if _clash(self._space, self.tokens) else architecture(self._space, self.tokens)

    @property
    def text(self) -> str:
        """What stands above the drawing, as HTML: the string, its options, the parameters and the number of strings."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """The drawing: SVG, or nothing while the sliders name no string."""
        return self._drawing.value

    def _draw_a_string(self, button: Button) -> None:
        self.tokens = self._space.sample(self._generator)

    def _show(self) -> None:
        tokens = self.tokens
        chosen = {d.name: str(d.options[t]) for d, t in zip(self._space.decisions, tokens, strict=True)}
        for name, label in self._labels.items():
            label.value = chosen[name]
        rows = {
            "string": " ".join(map(str, tokens)),
            "reads": "; ".join(f"{name}={option}" for name, option in chosen.items()),
        }
        clash = _clash(self._space, tokens)
        if clash:
            rows["not a string of the space"] = clash
        else:
            rows["parameters"] = f"{self._count(tokens):,}"
        rows["strings in the space"] = f"{self._space.strings:,}"
        picture = self.picture
        self._text.value, self._drawing.value = facts(rows), inline(picture) if picture else ""


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
