"""A mixed op with a slider for each alpha: the maps of its ops, their blend, and what rounding loses."""

import math
from collections.abc import Iterable

from ipywidgets import HTML, FloatLogSlider, FloatSlider, IntSlider, Layout
from torch import Tensor

from naslab.networks import MixedOp
from naslab.view.blend import COLDEST, MOST, WARMEST, Blend, check_alpha, draw, mix, read
from naslab.view.picture import Picture
from naslab.view.widgets.base import Pictured, button, facts, row


class MixedOpBlender(Pictured):
    """`sliders` has one for each op's alpha, `temperature` and `channel` are controls, `zero` is a button.

    `alpha` is what the sliders show; `blend` is the resulting `Blend`.
    """

    def __init__(self, edge: MixedOp, x: Tensor, alpha: Iterable[float] | None, temperature: float, channel: int):
        alpha, self._x, self._outputs = read(edge, x, alpha, temperature, channel)
        self._names = edge.names
        self._maps: dict[tuple[int, int], str] = {}  # the maps of the ops, which no slider changes
        wide = {"style": {"description_width": "100px"}, "layout": Layout(width="300px")}
        look = {"min": -MOST, "max": MOST, "step": 0.1, "readout_format": ".1f", **wide}
        self.sliders = {
            name: FloatSlider(a, description=name, tooltip=f"alpha of {name}", **look)
            for name, a in zip(self._names, alpha, strict=True)
        }
        self.temperature = FloatLogSlider(
            temperature,
            min=math.log10(COLDEST),
            max=math.log10(WARMEST),
            step=0.05,
            description="temperature",
            tooltip="alpha is divided by it",
            readout_format=".2f",
            **wide,
        )
        self.channel = IntSlider(
            channel, min=0, max=len(x[0]) - 1, description="channel", tooltip="which maps are drawn", **wide
        )
        self.zero = button(
            "All alpha 0",
            "where a search starts: every op weighs the same",
            lambda: setattr(self, "alpha", [0.0] * len(self._names)),
        )
        super().__init__(
            self.sliders | {"temperature": self.temperature, "channel": self.channel},
            [row(*self.sliders.values()), row(self.temperature, self.channel, self.zero)],
            [HTML(layout=Layout(min_height="420px"))],
        )

    def __repr__(self) -> str:
        return f"mixed-op blender: {len(self._names)} ops on {tuple(self._x.shape)}"

    @property
    def alpha(self) -> tuple[float, ...]:
        return tuple(slider.value for slider in self.sliders.values())

    @alpha.setter
    def alpha(self, alpha: Iterable[float]) -> None:
        self._move(dict(zip(self._names, check_alpha(alpha, len(self._names)), strict=True)))

    @property
    def blend(self) -> Blend:
        """The ops' outputs on x with the mixing weights of the sliders."""
        return mix(self._names, self._x, self._outputs, self.alpha, self.temperature.value)

    def _follow(self) -> tuple[str, Picture]:
        blend = self.blend
        return facts(blend.facts), draw(blend, self.channel.value, self._maps)


def mixed_op_blender(
    edge: MixedOp,
    x: Tensor,
    alpha: Iterable[float] | None = None,
    *,
    temperature: float = 1.0,
    channel: int = 0,
) -> MixedOpBlender:
    """Mixes the ops of an edge by hand: all ops get x (B, C, H, W), softmax(alpha / temperature) weighs their outputs.

    The drawing shows one channel of the first image. The rounding errors are those of all images and channels. `alpha`
    is all zeros by default. Raises `ValueError` for alpha outside -4 to 4, a temperature outside 0.1 to 10 and a
    channel that x does not have.
    """
    return MixedOpBlender(edge, x, alpha, temperature, channel)
