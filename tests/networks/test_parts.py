"""Parts that all children share."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from naslab.networks import BenchNet, ConvNet, MacroNet, build, parts
from naslab.networks.parts import drop_path

from .children import SMALL


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
