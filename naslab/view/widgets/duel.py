"""A duel: build a cell by clicking, see how good it is, and bet against the best of some random cells."""

from collections.abc import Iterable

import torch
from ipywidgets import HTML, HBox, Label, Layout, ToggleButtons, VBox

from naslab import checks
from naslab.spaces import CellSpace, Decision, Tokens
from naslab.tables import Table
from naslab.view.canvas import above
from naslab.view.duel import chance, place_picture
from naslab.view.graphs import architecture
from naslab.view.picture import Picture
from naslab.view.widgets.base import Choices, Pictured, button, facts, row

DRAWS = (1, 3, 10, 30, 100)
_STYLE = {"button_width": "58px"}
_SHORT = {"skip_connect": "skip", "nor_conv_1x1": "1x1", "nor_conv_3x3": "3x3", "avg_pool_3x3": "pool"}


class CellDuel(Choices, Pictured):
    """`choices` has the buttons of each edge by the decision's name, `draws` the size of the bet, `bet` rolls.

    `tokens` are the reader's cell, `rival` is the best cell of the last bet, `won` and `lost` are the score.
    """

    def __init__(self, table: Table, tokens: Iterable[int], seed: int) -> None:
        space = table.space
        if not isinstance(space, CellSpace) or space.cells != ("cell",):
            raise ValueError(f"table: got a table of {type(space).__name__}, expected one of single cells")
        checks.whole(0, seed=seed)
        self._table, self._space = table, space
        self._generator = torch.Generator().manual_seed(seed)
        self.rival: Tokens | None = None
        self.won = self.lost = 0
        places = [f"{source} → {target}" for source, target in space.edges]
        self.choices = {
            decision.name: _buttons(decision, token, place)
            for decision, token, place in zip(space.decisions, space.check(tokens), places, strict=True)
        }
        self.draws = ToggleButtons(
            options=[(str(n), n) for n in DRAWS],
            value=10,
            tooltips=[f"bet against the best of {n} random cells" for n in DRAWS],
            style=_STYLE,
        )
        say = "Draw the random cells: is yours better than the best of them?"
        self.bet = button("Bet", say, self._roll, layout=Layout(margin="2px 2px 2px 50px"))
        self.bet.button_style = "primary"
        drawings = [HTML(), HTML()]
        rows = [_named(place, buttons) for place, buttons in zip(places, self.choices.values(), strict=True)]
        rows += [_named("dice", self.draws), self.bet]
        left = VBox(rows, layout=Layout(flex="0 1 370px"))
        right = VBox(drawings, layout=Layout(flex="1 1 420px"))
        super().__init__(self.choices | {"draws": self.draws}, [], drawings, [row(left, right)])

    def __repr__(self) -> str:
        return f"cell duel: {len(self.choices)} edges, {self._space.strings:,} cells"

    @property
    def picture(self) -> Picture:
        """The cell above its place among all cells."""
        return above("Your cell and its place", *(drawing for drawing in self._pictures if drawing))

    def _roll(self) -> None:
        drawn = [self._space.sample(self._generator) for _ in range(self.draws.value)]
        self.rival = max(drawn, key=self._table.accuracy)
        if self._table.accuracy(self.rival) < self._table.accuracy(self.tokens):
            self.won += 1
        else:
            self.lost += 1
        self._show()

    def _changed(self, change: object) -> None:
        self.rival = None  # another cell, or another bet
        super()._changed(change)

    def _follow(self) -> tuple[str, Picture, Picture]:
        table, tokens, n = self._table, self.tokens, self.draws.value
        lines = {
            "your cell": f"{table.accuracy(tokens):.2f} %, number {table.rank(tokens):,} of {table.space.strings:,}",
            f"the best of {n} random cells is better" if n > 1 else "a random cell is better": (
                f"with probability {chance(table, tokens, n):.1%}"
            ),
        }
        if self.rival:
            better = table.accuracy(self.rival) < table.accuracy(tokens)
            lines["this bet"] = f"dice {table.accuracy(self.rival):.2f} %: {'you win' if better else 'the dice win'}"
        if self.won + self.lost:
            lines["score"] = f"you {self.won}, dice {self.lost}"
        return facts(lines), architecture(self._space, tokens), place_picture(table, tokens, self.rival)


def cell_duel(table: Table, tokens: Iterable[int], *, seed: int = 0) -> CellDuel:
    """Buttons choose the op of each edge. The cell's true accuracy, its rank and its place among all cells follow.

    "Bet" draws random cells with a generator of `seed`. The text gives the exact probability that the best of them is
    better. Raises `ValueError` for a table whose space has no single cell, and for tokens that are not a string of it.
    """
    return CellDuel(table, tokens, seed)


def _buttons(decision: Decision, token: int, place: str) -> ToggleButtons:
    return ToggleButtons(
        options=[(_SHORT.get(str(option), str(option)), k) for k, option in enumerate(decision.options)],
        value=token,
        tooltips=[f"{place}: {option}" for option in decision.options],
        style=_STYLE,
    )


def _named(name: str, buttons: ToggleButtons) -> HBox:
    return HBox([Label(name, layout=Layout(width="44px")), buttons])
