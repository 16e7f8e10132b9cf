"""A sandbox for the policy gradient: what the baseline, m, the step and the decay do to REINFORCE."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from ipywidgets import HTML, BoundedFloatText, BoundedIntText, Checkbox, HBox, Layout
from torch import Tensor

from naslab.view.bandit import Runs, check, learn
from naslab.view.canvas import beside, inline
from naslab.view.chart import Line, chart
from naslab.view.controls import Pictured
from naslab.view.picture import Picture

REWARDS = (0.90, 0.91, 0.93, 0.94, 0.86)  # like accuracies: far from 0, close together

_MEANS = {
    "m": "how many children each estimate averages",
    "lr": "the step of plain gradient ascent",
    "decay": "of the moving average; 0: the last mean alone",
}
WITH, WITHOUT = "with the baseline", "with b = 0"


class PolicySandbox(Pictured):
    """Controls `baseline`, `m`, `lr` and `decay`; `text` and `drawing` follow them."""

    def __init__(
        self, rewards: tuple[float, ...], baseline: bool, m: int, lr: float, decay: float, fixed: dict[str, int]
    ) -> None:
        self._rewards, self._fixed = rewards, fixed
        self._text, self._drawing = HTML(), HTML(layout=Layout(min_height="310px"))
        self.baseline = Checkbox(
            baseline, description="baseline", tooltip="also learn with one", indent=False, layout=Layout(width="110px")
        )
        self.m = BoundedIntText(
            m, min=1, max=max(64, m), description="m, children per update", tooltip=_MEANS["m"], **_looks("200px")
        )
        self.lr = BoundedFloatText(
            lr, min=0, max=max(50, lr), step=0.5, description="learning rate", tooltip=_MEANS["lr"], **_looks("160px")
        )
        self.decay = BoundedFloatText(
            decay,
            min=0,
            max=max(0.99, decay),
            step=0.05,
            description="baseline decay",
            tooltip=_MEANS["decay"],
            **_looks("170px"),
        )
        controls = [self.baseline, self.m, self.lr, self.decay]
        super().__init__([HBox(controls, layout=Layout(flex_flow="row wrap")), self._text, self._drawing])
        self._show()
        for control in controls:
            control.observe(self._show, "value")

    def __repr__(self) -> str:
        updates, repeats = self._fixed["updates"], self._fixed["repeats"]
        return f"policy sandbox: {len(self._rewards)} arms, {repeats} runs of {updates} updates"

    @property
    def picture(self) -> Picture:
        return _draw(self._rewards, self._runs)

    @property
    def text(self) -> str:
        """What the runs came to, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """Learning curve and variance, SVG."""
        return self._drawing.value

    def _show(self, change: Any = None) -> None:
        values = {"m": self.m.value, "lr": self.lr.value, "decay": self.decay.value}
        self._runs = _learn(self._rewards, self.baseline.value, values | self._fixed)
        lines = (f"<div>{line}</div>" for line in _sentences(self._rewards, self._runs))
        self._text.value = f'<div style="line-height:1.5;max-width:940px">{"".join(lines)}</div>'
        self._drawing.value = inline(self.picture)


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
    """REINFORCE on a softmax over arms of these rewards, many runs at once; see `bandit.learn` for the settings.

    Raises `ValueError` for settings outside their range.
    """
    fixed = {"updates": updates, "repeats": repeats, "seed": seed}
    check(rewards, lr, decay, m=m, updates=updates, repeats=repeats)
    return PolicySandbox(tuple(rewards), baseline, m, lr, decay, fixed)


def policy_picture(
    rewards: Sequence[float] = REWARDS,
    *,
    baseline: bool = True,
    m: int = 4,
    lr: float = 5.0,
    decay: float = 0.9,
    updates: int = 100,
    repeats: int = 200,
    seed: int = 0,
) -> Picture:
    """What `policy_sandbox` draws."""
    settings = {"m": m, "lr": lr, "decay": decay, "updates": updates, "repeats": repeats, "seed": seed}
    return _draw(rewards, _learn(rewards, baseline, settings))


def _looks(width: str) -> dict[str, Any]:
    return {"style": {"description_width": "initial"}, "layout": Layout(width=width, margin="2px 16px 2px 2px")}


def _learn(rewards: Sequence[float], baseline: bool, settings: dict[str, Any]) -> dict[str, Runs]:
    """The runs with the baseline, if it is asked for, and always those without."""
    kinds = {WITH: True, WITHOUT: False} if baseline else {WITHOUT: False}
    return {name: learn(rewards, baseline=kind, **settings) for name, kind in kinds.items()}


def _draw(rewards: Sequence[float], runs: dict[str, Runs]) -> Picture:
    first, (learning, spread) = next(iter(runs.values())), _sentences(rewards, runs)
    left = chart(
        {name: _line(name, r.expected) for name, r in runs.items()},
        xlabel="updates",
        title="Expected reward: mean and middle 80 % of the runs",
        alt=learning,
        reference=("best arm", max(rewards)),
        log=False,
    )
    right = chart(
        {name: Line(k, v.mean(1).clamp(min=1e-12).numpy()) for k, (name, v) in enumerate(first.variances.items())},
        xlabel="updates",
        title=f"Variance of the estimate; policies learned {next(iter(runs))}",
        alt=spread,
        reference=None,
        log=True,
    )
    return beside("REINFORCE with and without a baseline", left, right)


def _line(name: str, expected: Tensor) -> Line:
    """The mean over the runs, and the band from the 10th to the 90th percentile."""
    low, high = torch.quantile(expected, expected.new_tensor([0.1, 0.9]), dim=1).numpy()
    return Line(name != WITH, expected.mean(1).numpy(), low, high)


def _sentences(rewards: Sequence[float], runs: dict[str, Runs]) -> list[str]:
    """One for each plot."""
    first = next(iter(runs.values()))
    updates, repeats = len(first.expected) - 1, first.expected.shape[1]
    ends = "; ".join(f"{name} {r.expected[-1].mean():.4f} ± {r.expected[-1].std():.4f}" for name, r in runs.items())
    uniform = math.fsum(rewards) / len(rewards)
    start = {name: v[:2].mean(1)[-1].item() for name, v in first.variances.items()}
    variances = "; ".join(f"{v:.3g} with {name}" for name, v in start.items())
    return [
        f"Expected reward after {updates} updates, mean ± standard deviation of {repeats} runs: {ends}. "
        f"Uniform policy {uniform:.4f}, best arm {max(rewards):.4f}.",
        f"Exact variance of the gradient estimate at the second update: {variances}.",
    ]
