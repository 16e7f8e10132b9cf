"""Search spaces as data: the decisions that describe an architecture, and the mixing weights that represent it.

An architecture is a corner of a polytope of mixing weights. `tokens`, a tuple of ints, names a corner. `weights` is any
point of the polytope: a table of non-negative numbers for each part of the space. The last axis of every table has one
entry per option, so `softmax(-1)` relaxes any space:

    tokens --space.one_hot--> weights --space.discretise--> tokens

Sources: Zoph & Le 2017, sections 3.1, 3.3, 3.4 (`ConvSpace`, `TreeSpace`); Pham et al. 2018, sections "Designing
Convolutional Networks" (`MacroSpace`), "Designing Convolutional Cells" and "Designing Recurrent Cells" (`CellSpace`);
Liu et al. 2019, section 2 (`CellSpace`); Dong & Yang 2020 (NAS-Bench-201).
"""

from naslab.spaces.cells import (
    DARTS_OPS,
    CellSpace,
    Nodes,
    Pairs,
    darts_conv,
    darts_rnn,
    enas_micro,
    enas_rnn,
    nas_bench_201,
    nasnet,
)
from naslab.spaces.common import check_tables
from naslab.spaces.layers import ConvSpace, MacroSpace
from naslab.spaces.protocol import NONE, Decision, Space, Tokens, Weights, all_strings, allowed
from naslab.spaces.trees import TreeSpace

__all__ = [
    "DARTS_OPS",
    "NONE",
    "CellSpace",
    "ConvSpace",
    "Decision",
    "MacroSpace",
    "Nodes",
    "Pairs",
    "Space",
    "Tokens",
    "TreeSpace",
    "Weights",
    "all_strings",
    "allowed",
    "check_tables",
    "darts_conv",
    "darts_rnn",
    "enas_micro",
    "enas_rnn",
    "nas_bench_201",
    "nasnet",
]
