"""Learning-rate schedules."""

from dataclasses import dataclass
from math import cos, floor, log, pi

from naslab import checks


def cosine(done: float, high: float, low: float = 0.0) -> float:
    """Falls from `high` at done = 0 to `low` at done = 1 along a cosine (Loshchilov & Hutter 2017, eq. 5)."""
    return low + (high - low) * (1 + cos(pi * done)) / 2


def restarted(epoch: float, first: float, factor: float = 2.0) -> float:
    """Returns the fraction of the current cycle that is done at an epoch.

    The first cycle has `first` epochs, and each next one is `factor` times longer (Loshchilov & Hutter 2017, section 3:
    T_0 = first, T_mult = factor).
    """
    cycles = epoch / first
    if factor == 1:
        return cycles % 1
    k = floor(log(cycles * (factor - 1) + 1, factor) + 1e-12)  # cycles before this one
    return (cycles - (factor**k - 1) / (factor - 1)) / factor**k


@dataclass(frozen=True)
class Restarts:
    """epoch -> learning rate: cosines with warm restarts. The defaults are those of Pham et al. 2018, section 3.2."""

    high: float = 0.05
    low: float = 0.001
    first: float = 10.0  # epochs of the first cosine, T_0
    factor: float = 2.0  # ratio of the lengths of successive cosines, T_mul

    def __post_init__(self) -> None:
        checks.positive(high=self.high, first=self.first)
        checks.number(0, low=self.low)
        checks.number(1, factor=self.factor)
        checks.plain_fields(self)

    def __call__(self, epoch: float) -> float:
        return cosine(restarted(epoch, self.first, self.factor), self.high, self.low)


@dataclass(frozen=True)
class Decay:
    """epoch -> learning rate: multiplied by `rate` after each epoch from number `start` on, counted from 1.

    The defaults are those of Pham et al. 2018, section 3.1.
    """

    high: float = 20.0
    rate: float = 0.96
    start: int = 15

    def __post_init__(self) -> None:
        checks.positive(high=self.high, rate=self.rate)
        checks.whole(1, start=self.start)
        checks.plain_fields(self)

    def __call__(self, epoch: float) -> float:
        return self.high * self.rate ** max(0, floor(epoch) + 1 - self.start)
