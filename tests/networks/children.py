"""Small children of every kind."""

import pytest
import torch

from naslab import genotypes, spaces
from naslab.networks import build, count_parameters

V2 = genotypes.read_darts(genotypes.DARTS_V2)
MICRO = genotypes.read_enas_micro(genotypes.ENAS_MICRO)
MACRO = genotypes.read_enas_macro("0\n3 0\n5 1 1\n4 0 0 1\n1 1 0 0 1\n2 0 1 0 0 0")
BENCH = genotypes.read_nas_bench_201(
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
)
CONV = (  # 3x3, stride 2; 1x5 reads none; 7x1 reads 0 and 1; 3x3 reads 0; layers 2 and 3 are read by none
    spaces.ConvSpace(4, strides=(1, 2), filters=(4, 6)),
    (*(1, 1, 1, 1, 0), *(0, 2, 0, 0, 1, 0), *(3, 0, 0, 0, 0, 1, 1), *(1, 1, 0, 1, 1, 1, 0, 0)),
)
SMALL = {  # name -> space, tokens, build's arguments
    "darts": (*V2, {"channels": 4, "cells": 3}),
    "enas micro": (*MICRO, {"channels": 4, "cells": 4}),
    "enas macro": (*MACRO, {"channels": 4}),
    "nas-bench-201": (*BENCH, {"channels": 4, "cells": 1}),
    "conv": (*CONV, {}),
}
every_child = pytest.mark.parametrize(("space", "tokens", "size"), SMALL.values(), ids=SMALL.keys())


def count(space, tokens, **arguments):
    with torch.device("meta"):
        return count_parameters(build(space, tokens, **arguments))


def seeded(space, tokens, **arguments):
    torch.manual_seed(0)
    return build(space, tokens, **arguments)
