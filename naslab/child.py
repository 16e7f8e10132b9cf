"""One architecture built alone: a convolutional child with only its chosen ops.

`build` makes the network that a string names. The drop-path probability is an argument of `forward`: a schedule is
an argument, never state. Every child maps images (B, in_channels, H, W) to logits (B, classes), at any H and W.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab.ops import CONV_OPS, FactorizedReduction, ReLUConvBN
from naslab.spaces import CellSpace, MacroSpace, Nodes, Space


def build(
    space: Space,
    tokens: Iterable[int],
    *,
    channels: int,
    cells: int | None = None,
    in_channels: int = 3,
    classes: int = 10,
    auxiliary: bool = False,
) -> "CellChild | BenchChild | MacroChild":
    """The child that `tokens` names, initialised from torch's global generator.

    - `CellSpace` of normal and reduction cells: `CellChild` of `cells` cells (20), the first with `channels`.
    - `CellSpace` of one cell whose last node leaves: `BenchChild`, `cells` in each of its three stages (5).
    - `MacroSpace`: `MacroChild`; the space fixes its depth, so `cells` stays None.

    `auxiliary` adds the second head of a `CellChild`. Raises `ValueError` for any other space, for tokens outside the
    space and for numbers out of range. Under `torch.device("meta")` a child costs no memory: enough to count.
    """
    lowest = {"channels": 2, "cells": 1, "in_channels": 1, "classes": 1}
    for name, got in {"channels": channels, "cells": cells, "in_channels": in_channels, "classes": classes}.items():
        if not (isinstance(got, int) and got >= lowest[name]) and not (name == "cells" and got is None):
            raise ValueError(f"{name}: got {got!r}, expected an int of at least {lowest[name]}")
    if unknown := [op for op in getattr(space, "ops", ()) if op not in CONV_OPS]:
        raise ValueError(f"space: got ops {unknown}, expected ops among {sorted(CONV_OPS)}")

    if isinstance(space, CellSpace) and space.cells == ("normal", "reduce") and space.inputs == 2:
        return CellChild(space, tokens, channels, cells or 20, in_channels, classes, auxiliary)
    if auxiliary:
        raise ValueError("auxiliary: got True, only a child of normal and reduction cells has an auxiliary head")
    if isinstance(space, CellSpace) and space.cells == ("cell",) and space.inputs == 1 and space.output == "last":
        return BenchChild(space, tokens, channels, cells or 5, in_channels, classes)
    if isinstance(space, MacroSpace):
        if cells is not None:
            raise ValueError(f"cells: got {cells}, expected None: the space has {space.layers} layers")
        return MacroChild(space, tokens, channels, in_channels, classes)
    raise ValueError(
        f"space: got {space!r}, expected a MacroSpace or a CellSpace, either of cells ('normal', 'reduce') with 2 "
        "inputs, or of cells ('cell',) with 1 input and output 'last'"
    )


def count_parameters(model: nn.Module) -> int:
    """How many numbers the optimiser trains."""
    return sum(p.numel() for p in model.parameters())


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zeroes each sample with the given probability and scales the others up, so that the mean stays.

    (B, C, H, W) -> (B, C, H, W); Larsson et al. 2017, in the form of Zoph et al. 2018. Draws on the device of x.
    """
    keep = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - probability)
    return x * keep / (1 - probability)


def stem(in_channels: int, channels: int) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, channels, H, W)"""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def average(x: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return x.mean((-2, -1))


class Cell(nn.Module):
    """A small graph: every node is the sum of what its edges carry.

    `preprocess` has one module for each input; `stride` is that of the edges from inputs. During training, drop-path
    acts on each edge but the identities. Inputs of (B, ., H, W) -> (B, channels of the states that leave, H', W').
    """

    def __init__(
        self, space: CellSpace, nodes: Nodes, channels: int, stride: int = 1, preprocess: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.preprocess = nn.ModuleList(preprocess)
        named = [(source, target, op) for target, node in enumerate(nodes, space.inputs) for source, op in node]
        self.edges = [(source, target) for source, target, _ in named]
        self.ops = nn.ModuleList(CONV_OPS[op](channels, stride if s < space.inputs else 1) for s, _, op in named)
        self.leaving = space.leaving(nodes)
        self.channels = channels * len(self.leaving)

    def forward(self, inputs: Sequence[Tensor], probability: float = 0.0) -> Tensor:
        states = [module(x) for module, x in zip(self.preprocess, inputs, strict=True)]
        for (source, target), op in zip(self.edges, self.ops, strict=True):
            carried = op(states[source])
            if self.training and probability > 0 and not isinstance(op, nn.Identity):
                carried = drop_path(carried, probability)
            if target == len(states):
                states.append(carried)
            else:
                states[target] = states[target] + carried
        return torch.cat([states[i] for i in self.leaving], dim=1)


def _check_probability(probability: float) -> None:
    if not 0 <= probability < 1:
        raise ValueError(f"drop_path: got {probability!r}, expected a probability of at least 0 and below 1")


class CellChild(nn.Module):
    """Normal cells, and reduction cells at a third and two thirds of the depth (Liu et al. 2019, section 3.2).

    As in the authors' code: the stem has 3 `channels`; a cell reads the outputs of the two cells before it, each
    brought to the cell's channels, the older by a factorised reduction where it is still twice as large; reduction
    cells double the channels. ENAS's micro cells (Pham et al. 2018, section 2.5) stand in the same skeleton; the more
    loose ends, the wider a cell's output.
    """

    def __init__(
        self,
        space: CellSpace,
        tokens: Iterable[int],
        channels: int,
        cells: int,
        in_channels: int,
        classes: int,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        kinds = space.pairs(tokens)
        self.stem = stem(in_channels, 3 * channels)
        self.cells = nn.ModuleList()
        self.head_at = 2 * cells // 3
        older = newer = 3 * channels  # the channels of the last two outputs
        reduced = False
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            channels *= 2 if reduction else 1
            older_to_c = FactorizedReduction(older, channels) if reduced else ReLUConvBN(older, channels, 1)
            preprocess = (older_to_c, ReLUConvBN(newer, channels, 1))
            nodes = kinds["reduce" if reduction else "normal"]
            cell = Cell(space, nodes, channels, 2 if reduction else 1, preprocess)
            self.cells.append(cell)
            older, newer, reduced = newer, cell.channels, reduction
            if i == self.head_at:
                at_head = newer
        self.auxiliary = AuxiliaryHead(at_head, classes) if auxiliary else None
        self.classifier = nn.Linear(newer, classes)

    def _run(self, x: Tensor, probability: float) -> tuple[Tensor, Tensor]:
        """Logits, and the output of the cell under the auxiliary head."""
        _check_probability(probability)
        older = newer = self.stem(x)
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell((older, newer), probability)
            if i == self.head_at:
                at_head = newer
        return self.classifier(average(newer)), at_head

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        return self._run(x, drop_path)[0]

    def forward_auxiliary(self, x: Tensor, drop_path: float = 0.0) -> tuple[Tensor, Tensor]:
        """Logits and auxiliary logits, both (B, classes). Raises `ValueError` without a head, or on a small map."""
        if self.auxiliary is None:
            raise ValueError("forward_auxiliary: the child was built without an auxiliary head")
        logits, at_head = self._run(x, drop_path)
        return logits, self.auxiliary(at_head)


class AuxiliaryHead(nn.Module):
    """A classifier at two thirds of the depth, whose loss enters training with weight 0.4 (Liu et al. 2019, A.2).

    (B, C, H, W) -> (B, classes). The authors' pooling of 5 pixels, stride 3, takes maps of 8x8, CIFAR-10's, to the 2x2
    that the next convolution covers. Maps of 6 and 7 pixels (28x28 images) get there with a border of one.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if min(height, width) < 6:
            raise ValueError(f"auxiliary head: got a map of {height}x{width}, expected at least 6x6")
        border = (int(height < 8), int(width < 8))
        x = F.avg_pool2d(F.relu(x), 5, stride=3, padding=border, count_include_pad=False)  # (B, C, 2, 2) from 6 to 10
        return self.classifier(average(self.features(x)))


class ResidualReduction(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside an average pool and a 1x1 convolution.

    (B, C_in, H, W) -> (B, C_out, ceil(H / 2), ceil(W / 2)).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ReLUConvBN(c_in, c_out, 3, stride=2), ReLUConvBN(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.convs(x)


class BenchChild(nn.Module):
    """The skeleton of NAS-Bench-201: three stages of `cells` cells, a residual reduction before the second and third.

    Dong & Yang 2020, section 2.1. Reductions double the channels; the benchmark has 16 and 5 cells a stage.
    """

    def __init__(
        self, space: CellSpace, tokens: Iterable[int], channels: int, cells: int, in_channels: int, classes: int
    ) -> None:
        super().__init__()
        nodes = space.pairs(tokens)["cell"]
        self.stem = stem(in_channels, channels)
        self.blocks = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.blocks.append(ResidualReduction(channels, 2 * channels))
                channels *= 2
            self.blocks.extend(Cell(space, nodes, channels, preprocess=(nn.Identity(),)) for _ in range(cells))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        _check_probability(drop_path)
        x = self.stem(x)
        for block in self.blocks:
            x = block((x,), drop_path) if isinstance(block, Cell) else block(x)
        return self.classifier(average(F.relu(self.norm(x))))


class MacroChild(nn.Module):
    """A chain of layers with skip connections (Pham et al. 2018, section 2.4).

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

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """Logits (B, classes). Raises `ValueError` for drop_path > 0: a chain has no path to spare."""
        if drop_path != 0:
            raise ValueError(f"drop_path: got {drop_path!r}, expected 0: a chain of layers has no path to spare")
        outputs = {-1: self.stem(x)}
        for i, (skips, op, project) in enumerate(zip(self.skips, self.ops, self.projections, strict=True)):
            for j in self.halved[i]:
                outputs[j] = self.reductions[f"{i}_{j}"](outputs[j])
            out = op(outputs[i - 1])
            outputs[i] = project(torch.cat([out, *(outputs[j] for j in skips)], dim=1))  # (B, channels, H, W)
        return self.classifier(average(outputs[len(self.ops) - 1]))
