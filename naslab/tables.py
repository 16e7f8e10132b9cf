"""Ground truth: the measured accuracy of every architecture of a small space. With it regret and rank are exact.

`nas_bench_201`: 15,625 cells, each trained for 200 epochs on three data sets (Dong & Yang 2020). The figures are those
of NATS-Bench (Dong et al. 2021), means over two or three seeds; `assets/README.md` says how they were obtained.

`cells`, `macro` and `conv` are our own: `benchmarks` says how each architecture was trained.
"""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import nan

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import kendalltau
from torch import Tensor

from naslab import assets, checks, spaces
from naslab.spaces import Space, Tokens, Weights

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")


@dataclass(frozen=True, eq=False)
class Table:
    """Accuracy, parameters and training time of every architecture of a space.

    Arrays are (strings,) or (seeds, strings), in the order of `spaces.all_strings`. Methods take tokens and raise
    `ValueError` for tokens that are not a string of the space. The constructor raises `ValueError` if an array does not
    have one number per string, or if the decisions of the space depend on each other.
    """

    name: str
    space: Space
    valid: np.ndarray  # (seeds, strings), validation accuracy in percent of each training
    parameters: np.ndarray  # (strings,)
    train_seconds: np.ndarray  # (strings,), the mean over the seeds
    test: np.ndarray | None = None  # (seeds, strings), percent
    flops: np.ndarray | None = None  # (strings,), of classifying one image; a multiplication and an addition are two
    machine: str = ""  # that trained the architectures

    def __post_init__(self) -> None:
        decisions = getattr(self.space, "decisions", None)
        if not isinstance(decisions, tuple) or any(decision.differs_from for decision in decisions):
            raise ValueError(f"space: got {self.space!r}, expected a space with independent decisions")
        for name, axes in (("valid", 2), ("parameters", 1), ("train_seconds", 1), ("test", 2), ("flops", 1)):
            column = getattr(self, name)
            if column is None and name in ("test", "flops"):
                continue
            if not isinstance(column, np.ndarray):
                raise ValueError(f"{name}: got {type(column).__name__}, expected an array of numbers")
            shape = (*self.valid.shape[:1], self.space.strings) if axes == 2 else (self.space.strings,)
            if column.shape != shape or not column.size or column.dtype.kind not in "iuf":
                wanted = f"(seeds, {self.space.strings})" if name == "valid" else shape
                raise ValueError(f"{name}: got {column.dtype} {column.shape}, expected numbers {wanted}")
            if not np.isfinite(column).all():
                raise ValueError(f"{name}: got {column[~np.isfinite(column)][0]}, expected finite numbers")

    # Every architecture

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The number of options of each decision. Tokens index an array of this shape; `row` is the flat index."""
        return tuple(len(decision.options) for decision in self.space.decisions)

    @cached_property
    def all_tokens(self) -> Tensor:
        """All strings of the space, (strings, D) int64."""
        return torch.tensor([*spaces.all_strings(self.space)])

    @cached_property
    def accuracies(self) -> np.ndarray:
        """Validation accuracy of every architecture, the mean over the seeds, (strings,), percent."""
        mean: np.ndarray = self.valid.mean(0, dtype=np.float64)
        mean.setflags(write=False)
        return mean

    @property
    def best(self) -> Tokens:
        """The most accurate architecture, the first one in a tie."""
        return tuple(map(int, np.unravel_index(self.accuracies.argmax(), self.shape)))

    # One architecture

    def row(self, tokens: Iterable[int]) -> int:
        """Returns the index of an architecture in the arrays."""
        row = 0
        for token, options in zip(self.space.check(tokens), self.shape, strict=True):
            row = row * options + token
        return row

    def accuracy(self, tokens: Iterable[int]) -> float:
        """Validation accuracy in percent after the full training, the mean over the seeds."""
        return float(self.accuracies[self.row(tokens)])

    def trained(self, tokens: Iterable[int], seed: int) -> float:
        """Validation accuracy in percent of one training: what a search measures that trains each child once.

        Raises `ValueError` unless 0 <= seed < the number of seeds.
        """
        checks.whole(0, len(self.valid), seed=seed)
        return float(self.valid[seed, self.row(tokens)])

    def params(self, tokens: Iterable[int]) -> int:
        """Number of parameters of the network."""
        return int(self.parameters[self.row(tokens)])

    def seconds(self, tokens: Iterable[int]) -> float:
        """Time of one full training in seconds: on NAS-Bench-201's GPU, or of our CPU."""
        return float(self.train_seconds[self.row(tokens)])

    def rank(self, tokens: Iterable[int]) -> int:
        """One plus the number of strictly better architectures. 1 is best; ties share a rank."""
        return 1 + int((self.accuracies > self.accuracies[self.row(tokens)]).sum())

    def regret(self, tokens: Iterable[int]) -> float:
        """The accuracy of the best architecture minus that of this one, in percentage points."""
        return float(self.accuracies.max()) - self.accuracy(tokens)

    # A distribution over architectures

    def policy(self, score: Callable[[Tensor], tuple[Tensor, Tensor]]) -> np.ndarray:
        """Returns the probability of every string under a policy, (strings,) float64.

        `score` is `controller.score`: it maps strings (m, D) to their log-probabilities (m,) and entropies (m,).
        """
        with torch.no_grad():
            log_p = torch.cat([score(part)[0] for part in self.all_tokens.split(4096)])
        return log_p.double().exp().numpy()

    def relaxed(self, weights: Weights) -> np.ndarray:
        """Returns the probability of every string if each decision is drawn from its row of `weights`, (strings,).

        `weights` are mixing weights, such as `darts.relax(alpha)`: every row of a decision adds up to 1. Raises
        `ValueError` if a row does not, and for a space whose nodes choose their inputs: its rows are no decisions.
        """
        if getattr(self.space, "fan_in", None) is not None:
            raise ValueError(f"space: got {self.space!r}, expected one with a row of weights for each decision")
        spaces.check_tables(self.space, weights)
        log_p = torch.zeros(len(self.all_tokens), dtype=torch.float64)
        for name, corners in self._corners.items():
            given = weights[name].detach().to("cpu", torch.float64)
            log_p += torch.xlogy(corners, given).flatten(1).sum(1)
        p: np.ndarray = log_p.exp().numpy()
        if not abs(p.sum() - 1) < 1e-4:
            raise ValueError(f"weights: got rows that do not add up to 1 (all strings together have {p.sum():.6g})")
        return p

    def expected(self, probabilities: ArrayLike) -> float:
        """Returns the exact expected accuracy in percent, given the probability of every string, (strings,).

        Raises `ValueError` if the shape is wrong, a probability is negative, or they do not add up to 1.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        if p.shape != self.accuracies.shape or not (p >= 0).all() or not abs(p.sum() - 1) < 1e-4:
            raise ValueError(
                f"probabilities: got {p.shape} with sum {p.sum():.6g}, expected {self.accuracies.shape}, "
                "none negative, with sum 1"
            )
        return float(p @ self.accuracies)

    @cached_property
    def _corners(self) -> Weights:
        """The one-hot tables of all strings, each (strings, *shape)."""
        corners = [self.space.one_hot(tokens, dtype=torch.float64) for tokens in self.all_tokens.tolist()]
        return {name: torch.stack([corner[name] for corner in corners]) for name in self.space.tables}

    # How far the table itself can be trusted

    @property
    def noise(self) -> float:
        """Standard deviation between trainings of one architecture, pooled over all, in points; nan for one seed."""
        return float(np.sqrt(self.valid.var(0, ddof=1).mean())) if len(self.valid) > 1 else nan

    @property
    def spread(self) -> float:
        """Standard deviation of the true accuracy between architectures, in points: the noise is subtracted."""
        observed = self.accuracies.var(ddof=1) - self.noise**2 / len(self.valid)
        return float(np.sqrt(max(observed, 0.0)))

    def tau(self, scores: ArrayLike) -> float:
        """Kendall's tau (b, for ties) between scores of all architectures, (strings,), and their accuracies."""
        return _tau(scores, self.accuracies)

    @property
    def ceiling(self) -> float:
        """Kendall's tau between one training of every architecture and the mean of the other trainings.

        The mean over the seeds. A score that ranks better than this is better than a whole training; nan for one seed.
        """
        if len(self.valid) == 1:
            return nan
        rest = [np.delete(self.valid, k, 0).mean(0) for k in range(len(self.valid))]
        return float(np.mean([*map(_tau, self.valid, rest)]))

    @property
    def agreement(self) -> float:
        """Kendall's tau between two trainings of every architecture, the mean over pairs of seeds; nan for one seed."""
        pairs = [*combinations(self.valid, 2)]
        return float(np.mean([_tau(one, other) for one, other in pairs])) if pairs else nan


def _tau(one: ArrayLike, other: ArrayLike) -> float:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        raise ValueError(f"scores: got {one.shape}, expected {other.shape}")
    return float(kendalltau(one, other).statistic)


def nas_bench_201(dataset: str = "cifar10") -> Table:
    """Returns the table for "cifar10", "cifar100" or "ImageNet16-120": validation accuracy after 200 epochs.

    "cifar10" is the benchmark's CIFAR-10-valid: training on one half of CIFAR-10's training set, validation on the
    other half. The arrays of these tables are read-only. There is one row of accuracies, the mean over the seeds.
    """
    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise ValueError(f"dataset: got {dataset!r}, expected one of {DATASETS}")
    return _read(dataset)


@lru_cache
def _read(dataset: str) -> Table:
    with np.load(io.BytesIO(assets.read("nas_bench_201.npz")), allow_pickle=False) as arrays:
        place = arrays["datasets"].tolist().index(dataset)
        columns = [arrays[column][place] for column in ("accuracy", "params", "seconds")]
    for column in columns:
        column.setflags(write=False)
    accuracy, parameters, seconds = columns
    return Table(dataset, spaces.nas_bench_201(), accuracy[None], parameters, seconds)


def cells(share: float = 1.0) -> Table:
    """Returns the table of cells with 3 edges and NAS-Bench-201's ops, 125 architectures, in the plain skeleton.

    Each was trained 5 times for 8 epochs on 2,000 images of Fashion-MNIST at 14x14. `share` is 0.25, 0.5 or 1: the
    accuracies after that share of the training.
    """
    if isinstance(share, bool) or share not in (0.25, 0.5, 1.0):
        raise ValueError(f"share: got {checks.shown(share)}, expected 0.25, 0.5 or 1")
    return _own("cells", spaces.nas_bench_201(nodes=2), float(share))


def macro(epochs: int = 20) -> Table:
    """Returns the table of ENAS' macro space with 2 layers, 72 architectures, after 5 or 20 epochs.

    Each was trained 10 times on 1,000 images of Fashion-MNIST at 14x14, in the plain skeleton with 8 channels.
    """
    if isinstance(epochs, bool) or epochs not in (5, 20):
        raise ValueError(f"epochs: got {checks.shown(epochs)}, expected 5 or 20")
    return _own(f"macro_{int(epochs)}", spaces.MacroSpace(2), 1.0)


def conv() -> Table:
    """Returns the table of NAS-RL's convolutional space with 2 layers and 2 to 16 filters, 8,192 architectures.

    Each was trained 3 times for 2 epochs on 600 images of scikit-learn's digits.
    """
    return _own("conv", spaces.ConvSpace(2, filters=(2, 4, 8, 16)), 1.0)


@lru_cache
def _own(name: str, space: Space, share: float) -> Table:
    """Reads a table that `tools/make_tables.py` made."""
    with np.load(io.BytesIO(assets.read(f"{name}.npz")), allow_pickle=False) as arrays:
        made = json.loads(str(arrays["made"]))
        stop = made["stops"].index(share)
        valid, test = (arrays[split][stop] / (made[split] / 100) for split in ("valid", "test"))
        seconds = arrays["seconds"].mean(0, dtype=np.float64)
        parameters, flops = arrays["parameters"], arrays["flops"]
    for column in (valid, test, seconds, parameters, flops):
        column.setflags(write=False)
    return Table(name, space, valid, parameters, seconds, test, flops, made["machine"])
