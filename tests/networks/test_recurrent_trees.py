"""Tree cells against the same formulas written out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from naslab import spaces
from naslab.networks import TreeCell, build_recurrent

from .recurrent import FIGURE_5, NAS_CELL, close, doubles

EVERY = {"combine": ("add", "elem_mult", "max"), "activation": ("identity", "tanh", "sigmoid", "relu", "sin")}


def built(space, tokens, units=5, seed=0):
    torch.manual_seed(seed)
    return TreeCell(space, tokens, units).double()


def gradients(outputs, inputs, seed=9):
    """Of a sum of the outputs, each with weights of its own; zeros where nothing depends on an input."""
    weights = doubles(*(o.shape for o in outputs), seed=seed)
    total = sum((o * w.detach()).sum() for o, w in zip(outputs, weights, strict=True))
    return torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)


# Published cells


def figure_5(w_x, w_h, x, h, c):
    """Zoph & Le 2017, figure 5: its lines, in its order; w_x is W_1 on W_3, w_h is W_2 on W_4."""
    w1_x, w3_x = (x @ w_x.T).split(5, dim=1)
    w2_h, w4_h = (h @ w_h.T).split(5, dim=1)
    a_0 = torch.tanh(w1_x + w2_h)
    a_1 = torch.relu(w3_x * w4_h)
    a_0_new = torch.relu(a_0 + c)
    a_2 = torch.sigmoid(a_0_new * a_1)
    return a_2, w3_x * w4_h


def test_figure_5_with_gradients():
    cell, (x, h, c) = built(*FIGURE_5), doubles((3, 5), (3, 5), (3, 5))
    weights = [cell.from_x.weight, cell.from_h.weight]
    found, expected = cell(x, (h, c)), figure_5(*weights, x, h, c)
    assert all(close(a, b) for a, b in zip(found, expected, strict=True))
    inputs = [*weights, x, h, c]
    for a, b in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert a.abs().sum() > 0 and close(a, b)


def test_figure_5_over_time_with_four_separate_matrices():
    cell, (xs, h, c) = built(*FIGURE_5), doubles((6, 3, 5), (3, 5), (3, 5))
    w_1, w_3 = cell.from_x.weight.detach().split(5)
    w_2, w_4 = cell.from_h.weight.detach().split(5)
    state = (h, c)
    for x in xs:
        state = cell(x, state)
        before = (x @ w_3.T) * (h @ w_4.T)
        new = torch.relu(torch.tanh(x @ w_1.T + h @ w_2.T) + c)
        h, c = torch.sigmoid(new * torch.relu(before)), before
        assert close(state[0], h) and close(state[1], c)


def test_the_cell_that_the_search_found():
    """In the words of TensorFlow's NASCell: three layers of pairs, the old c added to the first of the second layer."""
    cell, (x, h, c) = built(*NAS_CELL), doubles((3, 5), (3, 5), (3, 5))
    i = cell.from_x(x).split(5, dim=1)
    m = cell.from_h(h).split(5, dim=1)
    first = [torch.sigmoid(i[k] + m[k]) for k in (0, 2, 5, 7)]
    gated = torch.tanh(first[0] * torch.relu(i[1] + m[1]))
    open_ = torch.tanh(first[1] + torch.relu(i[3] * m[3]))
    third = torch.tanh(torch.tanh(i[4] + m[4]) * first[2])
    fourth = torch.sigmoid(torch.tanh(i[6] + m[6]) + first[3])
    c_t = torch.tanh(gated + c) * open_
    h_t = torch.tanh(c_t * torch.tanh(third + fourth))
    found = cell(x, (h, c))
    assert close(found[0], h_t) and close(found[1], c_t)


# Any cell


def reference(space, tokens, w_x, w_h, x, h, c):
    """Section 3.4, recursively from the root, with a matrix for each W."""
    names = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
    combine = {"add": lambda a, b: a + b, "elem_mult": lambda a, b: a * b, "max": lambda a, b: torch.maximum(a, b)}
    activation = {"identity": lambda a: a, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
    activation["sin"] = torch.sin
    n = x.shape[-1]
    seen = {}

    def before(i):
        if i < space.base:
            pair = x @ w_x[i * n : (i + 1) * n].T, h @ w_h[i * n : (i + 1) * n].T
        else:
            pair = after(2 * (i - space.base)), after(2 * (i - space.base) + 1)
        seen[i] = combine[names[f"{i}.combine"]](*pair)
        return seen[i]

    def after(i):
        a = activation[names[f"{i}.activation"]](before(i))
        if i == names["cell_index.1"]:
            a = activation[names["inject.activation"]](combine[names["inject.combine"]](a, c))
        return a

    h_t = after(2 * space.base - 2)
    return h_t, seen[names["cell_index.0"]]


@st.composite
def strings(draw):
    space = spaces.TreeSpace(draw(st.integers(1, 4)), **EVERY)
    return space, tuple(draw(st.integers(0, len(d.options) - 1)) for d in space.decisions)


@given(strings())
def test_every_string_is_its_formula(string):
    space, tokens = string
    cell, (x, h, c) = built(space, tokens), doubles((3, 5), (3, 5), (3, 5))
    inputs = [cell.from_x.weight, cell.from_h.weight, x, h, c]
    found, expected = cell(x, (h, c)), reference(space, tokens, *inputs)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == (3, 5) and a.isfinite().all() and close(a, b)
    for a, b in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert a.isfinite().all() and torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@given(strings())
def test_every_string_makes_a_language_model(string):
    torch.manual_seed(0)
    model = build_recurrent(*string, vocabulary=7, units=4, layers=2)
    logits, state = model(torch.randint(0, 7, (3, 2)))
    assert logits.shape == (3, 2, 7) and [(*h.shape, *c.shape) for h, c in state] == [(2, 4, 2, 4)] * 2
    logits.logsumexp(-1).sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.decoder.parameters())


LINE = spaces.TreeSpace(2)  # nodes 0, 1 and the root, 2


def one_unit(space, tokens, x=0.3, h=0.5, c=2.0):
    """h_t and c_t of a cell of one unit, all weights 1: what a leaf adds up is 0.8."""
    cell = TreeCell(space, tokens, 1).double()
    for p in cell.parameters():
        nn.init.ones_(p)
    x, h, c = (torch.tensor([[v]], dtype=torch.float64) for v in (x, h, c))
    return tuple(v.item() for v in cell(x, (h, c)))


def test_where_memory_and_injection_meet():
    def cell(memory, inject, combine=0, activation=0):
        """Adds and takes tanh everywhere; the injection adds."""
        return pytest.approx(one_unit(LINE, (0, 1, 0, 1, 0, 1, combine, activation, memory, inject)))

    t = math.tanh(0.8)
    assert (math.tanh(t + 2 + t), 0.8) == cell(0, 0)  # c_t is taken before the injection into its own node
    assert (math.tanh(t + 2 + t), 0.8) == cell(1, 0)
    assert (math.tanh(t + 2 + t), t + 2 + t) == cell(2, 0)  # above the injected node: after it
    assert (math.tanh(2 * t) + 2, 2 * t) == cell(2, 2)  # into the root: h_t has it
    assert (math.tanh(2 * t) + 2, 0.8) == cell(0, 2)
    assert (math.tanh(t + 2 * t), 0.8) == cell(0, 1, combine=1, activation=3)
    assert (math.tanh(t + math.tanh(2 + t)), t + math.tanh(2 + t)) == cell(2, 1, activation=1)


def test_base_1_is_a_root_that_is_a_leaf():
    found = one_unit(spaces.TreeSpace(1), (0, 1, 0, 3, 0, 0), c=-0.5)
    assert found == pytest.approx((math.tanh(0.8) - 0.5, 0.8))


def test_products_without_biases_stay_at_zero():
    """The honest fate of a string whose leaves multiply x by h: it starts at h = 0 and never leaves."""
    model = build_recurrent(LINE, (1, 1, 1, 1, 0, 1, 0, 0, 0, 1), vocabulary=7, units=4)
    logits, [(h, c)] = model(torch.randint(0, 7, (20, 3)))
    assert h.abs().max() == c.abs().max() == 0
    assert torch.equal(logits, model.decoder.bias.expand(20, 3, 7))


@pytest.mark.parametrize("functions", [(0, 0), (1, 0), (0, 3), (1, 3)])
def test_strings_without_bounds_do_not_raise(functions):
    """Identity or ReLU everywhere, the injection a product: numbers may grow past all bounds, and say so."""
    space = spaces.TreeSpace(4)
    torch.manual_seed(0)
    model = build_recurrent(space, (*functions * 7, 1, 0, 6, 6), vocabulary=7, units=8)
    for p in model.cells.parameters():
        nn.init.constant_(p, 3.0)
    logits, _ = model(torch.randint(0, 7, (200, 2)))
    logits.sum().backward()
    assert logits.shape == (200, 2, 7)


def test_a_tree_of_base_8_takes_a_step():
    torch.manual_seed(0)
    space = spaces.TreeSpace()
    x = torch.randint(0, 11, (9, 4))
    for tokens in [space.sample(torch.Generator().manual_seed(s)) for s in range(6)] + [NAS_CELL[1]]:
        model = build_recurrent(space, tokens, vocabulary=11, units=6, layers=2, dropout=0.1)
        before = model.decoder.bias.detach().clone()
        optim = torch.optim.SGD(model.parameters(), 0.1)
        nn.functional.cross_entropy(model(x[:-1])[0].flatten(0, 1), x[1:].flatten()).backward()
        optim.step()
        assert all(p.isfinite().all() for p in model.parameters()) and not torch.equal(before, model.decoder.bias)
