"""A recurrent cell, assembled decision by decision: the string, the tree and the formula."""

from collections.abc import Iterable

from ipywidgets import HTML, HTMLMath, Layout, VBox

from naslab.genotypes import FIGURE_5, write_tree_latex
from naslab.spaces import Tokens, TreeSpace
from naslab.view.graphs import architecture
from naslab.view.picture import Picture
from naslab.view.widgets.base import Choices, Pictured, button, facts, name_width, row, toggles


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
        width, named = name_width(space.decisions), zip(space.decisions, tokens, strict=True)
        self.choices = {d.name: toggles(d, token, width) for d, token in named}
        for name, hint in (
            ("cell_index.0", "its value before activation is c_t"),
            ("cell_index.1", "c_(t-1) enters it"),
        ):
            self.choices[name].tooltips = [f"{name}: node {n}, {hint}" for n in range(space.nodes)]
        column = VBox([*self.choices.values()], layout=Layout(flex="1 1 420px", max_height="420px", overflow="auto"))
        self._formula = HTMLMath(layout=Layout(flex="1 1 380px", max_height="420px", overflow="auto"))
        drawing = HTML()
        super().__init__(self.choices, [self.preset], [drawing], [drawing, row(column, self._formula)])

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


def _figure_5(space: TreeSpace) -> Tokens | None:
    """The string of figure 5, if the space has its base and its functions. Their order may differ."""
    like, tokens = FIGURE_5
    if space.base != like.base:
        return None
    wanted = [d.options[t] for d, t in zip(like.decisions, tokens, strict=True)]
    has = [option in d.options for d, option in zip(space.decisions, wanted, strict=True)]
    return tuple(d.options.index(o) for d, o in zip(space.decisions, wanted, strict=True)) if all(has) else None
