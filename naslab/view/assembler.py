"""A recurrent cell put together, decision by decision: the string, the tree and the formula."""

from collections.abc import Iterable

from ipywidgets import HTML, BoundedIntText, Button, DOMWidget, HBox, HTMLMath, Label, Layout, RadioButtons, VBox

from naslab.genotypes import FIGURE_5, write_tree_latex
from naslab.spaces import Decision, Tokens, TreeSpace
from naslab.view.canvas import inline
from naslab.view.controls import Choices, Pictured, facts
from naslab.view.graphs import architecture
from naslab.view.picture import Picture


class TreeAssembler(Pictured):
    """`choices` maps a decision's name to its control, `tokens` is the string; `preset` is the button "Figure 5"."""

    def __init__(self, space: TreeSpace, tokens: Iterable[int]) -> None:
        if not isinstance(space, TreeSpace):
            raise ValueError(f"space: got {type(space).__name__}, expected TreeSpace")
        tokens = space.check(tokens)
        self._space = space
        self._text, self._drawing = HTML(), HTML()
        self._formula = HTMLMath(layout=Layout(max_height="400px", overflow="auto"))
        self.choices = {d.name: _control(d, token) for d, token in zip(space.decisions, tokens, strict=True)}
        self._choices = Choices(space, self.choices, self._show)
        column = VBox(
            [_row(*item) for item in self.choices.items()],
            layout=Layout(min_width="440px", max_height="400px", overflow="auto"),
        )
        figure_5 = _figure_5(space)
        self.preset = Button(
            description="Figure 5", tooltip="The cell of Zoph & Le 2017, figure 5 (base 2)", disabled=figure_5 is None
        )
        if figure_5:
            self.preset.on_click(lambda button: setattr(self, "tokens", figure_5))
        super().__init__([self.preset, self._text, self._drawing, HBox([column, self._formula])])
        self._show()

    def __repr__(self) -> str:
        return (
            f"tree assembler: base {self._space.base}, {len(self.choices)} decisions, {self._space.strings:,} strings"
        )

    @property
    def tokens(self) -> Tokens:
        return self._choices.tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        self._choices.tokens = tokens

    @property
    def picture(self) -> Picture:
        """The tree."""
        return architecture(self._space, self.tokens)

    @property
    def text(self) -> str:
        """The string and what it reads, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """The tree, SVG."""
        return self._drawing.value

    @property
    def formula(self) -> str:
        """The cell as LaTeX."""
        return write_tree_latex(self._space, self.tokens)

    def _show(self) -> None:
        tokens = self.tokens
        chosen = (f"{d.name}={d.options[t]}" for d, t in zip(self._space.decisions, tokens, strict=True))
        self._text.value = facts({"string": " ".join(map(str, tokens)), "reads": "; ".join(chosen)})
        self._drawing.value = inline(self.picture)
        self._formula.value = f"$$\n{self.formula}\n$$"


def tree_assembler(space: TreeSpace, tokens: Iterable[int]) -> TreeAssembler:
    """A choice for every decision; string, tree and formula follow. With base 2 the button "Figure 5" sets the paper's.

    Beside it, without widgets: `architecture(space, tokens)` and `genotypes.write_tree_latex(space, tokens)`. Raises
    `ValueError` for another space and for tokens that are no string.
    """
    return TreeAssembler(space, tokens)


def _control(decision: Decision, token: int) -> DOMWidget:
    """Radio buttons or a number field: JupyterLab leaves their arrow keys alone, and takes those of a menu."""
    if decision.kind == "cell_index":
        hint = ("its value before activation is c_t", "c_(t-1) is injected into it")[decision.row[0]]
        looks = {"description": decision.name, "style": {"description_width": "120px"}}
        return BoundedIntText(token, min=0, max=len(decision.options) - 1, tooltip=f"the node: {hint}", **looks)
    options = [(str(option), k) for k, option in enumerate(decision.options)]
    return RadioButtons(options=options, value=token, orientation="horizontal", layout=Layout(width="auto"))


def _row(name: str, control: DOMWidget) -> DOMWidget:
    """A number field says its own name; radio buttons would say it in a line above."""
    if not isinstance(control, RadioButtons):
        return control
    label = Label(name, layout=Layout(width="120px", justify_content="flex-end"))
    return HBox([label, control], layout=Layout(min_height="32px", align_items="center"))


def _figure_5(space: TreeSpace) -> Tokens | None:
    """The string of figure 5, where the space has its tree and its functions, in whatever order."""
    like, tokens = FIGURE_5
    if space.base != like.base:
        return None
    wanted = [d.options[t] for d, t in zip(like.decisions, tokens, strict=True)]
    has = [option in d.options for d, option in zip(space.decisions, wanted, strict=True)]
    return tuple(d.options.index(o) for d, o in zip(space.decisions, wanted, strict=True)) if all(has) else None
