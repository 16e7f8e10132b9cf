"""Supergraphs of convolutional networks: one network for a whole space, whose weights all architectures share.

`model(x, weights)` takes any mixing weights, from one-hot (`space.one_hot(tokens)`, an architecture) to uniform. The
network stores no architecture. At a corner only the chosen ops run. `model.child(tokens)` builds the network of one
architecture and copies the shared weights into it.

Batch norms use the statistics of the batch, also in evaluation mode: a moving average would mix architectures. So a new
child has no running statistics. In training mode it equals the supergraph. In evaluation mode it raises `ValueError`
until it is trained, or calibrated by `training.calibrate`.

Source: Pham et al. 2018, section 2. With weights inside the polytope these are the networks of Liu et al. 2019.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import checks
from naslab.networks.batched import BatchedCell
from naslab.networks.cells import BenchChild, CellChild, bench_reduction, bench_stem, skeleton
from naslab.networks.children import build, check_build
from naslab.networks.inherit import awaiting_statistics, copy, copy_edges
from naslab.networks.macro import MacroChild
from naslab.networks.mixed import (
    Alone,
    BlockConv,
    MixedCell,
    MixedOp,
    Parts,
    ProjectedReduction,
    Projection,
    active,
    cell_rows,
    joined,
    without_running_statistics,
)
from naslab.networks.parts import Stem, average
from naslab.ops import FactorizedReduction
from naslab.spaces import CellSpace, MacroSpace, Space, Weights, check_tables


class MacroNet(nn.Module):
    """The supergraph of a `MacroSpace`: each layer has every op and a skip connection from every earlier layer.

    Pham et al. 2018, Designing Convolutional Networks. At a corner it equals `MacroChild`. Inside the polytope the
    weight of a skip scales the projection's block for that skip. A layer outputs p out + (1 - p) projection, where out
    is the output of its op and p, the weight of "no skip at all", is the product of the weights of its zero bits.
    """

    def __init__(
        self, space: MacroSpace, channels: int, in_channels: int = 3, classes: int = 10, plain: bool = False
    ) -> None:
        super().__init__()
        self.space = space
        checks.flag(plain=plain)
        self.size = check_size(space, MacroChild, channels, in_channels, classes) | {"plain": plain}
        self.stem = Stem(in_channels, channels, kernel=1 if plain else 3)
        self.layers = nn.ModuleList(MixedOp(space.ops, channels, 1, affine=True) for _ in range(space.layers))
        projections = (Projection(1 + i, channels, channels) for i in range(1, space.layers))
        self.projections = nn.ModuleList([nn.Identity(), *projections])  # the first layer has no skips
        self.halves = sorted({space.layers // 3, 2 * space.layers // 3})
        self.reductions = nn.ModuleDict(
            {f"{i}_{j}": FactorizedReduction(channels, channels) for i in self.halves for j in range(min(i - 1, 0), i)}
        )
        self.classifier = nn.Linear(channels, classes)
        without_running_statistics(self)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` for tables of another space."""
        check_tables(self.space, weights)
        check_values(x, len(self.halves))
        ops, bits = active(weights["op"]), active(weights["skip"].flatten(0, 1))
        if [] in ops:
            raise ValueError(f"weights: op is 0 on all choices of layer {ops.index([])}, expected a weight above 0")
        n = self.space.layers
        skips = [[dict(terms) for terms in bits[i * n : i * n + i]] for i in range(n)]  # [i][j][1]: i also reads j
        outputs = {-1: self.stem(x)}  # each (B, channels, H, W)
        for i, (layer, project) in enumerate(zip(self.layers, self.projections, strict=True)):
            if i in self.halves:
                read = {i - 1} | {j for later in skips[i:] for j in range(i) if 1 in later[j]}
                outputs = {j: self.reductions[f"{i}_{j}"](outputs[j]) for j in sorted(read)}
            out = layer(outputs[i - 1], ops[i])
            chosen = [(1 + j, row[1], outputs[j]) for j, row in enumerate(skips[i]) if 1 in row]
            if chosen:
                alone = prod(row.get(0, 0.0) for row in skips[i])  # the weight of no skip at all
                mapped = project([(0, 1.0, out), *chosen])
                out = mapped if isinstance(alone, float) and alone == 0 else alone * out + (1 - alone) * mapped
            outputs[i] = out
        return self.classifier(average(outputs[n - 1]))

    def child(self, tokens: Iterable[int]) -> MacroChild:
        """Builds the architecture as a child with a copy of the shared weights. Equal in training mode."""
        tokens = self.space.check(tokens)
        child = build(self.space, tokens, **self.size).to(self.classifier.weight)
        assert isinstance(child, MacroChild)
        copy(self.stem, child.stem)
        copy(self.classifier, child.classifier)
        chosen = self.space.one_hot(tokens)["op"].argmax(-1).tolist()
        layer: Any
        for i, (layer, op) in enumerate(zip(self.layers, chosen, strict=True)):
            copy(layer.ops[self.space.ops[op]], child.ops[i])
            if child.skips[i]:
                copy(self.projections[i], child.projections[i], [0, *(1 + j for j in child.skips[i])])
        for key, reduction in child.reductions.items():
            copy(self.reductions[key], reduction)
        return awaiting_statistics(child)


class ConvNet(nn.Module):
    """The supergraph of normal and reduction cells, in the skeleton of `CellChild`: every op on every edge.

    `affine` gives the batch norms in cells affine parameters. `pool_norm` adds a batch norm after each pool. ENAS uses
    (True, False); DARTS' search uses (False, True), which `ConvNet.darts` builds. The states that leave a cell are
    concatenated, and the next layer has a block of weights for each of them. Every (edge, op) has one set of weights;
    the ENAS authors' code has two, one for each pair of a node.

    `fast`, for DARTS' search, computes the same with `batched` but runs every op, chosen or not. It is fastest with
    model and images in `torch.channels_last` memory.
    """

    @classmethod
    def darts(
        cls, space: CellSpace, channels: int = 16, cells: int = 8, in_channels: int = 3, classes: int = 10
    ) -> "ConvNet":
        """Builds the network of DARTS' search with `fast` (Liu et al. 2019, section 3.1.1)."""
        net = cls(space, channels, cells, in_channels, classes, affine=False, pool_norm=True, fast=True)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        cells: int,
        in_channels: int = 3,
        classes: int = 10,
        affine: bool = True,
        pool_norm: bool = False,
        fast: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        self.size = check_size(space, CellChild, channels, in_channels, classes, cells)
        if fast and (affine or space.output == "loose"):
            raise ValueError(
                f"fast: got True with affine {affine}, output {space.output!r}; "
                "expected affine False and an output other than 'loose'"
            )
        self.fast = fast
        self.stem = Stem(in_channels, 3 * channels)
        self.cells = nn.ModuleList()
        self.kinds: list[str] = []
        older = newer = (1, 3 * channels)  # the last two outputs: number of parts, channels per part
        for kind, c, reduced in skeleton(cells, channels):
            older_to_c = (ProjectedReduction if reduced else Projection)(*older, c, affine)
            preprocess = (older_to_c, Projection(*newer, c, affine))
            stride = 2 if kind == "reduce" else 1
            self.cells.append((BatchedCell if fast else MixedCell)(space, c, stride, preprocess, affine, pool_norm))
            self.kinds.append(kind)
            older, newer = newer, (space.nodes, c)
        self.classifier = BlockConv(*newer, classes, bias=True)  # reads averaged maps: a linear layer
        without_running_statistics(self)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` for tables of another space."""
        rows = cell_rows(self.space, weights)
        check_values(x, self.kinds.count("reduce"))
        older: Parts = [(0, 1.0, self.stem(x))]
        newer = older
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            older, newer = newer, cell((older, newer), weights[kind] if self.fast else rows[kind])
        return classified(self.classifier, newer)

    def child(self, tokens: Iterable[int]) -> CellChild:
        """Builds the architecture as a child with a copy of the shared weights.

        In training mode it computes the same, except that a child has no `pool_norm`. In evaluation mode it raises
        `ValueError` until it has statistics: see the module. A pair that a node takes twice becomes two ops with
        separate weights.
        """
        tokens = self.space.check(tokens)
        child = build(self.space, tokens, **self.size).to(self.classifier.bias)
        assert isinstance(child, CellChild)
        copy(self.stem, child.stem)
        older = newer = [0]  # the last two outputs: which parts the child has
        mixed: Any
        cell: Any
        for mixed, cell in zip(self.cells, child.cells, strict=True):
            copy(mixed.preprocess[0], cell.preprocess[0], older)
            copy(mixed.preprocess[1], cell.preprocess[1], newer)
            copy_edges(self.space, mixed, cell)
            older, newer = newer, [state - self.space.inputs for state in cell.leaving]
        copy(self.classifier, child.classifier, newer)
        return awaiting_statistics(child)


class BenchNet(nn.Module):
    """The supergraph of NAS-Bench-201, in the skeleton of `BenchChild`. Other arguments as for `ConvNet`."""

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        cells: int,
        in_channels: int = 3,
        classes: int = 10,
        affine: bool = True,
        pool_norm: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        checks.flag(plain=plain)
        self.size = check_size(space, BenchChild, channels, in_channels, classes, cells) | {"plain": plain}
        self.stem = bench_stem(in_channels, channels, plain)
        self.blocks = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.blocks.append(bench_reduction(channels, plain))
                channels *= 2
            self.blocks.extend(MixedCell(space, channels, 1, (Alone(),), affine, pool_norm) for _ in range(cells))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)
        without_running_statistics(self)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W). Raises `ValueError` for tables of another space."""
        (rows,) = cell_rows(self.space, weights).values()
        check_values(x, 2)
        x = self.stem(x)
        for block in self.blocks:
            if isinstance(block, MixedCell):
                ((_, _, x),) = block(([(0, 1.0, x)],), rows)
            else:
                x = block(x)
        return self.classifier(average(F.relu(self.norm(x))))

    def child(self, tokens: Iterable[int]) -> BenchChild:
        """Builds the architecture as a child with a copy of the shared weights, as `ConvNet.child` does."""
        child = build(self.space, self.space.check(tokens), **self.size).to(self.classifier.weight)
        assert isinstance(child, BenchChild)
        for name in ("stem", "norm", "classifier"):
            copy(getattr(self, name), getattr(child, name))
        for mixed, block in zip(self.blocks, child.blocks, strict=True):
            if isinstance(mixed, MixedCell):
                copy_edges(self.space, mixed, block)
            else:
                copy(mixed, block)
        return awaiting_statistics(child)


def classified(classifier: BlockConv, parts: Parts) -> Tensor:
    """Returns logits (B, classes) of the averages of parts (B, C, H, W)."""
    x, kept = joined(parts)
    return classifier(F.avg_pool2d(x, x.shape[-2:]), kept).flatten(1)


def check_size(
    space: Space, kind: type, channels: int, in_channels: int, classes: int, cells: int | None = None
) -> dict[str, Any]:
    """Returns the keyword arguments of `build`. Raises its `ValueError`, or one if the children are not a `kind`."""
    size: dict[str, Any] = {"channels": channels, "cells": cells, "in_channels": in_channels, "classes": classes}
    if kind is not MacroChild:
        checks.whole(1, cells=cells)
    if check_build(space, channels, cells, in_channels, classes) is not kind:
        raise ValueError(f"space: got {space!r}, expected one whose architectures are a {kind.__name__}")
    return size


def check_values(x: Tensor, reductions: int) -> None:
    """Raises `ValueError` if the smallest maps of the batch have one value per channel: batch norm would make it 0."""
    b, _, h, w = x.shape
    if b * -(-h // 2**reductions) * -(-w // 2**reductions) == 1:
        raise ValueError(
            f"x: got 1 image of {h}x{w}, which {reductions} reductions leave as 1 pixel; expected more images or "
            f"larger ones: batch norms take their statistics from the batch"
        )
