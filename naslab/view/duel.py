"""The place of a cell among all cells of a table, and of the best of some random ones beside it."""

from collections.abc import Iterable

import numpy as np
from matplotlib.ticker import MaxNLocator

from naslab import checks
from naslab.spaces import Tokens
from naslab.tables import Table
from naslab.view.canvas import box, polyline, sheet, text
from naslab.view.picture import BLUE, FAINT, INK, PAPER, VERMILLION, Picture

WIDTH, HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM, _BINS, _SAYS = 20, 20, 82, 52, 34, 112


def chance(table: Table, tokens: Iterable[int], draws: int) -> float:
    """Returns the probability that the best of `draws` uniform draws, with replacement, is better than the cell.

    Raises `ValueError` for tokens that are not a string of the space and for less than one draw.
    """
    checks.whole(1, draws=draws)
    better = (table.rank(tokens) - 1) / table.space.strings
    return float(-np.expm1(draws * np.log1p(-better)))


def place_picture(table: Table, tokens: Tokens, rival: Tokens | None = None) -> Picture:
    """Draws how many cells of the table are how accurate, the cell ("you"), and the best random one ("dice").

    The bars divide the range from the 10th percentile to the best. The first bar also has all cells below it. Raises
    `ValueError` for tokens that are not a string of the space.
    """
    accuracies = table.accuracies
    low, high = np.floor(np.percentile(accuracies, 10)), np.ceil(accuracies.max())
    edges = np.linspace(low, high, _BINS + 1)
    counts = np.histogram(np.maximum(accuracies, low), edges)[0]
    foot, width = HEIGHT - _BOTTOM, (WIDTH - _LEFT - _RIGHT) / _BINS

    def across(accuracy: float) -> float:
        return _LEFT + (max(accuracy, low) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    pieces = [text(14, 18, f"All {table.space.strings:,} cells")]
    for k, count in enumerate(counts.tolist()):
        tall = (foot - _TOP) * count / counts.max()
        pieces.append(box(_LEFT + k * width, foot - tall, width - 1, tall, fill="#B9D6EA", line="none", weight=0))
    pieces.append(polyline([(_LEFT, foot), (WIDTH - _RIGHT, foot)], FAINT, 1))
    for tick in MaxNLocator(6, integer=True).tick_values(low, high):
        if low < tick <= high:
            pieces.append(text(across(tick), foot + 14, f"{tick:g}", anchor="middle", size=12))
    pieces.append(text(_LEFT, foot + 14, f"{low:g} or less", size=12))
    pieces.append(text(WIDTH / 2, HEIGHT - 14, "true accuracy (%)", anchor="middle", size=12))
    pieces.append(polyline([(across(accuracies.max()), foot - 6), (across(accuracies.max()), foot)], INK, 2))
    marks = [("you", BLUE, "", tokens, 40)] + ([("dice", VERMILLION, "5,3", rival, 62)] if rival else [])
    said, names = [], []
    for name, color, dash, cell, height in marks:
        x, words = across(table.accuracy(cell)), f"{name} {table.accuracy(cell):.2f} %"
        pieces.append(polyline([(x, height), (x, foot)], color, 2, dash))
        left = min(max(x - _SAYS / 2, 0), WIDTH - _SAYS)
        names.append(box(left, height - 10, _SAYS, 20, fill=PAPER, line="none", weight=0))
        names.append(text(left + _SAYS / 2, height, words, anchor="middle"))
        said.append(f"{name} {table.accuracy(cell):.2f} percent, rank {table.rank(cell):,}")
    pieces += names  # above the lines
    alt = (
        f"Histogram of the true accuracies of all {table.space.strings:,} cells, from {low:g} or less to {high:g} "
        f"percent; {'; '.join(said)}."
    )
    return sheet(WIDTH, HEIGHT, pieces, "You and the dice among all cells", alt)
