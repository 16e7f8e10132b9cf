"""Mixed ops, mixed cells and the layers before a cell: the parts of a network whose architecture is an argument.

Such a network takes mixing weights. An op runs if its weight is not 0, or if its weight requires a gradient, which
depends on the op's output. So only the chosen ops run at a corner, and all ops run inside the polytope.

Sources: Pham et al. 2018, section 2 (shared weights, loose ends, highway); Liu et al. 2019, section 2 (mixed ops).
"""

from collections.abc import Sequence
from itertools import islice
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab.ops import ACTIVATIONS, CONV_OPS, every_second, highway
from naslab.spaces import NONE, CellSpace, Weights, check_tables

Weight = float | Tensor  # a Tensor () if it requires a gradient
Terms = list[tuple[int, Weight]]  # the options of a row that run: index, weight
Parts = list[tuple[int, Weight, Tensor]]  # maps to concatenate: index of the block, weight, map (B, C, H, W)
Matrices = Literal["source", "op", "node"]


def active(table: Tensor) -> list[Terms]:
    """Returns the terms of every row of a table (rows, options).

    All options of a row run if the table requires a gradient; otherwise those whose weight is not 0.
    """
    if table.requires_grad:
        return [list(enumerate(row.unbind())) for row in table.unbind()]
    return [[(k, w) for k, w in enumerate(row) if w != 0] for row in table.tolist()]


def cell_rows(space: CellSpace, weights: Weights) -> dict[str, list[Terms]]:
    """Returns for each cell the terms of every edge. Raises `ValueError` if the tables do not fit the space."""
    check_tables(space, weights)
    rows = {cell: active(table) for cell, table in weights.items()}
    for cell, edges in rows.items():
        reached = {target for (_, target), terms in zip(space.edges, edges, strict=True) if terms}
        if unreached := sorted({*range(space.inputs, space.inputs + space.nodes)} - reached):
            raise ValueError(f"weights: {cell} is 0 on all edges to state {unreached[0]}, expected a weight above 0")
    return rows


def scaled(weight: Weight, x: Tensor) -> Tensor:
    return x if isinstance(weight, float) and weight == 1 else weight * x


def leaving(space: CellSpace, rows: Sequence[Terms]) -> list[tuple[int, Weight]]:
    """Returns the nodes, counted from 0, that leave a cell, each with its weight.

    At a corner the weight is 1, and the nodes are those of `CellSpace.leaving`. Inside the polytope a loose end k has
    the weight prod_e max(0, 1 - w_e) over the edges e from node k, where w_e is the sum of the edge's weights without
    "none". If w_e is the probability that edge e exists, independently of the others, this product is the probability
    that no node reads k.
    """
    weights: list[Weight] = [1.0] * space.nodes
    if space.output == "loose":
        for (source, _), terms in zip(space.edges, rows, strict=True):
            carried: Weight = sum((w for k, w in terms if space.ops[k] != NONE), start=0.0)
            if source >= space.inputs and not (isinstance(carried, float) and carried == 0):
                unread = 1 - carried.clamp(max=1) if isinstance(carried, Tensor) else 1 - min(carried, 1.0)
                weights[source - space.inputs] = weights[source - space.inputs] * unread
    kept = range(space.nodes - 1 if space.output == "last" else 0, space.nodes)
    return [(k, w) for k in kept if isinstance(w := weights[k], Tensor) or w != 0]


def without_running_statistics(module: nn.Module) -> nn.Module:
    """Makes the module's batch norms use the batch's statistics only: a moving average would mix architectures."""
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._NormBase):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return module


class MixedOp(nn.Module):
    """The weighted sum of all ops on one edge: (B, C, H, W) -> (B, C, H', W') (Liu et al. 2019, eq. 2).

    Takes the weights as given; the caller computes the softmax. With `pool_norm` a batch norm without affine parameters
    follows each pool, as in DARTS' search.
    """

    def __init__(self, names: Sequence[str], channels: int, stride: int, affine: bool, pool_norm: bool = False) -> None:
        super().__init__()
        self.ops = nn.ModuleDict({name: CONV_OPS[name](channels, stride, affine) for name in names})
        if pool_norm:
            for name in names:
                if "pool" in name:
                    self.ops[name] = nn.Sequential(self.ops[name], nn.BatchNorm2d(channels, affine=False))
        self.names, self.stride = tuple(names), stride

    def forward(self, x: Tensor, terms: Terms) -> Tensor:
        outputs = [scaled(weight, self.ops[self.names[k]](x)) for k, weight in terms]
        return sum(outputs[1:], start=outputs[0])


class BlockConv(nn.Module):
    """A 1x1 convolution of maps concatenated along channels.

    It has a block of weights for each possible map. Only the given maps and their
    blocks are used; the other blocks get no gradient. The mixing weight of a map
    multiplies its block, which is smaller than the map.
    """

    def __init__(self, blocks: int, c_in: int, c_out: int, bias: bool = False) -> None:
        super().__init__()
        whole = nn.Conv2d(blocks * c_in, c_out, 1, bias=bias)  # initialises the weights
        self.blocks = nn.ParameterList(
            block.clone()
            for block in whole.weight.detach().split(
                c_in,
                dim=1,
            )
        )
        self.bias = whole.bias

    def weight(self, parts: Sequence[tuple[int, Weight]]) -> Tensor:
        """(C_out, parts * C_in, 1, 1)"""
        return torch.cat([scaled(weight, self.blocks[k]) for k, weight in parts], dim=1)

    def forward(self, x: Tensor, parts: Sequence[tuple[int, Weight]]) -> Tensor:
        return F.conv2d(x, self.weight(parts), self.bias)


def joined(parts: Parts) -> tuple[Tensor, list[tuple[int, Weight]]]:
    """Returns the maps concatenated, (B, parts * C, H, W), and the (index, weight) pairs that `BlockConv` takes."""
    maps = [x for _, _, x in parts]
    return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1), [(k, w) for k, w, _ in parts]


class Projection(nn.Module):
    """`ops.ReLUConvBN` with a 1x1 filter whose input is the given parts -> (B, C_out, H, W)."""

    def __init__(self, blocks: int, c_in: int, c_out: int, affine: bool = True) -> None:
        super().__init__()
        self.conv = BlockConv(blocks, c_in, c_out)
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, parts: Parts) -> Tensor:
        x, kept = joined(parts)
        return self.norm(self.conv(F.relu(x), kept))


class ProjectedReduction(nn.Module):
    """`ops.FactorizedReduction` whose input is the given parts -> (B, C_out, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, blocks: int, c_in: int, c_out: int, affine: bool = True) -> None:
        super().__init__()
        self.straight = BlockConv(blocks, c_in, c_out // 2)
        self.shifted = BlockConv(blocks, c_in, c_out - c_out // 2)
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, parts: Parts) -> Tensor:
        x, kept = joined(parts)
        x = F.relu(x)
        halves = [self.straight(every_second(x, 0), kept), self.shifted(every_second(x, 1), kept)]
        return self.norm(torch.cat(halves, dim=1))


class Alone(nn.Module):
    """Returns the map of a single part unchanged."""

    def forward(self, parts: Parts) -> Tensor:
        ((_, _, x),) = parts
        return x


class MixedCell(nn.Module):
    """A `Cell` with a mixed op on every edge. `preprocess` has one module, parts -> map, for each input."""

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        stride: int,
        preprocess: Sequence[nn.Module],
        affine: bool,
        pool_norm: bool,
    ) -> None:
        super().__init__()
        self.space, self.channels = space, channels
        self.preprocess = nn.ModuleList(preprocess)
        self.edges = nn.ModuleList(
            MixedOp(space.ops, channels, stride if source < space.inputs else 1, affine, pool_norm)
            for source, _ in space.edges
        )

    def forward(self, inputs: Sequence[Parts], rows: Sequence[Terms]) -> Parts:
        states = [module(parts) for module, parts in zip(self.preprocess, inputs, strict=True)]
        for (source, target), edge, terms in zip(self.space.edges, self.edges, rows, strict=True):
            if not terms:
                continue
            carried = edge(states[source], terms)
            if target == len(states):
                states.append(carried)
            else:
                states[target] = states[target] + carried
        return [(k, weight, states[self.space.inputs + k]) for k, weight in leaving(self.space, rows)]


class MixedRecurrentCell(nn.Module):
    """A `RecurrentCell` with every function on every edge. cell(x, (h, c), rows) -> (h, c), all (B, units).

    `matrices` says which edges share a matrix. A matrix maps a state (units) to gate and candidate (2 units).
    - "source": one matrix per node and source; state 0 is the pair (x_t, h_(t-1)) (Pham et al. 2018, Designing
      Recurrent Cells);
    - "op": one matrix per node and function; a tanh computes state 0;
    - "node": one matrix per node; a tanh computes state 0 (the DARTS authors' code).

    With `norm` a batch norm without affine parameters follows every node and a computed state 0, as in DARTS' search.
    `mask` (B, units) multiplies the states that the matrices read. It does not act on the highway connection.
    """

    def __init__(self, space: CellSpace, units: int, matrices: Matrices, norm: bool = False) -> None:
        super().__init__()
        self.space, self.matrices, self.norm = space, matrices, norm
        self.first = nn.Linear(2 * units, 2 * units, bias=False) if matrices != "source" else None
        self.weights = nn.ModuleDict()
        for source, target in space.edges:
            reads = 2 * units if self.first is None and source == 0 else units
            for op in space.ops:
                if op != NONE and (key := self.key(source, target, op)) not in self.weights:
                    self.weights[key] = nn.Linear(reads, 2 * units, bias=False)

    def key(self, source: int, target: int, op: str) -> str:
        """Returns the name of the matrix for this op on this edge."""
        return f"{target}" + {"source": f"_{source}", "op": f"_{op}", "node": ""}[self.matrices]

    def normalise(self, state: Tensor) -> Tensor:
        return F.batch_norm(state, None, None, training=True) if self.norm else state

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor], rows: Sequence[Terms], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        h, c = state
        pair = torch.cat([x, h if mask is None else h * mask], dim=-1)  # (B, 2 units)
        states = [h if self.first is None else self.normalise(highway(h, self.first(pair), torch.tanh))]
        of_edges = zip(self.space.edges, rows, strict=True)
        for node in range(1, 1 + self.space.nodes):
            carried: list[Tensor] = []
            for (source, target), terms in islice(of_edges, node):
                s = states[source]
                reads = pair if self.first is None and source == 0 else s if mask is None else s * mask
                read: dict[str, Tensor] = {}
                for k, weight in terms:
                    op = self.space.ops[k]
                    if op == NONE:
                        continue
                    if (key := self.key(source, target, op)) not in read:
                        read[key] = self.weights[key](reads)  # (B, 2 units)
                    carried.append(scaled(weight, highway(s, read[key], ACTIVATIONS[op])))
            states.append(self.normalise(sum(carried, start=torch.zeros_like(h))))
        ends = leaving(self.space, rows)
        total = sum((w for _, w in ends), start=0.0)
        return sum((scaled(w, states[1 + k]) for k, w in ends), start=torch.zeros_like(h)) / total, c
