"""Parts that all convolutional networks share, apart from the ops."""

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Returns the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters())


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Sets each sample of x (B, C, H, W) to 0 with the given probability and scales up the rest: the mean is kept.

    Larsson et al. 2017, in the form of Zoph et al. 2018. Draws random numbers on the device of x.
    """
    keep = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - probability)
    return x * keep / (1 - probability)


def channels_last(x: Tensor) -> Tensor:
    """Returns maps (B, C, H, W) in channels-last memory if they are on a CPU, where what reads them is then faster.

    Ops keep the format of their input, so one call at the start of a network is enough. It must follow the first
    convolution: a map with one channel, such as a grey image, is in both formats at once.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


class Stem(nn.Sequential):
    """A convolution and a batch norm, (B, in_channels, H, W) -> (B, channels, H, W), in `channels_last` memory."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 3) -> None:
        convolution = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm = self
        return norm(channels_last(convolution(x)))


def average(x: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return x.mean((-2, -1))
