"""A mixed op taken apart: what each op makes of a map, their blend by the softmax of alpha, and what rounding keeps."""

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import matplotlib
import torch
from ipywidgets import HTML, Button, FloatLogSlider, FloatSlider, HBox, IntSlider, Layout
from matplotlib.image import imsave
from torch import Tensor

from naslab import checks
from naslab.networks import MixedOp
from naslab.spaces import NONE
from naslab.view.canvas import arrow, box, inline, sheet, text
from naslab.view.controls import Pictured, facts
from naslab.view.picture import BLUE, FAINT, INK, SKY, VERMILLION, Picture

_MOST, _COLDEST, _WARMEST = 4.0, 0.1, 10.0  # |alpha|, and the temperature
_SHADES = matplotlib.colormaps["PuOr_r"]  # two hues that every eye tells apart, white between them
_PITCH, _SMALL, _LARGE, _MARGIN, _BAR = 118, 92, 150, 14, 76  # sides of the maps, height of a full bar


@dataclass(frozen=True)
class Blend:
    """The outputs (K, B, C, H, W) of the ops `names` on x (B, C, H, W), and their mixing weights (K,)."""

    names: tuple[str, ...]
    x: Tensor
    outputs: Tensor
    weights: Tensor

    @cached_property
    def mixture(self) -> Tensor:
        return torch.einsum("k,k...->...", self.weights, self.outputs)  # Liu et al. 2019, eq. 2

    @cached_property
    def kept(self) -> int:
        """The strongest op, "none" left out (section 2.4)."""
        return max((k for k, name in enumerate(self.names) if name != NONE), key=lambda k: self.weights[k].item())

    @property
    def lost(self) -> float:
        """|mixture - what is kept| / |mixture|, over all maps."""
        return _ratio(self.mixture - self.outputs[self.kept], self.mixture)

    @property
    def lost_in_shape(self) -> float:
        """The least of the same for any multiple of what is kept."""
        kept = self.outputs[self.kept]
        factor = (self.mixture * kept).sum() / kept.square().sum().clamp(min=1e-12)
        return _ratio(self.mixture - factor * kept, self.mixture)

    @property
    def effective(self) -> float:
        """exp(entropy): as many ops with equal weights would be as undecided."""
        return torch.special.entr(self.weights).sum().exp().item()


def _ratio(part: Tensor, whole: Tensor) -> float:
    return (part.norm() / whole.norm().clamp(min=1e-12)).item()


class MixedOpBlender(Pictured):
    """`sliders` has one for each op's alpha, `temperature` and `channel` are controls, `zero` is a button.

    `alpha` is what the sliders show; `blend` is what came of it.
    """

    def __init__(self, edge: MixedOp, x: Tensor, alpha: Iterable[float] | None, temperature: float, channel: int):
        alpha, self._x, self._outputs = _read(edge, x, alpha, temperature, channel)
        self._names, self._moving = edge.names, False
        self._maps: dict[tuple[int, int], str] = {}  # the ops' maps, which no slider changes
        self._text, self._drawing = HTML(), HTML(layout=Layout(min_height="420px"))
        wide = {"style": {"description_width": "100px"}, "layout": Layout(width="300px")}
        self.sliders = {
            name: FloatSlider(
                a, min=-_MOST, max=_MOST, step=0.1, description=name, tooltip=f"alpha of {name}", readout_format=".1f",
                **wide,
            )
            for name, a in zip(self._names, alpha, strict=True)
        }  # fmt: skip
        self.temperature = FloatLogSlider(
            temperature,
            min=math.log10(_COLDEST),
            max=math.log10(_WARMEST),
            step=0.05,
            description="temperature",
            tooltip="alpha is divided by it",
            readout_format=".2f",
            **wide,
        )
        self.channel = IntSlider(
            channel, min=0, max=len(x[0]) - 1, description="channel", tooltip="which maps are drawn", **wide
        )
        self.zero = Button(description="All alpha 0", tooltip="where a search starts: every op weighs the same")
        self.zero.on_click(lambda button: setattr(self, "alpha", [0.0] * len(self._names)))
        rows = Layout(flex_flow="row wrap")
        super().__init__(
            [
                HBox([*self.sliders.values()], layout=rows),
                HBox([self.temperature, self.channel, self.zero], layout=rows),
                self._text,
                self._drawing,
            ]
        )
        self._show()
        for control in (*self.sliders.values(), self.temperature, self.channel):
            control.observe(self._changed, "value")

    def __repr__(self) -> str:
        return f"mixed-op blender: {len(self._names)} ops on {tuple(self._x.shape)}"

    @property
    def alpha(self) -> tuple[float, ...]:
        return tuple(slider.value for slider in self.sliders.values())

    @alpha.setter
    def alpha(self, alpha: Iterable[float]) -> None:
        values = _check_alpha(alpha, len(self._names))
        self._moving = True  # one drawing when all stand, not one for each
        try:
            for slider, a in zip(self.sliders.values(), values, strict=True):
                slider.value = a
        finally:
            self._moving = False
        self._show()

    @property
    def blend(self) -> Blend:
        return _blend(self._names, self._x, self._outputs, self.alpha, self.temperature.value)

    @property
    def picture(self) -> Picture:
        """Maps and weights."""
        return _draw(self.blend, self.channel.value, self._maps)

    @property
    def text(self) -> str:
        """What rounding keeps and how much it loses, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """Maps and weights, SVG."""
        return self._drawing.value

    def _changed(self, change: Any) -> None:
        if not self._moving:
            self._show()

    def _show(self) -> None:
        blend = self.blend
        self._text.value = facts(_facts(blend))
        self._drawing.value = inline(_draw(blend, self.channel.value, self._maps))


def mixed_op_blender(
    edge: MixedOp,
    x: Tensor,
    alpha: Iterable[float] | None = None,
    *,
    temperature: float = 1.0,
    channel: int = 0,
) -> MixedOpBlender:
    """Mix the ops of an edge by hand: x (B, C, H, W) goes through all, softmax(alpha / temperature) blends the results.

    Drawn is a channel of the first image; what rounding loses counts all of them. `alpha` is all zeros if not given.
    Raises `ValueError` for alpha outside -4 to 4, a temperature outside 0.1 to 10, a channel that x does not have.
    """
    return MixedOpBlender(edge, x, alpha, temperature, channel)


def blend_picture(
    edge: MixedOp,
    x: Tensor,
    alpha: Iterable[float] | None = None,
    *,
    temperature: float = 1.0,
    channel: int = 0,
) -> Picture:
    """What `mixed_op_blender` draws."""
    values, x, outputs = _read(edge, x, alpha, temperature, channel)
    return _draw(_blend(edge.names, x, outputs, values, temperature), channel, {})


def _read(
    edge: MixedOp, x: Tensor, alpha: Iterable[float] | None, temperature: float, channel: int
) -> tuple[tuple[float, ...], Tensor, Tensor]:
    """alpha, x and the outputs of all ops (K, B, C, H, W), the last two in float64 on the CPU."""
    if not isinstance(edge, MixedOp) or set(edge.names) <= {NONE}:
        raise ValueError(f"edge: got {type(edge).__name__}, expected a MixedOp with an op other than {NONE!r}")
    if not isinstance(x, Tensor) or x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"x: got {tuple(x.shape) if isinstance(x, Tensor) else x!r}, expected maps (B, C, H, W)")
    values = _check_alpha([0.0] * len(edge.names) if alpha is None else alpha, len(edge.names))
    if not isinstance(temperature, Real) or not _COLDEST <= temperature <= _WARMEST:
        raise ValueError(f"temperature: got {temperature!r}, expected a number from {_COLDEST} to {_WARMEST:g}")
    checks.whole(0, channel=channel)
    if channel >= x.shape[1]:
        raise ValueError(f"channel: got {channel}, x has {x.shape[1]}")
    with torch.no_grad():
        outputs = torch.stack([edge(x, [(k, 1.0)]) for k in range(len(edge.names))])
    return values, x.detach().double().cpu(), outputs.double().cpu()


def _check_alpha(alpha: Iterable[float], n: int) -> tuple[float, ...]:
    values = tuple(alpha)
    if len(values) != n or not all(isinstance(a, Real) and -_MOST <= a <= _MOST for a in values):
        raise ValueError(f"alpha: got {values!r}, expected {n} numbers from {-_MOST:g} to {_MOST:g}")
    return tuple(map(float, values))


def _blend(names: tuple[str, ...], x: Tensor, outputs: Tensor, alpha: tuple[float, ...], temperature: float) -> Blend:
    weights = (torch.tensor(alpha, dtype=torch.float64) / temperature).softmax(-1)
    return Blend(names, x, outputs, weights)


def _facts(blend: Blend) -> dict[str, str]:
    return {
        "rounding keeps": f"{blend.names[blend.kept]}, weight {blend.weights[blend.kept]:.1%}",
        "distance of the mixture from it": f"{blend.lost:.0%} of the mixture's length",
        "the same, if the next batch norm may rescale": f"{blend.lost_in_shape:.0%}",
        "as undecided as": f"{blend.effective:.1f} ops of equal weight",
    }


def _draw(blend: Blend, channel: int, maps: dict[tuple[int, int], str]) -> Picture:
    """`maps` keeps the ops' maps by (channel, op) from one drawing to the next."""
    here = blend.outputs[:, 0, channel]  # (K, H, W)
    limit = max(float(here.abs().quantile(0.995)), 1e-12)
    n, kept = len(blend.names), blend.kept
    width = max(_MARGIN * 2 + _PITCH * n, 4 * (_LARGE + 40) + 2 * _MARGIN)
    base = 64 + _SMALL + 18 + _BAR  # where bars stand
    pieces = [text(_MARGIN, 18, f"The map of each op, channel {channel}; below it the op's weight")]
    for k, name in enumerate(blend.names):
        left = _MARGIN + _PITCH * k
        middle, w = left + _PITCH / 2, blend.weights[k].item()
        head, *tail = name.rsplit("_", 1)
        for line, words in enumerate((head, *tail)):
            pieces.append(text(middle, 38 + 14 * line, words, anchor="middle", size=12))
        if (channel, k) not in maps:
            maps[channel, k] = _png(here[k], limit)
        pieces += _map(middle - _SMALL / 2, 64, _SMALL, maps[channel, k], framed=k == kept)
        pieces.append(box(middle - 24, base - _BAR, 48, _BAR, fill="none", line="#D8D8D8", weight=1))
        pieces.append(box(middle - 24, base - _BAR * w, 48, _BAR * w, fill=BLUE if k == kept else SKY, weight=1))
        pieces.append(text(middle, base + 14, f"{100 * w:.1f} %", anchor="middle", size=13))
        if k == kept:
            pieces.append(text(middle, base + 31, "kept", anchor="middle", size=13))
    top = base + 76
    large = {
        "what comes in": blend.x[0, channel],
        "the mixture": blend.mixture[0, channel],
        f"kept: {blend.names[kept]}": here[kept],
        "mixture - kept": (blend.mixture - blend.outputs[kept])[0, channel],
    }
    step = (width - 2 * _MARGIN) / 4
    for k, (name, of) in enumerate(large.items()):
        middle = _MARGIN + step * (k + 0.5)
        pieces.append(text(middle, top - 14, name, anchor="middle", size=13))
        pieces += _map(middle - _LARGE / 2, top, _LARGE, _png(of, limit), framed=k == 2)
    start, end = _MARGIN + step * 0.5 + _LARGE / 2 + 5, _MARGIN + step * 1.5 - _LARGE / 2 - 5
    y = top + _LARGE / 2
    pieces.append(arrow(f"M{start:g} {y:g}L{end - 7:g} {y:g}", (end, y), "right", INK))
    for k, sign in ((2, "≈"), (3, "")):
        pieces.append(text(_MARGIN + step * k, y, sign, anchor="middle", size=24))
    bottom = top + _LARGE + 22
    pieces += _legend(_MARGIN + step * 0.5 - _LARGE / 2, bottom, limit)
    lost = f"lost: {blend.lost:.0%}; {blend.lost_in_shape:.0%} if it may be rescaled"
    pieces.append(text(_MARGIN + step * 3.5, bottom, lost, anchor="middle", size=13))
    shares = ", ".join(f"{name} {w:.1%}" for name, w in zip(blend.names, blend.weights.tolist(), strict=True))
    said = "; ".join(f"{name}: {value}" for name, value in _facts(blend).items())
    alt = f"A mixed op of {n} ops on a map, channel {channel}. Weights: {shares}. {said}."
    return sheet(width, bottom + 20, pieces, "A mixed op", alt)


def _map(x: float, y: float, side: float, png: str, framed: bool) -> list[str]:
    place = f'x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" preserveAspectRatio="none"'
    color, weight = (VERMILLION, 4) if framed else (FAINT, 1)
    return [
        f'<image {place} style="image-rendering:pixelated" href="data:image/png;base64,{png}"/>',
        box(x, y, side, side, fill="none", line=color, weight=weight),
    ]


def _png(of: Tensor, limit: float) -> str:
    """A map (H, W) in colours from -limit to limit."""
    buffer = io.BytesIO()
    shades = _SHADES(((of / limit).clamp(-1, 1) / 2 + 0.5).numpy(), bytes=True)[..., :3]  # (H, W, 3)
    imsave(buffer, shades, format="png", metadata={"Software": ""})
    return base64.b64encode(buffer.getvalue()).decode()


def _legend(x: float, y: float, limit: float) -> list[str]:
    """What the colours mean, in a line."""
    pieces = []
    for at, place in ((-1.0, 0), (0.0, 56), (1.0, 96)):
        fill = matplotlib.colors.to_hex(_SHADES(at / 2 + 0.5))
        pieces.append(box(x + place, y - 6, 12, 12, fill=fill, weight=1))
        pieces.append(text(x + place + 17, y, f"{at * limit:.2g}", size=12, color=FAINT))
    return pieces
