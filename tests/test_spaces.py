"""Spaces against brute force: sizes by enumeration, sampling by a chi-square, and the two ways round the polytope."""

import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from naslab import spaces
from naslab.spaces import CellSpace, ConvSpace, MacroSpace, TreeSpace, all_strings, allowed

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


@st.composite
def strings(draw, space):
    tokens = ()
    for decision in space.decisions:
        tokens += (draw(st.sampled_from(allowed(decision, tokens))),)
    return tokens


# Sizes


def test_sizes_are_the_published_ones():
    assert MacroSpace(12).size == 6**12 * 2**66 == 160618186625454535808756219904
    assert spaces.darts_conv().size == 1037664180**2
    assert spaces.darts_rnn(8).size == 2642411520
    assert spaces.enas_rnn(12).size == 4**12 * math.factorial(12) == 8036313307545600
    assert spaces.nas_bench_201().size == 5**6 == 15625
    assert TreeSpace(8).size == 15**2 * 8**16  # the paper: approximately 6e16


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


@every_small_space
def test_size_by_enumeration(space):
    found = list(all_strings(space))
    assert found == sorted(set(found)) and len(found) == space.strings
    assert len({space.canonical(t) for t in found}) == space.size
    assert all(space.check(t) == t for t in found)


@pytest.mark.parametrize("name", ["tree", "distinct", "repeated"])
def test_sampling_is_uniform(name):
    space, generator = SMALL[name], torch.Generator().manual_seed(1)
    counts = dict.fromkeys(all_strings(space), 0)
    for _ in range(10 * len(counts)):
        counts[space.sample(generator)] += 1
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_sampling_follows_its_generator():
    space = spaces.darts_conv()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draws = [space.sample(torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("generator", [None, 0, "cpu", torch.Generator])
def test_sampling_asks_for_a_generator(generator):
    for space in SMALL.values():
        with pytest.raises(ValueError, match="generator: got"):
            space.sample(generator)


@pytest.mark.parametrize("of", [np.int64, np.uint8, torch.tensor, bool], ids=["int64", "uint8", "tensor", "bool"])
def test_whatever_is_an_int_becomes_one(of):
    tokens = (0, 1, 1, 1)
    found = spaces.darts_rnn(2).check(map(of, tokens))
    assert found == tokens and all(type(token) is int for token in found)


# Decisions


def test_allowed():
    space = spaces.darts_conv()
    first, op, second = space.decisions[:3]
    assert [*allowed(first, ())] == [0, 1] and [*allowed(op, (1,))] == [*range(7)]
    assert [*allowed(second, (1, 3))] == [0]
    for decision, tokens in [(None, ()), ("normal", ()), (second, ()), (second, None)]:
        with pytest.raises(ValueError, match="got"):
            allowed(decision, tokens)
    for bad in (None, "darts", CellSpace):
        with pytest.raises(ValueError, match="space: got"):
            all_strings(bad)


@every_space
def test_decisions_are_consistent(space):
    assert len({d.name for d in space.decisions}) == len(space.decisions)
    for position, d in enumerate(space.decisions):
        assert all(p < position for p in (*d.anchors, *d.differs_from))
        if d.row:
            assert (*space.tables[d.kind][:-1],) > d.row and space.tables[d.kind][-1] == len(d.options)
        if d.kind == "input":
            assert len(d.anchors) == len(d.options)
        if d.kind == "skip":
            assert len(d.anchors) == 1 and d.options == (0, 1)
            attended = space.decisions[d.anchors[0]]
            assert attended.name.split(".")[0] == d.name.split(".")[2]  # the anchor stands in the layer it is about


def test_pointer_anchors_are_the_states():
    space = CellSpace(("a",), nodes=3, inputs=2, ops=("x", "y"), fan_in=2)
    anchors = [d.anchors for d in space.decisions if d.kind == "input"]
    assert anchors == [(-1, -2)] * 2 + [(-1, -2, 3)] * 2 + [(-1, -2, 3, 7)] * 2  # a node's state: its last decision's


def test_edges_are_ordered_by_target_then_source():
    assert spaces.nas_bench_201().edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert spaces.darts_conv().tables == {"normal": (14, 8), "reduce": (14, 8)}
    assert MacroSpace(4).tables == {"op": (4, 6), "skip": (4, 4, 2)}


# Tokens and weights


@every_space
@FEW
@given(data=st.data())
def test_round_the_polytope(space, data):
    tokens = data.draw(strings(space))
    canonical = space.canonical(tokens)
    assert space.check(tokens) == tokens
    assert space.canonical(canonical) == canonical
    weights = space.one_hot(tokens)
    assert {t: tuple(w.shape) for t, w in weights.items()} == space.tables
    assert space.discretise(weights) == canonical
    assert all(torch.equal(w, weights[t]) for t, w in space.one_hot(canonical).items())


@every_space
@FEW
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]))
def test_any_relaxation_discretises_to_a_valid_string(space, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    alpha = {t: scale * torch.randn(shape, generator=generator) for t, shape in space.tables.items()}
    weights = {t: a.softmax(-1) for t, a in alpha.items()}
    kept = {t: w.clone() for t, w in weights.items()}
    tokens = space.discretise(weights)
    assert space.check(tokens) == tokens == space.canonical(tokens)
    assert all(torch.equal(w, kept[t]) for t, w in weights.items())  # reads, never writes
    if getattr(space, "fan_in", None):
        assert "none" not in [op for nodes in space.pairs(tokens).values() for node in nodes for _, op in node]


@every_space
@FEW
@given(data=st.data(), share=st.floats(0, 1), dtype=st.sampled_from([torch.float64, torch.bfloat16, torch.float16]))
def test_all_between_corners_and_softmax_is_discretised(space, data, share, dtype):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    one, other = (space.one_hot(space.sample(generator), dtype=torch.float64) for _ in range(2))
    for end in (other, {t: (5 * torch.randn(w.shape, generator=generator)).softmax(-1) for t, w in one.items()}):
        between = {t: (share * w + (1 - share) * end[t]).to(dtype) for t, w in one.items()}
        assert space.check(space.discretise(between))


@every_space
@FEW
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]))
def test_alpha_itself_is_refused(space, seed, scale):
    """Alpha is no weights: its largest pairs are others than those of its softmax, which divides by the row's sum."""
    generator = torch.Generator().manual_seed(seed)
    alpha = {t: scale * torch.randn(shape, generator=generator) for t, shape in space.tables.items()}
    with pytest.raises(ValueError, match=r"weights: .* has .*expected .*; take alpha\.softmax\(-1\) first"):
        space.discretise(alpha)
    with pytest.raises(ValueError, match=r"weights: .* has"):  # as large, without a sign to give it away
        space.discretise({t: a.abs() + 2 for t, a in alpha.items()})


def test_weights_are_those_of_a_choice():
    space, repeated = spaces.darts_rnn(1), CellSpace(("a",), 1, 1, ("x", "y"), fan_in=2, distinct=False)
    for row in ([1.0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0.2] * 5):  # also where "none" has it all
        space.discretise({"recurrent": torch.tensor([row])})
    for row in ([2.0, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0], [0, 1.5, -0.5, 0, 0]):
        with pytest.raises(ValueError, match="weights: recurrent has"):
            space.discretise({"recurrent": torch.tensor([row])})
    assert repeated.discretise({"a": torch.tensor([[0.0, 2]])}) == (0, 1, 0, 1)
    with pytest.raises(ValueError, match="weights: a has a row that adds up to 3"):
        repeated.discretise({"a": torch.tensor([[1.0, 2]])})


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


def test_one_hot_passes_on_dtype_and_device():
    weights = spaces.darts_rnn(2).one_hot((0, 1, 1, 2), dtype=torch.float64)
    assert weights["recurrent"].dtype == torch.float64
    assert spaces.darts_rnn(2).one_hot((0, 1, 1, 2), device="meta")["recurrent"].device.type == "meta"
    for space in (spaces.darts_rnn(1), TreeSpace(1)):
        for like in ({"dtype": torch.int64}, {"dtype": "float"}, {"device": "gpu"}, {"device": 1.5}, {"shape": (2,)}):
            with pytest.raises(ValueError, match="like: got"):
                space.one_hot((0,) * len(space.decisions), **like)


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


# Bad input

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.just(10**4000), st.just(object()), st.just(torch.zeros(3)), st.just(torch.tensor(math.nan)),
)  # fmt: skip
garbage = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.tuples(inner) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def only_value_error(function, argument):
    """The result, or None for a `ValueError` with something to say; any other exception is the test's failure."""
    try:
        return function(argument)
    except ValueError as error:
        assert str(error)
        return None


@every_space
@FEW
@given(data=st.data())
def test_garbage_raises_only_value_error(space, data):
    wild = data.draw(garbage)
    fitting = data.draw(st.lists(scalars, min_size=len(space.decisions), max_size=len(space.decisions)))
    for tokens in (wild, fitting):
        found = only_value_error(space.check, tokens)
        assert found is None or space.check(found) == found
        assert (only_value_error(space.one_hot, tokens) is None) == (found is None)
        assert (only_value_error(space.canonical, tokens) is None) == (found is None)
        if isinstance(space, CellSpace):
            assert (only_value_error(space.pairs, tokens) is None) == (found is None)
            only_value_error(space.tokens, tokens)
    only_value_error(space.discretise, wild)
    only_value_error(space.discretise, dict.fromkeys(space.tables, wild))


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("name", ["tree", "macro", "distinct", "repeated", "edges"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w[..., :-1],
        lambda w: w.bool(),
        lambda w: w.to(torch.complex64),
        lambda w: torch.full_like(w, math.nan),
        lambda w: torch.full_like(w, -math.inf),
        lambda w: w.to("meta"),
        lambda w: w.to_sparse(),
        lambda w: w.flatten(0, -2).to_sparse_csr(),
        lambda w: torch.nested.nested_tensor([w]),
        lambda w: w.numpy(),
        lambda w: w.tolist(),
        lambda w: None,
    ],
    ids=[
        *("shape", "bool", "complex", "nan", "minus infinity", "meta"),
        *("sparse", "csr", "nested", "array", "list", "None"),
    ],
)
def test_bad_weights(name, spoil):
    space = SMALL[name]
    weights = space.one_hot(space.sample(torch.Generator().manual_seed(0)))
    table = sorted(weights)[0]
    with pytest.raises(ValueError, match="weights"):
        space.discretise(weights | {table: spoil(weights[table])})
    with pytest.raises(ValueError, match="weights"):
        space.discretise({t: w for t, w in weights.items() if t != table})


def test_errors_name_the_place():
    space = spaces.darts_conv()
    good = space.sample(torch.Generator().manual_seed(0))
    for spoilt, message in [
        ((9, *good[1:]), r"normal\.2\.0\.input: token 9 is outside \(0, 1\)"),
        ((*good[:-1], 7), r"reduce\.5\.1\.op: token 7 is outside"),
        ((0, 0, 0, *good[3:]), r"normal\.2\.1\.input: token 0 is taken by normal\.2\.0\.input, expected .*\(1,\)"),
        ((0.5, *good[1:]), r"normal\.2\.0\.input: token 0.5 is not an int"),
        (good[:-1], r"tokens: got 31, the space has 32 decisions"),
        (None, r"tokens: got None"),
        (set(good), r"tokens: got \{.*, expected a sequence"),
        (dict.fromkeys(range(32)), r"tokens: got \{.*, expected a sequence"),
    ]:
        with pytest.raises(ValueError, match=message):
            space.check(spoilt)


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


def test_every_edge_in_its_place():
    space = SMALL["edges"]
    assert space.tokens({"a": (((0, "x"),), ((0, "x"), (1, "y")))}) == (1, 1, 2)
    with pytest.raises(ValueError, match=r"a\.2"):
        space.tokens({"a": (((0, "x"),), ((1, "y"), (0, "x")))})


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvSpace(0),
        lambda: ConvSpace(heights=()),
        lambda: ConvSpace(filters=(24, 24)),
        lambda: TreeSpace(0),
        lambda: TreeSpace(combine=()),
        lambda: MacroSpace(1.5),
        lambda: MacroSpace(ops=("conv_3x3", "conv_3x3")),
        lambda: CellSpace((), 1, 1, ("x",), 1),
        lambda: CellSpace(("a",), 0, 1, ("x",), 1),
        lambda: CellSpace(("a",), 1, 1, ("none",), 1),
        lambda: CellSpace(("a",), 1, 1, ("x",), 2),
        lambda: CellSpace(("a",), 1, 1, ("x",), 0),
        lambda: CellSpace(("a",), 1, 1, ("x",), 1, output="first"),
        lambda: CellSpace(("a",), 1, 1, ("x",), 1, output=["all"]),
        lambda: CellSpace(("a",), 1, 1, ("x",), 1, distinct=0),
        lambda: CellSpace((1,), 1, 1, ("x",), 1),
        lambda: CellSpace(("a",), 1, 1, ("x", None), 1),
        lambda: CellSpace(("a",), 1, 1, (["x"],), 1),
        lambda: CellSpace("a", 1, 1, ("x",), 1),
        lambda: ConvSpace(filters=(0, 6)),
        lambda: ConvSpace(strides=(1, -2)),
        lambda: ConvSpace(heights=("a", "b")),
        lambda: ConvSpace(widths=("3",)),
        lambda: ConvSpace(filters=(24.0,)),
        lambda: ConvSpace(strides=(True,)),
        lambda: ConvSpace(pooling=[1, 2]),
        lambda: ConvSpace(skips=1),
        lambda: TreeSpace(activation=(1, 2)),
        lambda: MacroSpace(ops={"conv_3x3"}),
        lambda: spaces.darts_conv("4"),
        lambda: spaces.nasnet(0),
        lambda: spaces.enas_rnn(None),
    ],
)
def test_bad_fields(make):
    with pytest.raises(ValueError, match="got"):
        make()


@pytest.mark.parametrize(
    ("plain", "numpy"),
    [
        (spaces.ConvSpace(2, filters=(2, 4)), spaces.ConvSpace(np.int64(2), filters=(np.int64(2), np.int32(4)))),
        (spaces.TreeSpace(2), spaces.TreeSpace(np.int64(2))),
        (spaces.MacroSpace(3), spaces.MacroSpace(np.int64(3))),
        (spaces.darts_conv(2), spaces.darts_conv(np.int64(2))),
    ],
)
def test_a_space_of_numpy_s_sizes_is_the_same_space(plain, numpy):
    assert repr(plain) == repr(numpy)  # by which a step knows its space
