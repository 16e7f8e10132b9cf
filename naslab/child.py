"""One architecture built alone: a child with only its chosen ops.

`build` makes the convolutional network that a string names. These children map images (B, in_channels, H, W) to logits
(B, classes), at any H and W. In children made of cells the drop-path probability is an argument of `forward`: a
schedule is an argument, never state. `build_recurrent` makes a language model of a tree or a cell: tokens (T, B) to
logits (T, B, vocabulary).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import checks
from naslab.mixed_op import Matrices
from naslab.ops import ACTIVATIONS, COMBINERS, CONV_OPS, FactorizedReduction, ReLUConvBN, highway
from naslab.spaces import NONE, CellSpace, ConvSpace, MacroSpace, Nodes, Space, TreeSpace

State = tuple[Tensor, Tensor]  # h, c of a recurrent cell, both (B, units)


def build(
    space: Space,
    tokens: Iterable[int],
    *,
    channels: int | None = None,
    cells: int | None = None,
    in_channels: int = 3,
    classes: int = 10,
    auxiliary: bool = False,
) -> "CellChild | BenchChild | MacroChild | ConvChild":
    """The child that `tokens` names, initialised from torch's global generator.

    - `CellSpace` of normal and reduction cells: `CellChild` of `cells` cells (20), the first with `channels`.
    - `CellSpace` of one cell whose last node leaves: `BenchChild`, `cells` in each of its three stages (5).
    - `MacroSpace`: `MacroChild`; the space fixes its depth, so `cells` stays None.
    - `ConvSpace`: `ConvChild`; the string fixes its filters too, so `channels` and `cells` stay None.

    `auxiliary` adds the second head of a `CellChild`. Raises `ValueError` for any other space, for tokens outside the
    space and for numbers out of range. Under `torch.device("meta")` a child costs no memory: enough to count.
    """
    check_build(space, channels, cells, in_channels, classes, auxiliary)
    if isinstance(space, ConvSpace):
        return ConvChild(space, tokens, in_channels, classes)
    assert isinstance(channels, int)
    if isinstance(space, MacroSpace):
        return MacroChild(space, tokens, channels, in_channels, classes)
    assert isinstance(space, CellSpace)
    if space.inputs == 2:
        return CellChild(space, tokens, channels, cells or 20, in_channels, classes, auxiliary)
    return BenchChild(space, tokens, channels, cells or 5, in_channels, classes)


def check_build(
    space: Space, channels: int | None, cells: int | None, in_channels: int, classes: int, auxiliary: bool = False
) -> type[nn.Module]:
    """The class of the child that `build` makes. Raises its `ValueError`, but for tokens."""
    checks.whole(1, in_channels=in_channels, classes=classes, **({} if cells is None else {"cells": cells}))
    if not isinstance(auxiliary, bool):
        raise ValueError(f"auxiliary: got {auxiliary!r}, expected True or False")
    if auxiliary and not (isinstance(space, CellSpace) and space.cells == ("normal", "reduce")):
        raise ValueError("auxiliary: got True, only a child of normal and reduction cells has an auxiliary head")
    if isinstance(space, MacroSpace | ConvSpace) and cells is not None:
        raise ValueError(f"cells: got {cells}, expected None: the space has {space.layers} layers")
    if isinstance(space, ConvSpace):
        if channels is not None:
            raise ValueError(f"channels: got {channels!r}, expected None: the string says every layer's filters")
        return ConvChild

    if not isinstance(channels, int):
        raise ValueError(f"channels: got {channels!r}, expected an int of at least 2")
    checks.whole(2, channels=channels)
    if unknown := [op for op in getattr(space, "ops", ()) if op not in CONV_OPS]:
        raise ValueError(f"space: got ops {unknown}, expected ops among {sorted(CONV_OPS)}")
    if isinstance(space, MacroSpace):
        return MacroChild
    if isinstance(space, CellSpace) and space.cells == ("normal", "reduce") and space.inputs == 2:
        return CellChild
    if isinstance(space, CellSpace) and space.cells == ("cell",) and space.inputs == 1 and space.output == "last":
        return BenchChild
    raise ValueError(
        f"space: got {space!r}, expected a ConvSpace, a MacroSpace or a CellSpace, either of cells ('normal', "
        "'reduce') with 2 inputs, or of cells ('cell',) with 1 input and output 'last'"
    )


def build_recurrent(
    space: TreeSpace | CellSpace,
    tokens: Iterable[int],
    *,
    vocabulary: int,
    units: int,
    layers: int = 1,
    dropout: "float | Dropouts" = 0.0,
    matrices: Matrices = "source",
) -> "RecurrentChild":
    """The language model whose cells are what `tokens` names: a `RecurrentChild` of `TreeCell` or `RecurrentCell`.

    Zoph & Le 2017, section 4.2, has two layers; Pham et al. 2018 and Liu et al. 2019 have one. `matrices` is that of
    `mixed_op.MixedRecurrentCell`, and says nothing to a tree. Raises `ValueError` for any other space, for tokens
    outside the space and for values out of range.
    """
    check_build_recurrent(space, vocabulary, units, layers, dropout, matrices)
    if isinstance(space, TreeSpace):
        chosen = space.check(tokens)
        return RecurrentChild(lambda n: TreeCell(space, chosen, n), vocabulary, units, layers, dropout)
    (nodes,) = space.pairs(tokens).values()
    return RecurrentChild(lambda n: RecurrentCell(space, nodes, n, matrices), vocabulary, units, layers, dropout)


def check_build_recurrent(
    space: Space, vocabulary: int, units: int, layers: int, dropout: "float | Dropouts", matrices: str
) -> None:
    """Raises the `ValueError` of `build_recurrent`, but for tokens."""
    check_language_model(vocabulary, units, layers, dropout)
    if not isinstance(space, TreeSpace):
        check_recurrent(space, matrices)
        return
    for name, known in (("combine", COMBINERS), ("activation", ACTIVATIONS)):
        if unknown := [f for f in getattr(space, name) if f not in known]:
            raise ValueError(f"{name}: got {unknown}, expected functions among {sorted(known)}")
    if isinstance(dropout, Dropouts) and dropout.hidden:
        raise ValueError(f"hidden: got {dropout.hidden}, expected 0: a TreeCell takes no mask")


def check_language_model(vocabulary: int, units: int, layers: int, dropout: "float | Dropouts") -> None:
    """Raises `ValueError` for the size of a `RecurrentChild` out of range."""
    checks.whole(1, vocabulary=vocabulary, units=units, layers=layers)
    if not isinstance(dropout, Dropouts):
        checks.number(0, 1, dropout=dropout)


def check_recurrent(space: Space, matrices: str) -> None:
    """Raises `ValueError` for a space that has no recurrent cells, and for an unknown kind of sharing."""
    if not isinstance(space, CellSpace) or (len(space.cells), space.inputs, space.fan_in) != (1, 1, 1):
        raise ValueError(
            f"space: got {space!r}, expected a TreeSpace, or a CellSpace of one cell with one input and fan_in 1"
        )
    if unknown := [op for op in space.ops if op not in (*ACTIVATIONS, NONE)]:
        raise ValueError(f"space: got ops {unknown}, expected functions among {sorted(ACTIVATIONS)}")
    if matrices not in get_args(Matrices):
        raise ValueError(f"matrices: got {matrices!r}, expected one of {', '.join(get_args(Matrices))}")


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


class ConvChild(nn.Module):
    """Layers of chosen filters and chosen inputs (Zoph & Le 2017, sections 3.1 and 3.3).

    A layer reads the layers whose skip bits are set, concatenated in depth, or the layer before it in a space without
    skips. Section 3.3 repairs what a string may leave broken: a layer that reads none reads the image; the layers that
    none reads, the last always among them, are concatenated for the classifier; maps that are smaller than others of a
    concatenation get zeros around them.

    The paper is silent on the rest. A layer is a convolution without bias, batch norm, ReLU. It pads, mostly evenly and
    the odd one at the end, so that H pixels leave as ceil(H / stride) whatever the filter; a `pool` of p then leaves
    every p-th of them, the maximum of p x p. Zeros are put around a smaller map, the odd row below, the odd column to
    the right. The classifier is global average pooling, zeros included, and a linear layer.
    """

    def __init__(self, space: ConvSpace, tokens: Iterable[int], in_channels: int, classes: int) -> None:
        super().__init__()
        attributes: list[dict[str, int]] = [{} for _ in range(space.layers)]
        skips: list[list[int]] = [[] for _ in range(space.layers)]
        for d, token in zip(space.decisions, space.check(tokens), strict=True):
            if d.kind == "skip":
                i, j = d.row
                skips[i] += [j] * token
            else:
                attributes[d.row[0]][d.kind] = int(d.options[token])
        if not space.skips:
            skips = [[i - 1] if i else [] for i in range(space.layers)]
        self.reads = [js or [IMAGE] for js in skips]
        self.unread = sorted({*range(space.layers)} - {j for js in skips for j in js})

        depth = {IMAGE: in_channels} | {i: chosen["filters"] for i, chosen in enumerate(attributes)}
        self.layers = nn.ModuleList(
            conv_layer(sum(depth[j] for j in js), **chosen) for js, chosen in zip(self.reads, attributes, strict=True)
        )
        self.classifier = nn.Linear(sum(depth[i] for i in self.unread), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of x (B, in_channels, H, W)."""
        outputs = {IMAGE: x}
        for i, (layer, reads) in enumerate(zip(self.layers, self.reads, strict=True)):
            outputs[i] = layer(concatenate([outputs[j] for j in reads]))  # (B, filters, H', W')
        return self.classifier(average(concatenate([outputs[i] for i in self.unread])))


IMAGE = -1  # among the layers that a layer of `ConvChild` reads


def conv_layer(
    c_in: int,
    filter_height: int,
    filter_width: int,
    stride_height: int,
    stride_width: int,
    filters: int,
    pool: int = 1,
) -> nn.Sequential:
    """(B, c_in, H, W) -> (B, filters, H', W'), H' = ceil(ceil(H / stride) / pool), for filters of any size."""
    size, stride = (filter_height, filter_width), (stride_height, stride_width)
    rows, columns = ((k - 1) % 2 for k in size)  # a filter of even size pads one more at the end
    return nn.Sequential(
        nn.ZeroPad2d((0, columns, 0, rows)) if rows or columns else nn.Identity(),
        nn.Conv2d(c_in, filters, size, stride, padding=((size[0] - 1) // 2, (size[1] - 1) // 2), bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        nn.MaxPool2d(pool, ceil_mode=True) if pool > 1 else nn.Identity(),
    )


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C_k, H_k, W_k) in depth, smaller ones with zeros around them: (B, sum of C_k, max H_k, max W_k)."""
    height, width = (max(x.shape[axis] for x in maps) for axis in (-2, -1))
    padded = []
    for x in maps:
        rows, columns = height - x.shape[-2], width - x.shape[-1]
        around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        padded.append(F.pad(x, around) if rows or columns else x)
    return padded[0] if len(padded) == 1 else torch.cat(padded, dim=1)


class TreeCell(nn.Module):
    """A recurrent cell as a binary tree (Zoph & Le 2017, section 3.4 and figure 5). cell(x, (h, c)) -> (h, c).

    All of (B, units), as in `nn.LSTMCell`. Node i yields a_i = act_i(s_i). For leaf i = 0, ..., base - 1, s_i combines
    W_(2i+1) x_t and W_(2i+2) h_(t-1); node base + i combines a_2i and a_(2i+1). Only leaves have weights, and there
    are no biases, as in the paper's formulas: a string whose products all vanish at h = 0 stays at 0 for ever.

    c_t is s of the node that the first cell index names: before the activation, hence before any injection into this
    node. The node that the second names has c_(t-1) injected after its activation: whoever reads it, its parent or, at
    the root, h_t, reads act(combine(a, c_(t-1))). So where both name one node, c_t knows of c_(t-1) only through
    h_(t-1); where the first is above the second, c_t has passed through the injection.

    The weights start as those of `nn.Linear`, uniform in +-1 / sqrt(units); the paper searched over their range.
    """

    def __init__(self, space: TreeSpace, tokens: Iterable[int], units: int) -> None:
        super().__init__()
        checks.whole(1, units=units)
        *functions, self.memory, self.inject = (
            d.options[t] for d, t in zip(space.decisions, space.check(tokens), strict=True)
        )
        pairs = zip(functions[::2], functions[1::2], strict=True)
        *self.nodes, self.injection = [(COMBINERS[str(c)], ACTIVATIONS[str(a)]) for c, a in pairs]
        self.base = space.base
        self.from_x = nn.Linear(units, space.base * units, bias=False)  # W_1, W_3, ...
        self.from_h = nn.Linear(units, space.base * units, bias=False)  # W_2, W_4, ...

    def forward(self, x: Tensor, state: State) -> State:
        h, c = state
        read = list(zip(self.from_x(x).chunk(self.base, -1), self.from_h(h).chunk(self.base, -1), strict=True))
        outputs: list[Tensor] = []
        for i, (combine, activation) in enumerate(self.nodes):
            if i >= self.base:
                first = 2 * (i - self.base)
                read.append((outputs[first], outputs[first + 1]))
            s = combine(*read[i])
            if i == self.memory:
                c_t = s
            a = activation(s)
            if i == self.inject:
                combine, activation = self.injection
                a = activation(combine(a, c))
            outputs.append(a)
        return outputs[-1], c_t


class RecurrentCell(nn.Module):
    """A recurrent cell as a graph with highway nodes. cell(x, (h, c)) -> (h, c), all (B, units); c only passes.

    Node l reads an earlier state s through its matrix (units, to gate and candidate) and its function:
    s + sigmoid(gate) (f(candidate) - s) (Pham et al. 2018, "Designing Recurrent Cells"; the gate: "Language Model with
    Penn Treebank"). h_t is the mean of the states that leave. `matrices` says what state 0 is: for "source", as in the
    paper, the pair (x_t, h_(t-1)), read by a matrix of twice the size, with h_(t-1) as s; else h_(t-1) + sigmoid(gate)
    (tanh(candidate) - h_(t-1)), read from the pair by a matrix of its own (the ENAS authors' later code; Liu et al.
    2019, appendix A.1.2).

    `mask` (B, units) multiplies what the matrices read of the states, not what bypasses them.
    """

    def __init__(self, space: CellSpace, nodes: Nodes, units: int, matrices: Matrices) -> None:
        super().__init__()
        checks.whole(1, units=units)
        self.nodes = [(source, ACTIVATIONS[op]) for ((source, op),) in nodes]
        self.first = nn.Linear(2 * units, 2 * units, bias=False) if matrices != "source" else None
        wide = [self.first is None and source == 0 for source, _ in self.nodes]
        self.weights = nn.ModuleList(nn.Linear(units * (1 + w), 2 * units, bias=False) for w in wide)
        self.leaving = space.leaving(nodes)

    def forward(self, x: Tensor, state: State, mask: Tensor | None = None) -> State:
        h, c = state
        pair = torch.cat([x, h if mask is None else h * mask], dim=-1)  # (B, 2 units)
        states = [h if self.first is None else highway(h, self.first(pair), torch.tanh)]
        for (source, function), weight in zip(self.nodes, self.weights, strict=True):
            s = states[source]
            reads = pair if self.first is None and source == 0 else s if mask is None else s * mask
            states.append(highway(s, weight(reads), function))
        first, *others = (states[i] for i in self.leaving)
        return sum(others, start=first) / len(self.leaving), c


@dataclass(frozen=True)
class Dropouts:
    """What a language model drops, each with one mask for all time steps of a batch (Gal & Ghahramani 2016).

    The defaults are those of Liu et al. 2019, section A.1.2, for search; to retrain, section A.2.2 adds `words` 0.1.
    Each layer has masks of its own. Raises `ValueError` out of range.
    """

    words: float = 0.0  # of the vocabulary, as a whole
    embedding: float = 0.2
    input: float = 0.75  # of a cell
    hidden: float = 0.25  # states, where the matrices of a cell read them
    output: float = 0.75  # of the last layer, for the decoder

    def __post_init__(self) -> None:
        checks.number(0, 1, **asdict(self))


class RecurrentChild(nn.Module):
    """A language model: embedding, `layers` of recurrent cells, decoder (Zoph & Le 2017, section 4.2).

    `cell(units)` makes a layer: any module with cell(x, (h, c)) -> (h, c), such as `lambda n: nn.LSTMCell(n, n)`;
    whatever `forward` is given beyond tokens and state is handed on to it.
    Embedding and decoder share one matrix, the paper's "shared embeddings" (Press & Wolf 2017); the decoder has a
    bias. Dropout, if a number, acts on what goes into a layer and into the decoder, anew at every time step and not
    along time (Zaremba et al. 2014). `Dropouts.hidden` needs cells that take a `mask`, as `RecurrentCell` does.
    """

    def __init__(
        self,
        cell: Callable[[int], nn.Module],
        vocabulary: int,
        units: int,
        layers: int = 1,
        dropout: float | Dropouts = 0.0,
    ) -> None:
        super().__init__()
        check_language_model(vocabulary, units, layers, dropout)
        self.embedding = nn.Embedding(vocabulary, units)
        self.cells = nn.ModuleList(cell(units) for _ in range(layers))
        self.decoder = nn.Linear(units, vocabulary)
        self.decoder.weight = self.embedding.weight
        self.dropout = dropout
        hidden = dropout.hidden if isinstance(dropout, Dropouts) else 0.0
        self.masked = hidden > 0
        if self.masked and "mask" not in signature(self.cells[0].forward).parameters:
            raise ValueError(f"hidden: got {hidden}, expected 0: a {type(self.cells[0]).__name__} takes no mask")

    def forward(self, tokens: Tensor, state: list[State] | None = None, *more: Any) -> tuple[Tensor, list[State]]:
        """Tokens (T, B) int64 and each layer's (h, c), zeros for None -> logits (T, B, vocabulary) and new states."""
        outputs, after = self.read(tokens, state, *more)
        return self.decode(outputs), after

    def read(self, tokens: Tensor, state: list[State] | None = None, *more: Any) -> tuple[Tensor, list[State]]:
        """As `forward`, but instead of logits what the last layer puts out, (T, B, units)."""
        if tokens.ndim != 2 or tokens.dtype != torch.int64:
            raise ValueError(f"tokens: got {tokens.dtype} {tuple(tokens.shape)}, expected int64 (T, B)")
        x = self.embed(tokens)  # (T, B, units)
        zeros = torch.zeros_like(x[0])
        after: list[State] = []
        for cell, (h, c) in zip(self.cells, state or [(zeros, zeros)] * len(self.cells), strict=True):
            outputs = []
            x = self.drop(x, "input")
            mask = {"mask": self.drop(torch.ones_like(x[:1]), "hidden")[0]} if self.masked and self.training else {}
            for x_t in x.unbind():
                h, c = cell(x_t, (h, c), *more, **mask)
                outputs.append(h)
            x = torch.stack(outputs)  # (T, B, units)
            after.append((h, c))
        return x, after

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (T, B) -> (T, B, units)."""
        x = self.embedding(tokens)
        if not isinstance(self.dropout, Dropouts) or not self.training:
            return x
        words = F.dropout(x.new_ones(self.embedding.num_embeddings), self.dropout.words)  # (vocabulary,)
        return self.drop(x * words[tokens][..., None], "embedding")

    def drop(self, x: Tensor, place: str) -> Tensor:
        """x (T, B, units) after the dropout of that place."""
        if not isinstance(self.dropout, Dropouts):
            return F.dropout(x, self.dropout, self.training)
        return x * F.dropout(torch.ones_like(x[0]), getattr(self.dropout, place), self.training)

    def decode(self, outputs: Tensor) -> Tensor:
        """What the last layer puts out (T, B, units) -> logits (T, B, vocabulary)."""
        return self.decoder(self.drop(outputs, "output"))


@torch.no_grad()
def start_within(spread: float, model: nn.Module) -> None:
    """Draws the weights anew, uniform in +-spread, from torch's global generator; vectors, the biases, become 0.

    The DARTS authors' recurrent networks start within 0.04. Raises `ValueError` for a spread that is not above 0.
    """
    checks.positive(spread=spread)
    for p in model.parameters():
        nn.init.uniform_(p, -spread, spread) if p.ndim > 1 else nn.init.zeros_(p)
