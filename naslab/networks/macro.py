"""Convolutional networks whose layers choose an op and skip connections: ENAS' macro space."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from naslab.networks.parts import average, stem
from naslab.ops import CONV_OPS, FactorizedReduction, ReLUConvBN
from naslab.spaces import MacroSpace


class MacroChild(nn.Module):
    """A chain of layers with skip connections (Pham et al. 2018, "Designing Convolutional Networks").

    A layer applies its op to the output of the layer before it (the first: of the stem). If skip bits are set, the
    result and the outputs of the chosen layers are concatenated in depth and brought back to `channels` by a 1x1
    convolution; bit i - 1 of layer i thus goes around its op alone. Before layers L // 3 and 2L // 3 every earlier
    output that is still read is halved by a factorised reduction. Channels stay constant.

    In the paper the outputs of the chosen layers, concatenated, are what a layer's op reads. The order here, op
    first, is that of the authors' code, which differs elsewhere. Searching, it adds skips up and normalises.
    Retraining, it concatenates and projects, at every layer after the first, skips or not, and doubles the channels
    at each reduction; it counts the stem as the first earlier output, so that bit j chooses layer j - 1; it puts a
    1x1 convolution before every op, builds plain convolutions for the separable ones, and has no pools.
    """

    def __init__(self, space: MacroSpace, tokens: Iterable[int], channels: int, in_channels: int, classes: int) -> None:
        super().__init__()
        bits = iter(space.check(tokens))
        ops: list[str] = []
        self.skips: list[list[int]] = []  # per layer, the earlier layers it also reads
        for i in range(space.layers):
            ops.append(space.ops[next(bits)])
            self.skips.append([j for j in range(i) if next(bits)])

        self.stem = stem(in_channels, channels)
        self.ops, self.projections, self.reductions = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        self.halved: list[list[int]] = []  # per layer, the outputs to halve before it; -1 is the stem's
        for i, (op, skips) in enumerate(zip(ops, self.skips, strict=True)):
            still_read = {i - 1, *(j for later in self.skips[i:] for j in later if j < i)}
            self.halved.append(sorted(still_read) if i in (space.layers // 3, 2 * space.layers // 3) else [])
            for j in self.halved[i]:
                self.reductions[f"{i}_{j}"] = FactorizedReduction(channels, channels)
            self.ops.append(CONV_OPS[op](channels, 1))
            self.projections.append(ReLUConvBN(channels * (1 + len(skips)), channels, 1) if skips else nn.Identity())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of x (B, in_channels, H, W)."""
        outputs = {-1: self.stem(x)}
        for i, (skips, op, project) in enumerate(zip(self.skips, self.ops, self.projections, strict=True)):
            for j in self.halved[i]:
                outputs[j] = self.reductions[f"{i}_{j}"](outputs[j])
            out = op(outputs[i - 1])
            outputs[i] = project(torch.cat([out, *(outputs[j] for j in skips)], dim=1))  # (B, channels, H, W)
        return self.classifier(average(outputs[len(self.ops) - 1]))
