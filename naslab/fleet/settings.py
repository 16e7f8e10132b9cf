"""The machines of figure 3 in Zoph & Le 2017: parameter-server shards, controller replicas, and workers."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import log_ndtr

from naslab import checks


@dataclass(frozen=True)
class Duration:
    """A random time in seconds, lognormal, with the given mean and standard deviation `spread`; 0: constant.

    The paper states no durations. A lognormal is positive and has a long right tail, as the times of jobs have.
    Raises `ValueError` for a negative number, and for a spread around a mean of 0.
    """

    mean: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        checks.number(0, mean=self.mean, spread=self.spread)
        if self.spread and not self.mean:
            raise ValueError(f"spread: got {checks.shown(self.spread)}, expected 0 around a mean of 0")
        checks.plain_fields(self)

    @property
    def sigma(self) -> float:
        """The standard deviation of the logarithm."""
        return math.sqrt(math.log1p((self.spread / self.mean) ** 2)) if self.spread else 0.0

    @property
    def mu(self) -> float:
        """The mean of the logarithm."""
        return math.log(self.mean) - self.sigma**2 / 2

    def sample(self, n: int, generator: torch.Generator) -> np.ndarray:
        """Draws n times, (n,) float64. A constant draws no random numbers."""
        if not self.spread:
            return np.full(n, self.mean)
        z = torch.randn(n, generator=generator, dtype=torch.float64).numpy()
        return np.exp(self.mu + self.sigma * z)

    def expected_max(self, n: int) -> float:
        """Returns E[max of n independent times].

        The largest of n normals z has the density n phi(z) Phi(z)^(n - 1); its
        lognormal is exp(mu + sigma z). The sum over a grid is the integral to 1e-9,
        because the integrand is smooth and vanishes at both ends.
        """
        checks.whole(1, n=n)
        if not self.spread:
            return self.mean
        z = np.linspace(-12.0, 12.0 + self.sigma, 4001)
        log_phi = -(z**2) / 2 - math.log(2 * math.pi) / 2
        log_density = math.log(n) + log_phi + (n - 1) * log_ndtr(z)
        return float(np.exp(log_density + self.mu + self.sigma * z).sum() * (z[1] - z[0]))


@dataclass(frozen=True)
class Fleet:
    """S shards hold theta; each of K replicas pulls it, samples m children, and pushes a gradient (section 3.2).

    Every shard holds 1/S of theta. A replica asks all shards at once; each shard serves one request at a time, in the
    order of arrival, and takes `pull` / S or `push` / S. The children wait for idle workers in one queue.

    Asynchronous replicas do not wait for one another: the server applies an update after every
    `gradients_per_update` gradients. Synchronous replicas do: all K pull the same theta, and an update is the mean of
    their K gradients. `synchronised` makes such a fleet. Raises `ValueError` for a setting out of range.
    """

    shards: int  # S
    replicas: int  # K
    children: int  # m, per replica and gradient
    workers: int  # each trains one child at a time
    child: Duration  # of one child's training
    pull: Duration = Duration(0.0)  # seconds in which one shard that holds all of theta sends it
    push: Duration = Duration(0.0)  # seconds in which one shard that holds all of theta takes a gradient
    gradients_per_update: int = 1
    synchronous: bool = False

    def __post_init__(self) -> None:
        checks.whole(1, shards=self.shards, replicas=self.replicas, children=self.children, workers=self.workers)
        checks.whole(1, gradients_per_update=self.gradients_per_update)
        checks.is_a(Duration, child=self.child, pull=self.pull, push=self.push)
        checks.positive(**{"child.mean": self.child.mean})
        checks.flag(synchronous=self.synchronous)
        checks.plain_fields(self)
        if self.synchronous and self.gradients_per_update != self.replicas:
            got = f"got {self.gradients_per_update}, expected one of each replica, {self.replicas}"
            raise ValueError(f"gradients_per_update: {got}, because the fleet is synchronous")


def synchronised(fleet: Fleet) -> Fleet:
    """Returns the fleet with replicas that wait for one another: one update per K gradients."""
    checks.is_a(Fleet, fleet=fleet)
    return replace(fleet, synchronous=True, gradients_per_update=fleet.replicas)


def cifar10(child: Duration, pull: Duration = Duration(0.0), push: Duration = Duration(0.0)) -> Fleet:
    """Returns the fleet of section 4.1: 800 GPUs for CIFAR-10. The search trained 12,800 children: 1,600 updates.

    The paper does not state the times. If the search took 800 GPUs for 28 days (Zoph et al. 2018, section 1), a child
    took at most 42 hours: 537,600 GPU hours / 12,800 children.
    """
    return Fleet(20, 100, 8, 800, child, pull, push)


def ptb(child: Duration, pull: Duration = Duration(0.0), push: Duration = Duration(0.0)) -> Fleet:
    """Returns the fleet of section 4.2: 400 CPUs for Penn Treebank, an update per 10 gradients. It states no times."""
    return Fleet(20, 400, 1, 400, child, pull, push, gradients_per_update=10)
