"""Benchmarks of our own: a training is repeatable, and measured where it says."""

import dataclasses
from collections import Counter

import pytest
import torch

from naslab import networks, runs, spaces, training
from naslab.benchmarks import BENCHMARKS

every_benchmark = pytest.mark.parametrize("name", BENCHMARKS)


def small(name, **changes):
    """A benchmark with fewer images and one epoch."""
    benchmark = BENCHMARKS[name]
    recipe = dataclasses.replace(benchmark.recipe, epochs=1)
    return dataclasses.replace(benchmark, head=(200, 100, 100), recipe=recipe, **changes)


@every_benchmark
def test_a_training_is_that_of_the_course(name):
    """The last stop is what `TrainChild` measures."""
    benchmark = small(name)
    tokens = benchmark.space.sample(torch.Generator().manual_seed(0))
    seed = runs.spawn(0, benchmark.seeds)[1]
    size = {"channels": benchmark.channels, "cells": benchmark.cells, "plain": benchmark.plain}
    child = training.TrainChild(benchmark.space, benchmark.task, benchmark.recipe, **size, seed=seed)
    found = benchmark.measure(tokens, 1)
    assert found.valid[-1] / 100 == child(tokens)
    assert found.test[-1] / 100 == training.accuracy(child.trained(tokens), benchmark.task.test)
    assert 0 < found.seconds < 60
    again = benchmark.measure(tokens, 1)
    assert (again.valid, again.test) == (found.valid, found.test)


def test_stops_do_not_change_the_training():
    whole, stopped = small("cells", stops=(1.0,)), small("cells", stops=(0.25, 0.5, 1.0))
    tokens = (3, 1, 3)
    found = stopped.measure(tokens, 0)
    assert len(found.valid) == len(found.test) == 3
    assert found.valid[-1:] == whole.measure(tokens, 0).valid


def test_repetitions_differ_and_are_bounded():
    benchmark = small("conv")
    tokens = (1, 1, 0, 0, 3, 1, 1, 0, 0, 3, 1)
    assert len({benchmark.measure(tokens, k).valid for k in range(3)}) > 1
    for wrong in (-1, 3, 0.0, None):
        with pytest.raises(ValueError, match="repetition: got"):
            benchmark.measure(tokens, wrong)
    with pytest.raises(ValueError, match="token"):
        benchmark.measure(tokens[1:], 0)


def test_a_diverging_training_is_no_row():
    benchmark = small("conv")
    benchmark = dataclasses.replace(benchmark, recipe=dataclasses.replace(benchmark.recipe, lr=1e30))
    with pytest.raises(FloatingPointError, match="diverged"):
        benchmark.measure((1, 1, 0, 0, 3, 1, 1, 0, 0, 3, 1), 0)


def test_flops_by_hand():
    """2 x pixels x filter entries for each convolution and the classifier; norms and pools are not counted."""
    cells = BENCHMARKS["cells"]
    rest = 2 * (196 * 8 + 49 * 8 * 16 + 16 * 16 * 32 + 32 * 10)  # stem, reductions, classifier
    threes = 2 * 9 * (196 * 8 * 8 + 49 * 16 * 16 + 16 * 32 * 32)  # one 3x3 edge in each of three cells
    assert cells.flops((1, 1, 1)) == rest and cells.flops((1, 3, 1)) == rest + threes


@pytest.mark.parametrize(("name", "tokens"), [("macro_5", (1, 3, 1)), ("conv", (1, 2, 0, 0, 3, 3, 0, 0, 0, 1, 1))])
def test_flops_are_those_of_the_convolutions_that_run(name, tokens):
    benchmark, counted = BENCHMARKS[name], Counter()
    model = benchmark.trainer(0).build(tokens).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(
                lambda module, args, out: counted.update(flops=2 * out.numel() * module.weight[0].numel())
            )
    model(torch.zeros(1, *benchmark.task.shape))
    assert benchmark.flops(tokens) == counted["flops"]


@every_benchmark
def test_sizes(name):
    benchmark = BENCHMARKS[name]
    assert benchmark.space.strings == {"macro": 72, "conv": 8192, "cells": 125}[name.partition("_")[0]]
    assert benchmark.stops[-1] == 1 and benchmark.seeds >= 3
    tokens = next(iter(spaces.all_strings(benchmark.space)))
    assert networks.count_parameters(benchmark.trainer(0).build(tokens)) == networks.count_parameters(
        benchmark.trainer(1).build(tokens)
    )
