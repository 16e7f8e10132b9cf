"""Mixtures: only what is chosen runs, eq. 2, gradients of the weights, loose ends."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from naslab import spaces
from naslab.networks import ConvNet, MacroNet, MixedOp
from naslab.networks.mixed import active, leaving
from naslab.ops import CONV_OPS
from naslab.spaces import CellSpace, MacroSpace

from .supergraphs import NETS, SMALL, TINY, batch, close, every_net, every_tiny_net, logits, made, relaxed, some

# Only what is chosen runs


def chosen(space, tokens):
    """The string by the names of its decisions."""
    return {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}


def expected_calls(name, space, tokens):
    """How often every op, projection, reduction and matrix of the network runs, by hand from the string."""
    names = chosen(space, tokens)
    calls = Counter()
    if name.startswith("macro"):
        read = {i: [j for j in range(i) if names[f"{i}.skip.{j}"]] for i in range(space.layers)}
        for i, js in read.items():
            calls[f"layers.{i}.ops.{names[f'{i}.op']}"] += 1
            calls[f"projections.{i}"] += bool(js)
        for i in (2, 4):
            for j in {i - 1} | {j for later in range(i, 6) for j in read[later] if j < i}:
                calls[f"reductions.{i}_{j}"] += 1
    elif "rnn" in name:
        for layer in range(1 + ("source" in name)):
            if "source" not in name:
                calls[f"model.cells.{layer}.first"] += 3  # time steps
            for node in range(1, 1 + space.nodes):
                source, op = names[f"recurrent.{node}.0.input"], names[f"recurrent.{node}.0.op"]
                key = f"{node}_{source}" if "source" in name else f"{node}_{op}" if "by op" in name else f"{node}"
                calls[f"model.cells.{layer}.weights.{key}"] += 3
    else:
        places = {
            "bench": [(f"blocks.{k}", "cell") for k in (0, 2, 4)],
            "other": [(f"cells.{k}", "normal" if k == 0 else "reduce") for k in range(3)],
        }
        for place, cell in places.get(name.split()[0], places["other"]):
            for target, node in enumerate(space.pairs(tokens)[cell], start=space.inputs):
                for source, op in set(node):  # once, even if a pair is taken twice
                    calls[f"{place}.edges.{space.edges.index((source, target))}.ops.{op}"] += 1
    return +calls


def parts_of(model):
    """The ops, projections, reductions and matrices of a supergraph by name."""
    kinds = {"ops", "projections", "reductions", "weights"}
    named = [(key.split("."), module) for key, module in model.named_modules()]
    return {".".join(k): module for k, module in named if k[-1] == "first" or kinds & {*k[-2:-1]}}


@every_net
def test_only_chosen_ops_run_and_get_a_gradient(name):
    space, _, _ = NETS[name]
    model = made(*NETS[name])
    parts, calls = parts_of(model), Counter()
    for key, module in parts.items():
        module.register_forward_hook(lambda *_, key=key: calls.update([key]))
    x = batch(model)
    for tokens in some(space, 10, seed=1):
        calls.clear()
        model.zero_grad()
        logits(model, x, space.one_hot(tokens)).logsumexp(-1).sum().backward()
        assert calls == expected_calls(name, space, tokens)
        assert not [k for k, m in parts.items() if k not in calls and any(p.grad is not None for p in m.parameters())]


@every_net
def test_inside_everything_that_was_built_is_used(name):
    model = made(*NETS[name])
    logits(model, batch(model), relaxed(model.space, scale=0.8)).logsumexp(-1).sum().backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None]


def test_a_projection_reads_the_blocks_of_its_skips_alone():
    space, tokens = MacroSpace(4), (0, 0, 0, 0, 0, 0, 0, 1, 0, 1)
    model = made(space, lambda s: MacroNet(s, 4, **SMALL))
    model(batch(model), space.one_hot(tokens)).sum().backward()
    assert [p.grad is not None for p in model.projections[3].conv.blocks] == [True, True, False, True]


# Any mixing weights


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pool_norm", [False, True])
def test_a_mixed_op_is_eq_2(stride, pool_norm):
    torch.manual_seed(0)
    mixed = MixedOp(spaces.DARTS_OPS, 4, stride, False, pool_norm).double()
    x, alpha = torch.randn(3, 4, 7, 6, dtype=torch.float64), torch.randn(8, dtype=torch.float64)

    def op(name):
        if "pool" not in name:
            return mixed.ops[name](x)
        pooled = CONV_OPS[name](4, stride)(x)
        mean, variance = pooled.mean((0, 2, 3), keepdim=True), pooled.var((0, 2, 3), correction=0, keepdim=True)
        return (pooled - mean) / (variance + 1e-5).sqrt() if pool_norm else pooled

    literal = sum(a.exp() / alpha.exp().sum() * op(name) for a, name in zip(alpha, spaces.DARTS_OPS, strict=True))
    for table in (alpha.softmax(-1), alpha.softmax(-1).requires_grad_()):
        (terms,) = active(table[None])
        assert close(mixed(x, terms), literal, 1e-12)


@every_tiny_net
def test_a_table_that_wants_its_gradient_changes_no_output(name):
    space, _ = TINY[name]
    model = made(*TINY[name])
    x = batch(model)
    for tables in (relaxed(space), *(space.one_hot(t, dtype=torch.float64) for t in some(space, 5))):
        alive = {table: w.clone().requires_grad_() for table, w in tables.items()}
        assert close(logits(model, x, alive), logits(model, x, tables), 1e-12)


@every_tiny_net
@pytest.mark.parametrize("place", ["inside", "corner"])
def test_the_gradient_of_all_weights_by_differences(name, place):
    """From below, since a weight that passes 1 makes a kink, and so near that no ReLU meets one of its own."""
    space, _ = TINY[name]
    model = made(*TINY[name])
    x, h = batch(model), 1e-7
    tables = relaxed(space, scale=0.8) if place == "inside" else space.one_hot(some(space, 1)[0], dtype=torch.float64)
    with torch.no_grad():
        direction = torch.randn_like(logits(model, x, tables))

    def loss(tables):
        return (logits(model, x, tables) * direction).sum()

    alive = {table: w.clone().requires_grad_() for table, w in tables.items()}
    gradients = dict(zip(alive, torch.autograd.grad(loss(alive), [*alive.values()]), strict=True))
    for seed in range(4):
        torch.manual_seed(seed)
        along = {table: torch.rand_like(w) for table, w in tables.items()}
        with torch.no_grad():
            f = [loss({table: w - k * h * along[table] for table, w in tables.items()}).item() for k in range(3)]
        numeric = (3 * f[0] - 4 * f[1] + f[2]) / (2 * h)
        assert numeric == pytest.approx(sum((gradients[t] * along[t]).sum().item() for t in tables), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in TINY if name != "bench"])  # there a node may be read by none
def test_at_a_corner_every_choice_has_a_gradient(name):
    space, _ = TINY[name]
    model = made(*TINY[name])
    for tokens in some(space, 3):
        alive = {t: w.requires_grad_() for t, w in space.one_hot(tokens, dtype=torch.float64).items()}
        logits(model, batch(model), alive).logsumexp(-1).sum().backward()
        if name == "macro":
            assert (alive["op"].grad != 0).all()
            for i in range(1, space.layers):  # without skips what they would bring in counts for nothing, but they do
                skips = alive["skip"][i, :i]
                assert (alive["skip"].grad[i, :i, int(skips[:, 1].any())] != 0).all()
        else:
            columns = [k for k, op in enumerate(space.ops) if op != "none"]
            assert all((table.grad[:, columns] != 0).all() for table in alive.values())


# Loose ends


@st.composite
def carried(draw):
    """A cell whose edges each carry something with a probability: one op of two, or "none"."""
    space = CellSpace(
        ("cell",), draw(st.integers(1, 3)), draw(st.integers(1, 2)), ("a", "none", "b"), 1, False, "loose"
    )
    share = st.sampled_from((0.0, 0.25, 0.5, 1.0))
    rows = [(p * q, 1 - p, p * (1 - q)) for p, q in (draw(st.tuples(share, share)) for _ in space.edges)]
    return space, torch.tensor(rows, dtype=torch.float64)


@given(carried())
def test_the_weight_of_a_loose_end_is_the_probability_that_nobody_reads_it(case):
    space, table = case
    nodes = range(space.inputs, space.inputs + space.nodes)
    unread = dict.fromkeys(nodes, 0.0)
    for there in itertools.product((False, True), repeat=len(space.edges)):
        p = 1.0
        for row, yes in zip(table.tolist(), there, strict=True):
            p *= row[0] + row[2] if yes else row[1]
        read = {source for (source, _), yes in zip(space.edges, there, strict=True) if yes}
        for node in nodes:
            unread[node] += p * (node not in read)
    for rows in (active(table), active(table.clone().requires_grad_())):
        found = {space.inputs + k: float(torch.as_tensor(w).detach()) for k, w in leaving(space, rows)}
        assert found.keys() <= unread.keys() and unread == pytest.approx(
            {n: found.get(n, 0.0) for n in nodes}, abs=1e-12
        )


@pytest.mark.parametrize(
    "make", [spaces.enas_micro, spaces.enas_rnn, spaces.darts_conv, spaces.darts_rnn, spaces.nas_bench_201]
)
def test_at_a_corner_the_loose_ends_are_those_of_the_string(make):
    space = make()
    for tokens in some(space, 20):
        for cell, table in space.one_hot(tokens).items():
            expected = space.leaving(space.pairs(tokens)[cell])
            assert leaving(space, active(table)) == [(state - space.inputs, 1.0) for state in expected]


def test_what_an_edge_carries_beyond_1_counts_as_1():
    space = spaces.enas_micro(2)
    table = torch.full((5, 5), 0.5)
    assert leaving(space, active(table)) == [(1, 1.0)]
    assert [w if k else w.item() for k, w in leaving(space, active(table.requires_grad_()))] == [0.0, 1.0]


def test_the_last_node_leaves_whatever_the_others_carry():
    space = spaces.enas_rnn(3)
    assert leaving(space, active(torch.ones(6, 4))) == [(2, 1.0)]


# Strides


class Strides(TorchDispatchMode):
    """Collects the (filter, stride) of every convolution that runs."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.seen.add((tuple(args[1].shape[-2:]), tuple(args[3])))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("fast", [False, True])
def test_no_1x1_convolution_has_a_stride_in_channels_last_memory(fast, size):
    """Its weight gradient corrupts the heap in torch 2.13, for fewer than 8 channels."""
    space = spaces.darts_conv()
    torch.manual_seed(0)
    model = ConvNet(space, 4, 4, affine=False, pool_norm=True, fast=fast).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, size, size).to(memory_format=torch.channels_last)
    with Strides() as convolutions:
        model(x, {table: torch.zeros(shape).softmax(-1) for table, shape in space.tables.items()}).sum().backward()
    assert ((1, 1), (1, 1)) in convolutions.seen and ((3, 3), (2, 2)) in convolutions.seen
    assert ((1, 1), (2, 2)) not in convolutions.seen


# Bad input


@every_tiny_net
def test_tables_that_are_not_the_spaces(name):
    space, _ = TINY[name]
    model = made(*TINY[name])
    good, x = space.one_hot(some(space, 1)[0]), batch(model)
    first = next(iter(good))
    for bad, message in (
        (None, "weights: got NoneType, expected a dict of the tables"),
        ([*good.values()], "weights: got list"),
        ({}, r"weights: got \[\], expected a dict of the tables"),
        (good | {"more": good[first]}, "weights: got .*more"),
        (good | {first: good[first][:-1]}, f"weights: {first} is torch.float32 of .*, expected floats of"),
        (good | {first: good[first][..., :-1]}, f"weights: {first} is"),
        (good | {first: good[first].long()}, f"weights: {first} is torch.int64"),
        (good | {first: good[first].tolist()}, f"weights: {first} is list"),
        ({table: torch.zeros_like(w) for table, w in good.items()}, f"weights: {first} is 0 on all"),
    ):
        with pytest.raises(ValueError, match=message):
            model(x, bad)


def test_a_layer_without_an_op_and_a_node_without_an_edge():
    for name, row, message in (
        ("macro", 2, "weights: op is 0 on all .*layer 2"),
        ("micro", 5, None),
        ("rnn by op", 0, "weights: recurrent is 0 on all edges to state 1"),
    ):
        space, _, _ = NETS[name]
        model, weights = made(*NETS[name]), relaxed(space)
        next(iter(weights.values()))[row] = 0
        if message is None:  # its node has other edges
            assert model(batch(model), weights).isfinite().all()
            continue
        with pytest.raises(ValueError, match=message):
            model(batch(model), weights)
