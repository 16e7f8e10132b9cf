"""A mixed op: what each op makes of a map, their blend by the softmax of alpha, and what rounding keeps of it."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real

import matplotlib
import torch
from matplotlib.image import imsave
from torch import Tensor

from naslab import checks
from naslab.networks import MixedOp
from naslab.spaces import NONE
from naslab.view.canvas import DASHED, above, arrow, beside, box, polyline, sheet, text
from naslab.view.picture import BLUE, FAINT, INK, SKY, VERMILLION, Picture

MOST, COLDEST, WARMEST = 4.0, 0.1, 10.0  # the largest |alpha|, the lowest and the highest temperature
TEMPERATURES = tuple(round(10 ** (1 - k / 10), 2) for k in range(21))  # from warm to cold

_SHADES = matplotlib.colormaps["PuOr_r"]  # two hues that colour-blind readers tell apart, white between them
_COLUMN, _SMALL, _LARGE, _MARGIN, _BAR = 112, 92, 132, 14, 64  # a column, sides of maps, height of a full bar
_HIGHEST = 1.5  # the largest rounding error that the plot shows
_PLOT = 216, 112  # width and height of the plot's axes


@dataclass(frozen=True)
class Blend:
    """The outputs (K, B, C, H, W) of the ops `names` on x (B, C, H, W), mixed by softmax(alpha / temperature).

    `products` (K, K) are the inner products of the outputs.
    """

    names: tuple[str, ...]
    x: Tensor
    outputs: Tensor
    products: Tensor
    alpha: tuple[float, ...]
    temperature: float

    @cached_property
    def weights(self) -> Tensor:
        return (torch.tensor(self.alpha, dtype=torch.float64) / self.temperature).softmax(-1)

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
        mixture, both, kept = self._squares
        return math.sqrt(max(mixture - 2 * both + kept, 0.0) / mixture)

    @property
    def lost_in_shape(self) -> float:
        """The smallest relative rounding error of any multiple of the kept op's output."""
        mixture, both, kept = self._squares
        return math.sqrt(max(1 - both**2 / (mixture * kept), 0.0))

    @property
    def effective(self) -> float:
        """exp(entropy of the weights): the number of ops of equal weight with the same entropy."""
        return torch.special.entr(self.weights).sum().exp().item()

    @property
    def facts(self) -> dict[str, str]:
        """What there is to say of the blend, by name."""
        return {
            "rounding keeps": f"{self.names[self.kept]}, weight {self.weights[self.kept]:.1%}",
            "relative rounding error": f"{self.lost:.0%} of the mixture's length",
            "the same, if a batch norm rescales what is kept": f"{self.lost_in_shape:.0%}",
            "as undecided as": f"{self.effective:.1f} ops of equal weight",
        }

    @property
    def _squares(self) -> tuple[float, float, float]:
        """|mixture|^2, its inner product with the output that is kept, and the square of that; never 0."""
        with_each = self.products @ self.weights
        mixture, kept = self.weights @ with_each, self.products[self.kept, self.kept]
        return max(mixture.item(), 1e-24), with_each[self.kept].item(), max(kept.item(), 1e-24)


def mix(
    names: tuple[str, ...],
    x: Tensor,
    outputs: Tensor,
    alpha: Iterable[float],
    temperature: float,
    products: Tensor | None = None,
) -> Blend:
    """Blends the outputs (K, B, C, H, W) with the weights softmax(alpha / temperature)."""
    return Blend(names, x, outputs, inner(outputs) if products is None else products, tuple(alpha), temperature)


def inner(outputs: Tensor) -> Tensor:
    """The inner products (K, K) of outputs (K, B, C, H, W)."""
    flat = outputs.flatten(1)
    return flat @ flat.T


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
    return whole(draw(mix(edge.names, x, outputs, values, temperature), channel, {}))


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


def draw(blend: Blend, channel: int, maps: dict[tuple[int, int], str]) -> list[Picture]:
    """A column for each op, then what comes of them. `maps` caches the PNG of each (channel, op) between drawings."""
    limit = max(float(blend.outputs[:, 0, channel].abs().quantile(0.995)), 1e-12)
    columns = [_column(blend, k, channel, limit, maps) for k in range(len(blend.names))]
    return [*columns, _outcome(blend, channel, limit)]


def whole(parts: Sequence[Picture]) -> Picture:
    """What `draw` gives, as one picture."""
    *columns, outcome = parts
    return above("A mixed op", beside("Ops", *columns), outcome)


def _column(blend: Blend, k: int, channel: int, limit: float, maps: dict[tuple[int, int], str]) -> Picture:
    """An op: its name, its map of the first image, its weight and alpha."""
    name, weight, kept = blend.names[k], blend.weights[k].item(), k == blend.kept
    middle, base = _COLUMN / 2, 40 + _SMALL + 12 + _BAR  # base: the lower end of the bar
    if (channel, k) not in maps:
        maps[channel, k] = _png(blend.outputs[k, 0, channel], limit)
    head, *tail = name.rsplit("_", 1)
    pieces = [text(middle, 12 + 15 * line, words, anchor="middle", size=13) for line, words in enumerate((head, *tail))]
    pieces += _map(middle - _SMALL / 2, 40, _SMALL, maps[channel, k], framed=kept)
    pieces.append(box(middle - 24, base - _BAR, 48, _BAR, fill="none", line="#D8D8D8", weight=1))
    pieces.append(box(middle - 24, base - _BAR * weight, 48, _BAR * weight, fill=BLUE if kept else SKY, weight=1))
    pieces.append(text(middle, base + 14, f"{100 * weight:.1f} %{', kept' * kept}", anchor="middle", size=13))
    pieces.append(text(middle, base + 32, f"alpha {blend.alpha[k]:.1f}", anchor="middle", size=12, color=FAINT))
    alt = f"{name} {weight:.1%}, alpha {blend.alpha[k]:.1f}{', kept' * kept}."
    return sheet(_COLUMN, base + 42, pieces, f"The op {name}", alt)


def _outcome(blend: Blend, channel: int, limit: float) -> Picture:
    """The map that comes in, the mixture, what rounding keeps, their difference, and the error by temperature."""
    kept, top = blend.kept, 34
    large = {
        "what comes in": blend.x[0, channel],
        "the mixture": blend.mixture[0, channel],
        f"kept: {blend.names[kept]}": blend.outputs[kept, 0, channel],
        "mixture - kept": (blend.mixture - blend.outputs[kept])[0, channel],
    }
    step, pieces = _LARGE + 26, []
    for k, (name, of) in enumerate(large.items()):
        left = _MARGIN + step * k
        pieces.append(text(left + _LARGE / 2, top - 14, name, anchor="middle", size=13))
        pieces += _map(left, top, _LARGE, _png(of, limit), framed=k == 2)
        if k in (1, 2):  # the ops, the rounding
            y = top + _LARGE / 2
            pieces.append(arrow(f"M{left - 23:g} {y:g}L{left - 10:g} {y:g}", (left - 3, y), "right", INK))
    pieces += _legend(_MARGIN, top + _LARGE + 18, limit)
    pieces += _by_temperature(blend, _MARGIN + step * 4 + 34, top)
    said = "; ".join(f"{name}: {value}" for name, value in blend.facts.items())
    alt = f"The blend of {len(blend.names)} ops on a map, channel {channel}, temperature {blend.temperature:g}. {said}."
    width = _MARGIN + step * 4 + 34 + _PLOT[0] + _MARGIN
    return sheet(width, top + _LARGE + 40, pieces, "The mixture and what rounding keeps", alt)


def _by_temperature(blend: Blend, left: float, top: float) -> list[str]:
    """A plot of both rounding errors while the temperature falls, with the present one marked."""
    width, height = _PLOT

    def place(cold: float, lost: float) -> tuple[float, float]:
        share = math.log(WARMEST / cold) / math.log(WARMEST / COLDEST)
        return left + width * share, top + height * (1 - min(lost, _HIGHEST) / _HIGHEST)

    pieces = [text(left - 26, top - 14, "relative rounding error; T falls from 10", size=13)]
    for level in (0.0, 0.5, 1.0, 1.5):
        y = place(1.0, level)[1]
        pieces.append(polyline([(left, y), (left + width, y)], "#D8D8D8", 1))
        label = f"{'≥ ' * (level == _HIGHEST)}{100 * level:.0f} %"  # the curves are cut off there
        pieces.append(text(left - 4, y, label, anchor="end", size=11, color=FAINT))
    for cold in (10.0, 1.0, 0.1):
        pieces.append(text(place(cold, 0)[0], top + height + 12, f"{cold:g}", anchor="middle", size=11, color=FAINT))
    all_of = [replace(blend, temperature=cold) for cold in TEMPERATURES]
    for lost, now, color, dash in (
        ([b.lost for b in all_of], blend.lost, BLUE, ""),
        ([b.lost_in_shape for b in all_of], blend.lost_in_shape, VERMILLION, DASHED),
    ):
        points = [place(cold, value) for cold, value in zip(TEMPERATURES, lost, strict=True)]
        pieces.append(polyline(points, color, 2, dash))
        x, y = place(blend.temperature, now)
        pieces.append(f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{color}"/>')
        if now > _HIGHEST:
            side = "end" if x > left + width / 2 else "start"
            words = f"{100 * now:.0f} %"
            pieces.append(text(x + (8 if side == "start" else -8), y + 10, words, anchor=side, size=11, color=color))
    for k, (words, color, dash) in enumerate((("kept op", BLUE, ""), ("rescaled to fit", VERMILLION, DASHED))):
        x, y = left + 6 + 96 * k, top + height + 30
        pieces.append(polyline([(x, y), (x + 22, y)], color, 2, dash))
        pieces.append(text(x + 28, y, words, size=12))
    return pieces


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
