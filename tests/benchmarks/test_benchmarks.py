"""Ratios that the course relies on, each measured within one run.

    pytest tests/benchmarks --benchmark-enable

on a machine with two idle cores. Without that option, as in CI, everything runs once, small, and nothing is asserted
about time.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from naslab import data, spaces
from naslab.controller import Controller
from naslab.evaluate import Recipe, TrainChild
from naslab.ops import CONV_OPS
from naslab.parallel import Workers
from naslab.supergraph import MacroNet


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(slow: Callable[[], object], fast: Callable[[], object], repeats: int) -> float:
    """Median time of one over that of the other, taken in turns, so that a busy moment meets both."""
    times = [(seconds(slow), seconds(fast)) for _ in range(repeats)]
    return statistics.median(s for s, _ in times) / statistics.median(f for _, f in times)


@pytest.mark.parametrize(
    "space",
    [spaces.nas_bench_201(), spaces.ConvSpace(6), spaces.TreeSpace(8), spaces.MacroSpace(12), spaces.enas_micro()],
    ids=lambda space: f"{type(space).__name__}-{len(space.decisions)}",
)
def test_sampling_64_children_costs_at_most_4_times_sampling_one(benchmark, space):
    torch.manual_seed(0)
    controller, generator = Controller(space), torch.Generator().manual_seed(0)
    tokens, *_ = benchmark(controller, 64, generator)
    assert len({tuple(t) for t in tokens.tolist()}) > 1
    if benchmark.enabled:
        found = ratio(lambda: controller(64, generator), lambda: controller(1, generator), repeats=50)
        benchmark.extra_info["ratio"] = round(found, 2)
        assert found <= 4


@pytest.mark.parametrize("ops", [spaces.MacroSpace().ops, tuple(CONV_OPS)], ids=lambda ops: f"{len(ops)}-ops")
def test_a_step_of_shared_weights_costs_at_most_1_15_times_that_of_the_child_alone(benchmark, ops):
    """The same two architectures of 12 layers, whatever else the space has."""
    torch.manual_seed(0)
    small, space = spaces.MacroSpace(12), spaces.MacroSpace(12, ops)
    shared = MacroNet(space, 36 if benchmark.enabled else 2)
    x, y = torch.randn(16, 3, *([32, 32] if benchmark.enabled else [8, 8])), torch.randint(0, 10, (16,))
    generator, ratios = torch.Generator().manual_seed(0), []
    of_shared = torch.optim.SGD(shared.parameters(), 0.05, momentum=0.9, nesterov=True)

    def step(model, optim, *weights):
        optim.zero_grad(set_to_none=True)
        F.cross_entropy(model(x, *weights), y).backward()
        optim.step()

    for _ in range(2):
        drawn = small.sample(generator)
        tokens = tuple(
            t if d.kind == "skip" else ops.index(d.options[t]) for d, t in zip(small.decisions, drawn, strict=True)
        )
        child, weights = shared.child(tokens), space.one_hot(tokens)
        of_child = torch.optim.SGD(child.parameters(), 0.05, momentum=0.9, nesterov=True)
        step(child, of_child)
        step(shared, of_shared, weights)
        if benchmark.enabled:
            slow, fast = partial(step, shared, of_shared, weights), partial(step, child, of_child)
            ratios.append(ratio(slow, fast, repeats=20))
    benchmark.pedantic(step, (shared, of_shared, weights), rounds=1)
    if benchmark.enabled:
        benchmark.extra_info["ratios"] = [round(r, 2) for r in ratios]
        assert max(ratios) <= 1.15


@pytest.mark.slow
def test_two_workers_train_children_at_least_1_7_times_as_fast_as_one(benchmark):
    """Six times the same child, a second or so each, so that the schedule's luck with unequal ones is not measured."""
    task = data.digits() if benchmark.enabled else data.digits().head(train=96, valid=50)
    train_child = TrainChild(spaces.nas_bench_201(), task, Recipe(epochs=3), channels=8, cells=1)
    children = [(3,) * 6] * (6 if benchmark.enabled else 2)
    with Workers(2) as two, Workers(1) as one:
        rewards = two.map(train_child, children)  # starts the workers, too
        assert rewards == one.map(train_child, children) and len(set(rewards)) == 1 and rewards[0] > 0
        benchmark.pedantic(two.map, (train_child, children), rounds=1)
        if benchmark.enabled:
            found = ratio(lambda: one.map(train_child, children), lambda: two.map(train_child, children), repeats=5)
            benchmark.extra_info["ratio"] = round(found, 2)
            assert found >= 1.7
