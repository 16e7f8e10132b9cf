"""What a child gets from a supergraph: a copy of its weights, and no statistics of batch norms."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from naslab.networks.mixed import BlockConv, ProjectedReduction, Projection
from naslab.spaces import CellSpace


def awaiting_statistics(child: Any) -> Any:
    """The same child. Its batch norms refuse evaluation until they have statistics, and start from the first batch's.

    Without this they would start from mean 0 and variance 1, which no weights have been trained with.
    """
    norms: list[Any] = [m for m in child.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.awaiting = norm.register_forward_pre_hook(partial(first_statistics, norm.momentum))
    return child


def first_statistics(momentum: float | None, norm: Any, _: Any) -> None:
    """Before a batch: the mean over all batches so far, until the moving average with `momentum` forgets faster.

    Raises `ValueError` in evaluation mode before the first one.
    """
    if norm.num_batches_tracked.is_meta:  # without values
        return
    seen = int(norm.num_batches_tracked)
    if seen == 0 and not norm.training:
        raise ValueError(
            "batch norm: got no statistics yet, since the weights are a supergraph's; expected a child that was "
            "trained, or calibrated: training.calibrate(child, images)"
        )
    if norm.momentum is None:  # the mean over all batches, which `training.calibrate` takes
        return
    norm.momentum = max(momentum or 0.0, 1 / (1 + seen)) if norm.training else momentum
    if norm.momentum == momentum:
        norm.awaiting.remove()


@torch.no_grad()
def copy(shared: Any, alone: Any, parts: Sequence[int] = (0,)) -> None:
    """Copies weights to a child's module; of blocks those of the parts that there are."""
    match shared:
        case Projection():
            copy(shared.conv, alone[1], parts)
            copy(shared.norm, alone[2])
        case ProjectedReduction():
            for name in ("straight", "shifted", "norm"):
                copy(getattr(shared, name), getattr(alone, name), parts)
        case BlockConv():
            weight = alone.get_parameter("weight")
            weight.copy_(shared.weight([(k, 1.0) for k in parts]).view_as(weight))
            if shared.bias is not None:
                alone.get_parameter("bias").copy_(shared.bias)
        case _:
            alone.load_state_dict(shared.state_dict(), strict=False)  # a child's batch norms also have statistics


def copy_edges(space: CellSpace, mixed: Any, cell: Any) -> None:
    """Copies the ops of a `Cell` from those of a `MixedCell`."""
    for (edge, op), alone in zip(cell.named, cell.ops, strict=True):
        copy(mixed.edges[space.edges.index(edge)].ops[op], alone)
