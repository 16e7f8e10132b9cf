"""Parts that all convolutional networks share, apart from the ops."""

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


def stem(in_channels: int, channels: int) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, channels, H, W)"""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def average(x: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return x.mean((-2, -1))
