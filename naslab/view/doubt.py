"""What a network makes of an image: the image as it sees it, and the probability of each class."""

import base64
import io
from collections.abc import Sequence
from math import log2

import numpy as np
from matplotlib.image import imsave

from naslab.view.canvas import box, sheet, text
from naslab.view.picture import BLUE, Picture, safe

SHOWN = 8  # classes with a bar
SIDE = 168  # of the image, in pixels of the drawing


def bits_of_doubt(probabilities: np.ndarray) -> float:
    """The entropy of probabilities (K,) in bits: 0 if one class is certain, log2 K if all are alike."""
    bits = sum(-p * log2(p) for p in probabilities.tolist() if p > 0)
    return max(bits, 0.0)  # rounding can raise a probability above 1


def doubt_picture(pixels: np.ndarray, names: Sequence[str], probabilities: np.ndarray, top: float = 255.0) -> Picture:
    """The image (C, H, W), values from 0 to `top`, beside the bars of the most probable classes.

    Raises `ValueError` if the shapes do not fit.
    """
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or probabilities.shape != (len(names),):
        shapes = f"pixels {pixels.shape}, probabilities {probabilities.shape}"
        raise ValueError(f"got {shapes} for {len(names)} names, expected (1 or 3, H, W) and one number for each name")
    _, height, width = pixels.shape
    side = SIDE / max(height, width)
    place = f'x="10" y="10" width="{side * width:g}" height="{side * height:g}" preserveAspectRatio="none"'
    href = f"data:image/png;base64,{_png(pixels * (255 / top))}"
    parts = [f'<image {place} style="image-rendering:pixelated" href="{href}"/>']
    order = np.argsort(-probabilities, kind="stable")[:SHOWN]
    for line, k in enumerate(order):
        y, p = 20 + 21 * line, float(probabilities[k])
        parts += [
            text(300, y, names[k][:14], anchor="end"),
            box(308, y - 7, max(240 * p, 0.5), 14, fill=BLUE, weight=0),
            text(316 + 240 * p, y, f"{p:.1%}"),
        ]
    alt = ", ".join(f"{safe(names[k])} {probabilities[k]:.1%}" for k in order[:3])
    return sheet(620, 20 + SIDE, parts, "What the network sees", f"The image, and: {alt}")


def _png(shown: np.ndarray) -> str:
    """An image (C, H, W), values from 0 to 255, as a base64 PNG."""
    colours = np.rint(np.clip(shown, 0, 255)).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    imsave(buffer, np.broadcast_to(colours, (*colours.shape[:2], 3)), format="png", metadata={"Software": ""})
    return base64.b64encode(buffer.getvalue()).decode()
