"""Children against the published parameter counts, and their wiring against the same graph written out by hand."""

import math

import pytest
import torch
from torch import nn

from naslab import child, genotypes, spaces
from naslab.child import build, count_parameters, drop_path
from naslab.ops import CONV_OPS, FactorizedReduction

V2 = genotypes.read_darts(genotypes.DARTS_V2)
MICRO = genotypes.read_enas_micro(genotypes.ENAS_MICRO)
MACRO = genotypes.read_enas_macro("0\n3 0\n5 1 1\n4 0 0 1\n1 1 0 0 1\n2 0 1 0 0 0")
BENCH = genotypes.read_nas_bench_201(
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
)
SMALL = {  # name -> space, tokens, build's arguments
    "darts": (*V2, {"channels": 4, "cells": 3}),
    "enas micro": (*MICRO, {"channels": 4, "cells": 4}),
    "enas macro": (*MACRO, {"channels": 4}),
    "nas-bench-201": (*BENCH, {"channels": 4, "cells": 1}),
}
every_child = pytest.mark.parametrize(("space", "tokens", "size"), SMALL.values(), ids=SMALL.keys())


def count(space, tokens, **arguments):
    with torch.device("meta"):
        return count_parameters(build(space, tokens, **arguments))


def seeded(space, tokens, **arguments):
    torch.manual_seed(0)
    return build(space, tokens, **arguments)


# Published counts


def test_darts_v2_has_the_published_number_of_parameters():
    assert count(*V2, channels=36) == count(*V2, channels=36, cells=20) == 3349342
    assert count(*V2, channels=16, cells=8) == 246106


def test_auxiliary_head_by_hand():
    channels = 4 * 4 * 36  # four nodes, after both reductions
    hand = channels * 128 + 2 * 128 + 128 * 768 * 2 * 2 + 2 * 768 + 768 * 10 + 10
    assert count(*V2, channels=36, auxiliary=True) - count(*V2, channels=36) == hand


def test_nas_bench_201_formula():
    space = spaces.nas_bench_201()
    for threes in range(7):
        for ones in range(7 - threes):
            tokens = (3,) * threes + (2,) * ones + (0, 1, 4, 0, 1, 4)[: 6 - threes - ones]
            assert count(space, tokens, channels=16) == 73306 + 243040 * threes + 28000 * ones


def test_macro_child_by_hand():
    c, space = 8, spaces.MacroSpace(6)
    norm = 2 * c
    ops = {
        "conv_3x3": 9 * c * c + norm,
        "sep_conv_3x3": 2 * (9 * c + c * c + norm),
        "conv_5x5": 25 * c * c + norm,
        "sep_conv_5x5": 2 * (25 * c + c * c + norm),
    }
    generator = torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(20)]:
        chosen = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
        skips = {i: [j for j in range(i) if chosen[f"{i}.skip.{j}"]] for i in range(6)}
        total = 27 * c + norm + c * 10 + 10
        total += sum(ops.get(chosen[f"{i}.op"], 0) for i in range(6))
        total += sum((1 + len(js)) * c * c + norm for js in skips.values() if js)
        for at in (2, 4):
            read = {at - 1} | {j for i in range(at, 6) for j in skips[i] if j < at}
            total += len(read) * (c * c + norm)
        assert count(space, tokens, channels=c) == total


# Forward and backward


@every_child
@pytest.mark.parametrize("image", [(1, 28, 28), (1, 14, 14), (3, 32, 32), (3, 9, 5)])
def test_logits(space, tokens, size, image):
    model = build(space, tokens, in_channels=image[0], classes=7, **size)
    x = torch.randn(2, *image)
    assert model(x).shape == (2, 7)
    one = model.eval()(x[:1])
    assert torch.allclose(one, model(x)[:1], atol=1e-5)


@every_child
def test_everything_built_is_used(space, tokens, size):
    model = build(space, tokens, **size)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_only_chosen_ops_are_built():
    space = spaces.darts_conv()
    pools = space.tokens({cell: (((0, "max_pool_3x3"), (1, "max_pool_3x3")),) * 4 for cell in space.cells})
    model = build(space, pools, channels=2, cells=3)
    assert not [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len([m for m in model.modules() if isinstance(m, nn.MaxPool2d)]) == 3 * 8


@every_child
def test_same_seed_same_child(space, tokens, size):
    one, two = seeded(space, tokens, **size).state_dict(), seeded(space, tokens, **size).state_dict()
    assert list(one) == list(two) and all(torch.equal(one[k], two[k]) for k in one)


@every_child
def test_follows_the_device_and_dtype_of_its_input(space, tokens, size):
    with torch.device("meta"):
        model = build(space, tokens, **size)
    assert model.train()(torch.empty(2, 3, 16, 16, device="meta")).device.type == "meta"
    assert build(space, tokens, **size).double()(torch.randn(2, 3, 16, 16).double()).dtype == torch.float64


# Wiring


class Times(nn.Module):
    """Scales a map, and halves it at stride 2: an op that mental arithmetic can follow."""

    def __init__(self, factor, stride):
        super().__init__()
        self.factor, self.stride = factor, stride

    def forward(self, x):
        return self.factor * x[..., :: self.stride, :: self.stride]


@pytest.fixture
def factors(monkeypatch):
    primes = dict(zip(sorted(CONV_OPS), (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37), strict=True))
    for name, prime in primes.items():
        monkeypatch.setitem(CONV_OPS, name, lambda channels, stride, affine=True, f=prime: Times(f, stride))
    return primes


@pytest.mark.parametrize("make", [spaces.darts_conv, spaces.enas_micro])
@pytest.mark.parametrize("stride", [1, 2])
def test_cell_is_its_graph(factors, make, stride):
    space, generator = make(), torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(10)]:
        nodes = space.pairs(tokens)["reduce"]
        cell = child.Cell(space, nodes, 1, stride, (nn.Identity(), nn.Identity()))
        states = [1.0, 100.0]
        for node in nodes:
            states.append(sum(factors[op] * states[source] for source, op in node))
        read = {source for node in nodes for source, _ in node}
        expected = [s for i, s in enumerate(states) if i >= 2 and (space.output == "all" or i not in read)]
        out = cell([torch.full((1, 1, 4, 4), v, dtype=torch.float64) for v in states[:2]])
        assert out.shape == (1, len(expected), 4 // stride, 4 // stride) and cell.channels == len(expected)
        assert out[0, :, 0, 0].tolist() == expected


def test_bench_cell_is_its_graph(factors):
    space, tokens = BENCH
    f = [factors[space.ops[t]] for t in tokens]
    one = f[0]
    two = f[1] + f[2] * one
    three = f[3] + f[4] * one + f[5] * two
    cell = child.Cell(space, space.pairs(tokens)["cell"], 1, preprocess=(nn.Identity(),))
    assert cell([torch.ones(1, 1, 2, 2)]).flatten().tolist() == [three] * 4


def test_darts_skeleton():
    model = build(*V2, channels=4, cells=6)
    shapes = []
    for cell in model.cells:
        cell.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape[1:])))
    model(torch.randn(2, 3, 16, 16))
    assert shapes == [(16, 16, 16)] * 2 + [(32, 8, 8)] * 2 + [(64, 4, 4)] * 2
    older = [isinstance(cell.preprocess[0], FactorizedReduction) for cell in model.cells]
    assert older == [False, False, False, True, False, True]


def test_each_cell_reads_the_two_before_it():
    model = build(*V2, channels=2, cells=6).eval()
    seen = {}
    for name, module in [("stem", model.stem), *((str(i), cell) for i, cell in enumerate(model.cells))]:
        module.register_forward_hook(lambda m, inputs, out, name=name: seen.update({name: (inputs, out)}))
    model(torch.randn(1, 3, 8, 8))
    for cell, older, newer in [
        ("0", "stem", "stem"),
        ("1", "stem", "0"),
        ("2", "0", "1"),
        ("4", "2", "3"),
        ("5", "3", "4"),
    ]:
        got = seen[cell][0][0]
        assert got[0] is seen[older][1] and got[1] is seen[newer][1]


def test_macro_layers_read_what_their_bits_say():
    space, tokens = genotypes.read_enas_macro(
        "0\n0 1\n1 0 1\n0 1 1 0\n0 1 1 1 1\n1 1 0 0 0 1\n0 0 1 0 0 0 1\n0 0 0 0 0 0 0 0"
    )
    model = build(space, tokens, channels=2).eval()  # 8 layers: halved before layers 2 and 5
    into, out = {}, {}
    for i, (op, project) in enumerate(zip(model.ops, model.projections, strict=True)):
        op.register_forward_hook(lambda m, inputs, y, i=i: into.update({i: (inputs[0], y)}))
        project.register_forward_hook(lambda m, inputs, y, i=i: out.update({i: (inputs[0], y)}))
    halve = {}
    for name, module in model.reductions.items():
        module.register_forward_hook(lambda m, inputs, y, name=name: halve.update({name: (inputs[0], y)}))
    model(torch.randn(1, 3, 16, 16))

    skips = {1: [0], 2: [1], 3: [0, 1], 4: [0, 1, 2, 3], 5: [0, 4], 6: [1, 5]}
    assert set(halve) == {"2_0", "2_1", "5_0", "5_1", "5_4"}  # 2 and 3 are read no more after layer 4

    def at(j, i):
        """Layer j's output as layer i reads it."""
        y = out[j][1]
        for reduction in (2, 5):
            if j < reduction <= i:
                assert halve[f"{reduction}_{j}"][0] is y
                y = halve[f"{reduction}_{j}"][1]
        return y

    for i in range(8):
        expected = torch.cat([into[i][1], *(at(j, i) for j in skips.get(i, []))], 1)
        assert torch.equal(out[i][0], expected)
        assert i == 0 or into[i][0] is at(i - 1, i)
        assert out[i][1].shape == (1, 2, *[16 if i < 2 else 8 if i < 5 else 4] * 2)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_shallow_macro_children(layers):
    space = spaces.MacroSpace(layers)
    for tokens in [space.sample(torch.Generator().manual_seed(s)) for s in range(5)]:
        assert build(space, tokens, channels=2)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("cells", [1, 2])
def test_shallow_cell_children(cells):
    assert build(*V2, channels=2, cells=cells)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


# Drop-path


def test_drop_path_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.randn(20000, 2, 1, 1) + 3
    for probability in (0.0, 0.3, 0.9):
        dropped = drop_path(x, probability)
        gone = (dropped == 0).all(1).flatten()
        assert torch.allclose(dropped[~gone], x[~gone] / (1 - probability))  # a sample goes or stays as a whole
        deviation = math.sqrt(probability * (1 - probability) / len(x))
        assert abs(gone.float().mean() - probability) <= 4 * deviation
        spread = (dropped - x).std(0, correction=0) / math.sqrt(len(x))
        assert ((dropped - x).mean(0).abs() <= 4 * spread + 1e-6).all()


@pytest.mark.parametrize("name", ["darts", "enas micro", "nas-bench-201"])
def test_drop_path_acts_in_training_alone(name):
    space, tokens, size = SMALL[name]
    model, x = seeded(space, tokens, **size), torch.randn(4, 3, 16, 16)
    plain = model(x)
    assert torch.equal(model(x, drop_path=0.0), plain)
    assert not torch.equal(model(x, drop_path=0.5), plain)
    model.eval()
    assert torch.equal(model(x, drop_path=0.5), model(x))


def test_drop_path_spares_identities():
    space = spaces.nas_bench_201()
    model, x = build(space, (1,) * 6, channels=4, cells=1), torch.randn(4, 3, 8, 8)
    assert torch.equal(model(x, drop_path=0.9), model(x))


def test_a_strided_skip_is_no_identity():
    cells = {cell: (((0, "skip_connect"), (1, "skip_connect")),) * 4 for cell in ("normal", "reduce")}
    model = build(V2[0], V2[0].tokens(cells), channels=4, cells=3)
    x = torch.randn(8, 3, 8, 8)
    assert not torch.equal(model(x, drop_path=0.9), model(x))


# Auxiliary head


@pytest.mark.parametrize("pixels", [24, 28, 32, 40])
def test_auxiliary_logits(pixels):
    model = build(*V2, channels=2, cells=3, classes=7, auxiliary=True)
    logits, auxiliary = model.forward_auxiliary(torch.randn(2, 3, pixels, pixels))
    assert logits.shape == auxiliary.shape == (2, 7)
    (logits.sum() + auxiliary.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_auxiliary_head_leaves_the_logits_alone():
    model, x = build(*V2, channels=2, cells=3, auxiliary=True).eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(model.forward_auxiliary(x)[0], model(x))


def test_auxiliary_head_needs_room():
    with pytest.raises(ValueError, match="4x4, expected at least 6x6"):
        build(*V2, channels=2, cells=3, auxiliary=True).forward_auxiliary(torch.randn(2, 3, 14, 14))
    with pytest.raises(ValueError, match="without an auxiliary head"):
        build(*V2, channels=2, cells=3).forward_auxiliary(torch.randn(2, 3, 32, 32))


# Bad input


@pytest.mark.parametrize("space", [spaces.darts_rnn(), spaces.enas_rnn(), spaces.TreeSpace(), spaces.ConvSpace(), None])
def test_other_spaces(space):
    tokens = () if space is None else space.sample(torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"space: got .*expected"):
        build(space, tokens, channels=4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("darts", {"channels": 1}, "channels: got 1"),
        ("darts", {"channels": 4.0}, "channels: got 4.0"),
        ("darts", {"cells": 0}, "cells: got 0"),
        ("darts", {"in_channels": 0}, "in_channels: got 0"),
        ("darts", {"classes": None}, "classes: got None"),
        ("enas macro", {"cells": 6}, "cells: got 6, expected None: the space has 6 layers"),
        ("enas macro", {"auxiliary": True}, "auxiliary"),
        ("nas-bench-201", {"auxiliary": True}, "auxiliary"),
    ],
)
def test_bad_arguments(name, arguments, message):
    space, tokens, size = SMALL[name]
    with pytest.raises(ValueError, match=message):
        build(space, tokens, **(size | arguments))


@every_child
def test_bad_tokens(space, tokens, size):
    for bad in (tokens[:-1], (99, *tokens[1:]), None, "normal"):
        with pytest.raises(ValueError):
            build(space, bad, **size)


@every_child
@pytest.mark.parametrize("probability", [-0.1, 1.0, 2, math.nan])
def test_bad_probability(space, tokens, size, probability):
    with pytest.raises(ValueError, match="drop_path: got"):
        build(space, tokens, **size)(torch.randn(2, 3, 8, 8), drop_path=probability)


def test_unknown_ops():
    space = spaces.CellSpace(("normal", "reduce"), 1, 2, ("conv_7x7", "skip_connect"), 2)
    with pytest.raises(ValueError, match=r"ops \['conv_7x7'\], expected ops among"):
        build(space, space.sample(torch.Generator().manual_seed(0)), channels=4)
