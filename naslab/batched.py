"""A mixed cell evaluated state by state: what `mixed_op.MixedCell` computes, faster where every op runs.

All edges that leave a state do the same to it, each with its own weights. So they share one ReLU, one max pool, one
average pool and their normalisation, and convolve together, side by side in depth. The mixing weight of a convolution
enters as the scale of its last batch norm, whose backward pass then yields the gradient of alpha; what is the same on
all edges is mixed by one matrix product. "none" is left out.

What PyTorch is slow at on CPUs is rewritten: the gradients of dilated and of wide filters, the average pool, and 1x1
convolutions in groups of few channels. Gradients stay in channels-last memory: no slices, no sums in place of views.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from naslab.mixed_op import MixedCell, MixedRecurrentCell, Parts
from naslab.ops import ACTIVATIONS, every_second, highway
from naslab.spaces import NONE, CellSpace


class Depthwise(torch.autograd.Function):
    """A convolution within each channel, padded: x (B, C, H, W), w (C, 1, k, k) -> (B, C, H', W'), ceil(H / stride)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.stride, ctx.dilation = stride, dilation
        return F.conv2d(x, w, None, stride, w.shape[-1] // 2 * dilation, dilation, len(w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, w = ctx.saved_tensors
        stride, dilation = ctx.stride, ctx.dilation
        g_x = g_w = None
        if ctx.needs_input_grad[0]:
            if stride == 1:
                g_x = F.conv2d(g, w.flip(-1, -2), None, 1, w.shape[-1] // 2 * dilation, dilation, len(w))
            else:
                reach = [w.shape[-1] // 2] * 2
                g_x = convolution_backward(g, x, w, None, [stride] * 2, reach, [1, 1], False, [0, 0], len(w), MAP)[0]
        if ctx.needs_input_grad[1]:
            if dilation == 2:
                x, g = phases(x), phases(g)
            g_w = filter_gradient(g, x, w.shape[-1], stride)
        return g_x, g_w, None, None


def depthwise(x: Tensor, w: Tensor, stride: int, dilation: int) -> Tensor:
    """`Depthwise`; where no gradient of an undilated filter is asked for, PyTorch's own is as fast."""
    if w.requires_grad or dilation > 1:
        return Depthwise.apply(x, w, stride, dilation)
    return F.conv2d(x, w, None, stride, w.shape[-1] // 2, groups=len(w))


convolution_backward = torch.ops.aten.convolution_backward
MAP, FILTER = [True, False, False], [False, True, False]  # which gradient it computes


def filter_gradient(g: Tensor, x: Tensor, k: int, stride: int) -> Tensor:
    """The gradient (C, 1, k, k) of a depthwise filter, put together from parts of at most 3 columns, which are fast."""
    c, half = x.shape[1], k // 2

    def part(x: Tensor, columns: int, *padding: int) -> Tensor:
        like = x.new_empty(c, 1, k, columns)
        rest = (None, [stride] * 2, padding, [1, 1], False, [0, 0], c, FILTER)
        return convolution_backward(g, x, like, *rest)[1]

    if k <= 3:
        return part(x, k, half, half)
    width = (g.shape[-1] - 1) * stride  # of what one column reads
    right = max(width + k - half - x.shape[-1], 0)
    rows = half if x.shape[-2] < k else 0  # of a map that is smaller than the filter, padding in the kernel is slow
    x = F.pad(x, (half, right, rows, rows))
    starts = range(0, k, 3)
    return torch.cat([part(x[..., i : width + min(i + 3, k)], min(3, k - i), half - rows, 0) for i in starts], dim=-1)


def phases(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (4 B, C, ceil(H / 2), ceil(W / 2)): the images that every second pixel makes, padded."""
    x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c)
    return x.permute(2, 4, 0, 1, 3, 5).reshape(4 * b, h // 2, w // 2, c).permute(0, 3, 1, 2)


def normalised(x: Tensor, scale: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, scale, training=True)


class BatchedCell(MixedCell):
    """A `MixedCell` that takes its table (edges, ops) instead of rows; every state leaves that may."""

    def forward(self, inputs: Sequence[Parts], table: Tensor) -> Parts:  # type: ignore[override]
        space = self.space
        states = [module(parts) for module, parts in zip(self.preprocess, inputs, strict=True)]
        end = space.inputs + space.nodes
        coming: dict[int, Tensor] = {}  # what has reached a node so far
        for source in range(end - 1):
            if source >= space.inputs:
                states.append(coming[source])
            targets = range(max(source + 1, space.inputs), end)
            edges = [space.edges.index((source, target)) for target in targets]
            for target, part in zip(targets, leave(self, states[source], edges, table), strict=True):
                coming[target] = coming[target] + part if target in coming else part
        states.append(coming[end - 1])
        kept = range(space.nodes - 1 if space.output == "last" else 0, space.nodes)
        return [(k, 1.0, states[space.inputs + k]) for k in kept]


def leave(cell: BatchedCell, x: Tensor, edges: list[int], table: Tensor) -> list[Tensor]:
    """What a state x (B, C, H, W) sends along each of its edges, (B, C, H', W')."""
    of_edges: list[Any] = [cell.edges[e] for e in edges]
    n, c, stride = len(edges), x.shape[1], of_edges[0].stride
    weights = table.t()[:, edges]  # (ops, edges)
    scales = weights.repeat_interleave(c, dim=1).unbind()  # each (edges * C,)

    def filters(name: str, *path: int) -> Tensor:
        """Of one convolution on every edge, as one convolution's."""
        modules = [op.ops[name] for op in of_edges]
        for step in path:
            modules = [module[step] for module in modules]
        return torch.cat([module.weight for module in modules])

    def separated(y: Tensor, name: str, *path: int, stride: int = 1, dilation: int = 1, scale: Any = None) -> Tensor:
        """Depthwise convolution, 1x1 convolution, batch norm."""
        y = depthwise(y, filters(name, *path, 1), stride, dilation)
        return normalised(pointwise(y, filters(name, *path, 2), n), scale)

    relu = F.relu(x)
    many = torch.cat([relu] * n, dim=1)  # (B, edges * C, H, W)
    apart = many  # what the dilated convolutions read: of a stride of 2 every second pixel
    if stride == 2:
        apart = torch.cat([every_second(relu, 0)] * n, dim=1)
    sent: list[Tensor] = []
    same: list[tuple[int, Tensor]] = []  # what has no weights: the same on all edges
    for k, name in enumerate(cell.space.ops):
        scale = scales[k]
        if name == NONE:
            continue
        if name.startswith("sep_conv"):
            y = separated(many, name, 0, stride=stride)
            sent.append(separated(y.relu_(), name, 1, scale=scale))
        elif name.startswith("dil_conv"):
            sent.append(separated(apart, name, dilation=3 - stride, scale=scale))
        elif name == "skip_connect" and stride == 2:
            maps = [op.ops[name](x) for op in of_edges]
            sent.append(torch.cat([v * m for v, m in zip(weights[k], maps, strict=True)], dim=1))
        else:
            module = of_edges[0].ops[name]
            if name == "avg_pool_3x3":
                y = averaged(x, stride)
                same.append((k, module[1:](y) if isinstance(module, nn.Sequential) else y))
            else:
                same.append((k, module(x)))
    for y in sent[1:]:
        sent[0].add_(y)  # nobody's gradient needs what was there
    parts = [*sent[0].split(c, dim=1)] if sent else []  # for each edge
    if same:
        y = torch.stack([y.permute(0, 2, 3, 1) for _, y in same])  # (ops, B, H', W', C)
        mixed = (weights[[k for k, _ in same]].t() @ y.flatten(1)).view(n, *y.shape[1:])
        blends = [m.permute(0, 3, 1, 2) for m in mixed]
        parts = [a + b for a, b in zip(parts, blends, strict=True)] if parts else blends
    return parts


def averaged(x: Tensor, stride: int) -> Tensor:
    """`ops.CONV_OPS["avg_pool_3x3"]`, as a convolution."""
    ones = x.new_ones(x.shape[1], 1, 3, 3)
    count = F.conv2d(torch.ones_like(x[:1, :1]), ones[:1], None, stride, 1)  # of the pixels inside the map
    return F.conv2d(x, ones, None, stride, 1, groups=x.shape[1]) / count


def pointwise(x: Tensor, w: Tensor, n: int) -> Tensor:
    """n 1x1 convolutions side by side, x (B, n * C, H, W), w (n * C, C, 1, 1): those of few channels in twos."""
    c = w.shape[1]
    together = 1 if c >= 8 else 2 if n % 2 == 0 else n
    if together > 1:
        eye = torch.eye(together, dtype=w.dtype, device=w.device)[:, None, :, None]
        w = (w.view(-1, together, c, 1, c) * eye).view(n * c, together * c, 1, 1)
    return F.conv2d(x, w, groups=n // together)


class BatchedRecurrentCell(MixedRecurrentCell):
    """A `MixedRecurrentCell` of one matrix for each node that takes `by_node(space, table)` instead of rows.

    All sources and functions of a node are one operation; every node leaves.
    """

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        state: tuple[Tensor, Tensor],
        nodes: Sequence[tuple[Tensor, Tensor]],
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        h, c = state
        assert self.first is not None
        pair = torch.cat([x, h if mask is None else h * mask], dim=-1)  # (B, 2 units)
        states = [self.normalise(highway(h, self.first(pair), torch.tanh))]
        functions = [ACTIVATIONS[op] for op in self.space.ops if op != NONE]
        for node, (weights, kept) in enumerate(nodes, start=1):
            sources = torch.stack(states)  # (node, B, units)
            reads = sources if mask is None else sources * mask
            gate, candidate = self.weights[f"{node}"](reads).chunk(2, dim=-1)
            outputs = torch.stack([f(candidate) for f in functions], dim=1)  # (node, functions, B, units)
            mixed = (weights @ outputs.flatten(2)).view_as(sources)
            states.append(self.normalise(torch.lerp(kept * sources, mixed, torch.sigmoid(gate)).sum(0)))
        return torch.stack(states[1:]).mean(0), c


def by_node(space: CellSpace, table: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each node the weights of its edges' functions (node, 1, functions), and what each edge keeps (node, 1, 1)."""
    weights = table[:, None, [k for k, op in enumerate(space.ops) if op != NONE]]  # (edges, 1, functions)
    kept = weights.sum(-1, keepdim=True)
    nodes = range(1, 1 + space.nodes)
    return [*zip(weights.split([*nodes]), kept.split([*nodes]), strict=True)]
