"""The ops of edges, layers and nodes: dicts from a name to a builder or a function.

Every convolution is a sequence of ReLU, convolution without bias, and batch norm. Every op keeps the number of channels
and pads its input, so that H pixels become ceil(H / stride).

An op must not change its input in place, because other edges read it, too.

Sources: Liu et al. 2019, section 3.1.1 and the authors' code (DARTS ops); Pham et al. 2018, Designing
Convolutional Networks (`conv_3x3`, `conv_5x5`); Dong & Yang 2020, section 2.1 (`nor_conv_*`); Zoph et al. 2018
(`sep_conv_7x7`, `conv_7x1_1x7`); Zoph & Le 2017, section 3.4 (recurrent cells).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution, batch norm: (B, C_in, H, W) -> (B, C_out, H', W'), where H' = ceil(H / stride)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(c_out, affine=affine),
        )


class DepthwiseBN(nn.Sequential):
    """A depthwise separable convolution: ReLU, depthwise convolution, 1x1 convolution, batch norm.

    Maps (B, C, H, W) to (B, C, H', W'), where H' = ceil(H / stride).
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1, affine: bool = True) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


class FactorizedReduction(nn.Module):
    """A factorised reduction: (B, C_in, H, W) -> (B, C_out, ceil(H / 2), ceil(W / 2)).

    Concatenates two 1x1 convolutions with stride 2. The second one reads the map shifted by one pixel in both
    directions. Maps of odd size are padded with a row and a column of zeros. The name comes from the authors' code.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool = True) -> None:
        super().__init__()
        self.straight = nn.Conv2d(c_in, c_out // 2, 1, bias=False)  # reads even rows and columns
        self.shifted = nn.Conv2d(c_in, c_out - c_out // 2, 1, bias=False)  # reads odd rows and columns
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.straight(every_second(x, 0)), self.shifted(every_second(x, 1))], dim=1))


def every_second(x: Tensor, first: int) -> Tensor:
    """Returns every second row and column, starting from `first` (0 or 1): -> (B, C, ceil(H / 2), ceil(W / 2)).

    Odd sizes are padded with zeros if `first` is 1. Before a 1x1 convolution this replaces a stride of 2. In torch 2.13
    on CPUs the weight gradient of a strided 1x1 convolution corrupts the heap, for fewer than 8 channels in
    channels-last memory.
    """
    if first:
        x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    if x.is_contiguous(memory_format=torch.channels_last):  # so that the gradient is channels-last, too
        return x.permute(0, 2, 3, 1)[:, first::2, first::2].permute(0, 3, 1, 2)
    return x[..., first::2, first::2]


class Zero(nn.Module):
    """The op "none": returns zeros. (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[..., :: self.stride, :: self.stride])


def separable(channels: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    """Two depthwise separable convolutions; only the first has the stride."""
    return nn.Sequential(
        DepthwiseBN(channels, kernel, stride, affine=affine),
        DepthwiseBN(channels, kernel, affine=affine),
    )


def rows_then_columns(channels: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    """A 1 x kernel convolution, then a kernel x 1 convolution (NASNet)."""
    half = kernel // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, half), bias=False),
        nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (half, 0), bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def skip(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels, affine)


# name -> build(channels, stride, affine=True). The stride is 1 or 2; `affine` is passed to every batch norm.
CONV_OPS: dict[str, Callable[..., nn.Module]] = {
    "none": lambda channels, stride, affine=True: Zero(stride),
    "max_pool_3x3": lambda channels, stride, affine=True: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda channels, stride, affine=True: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "skip_connect": lambda channels, stride, affine=True: skip(channels, stride, affine),
    "sep_conv_3x3": lambda channels, stride, affine=True: separable(channels, 3, stride, affine),
    "sep_conv_5x5": lambda channels, stride, affine=True: separable(channels, 5, stride, affine),
    "sep_conv_7x7": lambda channels, stride, affine=True: separable(channels, 7, stride, affine),
    "dil_conv_3x3": lambda channels, stride, affine=True: DepthwiseBN(channels, 3, stride, 2, affine),
    "dil_conv_5x5": lambda channels, stride, affine=True: DepthwiseBN(channels, 5, stride, 2, affine),
    "conv_3x3": lambda channels, stride, affine=True: ReLUConvBN(channels, channels, 3, stride, affine),
    "conv_5x5": lambda channels, stride, affine=True: ReLUConvBN(channels, channels, 5, stride, affine),
    "nor_conv_1x1": lambda channels, stride, affine=True: ReLUConvBN(channels, channels, 1, stride, affine),
    "nor_conv_3x3": lambda channels, stride, affine=True: ReLUConvBN(channels, channels, 3, stride, affine),
    "conv_7x1_1x7": lambda channels, stride, affine=True: rows_then_columns(channels, 7, stride, affine),
}


def identity(x: Tensor) -> Tensor:
    return x


def highway(x: Tensor, read: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A highway connection around a node: x + c (f(candidate) - x), c = sigmoid(gate), for x (B, n).

    `read` (B, 2n) holds the gate and the candidate. The gate determines which fraction of x is replaced (Pham et al.
    2018, section 3.1; Zilly et al. 2017).
    """
    gate, candidate = read.chunk(2, dim=-1)
    return x + torch.sigmoid(gate) * (function(candidate) - x)


# The elementwise functions of a recurrent cell's nodes, and of a tree's nodes for combining two values.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": identity,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
}
COMBINERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "elem_mult": torch.mul,
    "max": torch.maximum,
}
