"""The supergraph of a space of recurrent cells: a language model with every function on every edge of its cells."""

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
    """The language model of `RecurrentChild` with every function on every edge of its cells.

    `matrices` says which edges share a matrix, and `norm` whether nodes are normalised: see `MixedRecurrentCell`.
    `fast`, for "node" matrices only, computes the same with `batched` but runs every function, chosen or not.
    """

    @classmethod
    def darts(
        cls, space: CellSpace, vocabulary: int, units: int = 300, dropout: float | Dropouts = 0.0
    ) -> "RecurrentNet":
        """Builds the network of DARTS' search with `fast` (Liu et al. 2019, section 3.1.2)."""
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
                f"fast: got True with matrices {matrices!r}, output {space.output!r}; "
                "expected matrices 'node' and output 'all'"
            )
        self.fast, self.norm = fast, norm
        self.space, self.matrices = space, matrices
        self.size: dict[str, Any] = {"vocabulary": vocabulary, "units": units, "layers": layers, "dropout": dropout}
        cell = BatchedRecurrentCell if fast else MixedRecurrentCell
        self.model = RecurrentChild(lambda n: cell(space, n, matrices, norm), **self.size)

    def forward(self, x: Tensor, weights: Weights, state: list[State] | None = None) -> tuple[Tensor, list[State]]:
        """Maps tokens (T, B) int64 and the (h, c) of each layer to logits (T, B, vocabulary) and the new states."""
        (rows,) = cell_rows(self.space, weights).values()
        (table,) = weights.values()
        if self.norm and x.shape[1] == 1:
            raise ValueError("x: got 1 stream, expected at least 2: batch norms take their statistics from the batch")
        return self.model(x, state, by_node(self.space, table) if self.fast else rows)

    def child(self, tokens: Iterable[int]) -> RecurrentChild:
        """Builds the architecture as a child with a copy of the shared weights.

        It computes the same, except for random dropout masks and that a child has no `norm`.
        """
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
