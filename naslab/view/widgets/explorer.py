"""A string and its network, explored with a slider for each decision."""

from collections.abc import Callable, Iterable

import torch
from ipywidgets import HTML, HBox, Label, Layout, VBox

from naslab.spaces import CellSpace, ConvSpace, MacroSpace, Space, Tokens, TreeSpace
from naslab.view.graphs import architecture
from naslab.view.picture import Picture
from naslab.view.widgets.base import Choices, Pictured, button, facts, option_slider


class StringExplorer(Choices, Pictured):
    """`sliders` maps a decision's name to its slider, `tokens` is what they show, `sample` draws a random string.

    The sliders can be moved to tokens that are not a string of the space. The text then says why.
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
        generator = torch.Generator().manual_seed(seed)
        self.sample = button("Sample", "Draw a random string", lambda: setattr(self, "tokens", space.sample(generator)))
        self.sliders = {
            d.name: option_slider(d, token, "120px", Layout(width="260px"))
            for d, token in zip(space.decisions, tokens, strict=True)
            if len(d.options) > 1
        }
        self._labels = {name: Label(layout=Layout(width="110px", margin="2px 2px 2px 10px")) for name in self.sliders}
        rows = [
            HBox([slider, self._labels[name]], layout=Layout(min_height="32px"))
            for name, slider in self.sliders.items()
        ]
        column = VBox(rows, layout=Layout(width="410px", max_height="560px", overflow="auto"))
        drawing = HTML(layout=Layout(width="540px", min_height="240px"))
        super().__init__(self.sliders, [HBox([self.sample])], [drawing], [HBox([column, drawing])])

    def __repr__(self) -> str:
        return f"string explorer: {len(self.sliders)} sliders, {self._space.strings:,} strings"

    def _follow(self) -> tuple[str, Picture | None]:
        space, tokens = self._space, self.tokens
        chosen = {d.name: str(d.options[t]) for d, t in zip(space.decisions, tokens, strict=True)}
        for name, label in self._labels.items():
            label.value = chosen[name]
        clash = _clash(space, tokens)
        rows = {
            "string": " ".join(map(str, tokens)),
            "reads": "; ".join(f"{name}={option}" for name, option in chosen.items()),
            **({"not a string of the space": clash} if clash else {"parameters": f"{self._count(tokens):,}"}),
            "strings in the space": f"{space.strings:,}",
        }
        return facts(rows), None if clash else architecture(space, tokens)


def string_explorer(
    space: CellSpace | MacroSpace | ConvSpace | TreeSpace,
    tokens: Iterable[int],
    count: Callable[[Tokens], int],
    *,
    seed: int = 0,
) -> StringExplorer:
    """A slider for each decision that has a choice. The string, the drawing and `count(tokens)` parameters follow.

    The button "Sample" draws from `space` with a generator of `seed`. Raises `ValueError` for invalid `tokens`.
    """
    return StringExplorer(space, tokens, count, seed)


def _clash(space: Space, tokens: Tokens) -> str:
    """Names two decisions that must differ and do not. Empty if the tokens are a string of the space."""
    for decision, token in zip(space.decisions, tokens, strict=True):
        for earlier in decision.differs_from:
            if tokens[earlier] == token:
                other = space.decisions[earlier].name
                return f"{other} and {decision.name} are both {decision.options[token]}, they must differ: move one"
    return ""
