"""A mixed op: what each op makes of a map, their blend by the softmax of alpha, and what rounding keeps of it."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import matplotlib
import torch
from matplotlib.image import imsave
from torch import Tensor

from naslab import checks
from naslab.networks import MixedOp
from naslab.spaces import NONE
from naslab.view.canvas import arrow, box, sheet, text
from naslab.view.picture import BLUE, FAINT, INK, SKY, VERMILLION, Picture

MOST, COLDEST, WARMEST = 4.0, 0.1, 10.0  # the largest |alpha|, the lowest and the highest temperature

_SHADES = matplotlib.colormaps["PuOr_r"]  # two hues that colour-blind readers tell apart, white between them
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
        """The weighted sum of the outputs, (B, C, H, W)."""
        return torch.einsum("k,k...->...", self.weights, self.outputs)  # Liu et al. 2019, eq. 2

    @cached_property
    def kept(self) -> int:
        """The index of the op with the largest weight. "none" cannot be kept (section 2.4)."""
        return max((k for k, name in enumerate(self.names) if name != NONE), key=lambda k: self.weights[k].item())

    @property
    def lost(self) -> float:
        """The relative rounding error |mixture - kept| / |mixture|, over all images and channels."""
        return _ratio(self.mixture - self.outputs[self.kept], self.mixture)

    @property
    def lost_in_shape(self) -> float:
        """The smallest relative rounding error of any multiple of the kept op's output."""
        kept = self.outputs[self.kept]
        factor = (self.mixture * kept).sum() / kept.square().sum().clamp(min=1e-12)
        return _ratio(self.mixture - factor * kept, self.mixture)

    @property
    def effective(self) -> float:
        """exp(entropy of the weights): the number of ops of equal weight with the same entropy."""
        return torch.special.entr(self.weights).sum().exp().item()

    @property
    def facts(self) -> dict[str, str]:
        """What there is to say of the blend, by name."""
        return {
            "rounding keeps": f"{self.names[self.kept]}, weight {self.weights[self.kept]:.1%}",
            "distance of the mixture from it": f"{self.lost:.0%} of the mixture's length",
            "the same, if the next batch norm may rescale": f"{self.lost_in_shape:.0%}",
            "as undecided as": f"{self.effective:.1f} ops of equal weight",
        }


def _ratio(part: Tensor, whole: Tensor) -> float:
    return (part.norm() / whole.norm().clamp(min=1e-12)).item()


def mix(names: tuple[str, ...], x: Tensor, outputs: Tensor, alpha: Iterable[float], temperature: float) -> Blend:
    """Blends the outputs (K, B, C, H, W) with the weights softmax(alpha / temperature)."""
    return Blend(names, x, outputs, (torch.tensor([*alpha], dtype=torch.float64) / temperature).softmax(-1))


def blend_picture(
    edge: MixedOp,
    x: Tensor,
    alpha: Iterable[float] | None = None,
    *,
    temperature: float = 1.0,
    channel: int = 0,
) -> Picture:
    """What `mixed_op_blender` draws."""
    values, x, outputs = read(edge, x, alpha, temperature, channel)
    return draw(mix(edge.names, x, outputs, values, temperature), channel, {})


def read(
    edge: MixedOp, x: Tensor, alpha: Iterable[float] | None, temperature: float, channel: int
) -> tuple[tuple[float, ...], Tensor, Tensor]:
    """Returns alpha, x and the outputs of all ops (K, B, C, H, W), the last two in float64 on the CPU.

    Raises `ValueError` for settings that `mixed_op_blender` refuses.
    """
    if not isinstance(edge, MixedOp) or set(edge.names) <= {NONE}:
        raise ValueError(f"edge: got {type(edge).__name__}, expected a MixedOp with an op other than {NONE!r}")
    if not isinstance(x, Tensor) or x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"x: got {tuple(x.shape) if isinstance(x, Tensor) else x!r}, expected maps (B, C, H, W)")
    values = check_alpha([0.0] * len(edge.names) if alpha is None else alpha, len(edge.names))
    if not isinstance(temperature, Real) or not COLDEST <= temperature <= WARMEST:
        raise ValueError(f"temperature: got {temperature!r}, expected a number from {COLDEST} to {WARMEST:g}")
    checks.whole(0, channel=channel)
    if channel >= x.shape[1]:
        raise ValueError(f"channel: got {channel}, x has {x.shape[1]}")
    with torch.no_grad():
        outputs = torch.stack([edge(x, [(k, 1.0)]) for k in range(len(edge.names))])
    return values, x.detach().double().cpu(), outputs.double().cpu()


def check_alpha(alpha: Iterable[float], n: int) -> tuple[float, ...]:
    """alpha as a tuple. Raises `ValueError` unless it is n numbers from -4 to 4."""
    values = tuple(alpha)
    if len(values) != n or not all(isinstance(a, Real) and -MOST <= a <= MOST for a in values):
        raise ValueError(f"alpha: got {values!r}, expected {n} numbers from {-MOST:g} to {MOST:g}")
    return tuple(map(float, values))


def draw(blend: Blend, channel: int, maps: dict[tuple[int, int], str]) -> Picture:
    """Maps, weights and what rounding loses. `maps` caches the PNG of each (channel, op) between drawings."""
    here = blend.outputs[:, 0, channel]  # (K, H, W)
    limit = max(float(here.abs().quantile(0.995)), 1e-12)
    n, kept = len(blend.names), blend.kept
    width = max(_MARGIN * 2 + _PITCH * n, 4 * (_LARGE + 40) + 2 * _MARGIN)
    base = 64 + _SMALL + 18 + _BAR  # the lower end of the bars
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
    said = "; ".join(f"{name}: {value}" for name, value in blend.facts.items())
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
    """A map (H, W) as a base64 PNG, in colours from -limit to limit."""
    buffer = io.BytesIO()
    shades = _SHADES(((of / limit).clamp(-1, 1) / 2 + 0.5).numpy(), bytes=True)[..., :3]  # (H, W, 3)
    imsave(buffer, shades, format="png", metadata={"Software": ""})
    return base64.b64encode(buffer.getvalue()).decode()


def _legend(x: float, y: float, limit: float) -> list[str]:
    """The colours of -limit, 0 and limit."""
    pieces = []
    for at, place in ((-1.0, 0), (0.0, 56), (1.0, 96)):
        fill = matplotlib.colors.to_hex(_SHADES(at / 2 + 0.5))
        pieces.append(box(x + place, y - 6, 12, 12, fill=fill, weight=1))
        pieces.append(text(x + place + 17, y, f"{at * limit:.2g}", size=12, color=FAINT))
    return pieces
