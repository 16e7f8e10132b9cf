"""The fast cells are the readable ones, whatever ops a space has: outputs and all gradients, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from naslab import runs
from naslab.networks import ConvNet, RecurrentNet, batched
from naslab.ops import ACTIVATIONS, CONV_OPS, DepthwiseBN, ReLUConvBN
from naslab.search import darts
from naslab.spaces import CellSpace


class Numbered(nn.Module):
    """Without parameters, and yet another function in every place."""

    built = 0

    def __init__(self, stride):
        super().__init__()
        Numbered.built += 1
        self.stride, self.number = stride, Numbered.built % 7

    def forward(self, x):
        return torch.sin(self.number * x[..., :: self.stride, :: self.stride])


class Gate(nn.Module):
    """(B, C, 1, 1), which is broadcast."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x):
        return torch.sigmoid(self.linear(x.mean((-2, -1))))[..., None, None]


def smooth(c, stride, affine=True):
    op = DepthwiseBN(c, 3, stride, affine=affine)
    op[0] = nn.SiLU()
    return op


def spread(c, stride, affine=True):
    op = DepthwiseBN(c, 3, stride, affine=affine)
    op[-1].eps = 0.5
    return op


def hooked(c, stride, affine=True):
    op = DepthwiseBN(c, 3, stride, affine=affine)
    op.register_forward_hook(lambda module, args, out: 2 * out)
    return op


OWN = {  # what a user may register
    "nor_conv_5x5": lambda c, stride, affine=True: ReLUConvBN(c, c, 5, stride, affine),
    "biased": lambda c, stride, affine=True: nn.Conv2d(c, c, 3, stride, 1),
    "always affine": lambda c, stride, affine=True: DepthwiseBN(c, 3, stride),
    "smooth": smooth,
    "spread": spread,
    "hooked": hooked,
    "sep_conv_of_mine": lambda c, stride, affine=True: nn.Sequential(
        DepthwiseBN(c, 5, 1, 3, affine), DepthwiseBN(c, 3, stride, affine=affine), DepthwiseBN(c, 3, affine=affine)
    ),
    "dil_conv_3": lambda c, stride, affine=True: DepthwiseBN(c, 3, stride, 3, affine),
    "dil_conv_4": lambda c, stride, affine=True: DepthwiseBN(c, 3, stride, 4, affine),
    "wide": lambda c, stride, affine=True: DepthwiseBN(c, 7, stride, 1, affine),
    "max_pool_5x5": lambda c, stride, affine=True: nn.MaxPool2d(5, stride, 2),
    "avg_pool_5x5": lambda c, stride, affine=True: nn.AvgPool2d(5, stride, 2, count_include_pad=False),
    "avg_pool_counting": lambda c, stride, affine=True: nn.AvgPool2d((3, 5), stride, (1, 2)),
    "avg_pool_divided": lambda c, stride, affine=True: nn.AvgPool2d(3, stride, 1, False, False, 5),
    "pools": lambda c, stride, affine=True: nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, stride, 1)),
    "numbered": lambda c, stride, affine=True: Numbered(stride),
    "numbered_pool": lambda c, stride, affine=True: Numbered(stride),
    "gate": lambda c, stride, affine=True: Gate(c),
    "nothing": lambda c, stride, affine=True: CONV_OPS["none"](c, stride),
    "groups": lambda c, stride, affine=True: nn.Sequential(
        nn.ReLU(), nn.Conv2d(c, c, 3, stride, 1, groups=c), nn.GroupNorm(1, c)
    ),
    "instance": lambda c, stride, affine=True: nn.Sequential(
        nn.Conv2d(c, c, 1, stride), nn.InstanceNorm2d(c, track_running_stats=True)
    ),
}


def compared(make, space, x, y, memory=torch.contiguous_format):
    """Outputs, gradients of w and alpha, and the gradient of alpha with w frozen: readable against fast."""
    torch.manual_seed(1)
    alpha = {t: torch.randn(shape).double().requires_grad_() for t, shape in space.tables.items()}
    found = []
    for fast in (False, True):
        Numbered.built = 0
        with runs.seeded(0):
            model = make(fast).double()
        if fast:
            model = model.to(memory_format=memory)

        def loss(model=model):
            out = model(x, darts.relax(alpha))
            out = out[0].flatten(0, 1) if isinstance(out, tuple) else out
            return out, F.cross_entropy(out, y)

        w = [*model.parameters()]
        out, value = loss()
        of_both = darts.gradient(value, [*w, *alpha.values()])
        with darts.frozen(w):
            found.append([out, *of_both, *darts.gradient(loss()[1], [*alpha.values()])])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-10 * max(1.0, one.abs().max().item())
    return found[0]


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        for name, build in OWN.items():
            patch.setitem(CONV_OPS, name, build)
        patch.setitem(ACTIVATIONS, "centred", lambda x: x - x.mean(0))
        patch.setitem(ACTIVATIONS, "softmax", lambda x: x.softmax(1))
        patch.setitem(ACTIVATIONS, "elu", F.elu)
        yield


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_fast_is_readable_for_any_ops(data):
    """Spaces of 1 to 4 ops, ours and registered ones; cells of both strides."""
    names = st.lists(st.sampled_from(sorted({*CONV_OPS})), min_size=1, max_size=4, unique=True)
    ops = tuple(data.draw(names.filter(lambda found: found != ["none"])))
    output = data.draw(st.sampled_from(["all", "last"]))
    space = CellSpace(("normal", "reduce"), data.draw(st.integers(2, 3)), 2, ops, 2, output=output)
    channels, size = data.draw(st.integers(2, 9)), data.draw(st.integers(5, 9))
    pool_norm = data.draw(st.booleans())
    x = torch.randn(3, 2, size, size + 1, generator=torch.Generator().manual_seed(0)).double()
    memory = data.draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    compared(
        lambda fast: ConvNet(space, channels, 3, 2, 4, affine=False, pool_norm=pool_norm, fast=fast),
        space, x, torch.tensor([0, 3, 1]), memory,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted({*OWN, "nor_conv_1x1", "conv_3x3", "conv_5x5"}))
def test_fast_is_readable_for_each_op_that_darts_does_not_have(name):
    space = CellSpace(("normal", "reduce"), 2, 2, ("skip_connect", "sep_conv_3x3", name), 2)
    x = torch.randn(3, 2, 7, 6, generator=torch.Generator().manual_seed(0)).double()
    compared(
        lambda fast: ConvNet(space, 3, 3, 2, 4, affine=False, pool_norm=True, fast=fast),
        space,
        x,
        torch.tensor([0, 3, 1]),
    )


@pytest.mark.parametrize("name", ["sep_conv_3x3", "none", "skip_connect", "max_pool_3x3"])
def test_fast_is_readable_for_a_name_that_was_given_to_another_op(name, monkeypatch):
    monkeypatch.setitem(CONV_OPS, name, lambda c, stride, affine=True: ReLUConvBN(c, c, 3, stride, affine))
    space = CellSpace(("normal", "reduce"), 2, 2, ("avg_pool_3x3", "dil_conv_5x5", name), 2)
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    compared(lambda fast: ConvNet(space, 3, 3, 2, 4, affine=False, fast=fast), space, x, torch.tensor([0, 3, 1]))


def test_what_is_fast_for_darts():
    """A property of speed: with all its ops planned "alone" the cell would be right, and slow."""
    ops = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_4", "wide")
    space = CellSpace(("normal", "reduce"), 2, 2, ops, 2)
    for pool_norm in (False, True):
        for cell in ConvNet(space, 4, 3, affine=False, pool_norm=pool_norm, fast=True).cells:
            for state, plans in enumerate(cell.plans):
                halves = cell.edges[0].stride == 2 and state < 2
                skip = "alone" if halves else "once"
                assert plans == ["nothing", "once", "once", skip, *["together"] * 4]


def test_building_the_fast_cells_draws_what_the_readable_ones_draw():
    space = CellSpace(("normal", "reduce"), 2, 2, ("sep_conv_3x3", "dil_conv_5x5", "smooth"), 2)
    drawn = []
    for fast in (False, True):
        with runs.seeded(0):
            model = ConvNet(space, 3, 3, affine=False, fast=fast)
            drawn.append([*model.parameters(), torch.rand(2)])
    assert all(map(torch.equal, *drawn))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_fast_recurrent_is_readable_for_any_functions(data):
    """Registered ones too, that work across the batch or across units."""
    names = st.lists(st.sampled_from(["none", *sorted({*ACTIVATIONS})]), min_size=1, max_size=4, unique=True)
    ops = tuple(data.draw(names.filter(lambda found: found != ["none"])))
    space = CellSpace(("recurrent",), data.draw(st.integers(1, 4)), 1, ops, 1)
    norm, layers = data.draw(st.booleans()), data.draw(st.integers(1, 2))
    x, y = torch.randint(0, 7, (2, 4, 3), generator=torch.Generator().manual_seed(0))
    compared(
        lambda fast: RecurrentNet(space, 7, 5, layers, matrices="node", norm=norm, fast=fast), space, x, y.flatten()
    )


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 3), (1, 5)])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (2, 3)])
def test_the_depthwise_convolution_is_that_of_torch(kernel, stride, dilation, size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *size, generator=generator).double().requires_grad_()
    w = torch.randn(3, 1, kernel, kernel, generator=generator).double().requires_grad_()
    ours = batched.depthwise(x, w, stride, dilation)
    theirs = F.conv2d(x, w, None, stride, kernel // 2 * dilation, dilation, groups=3)
    assert ours.shape[-2:] == tuple(math.ceil(s / stride) for s in size)
    weight = torch.randn(ours.shape, generator=generator).double()
    found, expected = (torch.autograd.grad((out * weight).sum(), [x, w]) for out in (ours, theirs))
    for one, other in zip([ours, *found], [theirs, *expected], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-11)
