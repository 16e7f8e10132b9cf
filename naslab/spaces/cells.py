"""Spaces of cells. A cell is a small graph that the network repeats."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from naslab import checks
from naslab.spaces import common
from naslab.spaces.protocol import NONE, Decision, Tokens, Weights

Nodes = tuple[tuple[tuple[int, str], ...], ...]  # one cell: per node its (source state, op name) pairs
Pairs = dict[str, Nodes]


@dataclass(frozen=True)
class CellSpace:
    """Networks of repeated cells: ENAS micro and recurrent, DARTS convolutional and recurrent, NAS-Bench-201.

    A cell is a small graph. States 0 to inputs - 1 are its inputs. Every further state is a node: the sum of the
    outputs of its incoming edges. With `fan_in` = k a node chooses k pairs (input, op) (Pham et al. 2018, Designing
    Convolutional Cells; Liu et al. 2019, section 2.4). If `distinct`, their inputs differ. With `fan_in=None` every
    edge has an op (NAS-Bench-201).

    A string can name the op "none" only with `fan_in=None`. A node that chooses its inputs does not need it, but the
    tables keep its column, which takes part in the softmax.

    Every cell has one table (edges, ops); edges are ordered by target, then source. `output` says which states leave
    the cell: "all" nodes, the "loose" ends (nodes that no other node reads), or the "last" node.
    """

    cells: tuple[str, ...]
    nodes: int
    inputs: int
    ops: tuple[str, ...]
    fan_in: int | None
    distinct: bool = True
    output: Literal["all", "loose", "last"] = "all"

    def __post_init__(self) -> None:
        checks.whole(1, nodes=self.nodes, inputs=self.inputs)
        common.check_options("cells", self.cells)
        common.check_options("ops", self.ops)
        checks.flag(distinct=self.distinct)
        if self.output not in ("all", "loose", "last"):
            raise ValueError(f"output: got {self.output!r}, expected 'all', 'loose' or 'last'")
        if self.fan_in is not None:
            checks.whole(1, fan_in=self.fan_in)
            common.check_options("ops other than none", self.choices)
            if self.distinct and self.fan_in > self.inputs:
                raise ValueError(f"fan_in: got {self.fan_in}, the first node has only {self.inputs} distinct inputs")
        checks.plain_fields(self)

    @property
    def choices(self) -> tuple[str, ...]:
        """The ops that a string can choose."""
        return self.ops if self.fan_in is None else tuple(op for op in self.ops if op != NONE)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every row of a table. State 0 is the first input of the cell."""
        targets = range(self.inputs, self.inputs + self.nodes)
        return tuple((source, target) for target in targets for source in range(target))

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        for cell in self.cells:
            if self.fan_in is None:
                found += [Decision(f"{cell}.{target}.{source}.op", self.ops, "op") for source, target in self.edges]
                continue
            anchors = [-1 - k for k in range(self.inputs)]  # per state
            for target in range(self.inputs, self.inputs + self.nodes):
                sources = tuple(range(target))
                pointers: list[int] = []
                for k in range(self.fan_in):
                    differs = tuple(pointers) if self.distinct else ()
                    pointers.append(len(found))
                    name = f"{cell}.{target}.{k}"
                    found.append(Decision(f"{name}.input", sources, "input", (), tuple(anchors), differs))
                    found.append(Decision(f"{name}.op", self.choices, "op"))
                anchors.append(len(found) - 1)
        return tuple(found)

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {cell: (len(self.edges), len(self.ops)) for cell in self.cells}

    @property
    def size(self) -> int:
        """Number of architectures. The order of a node's pairs does not count. Isomorphic cells count separately."""
        if self.fan_in is None:
            return self.strings
        k, n = self.fan_in, len(self.choices)
        per_node = [
            math.comb(sources, k) * n**k if self.distinct else math.comb(sources * n + k - 1, k)
            for sources in range(self.inputs, self.inputs + self.nodes)
        ]
        return math.prod(per_node) ** len(self.cells)

    strings = property(common.strings)
    check = common.check
    sample = common.sample

    def pairs(self, tokens: Iterable[int]) -> Pairs:
        """Returns for every cell and node its (source state, op name) pairs, in the order of the string."""
        flat = iter(self.check(tokens))
        found: Pairs = {}
        for cell in self.cells:
            nodes = []
            for target in range(self.inputs, self.inputs + self.nodes):
                if self.fan_in is None:
                    nodes.append(tuple((source, self.ops[next(flat)]) for source in range(target)))
                else:
                    nodes.append(tuple((next(flat), self.choices[next(flat)]) for _ in range(self.fan_in)))
            found[cell] = tuple(nodes)
        return found

    def tokens(self, pairs: Pairs) -> Tokens:
        """The inverse of `pairs`. Raises `ValueError` if a source, an op or the shape does not fit the space."""
        flat: list[int] = []
        if not isinstance(pairs, dict) or pairs.keys() != set(self.cells):
            raise ValueError(f"pairs: got {pairs!r}, expected a dict of the cells {self.cells}")
        for cell in self.cells:
            try:
                nodes = [[(source, op) for source, op in node] for node in pairs[cell]]
            except (TypeError, ValueError):
                raise ValueError(f"{cell}: got {pairs[cell]!r}, expected nodes of (source, op) pairs") from None
            if len(nodes) != self.nodes:
                raise ValueError(f"{cell}: got {len(nodes)} nodes, the space has {self.nodes}")
            for target, node in enumerate(nodes, start=self.inputs):
                if len(node) != (self.fan_in or target):
                    raise ValueError(f"{cell}.{target}: got {len(node)} pairs, expected {self.fan_in or target}")
                for k, (source, op) in enumerate(node):
                    if op not in self.choices:
                        raise ValueError(f"{cell}.{target}.{k}.op: got {op!r}, expected one of {self.choices}")
                    if self.fan_in is None and source != k:
                        raise ValueError(f"{cell}.{target}.{k}.input: got {source!r}, expected {k}")
                    flat += [self.choices.index(op)] if self.fan_in is None else [source, self.choices.index(op)]
        return self.check(flat)

    def leaving(self, nodes: Nodes) -> tuple[int, ...]:
        """Returns the states that leave the cell. `nodes` is one cell of `pairs`.

        Loose ends are the nodes that no node reads (Pham et al. 2018, Designing Convolutional Cells). In the authors'
        code an input that no node reads also leaves the cell; here inputs never leave.
        """
        states = tuple(range(self.inputs, self.inputs + self.nodes))
        if self.output == "last":
            return states[-1:]
        try:
            read = {source for node in nodes for source, op in node if op != NONE} if self.output == "loose" else set()
        except (TypeError, ValueError):
            raise ValueError(f"nodes: got {nodes!r}, expected nodes of (source, op) pairs") from None
        return tuple(state for state in states if state not in read)

    def canonical(self, tokens: Iterable[int]) -> Tokens:
        """Returns the string of the same architecture with the pairs of every node sorted by input, then op."""
        order = self.choices.index
        pairs = self.pairs(tokens)
        return self.tokens(
            {c: tuple(tuple(sorted(n, key=lambda p: (p[0], order(p[1])))) for n in nodes) for c, nodes in pairs.items()}
        )

    def one_hot(self, tokens: Iterable[int], **like) -> Weights:
        """Returns the corner. Entry [edge, op] counts how often the string has this pair (2 for a repeated pair)."""
        weights = {table: torch.zeros(shape) for table, shape in self.tables.items()}
        for cell, nodes in self.pairs(tokens).items():
            for target, node in enumerate(nodes, start=self.inputs):
                for source, op in node:
                    weights[cell][self.edges.index((source, target)), self.ops.index(op)] += 1.0
        return common.converted(weights, like)

    def discretise(self, weights: Weights) -> Tokens:
        """Returns the canonical string of the corner that keeps the strongest (input, op) pairs of every node.

        The op "none" is never kept (Liu et al. 2019, section 2.4). Without `distinct`, taking a pair lowers its weight
        by 1, so a pair can repeat only if its weight is above 1. Raises `ValueError` for weights that are not a point
        of the polytope, such as alpha before the softmax.
        """
        point = common.check_weights(self, weights, 1 if self.distinct else self.fan_in or 1)
        columns = [self.ops.index(op) for op in self.choices]
        found: Pairs = {}
        for cell in self.cells:
            nodes = []
            for target in range(self.inputs, self.inputs + self.nodes):
                first = self.edges.index((0, target))
                rows = point[cell][first : first + target]  # (sources, ops)
                common.check_sum(cell, rows, min(self.fan_in or target, target), f"node {target}")
                strength = rows[:, columns]  # (sources, choices), a copy
                if self.fan_in is None:
                    nodes.append(tuple((s, self.choices[int(row.argmax())]) for s, row in enumerate(strength)))
                    continue
                node = []
                for _ in range(self.fan_in):
                    source, op = divmod(int(strength.argmax()), len(columns))
                    node.append((source, self.choices[op]))
                    if self.distinct:
                        strength[source] = -math.inf
                    else:
                        strength[source, op] -= 1.0
                nodes.append(tuple(node))
            found[cell] = tuple(nodes)
        return self.canonical(self.tokens(found))


DARTS_OPS = (
    NONE,
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def darts_conv(nodes: int = 4) -> CellSpace:
    """DARTS convolutional cells: 1,037,664,180 each (Liu et al. 2019, appendix, complexity analysis)."""
    return CellSpace(("normal", "reduce"), nodes, inputs=2, ops=DARTS_OPS, fan_in=2)


def darts_rnn(nodes: int = 8) -> CellSpace:
    """DARTS recurrent cell. A fixed tanh computes state 0 from x_t and h_(t-1) (Liu et al. 2019, section 3.1.2)."""
    return CellSpace(("recurrent",), nodes, inputs=1, ops=(NONE, "tanh", "relu", "sigmoid", "identity"), fan_in=1)


def nasnet(nodes: int = 5) -> CellSpace:
    """Cells like those of NASNet and AmoebaNet, with the ops that the DARTS authors' code offers for both.

    A node takes two pairs, which may be equal. Loose ends leave the cell (Zoph et al. 2018; Real et al. 2019).
    """
    ops = (*DARTS_OPS[1:], "sep_conv_7x7", "conv_7x1_1x7")
    return CellSpace(("normal", "reduce"), nodes, inputs=2, ops=ops, fan_in=2, distinct=False, output="loose")


def enas_micro(nodes: int = 5) -> CellSpace:
    """ENAS micro cells: two pairs per node, which may be equal; B = nodes + 2.

    Pham et al. 2018, Designing Convolutional Cells. Two pairs per node give (5^(B-2) (B-1)!)^2 = 5.06e12 strings per
    cell. The paper counts (5 (B-2)!)^2 = 3.6e5: it omits the exponent of 5, and its factorial gives the first node one
    possible input instead of two.
    """
    ops = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")  # the strings' order
    return CellSpace(("normal", "reduce"), nodes, inputs=2, ops=ops, fan_in=2, distinct=False, output="loose")


def enas_rnn(nodes: int = 12) -> CellSpace:
    """ENAS recurrent cell (Pham et al. 2018, Designing Recurrent Cells). State 0 is computed from x_t and h_(t-1).

    There are 4^N N! strings for N nodes, the paper's count. The paper's text describes fewer: node 1 has one possible
    input and later nodes read only nodes, not state 0, which gives 4^N (N - 1)! strings.
    """
    ops = ("tanh", "relu", "sigmoid", "identity")  # in the order of the authors' strings
    return CellSpace(("recurrent",), nodes, inputs=1, ops=ops, fan_in=1, output="loose")


def nas_bench_201(nodes: int = 3) -> CellSpace:
    """The 15,625 cells of NAS-Bench-201: 4 states, an op on each of the 6 edges (Dong & Yang 2020, section 2.1).

    With 2 nodes there are 3 edges and 125 cells.
    """
    ops = (NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    return CellSpace(("cell",), nodes, inputs=1, ops=ops, fan_in=None, output="last")
