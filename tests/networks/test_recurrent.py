"""Recurrent cells with highway nodes against published cells and formulas written out by hand."""

import pytest
import torch

from naslab import spaces
from naslab.networks import build_recurrent, count_parameters
from naslab.networks.mixed import active

from . import recurrent
from .recurrent import PUBLISHED, N, cells, close, doubles, node, relu, sigmoid, tanh


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_with_gradients(name):
    space, tokens, matrices, by_hand = PUBLISHED[name]
    alone, mixed, first, named = cells(space, tokens, matrices)
    (rows,) = [active(table) for table in space.one_hot(tokens).values()]
    x, h, c = doubles((3, N), (3, N), (3, N))
    expected = by_hand(first, named, x, h)
    used = [linear.weight for linear in alone.weights] + ([] if first is None else [first])
    (direction,) = doubles((3, N), seed=1)
    wanted = torch.autograd.grad((expected * direction.detach()).sum(), [*used, x, h])
    for h_t, c_t in (alone(x, (h, c)), mixed(x, (h, c), rows)):
        assert close(h_t, expected) and c_t is c
        found = torch.autograd.grad((h_t * direction.detach()).sum(), [*used, x, h])
        for a, b in zip(found, wanted, strict=True):
            assert b.any() and close(a, b)


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
    assert close(alone(x, (h, c))[0], h_2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_mask_is_on_what_matrices_read_by_hand(name, monkeypatch):
    space, tokens, matrices, by_hand = PUBLISHED[name]
    alone, mixed, first, named = cells(space, tokens, matrices)
    x, h, c, (mask,) = *doubles((3, N), (3, N), (3, N)), doubles((3, N), seed=2)
    plain = by_hand(first, named, x, h)

    def masked_node(s, reads, w, f, plain=node):
        x_and_h = torch.cat([torch.ones_like(mask), mask], dim=1)
        return plain(s, reads * (x_and_h if reads.shape[1] == 2 * N else mask), w, f)

    monkeypatch.setattr(recurrent, "node", masked_node)
    (rows,) = [active(table) for table in space.one_hot(tokens).values()]
    for found, same in (alone(x, (h, c), mask=mask), mixed(x, (h, c), rows, mask=mask)):
        assert close(found, by_hand(first, named, x, h)) and same is c
        assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("layers", [1, 2])
def test_parameters_by_hand(name, layers):
    space, tokens, matrices, _ = PUBLISHED[name]
    child = build_recurrent(space, tokens, vocabulary=11, units=6, layers=layers, matrices=matrices)
    reads_pair = sum(s == 0 for s in tokens[::2]) if matrices == "source" else 2  # W_0 is twice as wide
    per_layer = 2 * 6 * 6 * (space.nodes + reads_pair)
    assert count_parameters(child) == 11 * 6 + 11 + layers * per_layer
