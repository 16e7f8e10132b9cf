"""The text of DARTS: published genotypes, the authors' ways to print them, and spaces of one's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import genotypes, spaces
from naslab.genotypes import read_darts, write_darts

from .forms import FEW, V2


def test_darts_v2_by_hand():
    space, tokens = read_darts(genotypes.DARTS_V2)
    assert space == spaces.darts_conv(4)
    pairs = space.pairs(tokens)
    assert pairs["normal"][3] == ((0, "skip_connect"), (2, "dil_conv_3x3"))  # the last node: states 0 and 2
    assert pairs["reduce"][1] == ((2, "skip_connect"), (1, "max_pool_3x3"))


def test_darts_concat_as_list_or_range():
    ranges = genotypes.DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)")
    assert read_darts(ranges) == read_darts(genotypes.DARTS_V2)
    lists = genotypes.DARTS_V2_RNN.replace("range(1, 9)", "[1, 2, 3, 4, 5, 6, 7, 8]")
    assert read_darts(lists) == read_darts(genotypes.DARTS_V2_RNN)
    loose = genotypes.DARTS_V2.replace("'", '"').replace("5])", "5,],)")
    assert read_darts(loose) == read_darts(genotypes.DARTS_V2)


def test_a_genotype_in_a_log_or_a_file():
    wanted = read_darts(V2)
    for before in ("genotype = ", "DARTS_V2=", "03/27 08:52:01 AM genotype = ", "2026-01-02 03:04:05,678 - a = b =\n"):
        assert read_darts(before + V2) == wanted
    for before in ("genotype ", "x = f(", "import os; ", "= = 1 "):
        with pytest.raises(ValueError, match="character 0: got"):
            read_darts(before + V2)


def test_lists_in_lists():
    """As another well-known implementation of DARTS prints them, a list for each node."""
    nested = (
        "Genotype(normal=[[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], [('skip_connect', 0), ('dil_conv_3x3', 2)]], "
        "normal_concat=range(2, 4), reduce=[[('max_pool_3x3', 0), ('max_pool_3x3', 1)], "
        "[('max_pool_3x3', 0), ('skip_connect', 2)]], reduce_concat=range(2, 4))"
    )
    flat = nested.replace("[[", "[").replace("]]", "]").replace("], [(", ", (")
    space, tokens = read_darts(nested)
    assert space == spaces.darts_conv(2) and read_darts(flat) == (space, tokens)
    assert space.pairs(tokens)["normal"] == (
        ((0, "sep_conv_3x3"), (1, "sep_conv_3x3")),
        ((0, "skip_connect"), (2, "dil_conv_3x3")),
    )
    for spoilt, message in [
        (nested.replace(", ('sep_conv_3x3', 1)]", "]"), r"normal\.2: got 1 pairs, expected 2"),
        (nested.replace("range(2, 4), r", "range(2, 5), r"), "normal_concat is"),
        (nested.replace("[[('sep_conv_3x3', 0)", "[('sep_conv_3x3', 0)"), "character"),
        (nested.replace("[('skip_connect', 0), ", "('skip_connect', 0), ["), "character"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_darts(spoilt)


def test_cells_that_leave_nodes_out():
    """NASNet and AmoebaNet, as the DARTS authors' code has them: exactly the nodes that others read are left out."""
    for text, normal, reduce in [
        (genotypes.NASNET, (2, 3, 4, 5, 6), (4, 5, 6)),
        (genotypes.AMOEBANET, (4, 5, 6), (3, 4, 6)),
    ]:
        space, tokens = read_darts(text)
        pairs = space.pairs(tokens)
        assert space == spaces.nasnet(5)
        assert (space.leaving(pairs["normal"]), space.leaving(pairs["reduce"])) == (normal, reduce)
    assert pairs["reduce"][4] == ((0, "conv_7x1_1x7"), (5, "sep_conv_3x3"))
    with pytest.raises(ValueError, match=r"normal_concat is \[4, 5\], expected all nodes, .*, or those that no"):
        read_darts(genotypes.AMOEBANET.replace("[4, 5, 6]", "[4, 5]"))


def test_an_enas_cell_in_the_form_of_darts():
    """The DARTS authors compare with a recurrent cell of ENAS, whose loose ends leave."""
    functions = ["tanh", "tanh", "relu", "tanh", "tanh", "relu", "relu", "relu", "relu", "relu", "relu"]
    sources = (0, 1, 1, 3, 3, 3, 4, 7, 8, 8, 8)
    pairs = [*zip(functions, sources, strict=True)]
    space, tokens = read_darts(f"ENAS = Genotype(\n    recurrent = {pairs},\n    concat = [2, 5, 6, 9, 10, 11]\n)")
    assert space == spaces.enas_rnn(11)
    assert space.pairs(tokens)["recurrent"] == tuple(((source, f),) for f, source in pairs)
    assert read_darts(write_darts(space, tokens)) == (space, tokens)


OWN = {
    "ops": spaces.CellSpace(("normal", "reduce"), 3, 2, ("none", "mine", "conv 1 x 1", "größer"), 2),
    "loose": spaces.CellSpace(("normal", "reduce"), 3, 1, ("a", "b"), 2, distinct=False, output="loose"),
    "cells": spaces.CellSpace(("first", "second", "third"), 2, 3, ("a", "b"), 3),
    "last": spaces.CellSpace(("cell",), 2, 1, ("a", "b"), 1, output="last"),
    "every edge": spaces.nas_bench_201(),
    "recurrent": spaces.CellSpace(("recurrent",), 4, 1, ("none", "sin", "tanh"), 1),
    "enas": spaces.enas_micro(),
}


@pytest.mark.parametrize("space", OWN.values(), ids=OWN.keys())
@FEW
@given(data=st.data())
def test_a_space_of_ones_own_has_a_text(space, data):
    tokens = space.sample(torch.Generator().manual_seed(data.draw(st.integers(0, 2**31))))
    text = write_darts(space, tokens)
    assert read_darts(text, space) == (space, tokens)
    assert eval(text, {"Genotype": dict})[_first_concat(space)] is not None  # Python, as the authors' code reads it


def _first_concat(space):
    return "concat" if space.cells[0] == "recurrent" else f"{space.cells[0]}_concat"


@pytest.mark.parametrize(
    ("cells", "ops", "message"),
    [
        (("a b",), ("x",), "cells: got 'a b'"),
        (("",), ("x",), "cells: got ''"),
        (("a",), ("x'",), "ops: got"),
        (("a",), ("x\n",), "ops: got"),
        (("a",), ("\\",), "ops: got"),
        (("a",), ('"',), "ops: got"),
    ],
)
def test_names_that_the_form_cannot_hold(cells, ops, message):
    with pytest.raises(ValueError, match=message):
        write_darts(spaces.CellSpace(cells, 1, 1, ops, 1), (0, 0))


def test_a_text_of_another_space():
    text = write_darts(OWN["ops"], OWN["ops"].sample(torch.Generator().manual_seed(0)))
    for space, message in [
        (None, "got '(mine|conv|gr)"),
        (OWN["cells"], r"text: got the cells \('normal', 'reduce'\)"),
        (spaces.darts_conv(3), "got '(mine|conv|gr)"),
        (spaces.darts_conv(4), "normal has 6 pairs, the space has 8"),
        (spaces.MacroSpace(), "space: got MacroSpace"),
        ("darts", "space: got 'darts'"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_darts(text, space)
