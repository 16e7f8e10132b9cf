"""Children against the published parameter counts, and their wiring against the same graph written out by hand.

Recurrent children: test_tree.py.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_gpu
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from naslab import genotypes, networks, spaces
from naslab.networks import BenchNet, ConvNet, MacroNet, build, count_parameters, parts
from naslab.networks.layers import concatenate, conv_layer
from naslab.networks.parts import drop_path
from naslab.ops import CONV_OPS, FactorizedReduction

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


# Memory


class Maps(TorchDispatchMode):
    """Records the maps (BATCH, C, H, W) whose channels are not next to each other: what pools and convolutions read.

    The gradient that a pool gets is left out: that of the classifier's average is in no order.
    """

    def __init__(self):
        super().__init__()
        self.apart = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "conv" in str(func) or ("pool" in str(func) and "backward" not in str(func)):
            maps = [x for x in args if isinstance(x, torch.Tensor) and x.ndim == 4 and len(x) == BATCH]
            self.apart += [tuple(x.shape) for x in maps if x.shape[1] > 1 and x.stride(1) != 1]
        return func(*args, **(kwargs or {}))


BATCH = 7  # no filter has this length
with_a_stem = pytest.mark.parametrize("name", [name for name in SMALL if name != "conv"])


@with_a_stem
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_the_memory_format_is_channels_last_and_changes_no_result(name, channels, shared, monkeypatch):
    """Forwards and backwards, after the first convolution. The images are contiguous."""
    space, tokens, size = SMALL[name]
    torch.manual_seed(0)
    if shared:
        net = {"enas macro": MacroNet, "nas-bench-201": BenchNet}.get(name, ConvNet)
        model, weights = net(space, **size, in_channels=channels, classes=5).double(), [space.one_hot(tokens)]
    else:
        model, weights = build(space, tokens, **size, in_channels=channels, classes=5).double(), []
    x, y = torch.randn(BATCH, channels, 12, 12, dtype=torch.float64), torch.arange(BATCH) % 5

    def found():
        with Maps() as maps:
            logits = model(x, *weights)
            grads = torch.autograd.grad(F.cross_entropy(logits, y), [*model.parameters()], allow_unused=True)
        return maps.apart, [logits, *(g for g in grads if g is not None)]

    apart, last = found()
    assert {*apart} <= {tuple(x.shape)}
    monkeypatch.setattr(parts, "channels_last", torch.Tensor.contiguous)
    apart, contiguous = found()
    assert len({*apart} - {tuple(x.shape)}) > 2
    for one, other in zip(last, contiguous, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


# Published counts


def test_darts_v2_has_the_published_number_of_parameters():
    assert count(*V2, channels=36) == count(*V2, channels=36, cells=20) == 3349342
    assert count(*V2, channels=16, cells=8) == 246106


@pytest.mark.parametrize("text", [genotypes.NASNET, genotypes.AMOEBANET], ids=["nasnet", "amoebanet"])
def test_cells_of_nasnet_by_hand(text):
    """The skeleton of DARTS, written out: stem, 1x1 convolutions or a factorised reduction ahead of a cell, ops."""
    space, tokens = genotypes.read_darts(text)
    pairs, c, cells = space.pairs(tokens), 6, 5

    def op(name, c, stride):
        k = int(name[-1]) if name[-1].isdigit() else 0
        each = {
            "sep": 2 * (k * k * c + c * c + 2 * c),
            "con": 14 * c * c + 2 * c,
            "ski": (stride - 1) * (c * c + 2 * c),
        }
        return each.get(name[:3], 0)

    older = newer = 3 * c
    hand = 27 * 3 * c + 2 * 3 * c
    for i in range(cells):
        kind = "reduce" if i in (1, 3) else "normal"
        c *= 2 if kind == "reduce" else 1
        hand += older * c + 2 * c + newer * c + 2 * c
        hand += sum(op(o, c, 2 if kind == "reduce" and s < 2 else 1) for node in pairs[kind] for s, o in node)
        loose = {*range(2, 7)} - {s for node in pairs[kind] for s, _ in node}
        older, newer = newer, len(loose) * c
    assert count(space, tokens, channels=6, cells=cells) == hand + newer * 10 + 10
    assert build(space, tokens, channels=4, cells=3)(torch.randn(2, 3, 16, 16)).shape == (2, 10)


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
    primes = dict(zip(sorted(CONV_OPS), (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43), strict=True))
    for name, prime in primes.items():
        monkeypatch.setitem(CONV_OPS, name, lambda channels, stride, affine=True, f=prime: Times(f, stride))
    return primes


@pytest.mark.parametrize("make", [spaces.darts_conv, spaces.enas_micro])
@pytest.mark.parametrize("stride", [1, 2])
def test_cell_is_its_graph(factors, make, stride):
    space, generator = make(), torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(10)]:
        nodes = space.pairs(tokens)["reduce"]
        cell = networks.Cell(space, nodes, 1, stride, (nn.Identity(), nn.Identity()))
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
    cell = networks.Cell(space, space.pairs(tokens)["cell"], 1, preprocess=(nn.Identity(),))
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


# Strings of convolutions


def conv_string(space, layers):
    """Tokens from values: per layer (height, width, stride height, stride width, filters) and the layers it reads."""
    values = [v for i, (chosen, js) in enumerate(layers) for v in (*chosen, *(int(j in js) for j in range(i)))]
    return space.check([d.options.index(v) for d, v in zip(space.decisions, values, strict=True)])


def watched(model):
    """The (input, output) of every layer, then the input of the classifier, of calls to come."""
    seen = [None] * (len(model.layers) + 1)
    for i, layer in enumerate([*model.layers, model.classifier]):
        layer.register_forward_hook(lambda m, inputs, out, i=i: seen.__setitem__(i, (inputs[0], out)))
    return seen


def test_conv_repairs_by_hand():
    space, tokens = CONV
    layers = [((3, 3, 2, 2, 4), []), ((1, 5, 1, 1, 6), []), ((7, 1, 1, 1, 4), [0, 1]), ((3, 3, 1, 2, 6), [0])]
    assert conv_string(space, layers) == tokens
    model = build(space, tokens, classes=5).eval()
    seen = watched(model)
    x = torch.randn(2, 3, 9, 12)
    model(x)
    assert seen[0][0] is x and seen[1][0] is x  # layer 1 reads no layer: the image
    outputs = [out for _, out in seen[:4]]
    assert [tuple(o.shape[1:]) for o in outputs] == [(4, 5, 6), (6, 9, 12), (4, 9, 12), (6, 5, 3)]
    padded = F.pad(outputs[0], (3, 3, 2, 2))  # 5 x 6 among 9 x 12
    assert torch.equal(seen[2][0], torch.cat([padded, outputs[1]], 1))
    assert seen[3][0] is not None and torch.equal(seen[3][0], outputs[0])
    loose = torch.cat([outputs[2], F.pad(outputs[3], (4, 5, 2, 2))], 1)  # 2 and 3 are read by none
    assert torch.allclose(seen[4][0], loose.mean((2, 3)))
    assert model.classifier.in_features == 4 + 6
    by_hand = (3 * 9 * 4 + 8) + (3 * 5 * 6 + 12) + (10 * 7 * 4 + 8) + (4 * 9 * 6 + 12) + 10 * 5 + 5
    assert count_parameters(model) == by_hand


def test_a_layer_is_convolution_batch_norm_relu():
    layer, x = conv_layer(3, 3, 5, 2, 1, 4).eval(), torch.randn(2, 3, 8, 8)
    conv, norm = layer[1], layer[2]
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    y = F.conv2d(x, conv.weight, stride=(2, 1), padding=(1, 2)) - norm.running_mean[:, None, None]
    expected = (y / (norm.running_var[:, None, None] + norm.eps).sqrt()).relu()
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pool", [1, 2, 3])
def test_filters_of_any_size_keep_every_pixel(size, stride, pool):
    for pixels in (1, 2, 5, 8, 14):
        out = conv_layer(1, size, 1, stride, 1, 2, pool).eval()(torch.randn(1, 1, pixels, 3))
        assert out.shape[2:] == (math.ceil(math.ceil(pixels / stride) / pool), math.ceil(3 / pool))


def test_padding_of_even_filters_is_mostly_even():
    layer = conv_layer(1, 4, 2, 1, 1, 1).eval()
    nn.init.ones_(layer[1].weight)
    x = torch.ones(1, 1, 5, 3)
    rows, columns = torch.tensor([3.0, 4, 4, 3, 2]), torch.tensor([2.0, 2, 1])  # zeros: 1 above, 2 below, 1 right
    assert torch.allclose(layer(x)[0, 0], rows[:, None] * columns / math.sqrt(1 + 1e-5))


def test_pools_take_maxima():
    plain, pooled = conv_layer(1, 3, 3, 1, 1, 2).eval(), conv_layer(1, 3, 3, 1, 1, 2, pool=2).eval()
    pooled.load_state_dict(plain.state_dict())
    y = F.pad(plain(x := torch.randn(1, 1, 5, 6)), (0, 0, 0, 1))  # behind a ReLU zeros change no maximum
    assert torch.equal(pooled(x), y.view(1, 2, 3, 2, 3, 2).amax((3, 5)))


def test_zeros_go_around():
    one, two = torch.ones(1, 1, 2, 2), torch.ones(1, 2, 5, 3)
    joined = concatenate([one, two])
    assert joined.shape == (1, 3, 5, 3) and torch.equal(joined[:, 1:], two)
    assert joined[0, 0].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_without_skips_a_chain():
    space = spaces.ConvSpace(3, strides=(1, 2), filters=(4, 6), skips=False)
    model = build(space, (1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 2, 2, 1, 0, 0), in_channels=1, classes=5).eval()
    seen = watched(model)
    model(torch.randn(2, 1, 7, 7))
    assert seen[1][0] is seen[0][1] and seen[2][0] is seen[1][1]
    assert torch.allclose(seen[3][0], seen[2][1].mean((2, 3))) and seen[2][1].shape == (2, 4, 2, 4)
    assert count_parameters(model) == (9 * 4 + 8) + (4 * 6 + 12) + (6 * 25 * 4 + 8) + 4 * 5 + 5


def test_the_skips_of_a_residual_network():
    """Every layer reads the one before; every second layer also what entered the block."""
    space = spaces.ConvSpace(7, filters=(4,))
    layers = [((3, 3, 1, 1, 4), [i - 1] * (i > 0) + [i - 3] * (i > 2 and i % 2)) for i in range(7)]
    model = build(space, conv_string(space, layers))
    assert model.reads == [[-1], [0], [1], [0, 2], [3], [2, 4], [5]] and model.unread == [6]
    assert [layer[1].in_channels for layer in model.layers] == [3, 4, 4, 8, 4, 8, 4]
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_all_unread():
    space = spaces.ConvSpace(5, filters=(4, 6))
    tokens = conv_string(space, [((3, 3, 1, 1, 4), [])] * 5)
    assert build(space, tokens).classifier.in_features == 20
    assert build(space, tokens)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@given(st.data())
def test_any_string_is_its_graph(data):
    space = spaces.ConvSpace(data.draw(st.integers(1, 5)), (1, 2, 3), (1, 3, 7), (1, 2, 3), (1, 2))
    tokens = tuple(data.draw(st.integers(0, len(d.options) - 1)) for d in space.decisions)
    values = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
    height, width = data.draw(st.tuples(st.integers(1, 11), st.integers(1, 11)))
    torch.manual_seed(0)
    model = build(space, tokens, in_channels=2, classes=3).eval()
    x = torch.randn(2, 2, height, width)

    def output(i):
        js = [j for j in range(i) if values[f"{i}.skip.{j}"]]
        return model.layers[i](joined([output(j) for j in js]) if js else x)

    def joined(maps):
        out = torch.zeros(2, sum(m.shape[1] for m in maps), *(max(m.shape[a] for m in maps) for a in (2, 3)))
        depth = 0
        for m in maps:
            top, left = (out.shape[2] - m.shape[2]) // 2, (out.shape[3] - m.shape[3]) // 2
            out[:, depth : depth + m.shape[1], top : top + m.shape[2], left : left + m.shape[3]] = m
            depth += m.shape[1]
        return out

    read = {j for i in range(space.layers) for j in range(i) if values[f"{i}.skip.{j}"]}
    features = joined([output(i) for i in range(space.layers) if i not in read]).mean((2, 3))
    assert torch.allclose(model(x), model.classifier(features), atol=1e-6)
    logits = model(x)
    logits.sum().backward()
    assert logits.shape == (2, 3) and all(p.grad is not None for p in model.parameters())


def test_conv_children_follow_the_device_of_their_input():
    with fake_gpu() as device:
        model = build(*CONV).to(device)
        logits = model(torch.randn(2, 3, 9, 12, device=device))
        logits.sum().backward()
        found = [logits, *model.state_dict().values(), *(p.grad for p in model.parameters())]
        assert {t.device.type for t in found} == {"lazy"}


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


@pytest.mark.parametrize("space", [spaces.darts_rnn(), spaces.enas_rnn(), spaces.TreeSpace(), None])
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
        ("nas-bench-201", {"channels": None}, "channels: got None, expected an int of at least 2"),
        ("conv", {"channels": 8}, "channels: got 8, expected None: the string says every layer's filters"),
        ("conv", {"cells": 4}, "cells: got 4, expected None: the space has 4 layers"),
        ("conv", {"cells": 0}, "cells: got 0"),
        ("conv", {"auxiliary": True}, "auxiliary"),
        ("conv", {"classes": 0}, "classes: got 0"),
        ("conv", {"in_channels": "three"}, "in_channels: got 'three'"),
    ],
)
def test_bad_arguments(name, arguments, message):
    space, tokens, size = SMALL[name]
    with pytest.raises(ValueError, match=message):
        build(**({"space": space, "tokens": tokens} | size | arguments))


@every_child
def test_bad_tokens(space, tokens, size):
    for bad in (tokens[:-1], (99, *tokens[1:]), None, "normal"):
        with pytest.raises(ValueError):
            build(space, bad, **size)


@pytest.mark.parametrize("name", ["darts", "enas micro", "nas-bench-201"])
@pytest.mark.parametrize("probability", [-0.1, 1.0, 2, math.nan])
def test_bad_probability(name, probability):
    space, tokens, size = SMALL[name]
    with pytest.raises(ValueError, match="drop_path: got"):
        build(space, tokens, **size)(torch.randn(2, 3, 8, 8), drop_path=probability)


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5, 8, 20, None])
def test_the_smallest_images_for_an_auxiliary_head(cells):
    model, least = (
        build(*V2, channels=2, cells=cells, auxiliary=True).eval(),
        networks.cells.smallest_for_auxiliary(cells),
    )
    assert model.forward_auxiliary(torch.randn(1, 3, least, least))[1].shape == (1, 10)
    with pytest.raises(ValueError, match="auxiliary head: got a map of 5x"):
        model.forward_auxiliary(torch.randn(1, 3, least - 1, least))


def test_unknown_ops():
    space = spaces.CellSpace(("normal", "reduce"), 1, 2, ("conv_7x7", "skip_connect"), 2)
    with pytest.raises(ValueError, match=r"ops \['conv_7x7'\], expected ops among"):
        build(space, space.sample(torch.Generator().manual_seed(0)), channels=4)


def test_pools_are_a_decision_of_the_space():
    space = spaces.ConvSpace(3, filters=(4,), pooling=(1, 2), strides=(1, 2))
    assert [d.name for d in space.decisions[:7]] == [*(f"0.{kind}" for kind in space.attributes), "1.filter_height"]
    values = [(3, 3, 1, 1, 4, 2), (3, 3, 2, 2, 4, 2, 1), (3, 3, 1, 1, 4, 1, 1, 0)]
    options = zip(space.decisions, [v for layer in values for v in layer], strict=True)
    model = build(space, [d.options.index(v) for d, v in options], in_channels=1).eval()
    seen = watched(model)
    assert model(torch.randn(2, 1, 9, 7)).shape == (2, 10)
    assert [out.shape[2:] for _, out in seen[:3]] == [(5, 4), (2, 1), (5, 4)]  # ceil by 2; by 2 and by 2; by none
