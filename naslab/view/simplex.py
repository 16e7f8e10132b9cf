"""The mixtures of three ops as a triangle: corners are ops, points inside are mixtures, rounding leads to a corner."""

from collections.abc import Sequence

from naslab import checks
from naslab.view.canvas import DASHED, joined, polyline, sheet, text
from naslab.view.picture import BLUE, FAINT, INK, TINTS, VERMILLION, Picture

WIDTH, HEIGHT = 520, 350
_CORNERS = ((90.0, 304.0), (430.0, 304.0), (260.0, 96.0))  # left, right, top


def simplex_picture(weights: Sequence[float], ops: Sequence[str]) -> Picture:
    """Draws the mixture `weights` of three `ops` and the corner that rounding leads to.

    The dashed lines divide the triangle into the parts that round to the same corner. Raises `ValueError` unless there
    are three names and three weights that are not negative and add up to 1, one of them larger than the others.
    """
    p = [float(checks.plain(weight)) for weight in weights]
    if len(p) != 3 or len(ops) != 3 or not min(p) >= 0 or not abs(sum(p) - 1) < 1e-6 or p.count(max(p)) > 1:
        expected = "a mixture of three ops with one largest"
        raise ValueError(f"weights: got {checks.shown(p)} for {checks.shown([*ops])}, expected {expected}")
    kept = p.index(max(p))
    at = _place(p)
    pieces = [text(14, 18, "All mixtures of three ops"), _polygon()]
    pieces += [polyline([_place(_half(k)), _place([1 / 3] * 3)], FAINT, 1.2, DASHED) for k in range(3)]
    for (x, y), op, below in zip(_CORNERS, ops, (22, 22, -16), strict=True):
        pieces.append(f'<circle cx="{x:g}" cy="{y:g}" r="6" fill="{INK}"/>')
        pieces.append(text(x, y + below, op, anchor="middle"))
    pieces += _rounding(at, _CORNERS[kept])
    pieces.append(f'<circle cx="{at[0]:g}" cy="{at[1]:g}" r="6" fill="{BLUE}"/>')
    mixed = ", ".join(f"{weight:.0%} {op}" for weight, op in zip(p, ops, strict=True))
    pieces.append(text(14, 38, f"mixture: {mixed}", size=12))
    pieces.append(text(14, 56, f"rounded: {ops[kept]}", size=12))
    alt = (
        f"A triangle with the corners {', '.join(ops)}. A point inside is the mixture of {mixed}. An arrow leads from "
        f"it to the corner {ops[kept]}, to which it rounds."
    )
    return sheet(WIDTH, HEIGHT, pieces, "All mixtures of three ops", alt)


def _place(p: Sequence[float]) -> tuple[float, float]:
    """The point with these weights: the weighted mean of the corners."""
    x, y = (sum(weight * corner[axis] for weight, corner in zip(p, _CORNERS, strict=True)) for axis in (0, 1))
    return x, y


def _half(k: int) -> list[float]:
    """The middle of the side that is opposite of corner k."""
    return [0.0 if j == k else 0.5 for j in range(3)]


def _polygon() -> str:
    return f'<polygon points="{joined(_CORNERS)}" fill="{TINTS[1]}" stroke="{INK}" stroke-width="1.5"/>'


def _rounding(at: tuple[float, float], corner: tuple[float, float]) -> list[str]:
    """A line from the mixture to its corner, with a head in the middle of the way."""
    line = polyline([at, corner], VERMILLION, 2)
    (ax, ay), (bx, by) = at, corner
    length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5 or 1
    ux, uy = (bx - ax) / length, (by - ay) / length
    mx, my = (ax + bx) / 2, (ay + by) / 2
    head = [(mx + 8 * ux, my + 8 * uy), (mx - 4 * ux - 5 * uy, my - 4 * uy + 5 * ux)]
    head.append((mx - 4 * ux + 5 * uy, my - 4 * uy - 5 * ux))
    return [line, f'<polygon points="{joined(head)}" fill="{VERMILLION}"/>']
