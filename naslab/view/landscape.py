"""The toy problem of DARTS' figure 2 as a landscape, and the path of algorithm 1 for any xi, start and step sizes.

L_valid = alpha w - 2 alpha + 1 and L_train = w^2 - 2 alpha w + alpha^2, where alpha and w are one number each (Liu et
al. 2019, section 2.3).
"""

from collections.abc import Sequence
from functools import cache
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from naslab import checks
from naslab.search import darts
from naslab.spaces import Weights
from naslab.view.canvas import DASHED, beside, box, joined, polyline, sheet, text
from naslab.view.chart import Line, chart
from naslab.view.picture import BLUE, FAINT, GREEN, INK, PAPER, VERMILLION, Picture

OPTIMUM = (1.0, 1.0)  # alpha, w

_EDGE = 3.5  # the picture shows -3.5 to 3.5
_FAR = 50.0  # a trajectory that leaves -50 to 50 ends there
_UNIT, _LEFT, _TOP = 50, 52, 62  # pixels
_SIDE = int(2 * _EDGE * _UNIT)
_LEVELS = range(-13, 16, 2)
_LABELLED = _LEVELS[::2]  # the labels of all would touch


def toy(w: Sequence[Tensor], alpha: Weights, split: str) -> Tensor:
    """The loss of a split, "train" or "valid", of w and alpha in the form that `search.darts` takes."""
    (x,), a = w, alpha["alpha"]
    return a * x - 2 * a + 1 if split == "valid" else x**2 - 2 * a * x + a**2


def round_of(alpha: float, w: float, xi: float, alpha_lr: float, w_lr: float) -> tuple[float, float]:
    """One round of algorithm 1: a step of alpha against `darts.exact_alpha_gradient`, then a step of w."""
    a, x = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (alpha, w))
    g = darts.exact_alpha_gradient(toy, [x], {"alpha": a}, "train", "valid", xi)["alpha"]
    a = a.detach() - alpha_lr * g
    (g,) = darts.gradient(toy([x], {"alpha": a}, "train"), [x])
    return a.item(), x.item() - w_lr * g.item()


def affine(xi: float, alpha_lr: float, w_lr: float) -> tuple[np.ndarray, np.ndarray]:
    """M (2, 2) and m (2,), from three rounds. A round is M (alpha, w) + m, because both losses are quadratic."""
    m, *columns = (np.array(round_of(*at, xi, alpha_lr, w_lr)) for at in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    return np.stack([c - m for c in columns], axis=1), m


def trajectory(start: Sequence[float], xi: float, alpha_lr: float, w_lr: float, rounds: int) -> np.ndarray:
    """(alpha, w) before each round and after the last one, (rounds + 1, 2). It ends early once it leaves -50 to 50."""
    M, m = affine(xi, alpha_lr, w_lr)
    points = [np.array(start, dtype=float)]
    while len(points) <= rounds and np.abs(points[-1]).max() <= _FAR:
        points.append(M @ points[-1] + m)
    return np.stack(points)


def landscape_picture(
    *,
    xi: float = 0.5,
    start: tuple[float, float] = (2.0, -2.0),
    alpha_lr: float = 0.1,
    w_lr: float = 0.1,
    rounds: int = 100,
    at: int | None = None,
) -> Picture:
    """Draws what `toy_landscape` shows after `at` of the rounds, by default after all.

    Raises `ValueError` for settings outside their range.
    """
    at = rounds if at is None else at
    checks.whole(0, rounds + 1, at=at)
    return together(*follow(settings(xi, start, alpha_lr, w_lr, rounds), rounds, at), xi)


def settings(xi: float, start: Sequence[float], alpha_lr: float, w_lr: float, rounds: int) -> dict[str, float]:
    """The settings by name. Raises `ValueError` for those outside their range."""
    checks.number(0, xi=xi)
    checks.positive(alpha_lr=alpha_lr, w_lr=w_lr)
    checks.whole(1, rounds=rounds)
    if len(start) != 2 or not all(isinstance(v, Real) and -_EDGE <= v <= _EDGE for v in start):
        raise ValueError(f"start: got {start!r}, expected (alpha, w), each from {-_EDGE:g} to {_EDGE:g}")
    return {"xi": xi, "alpha": start[0], "w": start[1], "alpha_lr": alpha_lr, "w_lr": w_lr}


def follow(chosen: dict[str, float], rounds: int, at: int) -> tuple[np.ndarray, int, dict[str, str]]:
    """Returns the whole trajectory, the round that is shown, and what there is to say of it, by name.

    The round is `at`, or the last one of a trajectory that ends earlier.
    """
    xi, alpha_lr, w_lr = (chosen[name] for name in ("xi", "alpha_lr", "w_lr"))
    points = trajectory((chosen["alpha"], chosen["w"]), xi, alpha_lr, w_lr, rounds)
    at = min(at, len(points) - 1)
    radius = np.abs(np.linalg.eigvals(affine(xi, alpha_lr, w_lr)[0])).max()
    (alpha, w), rest = points[at], 2 / (1 + 2 * xi)
    loss = round(alpha * w - 2 * alpha + 1, 6) + 0.0  # not -0
    verdict = "neither nears nor flees" if abs(radius - 1) < 1e-9 else "converges" if radius < 1 else "diverges"
    if len(points) <= rounds:
        verdict += f"; followed until round {len(points) - 1} only"
    last = "nothing: this is the last round that is shown"
    if at + 1 < len(points):
        after = points[at + 1]
        last = f"first α from {alpha:.4g} to {after[0]:.4g}, then w from {w:.4g} to {after[1]:.4g}"
    return (
        points,
        at,
        {
            f"after {at} rounds": f"α = {alpha:.4g}, w = {w:.4g}, validation loss {loss:.4g}",
            "the next round moves": last,
            "at rest where": f"α = w = 2 / (1 + 2ξ) = {rest:.4g}: validation loss {(rest - 1) ** 2:.4g}; optimum 1: 0",
            "distance from there": f"in the long run multiplied by {radius:.3f} in each round: it {verdict}",
        },
    )


def draw(points: np.ndarray, at: int, words: dict[str, str], xi: float) -> tuple[Picture, Picture]:
    """Returns the landscape with a trajectory up to round `at`, and α and w over the rounds.

    The arguments but ξ are those that `follow` returns.
    """
    alt = "; ".join(f"{name}: {value}" for name, value in words.items())
    start = f"From α = {points[0, 0]:g}, w = {points[0, 1]:g}, ξ = {xi:g}; {alt}."
    lines = chart(
        {"α": Line(0, points[:, 0]), "w": Line(1, points[:, 1])},
        xlabel="rounds",
        title="α and w, round by round",
        alt="Beside it α and w over the rounds.",
        reference=("optimum", OPTIMUM[0]),
        cursor=at if at + 1 < len(points) else None,
    )
    return _map(points, at, _title(xi), start), lines


def together(points: np.ndarray, at: int, words: dict[str, str], xi: float) -> Picture:
    """Returns the two drawings of `draw` side by side."""
    return beside(_title(xi), *draw(points, at, words, xi))


def _title(xi: float) -> str:
    return f"Algorithm 1 on figure 2's problem, ξ = {xi:g}"


def _map(points: np.ndarray, at: int, title: str, alt: str) -> Picture:
    """Contours of L_valid, the feasible line w = w*(α) = α, the trajectory with its marks, and the next round."""
    width, height = _LEFT + _SIDE + 16, _TOP + _SIDE + 46
    places = _pixels(points)
    walked, ends_here = places[: at + 1], at + 1 == len(places)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="2" fill="{BLUE}"/>' for x, y in walked)
    optimum = _pixels(np.array([OPTIMUM]))[0]
    marks = _mark("start", *places[0]) + _mark("end", *places[at]) + _mark("optimum", *optimum)
    path = polyline(walked, BLUE, 1.5)
    if not ends_here:  # a step of alpha, then a step of w
        path += polyline([places[at], (places[at + 1][0], places[at][1]), places[at + 1]], GREEN, 2.5, DASHED)
    frame = f'<svg x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" viewBox="0 0 {_SIDE} {_SIDE}">'
    legend, x = [], float(_LEFT)
    shown = {"start": "start", "end": "end" if ends_here else "now", "optimum": "optimum", "feasible": "w = w*(α)"}
    for name, label in (shown if ends_here else shown | {"next": "next"}).items():
        legend += [_mark(name, x + 8, 40), text(x + 20, 40, label, size=12)]
        x += 38 + 6 * len(label)
    pieces = [text(14, 18, title), *legend, _axes(), f"{frame}{_contours()}{path}{dots}{marks}</svg>"]
    return sheet(width, height, pieces, title, alt)


def _pixels(points: np.ndarray) -> list[tuple[float, float]]:
    """x and y in the frame of points (alpha, w), (n, 2). Points beyond -50 to 50 are moved to that edge."""
    inside = np.clip(points, -_FAR, _FAR)
    xy = np.stack([inside[:, 0] + _EDGE, _EDGE - inside[:, 1]], axis=1) * _UNIT
    return [*map(tuple, xy.round(1).tolist())]


def _mark(kind: str, x: float, y: float) -> str:
    """Each kind has its own shape: square, triangle, ring, long or short dashes."""
    if kind == "next":
        return polyline([(x - 10, y), (x + 10, y)], GREEN, 2.5, DASHED)
    if kind == "feasible":
        return f'<path d="M{x - 10:g} {y:g}h20" stroke="{VERMILLION}" stroke-width="2" stroke-dasharray="7,3"/>'
    if kind == "optimum":
        return f'<circle cx="{x:g}" cy="{y:g}" r="7.5" fill="none" stroke="{VERMILLION}" stroke-width="2.5"/>'
    shape = {"start": ((-5, -5), (5, -5), (5, 5), (-5, 5)), "end": ((-5.5, 4.5), (5.5, 4.5), (0, -6))}[kind]
    corners = joined([(x + dx, y + dy) for dx, dy in shape])
    fill = INK if kind == "start" else GREEN
    return f'<polygon points="{corners}" fill="{fill}" stroke="{PAPER}" stroke-width="1"/>'


@cache
def _axes() -> str:
    pieces = [box(_LEFT, _TOP, _SIDE, _SIDE, fill=PAPER, line=FAINT, weight=1)]
    for tick in range(-int(_EDGE), int(_EDGE) + 1):
        along = (tick + _EDGE) * _UNIT
        pieces.append(text(_LEFT + along, _TOP + _SIDE + 12, f"{tick}", anchor="middle", size=12))
        pieces.append(text(_LEFT - 6, _TOP + _SIDE - along, f"{tick}", anchor="end", size=12))
    pieces.append(
        text(_LEFT + _SIDE / 2, _TOP + _SIDE + 32, "α    (thin lines: validation loss)", anchor="middle", size=12)
    )
    pieces.append(text(14, _TOP + _SIDE / 2, "w", size=12))
    return "".join(pieces)


@cache
def _contours() -> str:
    """alpha (w - 2) + 1 = c: a hyperbola for each level c. The level 1 is the lines alpha = 0 and w = 2."""
    pieces, labels = [], []
    for c in _LEVELS:
        for side in (-1, 1):
            w = 2 + side * np.geomspace(0.02, 5.6, 60)
            branch = np.stack([(c - 1) / (w - 2), w], axis=1)
            pieces.append(_pixels(branch[np.abs(branch[:, 0]) <= _EDGE + 0.5]))
        if c not in _LABELLED:
            continue
        ((x, y),) = _pixels(np.array([[(c - 1) / -5.1, -3.1]]))
        words = text(x, y, f"{c}", anchor="middle", size=11, color=FAINT)
        labels.append(f'<g stroke="{PAPER}" stroke-width="4" paint-order="stroke">{words}</g>')
    pieces.append(_pixels(np.array([[-4.0, 2.0], [4.0, 2.0]])))
    lines = "".join(f'<polyline points="{joined(p)}"/>' for p in pieces if len(p) > 1)
    feasible = polyline(_pixels(np.array([[-_EDGE, -_EDGE], [_EDGE, _EDGE]])), VERMILLION, 2, "7,3")
    return f'<g fill="none" stroke="#B5B5B0" stroke-width="1">{lines}</g>{feasible}{"".join(labels)}'
