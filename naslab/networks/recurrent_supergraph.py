"""The supergraph of a space of recurrent cells: a language model whose cells have every function on every edge."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from naslab.networks.batched import BatchedRecurrentCell, by_node
from naslab.networks.children import build_recurrent, check_recurrent
from naslab.networks.inherit import copy
from naslab.networks.mixed import Matrices, MixedRecurrentCell, cell_rows
from naslab.networks.recurrent import Dropouts, RecurrentCell, RecurrentChild, State
from naslab.spaces import CellSpace, Weights


class RecurrentNet(nn.Module):
    """The language model of `RecurrentChild` whose cells have every function on every edge.

    `matrices` says which edges share a matrix, `norm` whether nodes are normalised: see `MixedRecurrentCell`.
    `fast`, for "node" matrices, runs every function, chosen or not, by way of `batched`, which computes the same.
    """

    @classmethod
    def darts(
        cls, space: CellSpace, vocabulary: int, units: int = 300, dropout: float | Dropouts = 0.0
    ) -> "RecurrentNet":
        """The network that DARTS searches, in its fast form (Liu et al. 2019, section 3.1.2)."""
        return cls(space, vocabulary, units, dropout=dropout, matrices="node", norm=True, fast=True)

    def __init__(
        self,
        space: CellSpace,
        vocabulary: int,
        units: int,
        layers: int = 1,
        dropout: float | Dropouts = 0.0,
        matrices: Matrices = "source",
        norm: bool = False,
        fast: bool = False,
    ) -> None:
        super().__init__()
        check_recurrent(space, matrices)
        if fast and (matrices != "node" or space.output != "all"):
            raise ValueError(
                f"fast: got True with matrices {matrices!r}, output {space.output!r}; expected 'node', 'all'"
            )
        self.fast, self.norm = fast, norm
        self.space, self.matrices = space, matrices
        self.size: dict[str, Any] = {"vocabulary": vocabulary, "units": units, "layers": layers, "dropout": dropout}
        cell = BatchedRecurrentCell if fast else MixedRecurrentCell
        self.model = RecurrentChild(lambda n: cell(space, n, matrices, norm), **self.size)

    def forward(self, x: Tensor, weights: Weights, state: list[State] | None = None) -> tuple[Tensor, list[State]]:
        """Tokens (T, B) int64 and each layer's (h, c) -> logits (T, B, vocabulary) and new states."""
        (rows,) = cell_rows(self.space, weights).values()
        (table,) = weights.values()
        if self.norm and x.shape[1] == 1:
            raise ValueError("x: got 1 stream, expected at least 2: batch norms take their statistics from the batch")
        return self.model(x, state, by_node(self.space, table) if self.fast else rows)

    def child(self, tokens: Iterable[int]) -> RecurrentChild:
        """The architecture built alone, with a copy of the shared weights; equal, but for `norm` and dropout."""
        tokens = self.space.check(tokens)
        child = build_recurrent(self.space, tokens, **self.size, matrices=self.matrices)
        child = child.to(self.model.decoder.weight)
        copy(self.model.embedding, child.embedding)
        copy(self.model.decoder, child.decoder)
        (nodes,) = self.space.pairs(tokens).values()
        for mixed, cell in zip(self.model.cells, child.cells, strict=True):
            assert isinstance(mixed, MixedRecurrentCell) and isinstance(cell, RecurrentCell)
            if mixed.first is not None and cell.first is not None:
                copy(mixed.first, cell.first)
            for target, (((source, op),), weight) in enumerate(zip(nodes, cell.weights, strict=True), start=1):
                copy(mixed.weights[mixed.key(source, target, op)], weight)
        return child
