"""Ground truth: a space so small that every architecture in it has been trained, so that regret is a number.

NAS-Bench-201 (Dong & Yang 2020) trained each of its 15,625 cells for 200 epochs on three data sets. The figures are
those of NATS-Bench (Dong et al. 2021), means over two or three seeds; `assets/README.md` says how they got here.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from naslab import assets, spaces
from naslab.spaces import CellSpace, Tokens

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")


@dataclass(frozen=True, eq=False)
class Table:
    """What is known of every architecture of a space. The arrays (size,) are read-only, in `spaces.all_strings`' order.

    All methods take tokens and raise the space's `ValueError` for tokens that are not its own. So does a table whose
    arrays do not have a number for every string, or whose space has decisions that depend on one another.
    """

    name: str
    space: CellSpace
    accuracies: np.ndarray  # percent
    parameters: np.ndarray
    train_seconds: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.space, CellSpace) or any(decision.differs_from for decision in self.space.decisions):
            raise ValueError(f"space: got {self.space!r}, expected a CellSpace whose decisions are free")
        for name in ("accuracies", "parameters", "train_seconds"):
            column = getattr(self, name)
            if not isinstance(column, np.ndarray):
                raise ValueError(f"{name}: got {type(column).__name__}, expected an array of numbers")
            if column.shape != (self.space.strings,) or column.dtype.kind not in "iuf":
                raise ValueError(f"{name}: got {column.dtype} {column.shape}, expected numbers ({self.space.strings},)")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """How many options each decision has. A string is a place in an array of this shape, a row its flat index."""
        return tuple(len(decision.options) for decision in self.space.decisions)

    def row(self, tokens: Iterable[int]) -> int:
        """Where the arrays hold an architecture."""
        row = 0
        for token, options in zip(self.space.check(tokens), self.shape, strict=True):
            row = row * options + token
        return row

    def accuracy(self, tokens: Iterable[int]) -> float:
        """Validation accuracy in percent after the full training."""
        return float(self.accuracies[self.row(tokens)])

    def params(self, tokens: Iterable[int]) -> int:
        """How many weights the network has."""
        return int(self.parameters[self.row(tokens)])

    def seconds(self, tokens: Iterable[int]) -> float:
        """How long the full training took on the benchmark's GPU."""
        return float(self.train_seconds[self.row(tokens)])

    @property
    def best(self) -> Tokens:
        """The most accurate architecture; the first in order if several are."""
        return tuple(map(int, np.unravel_index(self.accuracies.argmax(), self.shape)))

    def rank(self, tokens: Iterable[int]) -> int:
        """One more than the number of strictly better architectures: 1 is best, equals share a rank."""
        return 1 + int((self.accuracies > self.accuracies[self.row(tokens)]).sum())

    def regret(self, tokens: Iterable[int]) -> float:
        """How many points of accuracy are lost against the best architecture."""
        return float(self.accuracies.max()) - self.accuracy(tokens)


def nas_bench_201(dataset: str = "cifar10") -> Table:
    """The table for "cifar10", "cifar100" or "ImageNet16-120": validation accuracy after 200 epochs.

    "cifar10" is the benchmark's CIFAR-10-valid: trained on half of CIFAR-10's training set, validated on the other.
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
    return Table(dataset, spaces.nas_bench_201(), *columns)
