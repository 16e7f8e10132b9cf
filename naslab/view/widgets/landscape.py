"""The toy problem of DARTS' figure 2 with a slider for each setting of algorithm 1."""

from ipywidgets import HTML, FloatSlider, Layout

from naslab.view.landscape import draw, follow, settings
from naslab.view.picture import Picture
from naslab.view.widgets.base import Pictured, facts, row

_SLIDERS = {  # the name of a setting -> the slider's range, its name and its hint
    "xi": (0.0, 2.0, "xi", "of the virtual step; 0: first order"),
    "alpha": (-3.0, 3.0, "start: alpha", "where alpha starts"),
    "w": (-3.0, 3.0, "start: w", "where w starts"),
    "alpha_lr": (0.05, 1.5, "step of alpha", "the step size of alpha"),
    "w_lr": (0.05, 1.5, "step of w", "the step size of w"),
}


class ToyLandscape(Pictured):
    """`sliders` by name: xi, alpha and w (the start), alpha_lr and w_lr."""

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
                style={"description_width": "90px"},
                layout=Layout(width="300px"),
            )
            for setting, (low, high, name, hint) in _SLIDERS.items()
        }
        super().__init__(self.sliders, [row(*self.sliders.values())], [HTML(layout=Layout(min_height="450px"))])

    def __repr__(self) -> str:
        return f"toy landscape: {self._rounds} rounds of algorithm 1"

    def _follow(self) -> tuple[str, Picture]:
        chosen = {name: slider.value for name, slider in self.sliders.items()}
        points, words = follow(chosen, self._rounds)
        return facts(words), draw(points, words, chosen["xi"])


def toy_landscape(
    *,
    xi: float = 0.5,
    start: tuple[float, float] = (2.0, -2.0),
    alpha_lr: float = 0.1,
    w_lr: float = 0.1,
    rounds: int = 100,
) -> ToyLandscape:
    """Algorithm 1 on the toy problem, from `start` = (alpha, w), with a slider for each setting.

    Raises `ValueError` for settings outside their range.
    """
    return ToyLandscape(settings(xi, start, alpha_lr, w_lr, rounds), rounds)
