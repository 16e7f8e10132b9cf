"""Convolutional networks with a chosen op and chosen skip connections for every layer: ENAS' macro space."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from naslab.networks.parts import Stem, average
from naslab.ops import CONV_OPS, FactorizedReduction, ReLUConvBN
from naslab.spaces import MacroSpace


class MacroChild(nn.Module):
    """A chain of layers with skip connections (Pham et al. 2018, "Designing Convolutional Networks").

    A layer applies its op to the output of the layer before it; the first layer reads the stem. If skip bits are set,
    the result and the outputs of the chosen layers are concatenated, and a 1x1 convolution projects them to `channels`.
    Bit i - 1 of layer i is therefore a connection that skips only the op of layer i. Before layers L // 3 and 2L // 3
    factorised reductions halve the resolution of all earlier outputs that are read later. The number of channels is
    constant.

    In the paper the op of a layer reads the concatenated outputs of the chosen layers. Here the op comes first, as in
    the authors' code. That code differs in other points. Its search adds skips and normalises the sum. Its retraining
    concatenates and projects at every layer after the first, with or without skips, and doubles the channels at each
    reduction. It counts the stem as the first earlier output, so bit j chooses layer j - 1. It has a 1x1 convolution
    before every op, plain convolutions instead of separable ones, and no pools.

    `plain` is ours: the stem is a 1x1 convolution. Then only the ops have filters that see more than one pixel, and
    accuracy depends more on them.
    """

    def __init__(
        self,
        space: MacroSpace,
        tokens: Iterable[int],
        channels: int,
        in_channels: int,
        classes: int,
        plain: bool = False,
    ) -> None:
        super().__init__()
        bits = iter(space.check(tokens))
        ops: list[str] = []
        self.skips: list[list[int]] = []  # per layer, the earlier layers it also reads
        for i in range(space.layers):
            ops.append(space.ops[next(bits)])
            self.skips.append([j for j in range(i) if next(bits)])

        self.stem = Stem(in_channels, channels, kernel=1 if plain else 3)
        self.ops, self.projections, self.reductions = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        self.halved: list[list[int]] = []  # per layer, the outputs to halve before it; -1: the stem
        for i, (op, skips) in enumerate(zip(ops, self.skips, strict=True)):
            still_read = {i - 1, *(j for later in self.skips[i:] for j in later if j < i)}
            self.halved.append(sorted(still_read) if i in (space.layers // 3, 2 * space.layers // 3) else [])
            for j in self.halved[i]:
                self.reductions[f"{i}_{j}"] = FactorizedReduction(channels, channels)
            self.ops.append(CONV_OPS[op](channels, 1))
            self.projections.append(ReLUConvBN(channels * (1 + len(skips)), channels, 1) if skips else nn.Identity())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W)."""
        outputs = {-1: self.stem(x)}
        for i, (skips, op, project) in enumerate(zip(self.skips, self.ops, self.projections, strict=True)):
            for j in self.halved[i]:
                outputs[j] = self.reductions[f"{i}_{j}"](outputs[j])
            out = op(outputs[i - 1])
            outputs[i] = project(torch.cat([out, *(outputs[j] for j in skips)], dim=1))  # (B, channels, H, W)
        return self.classifier(average(outputs[len(self.ops) - 1]))
