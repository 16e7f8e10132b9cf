"""Computes mixed cells state by state: the same results as the cells in `mixed`, but faster when every op runs.

All edges that leave a state read the same map, each with its own weights. They share one ReLU and one result per pool.
All their separable convolutions become one convolution with many groups. The mixing weight of a convolution is the
scale of its last batch norm, whose backward pass computes the gradient of alpha. One matrix product mixes pools and
identities for all edges. The op "none" is skipped. Any other op, such as one of your own, runs edge by edge.

PyTorch computes three operations slowly on CPUs. This module replaces them: the gradients of dilated and of wide
filters, average pools, and grouped 1x1 convolutions of fewer than 8 channels. Gradients stay in channels-last memory.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from naslab import runs
from naslab.networks.mixed import MixedCell, MixedRecurrentCell, Parts
from naslab.ops import ACTIVATIONS, DepthwiseBN, Zero, every_second, highway, identity
from naslab.spaces import NONE, CellSpace


class Depthwise(torch.autograd.Function):
    """A padded depthwise convolution: x (B, C, H, W), w (C, 1, k, k) -> (B, C, H', W'), where H' = ceil(H / stride).

    k is odd, and stride or dilation is 1.
    """

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
            if dilation > 1:
                x, g = phases(x, dilation), phases(g, dilation)
            g_w = filter_gradient(g, x, w.shape[-1], stride)
        return g_x, g_w, None, None


def depthwise(x: Tensor, w: Tensor, stride: int, dilation: int) -> Tensor:
    """Calls `Depthwise`, or PyTorch's convolution where it is as fast: no dilation and no gradient of the filter."""
    if w.requires_grad or dilation > 1:
        return Depthwise.apply(x, w, stride, dilation)
    return F.conv2d(x, w, None, stride, w.shape[-1] // 2, groups=len(w))


convolution_backward = torch.ops.aten.convolution_backward
MAP, FILTER = [True, False, False], [False, True, False]  # which gradient `convolution_backward` computes


def filter_gradient(g: Tensor, x: Tensor, k: int, stride: int) -> Tensor:
    """Returns the gradient (C, 1, k, k) of a depthwise filter. Computes at most 3 columns at a time, which is fast."""
    c, half = x.shape[1], k // 2

    def part(x: Tensor, columns: int, *padding: int) -> Tensor:
        like = x.new_empty(c, 1, k, columns)
        rest = (None, [stride] * 2, padding, [1, 1], False, [0, 0], c, FILTER)
        return convolution_backward(g, x, like, *rest)[1]

    if k <= 3:
        return part(x, k, half, half)
    width = (g.shape[-1] - 1) * stride  # of the pixels that one column of the filter reads
    right = max(width + k - half - x.shape[-1], 0)
    rows = half if x.shape[-2] < k else 0  # PyTorch's own padding is slow if the map is smaller than the filter
    x = F.pad(x, (half, right, rows, rows))
    starts = range(0, k, 3)
    return torch.cat([part(x[..., i : width + min(i + 3, k)], min(3, k - i), half - rows, 0) for i in starts], dim=-1)


def phases(x: Tensor, n: int) -> Tensor:
    """Splits maps, zero-padded, into maps of every n-th pixel: -> (n * n * B, C, ceil(H / n), ceil(W / n))."""
    x = F.pad(x, (0, -x.shape[-1] % n, 0, -x.shape[-2] % n))
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // n, n, w // n, n, c)
    return x.permute(2, 4, 0, 1, 3, 5).reshape(n * n * b, h // n, w // n, c).permute(0, 3, 1, 2)


def normalised(x: Tensor, scale: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, scale, training=True)


# One op on all edges that leave a state: how it is computed
Plan = Literal[
    "nothing",  # the op "none": it is skipped
    "once",  # an op without parameters (pool, identity): it runs once, and all edges use its output
    "together",  # a `DepthwiseBN` or a sequence of them: one convolution with many groups runs all edges
    "alone",  # any other op: each edge runs its own module
]
KNOWN = (nn.Sequential, nn.Identity, nn.ReLU, nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, DepthwiseBN, Zero)


def settings(module: nn.Module) -> Any:
    """Describes a module without the values of its weights. Modules with equal settings compute the same function.

    Returns a new object, equal to no other, if the type of the module is not in `KNOWN`.
    """
    if type(module) not in KNOWN:
        return object()
    numbers = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    shapes = {name: p.shape for name, p in module.named_parameters(recurse=False)}
    hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
    return type(module), numbers, shapes, hooks, [*map(settings, module.children())]


def planned(name: str, modules: Sequence[nn.Module]) -> Plan:
    """Returns the plan for the op `name`. `modules` has the op's module on each edge."""
    first = modules[0]
    if any(settings(module) != settings(first) for module in modules):
        return "alone"
    if name == NONE and type(first) is Zero:
        return "nothing"
    if not any(True for _ in first.parameters()):
        return "once"
    return "together" if all(map(is_separable, stages(first))) else "alone"


def stages(op: nn.Module) -> list[Any]:
    return [*op] if type(op) is nn.Sequential else [op]


def is_separable(stage: Any) -> bool:
    """Returns whether `together` can compute the stage: an unmodified `DepthwiseBN` without affine parameters."""
    if type(stage) is not DepthwiseBN or not isinstance(conv := stage[1], nn.Conv2d):
        return False
    kernel, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
    with runs.seeded(0):  # do not draw these weights from the network's random numbers
        plain = DepthwiseBN(conv.in_channels, kernel, stride, dilation, affine=False)
    fits = kernel % 2 == 1 and (stride == 1 or (stride == 2 and (dilation == 1 or dilation % 2 == 0)))
    return fits and settings(stage) == settings(plain)


class BatchedCell(MixedCell):
    """A `MixedCell` whose `forward` takes the table (edges, ops) instead of rows. `output` is "all" or "last".

    The plans are made when the cell is built. Weights may change later; modules must not.
    """

    def __init__(self, space: CellSpace, *rest: Any) -> None:
        super().__init__(space, *rest)
        self.plans: list[list[Plan]] = []  # per source state, per op
        for state in range(space.inputs + space.nodes - 1):
            leaving: list[Any] = [edge for (s, _), edge in zip(space.edges, self.edges, strict=True) if s == state]
            self.plans.append([planned(name, [edge.ops[name] for edge in leaving]) for name in space.ops])

    def forward(self, inputs: Sequence[Parts], table: Tensor) -> Parts:  # type: ignore[override]
        space = self.space
        states = [module(parts) for module, parts in zip(self.preprocess, inputs, strict=True)]
        end = space.inputs + space.nodes
        coming: dict[int, Tensor] = {}  # per node, the sum of the edges computed so far
        for source, plans in enumerate(self.plans):
            if source >= space.inputs:
                states.append(coming[source])
            targets = range(max(source + 1, space.inputs), end)
            edges = [space.edges.index((source, target)) for target in targets]
            of_edges = [self.edges[e] for e in edges]
            for target, part in zip(targets, leave(states[source], of_edges, table[edges].t(), plans), strict=True):
                coming[target] = coming[target] + part if target in coming else part
        states.append(coming[end - 1])
        kept = range(space.nodes - 1 if space.output == "last" else 0, space.nodes)
        return [(k, 1.0, states[space.inputs + k]) for k in kept]


def leave(x: Tensor, edges: Sequence[Any], weights: Tensor, plans: Sequence[Plan]) -> list[Tensor]:
    """Returns the output (B, C, H', W') of each edge that leaves the state x (B, C, H, W). `weights`: (ops, edges)."""
    n, c = len(edges), x.shape[1]
    scales = weights.repeat_interleave(c, dim=1).unbind()  # each (edges * C,)
    relu = F.relu(x)

    @cache
    def read(halved: bool) -> Tensor:
        """Returns the input of the first convolutions of all edges, (B, edges * C, H, W)."""
        return torch.cat([every_second(relu, 0) if halved else relu] * n, dim=1)

    def together(modules: list[nn.Module], scale: Tensor) -> Tensor:
        """Computes one separable convolution on all edges. Each is a `DepthwiseBN` or a sequence of them."""
        *_, last = every_stage = [*zip(*map(stages, modules), strict=True)]
        y = None
        for of_edges in every_stage:
            stride, dilation = of_edges[0][1].stride[0], of_edges[0][1].dilation[0]
            if halved := stride == 2 and dilation > 1:  # it reads only every second pixel
                stride, dilation = 1, dilation // 2
            y = read(halved) if y is None else every_second(y.relu_(), 0) if halved else y.relu_()
            y = depthwise(y, torch.cat([stage[1].weight for stage in of_edges]), stride, dilation)
            y = pointwise(y, torch.cat([stage[2].weight for stage in of_edges]), n)
            y = normalised(y, scale if of_edges is last else None)
        assert y is not None
        return y

    sent = None  # sum of the outputs with the plan "together"
    once: list[tuple[int, Tensor]] = []
    parts: list[list[Tensor]] = [[] for _ in edges]  # terms of the sum on each edge
    for k, (name, plan) in enumerate(zip(edges[0].names, plans, strict=True)):
        modules = [edge.ops[name] for edge in edges]
        if plan == "together":
            y = together(modules, scales[k])
            sent = y if sent is None else sent.add_(y)  # in place: no gradient needs the old value
        elif plan == "once":
            once.append((k, pooled(modules[0], x)))
        elif plan == "alone":
            for part, weight, module in zip(parts, weights[k], modules, strict=True):
                part.append(weight * module(x))
    if once:
        y = torch.stack([y.permute(0, 2, 3, 1) for _, y in once])  # (ops, B, H', W', C)
        mixed = (weights[[k for k, _ in once]].t() @ y.flatten(1)).view(n, *y.shape[1:])
        for part, blend in zip(parts, mixed, strict=True):
            part.insert(0, blend.permute(0, 3, 1, 2))
    if sent is not None:
        for part, y in zip(parts, sent.split(c, dim=1), strict=True):
            part.insert(0, y)
    return [sum(rest, start=first) for first, *rest in parts]


def pooled(op: nn.Module, x: Tensor) -> Tensor:
    """Computes a pool, an identity or a sequence of them. Average pools run as convolutions, which are faster."""
    for module in stages(op):
        counts = isinstance(module, nn.AvgPool2d) and not (module.count_include_pad or module.ceil_mode)
        x = averaged(x, module) if counts and module.divisor_override is None else module(x)
    return x


def averaged(x: Tensor, pool: nn.AvgPool2d) -> Tensor:
    """Computes an average pool that does not count the padding, as a convolution."""
    kernel = (pool.kernel_size,) * 2 if isinstance(pool.kernel_size, int) else pool.kernel_size
    ones = x.new_ones(x.shape[1], 1, *kernel)
    inside = F.conv2d(torch.ones_like(x[:1, :1]), ones[:1], None, pool.stride, pool.padding)  # pixels of the map
    return F.conv2d(x, ones, None, pool.stride, pool.padding, groups=x.shape[1]) / inside


def pointwise(x: Tensor, w: Tensor, n: int) -> Tensor:
    """Computes n 1x1 convolutions as n groups: x (B, n * C, H, W), w (n * C, C, 1, 1). Merges small groups: faster."""
    c = w.shape[1]
    together = 1 if c >= 8 else 2 if n % 2 == 0 else n
    if together > 1:
        eye = torch.eye(together, dtype=w.dtype, device=w.device)[:, None, :, None]
        w = (w.view(-1, together, c, 1, c) * eye).view(n * c, together * c, 1, 1)
    return F.conv2d(x, w, groups=n // together)


ELEMENTWISE = (identity, torch.tanh, torch.relu, torch.sigmoid, torch.sin)


class BatchedRecurrentCell(MixedRecurrentCell):
    """A `MixedRecurrentCell` with one matrix per node. Its `forward` takes `by_node(space, table)` instead of rows.

    One operation computes all sources and functions of a node. All nodes leave the cell.
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

        def each(f: Callable[[Tensor], Tensor], candidates: Tensor) -> Tensor:
            """Applies f to every candidate (B, units): in one call if f is known to be elementwise, else one by one."""
            return f(candidates) if f in ELEMENTWISE else torch.stack([*map(f, candidates)])

        for node, (weights, kept) in enumerate(nodes, start=1):
            sources = torch.stack(states)  # (node, B, units)
            reads = sources if mask is None else sources * mask
            gate, candidate = self.weights[f"{node}"](reads).chunk(2, dim=-1)
            outputs = torch.stack([each(f, candidate) for f in functions], dim=1)  # (node, functions, B, units)
            mixed = (weights @ outputs.flatten(2)).view_as(sources)
            states.append(self.normalise(torch.lerp(kept * sources, mixed, torch.sigmoid(gate)).sum(0)))
        return torch.stack(states[1:]).mean(0), c


def by_node(space: CellSpace, table: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns per node the weights of the functions on its edges, (node, 1, functions), and their sums (node, 1, 1)."""
    weights = table[:, None, [k for k, op in enumerate(space.ops) if op != NONE]]  # (edges, 1, functions)
    kept = weights.sum(-1, keepdim=True)
    nodes = range(1, 1 + space.nodes)
    return [*zip(weights.split([*nodes]), kept.split([*nodes]), strict=True)]
