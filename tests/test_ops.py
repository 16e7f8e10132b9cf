"""Every op: shapes, parameter counts and values against plain arithmetic."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from naslab import spaces
from naslab.ops import ACTIVATIONS, COMBINERS, CONV_OPS, FactorizedReduction, every_second

CONVOLUTIONS = sorted(name for name in CONV_OPS if "conv" in name)
every_op = pytest.mark.parametrize("name", sorted(CONV_OPS))


def test_every_op_of_every_space():
    known = (spaces.darts_conv(), spaces.nasnet(), spaces.enas_micro(), spaces.nas_bench_201(), spaces.MacroSpace())
    assert {op for space in known for op in space.ops} == set(CONV_OPS)
    assert {*spaces.darts_rnn().choices, *spaces.enas_rnn().ops, *spaces.TreeSpace().activation} <= set(ACTIVATIONS)
    assert set(spaces.TreeSpace().combine) <= set(COMBINERS)


@every_op
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (1, 1), (14, 5)])
def test_shapes(name, stride, size):
    x = torch.randn(2, 6, *size)
    for affine in (True, False):
        out = CONV_OPS[name](6, stride, affine=affine).eval()(x)
        assert out.shape == (2, 6, *(math.ceil(s / stride) for s in size))


@every_op
@pytest.mark.parametrize("stride", [1, 2])
def test_parameter_counts(name, stride):
    c, k = 6, int(name[-1]) if name[-1].isdigit() else 0
    norm = 2 * c
    expected = {
        "sep": 2 * (k * k * c + c * c + norm),
        "dil": k * k * c + c * c + norm,
        "con": (2 * 7 if name == "conv_7x1_1x7" else k * k) * c * c + norm,
        "nor": k * k * c * c + norm,
        "ski": c * c + norm if stride == 2 else 0,
    }.get(name[:3], 0)
    assert sum(p.numel() for p in CONV_OPS[name](c, stride).parameters()) == expected
    norms = [m for m in CONV_OPS[name](c, stride, affine=False).modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.weight is None and m.bias is None for m in norms)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_begin_with_relu_and_have_no_bias(name):
    op = CONV_OPS[name](4, 1).eval()
    x = -torch.rand(2, 4, 8, 8)
    assert torch.equal(op(x), torch.zeros(2, 4, 8, 8))  # fresh norms in eval mode pass zeros on
    assert torch.equal(x, x.clamp(max=0))  # and the input is as it was: no ReLU in place


@pytest.mark.parametrize(
    ("name", "reach"),
    [("sep_conv_3x3", 2), ("sep_conv_5x5", 4), ("dil_conv_3x3", 2), ("dil_conv_5x5", 4), ("sep_conv_7x7", 6)],
)
def test_receptive_fields(name, reach):
    x = torch.ones(1, 2, 13, 13, requires_grad=True)
    op = CONV_OPS[name](2, 1).eval()
    for p in op.parameters():
        nn.init.ones_(p)
    op(x)[0, 0, 6, 6].backward()
    touched = x.grad[0, 0].nonzero()
    assert (touched - 6).abs().max() == reach
    assert len(touched) == (int(name[-1]) ** 2 if name.startswith("dil") else (2 * reach + 1) ** 2)


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_then_columns_is_a_filter_of_7x7(stride):
    """Of one channel: the outer product of both filters."""
    op, x = CONV_OPS["conv_7x1_1x7"](1, stride).eval().double(), torch.rand(2, 1, 9, 12, dtype=torch.float64)
    row, column = op[1].weight.flatten(), op[2].weight.flatten()
    whole = nn.functional.conv2d(x, torch.outer(column, row)[None, None], stride=stride, padding=3)
    assert torch.allclose(op[:3](x), whole, rtol=1e-12, atol=1e-12)


def test_separable_convolution_strides_in_its_first_half():
    convolutions = [m for m in CONV_OPS["sep_conv_3x3"](2, 2).modules() if isinstance(m, nn.Conv2d)]
    assert [m.stride[0] for m in convolutions] == [2, 1, 1, 1]


def test_average_pool_leaves_the_border_out_of_the_count():
    assert torch.allclose(CONV_OPS["avg_pool_3x3"](1, 1)(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))


def test_max_pool_by_hand():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert CONV_OPS["max_pool_3x3"](1, 2)(x).flatten().tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_none_lets_nothing_pass(bad):
    x = torch.full((2, 3, 7, 7), bad)
    for stride in (1, 2):
        assert not CONV_OPS["none"](3, stride)(x).any()
    assert CONV_OPS["none"](3, 2)(x.to("meta")).device.type == "meta"
    assert CONV_OPS["none"](3, 2)(x.double()).dtype == torch.float64


@pytest.mark.parametrize("size", [8, 7])
def test_factorized_reduction_by_indexing(size):
    op = FactorizedReduction(3, 5).eval()
    x = torch.randn(2, 3, size, size)
    out = op(x)
    halves = (op.straight.weight[:, :, 0, 0], op.shifted.weight[:, :, 0, 0])
    assert [len(h) for h in halves] == [2, 3]
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            pixels = []
            for shift in (0, 1):
                row, column = 2 * i + shift, 2 * j + shift
                inside = row < size and column < size
                pixels.append(x[:, :, row, column].relu() if inside else torch.zeros(2, 3))
            expected = torch.cat([p @ h.T for p, h in zip(pixels, halves, strict=True)], 1)
            assert torch.allclose(out[:, :, i, j], expected / math.sqrt(1 + op.norm.eps), atol=1e-6)


def test_ops_build_on_the_meta_device():
    with torch.device("meta"):
        for name, make in CONV_OPS.items():
            assert make(4, 2)(torch.empty(2, 4, 8, 8)).shape == (2, 4, 4, 4), name


def test_activations_and_combiners():
    x, y = torch.tensor([-2.0, 0.0, 0.5]), torch.tensor([3.0, -1.0, 2.0])
    expected = {
        "identity": [-2, 0, 0.5],
        "tanh": [math.tanh(v) for v in (-2, 0, 0.5)],
        "relu": [0, 0, 0.5],
        "sigmoid": [1 / (1 + math.exp(-v)) for v in (-2, 0, 0.5)],
        "sin": [math.sin(v) for v in (-2, 0, 0.5)],
    }
    assert set(expected) == set(ACTIVATIONS)
    for name, values in expected.items():
        assert torch.allclose(ACTIVATIONS[name](x), torch.tensor(values, dtype=torch.float32))
    combined = {name: combine(x, y).tolist() for name, combine in COMBINERS.items()}
    assert combined == {"add": [1, -1, 2.5], "elem_mult": [-6, 0, 1], "max": [3, 0, 2]}


@pytest.mark.parametrize("size", [6, 7])
def test_every_second_pixel_in_the_memory_the_map_has(size):
    x = torch.arange(2.0 * 3 * size * size).view(2, 3, size, size)
    half = -(-size // 2)
    for first in (0, 1):
        padded = F.pad(x, (0, 2, 0, 2))
        expected = padded[..., first : first + 2 * half : 2, first : first + 2 * half : 2]
        for layout in (torch.contiguous_format, torch.channels_last):
            assert torch.equal(every_second(x.contiguous(memory_format=layout), first), expected)
            y = x.contiguous(memory_format=layout).requires_grad_()
            (g,) = torch.autograd.grad(every_second(y, first).sum(), y)
            assert g.is_contiguous(memory_format=layout)
