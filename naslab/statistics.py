"""Means and differences of repeated runs, each with a confidence interval.

A repetition must be independent of the others, such as a run with a seed of `runs.spawn`. Children or batches of the
same run are not repetitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 9999
PILE = 1 / 3  # if a larger share of values equals the minimum or maximum, the mean is not nearly normal
ENOUGH = 10  # a bootstrap of fewer repetitions gives too narrow intervals


@dataclass(frozen=True)
class Interval:
    """A mean over n repetitions, or a difference of two means, with a confidence interval at `level`.

    `values` are the repetitions or their paired differences. `minus` is the second group of an unpaired difference.
    Make one with `interval` or `difference`.
    """

    values: tuple[float, ...]
    minus: tuple[float, ...] | None = None
    level: float = 0.95
    scale: float = 0.0  # largest absolute value before paired differences were taken

    @property
    def n(self) -> int:
        """The number of repetitions; of two groups, that of the smaller one."""
        return min(map(len, self._groups))

    @cached_property
    def mean(self) -> float:
        return float(np.mean(self.values) - (np.mean(self.minus) if self.minus is not None else 0.0))

    @property
    def method(self) -> str:
        """The method of the interval: "t", "bootstrap", or "constant" if all repetitions of every group are equal."""
        if all(np.ptp(group) <= 1e-12 * self._scale for group in self._groups):  # differences are rounded
            return "constant"
        piled = any(max(group.count(min(group)), group.count(max(group))) > PILE * len(group) for group in self._groups)
        return "bootstrap" if piled and self.n >= ENOUGH else "t"

    @cached_property
    def p(self) -> float:
        """The p-value of the two-sided test that the true value is 0; nan if the repetitions do not vary."""
        match self.method:
            case "constant":
                return nan
            case "t":
                error, freedom = self._error
                return float(2 * stats.t.sf(abs(self.mean) / error, freedom))
        beyond = min(float((self._means <= 0).mean()), float((self._means >= 0).mean()))
        return float(min(1.0, 2 * (beyond * RESAMPLES + 1) / (RESAMPLES + 1)))

    @cached_property
    def low(self) -> float:
        return self._ends[0]

    @cached_property
    def high(self) -> float:
        return self._ends[1]

    @property
    def half(self) -> float:
        """Half the width: the number after the plus-minus sign of a t interval."""
        return (self.high - self.low) / 2

    @property
    def excludes_0(self) -> bool:
        """Whether 0 is outside the interval, so the true value differs from 0 at `level`. False if all are equal."""
        return self.method != "constant" and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """The conclusion from the interval, in words."""
        if self.method == "constant":
            return f"the same in all {self.n} repetitions, which gives no interval"
        return "above 0" if self.low > 0 else "below 0" if self.high < 0 else "cannot be told from 0"

    def __format__(self, spec: str) -> str:
        """Formats the mean and the interval: `f"{gain:+.2f}"` is "+3.81 [-2.56, +10.19]"."""
        mean, low, high = (format(number, spec or ".3g") for number in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)

    @property
    def _scale(self) -> float:
        return max(self.scale, *(abs(value) for group in self._groups for value in group))

    @property
    def _groups(self) -> list[tuple[float, ...]]:
        return [self.values] if self.minus is None else [self.values, self.minus]

    @cached_property
    def _error(self) -> tuple[float, float]:
        """The standard error and the degrees of freedom; for two groups those of Welch (1947)."""
        parts = [(np.var(group, ddof=1) / len(group), len(group) - 1) for group in self._groups]
        square = sum(v for v, _ in parts)
        return sqrt(square), float(square**2 / sum(v**2 / f for v, f in parts))

    @cached_property
    def _means(self) -> np.ndarray:
        """Means of bootstrap resamples, (RESAMPLES,). The random draws are always the same."""
        rng = np.random.default_rng(0)
        drawn = [rng.choice(group, (RESAMPLES, len(group))).mean(axis=1) for group in self._groups]
        return drawn[0] - (drawn[1] if len(drawn) == 2 else 0.0)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        match self.method:
            case "constant":
                return self.mean, self.mean
            case "t":
                error, freedom = self._error
                half = float(stats.t.ppf((1 + self.level) / 2, freedom)) * error
                return self.mean - half, self.mean + half
        low, high = np.quantile(self._means, [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(low), float(high)


def interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Returns the mean of independent repetitions (n,) with its confidence interval.

    The method is Student's t. It is the percentile bootstrap (Efron 1979) if there are at least 10 values and more than
    a third of them equal the lowest or the highest one, such as regrets of 0. Raises `ValueError` for fewer than 2
    values, for a value that is not finite, and for a level that is not between 0 and 1.
    """
    return Interval(_repetitions("values", values), level=_level(level))


def difference(a: ArrayLike, b: ArrayLike, *, paired: bool = True, level: float = 0.95) -> Interval:
    """Returns the mean of a (n,) minus the mean of b (m,), with its confidence interval.

    Use `paired` if repetition k of a and of b share what is not compared, such as the seed; then n = m. Otherwise the
    method is Welch's t. Raises `ValueError` as `interval` does, and if paired groups have different lengths.
    """
    first, second = _repetitions("a", a), _repetitions("b", b)
    if not paired:
        return Interval(first, second, _level(level))
    if len(first) != len(second):
        raise ValueError(f"b: got {len(second)} repetitions, expected {len(first)} as in a, or paired=False")
    pairs = tuple(x - y for x, y in zip(first, second, strict=True))
    return Interval(pairs, level=_level(level), scale=max(map(abs, (*first, *second))))


def band(rows: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, lower and upper end at every point of curves (repetitions, points), each (points,).

    `interval` computes them for each point separately. The probability that the true curve leaves the band at some
    point is larger than 1 - level. Raises `ValueError` as `interval` does.
    """
    curves = np.asarray(rows, dtype=float)
    if curves.ndim != 2:
        raise ValueError(f"rows: got shape {curves.shape}, expected (repetitions, points)")
    found = [interval(column, level) for column in curves.T]
    mean, low, high = np.array([(each.mean, each.low, each.high) for each in found]).reshape(-1, 3).T
    return mean, low, high


def holm(intervals: Mapping[str, Interval], level: float = 0.95) -> dict[str, Interval]:
    """Corrects intervals for multiple comparisons: the verdicts "above 0" and "below 0" hold jointly at `level`.

    Holm (1979) tests the smallest p of m against (1 - level) / m, the next against (1 - level) / (m - 1), and stops at
    the first failure. Each interval gets the level of its test; the ones after the failure get the level of the
    failure. So an interval excludes 0 exactly if Holm rejects. Constant repetitions have no test and do not count in m.
    """
    tested = sorted((name for name in intervals if isfinite(intervals[name].p)), key=lambda name: intervals[name].p)
    found = {name: replace(each, level=_level(level)) for name, each in intervals.items()}
    left, stopped = len(tested), False
    for name in tested:
        found[name] = replace(intervals[name], level=1 - (1 - level) / left)
        stopped = stopped or not found[name].excludes_0
        left -= not stopped
    return found


def _repetitions(name: str, values: ArrayLike) -> tuple[float, ...]:
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {type(values).__name__}, expected numbers") from None
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"{name}: got shape {found.shape}, expected one number for each of at least 2 repetitions")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: got {found[~np.isfinite(found)][0]}, expected finite numbers")
    if np.abs(found).max() > 1e150 or 0 < np.abs(found).max() < 1e-150:  # their squares do not fit into float64
        raise ValueError(f"{name}: got {found[np.abs(found).argmax()]:g}, expected 0 or numbers from 1e-150 to 1e150")
    return tuple(map(float, found))


def _level(level: float) -> float:
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise ValueError(f"level: got {level!r}, expected a number between 0 and 1")
    return level


def report(intervals: Mapping[str, Interval], unit: str = "", spec: str = "+.2f") -> str:
    """Returns lines to print: each interval with its unit and its verdict. `holm` corrects several intervals."""
    shown = holm(intervals)
    width = max(map(len, shown), default=0)
    after = f" {unit}" if unit else ""
    lines = [f"{name:<{width}}  {each:{spec}}{after}: {each.verdict}" for name, each in shown.items()]
    tested = sum(isfinite(each.p) for each in shown.values())
    together = f", together for {tested} comparisons (Holm)" if tested > 1 else ""
    return "\n".join([*lines, f"95 %{together}"])
