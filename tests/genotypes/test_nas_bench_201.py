"""The text of NAS-Bench-201."""

import pytest

from naslab import spaces
from naslab.genotypes import read_nas_bench_201, write_nas_bench_201

from .forms import BEST_201


def test_nas_bench_201_as_its_code_prints_it():
    for printed in (f"Structure(4 nodes with {BEST_201})", f"CellStructure( 4 nodes  with {BEST_201} )"):
        assert read_nas_bench_201(printed) == read_nas_bench_201(BEST_201)
    for printed in (f"Structure(5 nodes with {BEST_201})", f"Structure(4 nodes with {BEST_201}", f"{BEST_201})"):
        with pytest.raises(ValueError, match="character"):
            read_nas_bench_201(printed)


def test_nas_bench_201_in_the_order_of_its_table():
    found = [write_nas_bench_201(spaces.nas_bench_201(), t) for t in [(0,) * 6, (0, 1, 2, 3, 4, 0)]]
    assert found[0] == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert found[1] == "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
