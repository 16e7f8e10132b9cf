"""The mixed recurrent cell against a formula written out by hand."""

import pytest
import torch

from naslab import spaces
from naslab.networks import MixedRecurrentCell
from naslab.networks.mixed import active

from .recurrent import MATRICES, N, cells, close, doubles, identity, name_of, node, relu, sigmoid, tanh


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
    assert close(found, expected) and same is c
    assert close(mixed(x, (h, c), active(table.detach()))[0], expected)
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
            assert close(found, cell_by_hand(space, "node", first, named, table, x, h))


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
