"""Supergraphs of every kind, and what tests put into them."""

import pytest
import torch

from naslab import spaces
from naslab.networks import BenchNet, ConvNet, MacroNet, RecurrentNet
from naslab.spaces import MacroSpace

SMALL = {"in_channels": 2, "classes": 5}
DARTS = {"affine": False, "pool_norm": True}
MATRICES = ("source", "op", "node")
NETS = {  # name -> space, network, how it searches
    "macro": (MacroSpace(6), lambda s: MacroNet(s, 4, **SMALL), {}),
    "micro": (spaces.enas_micro(), lambda s: ConvNet(s, 2, 3, **SMALL), {}),
    "macro plain": (MacroSpace(6), lambda s: MacroNet(s, 4, **SMALL, plain=True), {}),
    "bench": (spaces.nas_bench_201(), lambda s: BenchNet(s, 2, 1, **SMALL), {}),
    "bench as darts": (spaces.nas_bench_201(), lambda s: BenchNet(s, 2, 1, **SMALL, **DARTS), DARTS),
    "bench plain": (spaces.nas_bench_201(), lambda s: BenchNet(s, 2, 1, **SMALL, plain=True), {}),
    "darts": (spaces.darts_conv(), lambda s: ConvNet(s, 2, 3, **SMALL, **DARTS), DARTS),
    "darts rnn": (spaces.darts_rnn(), lambda s: RecurrentNet(s, 7, 5, matrices="node"), {}),
} | {
    f"rnn by {m}": (spaces.enas_rnn(), lambda s, m=m: RecurrentNet(s, 7, 5, 1 + (m == "source"), matrices=m), {})
    for m in MATRICES
}
TINY = {
    "macro": (MacroSpace(3), lambda s: MacroNet(s, 2, **SMALL)),
    "micro": (spaces.enas_micro(2), lambda s: ConvNet(s, 2, 3, **SMALL)),
    "darts": (spaces.darts_conv(2), lambda s: ConvNet(s, 2, 3, **SMALL, **DARTS)),
    "bench": (spaces.nas_bench_201(), lambda s: BenchNet(s, 2, 1, **SMALL)),
    "darts rnn": (spaces.darts_rnn(3), lambda s: RecurrentNet(s, 5, 3, matrices="node")),
} | {f"rnn by {m}": (spaces.enas_rnn(3), lambda s, m=m: RecurrentNet(s, 5, 3, matrices=m)) for m in MATRICES}
every_net = pytest.mark.parametrize("name", NETS)
every_tiny_net = pytest.mark.parametrize("name", TINY)


def made(space, network, *_):
    torch.manual_seed(0)
    return network(space).double()


def batch(model, size=8):
    generator = torch.Generator().manual_seed(1)
    if isinstance(model, RecurrentNet):
        return torch.randint(0, model.size["vocabulary"], (3, 2), generator=generator)  # (T, B)
    return torch.randn(3, 2, size, size, generator=generator, dtype=torch.float64)


def logits(model, x, *weights):
    out = model(x, *weights)
    return out[0] if isinstance(out, tuple) else out


def some(space, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [space.sample(generator) for _ in range(n)]


def relaxed(space, seed=0, scale=1.0):
    """Tables from the inside of the polytope."""
    generator = torch.Generator().manual_seed(seed)
    made = {t: torch.randn(s, generator=generator, dtype=torch.float64) for t, s in space.tables.items()}
    return {table: scale * a.softmax(-1) for table, a in made.items()}


def close(a, b, tolerance=1e-10):
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
