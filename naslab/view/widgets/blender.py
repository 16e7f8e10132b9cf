"""A mixed op with a slider for each alpha: the maps of its ops, their blend, and what rounding loses."""

from collections.abc import Iterable

from ipywidgets import HTML, FloatSlider, IntSlider, Layout, SelectionSlider, VBox, jslink
from torch import Tensor

from naslab.networks import MixedOp
from naslab.view.blend import MOST, TEMPERATURES, Blend, check_alpha, draw, inner, mix, read, whole
from naslab.view.picture import Picture
from naslab.view.widgets.base import Pictured, button, facts, player, row


class MixedOpBlender(Pictured):
    """`sliders` has one for each op's alpha, below the op's bar. `temperature` and `channel` are sliders, too.

    `play` lowers the temperature, `zero` is a button. `alpha` is what the sliders show; `blend` is the resulting
    `Blend`.
    """

    def __init__(self, edge: MixedOp, x: Tensor, alpha: Iterable[float] | None, temperature: float, channel: int):
        alpha, self._x, self._outputs = read(edge, x, alpha, temperature, channel)
        self._names, self._products = edge.names, inner(self._outputs)
        self._maps: dict[tuple[int, int], str] = {}  # the maps of the ops, which no slider changes
        self.sliders = {
            name: FloatSlider(
                a,
                min=-MOST,
                max=MOST,
                step=0.1,
                readout=False,  # the column shows it
                tooltip=f"alpha of {name}",
                layout=Layout(width="96%"),
            )
            for name, a in zip(self._names, alpha, strict=True)
        }
        warm_to_cold = sorted({*TEMPERATURES, float(temperature)}, reverse=True)
        wide = {"style": {"description_width": "initial"}, "layout": Layout(width="min(100%, 300px)")}
        self.temperature = SelectionSlider(
            options=[(f"{t:.3g}", t) for t in warm_to_cold],
            value=float(temperature),
            description="temperature T",
            tooltip="alpha is divided by it; colder to the right",
            **wide,
        )
        self.play = player(0, len(warm_to_cold) - 1, self.temperature.index, seconds=8, slowest=500)
        self._link = jslink((self.play, "value"), (self.temperature, "index"))
        self.channel = IntSlider(
            channel, min=0, max=len(x[0]) - 1, description="channel", tooltip="which maps are drawn", **wide
        )
        self.zero = button(
            "All alpha 0",
            "where a search starts: every op weighs the same",
            lambda: setattr(self, "alpha", [0.0] * len(self._names)),
            layout=Layout(width="110px"),
        )
        columns, outcome = [HTML() for _ in self._names], HTML()
        place = Layout(flex="1 1 84px", max_width="112px", align_items="center", overflow="hidden")
        ops = row(*(VBox(pair, layout=place) for pair in zip(columns, self.sliders.values(), strict=True)))
        super().__init__(
            self.sliders | {"temperature": self.temperature, "channel": self.channel},
            [],
            [*columns, outcome],
            [ops, row(self.play, self.temperature, self.channel, self.zero), outcome],
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
        return mix(self._names, self._x, self._outputs, self.alpha, self.temperature.value, self._products)

    @property
    def picture(self) -> Picture:
        """The ops side by side, above what comes of them."""
        return whole([part for part in self._pictures if part])

    def _follow(self) -> tuple[str, *tuple[Picture, ...]]:
        blend = self.blend
        return facts(blend.facts), *draw(blend, self.channel.value, self._maps)


def mixed_op_blender(
    edge: MixedOp,
    x: Tensor,
    alpha: Iterable[float] | None = None,
    *,
    temperature: float = 1.0,
    channel: int = 0,
) -> MixedOpBlender:
    """Mixes the ops of an edge by hand: all ops get x (B, C, H, W), softmax(alpha / temperature) weighs their outputs.

    The drawing shows one channel of the first image. The rounding errors are those of all images and channels. Play
    lowers the temperature. `alpha` is all zeros by default. Raises `ValueError` for alpha outside -4 to 4, a
    temperature outside 0.1 to 10 and a channel that x does not have.
    """
    return MixedOpBlender(edge, x, alpha, temperature, channel)
