"""Published recurrent cells with highway nodes, written out by hand, node by node."""

import torch

from naslab import genotypes
from naslab.networks import MixedRecurrentCell, RecurrentCell

ENAS = genotypes.read_enas_rnn(genotypes.ENAS_RNN)
OLDER = genotypes.read_enas_rnn(genotypes.ENAS_RNN_OLDER)
DARTS = genotypes.read_darts(genotypes.DARTS_V2_RNN)
FIGURE_5, NAS_CELL = genotypes.FIGURE_5, genotypes.NAS_CELL
MATRICES = ("source", "op", "node")
N = 5  # units
tanh, relu, sigmoid = torch.tanh, torch.relu, torch.sigmoid


def doubles(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def close(a, b):
    """Equal but for rounding: products of other shapes add in another order on some processors."""
    return torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def identity(s):
    return s


def node(s, reads, w, f):
    """The gate is what the first rows of the matrix make of what is read, the candidate what the others do."""
    gate, candidate = (reads @ w.T).split(N, dim=1)
    return s + sigmoid(gate) * (f(candidate) - s)


def enas_rnn(first, w, x, h):
    """0 2, 1 0, 2 1, 2 2, 4 0, 5 0, 3 2, 6 2: nodes 7 and 8 are read by none. A matrix for a node and its function."""
    s_0 = node(h, torch.cat([x, h], dim=1), first, tanh)
    s_1 = node(s_0, s_0, w["1_sigmoid"], sigmoid)
    s_2 = node(s_1, s_1, w["2_tanh"], tanh)
    s_3 = node(s_2, s_2, w["3_relu"], relu)
    s_4 = node(s_2, s_2, w["4_sigmoid"], sigmoid)
    s_5 = node(s_4, s_4, w["5_tanh"], tanh)
    s_6 = node(s_5, s_5, w["6_tanh"], tanh)
    s_7 = node(s_3, s_3, w["7_sigmoid"], sigmoid)
    s_8 = node(s_6, s_6, w["8_sigmoid"], sigmoid)
    return (s_7 + s_8) / 2


def enas_rnn_older(first, w, x, h):
    """0; 0 0, 1 1, 2 1, 2 0, 2 0, 5 1, 1 0, 6 1, 8 1, 8 1, 8 1, here counted from 1. A matrix for a node and source.

    There is no state 0: the first node, whose function is tanh, reads x_t and h_(t-1).
    """
    s_1 = node(h, torch.cat([x, h], dim=1), w["1_0"], tanh)
    s_2 = node(s_1, s_1, w["2_1"], tanh)
    s_3 = node(s_2, s_2, w["3_2"], relu)
    s_4 = node(s_3, s_3, w["4_3"], relu)
    s_5 = node(s_3, s_3, w["5_3"], tanh)
    s_6 = node(s_3, s_3, w["6_3"], tanh)
    s_7 = node(s_6, s_6, w["7_6"], relu)
    s_8 = node(s_2, s_2, w["8_2"], tanh)
    s_9 = node(s_7, s_7, w["9_7"], relu)
    s_10 = node(s_9, s_9, w["10_9"], relu)
    s_11 = node(s_9, s_9, w["11_9"], relu)
    s_12 = node(s_9, s_9, w["12_9"], relu)
    return (s_4 + s_5 + s_8 + s_10 + s_11 + s_12) / 6


def darts_v2(first, w, x, h):
    """sigmoid 0, relu 1, relu 1, identity 1, tanh 2, sigmoid 5, tanh 3, relu 5; all nodes leave. A matrix a node."""
    s_0 = node(h, torch.cat([x, h], dim=1), first, tanh)
    s_1 = node(s_0, s_0, w["1"], sigmoid)
    s_2 = node(s_1, s_1, w["2"], relu)
    s_3 = node(s_1, s_1, w["3"], relu)
    s_4 = node(s_1, s_1, w["4"], identity)
    s_5 = node(s_2, s_2, w["5"], tanh)
    s_6 = node(s_5, s_5, w["6"], sigmoid)
    s_7 = node(s_3, s_3, w["7"], tanh)
    s_8 = node(s_5, s_5, w["8"], relu)
    return (s_1 + s_2 + s_3 + s_4 + s_5 + s_6 + s_7 + s_8) / 8


PUBLISHED = {  # name -> space, tokens, matrices, by hand
    "enas": (*ENAS, "op", enas_rnn),
    "enas, older": (*OLDER, "source", enas_rnn_older),
    "darts v2": (*DARTS, "node", darts_v2),
}


def name_of(matrices, target, source, op):
    return {"source": f"{target}_{source}", "op": f"{target}_{op}", "node": f"{target}"}[matrices]


def cells(space, tokens, matrices, norm=False):
    """The cell alone and the one of the supergraph with the same weights, and these by name."""
    torch.manual_seed(0)
    mixed = MixedRecurrentCell(space, N, matrices, norm).double()
    (nodes,) = space.pairs(tokens).values()
    alone = RecurrentCell(space, nodes, N, matrices).double()
    named = {key: linear.weight for key, linear in mixed.weights.items()}
    first = mixed.first.weight if mixed.first else None
    for target, (((source, op),), linear) in enumerate(zip(nodes, alone.weights, strict=True), start=1):
        linear.weight = named[name_of(matrices, target, source, op)]
    if first is not None:
        alone.first.weight = first
    return alone, mixed, first, named
