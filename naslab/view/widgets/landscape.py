"""The toy problem of DARTS' figure 2: a slider for each setting of algorithm 1, which runs step by step, or by Play."""

from ipywidgets import HTML, FloatSlider, IntSlider, Layout, jslink

from naslab.view.landscape import draw, follow, settings, together
from naslab.view.picture import Picture
from naslab.view.widgets.base import Pictured, button, facts, player, row

_SLIDERS = {  # the name of a setting -> the slider's range, its name and its hint
    "xi": (0.0, 2.0, "ξ", "of the virtual step; 0: first order"),
    "alpha": (-3.0, 3.0, "start: α", "where α starts"),
    "w": (-3.0, 3.0, "start: w", "where w starts"),
    "alpha_lr": (0.05, 1.5, "step of α", "the step size of α"),
    "w_lr": (0.05, 1.5, "step of w", "the step size of w"),
}


class ToyLandscape(Pictured):
    """`sliders` by name: xi, alpha and w (the start), alpha_lr and w_lr.

    `slider` has the round that is shown; `play`, `back` and `next` move it.
    """

    def __init__(self, chosen: dict[str, float], rounds: int) -> None:
        self._rounds = rounds
        self.sliders = {
            setting: FloatSlider(
                chosen[setting],
                min=min(low, chosen[setting]),
                max=max(high, chosen[setting]),
                step=0.05,
                description=name,
                tooltip=hint,
                style={"description_width": "70px"},
                layout=Layout(width="min(100%, 300px)"),
            )
            for setting, (low, high, name, hint) in _SLIDERS.items()
        }
        self.slider = IntSlider(
            rounds,
            min=0,
            max=rounds,
            description="round",
            tooltip="how many rounds are shown",
            style={"description_width": "initial"},
            layout=Layout(width="min(100%, 380px)"),
        )
        self.play = player(0, rounds, rounds, seconds=12, slowest=500)
        self._link = jslink((self.play, "value"), (self.slider, "value"))
        narrow = Layout(width="80px")
        self.back = button("Back", "To the round before", lambda: self._go(-1), layout=narrow)
        self.next = button("Step", "One round: a step of α, then a step of w", lambda: self._go(+1), layout=narrow)
        drawings = [HTML(layout=Layout(flex=f"1 1 {width}px", min_height="320px")) for width in (400, 430)]
        moves = row(self.play, self.back, self.next, self.slider)
        top = [row(*self.sliders.values()), moves]
        super().__init__(self.sliders | {"round": self.slider}, top, drawings, [row(*drawings)])

    def __repr__(self) -> str:
        return f"toy landscape: {self._rounds} rounds of algorithm 1"

    @property
    def picture(self) -> Picture:
        """The landscape beside α and w over the rounds."""
        return together(*self._followed, self.sliders["xi"].value)

    def _go(self, by: int) -> None:
        self.slider.value = self._followed[1] + by  # the slider stops at its ends

    def _follow(self) -> tuple[str, Picture, Picture]:
        chosen, at = {name: slider.value for name, slider in self.sliders.items()}, self.slider.value
        self.back.disabled, self.next.disabled = at == 0, at == self._rounds
        self._followed = points, shown, words = follow(chosen, self._rounds, at)
        return facts(words), *draw(points, shown, words, chosen["xi"])


def toy_landscape(
    *,
    xi: float = 0.5,
    start: tuple[float, float] = (2.0, -2.0),
    alpha_lr: float = 0.1,
    w_lr: float = 0.1,
    rounds: int = 100,
) -> ToyLandscape:
    """Algorithm 1 on the toy problem, from `start` = (α, w), with a slider for each setting. Play goes round by round.

    Raises `ValueError` for settings outside their range.
    """
    return ToyLandscape(settings(xi, start, alpha_lr, w_lr, rounds), rounds)
