"""A mixed cell evaluated state by state: what `mixed_op.MixedCell` computes, faster where every op runs.

All edges that leave a state do the same to it, each with its own weights. So they share one ReLU, one max pool, one
average pool and their normalisation, and convolve together, side by side in depth. The mixing weight of a convolution
enters as the scale of its last batch norm, whose backward pass then yields the gradient of alpha. "none" is left out.

What CPUs are slow at is rewritten. A convolution of dilation 2 is an undilated one of each of the four images that
every second pixel makes; the weight gradient of a filter wider than 3 is put together from columns of 3.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from naslab.mixed_op import MixedCell, MixedRecurrentCell, Parts
from naslab.ops import ACTIVATIONS, highway
from naslab.spaces import NONE

WIDEST = 3  # the columns of a depthwise filter whose weight gradient is fast


class Depthwise(torch.autograd.Function):
    """A convolution within each channel, padded: x (B, C, H, W), w (C, 1, k, k) -> (B, C, H', W'), ceil(H / stride)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.stride = stride
        return F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2, groups=len(w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, w = ctx.saved_tensors
        stride, k = ctx.stride, w.shape[-1]
        backward = torch.ops.aten.convolution_backward
        rest = ([1, 1], False, [0, 0], len(w))
        g_x = g_w = None
        if ctx.needs_input_grad[0]:
            g_x, *_ = backward(g, x, w, None, [stride] * 2, [k // 2] * 2, *rest, [True, False, False])
        if ctx.needs_input_grad[1]:
            width = (g.shape[-1] - 1) * stride + WIDEST
            like = w.new_empty(len(w), 1, k, WIDEST)
            columns = []
            for first in range(0, k, WIDEST):
                left = k // 2 - first  # negative: columns that no tap of this part reads
                part = F.pad(x, (left, width - x.shape[-1] - left, k // 2, k // 2))
                columns.append(backward(g, part, like, None, [stride] * 2, [0, 0], *rest, [False, True, False])[1])
            g_w = torch.cat(columns, dim=-1)[..., :k]
        return g_x, g_w, None


def phases(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (4 B, C, H / 2, W / 2): the images that every second pixel makes; H and W are even."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c)
    return x.permute(2, 4, 0, 1, 3, 5).reshape(4 * b, h // 2, w // 2, c).permute(0, 3, 1, 2)


def unphased(x: Tensor) -> Tensor:
    """The inverse of `phases`."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(2, 2, b // 4, h, w, c)
    return x.permute(2, 3, 0, 4, 1, 5).reshape(b // 4, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def normalised(x: Tensor, scale: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, scale, training=True)


class BatchedCell(MixedCell):
    """A `MixedCell` that takes its table (edges, ops) instead of rows; every state leaves that may."""

    def forward(self, inputs: Sequence[Parts], table: Tensor) -> Parts:  # type: ignore[override]
        space, c = self.space, self.channels
        states = [module(parts) for module, parts in zip(self.preprocess, inputs, strict=True)]
        end = space.inputs + space.nodes
        coming: Tensor | None = None  # what the nodes that are not complete have got so far, (B, nodes * C, H, W)
        for source in range(end - 1):
            if coming is not None and source >= space.inputs:
                states.append(coming[:, :c])
                coming = coming[:, c:]
            edges = [space.edges.index((source, target)) for target in range(max(source + 1, space.inputs), end)]
            sent = leave(self, states[source], edges, table)
            coming = sent if coming is None else coming + sent
        assert coming is not None
        states.append(coming)
        kept = range(space.nodes - 1 if space.output == "last" else 0, space.nodes)
        return [(k, 1.0, states[space.inputs + k]) for k in kept]


def leave(cell: BatchedCell, x: Tensor, edges: list[int], table: Tensor) -> Tensor:
    """What a state x (B, C, H, W) sends along its edges, side by side in depth: (B, edges * C, H', W')."""
    mixed: list[Any] = [cell.edges[e] for e in edges]
    n, c, stride = len(edges), x.shape[1], mixed[0].stride

    def weights(name: str, *path: int) -> Tensor:
        """Of one convolution on every edge, as one convolution's."""
        modules = [op.ops[name] for op in mixed]
        for step in path:
            modules = [module[step] for module in modules]
        return torch.cat([module.weight for module in modules])

    def separated(y: Tensor, name: str, *path: int, stride: int = 1, scale: Tensor | None = None) -> Tensor:
        """Depthwise convolution, 1x1 convolution, batch norm."""
        filters = weights(name, *path, 1)
        if y is many and name.startswith("dil"):
            reach = filters.shape[-1] // 2 * 2
            y = F.conv2d(y, filters, padding=reach, dilation=2, groups=len(filters))
        else:
            y = Depthwise.apply(y, filters, stride)
        return normalised(F.conv2d(y, weights(name, *path, 2), groups=n), scale)

    even = x.shape[-1] % 2 == x.shape[-2] % 2 == 0
    relu = F.relu(x)
    many = torch.cat([relu] * n, dim=1)  # (B, edges * C, H, W)
    sent: list[Tensor] = []
    dilated: list[Tensor] = []
    apart = many  # what the dilated convolutions read: of a map of odd size the map itself
    if stride == 2:  # every second pixel is all that a dilation of 2 reads
        apart = torch.cat([relu[..., ::2, ::2]] * n, dim=1)
    elif even:
        apart = torch.cat([phases(relu)] * n, dim=1)
    for k, name in enumerate(cell.space.ops):
        w = table[edges, k]  # (edges,)
        scale = w.repeat_interleave(c)  # (edges * C,)
        if name == NONE:
            continue
        if name.startswith("sep_conv"):
            y = separated(many, name, 0, stride=stride)
            sent.append(separated(y.relu_(), name, 1, scale=scale))
        elif name.startswith("dil_conv"):
            dilated.append(separated(apart, name, scale=scale))
        elif name == "skip_connect" and stride == 2:
            maps = [op.ops[name](x) for op in mixed]
            sent.append(torch.cat([v * m for v, m in zip(w, maps, strict=True)], dim=1))
        else:
            y = mixed[0].ops[name](x)  # the same on all edges
            sent.append((w[:, None] * y.permute(0, 2, 3, 1)[..., None, :]).flatten(-2).permute(0, 3, 1, 2))
    if dilated:
        y = added(dilated)
        sent.append(unphased(y) if stride == 1 and even else y)
    return added(sent)


def added(maps: list[Tensor]) -> Tensor:
    """Their sum, in the memory of the first, which nobody's gradient needs."""
    for x in maps[1:]:
        maps[0].add_(x)
    return maps[0]


class BatchedRecurrentCell(MixedRecurrentCell):
    """A `MixedRecurrentCell` of one matrix for each node that takes its table (edges, ops) instead of rows.

    All sources and functions of a node are one operation; every node leaves.
    """

    def forward(  # type: ignore[override]
        self, x: Tensor, state: tuple[Tensor, Tensor], table: Tensor
    ) -> tuple[Tensor, Tensor]:
        h, c = state
        assert self.first is not None
        states = [self.normalise(highway(h, self.first(torch.cat([x, h], dim=-1)), torch.tanh))]
        functions = [(k, ACTIVATIONS[op]) for k, op in enumerate(self.space.ops) if op != NONE]
        row = 0
        for node in range(1, 1 + self.space.nodes):
            sources = torch.stack(states)  # (node, B, units)
            gate, candidate = self.weights[f"{node}"](sources).chunk(2, dim=-1)
            weights = table[row : row + node, :, None, None]  # (node, ops, 1, 1)
            row += node
            mixed = torch.stack([weights[:, k] * f(candidate) for k, f in functions]).sum(0)  # (node, B, units)
            kept = torch.stack([weights[:, k] for k, _ in functions]).sum(0) * sources
            states.append(self.normalise((kept + torch.sigmoid(gate) * (mixed - kept)).sum(0)))
        return torch.stack(states[1:]).mean(0), c
