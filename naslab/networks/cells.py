"""Convolutional networks made of cells: the skeletons of DARTS, ENAS micro and NAS-Bench-201.

The probability of drop-path is an argument of `forward`, so a schedule needs no state in the network.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import checks
from naslab.networks.parts import Stem, average, drop_path
from naslab.ops import CONV_OPS, FactorizedReduction, ReLUConvBN
from naslab.spaces import CellSpace, Nodes


class Cell(nn.Module):
    """A small graph in which every node is the sum of the outputs of its edges.

    `preprocess` has one module for each input. Edges from inputs have the stride `stride`, others have 1. In training
    drop-path acts on every edge except identities. Maps inputs (B, ., H, W) to the concatenation of the states that
    leave, (B, leaving * channels, H', W').
    """

    def __init__(
        self, space: CellSpace, nodes: Nodes, channels: int, stride: int = 1, preprocess: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.preprocess = nn.ModuleList(preprocess)
        self.named = [((source, target), op) for target, node in enumerate(nodes, space.inputs) for source, op in node]
        self.ops = nn.ModuleList(CONV_OPS[op](channels, stride if s < space.inputs else 1) for (s, _), op in self.named)
        self.leaving = space.leaving(nodes)
        self.channels = channels * len(self.leaving)

    def forward(self, inputs: Sequence[Tensor], probability: float = 0.0) -> Tensor:
        states = [module(x) for module, x in zip(self.preprocess, inputs, strict=True)]
        for ((source, target), _), op in zip(self.named, self.ops, strict=True):
            carried = op(states[source])
            if self.training and probability > 0 and not isinstance(op, nn.Identity):
                carried = drop_path(carried, probability)
            if target == len(states):
                states.append(carried)
            else:
                states[target] = states[target] + carried
        return torch.cat([states[i] for i in self.leaving], dim=1)


def skeleton(cells: int, channels: int) -> Iterator[tuple[str, int, bool]]:
    """Yields (kind, channels, reduced) for each cell. `reduced`: its older input has twice the resolution of the newer.

    Reduction cells are at one third and two thirds of the depth and double the channels (Liu et al. 2019, section 3.2).
    """
    kind = "normal"
    for i in range(cells):
        reduced = kind == "reduce"
        kind = "reduce" if i in (cells // 3, 2 * cells // 3) else "normal"
        channels *= 2 if kind == "reduce" else 1
        yield kind, channels, reduced


class CellChild(nn.Module):
    """Normal cells, with reduction cells at one third and two thirds of the depth (Liu et al. 2019, section 3.2).

    As in the authors' code, the stem has 3 * `channels` channels, and reduction cells double the channels. A cell reads
    the outputs of the two cells before it; each is projected to the cell's channels. If the older output has twice the
    resolution, this projection is a factorised reduction.

    ENAS' micro cells (Pham et al. 2018, "Designing Convolutional Cells") use the same skeleton. The number of loose
    ends determines the width of a cell's output.
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
        nodes = space.pairs(tokens)
        self.stem = Stem(in_channels, 3 * channels)
        self.cells = nn.ModuleList()
        self.head_at = 2 * cells // 3
        older = newer = 3 * channels  # the channels of the last two outputs
        for i, (kind, c, reduced) in enumerate(skeleton(cells, channels)):
            older_to_c = FactorizedReduction(older, c) if reduced else ReLUConvBN(older, c, 1)
            preprocess = (older_to_c, ReLUConvBN(newer, c, 1))
            cell = Cell(space, nodes[kind], c, 2 if kind == "reduce" else 1, preprocess)
            self.cells.append(cell)
            older, newer = newer, cell.channels
            if i == self.head_at:
                at_head = newer
        self.auxiliary = AuxiliaryHead(at_head, classes) if auxiliary else None
        self.classifier = nn.Linear(newer, classes)

    def _run(self, x: Tensor, probability: float) -> tuple[Tensor, Tensor]:
        """Returns the logits, and the output of the cell that the auxiliary head reads."""
        checks.number(0, 1, drop_path=probability)
        older = newer = self.stem(x)
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell((older, newer), probability)
            if i == self.head_at:
                at_head = newer
        return self.classifier(average(newer)), at_head

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` unless 0 <= drop_path < 1."""
        return self._run(x, drop_path)[0]

    def forward_auxiliary(self, x: Tensor, drop_path: float = 0.0) -> tuple[Tensor, Tensor]:
        """Returns logits and auxiliary logits, both (B, classes).

        Raises `ValueError` if the child has no auxiliary head or the head's map is too small.
        """
        if self.auxiliary is None:
            raise ValueError("forward_auxiliary: the child was built without an auxiliary head")
        logits, at_head = self._run(x, drop_path)
        return logits, self.auxiliary(at_head)


def smallest_for_auxiliary(cells: int | None) -> int:
    """Returns the smallest image height and width for which the auxiliary head of a `CellChild` gets a 6x6 map."""
    cells = cells or 20
    halvings = [kind for kind, _, _ in skeleton(cells, 1)][: 2 * cells // 3 + 1].count("reduce")
    return 5 * 2**halvings + 1


class AuxiliaryHead(nn.Module):
    """A second classifier, at two thirds of the depth: (B, C, H, W) -> (B, classes) (Liu et al. 2019, A.2).

    Its loss has the weight 0.4 in training. The authors' 5x5 pool with stride 3 reduces the 8x8 maps of CIFAR-10 to the
    2x2 that the next convolution needs. Maps of 6x6 and 7x7 (from 28x28 images) need a padding of 1 for that.
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
    """A residual block with stride 2: (B, C_in, H, W) -> (B, C_out, ceil(H / 2), ceil(W / 2)).

    Two 3x3 convolutions, the first with stride 2, plus a shortcut of an average pool and a 1x1 convolution.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ReLUConvBN(c_in, c_out, 3, stride=2), ReLUConvBN(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.convs(x)


class PoolReduction(nn.Sequential):
    """An average pool, a 1x1 convolution and a batch norm: (B, C_in, H, W) -> (B, C_out, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, c_in: int, c_out: int) -> None:
        convolution = nn.Conv2d(c_in, c_out, 1, bias=False)
        super().__init__(nn.AvgPool2d(2, ceil_mode=True), convolution, nn.BatchNorm2d(c_out))


def bench_stem(in_channels: int, channels: int, plain: bool) -> Stem:
    return Stem(in_channels, channels, kernel=1 if plain else 3)


def bench_reduction(channels: int, plain: bool) -> nn.Module:
    return (PoolReduction if plain else ResidualReduction)(channels, 2 * channels)


class BenchChild(nn.Module):
    """The skeleton of NAS-Bench-201 (Dong & Yang 2020, section 2.1): three stages of `cells` cells each.

    A residual reduction, which doubles the channels, precedes the second and the third stage. The benchmark starts with
    16 channels and has 5 cells per stage.

    `plain` is ours: the stem is a 1x1 convolution, and the reductions are pools with a 1x1 convolution. Then only the
    cells have filters that see more than one pixel, and accuracy depends much more on the cell.
    """

    def __init__(
        self,
        space: CellSpace,
        tokens: Iterable[int],
        channels: int,
        cells: int,
        in_channels: int,
        classes: int,
        plain: bool = False,
    ) -> None:
        super().__init__()
        nodes = space.pairs(tokens)["cell"]
        self.stem = bench_stem(in_channels, channels, plain)
        self.blocks = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.blocks.append(bench_reduction(channels, plain))
                channels *= 2
            self.blocks.extend(Cell(space, nodes, channels, preprocess=(nn.Identity(),)) for _ in range(cells))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` unless 0 <= drop_path < 1."""
        checks.number(0, 1, drop_path=drop_path)
        x = self.stem(x)
        for block in self.blocks:
            x = block((x,), drop_path) if isinstance(block, Cell) else block(x)
        return self.classifier(average(F.relu(self.norm(x))))
