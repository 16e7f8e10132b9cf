"""Convolutional networks made of cells: the skeletons of DARTS, ENAS micro and NAS-Bench-201.

The probability of drop-path is an argument of `forward`: a schedule is an argument, never state.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import checks
from naslab.networks.parts import average, drop_path, stem
from naslab.ops import CONV_OPS, FactorizedReduction, ReLUConvBN
from naslab.spaces import CellSpace, Nodes


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
    """Of every cell: its kind, its channels, and whether the older of its inputs is twice as large as the newer.

    Reduction cells stand at a third and two thirds of the depth and double the channels (Liu et al. 2019, section 3.2).
    """
    kind = "normal"
    for i in range(cells):
        reduced = kind == "reduce"
        kind = "reduce" if i in (cells // 3, 2 * cells // 3) else "normal"
        channels *= 2 if kind == "reduce" else 1
        yield kind, channels, reduced


class CellChild(nn.Module):
    """Normal cells, and reduction cells at a third and two thirds of the depth (Liu et al. 2019, section 3.2).

    As in the authors' code: the stem has 3 `channels`; a cell reads the outputs of the two cells before it, each
    brought to the cell's channels, the older by a factorised reduction where it is still twice as large; reduction
    cells double the channels. ENAS' micro cells (Pham et al. 2018, "Designing Convolutional Cells") stand in the same
    skeleton; the more loose ends, the wider a cell's output.
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
        self.stem = stem(in_channels, 3 * channels)
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
        """Logits, and the output of the cell under the auxiliary head."""
        checks.number(0, 1, drop_path=probability)
        older = newer = self.stem(x)
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell((older, newer), probability)
            if i == self.head_at:
                at_head = newer
        return self.classifier(average(newer)), at_head

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """Logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` unless 0 <= drop_path < 1."""
        return self._run(x, drop_path)[0]

    def forward_auxiliary(self, x: Tensor, drop_path: float = 0.0) -> tuple[Tensor, Tensor]:
        """Logits and auxiliary logits, both (B, classes). Raises `ValueError` without a head, or on a small map."""
        if self.auxiliary is None:
            raise ValueError("forward_auxiliary: the child was built without an auxiliary head")
        logits, at_head = self._run(x, drop_path)
        return logits, self.auxiliary(at_head)


def smallest_for_auxiliary(cells: int | None) -> int:
    """Smallest height and width of images that leave a map of 6x6 to the auxiliary head of a `CellChild`."""
    cells = cells or 20
    halvings = [kind for kind, _, _ in skeleton(cells, 1)][: 2 * cells // 3 + 1].count("reduce")
    return 5 * 2**halvings + 1


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
        """Logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` unless 0 <= drop_path < 1."""
        checks.number(0, 1, drop_path=drop_path)
        x = self.stem(x)
        for block in self.blocks:
            x = block((x,), drop_path) if isinstance(block, Cell) else block(x)
        return self.classifier(average(F.relu(self.norm(x))))
