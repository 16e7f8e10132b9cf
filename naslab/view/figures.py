"""What every plot shares: the style, a figure with axes, and the way to a `Picture`.

The text stays text in the SVG: small files, and words that can be searched and zoomed. Its font is DejaVu Sans, which
matplotlib brings along for measuring, or Verdana, which is as wide.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from naslab.view.picture import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    VERMILLION,
    Picture,
    picture,
    safe,
)

COLORS = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, ORANGE)
MARKERS = ("o", "s", "^", "D", "v", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
HATCHES = ("", "//", "\\\\", "xx", "--", "||")

STYLE = {
    "svg.hashsalt": "naslab",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "figure.constrained_layout.w_pad": 0.14,
    "figure.constrained_layout.h_pad": 0.14,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 11.0,
    "axes.titlesize": 13.0,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    **{key: INK for key in ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")},
    **{key: FAINT for key in ("axes.edgecolor", "xtick.color", "ytick.color")},
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E0",
    "legend.framealpha": 0.9,
    "legend.facecolor": PAPER,
    "hatch.color": PAPER,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "axes.prop_cycle": cycler(color=COLORS, marker=MARKERS, linestyle=LINES),
}


def contrast(color: Any, other: Any) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio"); text wants at least 4.5."""

    def luminance(c: Any) -> float:
        rgb = np.array(matplotlib.colors.to_rgb(c))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(color), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def array(values: Any) -> np.ndarray:
    """Numbers as float64, from a list, an array or a tensor on any device."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=float)


def logarithmic(axes: Axes, log: str) -> None:
    """Makes the axes that `log` names logarithmic, with a tick at each power of ten and plain numbers."""
    for name in log:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axes.set(**{f"{name}scale": "log"})
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        axis.set_minor_formatter(lambda value, _: "")


@contextmanager
def plotting(*, size: tuple[float, float] = (8.0, 4.4), xlabel: str, ylabel: str) -> Iterator[tuple[Figure, Axes]]:
    """A figure with the style of the course, whatever the reader's own settings; pyplot's state is not touched."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=size, dpi=72, layout="constrained")  # 72 to the inch: a unit of the SVG is a pixel
        axes = figure.subplots()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        yield figure, axes


def finish(figure: Figure, axes: Axes | None, title: str, alt: str) -> Picture:
    """The figure as a `Picture`, with its title above the axes, or above the whole figure."""
    if axes is None:
        figure.suptitle(title)
    else:
        axes.set_title(title, loc="left")
    for words in figure.findobj(Text):
        words.set_text(safe(words.get_text()))
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")), dpi=144)
    return picture(buffer.getvalue(), title, alt)
