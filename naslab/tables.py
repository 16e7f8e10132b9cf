"""Ground truth: the measured accuracy of every architecture of a small space. With it regret and rank are exact.

In NAS-Bench-201 (Dong & Yang 2020) each of the 15,625 cells was trained for 200 epochs on three data sets. The figures
are those of NATS-Bench (Dong et al. 2021), means over two or three seeds; `assets/README.md` says how they were
obtained.
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
    """Accuracy, parameters and training time of every architecture of a space.

    Each array is (strings,), in the order of `spaces.all_strings`. Methods take tokens and raise `ValueError` for
    tokens that are not a string of the space. The constructor raises `ValueError` if an array does not have one number
    per string, or if the decisions of the space depend on each other.
    """

    name: str
    space: CellSpace
    accuracies: np.ndarray  # percent
    parameters: np.ndarray
    train_seconds: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.space, CellSpace) or any(decision.differs_from for decision in self.space.decisions):
            raise ValueError(f"space: got {self.space!r}, expected a CellSpace with independent decisions")
        for name in ("accuracies", "parameters", "train_seconds"):
            column = getattr(self, name)
            if not isinstance(column, np.ndarray):
                raise ValueError(f"{name}: got {type(column).__name__}, expected an array of numbers")
            if column.shape != (self.space.strings,) or column.dtype.kind not in "iuf":
                raise ValueError(f"{name}: got {column.dtype} {column.shape}, expected numbers ({self.space.strings},)")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The number of options of each decision. Tokens index an array of this shape; `row` is the flat index."""
        return tuple(len(decision.options) for decision in self.space.decisions)

    def row(self, tokens: Iterable[int]) -> int:
        """Returns the index of an architecture in the arrays."""
        row = 0
        for token, options in zip(self.space.check(tokens), self.shape, strict=True):
            row = row * options + token
        return row

    def accuracy(self, tokens: Iterable[int]) -> float:
        """Validation accuracy in percent after the full training."""
        return float(self.accuracies[self.row(tokens)])

    def params(self, tokens: Iterable[int]) -> int:
        """Number of parameters of the network."""
        return int(self.parameters[self.row(tokens)])

    def seconds(self, tokens: Iterable[int]) -> float:
        """Time of the full training on the benchmark's GPU, in seconds."""
        return float(self.train_seconds[self.row(tokens)])

    @property
    def best(self) -> Tokens:
        """The most accurate architecture, the first one in a tie."""
        return tuple(map(int, np.unravel_index(self.accuracies.argmax(), self.shape)))

    def rank(self, tokens: Iterable[int]) -> int:
        """One plus the number of strictly better architectures. 1 is best; ties share a rank."""
        return 1 + int((self.accuracies > self.accuracies[self.row(tokens)]).sum())

    def regret(self, tokens: Iterable[int]) -> float:
        """The accuracy of the best architecture minus that of this one, in percentage points."""
        return float(self.accuracies.max()) - self.accuracy(tokens)


def nas_bench_201(dataset: str = "cifar10") -> Table:
    """Returns the table for "cifar10", "cifar100" or "ImageNet16-120": validation accuracy after 200 epochs.

    "cifar10" is the benchmark's CIFAR-10-valid: training on one half of CIFAR-10's training set, validation on the
    other half. The arrays of these tables are read-only.
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
