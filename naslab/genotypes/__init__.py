"""The text forms in which papers publish architectures: text <-> (space, tokens).

    space, tokens = read_darts(DARTS_V2)
    write_darts(space, tokens) == DARTS_V2

A reader parses the text, never evaluates it, and infers the space from it. For bad text it raises a `ValueError` that
names the place. This is the character, counted from 0, if the syntax is wrong. It is the cell and node, such as
`normal.2.0.input`, if the syntax is right and the architecture is not valid. White space between numbers, names and
signs is ignored.
"""

from naslab.genotypes.darts import read_darts, write_darts
from naslab.genotypes.enas import (
    read_enas_macro,
    read_enas_micro,
    read_enas_rnn,
    write_enas_macro,
    write_enas_micro,
    write_enas_rnn,
)
from naslab.genotypes.nas_bench_201 import read_nas_bench_201, write_nas_bench_201
from naslab.genotypes.published import (
    AMOEBANET,
    DARTS_V1,
    DARTS_V1_RNN,
    DARTS_V2,
    DARTS_V2_RNN,
    ENAS_MACRO,
    ENAS_MICRO,
    ENAS_RNN,
    ENAS_RNN_OLDER,
    FIGURE_5,
    NAS_CELL,
    NASNET,
)
from naslab.genotypes.trees import write_tree_latex

__all__ = [
    "AMOEBANET",
    "DARTS_V1",
    "DARTS_V1_RNN",
    "DARTS_V2",
    "DARTS_V2_RNN",
    "ENAS_MACRO",
    "ENAS_MICRO",
    "ENAS_RNN",
    "ENAS_RNN_OLDER",
    "FIGURE_5",
    "NASNET",
    "NAS_CELL",
    "read_darts",
    "read_enas_macro",
    "read_enas_micro",
    "read_enas_rnn",
    "read_nas_bench_201",
    "write_darts",
    "write_enas_macro",
    "write_enas_micro",
    "write_enas_rnn",
    "write_nas_bench_201",
    "write_tree_latex",
]
