"""What surrounds the cells of NAS-Bench-201: stem, three stages with a reduction between them, classifier."""

from naslab import checks
from naslab.view.canvas import arrow, box, sheet, text
from naslab.view.picture import FAINT, INK, TINTS, Picture

_TALL, _GAP, _MIDDLE = 46, 26, 62


def skeleton_picture(channels: int = 16, cells: int = 5, classes: int = 10) -> Picture:
    """Draws the network around the cells: `cells` cells a stage; the channels double in each reduction.

    Source: Dong & Yang 2020, section 2.1. Raises `ValueError` for a number below 1.
    """
    checks.whole(1, channels=channels, cells=cells, classes=classes)
    parts = [("image", "", 60, TINTS[1]), ("conv 3x3", f"{channels} channels", 92, TINTS[0])]
    for stage in range(3):
        wide = channels * 2**stage
        if stage:
            parts.append(("halve", f"{wide} channels", 92, TINTS[0]))
        parts.append((f"{cells} x cell" if cells > 1 else "cell", "", 84, "#CFE3F1"))
    parts += [("mean", "over pixels", 84, TINTS[0]), ("linear", f"{classes} classes", 84, TINTS[2])]
    pieces, x = [], 14.0
    for k, (name, more, width, fill) in enumerate(parts):
        if k:
            line = f"M{x - _GAP:g} {_MIDDLE}H{x - 7:g}"
            pieces.append(arrow(line, (x - 1, _MIDDLE), "right", FAINT))
        here = name.endswith("cell")
        pieces.append(
            box(x, _MIDDLE - _TALL / 2, width, _TALL, fill=fill, line=INK, weight=2.5 if here else 1.5, radius=8)
        )
        pieces.append(text(x + width / 2, _MIDDLE - (9 if more else 0), name, anchor="middle"))
        if more:
            pieces.append(text(x + width / 2, _MIDDLE + 10, more, anchor="middle", size=12, color=FAINT))
        x += width + _GAP
    title = "The network around the cells"
    pieces.append(text(14, 18, title))
    said = "; ".join(f"{name}{', ' * bool(more)}{more}" for name, more, *_ in parts)
    alt = f"{title}, in order: {said}. All cells have the same ops, and each has its own weights."
    return sheet(x - _GAP + 14, 100, pieces, title, alt)
