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

from naslab import data, runs, spaces
from naslab.controller import Controller
from naslab.evaluate import Recipe, TrainChild
from naslab.ops import CONV_OPS
from naslab.parallel import Workers
from naslab.search import enas
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


class OneBatch:
    """An objective that always has the same batch."""

    batches = 1

    def __init__(self, x, y):
        self.x, self.y = x, y

    def batch(self, split, index):
        return self.x, self.y

    def loss(self, model, weights, batch, state=None):
        return F.cross_entropy(model(self.x, weights), self.y), None

    @torch.no_grad()
    def reward(self, model, weights, batch):
        return (model(self.x, weights).argmax(-1) == self.y).double().mean().item()


def test_a_step_of_theta_costs_at_most_half_of_one_of_w(benchmark):
    """12 layers, a batch of 16 for both, in turns; the paper's controller."""
    space, quiet = spaces.MacroSpace(12), not benchmark.enabled
    with runs.seeded(0):
        model = MacroNet(space, 2 if quiet else 36)
        controller = Controller(space, 100, 1, 0.1, 5.0, 2.5)
        objective = OneBatch(torch.randn(16, 3, *([8, 8] if quiet else [32, 32])), torch.randint(0, 10, (16,)))
    config = enas.Config(epochs=1 if quiet else 20, weight_steps=1, policy_steps=1)
    times = {0.0: [], 1.0: []}
    start = time.perf_counter()
    for step in enas.search(space, model, objective, controller, config, torch.Generator().manual_seed(0)):
        times[step.info["phase"]].append(time.perf_counter() - start)
        start = time.perf_counter()
    benchmark.pedantic(controller, (1, torch.Generator().manual_seed(0)), rounds=1)
    if benchmark.enabled:
        found = statistics.median(times[1.0]) / statistics.median(times[0.0])
        benchmark.extra_info["ratio"] = round(found, 2)
        assert found <= 0.5


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
