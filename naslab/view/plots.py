"""Plots: each takes numbers and words and gives a `Picture`.

Every function takes `title`, `alt` (what the plot shows and what to take from it, for a reader who cannot see it) and,
where there are axes, `xlabel` and `ylabel` (with the unit). Arrays may be lists, numpy arrays or tensors on any device.
The text stays text in the SVG: small files, and words that can be searched and zoomed. Its font is DejaVu Sans, which
matplotlib brings along for measuring, or Verdana, which is as wide.
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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

_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, ORANGE)
_MARKERS = ("o", "s", "^", "D", "v", "X")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_HATCHES = ("", "//", "\\\\", "xx", "--", "||")

_STYLE = {
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
    "axes.prop_cycle": cycler(color=_COLORS, marker=_MARKERS, linestyle=_LINES),
}


def curves(
    x: Any,
    series: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    alt: str,
    reference: tuple[str, float] | None = None,
) -> Picture:
    """Lines over `x` (n,); a series is `(mean, low, high)`, drawn with its band, or one array, each of (n,).

    `reference` is a horizontal line with its name: the best possible, or chance. With more than four series the legend
    stands beside the axes, and bands are fainter, with thin edges, so that those that overlap can be told apart.
    """
    x = _array(x)
    many = len(series) > 4
    with _axes(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        for name, values in series.items():
            band = [_array(v) for v in values] if isinstance(values, tuple) else [_array(values)]
            if len(band) not in (1, 3) or any(v.shape != x.shape for v in band):
                shapes = [v.shape for v in band]
                raise ValueError(f"{name}: got shapes {shapes}, expected one array or (mean, low, high) of {x.shape}")
            (line,) = axes.plot(x, band[0], label=name, markevery=max(1, len(x) // 10))
            if len(band) == 3 and many:
                axes.fill_between(x, band[1], band[2], color=line.get_color(), alpha=0.08, linewidth=0)
                for edge in band[1:]:
                    axes.plot(x, edge, color=line.get_color(), linestyle="-", marker="", linewidth=0.6, alpha=0.7)
            elif len(band) == 3:
                axes.fill_between(x, band[1], band[2], color=line.get_color(), alpha=0.2, linewidth=0)
        if reference:
            axes.axhline(reference[1], color=INK, linestyle=(0, (1, 2)), marker="", linewidth=1.2, label=reference[0])
        if many:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        elif len(series) > 1 or reference:
            axes.legend()
        return _finish(figure, axes, title, alt)


def points(series: Mapping[str, tuple[Any, Any]], *, xlabel: str, ylabel: str, title: str, alt: str) -> Picture:
    """Scattered points, `name -> (x, y)`; a series of a single point carries its name beside it."""
    with _axes(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        groups = 0
        for k, (name, (x, y)) in enumerate(series.items()):
            x, y = np.atleast_1d(_array(x)), np.atleast_1d(_array(y))
            if x.shape != y.shape or x.ndim != 1:
                raise ValueError(f"{name}: got x of {x.shape} and y of {y.shape}, expected equal lengths")
            alone = len(x) == 1
            groups += not alone
            many = len(x) > 500  # drawn as pixels: a mark for each would make a large file
            axes.scatter(
                x,
                y,
                s=70 if alone else 8 if many else 28,
                marker=_MARKERS[k % 6],
                color=_COLORS[k % 6],
                alpha=0.5 if many else 0.9,
                linewidth=0,
                label="_" if alone else name,
                zorder=3 if alone else 2,
                rasterized=many,
            )
            if alone:
                axes.annotate(name, (x[0], y[0]), xytext=(7, 4), textcoords="offset points", zorder=4)
        if groups > 1:
            axes.legend()
        return _finish(figure, axes, title, alt)


def bars(
    names: Sequence[str],
    values: Any,
    errors: Any = None,
    *,
    xlabel: str = "",
    ylabel: str,
    title: str,
    alt: str,
    form: str = "{:.3g}",
) -> Picture:
    """One bar per name, with its value on top; `errors` are half widths (n,), or (2, n) below and above."""
    values = _array(values)
    errors = None if errors is None else _array(errors)
    if values.shape != (len(names),):
        raise ValueError(f"values: got shape {values.shape}, expected {(len(names),)}, one per name")
    with _axes(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        for k, value in enumerate(values):
            axes.bar(k, value, 0.7, color=_COLORS[k % 6], hatch=_HATCHES[k % 6])
            above = 0.0 if errors is None else max(0.0, errors[..., k][-1] if errors.ndim == 2 else errors[k])
            axes.annotate(
                form.format(value), (k, max(value, 0.0) + above), xytext=(0, 4), textcoords="offset points", ha="center"
            )
        if errors is not None:
            axes.errorbar(range(len(names)), values, errors, fmt="none", ecolor=INK, elinewidth=1.5, capsize=5)
        fit = partial(textwrap.fill, width=max(1, 84 // max(1, len(names))), break_long_words=False)  # below a bar
        axes.set_xticks(range(len(names)), [fit(safe(name)) for name in names])
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.12)
        return _finish(figure, axes, title, alt)


def histogram(
    values: Any,
    bins: Any,
    *,
    marks: Mapping[str, float] | None = None,
    xlabel: str,
    ylabel: str,
    title: str,
    alt: str,
) -> Picture:
    """How many of the values (n,) lie between each two of the `bins`' edges; `marks` name places on the axis."""
    with _axes(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        axes.hist(_array(values), _array(bins).tolist(), color=BLUE, edgecolor=PAPER)
        for k, (name, at) in enumerate(sorted((marks or {}).items(), key=lambda mark: mark[1])):
            left = k + 1 < len(marks or {})  # the last one's name stands on its right
            axes.axvline(at, color=INK, linestyle=_LINES[(k + 1) % 6])
            axes.annotate(
                name,
                (at, 1.0 - 0.07 * k),
                xycoords=("data", "axes fraction"),
                xytext=(-5 if left else 5, -2),
                textcoords="offset points",
                ha="right" if left else "left",
                va="top",
            )
        axes.grid(visible=False, axis="x")
        return _finish(figure, axes, title, alt)


def heatmap(
    table: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str,
    alt: str,
    form: str = "{:.2f}",
) -> Picture:
    """A table (rows, columns), such as one of a space's weight tables, whose last axis is a choice.

    Every cell carries its number as long as there are at most 200.
    """
    table = _array(table)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"table: got shape {table.shape}, expected {(len(rows), len(columns))}")
    size = (min(9.0, 2.2 + 0.85 * len(columns)), min(9.0, 1.6 + 0.36 * len(rows)))
    with _axes(size=size, xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        axes.grid(visible=False)
        mesh = axes.pcolormesh(table, cmap="cividis", edgecolors=PAPER, linewidth=1)  # one path a cell, no raster
        names = [safe(column) for column in columns]
        axes.set_xticks(np.arange(len(columns)) + 0.5, names, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(rows)) + 0.5, [safe(row) for row in rows])
        axes.tick_params(length=0)
        axes.invert_yaxis()
        if table.size <= 200:
            for (i, j), value in np.ndenumerate(table):
                fill = mesh.to_rgba(value)[:3]
                color = max(("white", "black"), key=lambda c: contrast(c, fill))  # at least 4.58, whatever the fill
                axes.text(j + 0.5, i + 0.5, form.format(value), ha="center", va="center", color=color, fontsize=9)
        else:
            figure.colorbar(mesh, ax=axes)
        return _finish(figure, axes, title, alt)


def images(x: Any, labels: Sequence[str], *, columns: int = 8, title: str, alt: str) -> Picture:
    """A grid of images x (N, H, W) or (N, C, H, W), C = 1 or 3, each with its label; scaled from least to greatest."""
    x = _array(x)  # (N, C, H, W)
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) != len(labels) or len(x) == 0:
        raise ValueError(f"x: got shape {x.shape}, {len(labels)} labels; expected (N, 1 or 3, H, W), N labels")
    x = (x - x.min()) / max(float(x.max() - x.min()), 1e-12)
    columns = min(columns, len(x))
    lines = -(-len(x) // columns)
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(1.15 * columns, 1.3 * lines + 0.4), dpi=72, layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes in grid:
            axes.set_axis_off()
        for axes, image, label in zip(grid, x, labels, strict=False):
            pixels = np.uint8(255 * np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))  # (H, W, 3)
            axes.imshow(pixels, interpolation="none")
            axes.set_title(str(label), fontsize=10)
        return _finish(figure, None, title, alt)


def contrast(color: Any, other: Any) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio"); text wants at least 4.5."""

    def luminance(c: Any) -> float:
        rgb = np.array(matplotlib.colors.to_rgb(c))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(color), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=float)


@contextmanager
def _axes(*, size: tuple[float, float] = (8.0, 4.4), xlabel: str, ylabel: str) -> Iterator[tuple[Figure, Axes]]:
    """A figure with the style of the course, whatever the reader's own settings; pyplot's state is not touched."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=size, dpi=72, layout="constrained")  # 72 to the inch: a unit of the SVG is a pixel
        axes = figure.subplots()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        yield figure, axes


def _finish(figure: Figure, axes: Axes | None, title: str, alt: str) -> Picture:
    if axes is None:
        figure.suptitle(title)
    else:
        axes.set_title(title, loc="left")
    for words in figure.findobj(Text):
        words.set_text(safe(words.get_text()))
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")), dpi=144)
    return picture(buffer.getvalue(), title, alt)
