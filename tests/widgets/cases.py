"""What the tests of several widgets use."""

import torch

from naslab import runs, view
from naslab.controller import Controller


def controller_of(space, init=1.0):
    """A controller with initial weights up to `init`: large ones make probabilities that differ."""
    with runs.seeded(0):
        return Controller(space, init=init)


def plain(widget):
    """The drawing as `Picture.svg` has it, without the style that `inline` adds."""
    return widget.drawing.replace('style="max-width:100%;height:auto" ', "")


def recorded(space, count=12, seed=0):
    """A search that wanders: frames at steps 0, 3, 6, ..."""
    generator = torch.Generator().manual_seed(seed)
    alpha = {table: torch.zeros(shape) for table, shape in space.tables.items()}
    frames = []
    for k in range(count):
        frames.append(view.Frame(3 * k, {t: a.softmax(-1) for t, a in alpha.items()}, 2.3 * 0.9**k))
        for a in alpha.values():
            a += torch.randn(a.shape, generator=generator)
    return frames
