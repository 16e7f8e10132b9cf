"""Small spaces, which tests can enumerate, and the published ones."""

import os

import pytest
from hypothesis import settings

from naslab import spaces
from naslab.spaces import CellSpace, ConvSpace, MacroSpace, TreeSpace

SMALL = {
    "conv": ConvSpace(2, heights=(1, 3), widths=(3,), strides=(1, 2), filters=(24, 36)),
    "conv without skips": ConvSpace(2, heights=(1, 3), widths=(3, 5), filters=(8,), skips=False),
    "tree": TreeSpace(1),
    "macro": MacroSpace(3, ops=("conv_3x3", "max_pool_3x3")),
    "distinct": CellSpace(("a",), nodes=2, inputs=2, ops=("none", "x", "y"), fan_in=2),
    "two cells": CellSpace(("a", "b"), nodes=1, inputs=2, ops=("x", "y"), fan_in=2),
    "repeated": CellSpace(("a",), nodes=2, inputs=1, ops=("x", "y"), fan_in=2, distinct=False, output="loose"),
    "chain": CellSpace(("a",), nodes=3, inputs=1, ops=("none", "x", "y"), fan_in=1),
    "edges": CellSpace(("a",), nodes=2, inputs=1, ops=("none", "x", "y"), fan_in=None, output="last"),
}
PUBLISHED = {
    "nas-rl conv": ConvSpace(),
    "nas-rl tree": TreeSpace(),
    "enas macro": MacroSpace(),
    "darts conv": spaces.darts_conv(),
    "darts rnn": spaces.darts_rnn(),
    "nasnet": spaces.nasnet(),
    "enas micro": spaces.enas_micro(),
    "enas rnn": spaces.enas_rnn(),
    "nas-bench-201": spaces.nas_bench_201(),
}
ALL = SMALL | PUBLISHED
FEW = settings(max_examples=int(os.environ.get("NASLAB_EXAMPLES", 15)), deadline=None)  # more for a long fuzz
every_space = pytest.mark.parametrize("space", ALL.values(), ids=ALL.keys())
every_small_space = pytest.mark.parametrize("space", SMALL.values(), ids=SMALL.keys())
