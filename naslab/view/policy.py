"""What REINFORCE learns on arms of fixed rewards, with and without a baseline: the curves and their sentences."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from naslab.view.bandit import Runs, learn
from naslab.view.canvas import beside
from naslab.view.chart import Line, chart
from naslab.view.picture import Picture

REWARDS = (0.90, 0.91, 0.93, 0.94, 0.86)  # like accuracies: far from 0, close together
WITH, WITHOUT = "with the baseline", "with b = 0"


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
    return draw(rewards, compare(rewards, baseline, settings))


def compare(rewards: Sequence[float], baseline: bool, settings: dict[str, Any]) -> dict[str, Runs]:
    """The runs of `bandit.learn` without a baseline, and before them those with it if `baseline` is true."""
    kinds = {WITH: True, WITHOUT: False} if baseline else {WITHOUT: False}
    return {name: learn(rewards, baseline=kind, **settings) for name, kind in kinds.items()}


def draw(rewards: Sequence[float], runs: dict[str, Runs]) -> Picture:
    """The expected reward and the variance of the estimate over the updates, side by side."""
    first, (learning, spread) = next(iter(runs.values())), describe(rewards, runs)
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


def describe(rewards: Sequence[float], runs: dict[str, Runs]) -> list[str]:
    """A sentence for each of the two charts."""
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


def _line(name: str, expected: Tensor) -> Line:
    """The mean over the runs, and the band from the 10th to the 90th percentile."""
    low, high = torch.quantile(expected, expected.new_tensor([0.1, 0.9]), dim=1).numpy()
    return Line(name != WITH, expected.mean(1).numpy(), low, high)
