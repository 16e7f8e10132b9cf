"""REINFORCE where everything can be known: a softmax over k arms of fixed rewards, many learners side by side.

Here a string has one decision, so that gradient and variance are sums over k arms, and the estimate of a learner
can be held against them at each update. Shapes: p (..., k), rewards R (k,), baseline b (...); m children.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor


def gradient(p: Tensor, rewards: Tensor) -> Tensor:
    """dJ/dtheta of the expected reward J = sum_i p_i R_i, for p = softmax(theta): p_i (R_i - J), (..., k)."""
    return p * (rewards - (p @ rewards)[..., None])


def estimate(p: Tensor, counts: Tensor, rewards: Tensor, b: Tensor | float) -> Tensor:
    """REINFORCE's estimate of `gradient` from how often each arm was drawn, counts (..., k) that add up to m.

    (1/m) sum_j (R_j - b) grad log p(a_j), and grad_i log p(a) = 1[i = a] - p_i (Zoph & Le 2017, section 3.2).
    """
    weighted = counts * (rewards - torch.as_tensor(b, dtype=rewards.dtype)[..., None])  # (..., k)
    return (weighted - p * weighted.sum(-1, keepdim=True)) / counts.sum(-1, keepdim=True)


def variance(p: Tensor, rewards: Tensor, b: Tensor | float, m: int) -> Tensor:
    """The variance of `estimate`, exact, summed over its components: (E[(R - b)^2 |grad log p|^2] - |grad J|^2) / m."""
    second = (p * _squared_score(p) * (rewards - torch.as_tensor(b, dtype=rewards.dtype)[..., None]) ** 2).sum(-1)
    return (second - gradient(p, rewards).square().sum(-1)) / m


def best_baseline(p: Tensor, rewards: Tensor) -> Tensor:
    """The constant b of least `variance`: E[R |grad log p|^2] / E[|grad log p|^2]; J where p has settled on one arm."""
    weight = p * _squared_score(p)
    total = weight.sum(-1)
    return torch.where(total > 0, (weight * rewards).sum(-1) / total, p @ rewards)


def _squared_score(p: Tensor) -> Tensor:
    """|grad log p(a)|^2 of every arm a, (..., k): sum_i (1[i = a] - p_i)^2."""
    return 1 - 2 * p + p.square().sum(-1, keepdim=True)


@dataclass(frozen=True)
class Runs:
    """What `updates` updates did to each of n learners that started uniform; row u is before update u."""

    policies: Tensor  # (updates + 1, n, k) probabilities of the arms
    expected: Tensor  # (updates + 1, n) exact expected reward of the policy
    variances: dict[str, Tensor]  # of the estimate that each update drew from, by baseline: (updates, n)
    lengths: Tensor  # (updates, n) squared length of the gradient that it estimated, |grad J|^2


def learn(
    rewards: Sequence[float],
    with_baseline: Sequence[bool],
    *,
    m: int,
    lr: float,
    decay: float,
    updates: int,
    repeats: int,
    seed: int,
) -> list[Runs]:
    """Plain gradient ascent on REINFORCE's estimate from m children: for each of `with_baseline`, `repeats` learners.

    With a baseline b is the moving average of the mean rewards of earlier updates, 0 before there is one, as in
    `search.reinforce`; without it b = 0. The variances are those at the same policy with b = 0, with the
    moving average, and with the best constant. Equal seeds draw equal numbers, whatever else is chosen. float64.
    Raises `ValueError` for fewer than two rewards and for numbers outside their range.
    """
    check(rewards, lr, decay, m=m, updates=updates, repeats=repeats)
    n = len(with_baseline) * repeats
    used = torch.tensor(with_baseline, dtype=torch.float64).repeat_interleave(repeats)  # (n,): 1 with a baseline
    rewards_ = torch.tensor(list(rewards), dtype=torch.float64)
    uniform = torch.rand(updates, repeats, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    theta = torch.zeros(n, len(rewards_), dtype=torch.float64)
    average = torch.zeros(n, dtype=torch.float64)
    policies, averages = [], []
    for u, draws in enumerate(uniform.repeat(1, len(with_baseline), 1)):
        p = theta.softmax(-1)  # (n, k)
        policies.append(p)
        averages.append(average)
        arms = torch.searchsorted(p.cumsum(-1)[:, :-1].contiguous(), draws, right=True)  # (n, m)
        counts = torch.zeros_like(p).scatter_add_(-1, arms, torch.ones_like(draws))
        theta = theta + lr * estimate(p, counts, rewards_, used * average)
        mean = counts @ rewards_ / m
        average = decay * average + (1 - decay) * mean if u else mean
    policies.append(theta.softmax(-1))
    after, b = torch.stack(policies), torch.stack(averages)  # (updates + 1, n, k), (updates, n)
    p = after[:-1]
    baselines = {"moving average": b, "b = 0": torch.zeros_like(b), "best b": best_baseline(p, rewards_)}
    variances = {name: variance(p, rewards_, at, m) for name, at in baselines.items()}
    expected, lengths = after @ rewards_, gradient(p, rewards_).square().sum(-1)
    each = [slice(k, k + repeats) for k in range(0, n, repeats)]
    return [
        Runs(after[:, s], expected[:, s], {name: v[:, s] for name, v in variances.items()}, lengths[:, s]) for s in each
    ]


def check(rewards: Sequence[float], lr: float, decay: float, **counts: int) -> None:
    """Raises `ValueError` for a setting of `learn` outside its range."""
    if not isinstance(rewards, Sequence) or len(rewards) < 2 or not all(map(_finite, rewards)):
        raise ValueError(f"rewards: got {rewards!r}, expected two or more finite numbers, one for each arm")
    if not _finite(lr) or lr < 0:
        raise ValueError(f"lr: got {lr!r}, expected a finite number of at least 0")
    if not _finite(decay) or not 0 <= decay < 1:
        raise ValueError(f"decay: got {decay!r}, expected 0 or more, less than 1")
    for name, count in counts.items():
        least = 1 if name == "m" else 2
        if not isinstance(count, int) or isinstance(count, bool) or count < least:
            raise ValueError(f"{name}: got {count!r}, expected an int of at least {least}")


def _finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
