"""A string and its network, explored with a control for each decision."""

from collections.abc import Callable, Iterable

import torch
from ipywidgets import HTML, Checkbox, DOMWidget, HBox, Label, Layout, SelectionSlider, ToggleButtons, VBox

from naslab.spaces import CellSpace, ConvSpace, Decision, MacroSpace, Space, Tokens, TreeSpace
from naslab.view.graphs import architecture
from naslab.view.picture import Picture
from naslab.view.widgets.base import (
    Choices,
    Pictured,
    beside_name,
    button,
    facts,
    name_width,
    option_slider,
    row,
    toggles,
)

_ALL = 12  # controls that are shown together; if there are more, those of one node at a time
_BUTTONS = 16  # options that get a button each; if there are more, a slider


class StringExplorer(Choices, Pictured):
    """`choices` maps a decision's name to its control, `tokens` is what they show, `sample` draws a random string.

    The controls are toggle buttons, a checkbox for a skip bit, a slider for a decision with many options. If there
    are many controls, `node` chooses the node or layer whose controls are shown. The controls can be set to tokens
    that are not a string of the space. The text then says why.
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
        named = [(d, token) for d, token in zip(space.decisions, tokens, strict=True) if len(d.options) > 1]
        self._indent = name_width(d for d, _ in named if d.kind != "skip")
        self.choices = {d.name: _control(d, token, self._indent) for d, token in named}
        self._labels = {
            name: Label(layout=Layout(margin="2px 2px 2px 10px"))
            for name, control in self.choices.items()
            if isinstance(control, SelectionSlider)
        }
        self._groups: dict[str, list[str]] = {}
        for name in self.choices:
            self._groups.setdefault(_group(space, name), []).append(name)
        self._blocks = {group: self._block(names) for group, names in self._groups.items()}
        wide = isinstance(space, CellSpace | TreeSpace)  # drawn from left to right: the drawing goes below
        self._column = VBox([*self._blocks.values()], layout=Layout(flex="1 1 100%" if wide else "1 1 420px"))
        drawing = HTML(layout=Layout(flex="1 1 100%" if wide else "1 1 320px", min_height="240px"))
        self.node = ToggleButtons(
            options=[*self._groups],
            description="show",
            tooltips=[f"the controls of {group}" for group in self._groups],
            style={"description_width": "initial", "button_width": "auto"},
            layout=beside_name("max-content"),
        )
        self._shown = frozenset(d.name for d in space.decisions)
        controls, bottom = dict[str, DOMWidget](self.choices), [row(self._column, drawing)]
        if len(self.choices) > _ALL:
            self._turn()
            self.node.observe(lambda _: self._turn(), "value")  # before `Pictured` observes it
            controls["node"], bottom = self.node, [self.node, *bottom]
        super().__init__(controls, [self.sample], [drawing], bottom)

    def __repr__(self) -> str:
        return f"string explorer: {len(self.choices)} choices, {self._space.strings:,} strings"

    def _turn(self) -> None:
        """Shows the controls of the chosen node."""
        self._shown = frozenset(self._groups[self.node.value])
        self._column.children = [self._blocks[self.node.value]]

    def _block(self, names: Iterable[str]) -> DOMWidget:
        """The controls of a node or layer, one below the other; its skip bits side by side."""
        rows, bits = list[DOMWidget](), list[Checkbox]()
        for name in names:
            control = self.choices[name]
            if isinstance(control, Checkbox):
                bits.append(control)
            elif name in self._labels:
                rows.append(row(control, self._labels[name]))
            else:
                rows.append(control)
        if bits:
            rows.append(HBox(bits, layout=Layout(flex_flow="row wrap", margin=f"0 0 0 {self._indent}")))
        return VBox(rows, layout=Layout(margin="0 0 8px 0", flex="none"))

    def _follow(self) -> tuple[str, Picture | None]:
        space, tokens = self._space, self.tokens
        chosen = {d.name: str(d.options[t]) for d, t in zip(space.decisions, tokens, strict=True)}
        for name, label in self._labels.items():
            label.value = chosen[name]
        clash = _clash(space, tokens)
        rows = {
            "string": " ".join(map(str, tokens)),
            "reads": "; ".join(f"{name}={option}" for name, option in chosen.items() if name in self._shown),
            **({"not a string of the space": clash} if clash else {"parameters": f"{self._count(tokens):,}"}),
            **_loose_ends(space, tokens),
            "strings in the space": f"{space.strings:,}",
        }
        return facts(rows), None if clash else architecture(space, tokens, lit=True)


def string_explorer(
    space: CellSpace | MacroSpace | ConvSpace | TreeSpace,
    tokens: Iterable[int],
    count: Callable[[Tokens], int],
    *,
    seed: int = 0,
) -> StringExplorer:
    """A control for each decision that has a choice. The string, the drawing and `count(tokens)` parameters follow.

    The button "Sample" draws from `space` with a generator of `seed`. Raises `ValueError` for invalid `tokens`.
    """
    return StringExplorer(space, tokens, count, seed)


def _control(decision: Decision, token: int, indent: str) -> DOMWidget:
    if decision.kind == "skip":
        *_, i, _, j = ["", *decision.name.split(".")]
        return Checkbox(
            bool(token),
            description=decision.name,
            tooltip=f"{decision.name}: layer {i} reads layer {j}",
            indent=False,
            layout=Layout(width="auto", margin="2px 14px 2px 2px"),
        )
    if len(decision.options) <= _BUTTONS:
        return toggles(decision, token, indent)
    return option_slider(decision, token, indent, Layout(width="min(100%, 420px)"))


def _group(space: Space, name: str) -> str:
    """The node or layer that a decision belongs to."""
    first, second, *_ = name.split(".")
    if isinstance(space, CellSpace):
        return f"{first} {second}"
    if isinstance(space, TreeSpace):
        return f"node {first}" if first.isdigit() else first.replace("_", " ")
    return f"layer {first}"


def _loose_ends(space: Space, tokens: Tokens) -> dict[str, str]:
    """The row that names the loose ends of each cell; no row in a space without loose ends."""
    if not isinstance(space, CellSpace) or space.output != "loose":
        return {}
    ends = {cell: ", ".join(map(str, space.leaving(nodes))) for cell, nodes in space.pairs(tokens).items()}
    return {"loose ends": "; ".join(f"{cell} {states}" for cell, states in ends.items())}


def _clash(space: Space, tokens: Tokens) -> str:
    """Names two decisions that must differ and do not. Empty if the tokens are a string of the space."""
    for decision, token in zip(space.decisions, tokens, strict=True):
        for earlier in decision.differs_from:
            if tokens[earlier] == token:
                other = space.decisions[earlier].name
                return f"{other} and {decision.name} are both {decision.options[token]}, they must differ: change one"
    return ""
