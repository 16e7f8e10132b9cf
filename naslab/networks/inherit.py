"""Copies the weights of a supergraph to a child. The child's batch norms have no running statistics at first."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from naslab.networks.mixed import BlockConv, ProjectedReduction, Projection
from naslab.spaces import CellSpace


def awaiting_statistics(child: Any) -> Any:
    """Makes the child's batch norms raise `ValueError` in evaluation mode until they have statistics.

    Their statistics start from those of the first batch. Otherwise they would start from mean 0 and variance 1, with
    which these weights were never trained. Returns the same child.
    """
    norms: list[Any] = [m for m in child.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.awaiting = norm.register_forward_pre_hook(partial(first_statistics, norm.momentum))
    return child


def first_statistics(momentum: float | None, norm: Any, _: Any) -> None:
    """Runs before every batch and sets the norm's momentum so that the first statistics are plain means.

    After n batches the momentum is 1 / (1 + n), the mean over all batches, until `momentum` is larger. Raises
    `ValueError` in evaluation mode before the first batch.
    """
    if norm.num_batches_tracked.is_meta:  # on the meta device there are no values
        return
    seen = int(norm.num_batches_tracked)
    if seen == 0 and not norm.training:
        raise ValueError(
            "batch norm: got no running statistics, because the weights are copied from a supergraph; train the child, "
            "or call training.calibrate(child, images)"
        )
    if norm.momentum is None:  # `training.calibrate` computes the mean over all batches
        return
    norm.momentum = max(momentum or 0.0, 1 / (1 + seen)) if norm.training else momentum
    if norm.momentum == momentum:
        norm.awaiting.remove()


@torch.no_grad()
def copy(shared: Any, alone: Any, parts: Sequence[int] = (0,)) -> None:
    """Copies the weights of a shared module to the child's module. `parts` says which blocks the child has."""
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
            alone.load_state_dict(shared.state_dict(), strict=False)  # only a child's batch norms have statistics


def copy_edges(space: CellSpace, mixed: Any, cell: Any) -> None:
    """Copies the weights of the chosen ops from a `MixedCell` to a `Cell`."""
    for (edge, op), alone in zip(cell.named, cell.ops, strict=True):
        copy(mixed.edges[space.edges.index(edge)].ops[op], alone)
