"""What old gradients do to gradient ascent: exactly, for a policy that draws every decision by itself.

With K replicas in turn a gradient is tau = K - 1 updates old when it is applied:

    theta_{t+1} = theta_t + lr grad J(theta_{t - tau})

Near a maximum with curvature c this is e_{t+1} = e_t - lr c e_{t - tau}. `largest_root` and `stability_limit` say when
that shrinks. `Bits` is a policy small enough for hundreds of searches side by side.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from naslab import checks


def stability_limit(staleness: int) -> float:
    """Returns the largest lr c at which e_{t+1} = e_t - lr c e_{t - staleness} does not grow."""
    checks.whole(0, staleness=staleness)
    return 2 * math.sin(math.pi / (2 * (2 * staleness + 1)))


def largest_root(step: float, staleness: int) -> float:
    """Returns max |z| of the roots of z^(tau + 1) - z^tau + step: the factor by which errors grow per update."""
    checks.whole(0, staleness=staleness)
    coefficients = np.zeros(staleness + 2)
    coefficients[0] = 1
    coefficients[1] -= 1
    coefficients[-1] += step
    return float(np.abs(np.roots(coefficients)).max())


def ascent(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    lr: float | Tensor,
    pulled: Sequence[int],
) -> Tensor:
    """Follows old gradients from `start`.

    Returns theta before every update and at the end, (updates + 1, ...). Update t
    adds lr times the gradient at the theta of version `pulled[t]`. Raises `ValueError`
    unless 0 <= pulled[t] <= t.
    """
    thetas = [start]
    for t, version in enumerate(pulled):
        if not 0 <= version <= t:
            raise ValueError(f"pulled[{t}]: got {version}, expected 0 to {t}")
        thetas.append(thetas[-1] + lr * gradient(thetas[version]))
    return torch.stack(thetas)


@dataclass(frozen=True, eq=False)
class Bits:
    """A policy over strings of D bits: bit d is 1 with probability sigmoid(theta_d), whatever the others are.

    `strings` are all 2^D strings (N, D) with values 0 and 1, `rewards` (N,) theirs. theta may have leading axes: many
    searches side by side, (..., D).
    """

    strings: Tensor
    rewards: Tensor

    def log_p(self, theta: Tensor) -> Tensor:
        """The log-probability of every string, (..., N)."""
        ones = self.strings.to(theta)
        return logsigmoid(theta) @ ones.T + logsigmoid(-theta) @ (1 - ones).T

    def expected(self, theta: Tensor) -> Tensor:
        """J, the expected reward, (...)."""
        return self.log_p(theta).exp() @ self.rewards

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient of J, (..., D): the sum of p(a) (R(a) - J) (a - sigmoid(theta)) over all strings a."""
        p = self.log_p(theta).exp()
        weight = p * (self.rewards - (p @ self.rewards)[..., None])  # (..., N), with sum 0
        return weight @ self.strings.to(theta)

    def estimate(self, theta: Tensor, children: int, generator: torch.Generator) -> Tensor:
        """REINFORCE's estimate of the gradient from `children` strings of each search, (..., D).

        The baseline of a child is the mean reward of the others (lesson 02), so the
        mean of the estimate is the gradient. Needs at least two children.
        """
        checks.whole(2, children=children)
        p = self.log_p(theta).exp()
        drawn = torch.multinomial(p.reshape(-1, p.shape[-1]), children, True, generator=generator)
        drawn = drawn.reshape(*p.shape[:-1], children)  # places in `strings`
        r = self.rewards[drawn]  # (..., m)
        score = self.strings.to(theta)[drawn] - theta.sigmoid()[..., None, :]  # (..., m, D)
        advantage = (r - r.mean(-1, keepdim=True)) * children / (children - 1)
        return (advantage[..., None] * score).mean(-2)
