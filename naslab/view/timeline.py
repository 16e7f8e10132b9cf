"""A timeline: what each replica and worker of a fleet did, and who waited."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from naslab import checks
from naslab.fleet import Span
from naslab.view.figures import COLORS, finish, plotting
from naslab.view.picture import FAINT, INK, PAPER, TINTS, Picture

KINDS = {"pull": INK, "children": TINTS[1], "push": "#8A8A8A", "wait": None}  # what replicas do: its colour
NAMES = {"pull": "pull", "children": "its children train", "push": "push", "wait": "waits for others"}


def timeline(
    spans: Iterable[Span],
    *,
    start: float = 0.0,
    end: float | None = None,
    marks: Mapping[str, float] | None = None,
    title: str,
    alt: str,
) -> Picture:
    """Draws bars for replicas and for workers, from second `start` to `end`.

    A worker's bars have the number and the colour of the replica whose child it trains. `marks` are named moments in
    seconds. A worker's name is replaced by a count: "worker 4711" is worker 0 if it worked first. Shards are left out.
    Raises `ValueError` if nothing is left.
    """
    checks.number(0, start=start)
    kept = [s for s in spans if s.end > start and (end is None or s.start < end) and not s.who.startswith("shard")]
    if not kept:
        raise ValueError(f"spans: got none of a replica or a worker between {start:g} and {end} s")
    stop = max(s.end for s in kept) if end is None else end
    rows = _rows(kept)
    with plotting(size=(9.0, 1.5 + 0.34 * len(rows)), xlabel="seconds", ylabel="") as (figure, axes):
        axes.grid(visible=False)
        drawn = set[str]()
        for span in kept:
            left, right, y = max(span.start, start), min(span.end, stop), rows[span.who]
            if span.what in KINDS:
                _bar(axes, left, right, y, span.what, drawn)
            else:
                replica = int(span.what.split()[-1])
                axes.barh(y, right - left, 0.7, left, color=COLORS[replica % len(COLORS)], alpha=0.45, edgecolor=PAPER)
                if right - left > (stop - start) / 60:
                    axes.text((left + right) / 2, y, str(replica), ha="center", va="center")
        for name, moment in (marks or {}).items():
            axes.axvline(moment, color=INK, linestyle="--", linewidth=1.5)
            axes.annotate(name, (moment, -0.75), (4, 0), textcoords="offset points", va="center", annotation_clip=False)
        axes.set_yticks(np.arange(len(rows)), [_name(who, rows) for who in rows])
        axes.set_ylim(len(rows) - 0.4, -1.1 if marks else -0.6)
        axes.set_xlim(start, stop)
        if drawn:
            figure.legend(loc="outside lower center", ncols=len(drawn), frameon=False)
        return finish(figure, axes, title, alt)


def _bar(axes: Axes, left: float, right: float, y: int, what: str, drawn: set[str]) -> None:
    color, label = KINDS[what], NAMES[what] if what not in drawn else "_"
    waits = {"facecolor": PAPER, "edgecolor": FAINT, "linewidth": 0.5}
    style: dict[str, Any] = waits if color is None else {"color": color, "linewidth": 0}
    axes.barh(y, right - left, 0.7, left, label=label, **style)
    drawn.add(what)


def _rows(spans: list[Span]) -> dict[str, int]:
    """The row of each replica, by number, and then of each worker, by its first child."""
    replicas = sorted({s.who for s in spans if s.who.startswith("replica")}, key=lambda who: int(who.split()[1]))
    workers = list(dict.fromkeys(s.who for s in sorted(spans, key=lambda s: s.start) if s.who.startswith("worker")))
    return {who: row for row, who in enumerate([*replicas, *workers])}


def _name(who: str, rows: dict[str, int]) -> str:
    if who.startswith("replica"):
        return who
    return f"worker {[each for each in rows if each.startswith('worker')].index(who)}"
