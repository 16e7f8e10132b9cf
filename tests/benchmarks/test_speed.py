"""Ratios that the course relies on, each measured within one run.

    pytest tests/benchmarks --benchmark-enable

on a machine with two idle cores. Without that option, as in CI, everything runs once, small, and nothing is asserted
about time.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import peers
import pytest
import textbook
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from naslab import data, runs, spaces
from naslab.controller import Controller
from naslab.networks import ConvNet, MacroNet, RecurrentNet
from naslab.ops import ACTIVATIONS, CONV_OPS
from naslab.parallel import Workers
from naslab.search import darts, enas
from naslab.training import Recipe, TrainChild


def seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def ratio(
    slow: Callable[[], object],
    fast: Callable[[], object],
    repeats: int,
    clock: Callable[[], float] = time.process_time,  # the CPU seconds of this process
) -> float:
    """Median time of one over that of the other, taken in turns, so that a busy moment meets both."""
    times = [(seconds(slow, clock), seconds(fast, clock)) for _ in range(repeats)]
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


CLIP = {"images": 5.0, "text": 0.25, "batched text": 0.25}


class Race:
    """A step of DARTS' search, of alpha and of w, of the textbook and of the package, from the same batches.

    size: (channels, cells, side) of images, or (units, vocabulary, time steps) of text; 16 of either in a batch.
    """

    def __init__(self, kind, size, second_order):
        a, b, c = size
        torch.manual_seed(0)
        if kind == "images":
            self.slow, self.space = textbook.Textbook(a, b), spaces.darts_conv()
            self.model = ConvNet(self.space, a, b, affine=False, pool_norm=True, fast=True)
            self.model = self.model.to(memory_format=torch.channels_last)
            batches = [(torch.randn(16, 3, c, c), torch.randint(0, 10, (16,))) for _ in range(2)]
            self.ours = [(x.to(memory_format=torch.channels_last), y) for x, y in batches]
            self.config = darts.Config(epochs=1, momentum_ahead=True, xi=None if second_order else 0.0)
        else:
            recurrent = peers.BatchedRecurrentTextbook if kind == "batched text" else textbook.TextbookRecurrent
            self.slow, self.space = recurrent(b, a), spaces.darts_rnn()
            self.model = RecurrentNet(self.space, b, a, matrices="node", norm=True, fast=True)
            batches = [(torch.randint(0, b, (c, 16)), torch.randint(0, b, (16 * c,))) for _ in range(2)]
            self.ours = batches
            self.config = replace(darts.PTB, epochs=1, lr=0.1, lr_min=0.1, xi=None if second_order else 0.0)
        config = self.config
        self.w_optim = torch.optim.SGD(
            self.slow.weights(), config.lr, config.momentum, weight_decay=config.weight_decay
        )
        self.alpha_optim = torch.optim.Adam(
            self.slow.alpha, config.alpha_lr, config.alpha_betas, weight_decay=config.alpha_weight_decay
        )
        self.kind, self.second_order, (self.train, self.valid) = kind, second_order, batches
        self.alpha, self.batches = darts.start(self.space), 1_000_000  # of a pass: the search goes on
        self.search = darts.search(self.space, self.model, self, self.alpha, config, torch.Generator())

    def batch(self, split, index):
        return self.ours[0 if split == "train" else 1]

    def loss(self, model, weights, batch, state=None):
        x, y = batch
        logits = model(x, weights) if self.kind == "images" else model(x, weights)[0].flatten(0, 1)
        return F.cross_entropy(logits, y), None

    def textbook_step(self):
        both = (self.alpha_optim, self.w_optim, self.train, self.valid)
        textbook.alpha_step(self.slow, *both, self.second_order)
        textbook.weight_step(self.slow, self.w_optim, self.train, CLIP[self.kind])

    def step(self):
        return next(self.search)


RACES = {
    "C4-first": ("images", (4, 4, 32), False, 3.0),
    "C4-second": ("images", (4, 4, 32), True, 2.7),
    "C16-first": ("images", (16, 8, 32), False, 3.0),
    "C16-second": ("images", (16, 8, 32), True, 2.4),
    "text-first": ("text", (300, 10_000, 35), False, 2.0),
    "text-second": ("text", (300, 10_000, 35), True, 2.0),
    "batched-text-first": ("batched text", (300, 10_000, 35), False, 1.0),
    "batched-text-second": ("batched text", (300, 10_000, 35), True, 1.0),
}
SMALL = {"images": (2, 3, 8), "text": (6, 11, 4), "batched text": (6, 11, 4)}


@pytest.mark.parametrize("name", RACES)
def test_a_step_of_darts_is_faster_than_the_textbooks(benchmark, name):
    kind, size, second_order, least = RACES[name]
    race = Race(kind, size if benchmark.enabled else SMALL[kind], second_order)
    race.textbook_step()
    race.step()
    if benchmark.enabled:
        found = ratio(race.textbook_step, race.step, repeats=9)
        benchmark.extra_info["ratio"] = round(found, 2)
    benchmark.pedantic(race.step, rounds=1)
    if benchmark.enabled:
        assert found >= least


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("second_order", [False, True])
def test_the_textbook_computes_the_same(kind, second_order):
    """So that the race is one: after a step from the same weights, alpha has moved alike."""
    race = Race(kind, SMALL[kind], second_order)
    same_weights(race)
    race.model.double(), race.slow.double()
    race.ours = [(x.double() if kind == "images" else x, y) for x, y in race.ours]
    race.train, race.valid = race.ours
    w = list(race.model.parameters())
    alpha = darts.start(race.space, dtype=torch.float64)
    xi = race.config.lr if second_order else 0.0

    def loss(alpha, split):
        return race.loss(race.model, darts.relax(alpha), race.batch(split, 0))[0]

    push = [race.config.weight_decay * p.detach() for p in w]
    ours = darts.alpha_gradient(loss, w, alpha, "train", "valid", xi, race.config.radius, push)
    found = textbook.alpha_step(race.slow, race.alpha_optim, race.w_optim, race.train, race.valid, second_order)
    assert found == pytest.approx(loss(darts.start(race.space, dtype=torch.float64), "valid").item(), rel=1e-9)
    for one, other in zip(race.slow.alpha, ours.values(), strict=True):
        assert torch.allclose(one.grad, other, rtol=1e-6, atol=1e-9)


@torch.no_grad()
def same_weights(race):
    """The textbook's weights become the package's, which are in the same order, some in blocks."""
    ours = {}
    for name, p in sorted(race.model.named_parameters(), key=lambda named: named[0] == "classifier.bias"):
        ours.setdefault(name.split(".blocks.")[0], []).append(p)
    for p, parts in zip(race.slow.weights(), ours.values(), strict=True):
        p.copy_(torch.cat(parts, dim=1).reshape(p.shape) if len(parts) > 1 else parts[0].reshape(p.shape))


def peer_steps(kind, quiet):
    """Steps of w of one child of ENAS: the peer's, ours, and what each computes. Both from the same batch of 16."""
    torch.manual_seed(0)
    if kind == "macro":
        space, side, c = spaces.MacroSpace(12), *((8, 2) if quiet else (32, 36))
        tokens = space.sample(torch.Generator().manual_seed(0))
        bits = iter(tokens)
        chosen = [(space.ops[next(bits)], [j for j in range(i) if next(bits)]) for i in range(12)]
        model, peer = MacroNet(space, c), peers.PeerMacro(12, c)
        x, y = torch.randn(16, 3, side, side), torch.randint(0, 10, (16,))
        theirs = partial(peer, x, *zip(*chosen, strict=True))
        objective, batch, config = OneBatch(x, y), (x, y), enas.Config()
    else:
        space, (n, words, length) = spaces.enas_rnn(12), (6, 11, 4) if quiet else (300, 10_000, 35)
        generator = torch.Generator().manual_seed(0)
        pairs = [(0, "tanh")]  # node 1 alone reads state 0, as in the peer
        while len(pairs) < 12:
            source, op = (int(torch.randint(k, (), generator=generator)) for k in (len(pairs), 4))
            pairs.append((1 + source, space.ops[op]))
        tokens = space.tokens({"recurrent": tuple((pair,) for pair in pairs)})
        model, peer = RecurrentNet(space, words, n), peers.PeerRecurrent(words, n, 12)
        x, y = torch.randint(0, words, (length, 16)), torch.randint(0, words, (length * 16,))
        theirs = partial(peer, x, [(source, ACTIVATIONS[op]) for source, op in pairs])
        objective, batch, config = OneText(x, y), (x, y), replace(enas.PTB, lr=lambda epoch: 20.0)
    weights = space.one_hot(tokens)
    settings = {"momentum": config.momentum, "weight_decay": config.weight_decay, "nesterov": config.momentum > 0}
    ours_w, theirs_w = (torch.optim.SGD(m.parameters(), 0.05, **settings) for m in (model, peer))

    def peer_step():
        theirs_w.zero_grad()
        F.cross_entropy(theirs().flatten(0, -2), y).backward()
        nn.utils.clip_grad_norm_(peer.parameters(), config.clip)
        theirs_w.step()

    def our_step():
        enas.weight_step(model, objective, [weights], batch, [None], ours_w, config.clip)

    return peer_step, our_step, (peer, model, theirs, weights, x)


class OneText(OneBatch):
    def loss(self, model, weights, batch, state=None):
        logits, _ = model(self.x, weights)
        return F.cross_entropy(logits.flatten(0, 1), self.y), None


@pytest.mark.parametrize(("kind", "least"), [("macro", 1.2), ("recurrent", 0.9)])
def test_a_step_of_shared_weights_against_a_peers(benchmark, kind, least):
    peer_step, our_step, (_, model, theirs, weights, x) = peer_steps(kind, not benchmark.enabled)
    operations = []
    for forward in (theirs, partial(model, x, weights)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward()
        operations.append(3 * counter.get_total_flops())  # the counter miscounts grouped gradients
    assert min(operations) > 0
    if benchmark.enabled:
        found = ratio(peer_step, our_step, repeats=9)
        benchmark.extra_info |= {"ratio": round(found, 2), "GFLOP": [round(n / 1e9, 2) for n in operations]}
    benchmark.pedantic(our_step, rounds=1)
    if benchmark.enabled:
        assert found >= least


def test_the_recurrent_peer_computes_the_same():
    _, _, (peer, model, theirs, weights, x) = peer_steps("recurrent", quiet=True)
    peer.double(), model.double()
    ours = dict(model.model.cells[0].weights)
    with torch.no_grad():
        peer.decoder.load_state_dict(model.model.decoder.state_dict())
        n = peer.decoder.in_features
        gate, candidate = ours["1_0"].weight.split(n)
        for k, rows in enumerate((gate, candidate)):
            peer.of_x[k].weight.copy_(rows[:, :n])
            peer.of_h[k].weight.copy_(rows[:, n:])
        for edge, gate in peer.gates.items():
            source, target = edge.split("_")
            rows = ours[f"{target}_{source}"].weight.split(n)
            gate.weight.copy_(rows[0])
            peer.candidates[edge].weight.copy_(rows[1])
    assert torch.allclose(theirs(), model(x, weights)[0], rtol=1e-10, atol=1e-10)


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
            found = ratio(
                lambda: one.map(train_child, children), lambda: two.map(train_child, children), 5, time.perf_counter
            )
            benchmark.extra_info["ratio"] = round(found, 2)
            assert found >= 1.7
