"""Published texts round trip exactly; mutilated ones raise `ValueError` and nothing else."""

import math
import os
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naslab import genotypes, spaces
from naslab.genotypes import (
    read_darts,
    read_enas_macro,
    read_enas_micro,
    read_enas_rnn,
    read_nas_bench_201,
    write_darts,
    write_enas_macro,
    write_enas_micro,
    write_enas_rnn,
    write_nas_bench_201,
    write_tree_latex,
)
from naslab.networks import TreeCell

BEST_201 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
FORMS = {  # name -> read, write, a text
    "darts v1": (read_darts, write_darts, genotypes.DARTS_V1),
    "darts v2": (read_darts, write_darts, genotypes.DARTS_V2),
    "darts v1 rnn": (read_darts, write_darts, genotypes.DARTS_V1_RNN),
    "darts v2 rnn": (read_darts, write_darts, genotypes.DARTS_V2_RNN),
    "nasnet": (read_darts, write_darts, genotypes.NASNET),
    "amoebanet": (read_darts, write_darts, genotypes.AMOEBANET),
    "enas micro": (read_enas_micro, write_enas_micro, genotypes.ENAS_MICRO),
    "enas macro": (read_enas_macro, write_enas_macro, genotypes.ENAS_MACRO),
    "enas rnn": (read_enas_rnn, write_enas_rnn, genotypes.ENAS_RNN),
    "enas rnn, older": (read_enas_rnn, lambda s, t: write_enas_rnn(s, t, older=True), genotypes.ENAS_RNN_OLDER),
    "nas-bench-201": (read_nas_bench_201, write_nas_bench_201, BEST_201),
}
every_form = pytest.mark.parametrize(("read", "write", "text"), FORMS.values(), ids=FORMS.keys())
FEW = settings(max_examples=int(os.environ.get("NASLAB_EXAMPLES", 60)), deadline=None)  # more for a long fuzz


@every_form
def test_published_text_round_trips(read, write, text):
    space, tokens = read(text)
    assert write(space, tokens) == text
    assert space.check(tokens) == tokens


@pytest.mark.parametrize(
    ("space", "read", "write"),
    [
        (spaces.darts_conv(), read_darts, write_darts),
        (spaces.darts_conv(2), read_darts, write_darts),
        (spaces.darts_rnn(), read_darts, write_darts),
        (spaces.darts_rnn(1), read_darts, write_darts),
        (spaces.enas_micro(), read_enas_micro, write_enas_micro),
        (spaces.enas_micro(1), read_enas_micro, write_enas_micro),
        (spaces.MacroSpace(), read_enas_macro, write_enas_macro),
        (spaces.MacroSpace(1), read_enas_macro, write_enas_macro),
        (spaces.enas_rnn(), read_enas_rnn, write_enas_rnn),
        (spaces.nas_bench_201(), read_nas_bench_201, write_nas_bench_201),
    ],
)
def test_tokens_round_trip(space, read, write):
    generator = torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(25)]:
        assert read(write(space, tokens)) == (space, tokens)


@every_form
def test_white_space_has_no_meaning(read, write, text):
    spaced = text.replace(" ", "\n\t ").replace(",", " , ").replace("|", " | ").replace("[", "[ ")
    assert read(f"\n {spaced} ") == read(text)


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


def test_numbers_as_python_and_numpy_print_them():
    """The ENAS authors' logs print a list for each layer."""
    macro, micro = read_enas_macro("0 3 0 5 1 1"), read_enas_micro(genotypes.ENAS_MICRO)
    for text in ("[0]\n[3 0]\n[5 1 1]\n", "[[0], [3, 0], [5, 1, 1]]", "0, 3, 0, 5, 1, 1", "[0 3\n 0 5 1 1]"):
        assert read_enas_macro(text) == macro
    assert read_enas_micro("\n".join(f"[{line}]" for line in genotypes.ENAS_MICRO.splitlines())) == micro
    assert read_enas_rnn(str([int(n) for n in genotypes.ENAS_RNN.split()])) == read_enas_rnn(genotypes.ENAS_RNN)
    for text in ("[0", "0]", "[0]]", "[0,,3 0]", ",0", "[0.5]", "[0-3]", "{0}", "0;3 0"):
        with pytest.raises(ValueError, match="character"):
            read_enas_macro(text)


def test_nas_bench_201_as_its_code_prints_it():
    for printed in (f"Structure(4 nodes with {BEST_201})", f"CellStructure( 4 nodes  with {BEST_201} )"):
        assert read_nas_bench_201(printed) == read_nas_bench_201(BEST_201)
    for printed in (f"Structure(5 nodes with {BEST_201})", f"Structure(4 nodes with {BEST_201}", f"{BEST_201})"):
        with pytest.raises(ValueError, match="character"):
            read_nas_bench_201(printed)


def test_enas_micro_by_hand():
    space, tokens = read_enas_micro(genotypes.ENAS_MICRO)
    assert space == spaces.enas_micro(5)
    assert space.pairs(tokens)["normal"][0] == ((0, "avg_pool_3x3"), (0, "sep_conv_3x3"))
    assert space.pairs(tokens)["reduce"][2] == ((1, "sep_conv_5x5"), (3, "sep_conv_5x5"))
    assert read_enas_micro(genotypes.ENAS_MICRO.replace("\n", " ")) == (space, tokens)  # as the scripts pass it


def test_enas_macro_by_hand():
    space, tokens = read_enas_macro("0\n3 0\n5 1 1")
    assert space == spaces.MacroSpace(3)
    chosen = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
    assert [chosen[f"{i}.op"] for i in range(3)] == ["conv_3x3", "sep_conv_5x5", "max_pool_3x3"]
    assert [chosen[k] for k in ("1.skip.0", "2.skip.0", "2.skip.1")] == [0, 1, 1]
    assert read_enas_macro(genotypes.ENAS_MACRO)[0] == spaces.MacroSpace(24)


def test_enas_writes_the_darts_cell():
    """The ENAS authors' language-model code names DARTS's recurrent cell in its own form."""
    enas, tokens = read_enas_rnn("0 2 1 1 1 1 1 3 2 0 5 2 3 0 5 1")
    darts, same = read_darts(genotypes.DARTS_V2_RNN)
    assert enas.pairs(tokens) == darts.pairs(same)


def test_enas_rnn_two_forms_of_one_cell():
    space, tokens = read_enas_rnn(genotypes.ENAS_RNN_OLDER)
    assert space == spaces.enas_rnn(12)
    pairs = [node[0] for node in space.pairs(tokens)["recurrent"]]
    assert pairs[:4] == [(0, "tanh"), (1, "tanh"), (2, "relu"), (3, "relu")]  # "0", "0 0", "1 1", "2 1"
    assert read_enas_rnn(write_enas_rnn(space, tokens)) == (space, tokens)
    eight, published = read_enas_rnn(genotypes.ENAS_RNN)
    assert eight == spaces.enas_rnn(8)
    assert read_enas_rnn(write_enas_rnn(eight, published, older=True)) == (eight, published)


def test_older_form_cannot_name_state_0():
    with pytest.raises(ValueError, match=r"recurrent\.2\.0\.input: got 0"):
        write_enas_rnn(spaces.enas_rnn(2), (0, 0, 0, 1), older=True)


def test_nas_bench_201_in_the_order_of_its_table():
    found = [write_nas_bench_201(spaces.nas_bench_201(), t) for t in [(0,) * 6, (0, 1, 2, 3, 4, 0)]]
    assert found[0] == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert found[1] == "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"


V2 = genotypes.DARTS_V2
ONE_NODE = "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])"


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_darts, "", r"character 0: got the end"),
        (read_darts, "  Genotip()", r"character 2: got 'Genotip\(\)'"),
        (read_darts, V2[:-1], rf"character {len(V2) - 1}: got the end, expected '\)'"),
        (read_darts, V2 + " x", rf"character {len(V2) + 1}: got 'x', expected the end"),
        (read_darts, "__import__('os')", r"character 0"),
        (read_darts, V2.replace("dil_conv_3x3", "dil_conv_7x7"), r"normal\.5.*dil_conv_7x7"),
        (read_darts, V2.replace("dil_conv_3x3", "none"), r"normal\.5.*none"),
        (read_darts, V2.replace("_3x3', 2)]", "_3x3', 7)]"), r"normal\.5\.1\.input: token 7"),
        (
            read_darts,
            V2.replace("_3x3', 2)]", "_3x3', 0)]"),
            r"normal\.5\.1\.input: token 0 is taken by normal\.5\.0",
        ),
        (read_darts, V2.replace("_3x3', 2)]", "_3x3', -1)]"), rf"character {V2.index('2)]')}: got '-1\)"),
        (read_darts, V2.replace(", ('dil_conv_3x3', 2)]", "]"), r"character 16: normal has 7 pairs"),
        (read_darts, V2.replace("('skip_connect', 0), ('dil_conv_3x3', 2)]", "]"), r"reduce has 4 nodes, normal has 3"),
        (read_darts, V2.replace("[2, 3, 4, 5], r", "[2, 3, 4, 5, 6], r"), r"normal_concat is \[2, 3, 4, 5, 6\]"),
        (read_darts, V2.replace("5])", "6])"), r"character 4\d\d: reduce_concat is \[2, 3, 4, 6\]"),
        (read_darts, V2.replace("[2, 3, 4, 5]", "range(0, 999999999)"), r"normal_concat is range\(0, 999999999\)"),
        (read_darts, "Genotype(normal=[], normal_concat=[])", r"text: got the cells \('normal',\)"),
        (read_darts, "Genotype(recurrent=[], concat=[])", r"character 19: recurrent has 0 pairs"),
        (read_darts, V2.replace("reduce", "normal"), r"text: got the cell normal twice"),
        (read_darts, V2.split("reduce=")[0] + ONE_NODE, r"character \d+: reduce has 1 nodes, normal has 4"),
        (read_darts, V2.replace("reduce=", "reuse="), r"expected 'reuse_concat='"),
        (read_darts, V2.replace("reduce", "reuse"), r"text: got the cells \('normal', 'reuse'\)"),
        (read_enas_micro, "0 2 x", r"character 4: got 'x'"),
        (read_enas_micro, "", r"got 0 numbers"),
        (read_enas_micro, "0 1 0 1 0 1 0", r"got 7 numbers"),
        (read_enas_micro, "0 1 0 1 0 1 2 1", r"reduce\.2\.1\.input: token 2"),
        (read_enas_macro, "0 1", r"got 2 numbers"),
        (read_enas_macro, "0 1 2", r"1\.skip\.0: token 2"),
        (read_enas_macro, "", r"got 0 numbers"),
        (read_enas_rnn, "", r"no numbers"),
        (read_enas_rnn, "0 4", r"recurrent\.1\.0\.op: token 4"),
        (read_enas_rnn, "4", r"recurrent\.1\.0\.op: token 4"),
        (read_enas_rnn, "0 1 0", r"recurrent\.2\.0\.input: token 2"),
        (read_enas_rnn, "1.5 2", r"character 0: got '1.5 2'"),
        (read_nas_bench_201, BEST_201[:-1], r"character 94: got the end"),
        (read_nas_bench_201, BEST_201.replace("1x1~2", "1x1~1"), r"character 93: got '1\|', expected input 2"),
        (read_nas_bench_201, BEST_201.replace("skip_connect", "skip"), r"cell\.3.*skip"),
        (read_nas_bench_201, None, r"text: got NoneType"),
    ],
)
def test_errors_point_at_the_place(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def only_value_error(read, write, text):
    try:
        space, tokens = read(text)
    except ValueError as error:
        assert str(error)
        return
    assert space.check(tokens) == tokens
    if write is not None:
        assert read(write(space, tokens)) == (space, tokens)


@every_form
@FEW
@given(data=st.data())
def test_mutations_raise_only_value_error(read, write, text, data):
    alphabet = st.sampled_from([*"()[]{}=,'\"|+~ \n\\0123456789-._eE", "sep_conv_3x3", "range(", "9" * 30, "٣", "None"])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + "".join(data.draw(st.lists(alphabet, max_size=3))) + text[stop:]
    only_value_error(read, None if "rnn" in read.__name__ else write, text)


@every_form
@FEW
@given(bad=st.text() | st.text("0123456789 \n", max_size=40) | st.none() | st.integers() | st.binary())
def test_garbage_raises_only_value_error(read, write, text, bad):
    only_value_error(read, None if "rnn" in read.__name__ else write, bad)


@pytest.mark.parametrize("text", ["(" * 100_000, "Genotype(" + "[" * 100_000, "9" * 100_000, "|" * 100_000, "\0"])
def test_nesting_and_length_are_harmless(text):
    for read, _, _ in FORMS.values():
        with pytest.raises(ValueError, match=r"character \d|text: got"):
            read(text)


@pytest.mark.parametrize(
    "write", [write_darts, write_enas_micro, write_enas_macro, write_enas_rnn, write_nas_bench_201]
)
def test_writers_refuse_other_spaces_and_bad_tokens(write):
    other = spaces.CellSpace(("a",), nodes=1, inputs=1, ops=("x",), fan_in=1)
    others = (spaces.TreeSpace(), spaces.MacroSpace(2, ops=("conv_3x3",)), None)
    for space in others if write is write_darts else (other, *others):
        with pytest.raises(ValueError, match="space: got"):
            write(space, (0, 0))
    own = {
        write_darts: spaces.darts_conv(),
        write_enas_micro: spaces.enas_micro(),
        write_enas_macro: spaces.MacroSpace(),
        write_enas_rnn: spaces.enas_rnn(),
        write_nas_bench_201: spaces.nas_bench_201(),
    }[write]
    with pytest.raises(ValueError):
        write(own, (9,) * len(own.decisions))


# Trees


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
