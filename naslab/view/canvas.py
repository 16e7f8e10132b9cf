"""Drawings written piece by piece: SVG in pixels, y downwards. Faster than a plot, for what each key redraws."""

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

from naslab.view.picture import INK, PAPER, TINTS, Picture, picture, safe

DASHED, DOTTED = "5,2", "1,5"


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 14, color: str = INK) -> str:
    """Words whose middle line is at y; `anchor` is "start", "middle" or "end"."""
    place = f'x="{x:g}" y="{y + 0.35 * size:g}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {place} fill="{color}">{escape(safe(words))}</text>'


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    fill: str = TINTS[0],
    line: str = INK,
    weight: float = 1.5,
    dash: str = "",
    radius: float = 0,
) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"'
    return f'<rect {place} fill="{fill}" stroke="{line}" stroke-width="{weight:g}"{_dash(dash)}/>'


def hint(words: str) -> str:
    """What a browser shows while the pointer rests on the element that this is the first child of."""
    return f'<title class="hint">{escape(safe(words))}</title>'


def polyline(points: Iterable[tuple[float, float]], color: str, weight: float, dash: str = "") -> str:
    look = f'stroke="{color}" stroke-width="{weight:g}"{_dash(dash)}'
    return f'<polyline points="{joined(points)}" fill="none" {look}/>'


def joined(points: Iterable[tuple[float, float]]) -> str:
    """Points as SVG has them in a polygon."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def arrow(path: str, tip: tuple[float, float], towards: str, color: str, dash: str = "", name: str = "") -> str:
    """A path that ends in a head at `tip`, which points "left", "right" or "down". `name` is a further class."""
    x, y = tip
    (ax, ay), (bx, by) = {
        "left": ((8, -3.5), (8, 3.5)),
        "right": ((-8, -3.5), (-8, 3.5)),
        "down": ((-3.5, -8), (3.5, -8)),
    }[towards]
    head = f"{x:g},{y:g} {x + ax:g},{y + ay:g} {x + bx:g},{y + by:g}"
    line = f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"{_dash(dash)}/>'
    kind = f"edge {name}" if name else "edge"
    return f'<g class="{kind}">{line}<polygon points="{head}" fill="{color}"/></g>'


def sheet(width: float, height: float, pieces: Iterable[str], title: str, alt: str) -> Picture:
    ground = f'<path d="M0 0H{width:g}V{height:g}H0z" fill="{PAPER}"/>'
    body = "\n".join([ground, *pieces])
    size = f'width="{width:g}px" height="{height:g}px" viewBox="0 0 {width:g} {height:g}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return picture(f'{svg}<g font-family="Arial,Helvetica,sans-serif">\n{body}\n</g></svg>', title, alt)


def beside(title: str, *pictures: Picture) -> Picture:
    """Pictures side by side as one; its alternative text is theirs, one after the other."""
    return _together(title, pictures, "x")


def above(title: str, *pictures: Picture) -> Picture:
    """Pictures one below the other as one, as `beside`."""
    return _together(title, pictures, "y")


def inset(drawing: Picture, x: float, y: float, width: float, height: float) -> str:
    """The picture inside another one, as large as fits into the given place, without its alternative text."""
    tag, body = _bare(drawing)
    tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    return f'{tag} x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}">{body}'


def _bare(drawing: Picture) -> tuple[str, str]:
    """The start of the `<svg ...` tag and all that follows it, without title, description and the role."""
    tag, body = drawing.svg.split(">", 1)
    tag = re.sub(r' (role|aria-labelledby)="[^"]*"', "", tag)
    return tag, re.sub(r"<title.*?</title>\n*|<desc.*?</desc>\n*", "", body, flags=re.S)


def _together(title: str, pictures: Iterable[Picture], axis: str) -> Picture:
    at, widths, heights, pieces, words = 0.0, [], [], [], []
    for p in pictures:
        tag, body = _bare(p)
        width, height = (float(n) for n in re.findall(r' (?:width|height)="([\d.]+)px"', tag))
        pieces.append(f'{tag} {axis}="{at:g}">{body}')
        at += width if axis == "x" else height
        widths.append(width)
        heights.append(height)
        words.append(p.alt)
    size = (at, max(heights)) if axis == "x" else (max(widths), at)
    return sheet(*size, pieces, title, " ".join(words))


def inline(drawing: Picture) -> str:
    """The SVG for an `HTML` widget: no wider than its place."""
    return drawing.svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)


def _dash(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""
