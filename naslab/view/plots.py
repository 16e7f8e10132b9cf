"""Plots: each takes numbers and words and gives a `Picture`.

Every function takes `title`, `alt` (what the plot shows and what to take from it, for a reader who cannot see it) and,
where there are axes, `xlabel` and `ylabel` (with the unit). Arrays may be lists, numpy arrays or tensors on any device.
"""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from naslab.view.figures import COLORS, HATCHES, LINES, MARKERS, STYLE, array, contrast, finish, logarithmic, plotting
from naslab.view.picture import BLUE, INK, PAPER, Picture, safe


def curves(
    x: Any,
    series: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    alt: str,
    reference: tuple[str, float] | None = None,
    log: str = "",
) -> Picture:
    """Lines over `x` (n,). A series is a line (n,), or runs (k, n), drawn thin, or `(mean, low, high)` with its band.

    `reference` is a horizontal line with its name: the best possible, or chance. `log` is "x", "y" or "xy", the axes
    that are logarithmic. With more than four series the legend stands beside the axes, and bands are fainter, with thin
    edges, so that those that overlap can be told apart. Raises `ValueError` for other shapes, and for numbers that are
    not positive on a logarithmic axis.
    """
    x = array(x)
    many = len(series) > 4
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f'log: got {log!r}, expected "x", "y" or "xy", the logarithmic axes')
    with plotting(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        for name, values in series.items():
            band = [array(v) for v in values] if isinstance(values, tuple) else [array(values)]
            runs = len(band) == 1 and band[0].ndim == 2
            if len(band) not in (1, 3) or any(v.shape[runs:] != x.shape for v in band):
                shapes = [v.shape for v in band]
                expected = f"one array of {x.shape} or (k, {x.size}), or (mean, low, high) of {x.shape}"
                raise ValueError(f"{name}: got shapes {shapes}, expected {expected}")
            if any((v <= 0).any() for axis, vs in (("x", [x]), ("y", band)) if axis in log for v in vs):
                raise ValueError(f"{name}: got numbers of 0 or less, expected positive ones on a logarithmic axis")
            look = {"linewidth": 0.9, "alpha": 0.7, "marker": ""} if runs else {"markevery": max(1, len(x) // 10)}
            first, *others = band[0] if runs else band[:1]
            (line,) = axes.plot(x, first, label=name, **look)
            for other in others:  # in the same colour
                axes.plot(x, other, **look, color=line.get_color(), linestyle=line.get_linestyle())
            if len(band) == 3 and many:
                axes.fill_between(x, band[1], band[2], color=line.get_color(), alpha=0.08, linewidth=0)
                for edge in band[1:]:
                    axes.plot(x, edge, color=line.get_color(), linestyle="-", marker="", linewidth=0.6, alpha=0.7)
            elif len(band) == 3:
                axes.fill_between(x, band[1], band[2], color=line.get_color(), alpha=0.2, linewidth=0)
        if reference:
            axes.axhline(reference[1], color=INK, linestyle=(0, (1, 2)), marker="", linewidth=1.2, label=reference[0])
        logarithmic(axes, log)
        if many:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        elif len(series) > 1 or reference:
            axes.legend()
        return finish(figure, axes, title, alt)


def points(
    series: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    alt: str,
    ylim: tuple[float, float] | None = None,
) -> Picture:
    """Scattered points, `name -> (x, y)`; a series of a single point carries its name beside it.

    `ylim` is the lower and the upper end of the y axis, for pictures that are to be compared.
    """
    with plotting(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        if ylim:
            axes.set_ylim(ylim)
        groups = 0
        for k, (name, (x, y)) in enumerate(series.items()):
            x, y = np.atleast_1d(array(x)), np.atleast_1d(array(y))
            if x.shape != y.shape or x.ndim != 1:
                raise ValueError(f"{name}: got x of {x.shape} and y of {y.shape}, expected equal lengths")
            alone = len(x) == 1
            groups += not alone
            many = len(x) > 500  # drawn as pixels: a mark for each would make a large file
            axes.scatter(
                x,
                y,
                s=70 if alone else 8 if many else 28,
                marker=MARKERS[k % 6],
                color=COLORS[k % 6],
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
        return finish(figure, axes, title, alt)


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
    values = array(values)
    errors = None if errors is None else array(errors)
    if values.shape != (len(names),):
        raise ValueError(f"values: got shape {values.shape}, expected {(len(names),)}, one per name")
    with plotting(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        for k, value in enumerate(values):
            axes.bar(k, value, 0.7, color=COLORS[k % 6], hatch=HATCHES[k % 6])
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
        return finish(figure, axes, title, alt)


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
    with plotting(xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        axes.hist(array(values), array(bins).tolist(), color=BLUE, edgecolor=PAPER)
        for k, (name, at) in enumerate(sorted((marks or {}).items(), key=lambda mark: mark[1])):
            left = k + 1 < len(marks or {})  # the last one's name stands on its right
            axes.axvline(at, color=INK, linestyle=LINES[(k + 1) % 6])
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
        return finish(figure, axes, title, alt)


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
    table = array(table)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"table: got shape {table.shape}, expected {(len(rows), len(columns))}")
    size = (min(9.0, 2.2 + 0.85 * len(columns)), min(9.0, 1.6 + 0.36 * len(rows)))
    with plotting(size=size, xlabel=xlabel, ylabel=ylabel) as (figure, axes):
        axes.grid(visible=False)
        mesh = axes.pcolormesh(table, cmap="cividis", edgecolors=PAPER, linewidth=1)  # one path a cell, no raster
        names = [safe(column) for column in columns]
        axes.set_xticks(np.arange(len(columns)) + 0.5, names, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(rows)) + 0.5, [safe(row) for row in rows])
        axes.tick_params(length=0)
        axes.invert_yaxis()
        if table.size <= 200:
            numbers = [form.format(value) if value else "0" for value in table.flat]  # what is not 0 stands out
            room = 100 * size[0] / len(columns) / max(map(len, numbers))
            for ((i, j), value), number in zip(np.ndenumerate(table), numbers, strict=True):
                fill = mesh.to_rgba(value)[:3]
                color = max(("white", "black"), key=lambda c: contrast(c, fill))  # at least 4.58, whatever the fill
                axes.text(j + 0.5, i + 0.5, number, ha="center", va="center", color=color, fontsize=min(11, room))
        else:
            figure.colorbar(mesh, ax=axes)
        return finish(figure, axes, title, alt)


def images(x: Any, labels: Sequence[str], *, columns: int = 8, title: str, alt: str) -> Picture:
    """A grid of images x (N, H, W) or (N, C, H, W), C = 1 or 3, each with its label; scaled from least to greatest."""
    x = array(x)  # (N, C, H, W)
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) != len(labels) or len(x) == 0:
        raise ValueError(f"x: got shape {x.shape}, {len(labels)} labels; expected (N, 1 or 3, H, W), N labels")
    x = (x - x.min()) / max(float(x.max() - x.min()), 1e-12)
    columns = min(columns, len(x))
    lines = -(-len(x) // columns)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(1.15 * columns, 1.3 * lines + 0.4), dpi=72, layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes in grid:
            axes.set_axis_off()
        for axes, image, label in zip(grid, x, labels, strict=False):
            pixels = np.uint8(255 * np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))  # (H, W, 3)
            axes.imshow(pixels, interpolation="none")
            axes.set_title(str(label), fontsize=10)
        return finish(figure, None, title, alt)
