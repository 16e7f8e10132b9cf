"""Draw, upload or pick an image, and see what a network makes of it, and how sure it is."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from ipywidgets import HTML, FileUpload, Layout, VBox

from naslab import checks
from naslab.data.decoding import Unreadable, cut, decoded, pixels
from naslab.view.doubt import bits_of_doubt, doubt_picture
from naslab.view.picture import Picture
from naslab.view.widgets.base import Pictured, button, facts, row


class Pad(anywidget.AnyWidget):
    """A drawing pad of `shape` (height, width, channels). `value` has the pixels, row by row, from 0 to 255."""

    _esm = Path(__file__).with_name("pad.js")
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    value = traitlets.List(traitlets.Int()).tag(sync=True)


class Predictor(Pictured):
    """`pad` is the drawing pad, `upload` takes a file, `example` steps through the examples, `clear` empties the pad.

    `pixels` is the image (C, H, W) that is shown, and `probabilities` what the network makes of it.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        names: Sequence[str],
        shape: tuple[int, int, int],
        examples: np.ndarray,
        top: float,
    ) -> None:
        channels, height, width = shape
        self._predict, self._names, self._shape, self._top = predict, tuple(names), shape, float(top)
        self._examples, self._at = examples, -1
        self.pad = Pad(shape=[height, width, channels], value=[0] * (channels * height * width))
        self.upload = FileUpload(accept=".png,.jpg,.jpeg", multiple=False, description="Upload")
        self.upload.observe(self._uploaded, "value")
        self.example = button("Next example", "Show another test image", self._next, disabled=not len(examples))
        self.clear = button("Clear", "Empty the pad", lambda: self._set(np.zeros(shape)))
        self.error = HTML()
        drawings = [HTML()]
        side = VBox([self.pad, row(self.clear, self.example, self.upload), self.error], layout=Layout(flex="0 1 340px"))
        seen = VBox(drawings, layout=Layout(flex="1 1 420px"))
        super().__init__({"pad": self.pad}, [], drawings, [row(side, seen)])
        if len(examples):
            self._next()

    def __repr__(self) -> str:
        return f"predictor: images {self._shape}, {len(self._names)} classes"

    @property
    def pixels(self) -> np.ndarray:
        channels, height, width = self._shape
        shown = np.array(self.pad.value).reshape(height, width, channels).transpose(2, 0, 1)
        return (shown * self._top / 255).astype(np.float32)

    @property
    def probabilities(self) -> np.ndarray:
        return np.asarray(self._predict(self.pixels[None]))[0]

    def _set(self, pixels: np.ndarray) -> None:
        shown = np.clip(np.rint(pixels * (255 / self._top)), 0, 255).astype(int)
        self.error.value = ""
        self.pad.value = shown.transpose(1, 2, 0).ravel().tolist()

    def _next(self) -> None:
        if len(self._examples):
            self._at = (self._at + 1) % len(self._examples)
            self._set(self._examples[self._at])

    def _changed(self, change: Any) -> None:
        self.error.value = ""
        super()._changed(change)

    def _uploaded(self, change: Any) -> None:
        self.upload.value = ()  # so that the same file again is a change
        for file in change["new"]:
            channels, height, width = self._shape
            try:
                image = cut(decoded(bytes(file["content"])), (height, width))
            except Unreadable as error:
                self.error.value = f"<b>This file cannot be read: {html.escape(str(error))}.</b>"
                return
            self._set(pixels(image, channels == 1) * self._top / 255)

    def _follow(self) -> tuple[str, Picture]:
        p = self.probabilities
        drawn = doubt_picture(self.pixels, self._names, p, self._top)  # first, because it checks the shapes
        first, second, *_ = np.argsort(-p, kind="stable").tolist()
        lines = {
            "prediction": f"{self._names[first]} with {p[first]:.1%}, then {self._names[second]} with {p[second]:.1%}",
            "doubt": f"{bits_of_doubt(p):.2f} of {np.log2(len(p)):.2f} bits",
        }
        return facts(lines), drawn


def predictor(
    predict: Callable[[np.ndarray], np.ndarray],
    names: Sequence[str],
    shape: tuple[int, int, int],
    examples: np.ndarray | None = None,
    top: float = 255.0,
) -> Predictor:
    """Shows the probabilities that `predict` gives to an image: drawn, uploaded or one of `examples` (N, C, H, W).

    `predict` maps pixels (1, C, H, W) float32 from 0 to `top` to probabilities (1, K), as the exported network does.
    Raises `ValueError` for fewer than two names, and for shapes that do not fit.
    """
    checks.positive(top=top)
    if len(names) < 2:
        raise ValueError(f"names: got {len(names)}, expected at least 2")
    if len(shape) != 3:
        raise ValueError(f"shape: got {shape}, expected (1 or 3, height, width)")
    checks.whole(1, 1025, **{f"shape[{axis}]": size for axis, size in enumerate(shape)})
    channels, height, width = map(int, shape)
    shown = np.zeros((0, channels, height, width)) if examples is None else np.asarray(examples)
    if channels not in (1, 3) or shown.shape[1:] != (channels, height, width):
        raise ValueError(f"examples: got {shown.shape}, expected (N, 1 or 3, height, width) as in shape {shape}")
    return Predictor(predict, names, (channels, height, width), shown, top)
