"""Spaces of cells: sizes by the papers' formulas, edges, pairs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import spaces
from naslab.spaces import CellSpace, MacroSpace, all_strings

from .examples import ALL, FEW, SMALL

# Sizes


def test_darts_cell_by_the_formula_of_the_paper():
    cell = math.prod(math.comb(k + 1, 2) * 7**2 for k in range(1, 5))
    assert cell == 1037664180 and spaces.darts_conv().size == cell**2


def test_enas_micro_paper_count_and_ours():
    """The paper, section 2.5, has (5 (B - 2)!)^4 = 1.3e11 pairs of cells for B = 7; there are 2.6e25 strings."""
    space = spaces.enas_micro(5)
    paper = (5 * math.factorial(5)) ** 4
    assert paper == 129600000000
    # Two pairs for each of B - 2 nodes: the number of ops has an exponent, which the paper drops. Node i (from 1) reads
    # one of i + 1 states, so that the inputs multiply to (B - 1)!, not (B - 2)!.
    literal = (5**5 * math.factorial(6)) ** 2
    assert literal == 5062500000000 and space.strings == literal**2
    # Swapping a node's two pairs changes the string, not the architecture.
    n = [5 * inputs for inputs in range(2, 7)]
    assert space.size == math.prod(k * (k + 1) // 2 for k in n) ** 2 < space.strings


def test_enas_recurrent_read_literally():
    """If node 1 has no choice of input and no later node reads state 0, 4^N (N - 1)! strings remain."""
    space = spaces.enas_rnn(4)
    later = [p for p, d in enumerate(space.decisions) if d.kind == "input"][1:]
    literal = sum(all(t[p] != 0 for p in later) for t in all_strings(space))
    assert space.strings == 4**4 * math.factorial(4) and literal == 4**4 * math.factorial(3)


# Decisions


def test_pointer_anchors_are_the_states():
    space = CellSpace(("a",), nodes=3, inputs=2, ops=("x", "y"), fan_in=2)
    anchors = [d.anchors for d in space.decisions if d.kind == "input"]
    assert anchors == [(-1, -2)] * 2 + [(-1, -2, 3)] * 2 + [(-1, -2, 3, 7)] * 2  # a node's state: its last decision's


def test_edges_are_ordered_by_target_then_source():
    assert spaces.nas_bench_201().edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert spaces.darts_conv().tables == {"normal": (14, 8), "reduce": (14, 8)}
    assert MacroSpace(4).tables == {"op": (4, 6), "skip": (4, 4, 2)}


# Tokens and weights


@FEW
@given(seed=st.integers(0, 2**31))
def test_discretise_keeps_the_two_strongest_edges(seed):
    """Liu et al. 2019, section 2.4, written as sorting."""
    space = spaces.darts_conv()
    generator = torch.Generator().manual_seed(seed)
    weights = {t: torch.randn(shape, generator=generator).softmax(-1) for t, shape in space.tables.items()}
    found = space.pairs(space.discretise(weights))
    for cell, table in weights.items():
        for target, node in enumerate(found[cell], start=2):
            best = []
            for edge, (source, t) in enumerate(space.edges):
                if t == target:
                    strength, op = max((float(table[edge, k]), op) for k, op in enumerate(space.ops) if op != "none")
                    best.append((strength, source, op))
            assert node == tuple(sorted((source, op) for _, source, op in sorted(best)[-2:]))


def test_one_hot_by_hand():
    space = CellSpace(("a",), nodes=2, inputs=1, ops=("none", "x", "y"), fan_in=2, distinct=False)
    pairs = {"a": (((0, "x"), (0, "x")), ((1, "y"), (0, "x")))}
    tokens = space.tokens(pairs)
    assert tokens == (0, 0, 0, 0, 1, 1, 0, 0) and space.pairs(tokens) == pairs
    assert space.one_hot(tokens)["a"].tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 1]]
    assert space.canonical(tokens) == (0, 0, 0, 0, 0, 0, 1, 1)
    macro = MacroSpace(2).one_hot((5, 2, 1))
    assert macro["op"].argmax(-1).tolist() == [5, 2] and macro["skip"][1, 0].tolist() == [0, 1]


@pytest.mark.parametrize("space", [s for s in ALL.values() if isinstance(s, CellSpace)])
def test_pairs_and_tokens_are_inverse(space):
    generator = torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(20)]:
        assert space.tokens(space.pairs(tokens)) == tokens


def test_every_edge_in_its_place():
    space = SMALL["edges"]
    assert space.tokens({"a": (((0, "x"),), ((0, "x"), (1, "y")))}) == (1, 1, 2)
    with pytest.raises(ValueError, match=r"a\.2"):
        space.tokens({"a": (((0, "x"),), ((1, "y"), (0, "x")))})


# Bad input


@pytest.mark.parametrize(
    "pairs",
    [
        None,
        {},
        {"a": ()},
        {"a": 3},
        {"a": ((0, "x"),)},
        {"a": (((0, "x", 1),), ((0, "x"),))},
        {"a": (((0, "none"),), ((0, "x"),))},
        {"a": (((0, ["x"]),), ((0, "x"),))},
        {"a": (((2, "x"),), ((0, "x"),))},
        {"a": (((0, "x"), (0, "x")), ())},
        {"a": (((0, "x"),), ((0, "x"),), ((0, "x"),))},
        {"a": (((0, "x"),), ((0, "x"),)), "b": ()},
    ],
)
def test_bad_pairs(pairs):
    with pytest.raises(ValueError):
        CellSpace(("a",), nodes=2, inputs=1, ops=("none", "x"), fan_in=1).tokens(pairs)


@pytest.mark.parametrize("nodes", [None, 3, "ab", ((1,),), (((0, "x", 1),),), (((0, ["x"], 1),),)])
def test_bad_nodes(nodes):
    with pytest.raises(ValueError, match="nodes: got"):
        spaces.enas_micro().leaving(nodes)
