"""One race: several searches on a table's truth, played look-up by look-up, with a dice that rolls another seed."""

from collections.abc import Mapping

import numpy as np
import torch
from ipywidgets import HTML, BoundedIntText, Checkbox, HBox, IntSlider, Layout, Play, jslink

from naslab import checks
from naslab.tables import Table
from naslab.view.picture import Picture
from naslab.view.race import Method, Race, card, curves, race_picture, record, standings
from naslab.view.scoreboard import CARD, WIDTH
from naslab.view.widgets.base import Pictured, button, facts, row

_SEEDS = 10_000  # the dice rolls one of them


class SearchRace(Pictured):
    """`shown` has a checkbox for each method by name, `slider` the look-up, which `play` moves; `dice` rolls `seed`.

    A race is recorded once for each seed.
    """

    def __init__(self, race: Race, methods: Mapping[str, Method] | None) -> None:
        self._methods, self._races = methods, {race.seed: race}
        self._table, self._lookups = race.table, race.lookups
        self._generator = torch.Generator().manual_seed(race.seed)
        self.shown = {
            name: Checkbox(
                True,
                description=name,
                tooltip=f"show {name}",
                indent=False,
                layout=Layout(width="auto", margin="2px 16px 2px 2px"),
            )
            for name in race.runs
        }
        self.dice = button("Roll the dice", "Race again with a random seed", self.roll, icon="dice")
        self.seed = BoundedIntText(
            race.seed,
            min=0,
            max=max(2**31 - 1, race.seed),
            description="seed",
            tooltip="the seed of this race",
            style={"description_width": "initial"},
            layout=Layout(width="150px"),
        )
        self.slider = IntSlider(
            race.lookups,
            min=1,
            max=race.lookups,
            description="look-up",
            tooltip="how many children each method has looked up",
            style={"description_width": "initial"},
            layout=Layout(width="min(100%, 480px)"),
        )
        self.play = Play(
            race.lookups, min=1, max=race.lookups, interval=max(40, 15_000 // race.lookups), show_repeat=False
        )
        self._link = jslink((self.play, "value"), (self.slider, "value"))
        controls = {"at": self.slider, "seed": self.seed} | {f"show {name}": box for name, box in self.shown.items()}
        drawings = [HTML(layout=Layout(width=f"min(100%, {WIDTH}px)")), *(HTML() for _ in race.runs)]
        cards = HBox(drawings[1:], layout=Layout(flex_flow="row wrap", flex=f"1 1 {2 * CARD + 16}px"))
        top = [row(*self.shown.values(), self.dice, self.seed), row(self.play, self.slider)]
        super().__init__(controls, top, drawings, [row(drawings[0], cards)])

    def __repr__(self) -> str:
        return f"search race: {', '.join(self.shown)}; {self._lookups} look-ups of {self._table.name}"

    @property
    def race(self) -> Race:
        """The race of the present seed."""
        seed = self.seed.value
        if seed not in self._races:
            self._races[seed] = record(self._table, self._methods, self._lookups, seed)
        return self._races[seed]

    @property
    def at(self) -> int:
        """How many look-ups are shown, from 1. Setting it moves the slider; raises `ValueError` outside its range."""
        return self.slider.value

    @at.setter
    def at(self, at: int) -> None:
        checks.whole(1, self._lookups + 1, at=at)
        self.slider.value = at

    @property
    def picture(self) -> Picture:
        """The curves beside the cards."""
        return race_picture(self.race, self.at, self._chosen)

    def roll(self) -> None:
        """Races with a random seed that was not raced before."""
        rolled = self.seed.value
        while rolled in self._races:
            rolled = int(torch.randint(_SEEDS, (), generator=self._generator))
        self.seed.value = rolled

    @property
    def _chosen(self) -> list[str]:
        return [name for name, box in self.shown.items() if box.value]

    def _follow(self) -> tuple[str, *tuple[Picture | None, ...]]:
        race, at, chosen = self.race, self.at, self._chosen
        cards = [card(race, name, at) if name in chosen else None for name in race.runs]
        drawn: tuple[Picture | None, ...] = (curves(race, at, chosen), *cards)
        return facts(self._said(race, at, chosen)), *drawn

    def _said(self, race: Race, at: int, chosen: list[str]) -> dict[str, str]:
        if not chosen:
            return {"no method is chosen": "choose at least one above"}
        lines = {
            "look-up": f"{at} of {self._lookups}, seed {race.seed}",
            "regret in points, best first": _listed(standings(race, at, chosen)),
        }
        if at == self._lookups and len(self._races) > 1:  # earlier it would give the end away
            ends = [standings(other, at, chosen) for other in self._races.values()]
            means = {name: float(np.mean([end[name] for end in ends])) for name in chosen}
            means = dict(sorted(means.items(), key=lambda item: item[1]))
            lines[f"mean over the {len(ends)} races so far"] = _listed(means)
        return lines


def search_race(
    table: Table, *, methods: Mapping[str, Method] | None = None, lookups: int = 200, seed: int = 0
) -> SearchRace:
    """Searches race on the table's truth; each has the same number of look-ups, which stand for trained children.

    The curves show the regret of the child that each method believes best, in percentage points; the cards show that
    child. `race.record` explains the arguments and the errors.
    """
    return SearchRace(record(table, methods, lookups, seed), methods)


def _listed(regret: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in regret.items())
