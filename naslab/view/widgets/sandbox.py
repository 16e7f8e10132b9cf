"""A sandbox for the policy gradient: what the baseline, m, the learning rate and the decay do to REINFORCE."""

from collections.abc import Sequence
from typing import Any

from ipywidgets import HTML, BoundedFloatText, BoundedIntText, Checkbox, Layout

from naslab.view.bandit import check
from naslab.view.picture import Picture
from naslab.view.policy import REWARDS, compare, describe, draw
from naslab.view.widgets.base import Pictured, row, sentences


class PolicySandbox(Pictured):
    """The controls are `baseline`, `m`, `lr` and `decay`. `fixed` are the settings without a control."""

    def __init__(
        self, rewards: tuple[float, ...], baseline: bool, m: int, lr: float, decay: float, fixed: dict[str, int]
    ) -> None:
        self._rewards, self._fixed = rewards, fixed
        self.baseline = Checkbox(
            baseline, description="baseline", tooltip="also learn with one", indent=False, layout=Layout(width="110px")
        )
        hint = "how many children each estimate averages"
        self.m = BoundedIntText(m, min=1, max=max(64, m), **_look("m, children per update", hint, "200px"))
        hint = "the step of plain gradient ascent"
        self.lr = BoundedFloatText(lr, min=0, max=max(50, lr), step=0.5, **_look("learning rate", hint, "160px"))
        hint = "of the moving average; 0: the last mean alone"
        self.decay = BoundedFloatText(
            decay, min=0, max=max(0.99, decay), step=0.05, **_look("baseline decay", hint, "170px")
        )
        controls = {"baseline": self.baseline, "m": self.m, "lr": self.lr, "decay": self.decay}
        super().__init__(controls, [row(*controls.values())], [HTML(layout=Layout(min_height="310px"))])

    def __repr__(self) -> str:
        updates, repeats = self._fixed["updates"], self._fixed["repeats"]
        return f"policy sandbox: {len(self._rewards)} arms, {repeats} runs of {updates} updates"

    def _follow(self) -> tuple[str, Picture]:
        settings = {name: control.value for name, control in self._controls.items()} | self._fixed
        runs = compare(self._rewards, settings.pop("baseline"), settings)
        return sentences(describe(self._rewards, runs)), draw(self._rewards, runs)


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

    Raises `ValueError` for settings outside their range.
    """
    fixed = {"updates": updates, "repeats": repeats, "seed": seed}
    check(rewards, lr, decay, m=m, updates=updates, repeats=repeats)
    return PolicySandbox(tuple(rewards), baseline, m, lr, decay, fixed)


def _look(name: str, hint: str, width: str) -> dict[str, Any]:
    style, layout = {"description_width": "initial"}, Layout(width=width, margin="2px 16px 2px 2px")
    return {"description": name, "tooltip": hint, "style": style, "layout": layout}
