"""Benchmarks of our own: how each architecture of a small space was trained for its table.

Every architecture of the space is trained `seeds` times from scratch on data that ships with the package.
`tools/make_tables.py` runs `Benchmark.measure` for all of them; `tables` reads the results.
"""

import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.utils.flop_counter import FlopCounterMode

from naslab import checks, data, runs
from naslab.data import ImageTask
from naslab.spaces import ConvSpace, MacroSpace, Space, Tokens, nas_bench_201
from naslab.training import Recipe, TrainChild, accuracy, finite, train


@dataclass(frozen=True)
class Measured:
    """One training of one architecture: the numbers of correctly classified images after each stop."""

    valid: tuple[int, ...]
    test: tuple[int, ...]
    seconds: float  # CPU time of the whole training, without the evaluations


@dataclass(frozen=True)
class Benchmark:
    """A small space, a task and a recipe. `measure` trains one architecture once.

    `stops` are the shares of the training after which the accuracy is measured. Trainings with the same seed start from
    the same random numbers and see the same batches.
    """

    name: str
    space: Space
    images: str  # a name of `data.IMAGE_TASKS`
    head: tuple[int, int, int]  # the numbers of training, validation and test images
    recipe: Recipe
    seeds: int
    channels: int | None = None
    cells: int | None = None
    plain: bool = False
    stops: tuple[float, ...] = (1.0,)

    @cached_property
    def task(self) -> ImageTask:
        return data.IMAGE_TASKS[self.images]().head(*self.head)

    def trainer(self, seed: int) -> TrainChild:
        """Returns what trains the architectures with this seed, and a reward for a search that trains its children."""
        size = {"channels": self.channels, "cells": self.cells, "plain": self.plain}
        return TrainChild(self.space, self.task, self.recipe, **size, seed=seed)  # type: ignore[arg-type]

    def measure(self, tokens: Tokens, repetition: int) -> Measured:
        """Trains the architecture with the seed of that repetition, in torch's number of threads.

        Raises `ValueError` for tokens that are not in the space or a repetition that is not in the benchmark, and
        `FloatingPointError` if the training diverges.
        """
        checks.whole(0, repetition=repetition)
        if repetition >= self.seeds:
            raise ValueError(f"repetition: got {repetition}, expected at most {self.seeds - 1}")
        seed = runs.spawn(0, self.seeds)[repetition]
        task, model = self.task, self.trainer(seed).build(tokens)
        batches = round(self.recipe.epochs * (len(task.train) // self.recipe.batch_size))
        stops = [round(share * batches) for share in self.stops]
        valid, test, seconds, start = [], [], 0.0, time.process_time()
        for done, _ in enumerate(finite(train(model, task.train, self.recipe, seed)), start=1):
            if done in stops:
                seconds += time.process_time() - start
                valid.append(round(accuracy(model, task.valid) * len(task.valid)))
                test.append(round(accuracy(model, task.test) * len(task.test)))
                start = time.process_time()
        return Measured(tuple(valid), tuple(test), seconds)

    def flops(self, tokens: Tokens) -> int:
        """Returns the floating-point operations of classifying one image; a multiplication and an addition are two."""
        model = self.trainer(0).build(tokens).eval()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            model(torch.zeros(1, *self.task.shape))
        return counter.get_total_flops()


def _recipe(epochs: float, batch_size: int) -> Recipe:
    return Recipe(epochs, batch_size, lr=0.1, nesterov=True, weight_decay=1e-4)


# Each space is small enough to train whole on two CPU cores in an hour, and its architectures differ by several times
# the noise between two trainings.
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "macro_5", MacroSpace(2), "fashion_14", (1000, 2000, 2000), _recipe(5, 50), seeds=10, channels=8, plain=True
        ),
        Benchmark(
            "macro_20",
            MacroSpace(2),
            "fashion_14",
            (1000, 2000, 2000),
            _recipe(20, 50),
            seeds=10,
            channels=8,
            plain=True,
        ),
        Benchmark("conv", ConvSpace(2, filters=(2, 4, 8, 16)), "digits", (600, 300, 300), _recipe(2, 20), seeds=3),
        Benchmark(
            "cells",
            nas_bench_201(nodes=2),
            "fashion_14",
            (2000, 2000, 2000),
            _recipe(8, 50),
            seeds=5,
            channels=8,
            cells=1,
            plain=True,
            stops=(0.25, 0.5, 1.0),
        ),
    )
}
