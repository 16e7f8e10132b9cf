"""Formulas of trees: published ones line by line, any other by what it computes."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import genotypes, spaces
from naslab.genotypes import write_tree_latex
from naslab.networks import TreeCell

from .forms import FEW


def test_figure_5_line_by_line():
    assert write_tree_latex(*genotypes.FIGURE_5).splitlines() == [
        r"\begin{aligned}",
        r"a_0 &= \tanh(W_1 x_t + W_2 h_{t-1}) \\",
        r"a_1 &= \operatorname{ReLU}((W_3 x_t) \odot (W_4 h_{t-1})) \\",
        r"a_0' &= \operatorname{ReLU}(a_0 + c_{t-1}) \\",
        r"a_2 &= \operatorname{sigmoid}(a_0' \odot a_1) \\",
        r"c_t &= (W_3 x_t) \odot (W_4 h_{t-1}) \\",
        r"h_t &= a_2",
        r"\end{aligned}",
    ]


def test_the_cell_that_the_search_found_by_hand():
    lines = write_tree_latex(*genotypes.NAS_CELL).splitlines()[1:-1]
    assert len(lines) == 15 + 1 + 2
    assert lines[7] == r"a_7 &= \operatorname{sigmoid}(W_{15} x_t + W_{16} h_{t-1}) \\"
    assert lines[12:] == [
        r"a_8' &= \tanh(a_8 + c_{t-1}) \\",
        r"a_{12} &= a_8' \odot a_9 \\",
        r"a_{13} &= \tanh(a_{10} + a_{11}) \\",
        r"a_{14} &= \tanh(a_{12} \odot a_{13}) \\",
        r"c_t &= a_8' \odot a_9 \\",
        r"h_t &= a_{14}",
    ]


TREES = {"combine": ("add", "elem_mult", "max"), "activation": ("identity", "tanh", "sigmoid", "relu", "sin")}


def test_a_formula_with_the_injection_at_the_root():
    space = spaces.TreeSpace(1, **TREES)
    assert write_tree_latex(space, (2, 4, 1, 0, 0, 0)).splitlines()[1:-1] == [
        r"a_0 &= \sin(\max(W_1 x_t, W_2 h_{t-1})) \\",
        r"a_0' &= a_0 \odot c_{t-1} \\",
        r"c_t &= \max(W_1 x_t, W_2 h_{t-1}) \\",
        r"h_t &= a_0'",
    ]


def run_formula(text, matrices, x, h, c):
    """h_t and c_t: the formula read as Python, with every name that it uses defined before."""
    names = {"tanh": math.tanh, "sin": math.sin, "max": max, "ReLU": lambda v: max(v, 0.0)}
    names |= {"sigmoid": lambda v: 1 / (1 + math.exp(-v)), "x_t": x, "h_before": h, "c_before": c}
    names |= {f"W_{k}": w for k, w in matrices.items()}
    for line in text.splitlines()[1:-1]:
        line = line.removesuffix(r" \\").replace("h_{t-1}", "h_before").replace("c_{t-1}", "c_before")
        line = re.sub(r"\\operatorname\{(\w+)\}", r"\1", line).replace(r"\odot", "*").replace("'", "_new")
        line = re.sub(r"_\{(\d+)\}", r"_\1", line).replace("\\", "")
        line = re.sub(r"(W_\d+) (\w+)", r"\1 * \2", line)
        name, formula = line.split(" &= ")
        assert name not in names
        names[name] = eval(formula, {"__builtins__": {}}, names)
    return names["h_t"], names["c_t"]


@FEW
@given(data=st.data())
def test_every_formula_computes_its_cell(data):
    space = spaces.TreeSpace(data.draw(st.integers(1, 6)), **TREES)
    tokens = tuple(data.draw(st.integers(0, len(d.options) - 1)) for d in space.decisions)
    torch.manual_seed(0)
    cell = TreeCell(space, tokens, 1).double()
    x, h, c = torch.randn(3, 1, 1).double()
    matrices = dict(zip(range(1, 2 * space.base, 2), cell.from_x.weight.flatten().tolist(), strict=True))
    matrices |= dict(zip(range(2, 2 * space.base + 1, 2), cell.from_h.weight.flatten().tolist(), strict=True))
    found = run_formula(write_tree_latex(space, tokens), matrices, x.item(), h.item(), c.item())
    assert found == pytest.approx([v.item() for v in cell(x, (h, c))], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("space", "tokens", "message"),
    [
        (spaces.ConvSpace(1), (0,) * 5, "space: got ConvSpace"),
        (None, (), "space: got None"),
        (spaces.TreeSpace(1, combine=("add", "minus")), (0,) * 6, r"space: got combine \['minus'\]"),
        (spaces.TreeSpace(1, activation=("gelu",)), (0,) * 6, r"space: got activation \['gelu'\]"),
        (spaces.TreeSpace(1), (0,) * 5, "tokens: got 5"),
        (spaces.TreeSpace(1), (0, 0, 0, 0, 0, 1), r"cell_index\.1: token 1"),
        (spaces.TreeSpace(1), None, "tokens: got None"),
    ],
)
def test_formulas_of_other_spaces_and_bad_tokens(space, tokens, message):
    with pytest.raises(ValueError, match=message):
        write_tree_latex(space, tokens)
