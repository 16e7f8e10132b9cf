"""Every text form with a published text."""

import os

import pytest
from hypothesis import settings

from naslab import genotypes
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
)

BEST_201 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
V2 = genotypes.DARTS_V2
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
