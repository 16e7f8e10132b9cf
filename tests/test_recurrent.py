"""Recurrent cells with highway nodes against published cells and formulas written out by hand, node by node."""

import pytest
import torch

from naslab import genotypes, spaces
from naslab.child import RecurrentCell, build_recurrent, count_parameters
from naslab.mixed_op import MixedRecurrentCell, active, leaving
from naslab.supergraph import RecurrentNet

ENAS = genotypes.read_enas_rnn(genotypes.ENAS_RNN)
OLDER = genotypes.read_enas_rnn(genotypes.ENAS_RNN_OLDER)
DARTS = genotypes.read_darts(genotypes.DARTS_V2_RNN)
MATRICES = ("source", "op", "node")
N = 5  # units
tanh, relu, sigmoid = torch.tanh, torch.relu, torch.sigmoid


def doubles(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


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


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_bit_for_bit_with_gradients(name):
    space, tokens, matrices, by_hand = PUBLISHED[name]
    alone, mixed, first, named = cells(space, tokens, matrices)
    (rows,) = [active(table) for table in space.one_hot(tokens).values()]
    x, h, c = doubles((3, N), (3, N), (3, N))
    expected = by_hand(first, named, x, h)
    used = [linear.weight for linear in alone.weights] + ([] if first is None else [first])
    (direction,) = doubles((3, N), seed=1)
    wanted = torch.autograd.grad((expected * direction.detach()).sum(), [*used, x, h])
    for h_t, c_t in (alone(x, (h, c)), mixed(x, (h, c), rows)):
        assert torch.equal(h_t, expected) and c_t is c
        found = torch.autograd.grad((h_t * direction.detach()).sum(), [*used, x, h])
        for a, b in zip(found, wanted, strict=True):
            assert b.any() and torch.allclose(a, b, rtol=1e-13, atol=1e-15)


def test_the_first_node_of_the_paper_with_four_separate_matrices():
    """Pham et al. 2018, 3.1: c = sigmoid(x W^(x,c) + h W^(h,c)), h_1 = c f(x W^(x,h) + h W^(h,h)) + (1 - c) h."""
    space, tokens = spaces.enas_rnn(2), (0, 0, 1, 1)
    alone, _, _, named = cells(space, tokens, "source")
    x, h, c = doubles((3, N), (3, N), (3, N))
    (w_xc, w_hc), (w_xh, w_hh) = (half.split(N, dim=1) for half in named["1_0"].split(N))
    gate = sigmoid(x @ w_xc.T + h @ w_hc.T)
    h_1 = gate * tanh(x @ w_xh.T + h @ w_hh.T) + (1 - gate) * h
    w_c, w_h = named["2_1"].split(N)
    gate = sigmoid(h_1 @ w_c.T)
    h_2 = gate * relu(h_1 @ w_h.T) + (1 - gate) * h_1
    assert torch.allclose(alone(x, (h, c))[0], h_2, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_over_time(name):
    """The language model, alone and at a corner of the supergraph, is a loop of the cell written out by hand."""
    space, tokens, matrices, by_hand = PUBLISHED[name]
    torch.manual_seed(0)
    model = RecurrentNet(space, 7, N, matrices=matrices).double()
    cell, embedding, decoder = model.model.cells[0], model.model.embedding.weight, model.model.decoder
    assert decoder.weight is embedding
    named = {key: linear.weight for key, linear in cell.weights.items()}
    words = torch.randint(0, 7, (6, 3))
    h, expected = torch.zeros(3, N, dtype=torch.float64), []
    for word in words:
        h = by_hand(cell.first.weight if cell.first else None, named, embedding[word], h)
        expected.append(h @ embedding.T + decoder.bias)
    weights = space.one_hot(tokens)
    for run in (lambda x, state=None: model(x, weights, state), model.child(tokens)):
        whole, [(last, _)] = run(words)
        assert torch.allclose(whole, torch.stack(expected), rtol=0, atol=1e-13)
        assert torch.allclose(last, h, rtol=0, atol=1e-13)
        first, state = run(words[:2])
        second, [(carried, _)] = run(words[2:], state)
        assert torch.allclose(torch.cat([first, second]), whole, rtol=0, atol=1e-14)
        assert torch.allclose(carried, last, rtol=0, atol=1e-14)


# Any weights


def cell_by_hand(space, matrices, first, w, table, x, h, norm=False):
    """A node mixes what all its edges and functions make; h_t is the mean of the nodes, by how far each leaves."""
    functions = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid, "identity": identity}
    pair = torch.cat([x, h], dim=1)

    def normalised(s):
        return (s - s.mean(0)) / (s.var(0, correction=0) + 1e-5).sqrt() if norm else s

    states = [h if first is None else normalised(node(h, pair, first, tanh))]
    unread = [1.0] * (1 + space.nodes)
    for target in range(1, 1 + space.nodes):
        mixture = torch.zeros_like(h)
        for source in range(target):
            row = table[space.edges.index((source, target))]
            reads = pair if first is None and source == 0 else states[source]
            for weight, op in zip(row, space.ops, strict=True):
                if op != "none":
                    matrix = w[name_of(matrices, target, source, op)]
                    mixture = mixture + weight * node(states[source], reads, matrix, functions[op])
            if space.output == "loose":
                unread[source] = unread[source] * (1 - row.sum().clamp(max=1))
        states.append(normalised(mixture))
    return sum(u * s for u, s in zip(unread[1:], states[1:], strict=True)) / sum(unread[1:])


@pytest.mark.parametrize("make", [spaces.enas_rnn, spaces.darts_rnn])
@pytest.mark.parametrize("matrices", MATRICES)
@pytest.mark.parametrize(("scale", "norm"), [(0.3, False), (1.0, False), (1.0, True)])
def test_the_inside_of_a_cell_by_hand(make, matrices, scale, norm):
    space = make(4)
    _, mixed, first, named = cells(space, space.sample(torch.Generator().manual_seed(0)), matrices, norm)
    x, h, c, alpha = doubles((3, N), (3, N), (3, N), space.tables["recurrent"])
    table = scale * alpha.softmax(-1)  # scaled, edges carry less than 1 and all nodes leave
    expected = cell_by_hand(space, matrices, first, named, table, x, h, norm)
    inputs = [*named.values(), *([] if first is None else [first]), x, h, alpha]
    found, same = mixed(x, (h, c), active(table))
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14) and same is c
    assert torch.allclose(mixed(x, (h, c), active(table.detach()))[0], expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad(y.square().sum(), inputs, retain_graph=True) for y in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)


def test_a_node_that_receives_nothing_is_zero():
    """ "none" on all its edges, as "none" of a convolutional cell has it."""
    space = spaces.darts_rnn(3)
    _, mixed, first, named = cells(space, (0, 0) * 3, "node")
    x, h, c = doubles((3, N), (3, N), (3, N))
    for target in (1, 2, 3):
        table = torch.full(space.tables["recurrent"], 0.2, dtype=torch.float64)
        for edge, (_, t) in enumerate(space.edges):
            if t == target:
                table[edge] = torch.tensor([1.0, 0, 0, 0, 0])
        for live in (table, table.clone().requires_grad_()):
            found, _ = mixed(x, (h, c), active(live))
            assert torch.allclose(found, cell_by_hand(space, "node", first, named, table, x, h), rtol=1e-12, atol=1e-14)


# What shares a matrix


@pytest.mark.parametrize("matrices", MATRICES)
def test_the_matrices_of_a_cell(matrices):
    space = spaces.enas_rnn(3)
    keys = {
        "source": ["1_0", "2_0", "2_1", "3_0", "3_1", "3_2"],
        "op": [f"{target}_{op}" for target in (1, 2, 3) for op in ("tanh", "relu", "sigmoid", "identity")],
        "node": ["1", "2", "3"],
    }[matrices]
    mixed = MixedRecurrentCell(space, N, matrices)
    assert sorted(mixed.weights) == sorted(keys)
    shapes = {key: tuple(linear.weight.shape) for key, linear in mixed.weights.items()}
    assert shapes == {key: (2 * N, 2 * N if matrices == "source" and key.endswith("_0") else N) for key in keys}
    assert (mixed.first is None) == (matrices == "source") and not [
        p for n, p in mixed.named_parameters() if "bias" in n
    ]
    assert "1_none" not in MixedRecurrentCell(spaces.darts_rnn(3), N, "op").weights


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("layers", [1, 2])
def test_parameters_by_hand(name, layers):
    space, tokens, matrices, _ = PUBLISHED[name]
    child = build_recurrent(space, tokens, vocabulary=11, units=6, layers=layers, matrices=matrices)
    reads_pair = sum(s == 0 for s in tokens[::2]) if matrices == "source" else 2  # W_0 is twice as wide
    per_layer = 2 * 6 * 6 * (space.nodes + reads_pair)
    assert count_parameters(child) == 11 * 6 + 11 + layers * per_layer


def test_dropout_is_that_of_the_child():
    space, tokens = ENAS
    model = RecurrentNet(space, 7, N, layers=2, dropout=0.5)
    words = torch.randint(0, 7, (4, 3))
    child = model.child(tokens)
    outs = []
    for run in (lambda: model(words, space.one_hot(tokens))[0], lambda: child(words)[0]):
        torch.manual_seed(0)
        outs.append(run())
    torch.manual_seed(1)
    assert torch.allclose(*outs, atol=1e-6) and not torch.allclose(outs[0], model(words, space.one_hot(tokens))[0])
    model.eval()
    assert torch.allclose(model(words, space.one_hot(tokens))[0], child.eval()(words)[0], atol=1e-6)


def test_the_last_node_leaves_whatever_the_others_carry():
    space = spaces.enas_rnn(3)
    assert leaving(space, active(torch.ones(6, 4))) == [(2, 1.0)]
