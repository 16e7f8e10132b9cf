"""The numbers of a run: which space, which method, how many children, how many epochs."""

from dataclasses import dataclass, field

from naslab import checks
from naslab.spaces import CellSpace
from naslab.training import Recipe, TextRecipe

METHODS = ("random", "reinforce", "enas", "darts")


@dataclass(frozen=True)
class Plan:
    """What is searched and trained. `planned` makes one for a budget; `dataclasses.replace` changes its numbers.

    random and reinforce train `children` networks for `epochs` each. enas and darts train shared weights for `epochs`;
    then up to `finalists` cells of the search are trained alone, each for a fifth of `final_epochs`; the best stays.
    At the end the cell that was found, one made by hand and a random one are trained for `final_epochs`.

    Raises `ValueError` if a value is out of range, or if the space does not fit the recipe: images need a space like
    `spaces.nas_bench_201()`, text needs a space of one recurrent cell.
    """

    method: str
    space: CellSpace
    width: int  # channels of the first cell; of a text network, its units
    depth: int  # cells in each of the three stages; of a text network, its layers
    recipe: Recipe | TextRecipe  # of every training; its own epochs do not count
    children: int
    epochs: float
    final_epochs: float
    minutes: float  # the budget
    finalists: int = 4
    seed: int = 0
    forecast: dict[str, float] = field(default_factory=dict, compare=False)  # minutes of "search" and of "trainings"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: got {checks.shown(self.method)}, expected one of {', '.join(METHODS)}")
        checks.is_a(CellSpace, space=self.space)
        kind, cells = ("images", ("cell",)) if isinstance(self.recipe, Recipe) else ("text", ("recurrent",))
        if not isinstance(self.recipe, Recipe | TextRecipe):
            raise ValueError(f"recipe: got {checks.shown(self.recipe)}, expected a Recipe or a TextRecipe")
        if self.space.cells != cells:
            raise ValueError(f"space: got cells {self.space.cells} for {kind}, expected {cells}")
        if self.space.strings < 2:
            raise ValueError("space: got 1 cell, expected at least 2")
        checks.whole(2, width=self.width)
        checks.whole(1, depth=self.depth, children=self.children, finalists=self.finalists)
        checks.whole(0, seed=self.seed)
        checks.positive(epochs=self.epochs, final_epochs=self.final_epochs, minutes=self.minutes)
        checks.plain_fields(self)

    @property
    def shares_weights(self) -> bool:
        return self.method in ("enas", "darts")

    def __str__(self) -> str:
        kinds = ("channels", "cells a stage") if isinstance(self.recipe, Recipe) else ("units", "layers")
        search = f"{self.children} children for {_epochs(self.epochs)} each"
        if self.shares_weights:
            search = f"shared weights for {_epochs(self.epochs)}, then {self.finalists} cells alone"
        times = {name: f" ({minutes:.1f} minutes)" for name, minutes in self.forecast.items()}
        lines = (
            f"method     {self.method}: {search}{times.get('search', '')}",
            f"space      {self.space.strings:,} cells; {kinds[0]} {self.width}, {kinds[1]} {self.depth}",
            f"trainings  found, by hand, random: {_epochs(self.final_epochs)} each{times.get('trainings', '')}",
            f"budget     {self.minutes:g} minutes; seed {self.seed}",
        )
        return "\n".join(lines)


def _epochs(number: float) -> str:
    return f"{number:g} epoch{'s' * (number != 1)}"
