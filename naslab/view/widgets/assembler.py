"""A recurrent cell, assembled decision by decision: the string, the tree and the formula."""

from collections.abc import Iterable

from ipywidgets import HTML, BoundedIntText, DOMWidget, HBox, HTMLMath, Label, Layout, RadioButtons, VBox

from naslab.genotypes import FIGURE_5, write_tree_latex
from naslab.spaces import Decision, Tokens, TreeSpace
from naslab.view.graphs import architecture
from naslab.view.picture import Picture
from naslab.view.widgets.base import Choices, Pictured, button, facts


class TreeAssembler(Choices, Pictured):
    """`choices` maps a decision's name to its control, `tokens` is the string, `preset` is the button "Figure 5"."""

    _space: TreeSpace

    def __init__(self, space: TreeSpace, tokens: Iterable[int]) -> None:
        if not isinstance(space, TreeSpace):
            raise ValueError(f"space: got {type(space).__name__}, expected TreeSpace")
        tokens = space.check(tokens)
        self._space = space
        hint = "The cell of Zoph & Le 2017, figure 5 (base 2)"
        self.preset = button("Figure 5", hint, self._set_figure_5, disabled=_figure_5(space) is None)
        self.choices = {d.name: _control(d, token) for d, token in zip(space.decisions, tokens, strict=True)}
        column = VBox(
            [_row(*item) for item in self.choices.items()],
            layout=Layout(min_width="440px", max_height="400px", overflow="auto"),
        )
        self._formula = HTMLMath(layout=Layout(max_height="400px", overflow="auto"))
        drawing = HTML()
        super().__init__(self.choices, [self.preset], [drawing], [drawing, HBox([column, self._formula])])

    def __repr__(self) -> str:
        space = self._space
        return f"tree assembler: base {space.base}, {len(self.choices)} decisions, {space.strings:,} strings"

    @property
    def formula(self) -> str:
        """The cell as LaTeX."""
        return write_tree_latex(self._space, self.tokens)

    def _set_figure_5(self) -> None:
        if tokens := _figure_5(self._space):
            self.tokens = tokens

    def _follow(self) -> tuple[str, Picture]:
        tokens = self.tokens
        chosen = (f"{d.name}={d.options[t]}" for d, t in zip(self._space.decisions, tokens, strict=True))
        self._formula.value = f"$$\n{self.formula}\n$$"
        rows = {"string": " ".join(map(str, tokens)), "reads": "; ".join(chosen)}
        return facts(rows), architecture(self._space, tokens)


def tree_assembler(space: TreeSpace, tokens: Iterable[int]) -> TreeAssembler:
    """A control for each decision. The string, the tree and the formula follow.

    With base 2 the button "Figure 5" sets the paper's cell. `architecture(space, tokens)` and
    `genotypes.write_tree_latex(space, tokens)` show the same without a widget. Raises `ValueError` for another kind of
    space and for tokens that are not a string of it.
    """
    return TreeAssembler(space, tokens)


def _control(decision: Decision, token: int) -> DOMWidget:
    """Radio buttons or a number field. JupyterLab takes the arrow keys of a menu, but not those of these two."""
    if decision.kind == "cell_index":
        hint = ("its value before activation is c_t", "c_(t-1) is injected into it")[decision.row[0]]
        looks = {"description": decision.name, "style": {"description_width": "120px"}}
        return BoundedIntText(token, min=0, max=len(decision.options) - 1, tooltip=f"the node: {hint}", **looks)
    options = [(str(option), k) for k, option in enumerate(decision.options)]
    return RadioButtons(options=options, value=token, orientation="horizontal", layout=Layout(width="auto"))


def _row(name: str, control: DOMWidget) -> DOMWidget:
    """A control with its name on the left. A number field shows its own name."""
    if not isinstance(control, RadioButtons):
        return control
    label = Label(name, layout=Layout(width="120px", justify_content="flex-end"))
    return HBox([label, control], layout=Layout(min_height="32px", align_items="center"))


def _figure_5(space: TreeSpace) -> Tokens | None:
    """The string of figure 5, if the space has its base and its functions. Their order may differ."""
    like, tokens = FIGURE_5
    if space.base != like.base:
        return None
    wanted = [d.options[t] for d, t in zip(like.decisions, tokens, strict=True)]
    has = [option in d.options for d, option in zip(space.decisions, wanted, strict=True)]
    return tuple(d.options.index(o) for d, o in zip(space.decisions, wanted, strict=True)) if all(has) else None
