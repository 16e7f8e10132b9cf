"""A sandbox for the policy gradient: what the baseline, m, the learning rate and the decay do to REINFORCE."""

from collections.abc import Iterable, Sequence
from typing import Any

from ipywidgets import HTML, Checkbox, FloatSlider, IntSlider, Layout, SelectionSlider, jslink

from naslab.view.bandit import Runs, check
from naslab.view.picture import Picture
from naslab.view.policy import REWARDS, compare, describe, draw, together
from naslab.view.widgets.base import Pictured, button, facts, player, row

_M = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_LR = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


class PolicySandbox(Pictured):
    """The settings are `baseline`, `m`, `lr` and `decay`; `play` moves `slider`, the update that is shown.

    `run`, from 0, is the run whose policy is shown; the button `another` shows the next one.
    """

    def __init__(
        self, rewards: tuple[float, ...], baseline: bool, m: int, lr: float, decay: float, fixed: dict[str, int]
    ) -> None:
        self._rewards, self._fixed, self._run = rewards, fixed, 0
        self._learned: tuple[dict[str, Any], dict[str, Runs]] = {}, {}
        updates = fixed["updates"]
        self.baseline = Checkbox(
            baseline,
            description="baseline",
            tooltip="also learn with a baseline",
            indent=False,
            layout=Layout(width="auto", margin="2px 16px 2px 2px"),
        )
        hint = "how many children each estimate averages"
        self.m = SelectionSlider(options=_with(_M, m), value=m, **_look("children m", hint))
        hint = "the step of plain gradient ascent, on a logarithmic scale"
        self.lr = SelectionSlider(options=_with(_LR, lr), value=lr, **_look("learning rate", hint))
        hint = "of the moving average; 0: the last mean alone"
        self.decay = FloatSlider(decay, min=0, max=max(0.99, decay), step=0.01, **_look("baseline decay", hint))
        self.play = player(0, updates, updates, seconds=10, slowest=500)
        self.slider = IntSlider(
            updates, min=0, max=updates, **_look("update", "how many updates were made", "min(100%, 440px)")
        )
        self._link = jslink((self.play, "value"), (self.slider, "value"))
        self.another = button("Another run", "Show the next of the runs beside the mean", self._next)
        controls = {"baseline": self.baseline, "m": self.m, "lr": self.lr, "decay": self.decay, "update": self.slider}
        settings = row(self.m, self.lr, self.decay, self.baseline)
        drawings = [HTML(layout=Layout(flex=f"1 1 {width}px")) for width in (420, 330, 420)]
        super().__init__(controls, [settings, row(self.play, self.slider, self.another)], drawings, [row(*drawings)])

    def __repr__(self) -> str:
        updates, repeats = self._fixed["updates"], self._fixed["repeats"]
        return f"policy sandbox: {len(self._rewards)} arms, {repeats} runs of {updates} updates"

    @property
    def run(self) -> int:
        return self._run

    @property
    def picture(self) -> Picture:
        """The curves beside the bars, and the variance below."""
        return together(*draw(*self._at))

    @property
    def _at(self) -> tuple[tuple[float, ...], dict[str, Runs], int, int]:
        return self._rewards, self._runs(), self.slider.value, self._run

    def _next(self) -> None:
        self._run = (self._run + 1) % self._fixed["repeats"]
        self._show()

    def _runs(self) -> dict[str, Runs]:
        """Those of the present settings. They are computed once, however the update moves."""
        names = ("baseline", "m", "lr", "decay")
        settings = {name: self._controls[name].value for name in names}
        if settings != self._learned[0]:
            others = {name: settings[name] for name in names[1:]} | self._fixed
            self._learned = settings, compare(self._rewards, settings["baseline"], others)
        return self._learned[1]

    def _follow(self) -> tuple[str, Picture, Picture, Picture]:
        return facts(describe(*self._at)), *draw(*self._at)


def policy_sandbox(
    rewards: Sequence[float] = REWARDS,
    *,
    baseline: bool = True,
    m: int = 4,
    lr: float = 5.0,
    decay: float = 0.9,
    updates: int = 100,
    repeats: int = 200,
    seed: int = 0,
) -> PolicySandbox:
    """REINFORCE on a softmax over arms of these rewards, many runs at once. `bandit.learn` explains the settings.

    Play moves through the updates. Raises `ValueError` for settings outside their range.
    """
    fixed = {"updates": updates, "repeats": repeats, "seed": seed}
    check(rewards, lr, decay, m=m, updates=updates, repeats=repeats)
    return PolicySandbox(tuple(rewards), baseline, m, lr, decay, fixed)


def _with(steps: Iterable[float], value: float) -> list[tuple[str, float]]:
    """The options of a slider: the steps and the value, in order."""
    return [(f"{step:g}", step) for step in sorted({*steps, value})]


def _look(name: str, hint: str, width: str = "min(100%, 380px)") -> dict[str, Any]:
    style, layout = {"description_width": "initial"}, Layout(width=width, margin="2px 16px 2px 2px")
    return {"description": name, "tooltip": hint, "style": style, "layout": layout}
