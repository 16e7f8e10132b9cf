"""Spaces against brute force: sizes by enumeration, sampling by a chi-square, and the two ways round the polytope."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from naslab import spaces
from naslab.spaces import CellSpace, ConvSpace, MacroSpace, TreeSpace, all_strings, allowed

from .examples import FEW, SMALL, every_small_space, every_space


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


def test_one_hot_passes_on_dtype_and_device():
    weights = spaces.darts_rnn(2).one_hot((0, 1, 1, 2), dtype=torch.float64)
    assert weights["recurrent"].dtype == torch.float64
    assert spaces.darts_rnn(2).one_hot((0, 1, 1, 2), device="meta")["recurrent"].device.type == "meta"
    for space in (spaces.darts_rnn(1), TreeSpace(1)):
        for like in ({"dtype": torch.int64}, {"dtype": "float"}, {"device": "gpu"}, {"device": 1.5}, {"shape": (2,)}):
            with pytest.raises(ValueError, match="like: got"):
                space.one_hot((0,) * len(space.decisions), **like)


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
